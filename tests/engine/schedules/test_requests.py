"""What people ask of a schedule: triggers, backfills, updates; what comes of each is decided right behind it."""

from __future__ import annotations

from msgspec.structs import replace

from durable._engine.schedules._decide import (
    BACKFILL_PAUSE,
)
from durable._engine.schedules._overlap import MAX_BUFFER
from durable._engine.schedules._requests import (
    REQUESTS,
    backfilled,
    refused,
    requested,
    told,
    triggered,
    updated,
)
from durable._engine.schedules.records import Asked, PendingBackfill, PendingStart, Standing
from durable._timetables.records import SpecRecord
from tests.engine.schedules.life import (
    ALLOW_ALL,
    BUFFER_ALL,
    CANCEL_OTHER,
    NOON,
    SKIP,
    Life,
)
from tests.engine.schedules.said import HOUR, MINUTE, SECOND


def test_a_trigger_is_taken_now_paused_or_not() -> None:
    life = Life(spec=SpecRecord(), standing=Standing(paused=True))
    life.now += 1_500_000
    life.progress = triggered(life.progress, life.now)
    life.decide()
    assert life.decision is not None
    assert [one.workflow_id for one in life.decision.starts] == ["report-2026-11-21T12:00:01.500000Z"]


def test_triggers_keep_to_the_overlap_policy_unless_they_have_their_own() -> None:
    life = Life(spec=SpecRecord())
    for overlap in (None, None, ALLOW_ALL):
        life.progress = triggered(life.progress, life.now, overlap)
        life.decide()
    assert life.counts() == {"num_actions": 2, "skipped_overlap": 1}
    assert len(life.progress.running) == 1


def test_no_two_triggers_and_no_trigger_and_instant_have_one_run() -> None:
    life = Life(ALLOW_ALL)
    life.now += MINUTE
    for _ in range(3):
        life.progress = triggered(life.progress, life.now)
    life.decide()
    assert life.decision is not None
    nominals = [one.nominal - life.now for one in life.decision.starts]
    assert sorted(nominals) == [0, 1, 2, 3]
    assert len({one.run_id for one in life.decision.starts}) == 4
    assert len({one.workflow_id for one in life.decision.starts}) == 4


def test_a_full_buffer_takes_no_trigger() -> None:
    life = Life(spec=SpecRecord())
    life.progress = replace(life.progress, buffer=tuple(PendingStart(n, n) for n in range(MAX_BUFFER)))
    life.progress = triggered(life.progress, life.now)
    assert len(life.progress.buffer) == MAX_BUFFER
    assert life.counts() == {"buffer_dropped": 1}


def test_a_backfill_takes_what_lies_behind_its_start_up_to_its_end_in_portions() -> None:
    life = Life(SKIP, standing=Standing(paused=True))
    life.progress = backfilled(life.progress, PendingBackfill(NOON - 25 * MINUTE, NOON - MINUTE, ALLOW_ALL))
    assert life.decide() == [f"start {n}" for n in range(-24, -14)]
    assert life.decision is not None
    assert life.decision.wake == life.now + BACKFILL_PAUSE
    assert life.wait(1 / 60) == [f"start {n}" for n in range(-14, -4)]
    assert life.wait(1 / 60) == [f"start {n}" for n in range(-4, 0)]
    assert life.wakes() is None
    assert life.progress.backfills == ()


def test_a_portion_goes_over_from_one_backfill_to_the_next() -> None:
    life = Life(ALLOW_ALL, standing=Standing(paused=True))
    life.progress = backfilled(
        life.progress,
        PendingBackfill(NOON - HOUR, NOON - 57 * MINUTE),
        PendingBackfill(NOON - HOUR - 30 * SECOND, NOON - HOUR - 1),  # nothing lies in it
        PendingBackfill(NOON - 30 * MINUTE, NOON),
    )
    assert life.decide() == [f"start {n}" for n in (-59, -58, -57, *range(-29, -22))]
    assert life.progress.backfills == (PendingBackfill(NOON - 23 * MINUTE, NOON),)


def test_a_backfill_with_the_buffer_policy_goes_one_by_one() -> None:
    life = Life(BUFFER_ALL, standing=Standing(paused=True))
    life.progress = backfilled(life.progress, PendingBackfill(NOON - 4 * MINUTE, NOON - MINUTE))
    assert life.decide() == ["start -3"]
    assert life.end() == ["start -2"]
    assert life.end() == ["start -1"]
    assert life.end() == []
    assert life.counts() == {"num_actions": 3}


def test_a_backfill_leaves_half_of_the_buffer_to_what_is_due() -> None:
    life = Life(BUFFER_ALL, standing=Standing(paused=True))
    life.progress = backfilled(life.progress, PendingBackfill(NOON - 30 * HOUR, NOON))
    for _ in range(80):
        life.decide()
    assert len(life.progress.buffer) < MAX_BUFFER // 2 + 10
    assert life.wakes() is None  # it goes on when actions end
    assert life.progress.backfills != ()


def test_what_waits_is_not_backfilled_again() -> None:
    life = Life(BUFFER_ALL)
    life.wait(3)
    life.progress = backfilled(life.progress, PendingBackfill(NOON + MINUTE, NOON + 3 * MINUTE))
    life.decide()
    assert life.waits() == ["2", "3"]


def test_an_update_goes_on_with_what_is_due_behind_it() -> None:
    life = Life(ALLOW_ALL)
    life.wait(1)
    life.now += 10 * MINUTE  # nobody decided: what was due under the old spec is gone
    hourly = SpecRecord(cron=("5 * * * *",))
    life.schedule = replace(life.schedule, spec=hourly)
    life.progress = updated(life.schedule, life.progress, Standing(note="less"), life.now)
    assert life.decide() == []
    assert life.wakes() == 65
    assert life.progress.updated_at == life.now
    assert life.progress.standing.note == "less"
    assert life.counts() == {"num_actions": 1}


def test_an_update_keeps_what_is_put_off_beyond_it() -> None:
    life = Life(ALLOW_ALL, SpecRecord(cron=("0 * * * *",), jitter=HOUR))
    life.decide()
    due = life.wakes()
    assert due is not None
    life.now = NOON + round(due * MINUTE) - SECOND
    life.progress = updated(life.schedule, life.progress, Standing(), life.now)
    life.now += SECOND
    assert life.decide() == ["start 60"]


def test_a_refused_action_is_as_if_it_was_skipped() -> None:
    life = Life()
    life.wait(1)
    (taken,) = life.progress.running
    gone = refused(life.progress, taken.run_id)
    assert (gone.running, gone.recent, gone.num_actions, gone.skipped_overlap) == ((), (), 0, 1)
    assert refused(gone, taken.run_id) == gone, "once"


def test_what_a_running_action_was_told_is_kept_for_it_alone() -> None:
    life = Life(CANCEL_OTHER)
    life.wait(1)
    life.wait(1)
    (one,) = life.progress.running
    assert (one.asked, one.told) == (Asked.CANCEL, Asked.NOTHING)
    after = told(life.progress, {one.run_id: Asked.CANCEL})
    assert after.running[0].told is Asked.CANCEL
    assert told(after, {one.run_id: Asked.NOTHING}) == after, "never less"
    assert told(after, {"another": Asked.TERMINATE}) == after


def test_the_last_requests_are_remembered() -> None:
    progress = Life().progress
    for number in range(REQUESTS + 5):
        progress = requested(progress, str(number))
    assert progress.requests == tuple(str(number) for number in range(5, REQUESTS + 5))
