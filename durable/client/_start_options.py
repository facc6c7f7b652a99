"""The options of a start, as people write them, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, TypedDict, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from durable._internal.ids import check_name, check_note
from durable._internal.instants import Duration, to_duration
from durable._internal.left_out import why_no_option
from durable._internal.shown import shown
from durable._timetables.ticks import check_cron
from durable.client._versioning import check_override
from durable.common import (
    Concurrency,
    Priority,
    RetryPolicy,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.history import DEFAULT_PRIORITY, Limits, Payload, RetryPolicyData, encode_retry_policy, limits_of
from durable.history._search_attributes import encode_search_attributes
from durable.workflow._calls import SignalCall
from durable.workflow._definition import WorkflowOptions

DEFAULT_QUEUE = "default"
"""The task queue of whatever names none."""


class StartOptions(TypedDict, total=False):
    """How a workflow is started. The names are Temporal's."""

    id: str | None
    """The workflow's id, of which at most one open run exists; a fresh one when None. It is what makes a repeated start
    of the same thing harmless."""
    task_queue: str | None
    """The queue whose workers run it; the definition's, else "default"."""
    execution_timeout: Duration | None
    """The longest that the workflow may take; then it is closed as timed out."""
    run_timeout: Duration | None
    """The longest that one run may take; then it is closed as timed out."""
    task_timeout: Duration | None
    """The longest that the workflow's code may run at one go, without awaiting anything that takes time: at most 10 seconds,
    which is the default. Then the workflow is blocked, with a `DeadlockError` and the stack."""
    id_reuse_policy: WorkflowIDReusePolicy
    """Whether the id may be used again after its last run has closed; ALLOW_DUPLICATE by default."""
    id_conflict_policy: WorkflowIDConflictPolicy
    """What to do when the id has an open run; FAIL by default."""
    memo: Mapping[str, Any] | None
    """Values for people, shown by `describe`."""
    search_attributes: TypedSearchAttributes | None
    """What it is found by in lists; changed by the workflow with `workflow.upsert_search_attributes`."""
    retry_policy: RetryPolicy | None
    """How often and how fast it is run again when it fails or times out; not at all by default."""
    cron_schedule: str
    """When it runs, again and again, as a cron expression in UTC (or behind `CRON_TZ=Europe/Berlin`): the first run waits
    for the first such time, and each further one, once the run before it has ended, for the next."""
    priority: Priority
    """Which of several workflows that are due is taken first, they and their activities."""
    concurrency: Concurrency | None
    """At most so many workflows with its key run at once; until then it is started and waits. No limit by default."""
    start_delay: Duration | None
    """How long until it first runs; a message to it ends the wait."""
    static_summary: str
    """A line for people."""
    static_details: str
    """Several lines for people."""
    versioning_override: VersioningOverride | None
    """Which version of the workers it belongs to, whatever it says itself: `PinnedVersioningOverride(version)`, or
    `AutoUpgradeVersioningOverride()`."""
    start_signal: str | SignalCall[Any] | None
    """A signal that is in the workflow's inbox from the start, stored with it or not at all: a call, or a name. If the id
    has an open run, it is signalled instead of started, unless id_conflict_policy says otherwise."""
    start_signal_args: Sequence[Any]
    """The arguments of a signal by name."""
    request_id: str | None
    """What makes this start, asked for again with the same id, return the run that it has started, open or closed, whatever
    the policies say; its `start_signal` is taken once. A repeated call inside the client is one request anyhow."""
    connection: Any
    """A connection, or a session, on which a transaction of yours is open: the start is part of that, there once you commit,
    and never there if you do not. None for a transaction of its own. See `docs/transactions.md`."""


class TemporalStartOptions(StartOptions, total=False):
    """How a workflow is started by the name of its type."""

    args: Sequence[Any]
    """Its arguments."""
    result_type: Any
    """What its result is decoded as."""


class Start(Struct, frozen=True):
    """Options of a start, checked. Durations are in microseconds."""

    reuse: WorkflowIDReusePolicy
    conflict: WorkflowIDConflictPolicy
    retry_policy: RetryPolicyData | None
    cron_schedule: str
    priority: int
    limits: Limits | None
    memo: Mapping[str, Any]
    search_attributes: dict[str, Payload]
    delay: int
    static_summary: str
    static_details: str
    signal: tuple[str, Sequence[Any], Sequence[Any] | None] | None = None
    """Name, arguments and their types of a signal that comes with the start."""
    request_id: str | None = None
    override: str = ""
    """What holds for it whatever it says of versions, as it is stored."""
    headers: dict[str, Payload] = {}
    """What travels beside the arguments."""
    connection: object = None
    """Whose transaction it is part of."""
    id: str | None = None
    task_queue: str = DEFAULT_QUEUE
    execution_timeout: int | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None


_OF_PLAIN_STARTS = frozenset({"id", "task_queue", "execution_timeout", "run_timeout", "task_timeout"})
"""Options that most starts have, if any."""

_KNOWN = frozenset(TemporalStartOptions.__annotations__) | frozenset(StartOptions.__annotations__)


def check(given: Mapping[str, Any], definition: WorkflowOptions | None) -> Start:
    """Return the options of a start, on top of what the workflow's definition says.

    Raises:
        TypeError: There is no such option, or its value is of a wrong type.
        ValueError: A value is out of range, or two options exclude each other.
    """
    for name in given:
        if name not in _KNOWN:
            raise TypeError(
                f"a workflow's start has no option {name!r}{why_no_option(name)}; there are {', '.join(sorted(_KNOWN))}"
            )
    said = _NOTHING_SAID if definition is None else definition
    if said.child is not None:
        raise TypeError(
            "this call has options of a child workflow from .options(...); pass what is meant for it to start_workflow"
        )
    workflow_id: Any = given.get("id")
    queue: Any = given.get("task_queue")
    return replace(
        _PLAIN if given.keys() <= _OF_PLAIN_STARTS else _checked(given),
        id=None if workflow_id is None else check_name(workflow_id, "id"),
        task_queue=said.task_queue or DEFAULT_QUEUE if queue is None else check_name(queue, "task_queue"),
        execution_timeout=_timeout(given, "execution_timeout", said.execution_timeout),
        run_timeout=_timeout(given, "run_timeout", said.run_timeout),
        task_timeout=_timeout(given, "task_timeout", said.task_timeout),
    )


def _checked(given: Mapping[str, Any]) -> Start:
    """What is said beside the id, the queue and timeouts."""
    delay: Duration | None = given.get("start_delay")
    reuse, conflict = _policies(given)
    retry_policy: RetryPolicy | None = given.get("retry_policy")
    if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
        raise TypeError(f"retry_policy must be a RetryPolicy, not {type(retry_policy).__name__}")
    return Start(
        reuse=reuse,
        conflict=conflict,
        retry_policy=None if retry_policy is None else encode_retry_policy(retry_policy),
        cron_schedule=_cron(given),
        priority=check_priority(given.get("priority")),
        limits=_limits(given),
        memo=check_memo(given.get("memo")),
        search_attributes=check_search_attributes(given.get("search_attributes")),
        delay=0 if delay is None else to_duration(delay, "start_delay"),
        static_summary=_text(given, "static_summary"),
        static_details=_text(given, "static_details"),
        signal=_signal(given),
        override=check_override(given.get("versioning_override")),
        request_id=_request_id(given),
        connection=_connection(given, reuse, conflict),
    )


_NOTHING_SAID = WorkflowOptions()


def _timeout(given: Mapping[str, Any], name: str, known: int | None) -> int | None:
    value: Duration | None = given.get(name)
    return known if value is None else to_duration(value, name, allow_zero=False)


def check_memo(memo: object) -> Mapping[str, Any]:
    """Return a memo's values by their names; none, if there is none.

    Raises:
        TypeError: It is no mapping.
        ValueError: A name cannot be one.
    """
    if memo is None:
        return {}
    if not isinstance(memo, Mapping):
        raise TypeError(f"memo must be a mapping of names to values, not {type(memo).__name__}")
    entries = cast(Mapping[object, Any], memo)
    return {check_name(key, "memo key"): value for key, value in entries.items()}


def check_search_attributes(attributes: object) -> dict[str, Payload]:
    """Return search attributes as they are stored.

    Raises:
        TypeError: They are none.
    """
    if attributes is None:
        return {}
    if not isinstance(attributes, TypedSearchAttributes):
        raise TypeError(
            "search_attributes must be TypedSearchAttributes([SearchAttributePair(key, value), ...]), "
            f"not {type(attributes).__name__}"
        )
    return encode_search_attributes(attributes)


def check_priority(priority: object) -> int:
    """Return a priority as it is stored, the default one if there is none.

    Raises:
        TypeError: It is none.
    """
    if priority is None:
        return DEFAULT_PRIORITY
    if not isinstance(priority, Priority):
        raise TypeError(f"priority must be a Priority, not {type(priority).__name__}: {shown(priority)}")
    return priority.priority_key or DEFAULT_PRIORITY


def _limits(given: Mapping[str, Any]) -> Limits | None:
    concurrency: object = given.get("concurrency")
    if concurrency is not None and not isinstance(concurrency, Concurrency):
        raise TypeError(
            f"concurrency must be a Concurrency, not {type(concurrency).__name__}: {shown(concurrency)}"
        )
    return limits_of(given.get("priority"), concurrency, None, None)


def _cron(given: Mapping[str, Any]) -> str:
    schedule = _text(given, "cron_schedule")
    if schedule:
        check_cron(schedule)
        if given.get("start_delay") is not None:
            raise ValueError(
                "start_delay and cron_schedule exclude each other: a cron run waits for its time"
            )
    return schedule


def _text(given: Mapping[str, Any], name: str) -> str:
    if name not in given:
        return ""
    value: object = given[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    return check_note(value, name)


def _policies(given: Mapping[str, Any]) -> tuple[WorkflowIDReusePolicy, WorkflowIDConflictPolicy]:
    """Temporal's defaults, and its rule that the older spelling of a conflict policy stands alone."""
    reuse = _policy(given, "id_reuse_policy", WorkflowIDReusePolicy.ALLOW_DUPLICATE)
    conflict = _policy(given, "id_conflict_policy", WorkflowIDConflictPolicy.UNSPECIFIED)
    if conflict is WorkflowIDConflictPolicy.UNSPECIFIED:
        if given.get("start_signal") is not None and reuse is not WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
            return reuse, WorkflowIDConflictPolicy.USE_EXISTING
        return reuse, WorkflowIDConflictPolicy.FAIL
    if reuse is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        raise ValueError("id_reuse_policy TERMINATE_IF_RUNNING and an id_conflict_policy exclude each other")
    return reuse, conflict


def _request_id(given: Mapping[str, Any]) -> str | None:
    request_id: object = given.get("request_id")
    if request_id is None:
        return None
    if given.get("id") is None:
        raise ValueError("a request_id needs an id: without one each start is another workflow's")
    return check_name(request_id, "request_id")


def _connection(
    given: Mapping[str, Any], reuse: WorkflowIDReusePolicy, conflict: WorkflowIDConflictPolicy
) -> object:
    connection: object = given.get("connection")
    if connection is not None and (
        reuse is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING
        or conflict is WorkflowIDConflictPolicy.TERMINATE_EXISTING
    ):
        raise ValueError(
            "a start in your own transaction terminates nothing: that run would be held up until you commit. Terminate it "
            "before, or choose another id_conflict_policy"
        )
    return connection


def _signal(given: Mapping[str, Any]) -> tuple[str, Sequence[Any], Sequence[Any] | None] | None:
    said: object = given.get("start_signal")
    arguments = argument_list(given.get("start_signal_args", ()), "start_signal_args")
    if said is None:
        if arguments:
            raise TypeError("start_signal_args are the arguments of a start_signal, and there is none")
        return None
    if isinstance(said, SignalCall):
        if arguments:
            raise TypeError("a signal's call has its arguments already; pass no start_signal_args")
        return said.name, said.args, said.definition.arg_types
    if not isinstance(said, str):
        raise TypeError(f"start_signal must be a signal's call or name, not {shown(said)}")
    return check_name(said, "start_signal"), arguments, None


Policy = TypeVar("Policy", bound=IntEnum)


def _policy(given: Mapping[str, Any], name: str, default: Policy) -> Policy:
    if name not in given:
        return default
    value: object = given[name]
    if not isinstance(value, type(default)):
        choices = ", ".join(member.name for member in type(default))
        raise TypeError(f"{name} must be a {type(default).__name__} ({choices}), not {shown(value)}")
    return value


def argument_list(args: object, name: str = "args") -> Sequence[Any]:
    """Return `args=[...]` as it was meant.

    Args:
        args: What was passed.
        name: As what.

    Raises:
        TypeError: It is a string or the like, whose parts nobody meant to pass one by one.
    """
    if not isinstance(args, list | tuple):
        raise TypeError(f"{name} must be a list or a tuple of the arguments, not {type(args).__name__}")
    return cast(Sequence[Any], args)


_PLAIN = _checked({})
"""What a start says that says nothing else."""
