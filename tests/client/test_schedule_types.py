"""Schedules as people write them: what is stored of them, and what is refused with a word on what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import workflow
from durable._engine.schedules._decide import workflow_id
from durable._engine.schedules._requests import created, triggered
from durable._engine.schedules.records import PolicyRecord, RecentAction, RunningAction, Standing
from durable._internal.ids import MAX_NAME_BYTES
from durable._internal.instants import from_datetime
from durable.client._schedule_spec import (
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
)
from durable.client._schedule_types import (
    INSTANT_BYTES,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleInfo,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAIVE = NOON.replace(tzinfo=None)
HOUR = timedelta(hours=1)


@workflow.defn
async def report(day: str, copies: int = 1) -> str:
    return day * copies


def test_a_spec_comes_back_as_it_was_written() -> None:
    spec = ScheduleSpec(
        calendars=[
            ScheduleCalendarSpec(
                hour=(ScheduleRange(9, 17, 2),), year=(ScheduleRange(2027),), comment="shop hours"
            )
        ],
        intervals=[ScheduleIntervalSpec(HOUR, timedelta(minutes=5)), ScheduleIntervalSpec(2 * HOUR)],
        cron_expressions=["0 9 * * MON-FRI", "@daily"],
        skip=[ScheduleCalendarSpec(month=(ScheduleRange(12),))],
        start_at=NOON,
        end_at=NOON + HOUR,
        jitter=timedelta(seconds=90),
        time_zone_name="Europe/Berlin",
    )
    assert ScheduleSpec.from_record(spec.to_record()) == spec
    assert ScheduleSpec.from_record(ScheduleSpec().to_record()) == ScheduleSpec()


def test_seconds_are_durations_too() -> None:
    assert (
        ScheduleIntervalSpec(90, 30).to_record()
        == ScheduleIntervalSpec(timedelta(seconds=90), timedelta(seconds=30)).to_record()
    )
    assert ScheduleSpec(jitter=1.5).to_record().jitter == 1_500_000
    assert SchedulePolicy(catchup_window=60).to_record().catchup_window == 60_000_000


def test_a_range_fills_itself_in() -> None:
    assert (ScheduleRange(5).end, ScheduleRange(5).step) == (5, 1)
    assert ScheduleRange(0, 6) == ScheduleRange(0, 6, 1)


def test_policy_and_state_come_back() -> None:
    policy = SchedulePolicy(ScheduleOverlapPolicy.BUFFER_ONE, HOUR, True)
    assert SchedulePolicy.from_record(policy.to_record()) == policy
    assert SchedulePolicy().to_record() == PolicyRecord()
    state = ScheduleState("why", True, True, 3)
    assert ScheduleState.from_record(state.to_record()) == state
    assert ScheduleState().to_record() == Standing()
    assert (
        ScheduleState(limited_actions=True).remaining_actions == 0
    )  # as describe() shows one that is used up


ACTIONS: list[tuple[str, Callable[[], ScheduleActionStartWorkflow], Any]] = [
    ("a call", lambda: ScheduleActionStartWorkflow(report("monday"), id="r"), ()),
    ("a workflow and its arguments", lambda: ScheduleActionStartWorkflow(report, "monday", 2, id="r"), ("monday", 2)),
    ("a name", lambda: ScheduleActionStartWorkflow("Report", "monday", id="r"), ("monday",)),
    ("a name with args", lambda: ScheduleActionStartWorkflow("Report", args=["monday", 2], id="r"), ("monday", 2)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "args"), [row[1:] for row in ACTIONS], ids=[row[0] for row in ACTIONS])
def test_an_action_may_be_written_in_every_way_a_start_may(
    make: Callable[[], ScheduleActionStartWorkflow], args: tuple[object, ...]
) -> None:
    action = make()
    assert tuple(action.args) == args
    schedule = Schedule(action, ScheduleSpec(intervals=[ScheduleIntervalSpec(HOUR)]))
    assert schedule.policy == SchedulePolicy()
    assert schedule.state == ScheduleState()


def test_every_workflow_id_of_the_longest_action_id_fits() -> None:
    longest = "x" * (MAX_NAME_BYTES - INSTANT_BYTES)
    ScheduleActionStartWorkflow("Report", id=longest)
    last = from_datetime(datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "last")
    assert len(workflow_id(longest, last)) == MAX_NAME_BYTES
    with pytest.raises(ValueError, match="id must be at most 227 bytes"):
        ScheduleActionStartWorkflow("Report", id=longest + "x")


def test_info_shows_what_was_done() -> None:
    at = from_datetime(NOON, "noon")
    progress = triggered(created("nightly", Standing(), at), at)
    run = RunningAction("r-1", "run-1")
    recent = RecentAction(at, at + 1_000_000, "r-1", "run-1")
    info = ScheduleInfo.from_record(
        type(progress)(
            schedule_id="nightly",
            created_at=at,
            cursor=at,
            buffer=progress.buffer,
            running=(run,),
            recent=(recent,),
            num_actions=4,
            missed_catchup=3,
            skipped_overlap=2,
            buffer_dropped=1,
        ),
        [at + 5_000_000],
    )
    execution = ScheduleActionExecutionStartWorkflow("r-1", "run-1")
    assert info == ScheduleInfo(
        num_actions=4,
        num_actions_missed_catchup_window=3,
        num_actions_skipped_overlap=2,
        num_actions_buffer_dropped=1,
        buffer_size=1,
        running_actions=[execution],
        recent_actions=[ScheduleActionResult(NOON, NOON + timedelta(seconds=1), execution)],
        next_action_times=[NOON + timedelta(seconds=5)],
        created_at=NOON,
        last_updated_at=None,
    )


NAN, LONG = float("nan"), timedelta(days=366 * 101)
Range, Calendar, Interval, Spec = ScheduleRange, ScheduleCalendarSpec, ScheduleIntervalSpec, ScheduleSpec
Action, Policy, State, Backfill = (
    ScheduleActionStartWorkflow,
    SchedulePolicy,
    ScheduleState,
    ScheduleBackfill,
)

REFUSED: list[tuple[Callable[..., object], dict[str, Any], type[Exception], str]] = [
    (Range, {"start": -1}, ValueError, r"ScheduleRange.start must not be negative: -1"),
    (Range, {"start": 1.5}, TypeError, r"ScheduleRange.start must be a whole number, not float"),
    (Range, {"start": True}, TypeError, r"ScheduleRange.start must be a whole number, not bool"),
    (Range, {"start": 22, "end": 2}, ValueError, r"from 22 to 2 is empty; .* write two ranges"),
    (Range, {"start": 0, "end": 5, "step": -1}, ValueError, r"ScheduleRange.step must not be negative"),
    (Calendar, {"hour": [Range(24)]}, ValueError, r"hour must be from 0 to 23, not from 24 to 24"),
    (Calendar, {"month": [Range(0, 12)]}, ValueError, r"month must be from 1 to 12, not from 0 to 12"),
    (Calendar, {"day_of_month": [Range(0)]}, ValueError, r"day_of_month must be from 1 to 31"),
    (Calendar, {"day_of_week": [Range(7)]}, ValueError, r"day_of_week must be from 0 to 6, .*; Sunday is 0"),
    (Calendar, {"year": [Range(2100)]}, ValueError, r"year must be from 1970 to 2099"),
    (Calendar, {"hour": []}, ValueError, r"ScheduleCalendarSpec.hour is empty, so nothing matches"),
    (Calendar, {"hour": Range(9)}, TypeError, r"hour must be a list or a tuple .*; write it in brackets"),
    (Calendar, {"hour": [9]}, TypeError, r"ScheduleCalendarSpec.hour must hold ScheduleRange, not int: 9"),
    (Calendar, {"hour": "9"}, TypeError, r"hour must be a list or a tuple of ScheduleRange, not str"),
    (Calendar, {"comment": "x" * 201}, ValueError, r"comment must be at most 200 characters, not 201"),
    (Calendar, {"minute": [Range(1)] * 101}, ValueError, r"minute must have at most 100 entries, not 101"),
    (Interval, {"every": 0}, ValueError, r"ScheduleIntervalSpec.every must be longer than zero"),
    (Interval, {"every": -HOUR}, ValueError, r"ScheduleIntervalSpec.every must be longer than zero"),
    (Interval, {"every": NAN}, ValueError, r"ScheduleIntervalSpec.every must be finite"),
    (Interval, {"every": LONG}, ValueError, r"ScheduleIntervalSpec.every must be at most 100 years"),
    (Interval, {"every": "1h"}, TypeError, r"ScheduleIntervalSpec.every must be a timedelta or a number"),
    (Interval, {"every": 0.5}, ValueError, r"every must be a whole number of seconds, .* not 0.5 seconds"),
    (Interval, {"every": 90.25}, ValueError, r"every must be a whole number of seconds"),
    (Interval, {"every": HOUR, "offset": HOUR}, ValueError, r"offset must be .* shorter than every"),
    (Interval, {"every": HOUR, "offset": -1}, ValueError, r"ScheduleIntervalSpec.offset must be at least zero"),
    (Interval, {"every": HOUR, "offset": 0.5}, ValueError, r"offset must be a whole number of seconds"),
    (Spec, {"cron_expressions": ["* * *"]}, ValueError, r"ScheduleSpec.cron_expressions\[0\]: '\* \* \*' has not"),
    (Spec, {"cron_expressions": "0 9 * * *"}, TypeError, r"must be a list or a tuple of str, .* in brackets"),
    (Spec, {"cron_expressions": [9]}, TypeError, r"cron_expressions must hold str, not int: 9"),
    (Spec, {"time_zone_name": "Mars/X"}, ValueError, r"ScheduleSpec.time_zone_name: there is no time zone 'Mars/X'"),
    (Spec, {"time_zone_name": UTC}, TypeError, r"time_zone_name must be a string such as 'Europe/Berlin'"),
    (Spec, {"calendars": Calendar()}, TypeError, r"calendars must be a list or a tuple .*; write it in brackets"),
    (Spec, {"intervals": [HOUR]}, TypeError, r"intervals must hold ScheduleIntervalSpec, not timedelta"),
    (Spec, {"start_at": NAIVE}, ValueError, r"ScheduleSpec.start_at must carry a time zone"),
    (Spec, {"end_at": "2026"}, TypeError, r"ScheduleSpec.end_at must be a datetime with a time zone, not '2026'"),
    (Spec, {"start_at": NOON, "end_at": NOON - HOUR}, ValueError, r"end_at must not be before start_at"),
    (Spec, {"jitter": -1}, ValueError, r"ScheduleSpec.jitter must be at least zero"),
    (Spec, {"jitter": NAN}, ValueError, r"ScheduleSpec.jitter must be finite"),
    (Spec, {"jitter": timedelta(days=367)}, ValueError, r"ScheduleSpec.jitter must be at most 366 days"),
    (Policy, {"overlap": 1}, TypeError, r"SchedulePolicy.overlap must be a ScheduleOverlapPolicy \(SKIP, .*\), not 1"),
    (Policy, {"catchup_window": -1}, ValueError, r"SchedulePolicy.catchup_window must be at least zero"),
    (Policy, {"pause_on_failure": 1}, TypeError, r"SchedulePolicy.pause_on_failure must be True or False, not 1"),
    (State, {"paused": "no"}, TypeError, r"ScheduleState.paused must be True or False, not 'no'"),
    (State, {"remaining_actions": 3}, ValueError, r"remaining_actions counts only with limited_actions=True"),
    (State, {"limited_actions": True, "remaining_actions": -1}, ValueError, r"must not be negative: -1"),
    (State, {"remaining_actions": 1.0}, TypeError, r"remaining_actions must be a whole number, not float"),
    (Backfill, {"start_at": NAIVE, "end_at": NOON}, ValueError, r"ScheduleBackfill.start_at must carry a time zone"),
    (Backfill, {"start_at": NOON, "end_at": NOON - HOUR}, ValueError, r"end_at must not be before start_at"),
    (Backfill, {"start_at": NOON, "end_at": NOON, "overlap": 6}, TypeError, r"ScheduleBackfill.overlap must be"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "given", "error", "text"),
    REFUSED,
    ids=[f"{row[0].__name__} {row[1]}"[:60] for row in REFUSED],
)
def test_what_is_refused_says_which_field_and_why(
    make: Callable[..., object], given: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make(**given)


ACTIONS_REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (("Report",), {"id": ""}, ValueError, "id must not be empty"),
    (("",), {"id": "r"}, ValueError, "workflow must not be empty"),
    (("Report", 1), {"id": "r", "args": [2]}, TypeError, "not both"),
    (("Report",), {"id": "r", "args": "abc"}, TypeError, "args must be a list or a tuple"),
    (("Report",), {"id": "r", "task_queue": ""}, ValueError, "task_queue must not be empty"),
    (("Report",), {"id": "r", "run_timeout": 0}, ValueError, "run_timeout must be longer than zero"),
    (("Report",), {"id": "r", "execution_timeout": NAN}, ValueError, "execution_timeout must be finite"),
    (("Report",), {"id": "r", "memo": {1: 2}}, TypeError, "memo key must be a string"),
]


@pytest.mark.parametrize(("values", "options", "error", "text"), ACTIONS_REFUSED)
def test_an_action_that_could_not_be_started_is_refused_now(
    values: tuple[Any, ...], options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ScheduleActionStartWorkflow(*values, **options)


def test_a_call_takes_no_arguments_behind_it() -> None:
    with pytest.raises(TypeError, match="has its arguments already"):
        ScheduleActionStartWorkflow(report("monday"), "tuesday", id="r")  # type: ignore[call-overload]


def test_what_is_changed_is_checked_again_when_it_is_stored() -> None:
    spec = ScheduleSpec(cron_expressions=["0 9 * * *"])
    spec.cron_expressions = ["0 9 * *"]
    with pytest.raises(ValueError, match="has not 5, 6 or 7 fields"):
        spec.to_record()
