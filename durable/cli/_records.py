"""What commands write about workflows, as `--json` has it; docs/cli.schema.json describes it."""

from __future__ import annotations

from typing import Any

from durable.client import PendingActivity, WorkflowExecution, WorkflowExecutionDescription

Record = dict[str, Any]


def status_of(run: WorkflowExecution) -> str:
    """Return the status as filters have it, or what holds the run."""
    return run.hold.title() or run.status.name.title().replace("_", "")


async def execution(run: WorkflowExecution) -> Record:
    """Return a run as lists show it."""
    return {
        "workflow_id": run.id,
        "run_id": run.run_id,
        "workflow_type": run.workflow_type,
        "task_queue": run.task_queue,
        "status": run.status.name.title().replace("_", ""),
        "hold": run.hold,
        "reason": run.reason,
        "start_time": run.start_time,
        "execution_time": run.execution_time,
        "close_time": run.close_time,
        "history_length": run.history_length or None,
        "first_run_id": run.first_execution_run_id,
        "parent_id": run.parent_id,
        "parent_run_id": run.parent_run_id,
        "root_id": run.root_id,
        "root_run_id": run.root_run_id,
        "search_attributes": {pair.key.name: pair.value for pair in run.typed_search_attributes},
        "memo": dict(await run.memo()),
    }


async def description(run: WorkflowExecutionDescription) -> Record:
    """Return a run as `describe` shows it."""
    return await execution(run) | {
        "owner": run.owner,
        "history_size": run.history_size,
        "static_summary": await run.static_summary(),
        "static_details": await run.static_details(),
        "pending_activities": [pending(one) for one in run.pending_activities],
        "pending_timers": [*run.pending_timers],
    }


def pending(one: PendingActivity) -> Record:
    """Return an activity that has no outcome yet."""
    return {
        "activity_id": one.activity_id,
        "activity_type": one.activity_type,
        "task_queue": one.task_queue,
        "state": one.state,
        "attempt": one.attempt,
        "scheduled_time": one.scheduled_time,
        "next_attempt_time": one.next_attempt_time,
        "worker": one.worker,
        "last_failure": None if one.last_failure is None else str(one.last_failure),
        "heartbeat_details": [*one.heartbeat_details],
        "reason": one.reason,
        "paused": one.paused,
        "pause_reason": one.pause_reason,
    }
