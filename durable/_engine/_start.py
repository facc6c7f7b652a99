"""What a start is: a row, and the first event of a log."""

from __future__ import annotations

from durable._engine.records import NewRun
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import FORMAT, WorkflowExecutionStarted, encode_data


def start(
    run_id: str,
    started: WorkflowExecutionStarted,
    *,
    reuse: WorkflowIDReusePolicy,
    conflict: WorkflowIDConflictPolicy,
    delay: int = 0,
    owner: str | None = None,
) -> NewRun:
    """Return the run to be created for a `started` event.

    `TERMINATE_IF_RUNNING`, Temporal's older spelling, becomes what it means: allow a duplicate, terminate what is open.
    """
    if reuse is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        reuse, conflict = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDConflictPolicy.TERMINATE_EXISTING
    timeouts = [limit for limit in (started.run_timeout, started.execution_timeout) if limit is not None]
    return NewRun(
        run_id=run_id,
        workflow_id=started.workflow_id,
        workflow_type=started.workflow_type,
        task_queue=started.task_queue,
        started=encode_data(started),
        format=FORMAT,
        delay=delay,
        run_timeout=min(timeouts, default=None),
        owner=owner,
        reuse=reuse,
        conflict=conflict,
    )
