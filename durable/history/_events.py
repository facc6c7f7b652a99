"""The facts a history is made of.

A history is the append-only, gapless log of one run. Each entry, an *event*, has a position (`seq`, from 1), the number
of the workflow task it belongs to, the database's time at its commit, and its facts: one of the frozen structs below,
named as Temporal names it.

Events come in two kinds, and the distinction carries the whole design:

* *Inputs* come from outside: the start, a signal, an activity's result, a timer that fired. Nothing but an input can
  make workflow code go on, and an input is applied only after it is committed.
* *Commands* are what workflow code asked for in answer to the inputs of its task. Code is deterministic, so commands
  are a function of the inputs: they may be acted on before they are committed, since a replay asks for them again. A
  command is written down as the event it becomes (`ActivityTaskScheduled` is both), so no second set of structs exists.

A *task* is one activation: its inputs, then the commands they caused, contiguous in `seq`. There are no bookkeeping
events: a workflow with one activity has four events.

What one run asks for is numbered by the run: `id` is the number of the command within its run, and the events that
answer it carry the same `id`. Instants and durations are integers of microseconds.
"""

from __future__ import annotations

from msgspec import Struct

from durable.history._activity_events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    TimerCanceled,
    TimerFired,
    TimerStarted,
)
from durable.history._facts import (
    CommandEvent,
    EventData,
    EventType,
    Input,
)
from durable.history._other_events import (
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
)
from durable.history._workflow_events import (
    MarkerRecorded,
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
)


class Event(Struct, frozen=True, gc=False):
    """One entry of a history.

    Attributes:
        seq: Its position in the history, from 1 without gaps.
        task: The number of the workflow task it belongs to, from 1.
        time: The database's time at its commit, never before that of an earlier event.
        data: What happened.
    """

    seq: int
    task: int
    time: int
    data: EventData

    @property
    def type(self) -> EventType:
        """Which kind of event it is."""
        return self.data.type


class EventRow(Struct, frozen=True, gc=False):
    """An event as a store keeps it: `type` is an `EventType`'s number, `data` the encoded facts, byte for byte."""

    seq: int
    task: int
    type: int
    data: bytes
    time: int = 0


INPUTS: tuple[type[Input], ...] = (
    WorkflowExecutionStarted,
    WorkflowExecutionSignaled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionOptionsUpdated,
    WorkflowExecutionReset,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    ActivityTaskCanceled,
    TimerFired,
    ChildWorkflowExecutionStarted,
    StartChildWorkflowExecutionFailed,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ExternalWorkflowExecutionSignaled,
    SignalExternalWorkflowExecutionFailed,
    ExternalWorkflowExecutionCancelRequested,
    RequestCancelExternalWorkflowExecutionFailed,
    WorkflowExecutionUpdateAccepted,
)

COMMANDS: tuple[type[CommandEvent], ...] = (
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionCanceled,
    ActivityTaskScheduled,
    ActivityTaskCancelRequested,
    TimerStarted,
    TimerCanceled,
    WorkflowExecutionContinuedAsNew,
    StartChildWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionInitiated,
    RequestCancelExternalWorkflowExecutionInitiated,
    WorkflowExecutionUpdateCompleted,
    MarkerRecorded,
    UpsertWorkflowSearchAttributes,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
)

CLOSING: tuple[type[EventData], ...] = (
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionCanceled,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
"""What ends a history. Nothing follows one of these."""

FROM_OUTSIDE: tuple[type[EventData], ...] = (WorkflowExecutionTerminated, WorkflowExecutionTimedOut)
"""What ends a run without its code: no task applies these, and they may be written by others than the owner."""
