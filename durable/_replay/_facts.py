"""What a run knows about itself, from its first event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from durable._internal.instants import to_datetime, to_timedelta
from durable._replay._found import Found
from durable.history import (
    Event,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    decode_retry_policy,
    priority_of,
)
from durable.history._search_attributes import decode_search_attributes
from durable.workflow._info import Info, ParentInfo, RootInfo


def counted_to(task: Sequence[Event]) -> int:
    """Return the position up to which a task sees its history's length and size.

    It is that of its last input; but when updates are among them it is that before the first one, since what a trial
    will have for positions is known only when some of its updates may have been refused.
    """
    for event in task:
        if type(event.data) is WorkflowExecutionUpdateAccepted:
            return task[0].seq - 1
    return task[-1].seq


def info_of(
    started: WorkflowExecutionStarted,
    found: Found,
    run_id: str,
    namespace: str,
    times: tuple[int, int],
    history: Callable[[], tuple[int, int]],
    versions: Callable[[], tuple[str, bool]],
) -> Info:
    """Return the facts about a run.

    Args:
        started: Those of its first event.
        found: What it says of itself.
        run_id: Its id.
        namespace: Where it lives.
        times: The times of its first event and of its first task.
        history: Returns the number of events, and of their bytes, up to the last input of the present task.
        versions: Returns the version that runs the present task, and whether another one would if it were not pinned.
    """
    created_at, began_at = times
    link = started.parent
    return Info(
        workflow_id=started.workflow_id,
        run_id=run_id,
        workflow_type=started.workflow_type,
        task_queue=started.task_queue,
        namespace=namespace,
        attempt=started.attempt,
        first_execution_run_id=started.first_run_id or run_id,
        continued_run_id=started.continued_run_id or None,
        cron_schedule=started.cron_schedule or None,
        start_time=to_datetime(began_at),
        workflow_start_time=to_datetime(created_at),
        execution_timeout=_timedelta(started.execution_timeout),
        run_timeout=_timedelta(started.run_timeout),
        task_timeout=_timedelta(started.task_timeout),
        retry_policy=decode_retry_policy(started.retry_policy),
        priority=priority_of(started.priority, started.limits),
        headers=started.headers,
        schedule_id=started.schedule_id or None,
        scheduled_start_time=_datetime(started.scheduled_at),
        previous_scheduled_start_time=_datetime(started.scheduled_before),
        raw_memo=found.memo,
        typed_search_attributes=decode_search_attributes(found.attributes),
        history=history,
        versions=versions,
        parent=None if link is None else ParentInfo(namespace, link.run_id, link.workflow_id),
        root=(RootInfo(started.root_run_id, started.root_workflow_id) if started.root_workflow_id else None),
    )


def _datetime(micros: int | None) -> datetime | None:
    return None if micros is None else to_datetime(micros)


def _timedelta(micros: int | None) -> timedelta | None:
    return None if micros is None else to_timedelta(micros)
