"""The full sweep is asked for: `pytest -m crash`, or `DURABLE_SWEEP=full` for the default selection and it together."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests._postgres import PostgresServer


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.markexpr or os.environ.get("DURABLE_SWEEP") == "full":
        return
    full = [item for item in items if item.get_closest_marker("crash")]
    if full:
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if not item.get_closest_marker("crash")]


@pytest.fixture
def mortal() -> Iterator[PostgresServer]:
    """A server of the test's own, to be killed."""
    kind = None if os.environ.get("DURABLE_TEST_POSTGRES_KIND") != "url" else "wheel"
    with PostgresServer.open(kind=kind) as server:
        yield server
