"""What a schedule does, rule by rule, as tables where a table reads better. It is due every minute; see `life`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from durable._engine.schedules._decide import (
    DUE_PER_DECISION,
    Start,
    decide,
    run_id,
    upcoming,
    workflow_id,
)
from durable._engine.schedules._overlap import MAX_BUFFER, resolve
from durable._engine.schedules._requests import (
    backfilled,
    closed,
    paused,
    triggered,
    unpaused,
)
from durable._engine.schedules.records import (
    Asked,
    PendingBackfill,
    PendingStart,
    PolicyRecord,
    ScheduleOverlapPolicy,
    ScheduleProgress,
    ScheduleRecord,
    Standing,
)
from durable.common import WorkflowExecutionStatus
from durable.history import ApplicationFailure, Failure, Payload, Payloads
from tests.engine.schedules.life import (
    ALLOW_ALL,
    BUFFER_ALL,
    BUFFER_ONE,
    CANCEL_OTHER,
    COMPLETED,
    EVERY_MINUTE,
    NOON,
    SKIP,
    TERMINATE_OTHER,
    Life,
    minute,
)
from tests.engine.schedules.said import DAY, HOUR, MINUTE, SECOND, at

# ---------------------------------------------------------------------- the six policies

POLICIES: list[
    tuple[ScheduleOverlapPolicy, list[list[str]], list[str], list[str], list[str], dict[str, int]]
] = [
    # policy, what minutes 1, 2, 3 bring while the first runs, what waits then, what the end of the first brings,
    # what waits then, what is counted
    (SKIP, [["start 1"], [], []], [], [], [], {"num_actions": 1, "skipped_overlap": 2}),
    (BUFFER_ONE, [["start 1"], [], []], ["2"], ["start 2"], [], {"num_actions": 2, "skipped_overlap": 1}),
    (BUFFER_ALL, [["start 1"], [], []], ["2", "3"], ["start 2"], ["3"], {"num_actions": 2}),
    (
        CANCEL_OTHER,
        [["start 1"], ["cancel 1"], []],
        ["3"],
        ["start 3"],
        [],
        {"num_actions": 2, "skipped_overlap": 1},
    ),
    (
        TERMINATE_OTHER,
        [["start 1"], ["terminate 1"], []],
        ["3"],
        ["start 3"],
        [],
        {"num_actions": 2, "skipped_overlap": 1},
    ),
]


@pytest.mark.parametrize(
    ("overlap", "minutes", "waiting", "then", "still", "counts"),
    POLICIES,
    ids=[one[0].name for one in POLICIES],
)
def test_a_policy(
    overlap: ScheduleOverlapPolicy,
    minutes: list[list[str]],
    waiting: list[str],
    then: list[str],
    still: list[str],
    counts: dict[str, int],
) -> None:
    life = Life(overlap)
    assert [life.wait(1) for _ in range(3)] == minutes
    assert life.waits() == waiting
    assert life.runs() == ["1"]
    assert life.end() == then
    assert life.waits() == still
    assert life.runs() == [one.removeprefix("start ") for one in then]
    assert life.counts() == counts


def test_allow_all_takes_everything_and_follows_nothing() -> None:
    life = Life(ALLOW_ALL, pause_on_failure=True)
    assert [life.wait(1) for _ in range(3)] == [["start 1"], ["start 2"], ["start 3"]]
    assert life.runs() == []
    second = life.progress.recent[1].run_id
    life.progress = closed(life.schedule.policy, life.progress, second, WorkflowExecutionStatus.FAILED)
    assert not life.progress.standing.paused
    assert [one.status.name for one in life.progress.recent] == ["RUNNING", "FAILED", "RUNNING"]


TOGETHER = [
    # Three at once and nothing runs: what is taken, what waits, what is skipped.
    (SKIP, ["start 1"], [], 2),
    (BUFFER_ONE, ["start 1"], ["2"], 1),
    (BUFFER_ALL, ["start 1"], ["2", "3"], 0),
    (CANCEL_OTHER, ["start 3"], [], 2),
    (TERMINATE_OTHER, ["start 3"], [], 2),
    (ALLOW_ALL, ["start 1", "start 2", "start 3"], [], 0),
]


@pytest.mark.parametrize(
    ("overlap", "wanted", "waiting", "skipped"), TOGETHER, ids=[one[0].name for one in TOGETHER]
)
def test_several_that_are_due_at_once(
    overlap: ScheduleOverlapPolicy, wanted: list[str], waiting: list[str], skipped: int
) -> None:
    life = Life(overlap)
    assert life.wait(3) == wanted
    assert life.waits() == waiting
    assert life.progress.skipped_overlap == skipped


def test_a_termination_is_asked_of_what_was_asked_to_cancel_itself() -> None:
    life = Life(CANCEL_OTHER)
    life.wait(1)
    assert life.wait(1) == ["cancel 1"]
    assert life.wait(1) == []  # it was asked already
    life.progress = triggered(life.progress, life.now, TERMINATE_OTHER)
    assert life.decide() == ["terminate 1"]
    assert life.decide() == []


def test_policies_of_their_own_are_kept_to() -> None:
    pending = [
        PendingStart(1, 1, BUFFER_ALL),
        PendingStart(2, 2, ALLOW_ALL),
        PendingStart(3, 3, BUFFER_ONE),
        PendingStart(4, 4, SKIP),
        PendingStart(5, 5, CANCEL_OTHER),
        PendingStart(6, 6),
    ]
    found = resolve(pending, TERMINATE_OTHER, running=True)
    assert [one.nominal for one in found.overlapping] == [2]
    assert found.chosen is None
    assert [one.nominal for one in found.waiting] == [1, 6]
    assert (found.skipped, found.dropped, found.asks) == (3, 0, Asked.TERMINATE)


def test_the_policy_is_the_one_at_its_turn() -> None:
    life = Life(BUFFER_ALL)
    life.wait(3)
    assert life.waits() == ["2", "3"]
    life.schedule = replace(life.schedule, policy=PolicyRecord(overlap=SKIP))
    assert life.decide() == []
    assert life.waits() == []
    assert life.progress.skipped_overlap == 2


def test_the_buffer_is_bounded() -> None:
    life = Life(BUFFER_ALL)
    life.wait(1)
    for _ in range(MAX_BUFFER // DUE_PER_DECISION + 2):
        life.wait(DUE_PER_DECISION)
    assert len(life.progress.buffer) == MAX_BUFFER
    assert life.counts() == {"num_actions": 1, "buffer_dropped": 2 * DUE_PER_DECISION}
    assert life.waits()[0] == "2"


# ---------------------------------------------------------------------- time


def test_it_acts_behind_its_creation_and_wakes_for_the_next() -> None:
    life = Life()
    assert life.decide() == []
    assert life.wakes() == 1
    assert life.wait(0.999) == []
    assert life.wait(0.001) == ["start 1"]
    assert life.wakes() == 2


def test_an_instant_is_decided_once() -> None:
    life = Life(ALLOW_ALL)
    assert life.wait(1) == ["start 1"]
    assert life.decide() == []
    life.now -= HOUR  # the clock goes back
    assert life.decide() == []
    life.now += HOUR
    assert life.decide() == []
    assert life.wait(1) == ["start 2"]


def test_jitter_puts_the_start_off_and_nothing_else() -> None:
    life = Life(ALLOW_ALL, replace(EVERY_MINUTE, jitter=DAY))
    life.decide()
    first = life.wakes()
    assert first is not None
    assert 1 < first < 2
    life.now = NOON + round(first * MINUTE)
    assert life.decide() == ["start 1"]
    assert life.decision is not None
    start = life.decision.starts[0]
    assert (start.nominal, start.due) == (NOON + MINUTE, life.now)
    assert start.workflow_id == "report-2026-11-21T12:01:00Z"
    assert life.progress.recent[0].scheduled_at == life.now


CATCHUP = [
    # window, how long nobody was there: how many are taken, and missed
    ("a year by default", None, 5, 5, 0),
    ("what is late by the window is taken", 3 * MINUTE, 5, 4, 1),
    ("what is later is missed", 3 * MINUTE - 1, 5, 3, 2),
    ("a window below ten seconds is ten seconds", 0, 5 + 10 / 60, 1, 4),
    ("a long absence", 2 * MINUTE, 60 * 24 * 300, 3, 60 * 24 * 300 - 3),
]


@pytest.mark.parametrize(
    ("window", "away", "taken", "missed"), [row[1:] for row in CATCHUP], ids=[row[0] for row in CATCHUP]
)
def test_the_catchup_window(window: int | None, away: float, taken: int, missed: int) -> None:
    life = Life(ALLOW_ALL, **({} if window is None else {"catchup_window": window}))
    assert len(life.wait(away)) == taken
    assert life.progress.missed_catchup == missed
    assert life.wakes() == int(away) + 1


def test_catching_up_goes_in_portions() -> None:
    life = Life(ALLOW_ALL)
    assert len(life.wait(250)) == DUE_PER_DECISION
    assert life.wakes() == 250  # at once
    assert len(life.decide()) == DUE_PER_DECISION
    assert len(life.decide()) == 50
    assert life.wakes() == 251


# ---------------------------------------------------------------------- pauses and limits


def test_what_falls_into_a_pause_is_passed_over() -> None:
    life = Life(ALLOW_ALL)
    life.wait(1)
    life.progress = paused(life.progress, "holidays")
    assert life.wait(5) == []
    assert life.wakes() is None
    assert life.decision is not None
    assert not life.decision.finished
    life.now += 5 * MINUTE
    life.progress = unpaused(life.schedule, life.progress, "back", life.now)
    assert life.progress.standing == Standing(note="back")
    assert life.decide() == []
    assert life.wait(1) == ["start 12"]
    assert life.counts() == {"num_actions": 2}


def test_of_a_pause_the_future_is_foretold() -> None:
    life = Life(ALLOW_ALL)
    life.progress = paused(life.progress, "holidays")
    life.now += 5 * MINUTE
    assert upcoming(life.schedule, life.progress, life.now, 1) == (NOON + 6 * MINUTE,)
    life.decide()
    assert life.progress.cursor == NOON + 5 * MINUTE
    assert upcoming(life.schedule, life.progress, life.now, 1) == (NOON + 6 * MINUTE,)


def test_unpausing_what_is_not_paused_loses_nothing() -> None:
    life = Life(ALLOW_ALL)
    life.now += MINUTE
    life.progress = unpaused(life.schedule, life.progress, "", life.now)
    assert life.decide() == ["start 1"]


def test_what_waits_when_it_is_paused_is_dropped_at_its_turn() -> None:
    life = Life(BUFFER_ALL)
    life.wait(3)
    life.progress = paused(life.progress, "stop")
    assert life.waits() == ["2", "3"]
    assert life.end() == []
    assert life.waits() == []
    assert life.counts() == {"num_actions": 1, "buffer_dropped": 2}


ENDS = [
    (WorkflowExecutionStatus.FAILED, Failure("boom"), "paused due to workflow failure: {id}: boom"),
    (WorkflowExecutionStatus.TIMED_OUT, Failure("late"), "paused due to workflow timeout: {id}"),
    (WorkflowExecutionStatus.CANCELED, Failure("off"), None),
    (WorkflowExecutionStatus.TERMINATED, Failure("off"), None),
    (COMPLETED, None, None),
]


@pytest.mark.parametrize(("status", "failure", "note"), ENDS, ids=[one[0].name for one in ENDS])
@pytest.mark.parametrize("pause_on_failure", [True, False])
def test_pause_on_failure(
    status: WorkflowExecutionStatus, failure: Failure | None, note: str | None, pause_on_failure: bool
) -> None:
    life = Life(pause_on_failure=pause_on_failure)
    life.wait(1)
    life.end(status, failure=failure)
    name = "report-2026-11-21T12:01:00Z"
    wanted = Standing()
    if pause_on_failure and note is not None:
        wanted = Standing(note=note.format(id=name), paused=True)
    assert life.progress.standing == wanted
    assert life.progress.recent[0].status is status


def test_remaining_actions_are_used_up() -> None:
    life = Life(ALLOW_ALL, standing=Standing(limited_actions=True, remaining_actions=2))
    assert len(upcoming(life.schedule, life.progress, life.now)) == 2
    assert life.wait(1) == ["start 1"]
    assert life.wakes() == 2
    assert life.wait(1) == ["start 2"]
    assert life.progress.standing.remaining_actions == 0
    assert life.wakes() is None
    assert life.decision is not None
    assert life.decision.finished
    assert life.wait(60) == []
    assert upcoming(life.schedule, life.progress, life.now) == ()
    life.progress = triggered(life.progress, life.now)
    assert len(life.decide()) == 1  # what people ask for does not count
    assert life.counts() == {"num_actions": 3}


def test_more_that_are_due_than_remain() -> None:
    life = Life(ALLOW_ALL, standing=Standing(limited_actions=True, remaining_actions=2))
    assert life.wait(5) == ["start 1", "start 2"]
    assert life.counts() == {"num_actions": 2, "buffer_dropped": 3}


def test_a_schedule_whose_spec_has_ended_is_finished_when_its_actions_are() -> None:
    life = Life(BUFFER_ALL, replace(EVERY_MINUTE, end_at=NOON + 2 * MINUTE))
    life.wait(2)
    for _ in range(2):
        assert life.decision is not None
        assert life.wakes() is None
        assert not life.decision.finished
        life.end()
    assert life.progress.running == ()
    assert life.decision is not None
    assert life.decision.finished


# ---------------------------------------------------------------------- what is handed on and shown


def test_a_result_is_handed_on() -> None:
    life = Life(SKIP)
    one, two = (Payload(b"1"),), (Payload(b"2"),)
    boom = Failure("boom", info=ApplicationFailure("E"))
    seen: list[tuple[Payloads, Failure | None]] = []

    def handed() -> None:
        life.wait(1)
        assert life.decision is not None
        start: Start = life.decision.starts[0]
        seen.append((start.last_result, start.last_failure))

    handed()
    life.end(result=one)
    handed()
    life.end(WorkflowExecutionStatus.FAILED, failure=boom)
    handed()
    life.end(WorkflowExecutionStatus.CANCELED)
    handed()
    life.end(result=two)
    handed()
    assert seen == [((), None), (one, None), (one, boom), (one, boom), (two, None)]
    life.progress = triggered(life.progress, life.now, ALLOW_ALL)
    life.decide()
    assert life.decision is not None
    assert (life.decision.starts[0].last_result, life.decision.starts[0].last_failure) == ((), None)


def test_the_end_of_a_stranger_changes_nothing() -> None:
    life = Life(pause_on_failure=True)
    life.wait(1)
    before = life.progress
    life.progress = closed(life.schedule.policy, before, "another", WorkflowExecutionStatus.FAILED)
    assert life.progress == before


def test_what_no_longer_runs_is_forgotten_without_being_told() -> None:
    life = Life(BUFFER_ALL)
    life.wait(2)
    decision = decide(life.schedule, life.progress, now=life.now, running=[])
    assert [minute(one.nominal) for one in decision.starts] == ["2"]


def test_ten_actions_are_remembered_and_ten_foretold() -> None:
    life = Life(ALLOW_ALL)
    life.wait(15)
    assert [minute(one.scheduled_at) for one in life.progress.recent] == [str(n) for n in range(6, 16)]
    assert [minute(one) for one in upcoming(life.schedule, life.progress, life.now)] == [
        str(n) for n in range(16, 26)
    ]
    assert len(upcoming(life.schedule, life.progress, life.now, 3)) == 3


IDS = [
    ("2026-11-21T12:01:00", 0, "report-2026-11-21T12:01:00Z"),
    ("2026-11-21T12:01:00", 7, "report-2026-11-21T12:01:00.000007Z"),
    ("0999-01-01T00:00:00", 0, "report-0999-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(("instant", "more", "wanted"), IDS)
def test_a_workflow_id_is_the_actions_and_the_instant(instant: str, more: int, wanted: str) -> None:
    assert workflow_id("report", at(instant) + more) == wanted


def test_a_run_id_is_made_of_the_schedule_and_the_instant_and_stays_so() -> None:
    # A start that was repeated after a crash, perhaps by another release, must meet the first.
    assert run_id("nightly", 5, NOON) == "01a1fdfa-4600-7be1-bbc3-6cca676ce89a"
    assert run_id("nightly", 5, NOON) != run_id("nightly", 5, NOON + 1)
    assert run_id("nightly", 5, NOON) != run_id("nightly", 6, NOON)
    assert run_id("nightly", 5, NOON) != run_id("nightl", 5, NOON)
    assert (
        run_id("nightly", 5, NOON)[:13] == run_id("hourly", 5, NOON)[:13]
    )  # begins with the instant, as version 7 does


def test_progress_and_schedule_survive_their_encoding() -> None:
    life = Life(CANCEL_OTHER, replace(EVERY_MINUTE, jitter=SECOND))
    life.wait(3)
    life.progress = backfilled(life.progress, PendingBackfill(0, 1, ALLOW_ALL))
    records: Sequence[ScheduleProgress | ScheduleRecord] = (life.progress, life.schedule)
    for record in records:
        assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
