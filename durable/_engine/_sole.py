"""Runs of one activity and no code: what a client starts when it starts an activity by itself.

Such a run has the history of a workflow with one activity, and nobody ever owns it: it begins with its first two events
and the activity's row, attempts are made under the row like any other's, and whoever ends the row appends the last two
events and closes the run, in the same transaction. So the row is the fence of everything.

It is told from workflows by its workflow id and type, which begin with what no name may hold: ids of activities and of
workflows never meet.
"""

from __future__ import annotations

from durable._engine._run_info import info_of
from durable._engine.activity_records import ActivityRecord, ActivityState, SoleActivity
from durable._engine.lanes import lane_of
from durable._engine.records import AttemptOutcome, Message, NewRun, RunStatus, SoleEnd
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import (
    FORMAT,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    EventData,
    TimeoutFailure,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
    decode_data,
    encode_data,
    encode_row,
)

PREFIX = "activity\x1f"
"""What workflow id and type of such a run begin with."""


def sole_name(name: str) -> str:
    """Return the workflow id, or type, of the run of an activity with this id, or type."""
    return PREFIX + name


def is_sole(workflow_type: str) -> bool:
    """Whether a run of this type, or with this workflow id, is one of an activity by itself."""
    return workflow_type.startswith(PREFIX)


def own_name(name: str) -> str:
    """Return the activity's id, or type, from the workflow id, or type, of its run."""
    return name.removeprefix(PREFIX)


def start_sole(
    run_id: str,
    started: WorkflowExecutionStarted,
    scheduled: ActivityTaskScheduled,
    *,
    reuse: WorkflowIDReusePolicy,
    conflict: WorkflowIDConflictPolicy,
) -> NewRun:
    """Return the run to be created for an activity by itself; `started` says when it begins."""
    return NewRun(
        run_id=run_id,
        workflow_id=started.workflow_id,
        workflow_type=started.workflow_type,
        task_queue=started.task_queue,
        started=encode_data(started),
        info=info_of(started),
        format=FORMAT,
        priority=started.priority,
        delay=started.delay,
        reuse=reuse,
        conflict=conflict,
        search_attributes=started.search_attributes,
        activity=SoleActivity(
            activity_type=scheduled.activity_type,
            scheduled=encode_data(scheduled),
            schedule_to_start=scheduled.schedule_to_start,
            schedule_to_close=scheduled.schedule_to_close,
            start_to_close=scheduled.start_to_close,
            heartbeat=scheduled.heartbeat,
            lane=lane_of(scheduled.limits),
        ),
    )


def end_with(
    outcome: ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled,
) -> SoleEnd:
    """Return how the run ends whose one activity has this outcome."""
    closing: EventData
    if isinstance(outcome, ActivityTaskCompleted):
        status, closing = RunStatus.COMPLETED, WorkflowExecutionCompleted(result=outcome.result)
    elif isinstance(outcome, ActivityTaskFailed):
        status, closing = RunStatus.FAILED, WorkflowExecutionFailed(failure=outcome.failure)
    elif isinstance(outcome, ActivityTaskTimedOut):
        info = outcome.failure.info
        kind = info.timeout_type if isinstance(info, TimeoutFailure) else ""
        status, closing = RunStatus.TIMED_OUT, WorkflowExecutionTimedOut(timeout_type=kind)
    else:
        status, closing = RunStatus.CANCELED, WorkflowExecutionCanceled(details=outcome.details)
    return SoleEnd(
        status,
        encode_row(3, 2, outcome),
        encode_row(4, 2, closing),
    )


def end_stray(record: ActivityRecord, message: Message) -> AttemptOutcome:
    """Return the end of a run whose activity was ended by a release that left the outcome in the run's inbox.

    Raises:
        HistoryError: The outcome cannot be read.
    """
    outcome = decode_data(message.type, message.data)
    assert isinstance(
        outcome, ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled
    )
    return AttemptOutcome(
        record.run_id, record.id, record.attempt, None, state=ActivityState.DONE, sole=end_with(outcome)
    )
