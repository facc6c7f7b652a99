"""What a command's exit code says, and which error means what."""

from __future__ import annotations

import asyncio
from enum import IntEnum

from durable import exceptions


class ExitCode(IntEnum):
    """How a command ended. The numbers are part of the interface: scripts test for them."""

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        made = int.__new__(cls, value)
        made._value_ = value
        made.meaning = meaning
        return made

    meaning: str

    OK = 0, "done"
    FAILED = 1, "the workflow failed, or something that was checked is not so"
    USAGE = 2, "the command was called wrongly"
    MIGRATION_NEEDED = 3, "the tables are missing, older or newer than this release"
    NOT_FOUND = 4, "there is no such thing, or it is closed"
    CONFLICT = 5, "it is there already, or in a state that does not allow it"
    UNREACHABLE = 6, "the database cannot be reached"
    NONDETERMINISM = 7, "a history does not replay under the code"
    TIMEOUT = 124, "it took longer than was asked for; what was begun goes on"
    INTERRUPTED = 130, "ended by Ctrl-C"


_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (exceptions.SchemaError, ExitCode.MIGRATION_NEEDED),
    (exceptions.WorkflowQueryTimeoutError, ExitCode.TIMEOUT),
    (exceptions.WorkflowUpdateRPCTimeoutOrCancelledError, ExitCode.TIMEOUT),
    (exceptions.NondeterminismError, ExitCode.NONDETERMINISM),
    (exceptions.WorkflowFailureError, ExitCode.FAILED),
    (exceptions.WorkflowContinuedAsNewError, ExitCode.FAILED),
    (exceptions.WorkflowUpdateFailedError, ExitCode.FAILED),
    (exceptions.WorkflowQueryFailedError, ExitCode.FAILED),
    (exceptions.WorkflowQueryRejectedError, ExitCode.CONFLICT),
    (exceptions.WorkflowNotFoundError, ExitCode.NOT_FOUND),
    (exceptions.ActivityNotFoundError, ExitCode.NOT_FOUND),
    (exceptions.ScheduleNotFoundError, ExitCode.NOT_FOUND),
    (exceptions.WorkerDeploymentNotFoundError, ExitCode.NOT_FOUND),
    (exceptions.WorkflowAlreadyStartedError, ExitCode.CONFLICT),
    (exceptions.ActivityAlreadyStartedError, ExitCode.CONFLICT),
    (exceptions.ScheduleAlreadyRunningError, ExitCode.CONFLICT),
    (exceptions.WorkflowStillOpenError, ExitCode.CONFLICT),
    (exceptions.AmbiguousWorkflowError, ExitCode.CONFLICT),
    (exceptions.AsyncActivityCancelledError, ExitCode.CONFLICT),
    (exceptions.WorkerDeploymentConflictError, ExitCode.CONFLICT),
    (exceptions.StoreUnavailableError, ExitCode.UNREACHABLE),
    (TimeoutError, ExitCode.TIMEOUT),
    (asyncio.CancelledError, ExitCode.INTERRUPTED),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (exceptions.HistoryError, ExitCode.FAILED),
    # What was given cannot be used: a filter, a value, a module, a file.
    (ValueError, ExitCode.USAGE),
    (TypeError, ExitCode.USAGE),
    (ImportError, ExitCode.USAGE),
    (OSError, ExitCode.USAGE),
)


def code_of(error: BaseException) -> ExitCode | None:
    """Return the exit code that an error means; None for one that nobody foresaw."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), None)
