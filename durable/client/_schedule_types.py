"""Schedules as people write and read them: Temporal's names and fields.

A schedule says what it starts (`action`), when (`spec`), how (`policy`) and whether now (`state`). An update changes these
fields on the schedule that `describe` returns, so they can be changed; each is checked as it is made, and again as it is
stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVarTuple, overload

from durable._engine.schedules.records import (
    DEFAULT_CATCHUP_WINDOW,
    PendingBackfill,
    PolicyRecord,
    RecentAction,
    ScheduleOverlapPolicy,
    ScheduleProgress,
    Standing,
)
from durable._internal.ids import MAX_NAME_BYTES, check_name, check_note
from durable._internal.instants import Duration, from_datetime, to_datetime, to_duration, to_timedelta
from durable._internal.shown import shown
from durable.client._schedule_spec import ScheduleSpec
from durable.client._start_options import argument_list
from durable.common import Priority, RetryPolicy, TypedSearchAttributes
from durable.history import Payload
from durable.interceptor._headers import checked_headers
from durable.workflow._calls import WorkflowCall

INSTANT_BYTES = 28
"""What a nominal instant adds to the workflow id, at most: `-2026-11-21T09:00:00.000001Z`."""

Ts = TypeVarTuple("Ts")


class ScheduleAction:
    """What a schedule can do. There is one thing: `ScheduleActionStartWorkflow`."""


@dataclass(init=False)
class ScheduleActionStartWorkflow(ScheduleAction):
    """Start a workflow.

    Attributes:
        workflow: A call (`checkout(order)`), or in Temporal's way a workflow, `Class.run` or the name of a type.
        args: Its arguments, when `workflow` is no call.
        id: What the ids of the workflows begin with; the nominal instant is written behind it.
        task_queue: The queue whose workers run them; the definition's, else "default".
        execution_timeout: See `StartOptions`, as the rest. In a schedule that is read from the database, `args` and the
            values of `memo` are payloads; leave them as they are, or put others in their places.
    """

    workflow: Any
    args: Sequence[Any]
    id: str
    task_queue: str | None
    execution_timeout: Duration | None
    run_timeout: Duration | None
    task_timeout: Duration | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    typed_search_attributes: TypedSearchAttributes | None
    priority: Priority | None
    headers: Mapping[str, Payload] | None
    static_summary: str
    static_details: str

    @overload
    def __init__(
        self,
        call: WorkflowCall[Any, Any],
        /,
        *,
        id: str,
        task_queue: str | None = None,
        execution_timeout: Duration | None = None,
        run_timeout: Duration | None = None,
        task_timeout: Duration | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes | None = None,
        priority: Priority | None = None,
        headers: Mapping[str, Payload] | None = None,
        static_summary: str = "",
        static_details: str = "",
    ) -> None: ...
    @overload
    def __init__(
        self,
        workflow: Callable[[*Ts], WorkflowCall[Any, Any]],
        /,
        *values: *Ts,
        id: str,
        task_queue: str | None = None,
        execution_timeout: Duration | None = None,
        run_timeout: Duration | None = None,
        task_timeout: Duration | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes | None = None,
        priority: Priority | None = None,
        headers: Mapping[str, Payload] | None = None,
        static_summary: str = "",
        static_details: str = "",
    ) -> None: ...
    @overload
    def __init__(
        self,
        workflow: str,
        /,
        *values: Any,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str | None = None,
        execution_timeout: Duration | None = None,
        run_timeout: Duration | None = None,
        task_timeout: Duration | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes | None = None,
        priority: Priority | None = None,
        headers: Mapping[str, Payload] | None = None,
        static_summary: str = "",
        static_details: str = "",
    ) -> None: ...
    def __init__(
        self,
        workflow: Any,
        /,
        *values: object,
        args: Sequence[Any] = (),
        id: str,
        task_queue: str | None = None,
        execution_timeout: Duration | None = None,
        run_timeout: Duration | None = None,
        task_timeout: Duration | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes | None = None,
        priority: Priority | None = None,
        headers: Mapping[str, Payload] | None = None,
        static_summary: str = "",
        static_details: str = "",
    ) -> None:
        more = argument_list(args)
        if values and more:
            raise TypeError("pass arguments either one by one or as args=[...], not both")
        if isinstance(workflow, WorkflowCall) and (values or more):
            raise TypeError(f"{workflow!r} has its arguments already; pass nothing behind it")
        self.workflow = check_name(workflow, "workflow") if isinstance(workflow, str) else workflow
        self.args = tuple(more) or values
        self.id = id
        self.task_queue = task_queue
        self.execution_timeout = execution_timeout
        self.run_timeout = run_timeout
        self.task_timeout = task_timeout
        self.retry_policy = retry_policy
        self.memo = memo
        self.typed_search_attributes = typed_search_attributes
        self.priority = priority
        self.headers = headers
        self.static_summary = static_summary
        self.static_details = static_details
        self.check()

    def check(self) -> None:
        """Refuse what could not be started later, when nobody is there to be told.

        Raises:
            ValueError: A field is out of range; the text names it.
            TypeError: A field is of a wrong type.
        """
        if len(check_name(self.id, "id").encode()) > MAX_NAME_BYTES - INSTANT_BYTES:
            raise ValueError(
                f"id must be at most {MAX_NAME_BYTES - INSTANT_BYTES} bytes, because each workflow's id is it "
                f"and the instant: {self.id[:40]!r}..."
            )
        if self.task_queue is not None:
            check_name(self.task_queue, "task_queue")
        for name in ("execution_timeout", "run_timeout", "task_timeout"):
            timeout: Duration | None = getattr(self, name)
            if timeout is not None:
                to_duration(timeout, name, allow_zero=False)
        for key in self.memo or ():
            check_name(key, "memo key")
        checked_headers(self.headers or {})
        attributes: object = self.typed_search_attributes
        if attributes is not None and not isinstance(attributes, TypedSearchAttributes):
            raise TypeError(f"typed_search_attributes must be TypedSearchAttributes, not {shown(attributes)}")
        priority: object = self.priority
        if priority is not None and not isinstance(priority, Priority):
            raise TypeError(f"priority must be a Priority, not {type(priority).__name__}: {shown(priority)}")
        check_note(self.static_summary, "static_summary")
        check_note(self.static_details, "static_details")


@dataclass
class SchedulePolicy:
    """How a schedule acts.

    Attributes:
        overlap: What happens to an action that is due while an earlier one is still running.
        catchup_window: How late an action may still be taken, when no worker was there at its time; later ones are
            counted and not taken. A year when None; less than 10 seconds is taken as 10 seconds.
        pause_on_failure: Whether the schedule pauses itself when a workflow it started fails or times out. Those
            started under ALLOW_ALL, and those that were cancelled or terminated, do not count.
    """

    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    catchup_window: Duration | None = None
    pause_on_failure: bool = False

    def __post_init__(self) -> None:
        self.to_record()

    def to_record(self) -> PolicyRecord:
        """Return it as it is stored, checked."""
        window = self.catchup_window
        return PolicyRecord(
            overlap=check_overlap(self.overlap, "SchedulePolicy.overlap"),
            catchup_window=(
                DEFAULT_CATCHUP_WINDOW
                if window is None
                else to_duration(window, "SchedulePolicy.catchup_window")
            ),
            pause_on_failure=_flag(self.pause_on_failure, "SchedulePolicy.pause_on_failure"),
        )

    @classmethod
    def from_record(cls, record: PolicyRecord) -> SchedulePolicy:
        """Return what was stored."""
        return cls(record.overlap, to_timedelta(record.catchup_window), record.pause_on_failure)


@dataclass
class ScheduleState:
    """Whether a schedule acts.

    Attributes:
        note: For people. The schedule writes here why it paused itself.
        paused: Whether it takes no action when one is due. A trigger or a backfill is taken all the same.
        limited_actions: Whether `remaining_actions` counts.
        remaining_actions: After how many more actions it stops. Triggers and backfills do not count.
    """

    note: str | None = None
    paused: bool = False
    limited_actions: bool = False
    remaining_actions: int = 0

    def __post_init__(self) -> None:
        self.to_record()

    def to_record(self) -> Standing:
        """Return it as it is stored, checked."""
        limited = _flag(self.limited_actions, "ScheduleState.limited_actions")
        remaining: object = self.remaining_actions
        if isinstance(remaining, bool) or not isinstance(remaining, int):
            raise TypeError(
                f"ScheduleState.remaining_actions must be a whole number, not {type(remaining).__name__}"
            )
        if remaining < 0:
            raise ValueError(f"ScheduleState.remaining_actions must not be negative: {remaining}")
        if remaining and not limited:
            raise ValueError(
                "ScheduleState.remaining_actions counts only with limited_actions=True; set both, or neither"
            )
        return Standing(
            note=check_note(self.note or "", "ScheduleState.note"),
            paused=_flag(self.paused, "ScheduleState.paused"),
            limited_actions=limited,
            remaining_actions=remaining,
        )

    @classmethod
    def from_record(cls, record: Standing) -> ScheduleState:
        """Return what was stored."""
        return cls(record.note or None, record.paused, record.limited_actions, record.remaining_actions)


@dataclass
class Schedule:
    """What is started, when, how, and whether now."""

    action: ScheduleAction
    spec: ScheduleSpec
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)
    state: ScheduleState = field(default_factory=ScheduleState)


@dataclass
class ScheduleBackfill:
    """A period whose actions are taken as if it passed now.

    Attributes:
        start_at: Where it begins; an action at this very instant is not taken.
        end_at: Where it ends; an action at this very instant is taken.
        overlap: The overlap policy of these actions; the schedule's when None.
    """

    start_at: datetime
    end_at: datetime
    overlap: ScheduleOverlapPolicy | None = None

    def __post_init__(self) -> None:
        self.to_record()

    def to_record(self) -> PendingBackfill:
        """Return it as it is stored, checked."""
        after = from_datetime(self.start_at, "ScheduleBackfill.start_at")
        until = from_datetime(self.end_at, "ScheduleBackfill.end_at")
        if until < after:
            raise ValueError(
                f"ScheduleBackfill.end_at must not be before start_at: {self.end_at} is before {self.start_at}"
            )
        overlap = None if self.overlap is None else check_overlap(self.overlap, "ScheduleBackfill.overlap")
        return PendingBackfill(after, until, overlap)


class ScheduleActionExecution:
    """What an action came to. There is one kind: `ScheduleActionExecutionStartWorkflow`."""


@dataclass(frozen=True)
class ScheduleActionExecutionStartWorkflow(ScheduleActionExecution):
    """A workflow that was started."""

    workflow_id: str
    first_execution_run_id: str


@dataclass(frozen=True)
class ScheduleActionResult:
    """An action that was taken: when it was due, jitter included, when it was taken, and what it came to."""

    scheduled_at: datetime
    started_at: datetime
    action: ScheduleActionExecutionStartWorkflow

    @classmethod
    def from_record(cls, record: RecentAction) -> ScheduleActionResult:
        """Return what was stored."""
        return cls(
            to_datetime(record.scheduled_at),
            to_datetime(record.started_at),
            ScheduleActionExecutionStartWorkflow(record.workflow_id, record.run_id),
        )


@dataclass(frozen=True)
class ScheduleInfo:
    """What a schedule has done, and what it is about to do.

    Attributes:
        num_actions: How many actions were taken.
        num_actions_missed_catchup_window: How many were found later than the catch-up window allows.
        num_actions_skipped_overlap: How many were not taken because of another.
        num_actions_buffer_dropped: How many waited in vain: too many did, or the schedule no longer acted at their turn.
        buffer_size: How many wait.
        running_actions: Those that were taken and have not ended, without those of ALLOW_ALL.
        recent_actions: The last ten, oldest first.
        next_action_times: When the next ten are due.
        created_at: When the schedule was created.
        last_updated_at: When it was last updated.
    """

    num_actions: int
    num_actions_missed_catchup_window: int
    num_actions_skipped_overlap: int
    num_actions_buffer_dropped: int
    buffer_size: int
    running_actions: Sequence[ScheduleActionExecutionStartWorkflow]
    recent_actions: Sequence[ScheduleActionResult]
    next_action_times: Sequence[datetime]
    created_at: datetime
    last_updated_at: datetime | None

    @classmethod
    def from_record(cls, record: ScheduleProgress, upcoming: Sequence[int]) -> ScheduleInfo:
        """Return what was stored, and when the next actions are due."""
        return cls(
            num_actions=record.num_actions,
            num_actions_missed_catchup_window=record.missed_catchup,
            num_actions_skipped_overlap=record.skipped_overlap,
            num_actions_buffer_dropped=record.buffer_dropped,
            buffer_size=len(record.buffer),
            running_actions=[
                ScheduleActionExecutionStartWorkflow(one.workflow_id, one.run_id) for one in record.running
            ],
            recent_actions=[ScheduleActionResult.from_record(one) for one in record.recent],
            next_action_times=[to_datetime(one) for one in upcoming],
            created_at=to_datetime(record.created_at),
            last_updated_at=None if record.updated_at is None else to_datetime(record.updated_at),
        )


@dataclass(frozen=True)
class ScheduleUpdate:
    """What the callback of an update returns.

    Attributes:
        schedule: The schedule from now on.
        search_attributes: The schedule's search attributes from now on; as they are when None.
    """

    schedule: Schedule
    search_attributes: TypedSearchAttributes | None = None


def check_overlap(value: object, name: str) -> ScheduleOverlapPolicy:
    """Return an overlap policy that is one.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(value, ScheduleOverlapPolicy):
        choices = ", ".join(member.name for member in ScheduleOverlapPolicy)
        raise TypeError(f"{name} must be a ScheduleOverlapPolicy ({choices}), not {shown(value)}")
    return value


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return value
