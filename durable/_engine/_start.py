"""What a start is: a row, and the first event of a log."""

from __future__ import annotations

from durable._engine.records import NewRun
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
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
    """Return the run to be created for a `started` event, which says whose child it is and what chain it continues.

    `TERMINATE_IF_RUNNING`, Temporal's older spelling, becomes what it means: allow a duplicate, terminate what is open.
    """
    if reuse is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        reuse, conflict = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDConflictPolicy.TERMINATE_EXISTING
    timeouts = [limit for limit in (started.run_timeout, started.execution_timeout) if limit is not None]
    policy = ParentClosePolicy[started.parent_close_policy.upper() or "ABANDON"]
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
        first_run_id="" if started.first_run_id == run_id else started.first_run_id,
        parent_run_id=None if started.parent is None else started.parent.run_id,
        parent_close_policy=None if policy is ParentClosePolicy.ABANDON else policy,
    )
