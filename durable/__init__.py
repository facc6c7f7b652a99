"""Workflows that survive a kill: ordinary async Python, recorded step by step in SQLite or PostgreSQL, without a server.

The names that most programs need are here. The rest is in `durable.workflow` (what workflow code calls),
`durable.activity` (what activity code calls), `durable.client`, `durable.worker`, `durable.common` (policies) and
`durable.exceptions`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from durable import activity, common, exceptions, workflow
from durable.activity import Activity
from durable.common import (
    ActivityCancellationType,
    RetryPolicy,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    DurableError,
    FailureError,
    WorkflowAlreadyStartedError,
    WorkflowFailureError,
)
from durable.workflow import Query, Signal, Update, Workflow

if TYPE_CHECKING:
    from durable.client import Client
    from durable.worker import Worker

__all__ = [
    "Activity",
    "ActivityCancellationType",
    "ActivityError",
    "ApplicationError",
    "Client",
    "DurableError",
    "FailureError",
    "Query",
    "RetryPolicy",
    "Signal",
    "Update",
    "Worker",
    "Workflow",
    "WorkflowAlreadyStartedError",
    "WorkflowFailureError",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
    "activity",
    "common",
    "exceptions",
    "workflow",
]

__version__ = "0.2.0"

_LATER = {"Client": "durable.client", "Worker": "durable.worker"}
"""Loaded when they are asked for: a module that only defines workflows needs no database driver."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_LATER[name]), name)
    globals()[name] = found
    return found
