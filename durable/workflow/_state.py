"""What a run knows about itself: facts, time, chance, logs. All of it comes from the history."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, overload
from uuid import UUID

from durable._internal.ids import check_name
from durable._internal.instants import SECOND, to_datetime
from durable._internal.shown import shown
from durable._metering import MetricMeter
from durable.common import SearchAttributeUpdate
from durable.converter import PayloadConverter
from durable.workflow._info import Info
from durable.workflow._runtime import current, find

if TYPE_CHECKING:
    _Adapter: TypeAlias = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

T = TypeVar("T")
D = TypeVar("D")

_UNSET: Any = object()


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
    """Return the run's memo, decoded: what it was started with, and what `upsert_memo` has changed.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.memo()").memo()


@overload
def memo_value(key: str, default: Any = ...) -> Any: ...
@overload
def memo_value(key: str, *, type_hint: type[T]) -> T: ...
@overload
def memo_value(key: str, default: D, *, type_hint: type[T]) -> T | D: ...
def memo_value(key: str, default: Any = _UNSET, *, type_hint: Any = Any) -> Any:
    """Return one entry of the run's memo.

    Args:
        key: Its name.
        default: What to return when there is none.
        type_hint: The type it is decoded as.

    Raises:
        KeyError: There is none, and no default.
        ConversionError: It cannot be read as that type.
        NotInWorkflowError: The caller is not workflow code.
    """
    runtime = current("workflow.memo_value()")
    try:
        return runtime.memo_value(key, type_hint)
    except KeyError:
        if default is _UNSET:
            raise
        return default


def upsert_memo(updates: Mapping[str, Any]) -> None:
    """Change entries of the run's memo, which lists and descriptions show; the others stay as they are.

    It is stored with the present task's other commands, in one transaction, and handed on when the workflow continues.

    Args:
        updates: New values by name; None removes an entry.

    Raises:
        ConversionError: A value cannot be stored.
        TypeError: It is no mapping of names to values.
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    runtime = current("workflow.upsert_memo()")
    said: object = updates
    if not isinstance(said, Mapping):
        raise TypeError(
            f"upsert_memo() takes a mapping of names to values, not {type(said).__name__}: {shown(said)}"
        )
    for key in updates:
        check_name(key, "memo key")
    runtime.upsert_memo(updates)


def upsert_search_attributes(attributes: Sequence[SearchAttributeUpdate[Any]]) -> None:
    """Change what the run is found by; attributes that are not named stay as they are.

    Lists find the run by the new values as soon as the present task is stored, with its other commands, in one
    transaction. They are handed on when the workflow continues.

    Args:
        attributes: What `key.value_set(...)` and `key.value_unset()` return; a later one of a name counts.

    Raises:
        TypeError: It is no list of such updates.
        ValueError: There are too many then, or they are too large together.
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    runtime = current("workflow.upsert_search_attributes()")
    said: object = attributes
    updates = list(cast("Sequence[object]", said)) if isinstance(said, list | tuple) else [said]
    for update in updates:
        if not isinstance(update, SearchAttributeUpdate):
            raise TypeError(
                "upsert_search_attributes() takes a list of key.value_set(...) and key.value_unset(), "
                f"not {type(update).__name__}: {shown(update)}"
            )
    runtime.upsert_search_attributes(cast("Sequence[SearchAttributeUpdate[Any]]", updates))


def payload_converter() -> PayloadConverter:
    """Return what turns this workflow's values into payloads and back, for code that does it by hand.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.payload_converter()").payload_converter()


def instance() -> Any:
    """Return the object of the class whose `run` this is.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        RuntimeError: The workflow is a function: it has no object.
    """
    runtime = current("workflow.instance()")
    found = runtime.instance()
    if found is None:
        raise RuntimeError(
            f"workflow {runtime.info().workflow_type!r} is a function, so there is no instance; pass on what its parts "
            "share, or make it a class"
        )
    return found


def is_failure_exception(err: BaseException) -> bool:
    """Whether this exception, leaving the workflow, would fail it. Any other one blocks it, as a fault of its code.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.is_failure_exception()").is_failure_exception(err)


def cancellation_reason() -> str | None:
    """Return the reason that came with the request to cancel this workflow, "" if it had none.

    None as long as nobody has asked from outside: so code that catches `asyncio.CancelledError` can tell the end of the
    workflow from a cancel of its own making. With several requests it is the first one's.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.cancellation_reason()").cancellation_reason()


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
    return current("workflow.random()").randomness("random()").random()


def new_random() -> Random:
    """Return random numbers of their own, for a part of the workflow that shall not shift those of others.

    Each call gives another sequence; the first call of a run always the same one. Not for secrets.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    return current("workflow.new_random()").randomness("new_random()").new_random()


def random_seed() -> int:
    """Return the number that all of this run's random numbers are made from, for generators of another kind.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    return current("workflow.random_seed()").randomness("random_seed()").seed


def register_random_seed_callback(callback: Callable[[int], None]) -> None:
    """Have `callback(seed)` called when the run gets another `random_seed`, which a reset gives it.

    Generators that are made from the seed have to be made anew then, or a run that was reset draws the numbers again that
    the run before it drew. What `random`, `new_random`, `uuid4` and `uuid7` give needs no callback.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
        TypeError: It cannot be called.
    """
    if not callable(callback):
        raise TypeError(f"register_random_seed_callback takes a function of the seed, not {shown(callback)}")
    runtime = current("workflow.register_random_seed_callback()")
    runtime.randomness("register_random_seed_callback()").on_reseed(callback)


def uuid4() -> UUID:
    """Return a UUID that is the same at every replay and differs from run to run. Not for secrets.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    return current("workflow.uuid4()").randomness("uuid4()").uuid4()


def uuid7() -> UUID:
    """Return a UUID of version 7: it begins with `workflow.now()` to the millisecond, so later tasks' sort behind.

    Those of one task have no order among each other. The same at every replay; not for secrets.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
    """
    runtime = current("workflow.uuid7()")
    return runtime.randomness("uuid7()").uuid7(runtime.now_us())


def set_current_details(description: str) -> None:
    """Set the text that `describe()` shows for this run from now on.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
        TypeError: It is no text.
    """
    if not isinstance(description, str):
        raise TypeError(
            f"description must be a string, not {type(description).__name__}: {shown(description)}"
        )
    current("workflow.set_current_details()").set_current_details(description)


def get_current_details() -> str:
    """Return what `set_current_details` set last, or an empty text.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.get_current_details()").current_details()


def metric_meter() -> MetricMeter:
    """Return a meter for metrics of the workflow's own; nothing is recorded while a history is replayed.

    What it records has the attributes namespace, task_queue and workflow_type.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.metric_meter()").metric_meter()


class LoggerAdapter(_Adapter):
    """A logger that says everything once: it is silent while a history is replayed.

    In a workflow the message gets a short tail, `(checkout o-42)`, and the record two attributes, which are dicts:
    `durable_workflow`, and `durable` with the fields of `docs/telemetry.md`. Elsewhere it is an ordinary logger.

    Attributes:
        workflow_info_on_message: Whether messages get the tail.
        workflow_info_on_extra: Whether records get the attributes.
    """

    workflow_info_on_message = True
    workflow_info_on_extra = True

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # logging's name
        """Whether a message of this level would be logged now."""
        runtime = find()
        return not (runtime is not None and runtime.is_replaying()) and super().isEnabledFor(level)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message for the running workflow, unless it is replayed."""
        if not self.isEnabledFor(level):
            return
        runtime = find()
        if runtime is not None and self.workflow_info_on_message:
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
        if runtime is not None and self.workflow_info_on_extra:
            about = runtime.info()
            facts = {
                "attempt": about.attempt,
                "namespace": about.namespace,
                "run_id": about.run_id,
                "task_queue": about.task_queue,
                "workflow_id": about.workflow_id,
                "workflow_type": about.workflow_type,
            }
            fields = {
                **facts,
                "event_id": about.get_current_history_length(),
                "worker_id": runtime.worker_id(),
            }
            if self.workflow_info_on_message:
                fields["tail"] = f"({about.workflow_type} {about.workflow_id})"
            given: Mapping[str, Any] = kwargs.get("extra") or {}
            kwargs["extra"] = {**given, "durable_workflow": facts, "durable": fields}
        return msg, kwargs


logger: LoggerAdapter = LoggerAdapter(logging.getLogger("durable.workflow"), None)
"""The logger for workflow code: it says everything once, however often a history is replayed."""
