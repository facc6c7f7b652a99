"""A run's state, which is a fold over its log and nothing else.

`RunState.extend` takes the events of a history in their order. Whatever the engine decides it decides from this; two workers
that have read the same log have the same state, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from durable._engine.records import RunStatus
from durable._engine.versioning import NO_VERSION, pinned_to
from durable.exceptions import HistoryCorruptError
from durable.history import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    Event,
    EventData,
    ExternalCommand,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    Input,
    MarkerRecorded,
    OperationInput,
    Payload,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionOptionsUpdated,
    WorkflowExecutionReset,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
    begins_at,
    modified_memo,
)
from durable.history._search_attributes import merge_search_attributes

RUNNING = RunStatus.RUNNING

LARGE_EVENTS = 10_240
"""Events of a history that are remarkable: Temporal warns there too. No run is ever ended for its size."""

LARGE_BYTES = 10 * 1024 * 1024
"""Bytes of a history, likewise."""


class PendingActivity(Struct, gc=False):
    """An activity that was scheduled and has no outcome yet.

    Attributes:
        scheduled: What its task asked for.
        scheduled_at: The time of that task: its deadlines count from then.
        cancel_requested: Whether the code has cancelled it.
    """

    scheduled: ActivityTaskScheduled
    scheduled_at: int
    cancel_requested: bool = False


class PendingChild(Struct, gc=False):
    """A child workflow that was asked for and has not ended, as far as the log knows.

    Attributes:
        asked: What its task asked for.
        started: Whether it is there.
    """

    asked: StartChildWorkflowExecutionInitiated
    started: bool = False


class RunState:
    """The fold of one history.

    Attributes:
        seq: Position of the newest event.
        task: Number of the newest workflow task.
        time: Time of the newest event.
        task_time: Time of the newest task: that of its last input. Timers and deadlines count from it. That of a first
            task is not before the run begins.
        created_at: Time of the first event.
        size: Bytes of all events.
        trailing: Whether the newest task has no commands (yet).
        messages: Ids of the inbox messages that have become events, in their order; for signals and cancel requests with
            their time. Other ids mean something within this run only.
        children: Children that have not ended, by the number of their command.
        external: Messages to other workflows of which it is not known whether they were taken, likewise.
        reset_at: When the run it goes on for was reset to it, if it was; its timeouts count from then.
        updates: Ids of the updates (as messages) that are accepted and have no outcome yet.
        upserted: The search attributes, once the code has changed them.
        noted: The memo, likewise.
        completed: Which version ran the newest task that is written, and what its workflow says of versions there.
        override: What holds for the run whatever its workflow says of versions.
        patches: The patches that the run has taken the way of, in their order.
        builds: The versions that have run tasks of it, likewise.
    """

    __slots__ = (
        "activities",
        "builds",
        "cancel_requested",
        "children",
        "completed",
        "created_at",
        "external",
        "messages",
        "noted",
        "override",
        "patches",
        "reset_at",
        "run_id",
        "seq",
        "size",
        "started",
        "status",
        "task",
        "task_time",
        "time",
        "timers",
        "trailing",
        "updates",
        "upserted",
    )

    started: WorkflowExecutionStarted

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.seq: int = 0
        self.task: int = 0
        self.time = 0
        self.task_time = 0
        self.created_at = 0
        self.size = 0
        self.trailing = False
        self.activities: dict[int, PendingActivity] = {}
        self.timers: dict[int, int] = {}
        self.children: dict[int, PendingChild] = {}
        self.external: dict[int, ExternalCommand] = {}
        self.messages: dict[str, int] = {}
        self.updates: set[str] = set()
        self.upserted: dict[str, Payload] | None = None
        self.noted: dict[str, Payload] | None = None
        self.cancel_requested = False
        self.reset_at: int | None = None
        self.completed = NO_VERSION
        self.override = ""
        self.patches: tuple[str, ...] = ()
        self.builds: tuple[str, ...] = ()
        self.status = RunStatus.RUNNING

    @classmethod
    def of(cls, run_id: str, events: Iterable[Event]) -> RunState:
        """Return the state that a history folds to."""
        state = cls(run_id)
        for event in events:
            state.extend(event.seq, event.task, event.time, (event.data,))
        return state

    def extend(self, seq: int, task: int, time: int, facts: Sequence[EventData]) -> None:
        """Take the next events, of one task and one time, the first of them at position `seq`.

        Raises:
            HistoryCorruptError: They cannot follow what is there.
        """
        for data in facts:
            if seq != self.seq + 1 or self.status is not RUNNING:
                raise HistoryCorruptError(f"run {self.run_id}: event {seq} cannot follow event {self.seq}")
            self.seq = seq
            self.task = task
            self.time = time
            if isinstance(data, Input):
                # Only the first task of a run that was started with a delay may be in the future.
                early = self.task_time > time and task == 1
                self.task_time = begins_at(self.started, self.task_time, data, time) if early else time
                self.trailing = True
                if data.message:
                    self.messages[data.message] = 0
            else:
                self.trailing = False
            _FOLD[type(data)](self, data)
            seq += 1

    @property
    def search_attributes(self) -> dict[str, Payload]:
        """What the run is found by now."""
        return self.started.search_attributes if self.upserted is None else self.upserted

    @property
    def memo(self) -> dict[str, Payload]:
        """The memo as it is now."""
        return self.started.memo if self.noted is None else self.noted

    def next_timer(self) -> int | None:
        """Return the instant at which the next timer is due."""
        return min(self.timers.values()) if self.timers else None

    def _signaled(self, data: WorkflowExecutionSignaled) -> None:
        """A signal changes what workflow code knows, not what the engine knows, but that it has been read."""
        if data.message:
            self.messages[data.message] = self.time

    @property
    def large(self) -> bool:
        """Whether the history has become so long that people should be told."""
        return self.seq >= LARGE_EVENTS or self.size >= LARGE_BYTES

    @property
    def expires_at(self) -> int | None:
        """The instant by which the chain of runs must be over, None for never."""
        started = self.started
        if self.reset_at is not None and started.execution_timeout is not None:
            return self.reset_at + started.execution_timeout
        if started.expires_at is not None or started.execution_timeout is None:
            return started.expires_at
        return self.created_at + started.delay + started.execution_timeout

    def _started(self, data: WorkflowExecutionStarted) -> None:
        self.started = data
        self.override = data.versioning_override
        self.messages.update(dict.fromkeys(data.known, self.time))
        self.created_at = self.time
        self.task_time = self.time + data.delay

    def _cancel_requested(self, data: WorkflowExecutionCancelRequested) -> None:
        self.cancel_requested = True
        if data.message:
            self.messages[data.message] = self.time

    def _reset(self, _data: WorkflowExecutionReset) -> None:
        """What was open then begins anew."""
        self.reset_at = self.time
        for activity in self.activities.values():
            activity.scheduled_at = self.time

    def _options_updated(self, data: WorkflowExecutionOptionsUpdated) -> None:
        self.override = data.versioning_override
        if data.message:
            self.messages[data.message] = self.time

    def _task_completed(self, data: WorkflowTaskCompleted) -> None:
        self.completed = data
        if (version := data.worker_deployment_version) and version not in self.builds:
            self.builds += (version,)

    def _marked(self, data: MarkerRecorded) -> None:
        if data.patch_id not in self.patches:
            self.patches += (data.patch_id,)

    @property
    def pinned_to(self) -> str:
        """The version that the run belongs to, "" when it follows its queue."""
        return pinned_to(self.override, self.completed)

    def _activity_scheduled(self, data: ActivityTaskScheduled) -> None:
        self.activities[data.id] = PendingActivity(data, self.task_time)

    def _activity_cancel_requested(self, data: ActivityTaskCancelRequested) -> None:
        if (activity := self.activities.get(data.id)) is not None:
            activity.cancel_requested = True

    def _activity_closed(
        self, data: ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled
    ) -> None:
        if self.activities.pop(data.id, None) is None:
            raise HistoryCorruptError(
                f"run {self.run_id}: event {self.seq} ends activity {data.id}, which is not open"
            )

    def _timer_started(self, data: TimerStarted) -> None:
        self.timers[data.id] = self.task_time + data.duration

    def _timer_closed(self, data: TimerFired | TimerCanceled) -> None:
        if self.timers.pop(data.id, None) is None:
            raise HistoryCorruptError(
                f"run {self.run_id}: event {self.seq} ends timer {data.id}, which is not open"
            )

    def _update_accepted(self, data: WorkflowExecutionUpdateAccepted) -> None:
        self.updates.add(data.message)

    def _update_completed(self, data: WorkflowExecutionUpdateCompleted) -> None:
        if data.update not in self.updates:
            raise HistoryCorruptError(
                f"run {self.run_id}: event {self.seq} completes update {data.update!r}, which is not open"
            )
        self.updates.discard(data.update)

    def _upserted(self, data: UpsertWorkflowSearchAttributes) -> None:
        self.upserted = merge_search_attributes(self.search_attributes, data.search_attributes)

    def _noted(self, data: WorkflowPropertiesModified) -> None:
        self.noted = modified_memo(self.memo, data)

    def _child_initiated(self, data: StartChildWorkflowExecutionInitiated) -> None:
        self.children[data.id] = PendingChild(data)

    def _child_started(self, data: ChildWorkflowExecutionStarted) -> None:
        if (child := self.children.get(data.id)) is None:
            raise HistoryCorruptError(
                f"run {self.run_id}: event {self.seq} starts child {data.id}, which was not asked for"
            )
        child.started = True

    def _child_closed(self, data: OperationInput) -> None:
        if self.children.pop(data.id, None) is None:
            raise HistoryCorruptError(
                f"run {self.run_id}: event {self.seq} ends child {data.id}, which is not open"
            )

    def _external_initiated(self, data: ExternalCommand) -> None:
        self.external[data.id] = data

    def _external_answered(self, data: OperationInput) -> None:
        if self.external.pop(data.id, None) is None:
            raise HistoryCorruptError(
                f"run {self.run_id}: event {self.seq} answers message {data.id}, which was not sent"
            )

    def awaits(self, data: OperationInput) -> bool:
        """Whether news of a child or of a message to another workflow still means something."""
        return data.id in (self.children if isinstance(data, CHILD_INPUTS) else self.external)

    def _close(self, data: EventData) -> None:
        self.status = CLOSING_STATUS[type(data)]


CLOSING_STATUS: dict[type[EventData], RunStatus] = {
    WorkflowExecutionCompleted: RunStatus.COMPLETED,
    WorkflowExecutionFailed: RunStatus.FAILED,
    WorkflowExecutionCanceled: RunStatus.CANCELED,
    WorkflowExecutionContinuedAsNew: RunStatus.CONTINUED_AS_NEW,
    WorkflowExecutionTerminated: RunStatus.TERMINATED,
    WorkflowExecutionTimedOut: RunStatus.TIMED_OUT,
}
"""The status that each closing event leaves a run in."""

CHILD_INPUTS = (
    ChildWorkflowExecutionStarted,
    StartChildWorkflowExecutionFailed,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
)
"""What a run hears of its children, the beginning first."""

_FOLD: dict[type[EventData], Callable[[RunState, Any], None]] = {
    WorkflowExecutionStarted: RunState._started,
    WorkflowExecutionReset: RunState._reset,
    WorkflowExecutionSignaled: RunState._signaled,
    WorkflowExecutionCancelRequested: RunState._cancel_requested,
    ActivityTaskScheduled: RunState._activity_scheduled,
    ActivityTaskCancelRequested: RunState._activity_cancel_requested,
    ActivityTaskCompleted: RunState._activity_closed,
    ActivityTaskFailed: RunState._activity_closed,
    ActivityTaskTimedOut: RunState._activity_closed,
    ActivityTaskCanceled: RunState._activity_closed,
    TimerStarted: RunState._timer_started,
    TimerFired: RunState._timer_closed,
    TimerCanceled: RunState._timer_closed,
    StartChildWorkflowExecutionInitiated: RunState._child_initiated,
    ChildWorkflowExecutionStarted: RunState._child_started,
    **dict.fromkeys(CHILD_INPUTS[1:], RunState._child_closed),
    SignalExternalWorkflowExecutionInitiated: RunState._external_initiated,
    RequestCancelExternalWorkflowExecutionInitiated: RunState._external_initiated,
    ExternalWorkflowExecutionSignaled: RunState._external_answered,
    SignalExternalWorkflowExecutionFailed: RunState._external_answered,
    ExternalWorkflowExecutionCancelRequested: RunState._external_answered,
    RequestCancelExternalWorkflowExecutionFailed: RunState._external_answered,
    WorkflowExecutionUpdateAccepted: RunState._update_accepted,
    WorkflowExecutionUpdateCompleted: RunState._update_completed,
    MarkerRecorded: RunState._marked,
    WorkflowExecutionOptionsUpdated: RunState._options_updated,
    WorkflowTaskCompleted: RunState._task_completed,
    UpsertWorkflowSearchAttributes: RunState._upserted,
    WorkflowPropertiesModified: RunState._noted,
    **dict.fromkeys(CLOSING_STATUS, RunState._close),
}
