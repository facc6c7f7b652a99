"""Runs that begin as a worker's own: created by its commits, or by a client of its process, and never claimed."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from durable.history import EventRow
from durable.store import (
    ChildStart,
    ClaimedRun,
    Hold,
    NewRun,
    RunRecord,
    RunStatus,
    StartVerdict,
    Transition,
)


def with_owner(
    transition: Transition, worker_id: str, room: int, may_own: Callable[[NewRun], bool]
) -> Transition:
    """Return a transition whose new runs are a worker's, as far as it may own them and has room for so many."""
    close = transition.close
    new = None if close is None else close.successor
    if close is not None and new is not None and may_own(new):
        close = replace(close, successor=replace(new, owner=worker_id))
    starts: list[ChildStart] = []
    for start in transition.starts:
        new = start.run
        if room > 0 and may_own(new):
            room -= 1
            start = replace(start, run=replace(new, owner=worker_id))
        starts.append(start)
    return replace(transition, starts=tuple(starts), close=close)


def as_claimed(new: NewRun, verdict: StartVerdict, worker_id: str) -> ClaimedRun:
    """Return what a claim would bring of a run that was created as a worker's own, without any messages."""
    record = RunRecord(
        run_id=new.run_id,
        workflow_id=new.workflow_id,
        workflow_type=new.workflow_type,
        task_queue=new.task_queue,
        status=RunStatus.RUNNING,
        hold=Hold.NONE,
        reason="",
        owner=worker_id,
        epoch=verdict.epoch,
        wake_at=None,
        priority=new.priority,
        deaths=0,
        started_at=verdict.now,
        closed_at=None,
        times_out_at=None,
        history_length=1,
        history_size=len(new.started),
        info=new.info,
        first_run_id=new.first_run_id or new.run_id,
        parent_run_id=new.parent_run_id,
    )
    first = EventRow(1, 1, 1, new.started, verdict.now)
    return ClaimedRun(run=record, events=(first,), messages=(), activities=())
