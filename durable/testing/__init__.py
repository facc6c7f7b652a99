"""What helps to test: programs written with `durable`, and databases it is to run on."""

from __future__ import annotations

from durable.testing._activity import ActivityEnvironment
from durable.testing._crash import CrashPoint, CrashReport, crash_at_every_event
from durable.testing._debug import debug, replay_steps
from durable.testing._environment import NothingToComeError, WorkflowEnvironment
from durable.testing._explore import ExploreReport, Outcome, explore
from durable.testing._histories import History, replay_histories
from durable.testing._looking import Started
from durable.testing._mocks import ActivityMock, MockActivity
from durable.testing._second_process import replay_in_second_process
from durable.testing._servers._binaries import NoPostgresError
from durable.testing._servers._server import PostgresServer
from durable.testing._steps import Asked, Place, ReplayStep, WaitingTask

__all__ = [
    "ActivityEnvironment",
    "ActivityMock",
    "Asked",
    "CrashPoint",
    "CrashReport",
    "ExploreReport",
    "History",
    "MockActivity",
    "NoPostgresError",
    "NothingToComeError",
    "Outcome",
    "Place",
    "PostgresServer",
    "ReplayStep",
    "Started",
    "WaitingTask",
    "WorkflowEnvironment",
    "crash_at_every_event",
    "debug",
    "explore",
    "replay_histories",
    "replay_in_second_process",
    "replay_steps",
]
