from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.workflow.fakes import FakeRuntime, Run


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs workflow code on a small loop of its own."""
    run = Run()
    yield run
    run.close()


@pytest.fixture
def host(run: Run) -> FakeRuntime:
    return run.host
