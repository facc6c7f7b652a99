"""What a run knows about itself, from its first event."""

from __future__ import annotations

from datetime import timedelta

from durable._internal.instants import to_datetime, to_timedelta
from durable._replay.machines._activity import policy_of
from durable.history import WorkflowExecutionStarted
from durable.workflow._info import Info, ParentInfo, RootInfo


def info_of(started: WorkflowExecutionStarted, run_id: str, namespace: str, time: int) -> Info:
    """Return the facts about a run that was started, with these facts, at the instant `time`."""
    start = to_datetime(time)
    link = started.parent
    return Info(
        workflow_id=started.workflow_id,
        run_id=run_id,
        workflow_type=started.workflow_type,
        task_queue=started.task_queue,
        namespace=namespace,
        attempt=started.attempt,
        first_execution_run_id=started.first_run_id or run_id,
        start_time=start,
        workflow_start_time=start,
        execution_timeout=_timedelta(started.execution_timeout),
        run_timeout=_timedelta(started.run_timeout),
        task_timeout=_timedelta(started.task_timeout),
        retry_policy=policy_of(started.retry_policy),
        headers=started.headers,
        parent=None if link is None else ParentInfo(namespace, link.run_id, link.workflow_id),
        root=(RootInfo(started.root_run_id, started.root_workflow_id) if started.root_workflow_id else None),
    )


def _timedelta(micros: int | None) -> timedelta | None:
    return None if micros is None else to_timedelta(micros)
