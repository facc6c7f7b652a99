"""Runs that begin as a worker's own: created by its commits, or by a client of its process, and never claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from durable._engine._start import is_limited
from durable.history import EventRow
from durable.store import (
    ChildStart,
    ClaimedRun,
    Hold,
    NewRun,
    RunRecord,
    RunStatus,
    StartOutcome,
    StartVerdict,
    Transition,
)
from durable.worker._home import Home


class Parent(Home, Protocol):
    """Where they begin."""

    @property
    def lost(self) -> bool:
        """Whether it may act no longer."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether it is about to leave, so that it begins nothing new."""
        ...

    @property
    def on_probation(self) -> bool:
        """Whether it holds a run that may end it, and wants no others beside."""
        ...


class Newborns:
    """Takes runs that begin as this worker's."""

    def __init__(self, home: Parent) -> None:
        self._home = home

    def wants(self, task_queue: str, workflow_type: str) -> bool:
        """Whether a run that is started in this process may be this worker's from the start."""
        home = self._home
        return (
            task_queue == home.task_queue
            and home.options.workflow(workflow_type) is not None
            and not home.stopping
            and home.lease.held
            and home.gate.open
            and home.held.room > 0
            and not home.on_probation
        )

    def adopt(self, new: NewRun, verdict: StartVerdict) -> bool:
        """Take a run that was created as this worker's; False if it is leaving and the run must be handed back."""
        if self._home.lost or self._home.stopping or not self._home.lease.held:
            return False
        self._take(new, verdict)
        return True

    def claim_starts(self, transition: Transition) -> Transition:
        """Return a transition whose new runs begin as this worker's, as far as it serves them and has room."""
        return with_owner(transition, self._home.worker_id, self._home.held.room, self._may_own)

    def _may_own(self, new: NewRun) -> bool:
        return (
            new.delay == 0
            and not is_limited(new)
            and self.wants(new.task_queue, new.workflow_type)
            and self._home.versions.may_own(new.task_queue, new.version, new.workflow_id)
        )

    def adopt_started(self, new: NewRun, verdict: StartVerdict) -> None:
        """Take a run that a commit of this worker created as its own, on the way out too: it is handed back then."""
        if self._home.lost:
            return
        if new.first_run_id:
            # Messages of the run before it may have moved to it.
            self._home.spawn(self._take_up(new.run_id, verdict.epoch))
        else:
            self._take(new, verdict)

    def _take(self, new: NewRun, verdict: StartVerdict) -> None:
        home = self._home
        if verdict.outcome is not StartOutcome.STARTED:
            # The start was repeated: the log may be longer by now, and the run may be here.
            home.spawn(self._take_up(new.run_id, verdict.epoch))
            return
        if new.messages:
            # Their places in the inbox are the database's to say.
            home.spawn(self._take_up(new.run_id, verdict.epoch, fresh=True))
            return
        home.clock.observe(verdict.now)
        home.take([as_claimed(new, verdict, home.worker_id)])

    async def _take_up(self, run_id: str, epoch: int, *, fresh: bool = False) -> None:
        """Take a run that the database says is this worker's, as its log has it now."""
        home = self._home
        claimed = await home.patiently(lambda: home.store.reload_run(home.worker_id, run_id, epoch))
        if claimed is not None:
            home.take([claimed], fresh=fresh)


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
