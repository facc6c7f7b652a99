"""What a run looks like from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from durable._engine._activities import decode_progress
from durable._engine._run_info import noted
from durable._engine._state import PendingActivity as RunActivity
from durable._engine._state import RunState
from durable._engine.lanes import is_gated
from durable._engine.versioning import AUTO_UPGRADE, BEHAVIORS
from durable._internal.instants import SECOND, from_datetime, to_datetime
from durable.client._executions import WorkflowExecution, attributes_of, shown
from durable.client._versioning import override_of, version_of
from durable.common import VersioningBehavior, VersioningOverride, WorkflowExecutionStatus
from durable.converter import ActivitySerializationContext, DataConverter
from durable.history import ActivityTaskScheduled, Event, Limits, WorkflowExecutionStarted
from durable.store import ActivityRecord, ActivityState, Hold, RunRecord, WorkerRecord


@dataclass(frozen=True)
class PendingActivity:
    """An activity without an outcome.

    Attributes:
        state: "eager" while it runs beside its workflow, else "queued", "running", "outside" (somebody outside is to end
            it), "paused" (it waits for an operator) or "done" (its outcome is on its way).
        attempt: The number of the present or next attempt.
        next_attempt_time: When it may be claimed, if it waits.
        worker: The worker that runs it.
        last_failure: What the attempt before ended with.
        heartbeat_details: What it said last.
        reason: Why it does not go on, where that can be told.
        paused: Whether an operator has paused it; an attempt may be under way all the same.
        pause_time: Since when.
        pause_reason: Why, as the operator said.
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
    reason: str = ""
    paused: bool = False
    pause_time: datetime | None = None
    pause_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkflowExecutionDescription(WorkflowExecution):
    """A run as the database knows it at one moment, and what it waits for.

    Attributes:
        owner: The worker that has it in memory.
        history_length: How many events it has, open or closed.
        history_size: How many bytes these have.
        pending_activities: Activities without an outcome.
        pending_timers: When the timers that run are due.
        versioning_override: What holds for it whatever its workflow says of versions; None for nothing.
    """

    owner: str | None
    history_size: int
    pending_activities: Sequence[PendingActivity]
    pending_timers: Sequence[datetime]
    versioning_override: VersioningOverride | None = None
    raw_static_summary: str = ""
    raw_static_details: str = ""

    async def static_summary(self) -> str | None:
        """Return the line for people that the workflow was started with, None if there is none."""
        return self.raw_static_summary or None

    async def static_details(self) -> str | None:
        """Return the text for people that the workflow was started with, None if there is none."""
        return self.raw_static_details or None


def describe(
    run: RunRecord,
    events: Sequence[Event],
    rows: Sequence[ActivityRecord],
    workers: Sequence[WorkerRecord],
    now: int,
    lock: str,
    converter: DataConverter,
    namespace: str,
    limits: Mapping[Limits, str],
    workflow_waits: str,
) -> WorkflowExecutionDescription:
    """Return the description of a run from its row, its log, its activities' rows, the workers there are, and who locks it.

    `limits` tells why those activities do not go on that wait for their limits, `workflow_waits` the same of itself.
    """
    state = RunState.of(run.run_id, events)
    started = events[0].data
    assert isinstance(started, WorkflowExecutionStarted)
    parent = started.parent
    by_id = {row.id: row for row in rows}
    open_run = run.closed_at is None
    waits = open_run and is_waiting(run, started)
    hold = Hold.NONE if waits else run.hold
    reason = (workflow_waits or "it waits for its turn") if waits else _reason(run, started, workers, now)
    if not open_run:
        reason = getattr(events[-1].data, "reason", "")  # of an end from outside
    if lock and not reason:
        reason = (
            f"waiting for a lock that is held by {lock}: a transaction that sent it something, or looked at its row; it goes "
            "on when that transaction ends"
        )
    return WorkflowExecutionDescription(
        id=run.workflow_id,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        task_queue=run.task_queue,
        status=WorkflowExecutionStatus(int(run.status)),
        hold="" if hold is Hold.NONE else hold.name.lower(),
        reason=reason,
        owner=run.owner,
        start_time=to_datetime(run.started_at),
        execution_time=to_datetime(run.started_at + started.delay),
        first_execution_run_id=run.first_run_id,
        close_time=None if run.closed_at is None else to_datetime(run.closed_at),
        history_length=run.history_length,
        history_size=run.history_size,
        namespace=namespace,
        typed_search_attributes=attributes_of(state.search_attributes | noted(state.patches, state.builds)),
        versioning_behavior=_behavior(state, run),
        deployment_version=version_of(run.pinned_to or state.completed.worker_deployment_version),
        versioning_override=override_of(run.override),
        raw_memo=state.memo,
        data_converter=converter,
        raw_static_summary=started.static_summary,
        raw_static_details=started.static_details,
        pending_activities=[
            _pending(
                pending, by_id.get(id), workers, now, _of_activity(converter, namespace, run, pending), limits
            )
            for id, pending in state.activities.items()
            if open_run
        ],
        pending_timers=[to_datetime(min(at, LATEST)) for at in sorted(state.timers.values()) if open_run],
        parent_id=None if parent is None else parent.workflow_id,
        parent_run_id=None if parent is None else parent.run_id,
        root_id=started.root_workflow_id or started.workflow_id,
        root_run_id=started.root_run_id or run.run_id,
    )


def _reason(
    run: RunRecord, started: WorkflowExecutionStarted, workers: Sequence[WorkerRecord], now: int
) -> str:
    """Say on what an open run waits, as its row tells."""
    if run.hold is Hold.NONE and run.owner is None:
        if _is_delayed(run, started, now):
            return f"it begins at {to_datetime(run.started_at + started.delay)}"
        if run.wake_at is not None:
            what = f"workflow {run.workflow_type!r}"
            return _untaken(run.wake_at, run.task_queue, what, workers, now, run.pinned_to)
    return _held(run)


def is_waiting(run: RunRecord, started: WorkflowExecutionStarted) -> bool:
    """Whether a run has not begun because it waits for its turn: it is held then, and for no time."""
    return (
        started.limits is not None and run.hold is Hold.BLOCKED and run.owner is None and run.wake_at is None
    )


def _is_delayed(run: RunRecord, started: WorkflowExecutionStarted, now: int) -> bool:
    return started.delay > 0 and run.history_length == 1 and run.started_at + started.delay > now


def _held(run: RunRecord) -> str:
    """Return on what an open run waits that is held, and what to do."""
    if run.hold is Hold.PAUSED:
        return f"{run.reason}{'; ' if run.reason else ''}an operator has paused it, until handle.unpause()"
    if run.hold is Hold.QUARANTINED:
        return f"{run.reason}; then handle.unblock() lets it be tried again"
    if run.hold is Hold.BLOCKED and run.wake_at is not None:
        return f"{run.reason.rstrip('.')}; it is tried again at {to_datetime(run.wake_at)}, or at once with handle.unblock()"
    return run.reason


def limits_waited_for(events: Sequence[Event], rows: Sequence[ActivityRecord]) -> list[Limits]:
    """Return the limits of those activities of a run that wait."""
    waiting = {row.id for row in rows if row.state is ActivityState.QUEUED and row.outside_since is None}
    if not waiting:
        return []
    scheduled = [event.data for event in events if isinstance(event.data, ActivityTaskScheduled)]
    found = {one.limits for one in scheduled if one.id in waiting and one.limits is not None}
    return [limits for limits in found if is_gated(limits)]


LATEST = from_datetime(datetime.max.replace(microsecond=0, tzinfo=UTC), "latest")
"""The last instant that people can be shown: `asyncio.sleep` takes ten thousand years, and `datetime` does not."""

PATIENCE = 1_000_000
"""Microseconds for which something may be due before it is remarkable that no worker has taken it."""


def _behavior(state: RunState, run: RunRecord) -> VersioningBehavior:
    if run.override:
        return VersioningBehavior.AUTO_UPGRADE if run.override == AUTO_UPGRADE else VersioningBehavior.PINNED
    return VersioningBehavior(BEHAVIORS.index(state.completed.versioning_behavior))


def _untaken(
    due_at: int, task_queue: str, what: str, workers: Sequence[WorkerRecord], now: int, version: str = ""
) -> str:
    """Why something that is due has not been taken by any worker, as far as that can be told from outside."""
    if due_at + PATIENCE > now:
        return ""
    there = [worker for worker in workers if task_queue in worker.task_queues and not worker.expired]
    if version:
        there = [worker for worker in there if worker.version == version]
        if not there:
            return (
                f"it is pinned to version {version}, of which no worker on task queue {task_queue!r} is alive: start one, or "
                "move it with handle.update_options(versioning_override=...)"
            )
    if not there:
        return f"no worker serves task queue {task_queue!r}"
    return (
        f"none of the {len(there)} workers on task queue {task_queue!r} has taken it for {(now - due_at) // SECOND} s: "
        f"is {what} registered there, and are they of this release?"
    )


def _of_activity(
    converter: DataConverter, namespace: str, run: RunRecord, pending: RunActivity
) -> DataConverter:
    if not converter.takes_context:
        return converter
    scheduled = pending.scheduled
    return converter.with_context(
        ActivitySerializationContext(
            namespace=namespace,
            activity_id=scheduled.activity_id,
            activity_type=scheduled.activity_type,
            activity_task_queue=scheduled.task_queue,
            workflow_id=run.workflow_id,
            workflow_type=run.workflow_type,
        )
    )


def _pending(
    pending: RunActivity,
    row: ActivityRecord | None,
    workers: Sequence[WorkerRecord],
    now: int,
    converter: DataConverter,
    waits: Mapping[Limits, str],
) -> PendingActivity:
    scheduled = pending.scheduled
    activity_id = scheduled.activity_id
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
    outside = row.outside_since is not None
    queued = row.state is ActivityState.QUEUED and not outside
    paused = row.paused_at is not None
    state = "paused" if queued and paused else row.state.name.lower()
    waits_to_start = queued and not paused
    reason = ""
    if waits_to_start:
        limited = "" if scheduled.limits is None or row.due_at > now else waits.get(scheduled.limits, "")
        what = f"activity {scheduled.activity_type!r}"
        reason = limited or _untaken(row.due_at, row.task_queue, what, workers, now)
    return PendingActivity(
        activity_id=activity_id,
        activity_type=scheduled.activity_type,
        task_queue=scheduled.task_queue,
        state="outside" if outside else state,
        attempt=row.number,
        scheduled_time=to_datetime(row.scheduled_at),
        next_attempt_time=to_datetime(row.due_at) if waits_to_start else None,
        worker=row.worker,
        last_failure=None if failure is None else converter.from_failure(failure),
        heartbeat_details=[shown(detail, converter) for detail in progress.heartbeat],
        reason=reason,
        paused=paused,
        pause_time=None if row.paused_at is None else to_datetime(row.paused_at),
        pause_reason=row.pause_reason,
    )
