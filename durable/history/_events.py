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

from collections.abc import Mapping
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
    WORKFLOW_EXECUTION_CONTINUED_AS_NEW = 15
    ACTIVITY_TASK_SCHEDULED = 20
    ACTIVITY_TASK_CANCEL_REQUESTED = 21
    ACTIVITY_TASK_COMPLETED = 22
    ACTIVITY_TASK_FAILED = 23
    ACTIVITY_TASK_TIMED_OUT = 24
    ACTIVITY_TASK_CANCELED = 25
    TIMER_STARTED = 30
    TIMER_CANCELED = 31
    TIMER_FIRED = 32
    START_CHILD_WORKFLOW_EXECUTION_INITIATED = 40
    CHILD_WORKFLOW_EXECUTION_STARTED = 41
    START_CHILD_WORKFLOW_EXECUTION_FAILED = 42
    CHILD_WORKFLOW_EXECUTION_COMPLETED = 43
    CHILD_WORKFLOW_EXECUTION_FAILED = 44
    CHILD_WORKFLOW_EXECUTION_CANCELED = 45
    CHILD_WORKFLOW_EXECUTION_TERMINATED = 46
    CHILD_WORKFLOW_EXECUTION_TIMED_OUT = 47
    SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED = 50
    EXTERNAL_WORKFLOW_EXECUTION_SIGNALED = 51
    SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED = 52
    REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED = 53
    EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED = 54
    REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED = 55
    WORKFLOW_EXECUTION_UPDATE_ACCEPTED = 60
    WORKFLOW_EXECUTION_UPDATE_COMPLETED = 61
    UPSERT_WORKFLOW_SEARCH_ATTRIBUTES = 80
    WORKFLOW_PROPERTIES_MODIFIED = 81


class RetryPolicyData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A retry policy as stored; durations in microseconds, `maximum_interval` 0 means 100 times the initial one."""

    initial_interval: int = 1_000_000
    backoff_coefficient: float = 2.0
    maximum_interval: int = 0
    maximum_attempts: int = 0
    non_retryable_error_types: tuple[str, ...] = ()


class EventData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The facts of an event.

    `v` is the format version of these facts, see `history.FORMAT`. A field that came later than its kind names the
    version it came with (`NEWER`); facts that use none of them are written as version 1, so that older workers can
    still read them.
    """

    type: ClassVar[EventType]
    NEWER: ClassVar[Mapping[str, int]] = {}

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


class ParentLink(Struct, frozen=True, gc=False, omit_defaults=True):
    """Whose child a run is: the parent's run, and the number of the command there that started it.

    A child that continues as new, or is retried, hands this on: the parent hears of the end of the last run.
    """

    workflow_id: str = ""
    run_id: str = ""
    id: int = 0


class WorkflowExecutionStarted(Input, frozen=True, omit_defaults=True):
    """The first event of every run: everything that the run was started with.

    Attributes:
        execution_timeout: How long this run and all that follow it may take together.
        attempt: Which try of the workflow's retry policy this run is, from 1.
        first_run_id: The first run of the chain of runs that continue, retry or repeat each other; "" for itself.
        continued_run_id: The run before it in that chain.
        expires_at: The instant at which the chain's execution timeout passes.
        parent_close_policy: What becomes of it when its parent ends, a name of `ParentClosePolicy` in lower case.
        root_workflow_id: The top of the tree of parents, with `root_run_id`; "" when it has no parent.
        last_result: What the chain's last successful run returned.
        last_failure: Why the run before this one failed.
        delay: How long after its creation it begins: a delay that was asked for, a wait before another attempt, or the
            time to the next tick of its cron schedule.
        known: Ids of messages that the run before it has read lately: one that is sent again, and moves here unread, is
            dropped here as it would have been there.
    """

    type = EventType.WORKFLOW_EXECUTION_STARTED
    NEWER = dict.fromkeys(
        (
            "continued_run_id",
            "expires_at",
            "parent",
            "parent_close_policy",
            "root_workflow_id",
            "root_run_id",
            "cron_schedule",
            "search_attributes",
            "priority",
            "last_result",
            "last_failure",
            "delay",
            "known",
        ),
        2,
    )

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
    continued_run_id: str = ""
    expires_at: int | None = None
    parent: ParentLink | None = None
    parent_close_policy: str = ""
    root_workflow_id: str = ""
    root_run_id: str = ""
    cron_schedule: str = ""
    search_attributes: dict[str, Payload] = {}
    priority: int = 3
    last_result: Payload | None = None
    last_failure: Failure | None = None
    delay: int = 0
    known: tuple[str, ...] = ()


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
    """The workflow function returned. `new_run_id` is the run that its cron schedule started, if it has one."""

    type = EventType.WORKFLOW_EXECUTION_COMPLETED
    NEWER = {"new_run_id": 2}

    result: Payload = Payload()
    new_run_id: str = ""


class WorkflowExecutionFailed(CommandEvent, frozen=True, omit_defaults=True):
    """A workflow failure left the workflow function. `new_run_id` is the run that tries again, if one does."""

    type = EventType.WORKFLOW_EXECUTION_FAILED
    NEWER = {"new_run_id": 2}

    failure: Failure = Failure()
    retry_state: str | None = None
    new_run_id: str = ""


class WorkflowExecutionCanceled(CommandEvent, frozen=True, omit_defaults=True):
    """A cancellation that had been requested left the workflow function."""

    type = EventType.WORKFLOW_EXECUTION_CANCELED

    details: Payloads = ()


class WorkflowExecutionContinuedAsNew(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow asked to go on as another run, `new_run_id`, with a fresh history."""

    type = EventType.WORKFLOW_EXECUTION_CONTINUED_AS_NEW

    new_run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    run_timeout: int | None = None
    task_timeout: int | None = None
    backoff: int = 0
    retry_policy: RetryPolicyData | None = None
    memo: dict[str, Payload] | None = None
    search_attributes: dict[str, Payload] | None = None
    headers: dict[str, Payload] = {}


class WorkflowExecutionTerminated(Input, frozen=True, omit_defaults=True):
    """An operator ended the run without asking its code."""

    type = EventType.WORKFLOW_EXECUTION_TERMINATED

    reason: str = ""
    details: Payloads = ()
    identity: str = ""


class WorkflowExecutionTimedOut(Input, frozen=True, omit_defaults=True):
    """The run or its execution outlived its timeout. `new_run_id` is the run that tries again, if one does."""

    type = EventType.WORKFLOW_EXECUTION_TIMED_OUT
    NEWER = {"new_run_id": 2}

    timeout_type: str = "run"
    new_run_id: str = ""


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


class StartChildWorkflowExecutionInitiated(CommandEvent, frozen=True, omit_defaults=True):
    """A child workflow was asked for. Whether it could be started is told by an input of a later task.

    Attributes:
        run_id: The child's first run.
        cancellation_type: What the parent's code sees when it cancels the child, a name of
            `ChildWorkflowCancellationType` in lower case.
    """

    type = EventType.START_CHILD_WORKFLOW_EXECUTION_INITIATED

    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    parent_close_policy: str = "terminate"
    cancellation_type: str = "wait_cancellation_completed"
    id_reuse_policy: str = "allow_duplicate"
    execution_timeout: int | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None
    retry_policy: RetryPolicyData | None = None
    cron_schedule: str = ""
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    headers: dict[str, Payload] = {}
    priority: int = 3
    static_summary: str = ""
    static_details: str = ""


class OperationInput(Input, frozen=True, omit_defaults=True):
    """News of command `id`, a child workflow or a message to another workflow."""

    id: int = 0


class ChildWorkflowExecutionStarted(OperationInput, frozen=True, omit_defaults=True):
    """The child is there, as run `run_id`."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_STARTED

    run_id: str = ""


class StartChildWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """The child could not be started: its workflow id is in use, or may not be used again."""

    type = EventType.START_CHILD_WORKFLOW_EXECUTION_FAILED

    cause: str = "workflow_already_exists"


class ChildWorkflowExecutionCompleted(OperationInput, frozen=True, omit_defaults=True):
    """The child returned."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_COMPLETED

    result: Payload = Payload()


class ChildWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """The child failed and will not be tried again."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_FAILED

    failure: Failure = Failure()
    retry_state: str | None = None


class ChildWorkflowExecutionCanceled(OperationInput, frozen=True, omit_defaults=True):
    """The child ended because it had been asked to."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_CANCELED

    details: Payloads = ()


class ChildWorkflowExecutionTerminated(OperationInput, frozen=True, omit_defaults=True):
    """The child was ended by an operator."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_TERMINATED

    reason: str = ""


class ChildWorkflowExecutionTimedOut(OperationInput, frozen=True, omit_defaults=True):
    """The child outlived its timeout."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_TIMED_OUT

    timeout_type: str = "run"


class ExternalCommand(CommandEvent, frozen=True, omit_defaults=True):
    """Something is to be said to another workflow: its run `run_id`, or else whichever is open.

    `first_run_id` narrows that to the runs of one chain: a child is meant, and nobody who took its id later.
    """

    workflow_id: str = ""
    run_id: str = ""
    first_run_id: str = ""


class SignalExternalWorkflowExecutionInitiated(ExternalCommand, frozen=True, omit_defaults=True):
    """Another workflow, or a child, is to be signalled."""

    type = EventType.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED

    name: str = ""
    input: Payloads = ()
    headers: dict[str, Payload] = {}


class ExternalWorkflowExecutionSignaled(OperationInput, frozen=True, omit_defaults=True):
    """The signal is in the other run's inbox."""

    type = EventType.EXTERNAL_WORKFLOW_EXECUTION_SIGNALED


class SignalExternalWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """There was no such open run to signal."""

    type = EventType.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED

    cause: str = "not_found"


class RequestCancelExternalWorkflowExecutionInitiated(ExternalCommand, frozen=True, omit_defaults=True):
    """Another workflow, or a child, is to be asked to cancel itself; `id` is the request's, `child` the child's."""

    type = EventType.REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED

    reason: str = ""
    child: int = 0


class ExternalWorkflowExecutionCancelRequested(OperationInput, frozen=True, omit_defaults=True):
    """The cancel request is in the other run's inbox."""

    type = EventType.EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED


class RequestCancelExternalWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """There was no such open run to ask."""

    type = EventType.REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED

    cause: str = "not_found"


class WorkflowExecutionUpdateAccepted(Input, frozen=True, omit_defaults=True):
    """An update passed its validator, and its handler began. A rejected one leaves no event. `message` is its id."""

    type = EventType.WORKFLOW_EXECUTION_UPDATE_ACCEPTED

    name: str = ""
    input: Payloads = ()
    headers: dict[str, Payload] = {}
    identity: str = ""


class WorkflowExecutionUpdateCompleted(CommandEvent, frozen=True, omit_defaults=True):
    """The handler of the update `update` (the id of its message) ended, with a result or a failure."""

    type = EventType.WORKFLOW_EXECUTION_UPDATE_COMPLETED

    update: str = ""
    result: Payload | None = None
    failure: Failure | None = None


class UpsertWorkflowSearchAttributes(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow changed what it is found by. An attribute without a value is removed, others stay as they are."""

    type = EventType.UPSERT_WORKFLOW_SEARCH_ATTRIBUTES

    search_attributes: dict[str, Payload] = {}


class WorkflowPropertiesModified(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow changed its memo. An entry of `removed` goes, others stay as they are."""

    type = EventType.WORKFLOW_PROPERTIES_MODIFIED

    memo: dict[str, Payload] = {}
    removed: tuple[str, ...] = ()


def modified_memo(memo: Mapping[str, Payload], change: WorkflowPropertiesModified) -> dict[str, Payload]:
    """Return a memo after a change of it."""
    return {
        key: value
        for key, value in {**memo, **change.memo}.items()
        if key not in change.removed or key in change.memo
    }


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
    UpsertWorkflowSearchAttributes,
    WorkflowPropertiesModified,
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
