"""What holds for all tests of the test tools."""

from __future__ import annotations

import pytest

from durable.activity._registry import REGISTRY as ACTIVITIES
from durable.workflow._definition import DYNAMIC
from durable.workflow._definition import REGISTRY as WORKFLOWS


@pytest.fixture(autouse=True)
def without_dynamic_ones_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments serve what the process has defined; a dynamic definition of another test would take every name."""
    for registry in (WORKFLOWS, ACTIVITIES):
        monkeypatch.delitem(registry._by_name, DYNAMIC, raising=False)
