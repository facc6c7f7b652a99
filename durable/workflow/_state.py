"""What a run knows about itself: facts, time, chance, logs. All of it comes from the history."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

from durable._internal.instants import SECOND, to_datetime
from durable.workflow._info import Info
from durable.workflow._runtime import current, find

if TYPE_CHECKING:
    _Adapter: TypeAlias = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


def in_workflow() -> bool:
    """Whether the caller is workflow code."""
    return find() is not None


def info() -> Info:
    """Return the facts about this run; all of them are from its history, so code may branch on them.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.info()").info()


def memo() -> Mapping[str, Any]:
    """Return what the run was started with as its memo, decoded.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.memo()").memo()


def now() -> datetime:
    """Return the time of the present workflow task, aware and in UTC; the same at every replay.

    It stands still until the code waits for something.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return to_datetime(current("workflow.now()").now_us())


def time() -> float:
    """Return the time of the present workflow task in seconds since the epoch, as `time.time` does elsewhere.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.time()").now_us() / SECOND


def time_ns() -> int:
    """Return the time of the present workflow task in nanoseconds since the epoch; its resolution is a microsecond.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.time_ns()").now_us() * 1000


def random() -> Random:
    """Return the run's own random numbers; they are the same at every replay and differ from run to run.

    Not for secrets.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    return current("workflow.random()").random()


def uuid4() -> UUID:
    """Return a UUID that is the same at every replay and differs from run to run. Not for secrets.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    return current("workflow.uuid4()").uuid4()


def set_current_details(details: str) -> None:
    """Set the text that `describe()` shows for this run from now on.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        TypeError: It is no text.
    """
    if not isinstance(details, str):
        raise TypeError(f"details must be a string, not {type(details).__name__}: {details!r}")
    current("workflow.set_current_details()").set_current_details(details)


def get_current_details() -> str:
    """Return what `set_current_details` set last, or an empty text.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.get_current_details()").current_details()


class WorkflowLogger(_Adapter):
    """A logger that says everything once: it is silent while a history is replayed.

    In a workflow the message gets a short tail, `(checkout o-42)`, and the record an attribute `durable_workflow`,
    a dict. Elsewhere it is an ordinary logger.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # logging's name
        """Whether a message of this level would be logged now."""
        runtime = find()
        return not (runtime is not None and runtime.is_replaying()) and super().isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message for the running workflow, unless it is replayed."""
        if not self.isEnabledFor(level):
            return
        runtime = find()
        if runtime is not None:
            about = runtime.info()
            tail = f"({about.workflow_type} {about.workflow_id})"
            # Text that will be %-formatted must not bring percent signs of its own.
            msg = f"{msg} {tail.replace('%', '%%') if args else tail}"
        msg, kwargs = self.process(msg, kwargs)  # type: ignore[assignment]
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        self.logger.log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the facts about the run to the record."""
        runtime = find()
        if runtime is not None:
            about = runtime.info()
            facts = {
                "attempt": about.attempt,
                "namespace": about.namespace,
                "run_id": about.run_id,
                "task_queue": about.task_queue,
                "workflow_id": about.workflow_id,
                "workflow_type": about.workflow_type,
            }
            kwargs["extra"] = {**(kwargs.get("extra") or {}), "durable_workflow": facts}
        return msg, kwargs


logger: WorkflowLogger = WorkflowLogger(logging.getLogger("durable.workflow"), None)
"""The logger for workflow code: it says everything once, however often a history is replayed."""
