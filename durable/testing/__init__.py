"""What helps to test: programs written with `durable`, and databases it is to run on."""

from __future__ import annotations

from durable.testing._activity import ActivityEnvironment
from durable.testing._environment import NothingToComeError, WorkflowEnvironment
from durable.testing._histories import History
from durable.testing._looking import Started
from durable.testing._mocks import ActivityMock, MockActivity

__all__ = [
    "ActivityEnvironment",
    "ActivityMock",
    "History",
    "MockActivity",
    "NothingToComeError",
    "Started",
    "WorkflowEnvironment",
]
