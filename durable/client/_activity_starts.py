"""Starts of activities by a client: what was written, checked, made a run of one activity, and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Required, TypedDict, TypeVar

from durable._engine._sole import own_name, sole_name, start_sole
from durable._internal.ids import MAX_NAME_BYTES, check_name
from durable._internal.instants import Duration, to_duration
from durable._internal.shown import shown
from durable._replay.machines._activity import DEFAULT_START_TO_CLOSE, stored_policy
from durable.activity._call import ActivityCall
from durable.activity._collect import activity_of
from durable.activity._options import ActivityOptions, merge
from durable.client._addressed import requested
from durable.client._attribute_types import check_types
from durable.client._checked import check_result_type
from durable.client._connection import Connection
from durable.client._inside import create_inside
from durable.client._start_options import (
    DEFAULT_QUEUE,
    argument_list,
    check_priority,
    check_search_attributes,
)
from durable.client._starts import Starts
from durable.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    CircuitBreaker,
    Concurrency,
    Priority,
    RetryPolicy,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.converter import ActivitySerializationContext, DataConverter
from durable.converter._checked import to_checked_payloads
from durable.exceptions import ActivityAlreadyStartedError
from durable.history import ActivityTaskScheduled, WorkflowExecutionStarted, limits_of
from durable.interceptor._headers import checked_headers
from durable.interceptor.client import StartActivityInput
from durable.store import Hint, HintKind, StartOutcome

Policy = TypeVar("Policy", ActivityIDReusePolicy, ActivityIDConflictPolicy)


class ActivityStartOptions(TypedDict, total=False):
    """How a client starts an activity by itself. The names are Temporal's."""

    id: Required[str]
    """The activity's id, of which at most one open run exists. It is what makes a repeated start of the same thing
    harmless. Ids of workflows are others."""
    task_queue: str | None
    """The queue whose workers run it; the definition's, else "default"."""
    schedule_to_close_timeout: Duration | None
    """The longest that all attempts and the waits between them may take together; no limit by default."""
    schedule_to_start_timeout: Duration | None
    """The longest wait for a worker. It is never retried; no limit by default."""
    start_to_close_timeout: Duration | None
    """The longest that one attempt may take; 5 minutes by default."""
    heartbeat_timeout: Duration | None
    """The longest silence between two heartbeats of an attempt; none are expected by default."""
    id_reuse_policy: ActivityIDReusePolicy
    """Whether the id may be used again after its last run has closed; ALLOW_DUPLICATE by default."""
    id_conflict_policy: ActivityIDConflictPolicy
    """What to do when the id has an open run; FAIL by default."""
    retry_policy: RetryPolicy | None
    """How often and how fast a failed attempt is followed by another one."""
    search_attributes: TypedSearchAttributes | None
    """What it is found by in lists."""
    summary: str | None
    """A line for people."""
    priority: Priority | None
    """Which of several activities that are due is taken first."""
    concurrency: Concurrency | None
    """At most so many with its key run at once, over all workers; no limit by default."""
    circuit_breaker: CircuitBreaker | None
    """What keeps it waiting while others with its key fail; nothing by default."""
    start_delay: Duration | None
    """How long until it may first be taken; timeouts count from then."""
    request_id: str | None
    """What makes this start, asked for again with the same id, return the run that it has started, open or closed."""
    connection: Any
    """A connection, or a session, on which a transaction of yours is open, as of `start_workflow`. The timeouts of the activity
    count from the call, not from the commit."""


_OPTIONS = frozenset(ActivityStartOptions.__annotations__)
_EXECUTION = (
    "task_queue",
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
    "retry_policy",
    "summary",
    "priority",
    "concurrency",
    "circuit_breaker",
)
"""Options that a definition may say, too."""

LONGEST_ID = MAX_NAME_BYTES - len(sole_name("").encode())
"""Bytes of an activity's id, and of its type: the run of it is kept under a longer one."""


def input_of(
    caller: str, activity: Any, values: tuple[Any, ...], options: Mapping[str, Any]
) -> StartActivityInput:
    """Return a start as interceptors see it, from whichever way it was written.

    Raises:
        TypeError: It is no activity, its arguments do not fit, or there is no such option.
        RegistrationError: It is a plain function.
        ValueError: The id is missing or cannot be one.
    """
    if isinstance(activity, ActivityCall):
        # It is given up for the start, whether that comes about or not.
        activity.replace()  # pyright: ignore[reportUnknownMemberType]
    said = dict(options)
    listed = argument_list(said.pop("args", ()))
    result_type = check_result_type(said.pop("result_type", None))
    if values and listed:
        raise TypeError("pass arguments either one by one or as args=[...], not both")
    given = values or tuple(listed)
    for name in said:
        if name not in _OPTIONS:
            raise TypeError(f"{caller}() has no option {name!r}; there are {', '.join(sorted(_OPTIONS))}")
    if "id" not in said:
        raise TypeError(f"{caller}() needs id=...: it is what makes a repeated start harmless")
    defined, types = ActivityOptions(), None
    if isinstance(activity, str):
        name, args = check_name(activity, "activity"), given
    elif isinstance(activity, ActivityCall):
        call: ActivityCall[Any] = activity  # pyright: ignore[reportUnknownVariableType]
        if given:
            raise TypeError(f"{shown(call)} has its arguments already; pass nothing behind it")
        name, args, defined = call.name, call.args, call.options
        types = None if call.definition is None else call.definition.arg_types
        result_type = call.result_type if result_type is None else result_type
    else:
        found = activity_of(activity)
        definition = found.definition
        name, args, defined = definition.name, definition.parameters.bind(given, {}), found.call_options
        types = definition.arg_types
        result_type = definition.ret_type if result_type is None else result_type
    return StartActivityInput(
        activity_type=name,
        args=args,
        result_type=Any if result_type is None else result_type,
        arg_types=types,
        defined=defined,
        headers={},
        id=said["id"],
        **{option: said.get(option) for option in _OPTIONS if option != "id"},
    )


async def start(connection: Connection, starts: Starts, input: StartActivityInput) -> str:
    """Start an activity, and return the run that it has then.

    Raises:
        Exception: As `Client.start_activity`.
    """
    activity_id = _short(input.id, "id")
    activity_type = _short(input.activity_type, "activity")
    said = {name: value for name in _EXECUTION if (value := getattr(input, name)) is not None}
    options = merge(input.defined or ActivityOptions(), said, "start_activity()")
    start_to_close = options.start_to_close_timeout
    if start_to_close is None and options.schedule_to_close_timeout is None:
        start_to_close = DEFAULT_START_TO_CLOSE
    queue = options.task_queue or DEFAULT_QUEUE
    priority = check_priority(options.priority)
    attributes = check_search_attributes(input.search_attributes)
    inside = None if input.connection is None else await connection.store.inside(input.connection)
    if attributes:
        await check_types(connection, attributes, inside)
    converter = _converter(connection, activity_id, activity_type, queue)
    scheduled = ActivityTaskScheduled(
        id=1,
        activity_id=activity_id,
        activity_type=activity_type,
        task_queue=queue,
        input=to_checked_payloads(converter, input.args, input.arg_types, f"{activity_type} input"),
        schedule_to_close=options.schedule_to_close_timeout,
        schedule_to_start=options.schedule_to_start_timeout,
        start_to_close=start_to_close,
        heartbeat=options.heartbeat_timeout,
        retry_policy=stored_policy(options.retry_policy),
        eager=False,
        headers=checked_headers(input.headers),
        summary=options.summary,
        priority=priority,
        limits=limits_of(options.priority, options.concurrency, options.circuit_breaker, None),
    )
    run_id = requested(input.request_id, f"start {sole_name(activity_id)}")
    delay = input.start_delay
    started = WorkflowExecutionStarted(
        workflow_id=sole_name(activity_id),
        workflow_type=sole_name(activity_type),
        task_queue=queue,
        first_run_id=run_id,
        search_attributes=attributes,
        identity=connection.identity,
        static_summary=options.summary,
        priority=priority,
        delay=0 if delay is None else to_duration(delay, "start_delay"),
    )
    reuse = _policy(input.id_reuse_policy, ActivityIDReusePolicy.ALLOW_DUPLICATE, "id_reuse_policy")
    conflict = _policy(input.id_conflict_policy, ActivityIDConflictPolicy.FAIL, "id_conflict_policy")
    new = start_sole(
        run_id,
        started,
        scheduled,
        reuse=WorkflowIDReusePolicy(int(reuse)),
        conflict=WorkflowIDConflictPolicy(int(conflict)),
    )
    if inside is None:
        verdict = await connection.patiently(lambda: starts.create(new))
    else:
        verdict = await create_inside(inside, new)
    if verdict.outcome is StartOutcome.REJECTED:
        raise ActivityAlreadyStartedError(activity_id, own_name(verdict.workflow_type), run_id=verdict.run_id)
    if inside is None:
        connection.store.hint([Hint(HintKind.ACTIVITY, queue)])
    return verdict.run_id


def _converter(
    connection: Connection, activity_id: str, activity_type: str, task_queue: str
) -> DataConverter:
    converter = connection.converter
    if not converter.takes_context:
        return converter
    return converter.with_context(
        ActivitySerializationContext(
            namespace=connection.namespace,
            activity_id=activity_id,
            activity_type=activity_type,
            activity_task_queue=task_queue,
            workflow_id=None,
            workflow_type=None,
        )
    )


def _short(name: object, field: str) -> str:
    found = check_name(name, field)
    if len(found.encode()) > LONGEST_ID:
        raise ValueError(f"{field} must be at most {LONGEST_ID} bytes: {found[:40]!a}...")
    return found


def _policy(value: object, default: Policy, name: str) -> Policy:
    if value is None or value is type(default)(0):
        return default
    if not isinstance(value, type(default)):
        choices = ", ".join(member.name for member in type(default))
        raise TypeError(f"{name} must be an {type(default).__name__} ({choices}), not {shown(value)}")
    return value


AT_ONCE = 2000
"""Starts under way at once when many are asked for: a few batches of the database, and no more memory than that takes."""


async def many(
    start: Callable[[StartActivityInput], Awaitable[Any]], inputs: Sequence[StartActivityInput]
) -> list[Any]:
    """Return what each start returns, in order, or the error it raises; so many at once."""
    found: list[Any] = []
    for first in range(0, len(inputs), AT_ONCE):
        starting = [start(input) for input in inputs[first : first + AT_ONCE]]
        found += await asyncio.gather(*starting, return_exceptions=True)
    return found
