"""The full sweep is asked for: `pytest -m crash`, or `DURABLE_SWEEP=full` for the default selection and it together."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.markexpr or os.environ.get("DURABLE_SWEEP") == "full":
        return
    full = [item for item in items if item.get_closest_marker("crash")]
    if full:
        config.hook.pytest_deselected(items=full)
        items[:] = [item for item in items if not item.get_closest_marker("crash")]
