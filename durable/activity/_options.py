"""How an activity is to be executed: written by people in any of four places, kept in microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from durable._internal.ids import check_name, check_text
from durable._internal.instants import Duration, check_timeout, to_duration
from durable._internal.left_out import why_no_option
from durable._internal.shown import shown
from durable.common import ActivityCancellationType, CircuitBreaker, Concurrency, Priority, RetryPolicy

__all__ = ["ActivityConfig", "ActivityOptions", "LocalActivityConfig", "merge"]


class ActivityConfig(TypedDict, total=False):
    """The options of an activity, each optional. What is left out, or None, is decided further out:
    by the definition, then the worker's defaults, then the library's.
    """

    task_queue: str | None
    """The queue whose workers run it; the workflow's own by default."""
    schedule_to_close_timeout: Duration | None
    """The longest that all attempts and the waits between them may take together; no limit by default."""
    schedule_to_start_timeout: Duration | None
    """The longest wait for a worker. It is never retried; no limit by default."""
    start_to_close_timeout: Duration | None
    """The longest that one attempt may take; 5 minutes by default."""
    heartbeat_timeout: Duration | None
    """The longest silence between two heartbeats of an attempt; none are expected by default."""
    retry_policy: RetryPolicy | None
    """How often and how fast a failed attempt is followed by another one."""
    cancellation_type: ActivityCancellationType
    """What the workflow sees when it cancels the activity."""
    activity_id: str | None
    """The id within the run; numbered by the run by default."""
    summary: str
    """A line for people, shown wherever the activity is."""
    eager: bool
    """Whether the worker that runs the workflow may start it before the request is recorded; True by default."""
    priority: Priority | None
    """Which of several activities that wait is taken first; the workflow's by default."""
    concurrency: Concurrency | None
    """At most so many with its key run at once, over all workers; no limit by default."""
    circuit_breaker: CircuitBreaker | None
    """What keeps it waiting while others with its key fail; nothing by default."""


class LocalActivityConfig(TypedDict, total=False):
    """The options of a local activity, each optional. What is left out, or None, is decided by the definition, then by
    the library's defaults; what a definition says that a local activity does not have, its queue for example, is not
    looked at.
    """

    schedule_to_close_timeout: Duration | None
    """The longest that all attempts and the waits between them may take together; no limit by default."""
    schedule_to_start_timeout: Duration | None
    """The longest wait for a free slot of the worker. It is never retried; no limit by default."""
    start_to_close_timeout: Duration | None
    """The longest that one attempt may take; 5 minutes by default."""
    retry_policy: RetryPolicy | None
    """How often and how fast a failed attempt is followed by another one."""
    local_retry_threshold: Duration | None
    """The longest wait before another attempt that is spent in the worker's memory; a longer one is a timer of the
    workflow, and survives the worker. 1 minute by default."""
    cancellation_type: ActivityCancellationType
    """What the workflow sees when it cancels the activity."""
    activity_id: str | None
    """The id within the run; numbered by the run by default."""
    summary: str
    """A line for people, shown wherever the activity is."""


DEFAULT_RETRY_THRESHOLD = 60_000_000
"""Microseconds that a local activity waits in memory before another attempt (Temporal's)."""


class ActivityOptions(Struct, frozen=True):
    """Options of an activity, validated. Durations are microseconds; None means that nothing was said."""

    task_queue: str | None = None
    schedule_to_close_timeout: int | None = None
    schedule_to_start_timeout: int | None = None
    start_to_close_timeout: int | None = None
    heartbeat_timeout: int | None = None
    retry_policy: RetryPolicy | None = None
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL
    activity_id: str | None = None
    summary: str = ""
    eager: bool = True
    priority: Priority | None = None
    concurrency: Concurrency | None = None
    circuit_breaker: CircuitBreaker | None = None
    local_retry_threshold: int | None = None

    def __post_init__(self) -> None:
        if self.task_queue is not None:
            check_name(self.task_queue, "task_queue")
        if self.activity_id is not None:
            check_name(self.activity_id, "activity_id")
        for name in TIMEOUTS:
            check_timeout(getattr(self, name), name)
        _check(self.retry_policy, RetryPolicy | None, "retry_policy", "a RetryPolicy")
        _check(
            self.cancellation_type,
            ActivityCancellationType,
            "cancellation_type",
            "an ActivityCancellationType",
        )
        _check(self.summary, str, "summary", "a string")
        check_text(self.summary, "summary")
        _check(self.eager, bool, "eager", "True or False")
        _check(self.priority, Priority | None, "priority", "a Priority")
        _check(self.concurrency, Concurrency | None, "concurrency", "a Concurrency")
        _check(self.circuit_breaker, CircuitBreaker | None, "circuit_breaker", "a CircuitBreaker")


TIMEOUTS = (
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
)
_REMEMBERED = 1000
KNOWN = frozenset(ActivityOptions.__struct_fields__) - {"local_retry_threshold"}
"""The options of an activity."""

KNOWN_LOCAL = KNOWN - {
    "task_queue",
    "heartbeat_timeout",
    "eager",
    "priority",
    "concurrency",
    "circuit_breaker",
} | {"local_retry_threshold"}
"""The options of a local activity."""


def _check(value: object, kind: Any, name: str, expected: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}: {shown(value)}")


def merge(
    base: ActivityOptions, given: Mapping[str, Any], caller: str, known: frozenset[str] = KNOWN
) -> ActivityOptions:
    """Return `base` with what `given` says on top; an option that is None there says nothing.

    Args:
        base: What holds so far.
        given: Options as people write them, with the names of `ActivityConfig`.
        caller: What they were written in, for the error's text.
        known: The options there are.

    Raises:
        TypeError: There is no such option, or its value is of a wrong type.
        ValueError: A duration is not positive or is too long, or a name cannot be one.
    """
    if not given:
        return base
    try:
        return _merged_before(base, caller, known, **given)
    except TypeError:
        # An option that cannot be a key, or one that is wrong: only this way finds out which, and says so.
        return _merged(base, caller, known, **given)


def _merged(base: ActivityOptions, caller: str, known: frozenset[str], /, **given: Any) -> ActivityOptions:
    said: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise TypeError(
                f"{caller} has no option {name!r}{why_no_option(name)}; there are {', '.join(sorted(known))}. "
                "(Arguments of the activity are passed by position here.)"
            )
        if name == "local_retry_threshold" and value is not None:
            said[name] = to_duration(value, name)
        elif value is not None:
            said[name] = to_duration(value, name, allow_zero=False) if name in TIMEOUTS else value
    return replace(base, **said) if said else base


def local(options: ActivityOptions) -> ActivityOptions:
    """Return options without what a local activity does not have, whatever its definition says about other times.

    Its queue is its workflow's, and nobody but its worker waits for a sign of life.

    Raises:
        ValueError: It is limited, over all workers: a local activity starts without asking the database.
    """
    try:
        return _local_before(options)
    except TypeError:  # it holds something that cannot be a key
        return _local(options)


def _local(options: ActivityOptions) -> ActivityOptions:
    for name in ("concurrency", "circuit_breaker"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"a local activity cannot keep to {name}: it starts without asking the database, which knows what "
                "other workers do; call it as an activity"
            )
    return replace(options, task_queue=None, heartbeat_timeout=None, eager=True)


_local_before = lru_cache(_REMEMBERED, typed=True)(_local)
_merged_before = lru_cache(_REMEMBERED, typed=True)(_merged)
"""`_merged`, for options that were given before: a program has a handful of them, and merges them at every step."""
