"""Workflows that survive a kill: ordinary async Python, recorded step by step in SQLite or PostgreSQL, without a server.

The names that most programs need are here. The rest is in `durable.workflow` (what workflow code calls),
`durable.activity` (what activity code calls), `durable.client`, `durable.worker`, `durable.common` (policies) and
`durable.exceptions`.

Each is loaded when it is asked for: who catches an error needs no workflows, who defines one no database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable import activity, common, exceptions, workflow
    from durable.activity import Activity
    from durable.client import Client
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
    from durable.worker import Worker
    from durable.workflow import Query, Signal, Update, Workflow

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

__version__ = "0.4.0"

_WHERE = {
    "Activity": "durable.activity",
    "Client": "durable.client",
    "Worker": "durable.worker",
    **dict.fromkeys(("Query", "Signal", "Update", "Workflow"), "durable.workflow"),
    **dict.fromkeys(
        (
            "ActivityCancellationType",
            "RetryPolicy",
            "WorkflowIDConflictPolicy",
            "WorkflowIDReusePolicy",
        ),
        "durable.common",
    ),
    **dict.fromkeys(
        (
            "ActivityError",
            "ApplicationError",
            "DurableError",
            "FailureError",
            "WorkflowAlreadyStartedError",
            "WorkflowFailureError",
        ),
        "durable.exceptions",
    ),
}
_MODULES = frozenset({"activity", "common", "exceptions", "workflow"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_WHERE[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
