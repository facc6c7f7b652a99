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

from enum import IntEnum
from typing import ClassVar

from msgspec import Struct

from durable.history._failures import Failure
from durable.history._payloads import Payload, Payloads


class EventType(IntEnum):
    """The stored number of each kind of event. A number is never used again for something else."""

    WORKFLOW_EXECUTION_STARTED = 1
    WORKFLOW_EXECUTION_SIGNALED = 2
    WORKFLOW_EXECUTION_CANCEL_REQUESTED = 3
    WORKFLOW_EXECUTION_COMPLETED = 10
    WORKFLOW_EXECUTION_FAILED = 11
    WORKFLOW_EXECUTION_CANCELED = 12
    WORKFLOW_EXECUTION_TERMINATED = 13
    WORKFLOW_EXECUTION_TIMED_OUT = 14
    ACTIVITY_TASK_SCHEDULED = 20
    ACTIVITY_TASK_CANCEL_REQUESTED = 21
    ACTIVITY_TASK_COMPLETED = 22
    ACTIVITY_TASK_FAILED = 23
    ACTIVITY_TASK_TIMED_OUT = 24
    ACTIVITY_TASK_CANCELED = 25
    TIMER_STARTED = 30
    TIMER_CANCELED = 31
    TIMER_FIRED = 32


class RetryPolicyData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A retry policy as stored; durations in microseconds, `maximum_interval` 0 means 100 times the initial one."""

    initial_interval: int = 1_000_000
    backoff_coefficient: float = 2.0
    maximum_interval: int = 0
    maximum_attempts: int = 0
    non_retryable_error_types: tuple[str, ...] = ()


class EventData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The facts of an event. `v` is the format version of this kind of event, see `history.FORMAT`."""

    type: ClassVar[EventType]

    v: int = 1


class Input(EventData, frozen=True, omit_defaults=True):
    """An event that comes from outside the workflow code.

    Attributes:
        message: The id of the inbox message this event was, if it was one; a second message with this id is dropped.
        flags: The behaviour flags its task runs under, so that fixes of the library do not change old runs.
    """

    message: str = ""
    flags: int = 0


class CommandEvent(EventData, frozen=True, omit_defaults=True):
    """An event that workflow code asked for."""

    id: int = 0


class WorkflowExecutionStarted(Input, frozen=True, omit_defaults=True):
    """The first event of every run: everything that the run was started with."""

    type = EventType.WORKFLOW_EXECUTION_STARTED

    workflow_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    seed: int = 0
    execution_timeout: int | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None
    retry_policy: RetryPolicyData | None = None
    attempt: int = 1
    first_run_id: str = ""
    memo: dict[str, Payload] = {}
    headers: dict[str, Payload] = {}
    identity: str = ""
    static_summary: str = ""
    static_details: str = ""


class WorkflowExecutionSignaled(Input, frozen=True, omit_defaults=True):
    """A signal was sent to the run."""

    type = EventType.WORKFLOW_EXECUTION_SIGNALED

    name: str = ""
    input: Payloads = ()
    headers: dict[str, Payload] = {}
    identity: str = ""


class WorkflowExecutionCancelRequested(Input, frozen=True, omit_defaults=True):
    """Somebody asked the run to cancel itself."""

    type = EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED

    reason: str = ""
    identity: str = ""


class WorkflowExecutionCompleted(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow function returned."""

    type = EventType.WORKFLOW_EXECUTION_COMPLETED

    result: Payload = Payload()


class WorkflowExecutionFailed(CommandEvent, frozen=True, omit_defaults=True):
    """A workflow failure left the workflow function."""

    type = EventType.WORKFLOW_EXECUTION_FAILED

    failure: Failure = Failure()
    retry_state: str | None = None


class WorkflowExecutionCanceled(CommandEvent, frozen=True, omit_defaults=True):
    """A cancellation that had been requested left the workflow function."""

    type = EventType.WORKFLOW_EXECUTION_CANCELED

    details: Payloads = ()


class WorkflowExecutionTerminated(Input, frozen=True, omit_defaults=True):
    """An operator ended the run without asking its code."""

    type = EventType.WORKFLOW_EXECUTION_TERMINATED

    reason: str = ""
    details: Payloads = ()
    identity: str = ""


class WorkflowExecutionTimedOut(Input, frozen=True, omit_defaults=True):
    """The run or its execution outlived its timeout."""

    type = EventType.WORKFLOW_EXECUTION_TIMED_OUT

    timeout_type: str = "run"


class ActivityTaskScheduled(CommandEvent, frozen=True, omit_defaults=True):
    """An activity was asked for, with everything a worker needs to run it.

    `schedule_to_close` bounds all attempts together, `schedule_to_start` the wait for a worker, `start_to_close` one
    attempt, `heartbeat` the time between two heartbeats. `eager` is False when the workflow wants the event recorded
    before anything runs.
    """

    type = EventType.ACTIVITY_TASK_SCHEDULED

    activity_id: str = ""
    activity_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    schedule_to_close: int | None = None
    schedule_to_start: int | None = None
    start_to_close: int | None = None
    heartbeat: int | None = None
    retry_policy: RetryPolicyData = RetryPolicyData()
    cancellation_type: str = "try_cancel"
    eager: bool = True
    headers: dict[str, Payload] = {}
    summary: str = ""


class ActivityTaskCancelRequested(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow asked for the cancellation of its activity `id`."""

    type = EventType.ACTIVITY_TASK_CANCEL_REQUESTED


class ActivityInput(Input, frozen=True, omit_defaults=True):
    """The outcome of activity `id`, and which attempt brought it."""

    id: int = 0
    attempt: int = 1
    identity: str = ""


class ActivityTaskCompleted(ActivityInput, frozen=True, omit_defaults=True):
    """An attempt of the activity returned."""

    type = EventType.ACTIVITY_TASK_COMPLETED

    result: Payload = Payload()


class ActivityTaskFailed(ActivityInput, frozen=True, omit_defaults=True):
    """The activity failed and will not be tried again."""

    type = EventType.ACTIVITY_TASK_FAILED

    failure: Failure = Failure()
    retry_state: str | None = None


class ActivityTaskTimedOut(ActivityInput, frozen=True, omit_defaults=True):
    """A deadline of the activity passed, or its worker was lost, and it will not be tried again."""

    type = EventType.ACTIVITY_TASK_TIMED_OUT

    failure: Failure = Failure()
    retry_state: str | None = None


class ActivityTaskCanceled(ActivityInput, frozen=True, omit_defaults=True):
    """The activity ended because it had been asked to."""

    type = EventType.ACTIVITY_TASK_CANCELED

    details: Payloads = ()


class TimerStarted(CommandEvent, frozen=True, omit_defaults=True):
    """A timer runs; it is due `duration` after the time of the task that started it."""

    type = EventType.TIMER_STARTED

    duration: int = 0
    summary: str = ""


class TimerCanceled(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow no longer wants timer `id`."""

    type = EventType.TIMER_CANCELED


class TimerFired(Input, frozen=True, omit_defaults=True):
    """Timer `id` is due."""

    type = EventType.TIMER_FIRED

    id: int = 0


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
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    ActivityTaskCanceled,
    TimerFired,
)

COMMANDS: tuple[type[CommandEvent], ...] = (
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionCanceled,
    ActivityTaskScheduled,
    ActivityTaskCancelRequested,
    TimerStarted,
    TimerCanceled,
)

CLOSING: tuple[type[EventData], ...] = (
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionCanceled,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)
"""What ends a history. Nothing follows one of these."""

FROM_OUTSIDE: tuple[type[EventData], ...] = (WorkflowExecutionTerminated, WorkflowExecutionTimedOut)
"""What ends a run without its code: no task applies these, and they may be written by others than the owner."""
