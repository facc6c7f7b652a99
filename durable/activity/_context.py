"""What the code of a running activity knows about itself and can say while it runs.

The worker's attempt is a `Context`, and is found in the context variables of the task or of the thread in which the
function runs. So the functions below work in everything the activity awaits or calls.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from durable._metering import MetricMeter
from durable.common import Priority, RetryPolicy
from durable.converter import PayloadConverter
from durable.exceptions import NotInActivityError

__all__ = [
    "CURRENT",
    "ActivityCancellationDetails",
    "CompleteAsyncError",
    "Context",
    "Flag",
    "Info",
    "LoggerAdapter",
    "current",
]

if TYPE_CHECKING:
    _Adapter: TypeAlias = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


@dataclass(frozen=True)
class Info:
    """Facts about an attempt of an activity.

    Attributes:
        activity_id: The activity's id within its run; of one that a client started, its id.
        activity_run_id: The run of one that a client started; None of a workflow's.
        activity_type: The name of its definition.
        attempt: The number of this attempt, from 1.
        heartbeat_details: What the last attempt that sent a heartbeat said with it.
        heartbeat_timeout: The longest silence between two heartbeats; None if none are expected.
        idempotency_key: The same text at every attempt, recovery and replay of this call, and at no other call: for
            services that take one to keep a repeated request from acting twice.
        is_local: Whether it runs beside its workflow, without a row of its own.
        namespace: The namespace it lives in.
        priority: Its priority: what was said of it, and what it has from its workflow.
        retry_policy: What follows a failure of this attempt.
        schedule_to_close_timeout: The longest that all attempts may take together.
        scheduled_time: When the workflow asked for it.
        current_attempt_scheduled_time: When this attempt became due.
        start_to_close_timeout: The longest that this attempt may take.
        started_time: When this attempt began.
        task_queue: The queue on which it was found.
        workflow_id: Whose it is; this and the rest about a workflow is None of one that a client started.
        workflow_namespace: The namespace of that workflow.
        workflow_run_id: Which run of that workflow asked for it.
        workflow_type: The name of that workflow's definition.
        task_token: What names this attempt to whoever ends it from outside, see `raise_complete_async`.
    """

    activity_id: str
    activity_type: str
    attempt: int
    heartbeat_details: Sequence[Any]
    heartbeat_timeout: timedelta | None
    idempotency_key: str
    is_local: bool
    priority: Priority
    retry_policy: RetryPolicy | None
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    current_attempt_scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    workflow_id: str | None
    workflow_namespace: str | None
    workflow_run_id: str | None
    workflow_type: str | None
    task_token: bytes = b""
    activity_run_id: str | None = None
    namespace: str = "default"

    @property
    def in_workflow(self) -> bool:
        """Whether a workflow asked for it, and not a client."""
        return self.workflow_id is not None


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why an attempt is asked to stop; the names are Temporal's."""

    not_found: bool = False
    """The activity is no longer open: its workflow closed, or another attempt took its place."""
    cancel_requested: bool = False
    """The workflow cancelled it."""
    paused: bool = False
    """An operator paused it."""
    timed_out: bool = False
    """It ran into one of its timeouts."""
    reset: bool = False
    """An operator sent it back to its first attempt."""
    worker_shutdown: bool = False
    """The worker is stopping."""


class CompleteAsyncError(BaseException):
    """What ends the function of an attempt that goes on without it. No `except Exception` stops it."""


class Flag(Protocol):
    """Something that becomes true once, seen from the event loop and from threads."""

    def is_set(self) -> bool:
        """Whether it is true."""
        ...

    async def wait(self) -> None:
        """Return when it is true; for `async def` activities."""
        ...

    def wait_sync(self, timeout: float | None = None) -> bool:
        """Block until it is true or `timeout` seconds have passed, and return which; for activities in threads."""
        ...


class Context(Protocol):
    """One attempt, as its function sees it. The worker makes it `CURRENT` while the function runs."""

    @property
    def info(self) -> Info:
        """The facts about the attempt, the same object each time."""
        ...

    @property
    def cancelled(self) -> Flag:
        """True once the attempt is asked to stop."""
        ...

    @property
    def worker_shutdown(self) -> Flag:
        """True once the worker begins to stop."""
        ...

    @property
    def cancellation_details(self) -> ActivityCancellationDetails | None:
        """Why the attempt is asked to stop, None as long as it is not."""
        ...

    @property
    def payload_converter(self) -> PayloadConverter:
        """What makes values of the payloads of this attempt."""
        ...

    @property
    def metric_meter(self) -> MetricMeter:
        """The meter of its worker.

        Raises:
            RuntimeError: Its function runs in another process.
        """
        ...

    @property
    def worker_id(self) -> str:
        """The worker that runs it, for logs; "" for none."""
        ...

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        """Take a heartbeat, with its details, from whatever thread the activity runs in."""
        ...

    @property
    def client(self) -> Any:
        """The client of its worker.

        Raises:
            RuntimeError: Its function runs in a thread, where nothing can be awaited.
        """
        ...

    def shielded(self) -> AbstractContextManager[None]:
        """Return what keeps a function in a thread from being interrupted; elsewhere it does nothing."""
        ...


CURRENT: ContextVar[Context] = ContextVar("durable.activity")


def current(what: str) -> Context:
    """Return the context of the activity that calls.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    context = CURRENT.get(None)
    if context is None:
        raise NotInActivityError(
            f"{what} means something only while an activity runs: call it from a function under @activity.defn that a "
            "worker executes, or from what that function calls. (A thread started by hand needs "
            "contextvars.copy_context().run.)"
        )
    return context


def in_activity() -> bool:
    """Whether the caller runs as part of an activity."""
    return CURRENT.get(None) is not None


def info() -> Info:
    """Return the facts about the running attempt.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    return current("activity.info()").info


def payload_converter() -> PayloadConverter:
    """Return what makes values of payloads, and payloads of values: for the `RawValue`s of a dynamic activity.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    return current("activity.payload_converter()").payload_converter


def heartbeat(*details: Any) -> None:
    """Say that the activity is alive and how far it came. The next attempt finds `details` in its info.

    It returns at once; calls in quick succession are thinned out and the last one wins. An activity that never calls
    this does not learn that it was cancelled, unless its worker stops.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    current("activity.heartbeat()").heartbeat(details)


def client() -> Any:
    """Return the client of the worker that runs this activity, to start and to signal other workflows, for example.

    For `async def` activities. Calls of it are of the client's own: a repeated attempt makes them again, so give what it
    starts an id.

    Raises:
        NotInActivityError: The caller is no activity.
        RuntimeError: Its function runs in a thread, where nothing can be awaited.
    """
    return current("activity.client()").client


def is_cancelled() -> bool:
    """Whether the running attempt is asked to stop. It never becomes false again.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    return current("activity.is_cancelled()").cancelled.is_set()


async def wait_for_cancelled() -> None:
    """Return when the running attempt is asked to stop.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    await current("activity.wait_for_cancelled()").cancelled.wait()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> None:
    """Block until the running attempt is asked to stop, or `timeout` has passed; for activities in threads.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    current("activity.wait_for_cancelled_sync()").cancelled.wait_sync(_seconds(timeout))


def cancellation_details() -> ActivityCancellationDetails | None:
    """Return why the running attempt is asked to stop, or None as long as it is not.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    return current("activity.cancellation_details()").cancellation_details


def shield_thread_cancel_exception() -> AbstractContextManager[None]:
    """Return a context manager in whose block a cancel does not interrupt a plain function in its thread.

    A cancel that comes meanwhile is raised at the end of the outermost such block, in the place of whatever ends it; so
    leave the block neither by a result nor by an error of its own. In an `async def` activity, and in one with
    `no_thread_cancel_exception`, it does nothing.

    Raises:
        NotInActivityError: The caller is no activity.
        CancelledError: At the end of the block: the attempt was asked to stop.
    """
    return current("activity.shield_thread_cancel_exception()").shielded()


def is_worker_shutdown() -> bool:
    """Whether the worker has begun to stop.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    return current("activity.is_worker_shutdown()").worker_shutdown.is_set()


async def wait_for_worker_shutdown() -> None:
    """Return when the worker begins to stop.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    await current("activity.wait_for_worker_shutdown()").worker_shutdown.wait()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> None:
    """Block until the worker begins to stop, or `timeout` has passed; for activities in threads.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    current("activity.wait_for_worker_shutdown_sync()").worker_shutdown.wait_sync(_seconds(timeout))


def raise_complete_async() -> NoReturn:
    """End the function but not the attempt, which somebody outside will end; never returns.

    The attempt stays open, under the timeouts it has, until `Client.get_async_activity_handle` completes it, fails it or
    reports its cancellation, with `activity.info().task_token` or with the ids of workflow and activity. When a timeout
    passes first, the function is run again as its retry policy says, under another token.

    Raises:
        NotInActivityError: The caller is no activity.
    """
    current("activity.raise_complete_async()")
    raise CompleteAsyncError


def metric_meter() -> MetricMeter:
    """Return a meter for metrics of the activity's own.

    What it records has the attributes namespace, task_queue and activity_type.

    Raises:
        NotInActivityError: The caller is no activity.
        RuntimeError: The activity runs in another process than its worker, which nobody collects metrics of.
    """
    context = current("activity.metric_meter()")
    return context.metric_meter.with_additional_attributes({"activity_type": context.info.activity_type})


def _seconds(timeout: timedelta | float | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


class LoggerAdapter(_Adapter):
    """A logger whose records say which attempt they are from.

    In an activity the message gets a short tail, `(charge 3 of o-42, attempt 2)`, and the record two attributes, which
    are dicts: `durable_activity`, and `durable` with the fields of `docs/telemetry.md`. Elsewhere it is an ordinary logger.

    Attributes:
        activity_info_on_message: Whether messages get the tail.
        activity_info_on_extra: Whether records get the attributes.
    """

    activity_info_on_message = True
    activity_info_on_extra = True

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message for the running attempt."""
        if not self.isEnabledFor(level):
            return
        context = CURRENT.get(None)
        if context is not None and self.activity_info_on_message:
            tail = _tail(context.info)
            # Text that will be %-formatted must not bring percent signs of its own.
            msg = f"{msg} {tail.replace('%', '%%') if args else tail}"
        msg, kwargs = self.process(msg, kwargs)  # type: ignore[assignment]
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        self.logger.log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the facts about the attempt to the record."""
        context = CURRENT.get(None)
        if context is not None and self.activity_info_on_extra:
            about = context.info
            facts = _facts(about)
            fields = {
                **facts,
                "namespace": about.namespace,
                "run_id": about.workflow_run_id or about.activity_run_id,
                "worker_id": context.worker_id,
            }
            if self.activity_info_on_message:
                fields["tail"] = _tail(about)
            given: Mapping[str, Any] = kwargs.get("extra") or {}
            kwargs["extra"] = {**given, "durable_activity": facts, "durable": fields}
        return msg, kwargs


def _tail(about: Info) -> str:
    return f"({about.activity_type} {about.activity_id} of {about.workflow_id}, attempt {about.attempt})"


def _facts(about: Info) -> Mapping[str, Any]:
    return {
        "activity_type": about.activity_type,
        "activity_id": about.activity_id,
        "attempt": about.attempt,
        "task_queue": about.task_queue,
        "workflow_id": about.workflow_id,
        "workflow_run_id": about.workflow_run_id,
        "workflow_type": about.workflow_type,
    }


logger: LoggerAdapter = LoggerAdapter(logging.getLogger("durable.activity"), None)
"""The logger for activity code."""
