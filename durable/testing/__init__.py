"""What helps to test: programs written with `durable`, and databases it is to run on."""

from __future__ import annotations

from durable.testing._environment import NothingToComeError, WorkflowEnvironment
from durable.testing._mocks import ActivityMock

__all__ = ["ActivityMock", "NothingToComeError", "WorkflowEnvironment"]
