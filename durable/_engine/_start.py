"""What a start is: a row, and the first event of a log."""

from __future__ import annotations

from msgspec.structs import replace

from durable._engine._run_info import info_of
from durable._engine.hints import ANY_KEY, Hint, HintKind
from durable._engine.lanes import lane_of
from durable._engine.records import Message, NewRun
from durable._engine.versioning import AUTO_UPGRADE, RAMPING, USE_RAMPING_VERSION
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import FORMAT, IN_FORCE, WorkflowExecutionStarted, encode_data


def is_limited(new: NewRun) -> bool:
    """Whether a run may begin only when the database says so."""
    return new.lane is not None and new.lane.key is not None and not new.admitted


def freed_by(started: WorkflowExecutionStarted) -> list[Hint]:
    """Return whom the end of a run concerns because of its concurrency key: others have waited for that."""
    return [Hint(HintKind.RUN, ANY_KEY)] if started.limits is not None and started.limits.key else []


def start(
    run_id: str,
    started: WorkflowExecutionStarted,
    *,
    reuse: WorkflowIDReusePolicy,
    conflict: WorkflowIDConflictPolicy,
    remaining: int | None = None,
    owner: str | None = None,
    messages: tuple[Message, ...] = (),
) -> NewRun:
    """Return the run to be created for a `started` event, which says whose child it is and what chain it continues.

    Args:
        run_id: Its id.
        started: Its first event, which says when it begins and whose child it is.
        reuse: Whether the workflow's id may be used again.
        conflict: What to do when the id has an open run.
        remaining: How much of the execution timeout is left when it begins; all of it by default.
        owner: The worker that shall own it from the start.
        messages: What is in its inbox from the start.

    `TERMINATE_IF_RUNNING`, Temporal's older spelling, becomes what it means: allow a duplicate, terminate what is open.
    """
    if reuse is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        reuse, conflict = WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDConflictPolicy.TERMINATE_EXISTING
    if started.flags & IN_FORCE != IN_FORCE:
        started = replace(started, flags=started.flags | IN_FORCE)
    run_timeout = started.run_timeout
    left = started.execution_timeout if remaining is None else remaining
    if left is not None:
        run_timeout = left if run_timeout is None else min(run_timeout, left)
    parent = started.parent
    policy = ParentClosePolicy[started.parent_close_policy.upper()] if started.parent_close_policy else None
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
        run_timeout=run_timeout,
        owner=owner,
        reuse=reuse,
        conflict=conflict,
        first_run_id="" if started.first_run_id == run_id else started.first_run_id,
        parent_run_id=None if parent is None else parent.run_id,
        parent_close_policy=None if policy is ParentClosePolicy.ABANDON else policy,
        messages=messages,
        search_attributes=started.search_attributes,
        version=_version(started),
        override=started.versioning_override,
        lane=None if started.limits is None else lane_of(started.limits),
    )


def _version(started: WorkflowExecutionStarted) -> str:
    """The version that a run is pinned to from the start."""
    if started.versioning_override:
        return "" if started.versioning_override == AUTO_UPGRADE else started.versioning_override
    if started.initial_versioning == USE_RAMPING_VERSION:
        return RAMPING
    return started.inherited_version
