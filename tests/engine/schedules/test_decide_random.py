"""Whatever happens to a schedule in whatever order: every nominal instant is decided once, and is in one place.

Each seed is one life of a schedule: its spec and policies, when it is looked at, when its actions end, what people ask.
Behind every step the books have to balance. A seed that fails is kept in `KEPT` for ever, and lived first.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from msgspec.structs import replace

from durable._engine.schedules._decide import (
    MINIMUM_CATCHUP_WINDOW,
    RECENT,
    Decision,
    decide,
    upcoming,
)
from durable._engine.schedules._overlap import MAX_BUFFER
from durable._engine.schedules._requests import (
    backfilled,
    closed,
    created,
    paused,
    triggered,
    unpaused,
    updated,
)
from durable._engine.schedules.records import (
    ActionRecord,
    Asked,
    PendingBackfill,
    PolicyRecord,
    ScheduleOverlapPolicy,
    ScheduleRecord,
    Standing,
)
from durable._timetables._times import Timetable, timetable
from durable._timetables.records import IntervalRecord, SpecRecord
from durable.common import WorkflowExecutionStatus
from durable.history import Failure, Payload
from tests.engine.schedules.said import HOUR, MINUTE, SECOND, WHOLE_DAY, at, calendar

KEPT: tuple[int, ...] = ()
LIVES = 600
BATCHES = 6
STEPS = 50

BEGIN = at("2026-03-27T00:00")  # the clocks of Berlin are put forward two days later
BEFORE = at("2026-03-01T00:00")


class Life:
    """One schedule, and a book in which everything that it was asked for and did is counted again."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        self.schedule = ScheduleRecord(
            ActionRecord("Report", "report", "default"), self.spec(), self.policy()
        )
        self.now = BEGIN + rng.randrange(HOUR)
        limit = rng.choice((0, 0, 0, 1, 5, 40))
        standing = Standing(paused=rng.random() < 0.1, limited_actions=limit > 0, remaining_actions=limit)
        self.latest = self.now
        self.progress = created(f"schedule-{seed}", standing, self.now)
        self.open: dict[str, str] = {}
        """Runs that have not ended, tracked or not, and what they were asked for."""
        self.runs: set[str] = set()
        self.automatic = 0
        self.limit = limit
        self.in_silence = 0
        self.asked_for = 0
        self.backfill_from = BEFORE
        self.backfill_total = 0
        self.moves: list[tuple[int, Callable[[], None]]] = [
            (12, self.time_passes),
            (6, self.it_wakes),
            (8, self.an_action_ends),
            (2, self.trigger),
            (1, self.backfill),
            (1, self.pause),
            (2, self.unpause),
            (1, self.update),
            (1, self.the_clock_goes_back),
        ]

    def spec(self) -> SpecRecord:
        rng = self.rng
        parts = rng.choice(
            (
                SpecRecord(intervals=(IntervalRecord(rng.choice((7, 60, 3600)) * SECOND),)),
                SpecRecord(cron=(f"*/{rng.choice((1, 10, 30))} * * * *",)),
                SpecRecord(cron=("30 2 * * *", "15 */3 * * *")),
                SpecRecord(cron=("*/5 * * * *",), skip=(calendar(day_of_week=[(0,)], **WHOLE_DAY),)),
                SpecRecord(),
            )
        )
        jitter = rng.choice((0, 0, SECOND, HOUR))
        end_at = rng.choice((None, None, BEGIN + rng.randrange(48) * HOUR))
        return replace(parts, jitter=jitter, end_at=end_at, zone="Europe/Berlin")

    def policy(self) -> PolicyRecord:
        return PolicyRecord(
            overlap=self.rng.choice(list(ScheduleOverlapPolicy)),
            catchup_window=self.rng.choice((0, MINUTE, 2 * HOUR, 1000 * HOUR)),
            pause_on_failure=self.rng.random() < 0.3,
        )

    # ------------------------------------------------------------------ what happens

    def step(self) -> None:
        weights = [weight for weight, _ in self.moves]
        self.rng.choices(self.moves, weights)[0][1]()
        self.decide()

    def time_passes(self) -> None:
        self.now += self.rng.choice((1, SECOND, MINUTE, 10 * MINUTE, HOUR, 7 * HOUR))

    def it_wakes(self) -> None:
        wake = self.decide().wake
        if wake is None or wake > self.now + 400 * HOUR:
            return
        if wake - 1 > self.now and not self.progress.backfills:
            self.now = wake - 1
            cursor = self.progress.cursor
            assert self.decide().starts == ()
            assert self.progress.cursor == cursor, "there was something to do before it wanted to be woken"
        self.now = wake

    def an_action_ends(self) -> None:
        if not self.open:
            return
        run = self.rng.choice(list(self.open))
        del self.open[run]
        status = self.rng.choice([one for one in WorkflowExecutionStatus if one.name != "RUNNING"])
        if self.rng.random() < 0.1:
            return  # nobody reports it; it is just gone
        failed = status is not WorkflowExecutionStatus.COMPLETED
        self.progress = closed(
            self.schedule.policy,
            self.progress,
            run,
            status,
            result=() if failed else (Payload(run.encode()),),
            failure=Failure(run) if failed else None,
        )

    def trigger(self) -> None:
        self.progress = triggered(self.progress, self.now, self.own_policy())
        self.asked_for += 1

    def backfill(self) -> None:
        """Of a time before the schedule's life, so that nothing in it is anything else, too."""
        until = min(BEGIN - HOUR, self.backfill_from + self.rng.randrange(3 * HOUR))
        self.progress = backfilled(
            self.progress, PendingBackfill(self.backfill_from, until, self.own_policy())
        )
        self.backfill_from = until

    def own_policy(self) -> ScheduleOverlapPolicy | None:
        return self.rng.choice((None, *ScheduleOverlapPolicy))

    def pause(self) -> None:
        self.progress = paused(self.progress, "for a while")

    def unpause(self) -> None:
        cursor = self.progress.cursor
        self.progress = unpaused(self.schedule, self.progress, "again", self.now)
        self.in_silence += self.times.count(cursor, self.progress.cursor)

    def update(self) -> None:
        cursor = self.progress.cursor
        self.schedule = replace(self.schedule, policy=self.policy())
        self.progress = updated(self.schedule, self.progress, self.progress.standing, self.now)
        self.in_silence += self.times.count(cursor, self.progress.cursor)

    def the_clock_goes_back(self) -> None:
        self.now -= self.rng.choice((1, SECOND, HOUR))

    # ------------------------------------------------------------------ what is decided

    @property
    def times(self) -> Timetable:
        return timetable(self.schedule.spec)

    def decide_all(self) -> None:
        while (wake := self.decide().wake) is not None and wake <= self.now and self.progress.standing.acts:
            pass

    def decide(self) -> Decision:
        before = self.progress
        self.latest = max(self.latest, self.now)
        decision = decide(self.schedule, before, now=self.now, running=self.open.keys())
        self.progress = progress = decision.progress
        if not before.standing.acts:
            self.in_silence += self.times.count(before.cursor, progress.cursor)
        for start in decision.starts:
            assert start.run_id not in self.runs, "an instant was taken twice"
            assert start.due <= self.latest
            self.runs.add(start.run_id)
            self.open[start.run_id] = ""
            if start.nominal % SECOND == 0 and start.nominal > BEGIN:
                self.automatic += 1
        for ask in decision.asks:
            assert ask.what.name > self.open[ask.run_id], "it was asked for as much before"
            self.open[ask.run_id] = ask.what.name
        fresh = [one for one in decision.starts if BEGIN < one.nominal > before.cursor]
        window = max(self.schedule.policy.catchup_window, MINIMUM_CATCHUP_WINDOW)
        assert all(self.now - one.due <= window for one in fresh if one.nominal % SECOND == 0)
        self.check_books()
        return decision

    def check_books(self) -> None:
        progress = self.progress
        backfilled_so_far = self.times.count(BEFORE, self.backfill_from) - sum(
            self.times.count(one.after, one.until) for one in progress.backfills
        )
        decided = self.times.count(progress.created_at, progress.cursor) - self.in_silence
        found = (
            progress.num_actions
            + len(progress.buffer)
            + progress.skipped_overlap
            + progress.buffer_dropped
            + progress.missed_catchup
        )
        assert found == decided + self.asked_for + backfilled_so_far
        assert progress.num_actions == len(self.runs)
        assert len(progress.running) <= 1, "two run that must not overlap"
        assert len(progress.buffer) <= MAX_BUFFER
        assert not progress.buffer or progress.running, "something waits for nothing"
        assert len({one.nominal for one in progress.buffer}) == len(progress.buffer)
        assert all(one.asked is Asked.NOTHING or self.open[one.run_id] for one in progress.running)
        assert len(progress.recent) == min(RECENT, progress.num_actions)
        if self.limit:
            assert progress.standing.remaining_actions == self.limit - self.automatic >= 0
        foretold = upcoming(self.schedule, progress, self.now, 3)
        assert list(foretold) == sorted(foretold)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_instant_is_decided_once_and_is_in_one_place(batch: int) -> None:
    for seed in (*KEPT, *range(LIVES))[batch::BATCHES]:
        life = Life(seed)
        for step in range(STEPS):
            try:
                life.step()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, step {step}: {error}") from error


def test_deciding_late_or_often_comes_to_the_same_where_nothing_overlaps() -> None:
    for seed in range(60):
        often, late = Life(seed), Life(seed)
        policy = PolicyRecord(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
        for life in (often, late):
            life.schedule = replace(life.schedule, policy=policy)
            life.progress = replace(life.progress, standing=Standing())
            life.limit = 0
        end = often.now + 4 * HOUR
        while often.now < end:
            often.now = min(end, often.now + often.rng.randrange(20 * MINUTE))
            often.decide_all()
        late.now = end
        late.decide_all()
        assert often.runs == late.runs, seed
        assert often.progress.cursor == late.progress.cursor, seed
