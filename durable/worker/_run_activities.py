"""The activities of one owned run that run in this process without a row, and how they come to have one.

An attempt that starts here needs no row: its run is owned here, and the log says that it was asked for. It gets one when
it sends a heartbeat, or when its run is given up; from the commit of that row on, the row decides what becomes of it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

from durable._engine._activities import asked_at, cancel_waiting, row
from durable._engine._effects import Effects
from durable._engine._run import Run
from durable.history import ActivityTaskScheduled
from durable.store import ActivityRecord, ActivityState, Hint, HintKind, NewActivity
from durable.worker._attempts import Attempt, Owner
from durable.worker._home import Home


class Hosting(Owner, Protocol):
    """The host of the run."""

    run: Run | None
    gone: bool


class RunActivities:
    """See the module.

    Attributes:
        awaiting_rows: Attempts whose rows are to be written; `rows_proposed` is called when they are on their way.
        rows_in_flight: Attempts whose rows are on their way.
        promised: How many slots are kept for activities that have not started here yet.
    """

    __slots__ = (
        "_attempts",
        "_home",
        "_postponed",
        "_run_id",
        "awaiting_rows",
        "promised",
        "rows_in_flight",
    )

    def __init__(self, home: Home, run_id: str) -> None:
        self._home = home
        self._run_id = run_id
        self._attempts: dict[int, Attempt] = {}
        self.awaiting_rows: Sequence[Attempt] = ()
        self.rows_in_flight: Sequence[Attempt] = ()
        self._postponed: Sequence[ActivityTaskScheduled] = ()
        self.promised = 0

    @property
    def idle(self) -> bool:
        """Whether none runs, and none is to be started."""
        return not self._attempts and not self._postponed

    # ------------------------------------------------------------------ starting and cancelling

    def promise(self, scheduled: ActivityTaskScheduled) -> bool:
        """Whether an activity can run here; then a slot is kept for it until it starts."""
        possible = self._home.activities.promise(scheduled)
        if possible:
            self.promised += 1
        return possible

    def keep_promises(self, run: Run) -> None:
        """Give back the slots that are kept for activities which will not start here after all."""
        if self.promised:
            waiting = (*run.waiting_for_commit, *self._postponed)
            self._keep_promises(sum(one.local is None for one in waiting))

    def _keep_promises(self, count: int) -> None:
        if self.promised > count:
            self._home.activities.give_back(self.promised - count)
            self.promised = count

    def carry_out(self, host: Hosting, effects: Effects, now: int) -> None:
        """Start what is to start here, and stop what is cancelled."""
        if effects.start and not self._home.lease.held:
            # Somebody else may be about to take over: nothing new starts until the lease is certain again.
            self._postponed = [*self._postponed, *effects.start]
            effects = Effects(cancel=effects.cancel)
            self._home.when_held(partial(self._start_postponed, host))
        run, activities = host.run, self._home.activities
        assert run is not None
        for scheduled in effects.start:
            since = run.asked.scheduled_at(scheduled.id)
            if scheduled.local is None:
                self.promised -= 1
                # Known here before it begins: it may end as it does.
                self._attempts[scheduled.id] = attempt = Attempt(
                    activities, host, None, scheduled, since, 1, now
                )
                activities.start(attempt)
            else:
                self._start_local(host, scheduled, asked_at(scheduled, since), scheduled.local.attempt, now)
        for id in effects.cancel:
            activities.cancel(self._run_id, id)

    def _start_postponed(self, host: Hosting) -> None:
        postponed, self._postponed = self._postponed, ()
        if host.gone or host.run is None:
            return
        self.carry_out(host, Effects(start=postponed), self._home.clock.now())
        for scheduled in postponed:
            if scheduled.id in host.run.asked.canceled:
                self._home.activities.cancel(self._run_id, scheduled.id)

    def ended(self, attempt: Attempt) -> None:
        """Take the end of an attempt that ran here without a row."""
        self._attempts.pop(attempt.scheduled.id, None)

    def follow(self, host: Hosting, attempt: Attempt, delay: int) -> None:
        """Start the next attempt of a local activity, so many microseconds after this one."""
        now = self._home.clock.now()
        self._start_local(host, attempt.scheduled, attempt.scheduled_at, attempt.number + 1, now, delay)

    def _start_local(
        self,
        host: Hosting,
        scheduled: ActivityTaskScheduled,
        since: int,
        number: int,
        now: int,
        delay: int = 0,
    ) -> None:
        activities = self._home.activities
        attempt = Attempt(activities, host, None, scheduled, since, number, now + delay)
        self._attempts[scheduled.id] = attempt
        activities.start_local(attempt, delay)

    @property
    def local_at_work(self) -> bool:
        """Whether a local activity runs: what it has done would be done again if the run were given up now."""
        return any(one.scheduled.local is not None and one.at_work for one in self._attempts.values())

    def abandon(self) -> None:
        """Stop all that run here: what they bring counts no more."""
        for attempt in self._attempts.values():
            attempt.abandon()
        self._attempts.clear()

    def forget(self) -> None:
        """Let all go on without the run: their rows are written, and decide."""
        self._attempts.clear()

    def end(self) -> None:
        """Stop all, and give every slot back: the run is gone."""
        self.abandon()
        self._keep_promises(0)

    async def end_waiting(self, ids: Sequence[int]) -> None:
        """End cancelled activities that no worker has claimed; those under way are told by their heartbeats."""
        home, run_id = self._home, self._run_id
        rows = await home.patiently(lambda: home.store.read_activities(run_id))
        outcomes = [
            cancel_waiting(row)
            for row in rows
            if row.id in ids and row.state is ActivityState.QUEUED and row.outside_since is None
        ]
        if outcomes and any(await home.patiently(lambda: home.store.finish_attempts(outcomes))):
            home.hint([Hint(HintKind.MESSAGE, run_id)])

    # ------------------------------------------------------------------ rows

    def without_row(self, ids: Collection[int]) -> list[Attempt]:
        """Return the attempts of these activities that run here, have no row, and are to get none yet."""
        return [
            attempt
            for id, attempt in self._attempts.items()
            if id in ids
            and attempt.record is None
            and attempt.scheduled.local is None
            and not attempt.awaiting_row
            and not attempt.ended
        ]

    def row_for(self, attempt: Attempt) -> NewActivity:
        """Return the row that an attempt gets with the next transition."""
        self.awaiting_rows = [*self.awaiting_rows, attempt]
        return self._row_of(attempt)

    def rows_to_release(self, run: Run) -> list[NewActivity]:
        """Return rows for all that run here or wait to be started, for whoever owns the run next."""
        for attempt in [a for a in self._attempts.values() if a.scheduled.local is not None]:
            # The next owner begins it again.
            self._attempts.pop(attempt.scheduled.id).abandon()
        attempts = [a for a in self._attempts.values() if a.record is None and not a.awaiting_row]
        for attempt in attempts:
            attempt.awaiting_row = True
        self.awaiting_rows = [*self.awaiting_rows, *attempts]
        postponed, self._postponed = self._postponed, ()
        return [
            *(self._row_of(attempt) for attempt in attempts),
            *(row(one, run.asked.scheduled_at(one.id)) for one in postponed if one.local is None),
        ]

    def rows_proposed(self) -> None:
        """Take the news that a transition with the rows that wait is on its way."""
        if self.awaiting_rows:
            self.rows_in_flight, self.awaiting_rows = self.awaiting_rows, ()

    def rows_refused(self) -> None:
        """Take the news that it was not written, and will be proposed again."""
        self.awaiting_rows = [*self.rows_in_flight, *self.awaiting_rows]
        self.rows_in_flight = ()

    def rows_written(self) -> None:
        """Take the news that it is committed: the rows decide from now on."""
        if not self.rows_in_flight:
            return
        attempts, self.rows_in_flight = self.rows_in_flight, ()
        for attempt in attempts:
            assert attempt.owner is not None
            self._attempts.pop(attempt.scheduled.id, None)
            self._home.activities.row_written(attempt, self._record_of(attempt, attempt.owner))

    def _row_of(self, attempt: Attempt) -> NewActivity:
        return row(
            attempt.scheduled,
            attempt.scheduled_at,
            attempt=attempt.number,
            progress=attempt.progress,
            worker=self._home.worker_id,
            running_for=max(0, self._home.clock.now() - attempt.started_at),
        )

    def _record_of(self, attempt: Attempt, owner: Owner) -> ActivityRecord:
        scheduled = attempt.scheduled
        new = self._row_of(attempt)
        return ActivityRecord(
            run_id=self._run_id,
            id=scheduled.id,
            workflow_id=owner.workflow_id,
            workflow_type=owner.workflow_type,
            activity_type=scheduled.activity_type,
            task_queue=scheduled.task_queue,
            state=ActivityState.RUNNING,
            attempt=attempt.number,
            due_at=attempt.scheduled_at,
            deadline=None,
            start_by=None,
            close_by=new.close_by,
            start_to_close=new.start_to_close,
            heartbeat=new.heartbeat,
            worker=self._home.worker_id,
            started_at=attempt.started_at,
            scheduled_at=attempt.scheduled_at,
            scheduled=new.scheduled,
            progress=new.progress,
            cancel_requested=attempt.cancel_requested,
            now=self._home.clock.now(),
        )
