"""What a run looks like from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from durable._engine._activities import decode_progress
from durable._engine._state import RunState
from durable._internal.instants import to_datetime
from durable.common import WorkflowExecutionStatus
from durable.converter import DataConverter
from durable.history import Event, WorkflowExecutionStarted
from durable.store import ActivityRecord, ActivityState, Hold, RunRecord


@dataclass(frozen=True)
class PendingActivity:
    """An activity without an outcome.

    Attributes:
        state: "eager" while it runs beside its workflow, else "queued", "running" or "done" (its outcome is on its way).
        attempt: The number of the present or next attempt.
        next_attempt_time: When it may be claimed, if it waits.
        worker: The worker that runs it.
        last_failure: What the attempt before ended with.
        heartbeat_details: What it said last.
    """

    activity_id: str
    activity_type: str
    task_queue: str
    state: str
    attempt: int
    scheduled_time: datetime
    next_attempt_time: datetime | None = None
    worker: str | None = None
    last_failure: BaseException | None = None
    heartbeat_details: Sequence[Any] = ()


@dataclass(frozen=True)
class WorkflowExecutionDescription:
    """A run as the database knows it at one moment.

    Attributes:
        status: Where it is in its life.
        hold: "blocked" when its code is at fault (see `reason`), "quarantined" when it killed its workers, else "".
        reason: Why it is held, for people.
        owner: The worker that has it in memory.
        history_length: How many events it has.
        pending_activities: Activities without an outcome.
        pending_timers: When the timers that run are due.
    """

    id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowExecutionStatus
    hold: str
    reason: str
    owner: str | None
    start_time: datetime
    close_time: datetime | None
    history_length: int
    history_size: int
    memo: Mapping[str, Any]
    static_summary: str
    static_details: str
    pending_activities: Sequence[PendingActivity]
    pending_timers: Sequence[datetime]


def describe(
    run: RunRecord, events: Sequence[Event], rows: Sequence[ActivityRecord], converter: DataConverter
) -> WorkflowExecutionDescription:
    """Return the description of a run from its row, its log and its activities' rows."""
    state = RunState.of(run.run_id, events)
    started = events[0].data
    assert isinstance(started, WorkflowExecutionStarted)
    by_id = {row.id: row for row in rows}
    open_run = run.closed_at is None
    return WorkflowExecutionDescription(
        id=run.workflow_id,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        task_queue=run.task_queue,
        status=WorkflowExecutionStatus(int(run.status)),
        hold="" if run.hold is Hold.NONE else run.hold.name.lower(),
        reason=run.reason,
        owner=run.owner,
        start_time=to_datetime(run.started_at),
        close_time=None if run.closed_at is None else to_datetime(run.closed_at),
        history_length=run.history_length,
        history_size=run.history_size,
        memo={key: converter.from_payload(value) for key, value in started.memo.items()},
        static_summary=started.static_summary,
        static_details=started.static_details,
        pending_activities=[
            _pending(pending.scheduled.activity_id, pending, by_id.get(id), converter)
            for id, pending in state.activities.items()
            if open_run
        ],
        pending_timers=[to_datetime(at) for at in sorted(state.timers.values()) if open_run],
    )


def _pending(
    activity_id: str, pending: Any, row: ActivityRecord | None, converter: DataConverter
) -> PendingActivity:
    scheduled = pending.scheduled
    if row is None:
        return PendingActivity(
            activity_id,
            scheduled.activity_type,
            scheduled.task_queue,
            "eager",
            1,
            to_datetime(pending.scheduled_at),
        )
    progress = decode_progress(row.progress)
    failure = progress.last_failure
    return PendingActivity(
        activity_id=activity_id,
        activity_type=scheduled.activity_type,
        task_queue=scheduled.task_queue,
        state=row.state.name.lower(),
        attempt=row.attempt,
        scheduled_time=to_datetime(row.scheduled_at),
        next_attempt_time=to_datetime(row.due_at) if row.state is ActivityState.QUEUED else None,
        worker=row.worker,
        last_failure=None if failure is None else converter.from_failure(failure),
        heartbeat_details=converter.from_payloads(progress.heartbeat),
    )
