"""Which instants a spec means: the rules, one by one, and the golden table of days on which the clock jumps."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from durable._timetables._times import Timetable
from durable._timetables.records import CalendarRecord, IntervalRecord, SpecRecord
from tests.engine.schedules.said import DAY, HOUR, MINUTE, SECOND, WHOLE_DAY, at, calendar, instants, shown

NEW_YORK = "America/New_York"
LORD_HOWE = "Australia/Lord_Howe"
HALF_HOURS = [(0, 59, 30)]

GOLDEN: list[tuple[str, str, CalendarRecord, str, str, str, list[str]]] = [
    (
        "a fixed time that is jumped over is meant at the first instant behind the jump",
        "30 2 * * *",
        calendar(hour=[(2,)], minute=[(30,)]),
        NEW_YORK,
        "2027-03-13",
        "2027-03-16",
        ["13 02:30-0500", "14 03:00-0400", "15 02:30-0400"],
    ),
    (
        "a rhythm that is jumped over is not meant",
        "*/30 2 * * *",
        calendar(hour=[(2,)], minute=HALF_HOURS),
        NEW_YORK,
        "2027-03-13",
        "2027-03-16",
        ["13 02:00-0500", "13 02:30-0500", "15 02:00-0400", "15 02:30-0400"],
    ),
    (
        "a fixed time that comes twice is meant the first time",
        "30 1 * * *",
        calendar(hour=[(1,)], minute=[(30,)]),
        NEW_YORK,
        "2027-11-06",
        "2027-11-09",
        ["06 01:30-0400", "07 01:30-0400", "08 01:30-0500"],
    ),
    (
        "a rhythm is every real hour",
        "0 * * * *",
        calendar(hour=[(0, 23)]),
        NEW_YORK,
        "2027-11-07",
        "2027-11-07T04:00",
        ["07 01:00-0400", "07 01:00-0500", "07 02:00-0500", "07 03:00-0500", "07 04:00-0500"],
    ),
    (
        "a rhythm goes on behind a jump",
        "0 * * * *",
        calendar(hour=[(0, 23)]),
        NEW_YORK,
        "2027-03-14",
        "2027-03-14T04:00",
        ["14 01:00-0500", "14 03:00-0400", "14 04:00-0400"],
    ),
    (
        "where the clock is put back by half an hour",
        "45 1 * * *",
        calendar(hour=[(1,)], minute=[(45,)]),
        LORD_HOWE,
        "2027-04-03",
        "2027-04-06",
        ["03 01:45+1100", "04 01:45+1100", "05 01:45+1030"],
    ),
    (
        "where the clock is put forward by half an hour",
        "15 2 * * *",
        calendar(hour=[(2,)], minute=[(15,)]),
        LORD_HOWE,
        "2027-10-02",
        "2027-10-05",
        ["02 02:15+1030", "03 02:30+1100", "04 02:15+1100"],
    ),
    (
        "several fixed times in one jump are one instant",
        "0,20,40 2,3 * * *",
        calendar(hour=[(2, 3)], minute=[(0, 40, 20)]),
        NEW_YORK,
        "2027-03-14",
        "2027-03-15",
        ["14 03:00-0400", "14 03:20-0400", "14 03:40-0400"],
    ),
    (
        "a jump at midnight: the time is of the day that begins late",
        "15 0 * * *",
        calendar(minute=[(15,)]),
        "Africa/Cairo",
        "2024-04-25",
        "2024-04-28",
        ["25 00:15+0200", "26 01:00+0300", "27 00:15+0300"],
    ),
    (
        "a rhythm while a time comes twice, across midnight",
        "*/20 23 * * *",
        calendar(hour=[(23,)], minute=[(0, 59, 20)]),
        "America/Sao_Paulo",
        "2018-02-17T12:00",
        "2018-02-18T12:00",
        [
            "17 23:00-0200",
            "17 23:20-0200",
            "17 23:40-0200",
            "17 23:00-0300",
            "17 23:20-0300",
            "17 23:40-0300",
        ],
    ),
    (
        "a day that is left out: its fixed time is where the next begins",
        "30 9 * * *",
        calendar(hour=[(9,)], minute=[(30,)]),
        "Pacific/Apia",
        "2011-12-29",
        "2011-12-31T23:00",
        ["29 09:30-1000", "31 00:00+1400", "31 09:30+1400"],
    ),
    (
        "a clock put back across midnight: a day that begins twice",
        "15,45 0,23 * * *",
        calendar(hour=[(0,), (23,)], minute=[(15,), (45,)]),
        "America/St_Johns",
        "2010-11-06T12:00",
        "2010-11-07T12:00",
        ["06 23:15-0230", "06 23:45-0230", "07 00:15-0330", "07 00:45-0330"],
    ),
    (
        "a summer time that is below the standard time",
        "30 2 * * *",
        calendar(hour=[(2,)], minute=[(30,)]),
        "Africa/Casablanca",
        "2025-02-22",
        "2025-02-25",
        ["22 02:30+0100", "23 02:30+0100", "24 02:30+0000"],
    ),
]


@pytest.mark.parametrize("written", ["cron", "calendar"])
@pytest.mark.parametrize(
    ("cron", "record", "zone", "after", "until", "wanted"),
    [row[1:] for row in GOLDEN],
    ids=[row[0] for row in GOLDEN],
)
def test_days_on_which_the_clock_jumps(
    written: str, cron: str, record: CalendarRecord, zone: str, after: str, until: str, wanted: list[str]
) -> None:
    spec = SpecRecord(cron=(cron,), zone=zone) if written == "cron" else SpecRecord((record,), zone=zone)
    assert shown(instants(spec, at(after, zone), at(until, zone)), zone) == wanted


def test_a_calendar_looks_at_every_field() -> None:
    spec = SpecRecord(
        (
            calendar(
                second=[(5, 45, 40)], minute=[(59,)], hour=[(12,)], day_of_month=[(13,)], day_of_week=[(5,)],
                year=[(2026, 2027)],
            ),
        )
    )  # fmt: skip
    found = instants(spec, at("2000-01-01"), at("2090-01-01"))
    fridays = ["2026-02-13", "2026-03-13", "2026-11-13", "2027-08-13"]
    assert found == [at(f"{day}T12:59:{second}") for day in fridays for second in ("05", "45")]


def test_sunday_is_zero() -> None:
    spec = SpecRecord((calendar(day_of_week=[(0,)]),))
    assert shown(instants(spec, at("2026-11-16"), at("2026-11-30"))) == ["22 00:00+0000", "29 00:00+0000"]


def test_an_interval_counts_from_the_epoch() -> None:
    spec = SpecRecord(intervals=(IntervalRecord(7 * HOUR, 90 * MINUTE),), zone=NEW_YORK)
    first = Timetable(spec).next(at("2026-11-21T00:00"))
    assert first is not None
    assert first % (7 * HOUR) == 90 * MINUTE
    found = instants(spec, first - 1, first + 70 * HOUR)
    assert found == [first + n * 7 * HOUR for n in range(11)]


@pytest.mark.parametrize("days", [2, 9, 400])
def test_an_interval_may_be_longer_than_a_day(days: int) -> None:
    spec = SpecRecord(intervals=(IntervalRecord(days * DAY, 5 * SECOND),), zone=NEW_YORK)
    after = at("2026-11-21")
    found = Timetable(spec).next(after)
    assert found is not None
    assert found % (days * DAY) == 5 * SECOND
    assert after < found <= after + days * DAY
    assert Timetable(spec).previous(found) == found - days * DAY


def test_parts_are_put_together_and_an_instant_of_two_is_one() -> None:
    spec = SpecRecord(
        (calendar(hour=[(6,)]),), (IntervalRecord(6 * HOUR),), ("0 6 * * *", "30 6 * * *", "@every 12h/1h")
    )
    found = shown(instants(spec, at("2026-11-21"), at("2026-11-21T23:59")))
    assert found == [f"21 {one}+0000" for one in ("01:00", "06:00", "06:30", "12:00", "13:00", "18:00")]


def test_what_is_skipped_is_not_meant() -> None:
    christmas = calendar(month=[(12,)], day_of_month=[(25, 26)], **WHOLE_DAY)
    spec = SpecRecord(cron=("0 9 * * *",), skip=(christmas,), zone="Europe/Berlin")
    found = shown(instants(spec, at("2026-12-24"), at("2026-12-28")), "Europe/Berlin")
    assert found == ["24 09:00+0100", "27 09:00+0100"]


def test_a_skip_is_local_time_too() -> None:
    newyear = calendar(month=[(1,)], day_of_month=[(1,)], **WHOLE_DAY)
    spec = SpecRecord(intervals=(IntervalRecord(HOUR),), skip=(newyear,), zone="Asia/Kolkata")
    found = instants(spec, at("2026-12-31T12:00"), at("2027-01-02T12:00"))
    between = at("2027-01-01", "Asia/Kolkata"), at("2027-01-02", "Asia/Kolkata")
    assert found == [
        one
        for one in range(at("2026-12-31T13:00"), at("2027-01-02T12:00") + 1, HOUR)
        if not between[0] <= one < between[1]
    ]


def test_a_time_that_is_jumped_over_and_skipped_is_not_owed() -> None:
    sundays = calendar(hour=[(2,)], minute=[(30,)], day_of_week=[(0,)])
    spec = SpecRecord(cron=("30 2 * * *",), skip=(sundays,), zone=NEW_YORK)
    found = shown(instants(spec, at("2027-03-13"), at("2027-03-16")), NEW_YORK)
    assert found == ["13 02:30-0500", "15 02:30-0400"]


def test_the_bounds_belong_to_it() -> None:
    spec = SpecRecord(cron=("0 * * * *",), start_at=at("2026-11-21T03:00"), end_at=at("2026-11-21T05:00"))
    times = Timetable(spec)
    assert shown(list(times.between(0, None))) == ["21 03:00+0000", "21 04:00+0000", "21 05:00+0000"]
    assert times.next(at("2026-11-21T05:00")) is None
    assert times.previous(at("2026-11-21T03:00")) is None
    assert times.previous(at("2030-01-01")) == at("2026-11-21T05:00")
    assert times.count(0, at("2030-01-01")) == 3


def test_bounds_within_a_second_are_kept_to() -> None:
    spec = SpecRecord(cron=("* * * * * * *",), start_at=1_500_000, end_at=3_999_999)
    assert list(Timetable(spec).between(0, None)) == [2_000_000, 3_000_000]


def test_behind_is_behind_and_up_to_is_included() -> None:
    times = Timetable(SpecRecord(cron=("0 9 * * *",)))
    nine, tomorrow = at("2026-11-21T09:00"), at("2026-11-22T09:00")
    assert times.next(nine - 1) == nine
    assert times.next(nine) == tomorrow
    assert times.previous(nine) == at("2026-11-20T09:00")
    assert times.previous(nine + 1) == nine
    assert list(times.between(nine, tomorrow)) == [tomorrow]
    assert list(times.between(nine - 1, tomorrow - 1)) == [nine]
    assert list(times.between(tomorrow, nine)) == []


def test_the_data_interval_of_a_monthly_report() -> None:
    times = Timetable(SpecRecord(cron=("0 6 L * *",), zone="Europe/Berlin"))
    nominal = at("2027-02-28T06:00", "Europe/Berlin")
    assert times.next(nominal - 1) == nominal
    assert times.previous(nominal) == at("2027-01-31T06:00", "Europe/Berlin")


def test_a_leap_day_is_found_in_both_directions() -> None:
    times = Timetable(SpecRecord(cron=("0 12 29 2 *",), zone=NEW_YORK))
    assert times.next(at("2096-03-01")) is None  # 2100 is no leap year, and behind the horizon anyway
    assert times.next(at("2026-11-21")) == at("2028-02-29T12:00", NEW_YORK)
    assert times.previous(at("2026-11-21")) == at("2024-02-29T12:00", NEW_YORK)


ALL = calendar(**WHOLE_DAY)
NEVER = {
    "nothing at all": SpecRecord(),
    "the 30th of February": SpecRecord(cron=("0 0 30 2 *",)),
    "a year that is over": SpecRecord(cron=("0 0 1 1 * 2020",), zone=NEW_YORK),
    "an end that is over": SpecRecord(cron=("* * * * *",), end_at=at("2020-01-01")),
    "every second but all are skipped": SpecRecord(cron=("* * * * * * *",), skip=(ALL,)),
    "a period of which each instant is skipped": SpecRecord(
        intervals=(IntervalRecord(HOUR),), skip=(calendar(hour=[(0, 23)]),), zone=NEW_YORK
    ),
}


@pytest.mark.parametrize("spec", NEVER.values(), ids=NEVER.keys())
def test_a_spec_that_never_fires_again_is_found_out(spec: SpecRecord) -> None:
    began = time.process_time()
    assert Timetable(spec).next(at("2026-11-21")) is None
    assert (
        time.process_time() - began < 10
    )  # bounded; it takes milliseconds, or a second when each day is looked at


def test_counting_visits_nothing() -> None:
    times = Timetable(SpecRecord(cron=("* * * * * * *",)))
    began = time.process_time()
    assert times.count(at("2026-01-01"), at("2027-01-01")) == 365 * 86_400
    assert time.process_time() - began < 10  # visiting each would take minutes


def test_jitter_is_the_same_for_all_and_keeps_the_order() -> None:
    spec = SpecRecord(cron=("*/10 * * * *",), jitter=HOUR)
    times = Timetable(spec)
    nominals = instants(spec, at("2026-11-21"), at("2026-11-22"))
    dues = [times.due("nightly", one) for one in nominals]
    assert dues == [Timetable(spec).due("nightly", one) for one in nominals]
    assert dues != [times.due("another", one) for one in nominals]
    assert all(0 <= due - nominal < 10 * MINUTE for nominal, due in zip(nominals, dues, strict=True))
    assert max(due - nominal for nominal, due in zip(nominals, dues, strict=True)) > 8 * MINUTE


def test_jitter_is_shorter_than_asked() -> None:
    times = Timetable(SpecRecord(cron=("0 9 * * *",), jitter=MINUTE, end_at=at("2027-11-21")))
    last = at("2027-11-20T09:00")
    late = [times.due(str(n), at("2026-11-21T09:00")) - at("2026-11-21T09:00") for n in range(200)]
    assert 0 <= min(late) < 3 * SECOND
    assert 57 * SECOND < max(late) < MINUTE
    assert last <= times.due("x", last) < last + MINUTE  # the last has nobody behind it


def test_jitter_stays_what_it_was() -> None:
    # A schedule's due instants are recomputed after every restart, by whatever release runs then.
    times = Timetable(SpecRecord(cron=("0 9 * * *",), jitter=HOUR))
    assert times.due("nightly", at("2026-11-21T09:00")) - at("2026-11-21T09:00") == 456_714_357


def test_the_last_due_counts_jitter() -> None:
    times = Timetable(SpecRecord(cron=("0 * * * *",), jitter=30 * MINUTE))
    nominals = list(times.between(at("2026-11-21"), at("2026-11-22")))
    for before, nominal in pairwise(nominals):
        due = times.due("s", nominal)
        assert times.last_due("s", due) == nominal
        assert times.last_due("s", due - 1) == before


ZONES_REFUSED = {
    "no such zone": (SpecRecord(cron=("0 9 * * *",), zone="Mars/Olympus"), "there is no time zone 'Mars/Olympus'"),
    "a folder": (SpecRecord(cron=("0 9 * * *",), zone="Europe"), "there is no time zone 'Europe'"),
    "a path": (SpecRecord(cron=("0 9 * * *",), zone="/etc/localtime"), "there is no time zone"),
    "one in the cron text": (SpecRecord(cron=("TZ=Mars/X 0 9 * * *",)), "there is no time zone 'Mars/X'"),
    "two": (SpecRecord(cron=("CRON_TZ=Asia/Kolkata 0 9 * * *",), zone=NEW_YORK), "one time zone"),
    "one and none": (SpecRecord(cron=("TZ=Asia/Kolkata 0 9 * * *", "0 8 * * *")), "'Asia/Kolkata'"),
    "a period below a second": (SpecRecord(cron=("@every 500ms",)), "at least|whole number of seconds"),
    "an offset beyond the period": (SpecRecord(cron=("@every 1h/2h",)), "shorter than every"),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "text"), ZONES_REFUSED.values(), ids=ZONES_REFUSED.keys())
def test_a_spec_that_contradicts_itself_is_refused(spec: SpecRecord, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Timetable(spec)


def test_a_zone_may_be_said_in_the_cron_text() -> None:
    said = SpecRecord(cron=("CRON_TZ=Asia/Kolkata 0 9 * * *", "TZ=Asia/Kolkata @daily"))
    assert instants(said, at("2026-11-21"), at("2026-11-23")) == instants(
        SpecRecord(cron=("0 9 * * *", "0 0 * * *"), zone="Asia/Kolkata"), at("2026-11-21"), at("2026-11-23")
    )


def test_without_zone_data_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from durable._timetables import _zones

    def missing(name: str) -> None:
        raise _zones.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(_zones, "ZoneInfo", missing)
    monkeypatch.setattr(_zones, "available_timezones", set[str])
    with pytest.raises(ValueError, match="install the tzdata package"):
        Timetable(SpecRecord(cron=("0 9 * * *",), zone="Antarctica/Troll"))
    assert Timetable(SpecRecord(cron=("0 9 * * *",))).next(0) == 9 * HOUR  # UTC needs none
