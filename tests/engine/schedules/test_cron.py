"""The notation of cron expressions: what is read, as what, and what is refused with a word on what to write instead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from durable._timetables._cron import parse_cron
from durable._timetables._fields import LAST, Fields
from durable._timetables.records import IntervalRecord, SpecRecord
from tests.engine.schedules.said import HOUR, MINUTE, SECOND, at, instants, shown

DURABLE = Path(__file__).parents[3] / "durable"

ALIKE = [
    ("five fields", "30 9 * * *", "0 30 9 * * * *"),
    ("a sixth field is the year", "30 9 * * * 2027", "0 30 9 * * * 2027"),
    ("names", "0 9 * JAN-mar Mon,WED", "0 9 * 1-3 1,3"),
    ("Sunday is 0 and 7", "0 9 * * 7", "0 9 * * 0"),
    ("a range of weekdays up to Sunday", "0 9 * * 6-7", "0 9 * * SAT,SUN"),
    ("a range that goes round the end", "0 22-2 * * fri-mon", "0 22,23,0,1,2 * * 5,6,0,1"),
    ("a start with a step", "10/20 * * * *", "10,30,50 * * * *"),
    ("a start with a step at the field's end", "59/15 * * * *", "59 * * * *"),
    ("a question mark", "0 9 ? * MON", "0 9 * * MON"),
    ("yearly", "@yearly", "0 0 1 1 *"),
    ("annually", "@annually", "0 0 1 1 *"),
    ("monthly", "@monthly", "0 0 1 * *"),
    ("weekly", "@weekly", "0 0 * * 0"),
    ("daily", "@daily", "0 0 * * *"),
    ("midnight", "@Midnight", "0 0 * * *"),
    ("hourly", "@hourly", "0 * * * *"),
    ("a comment", "0 9 * * * # every morning, 5#3", "0 9 * * *"),
    ("white space", "  0\t9  * * *\n", "0 9 * * *"),
]


@pytest.mark.parametrize(("text", "same"), [row[1:] for row in ALIKE], ids=[row[0] for row in ALIKE])
def test_two_ways_to_write_it(text: str, same: str) -> None:
    assert parse_cron(text, "cron") == parse_cron(same, "cron")


def test_seven_fields_begin_with_the_second_and_end_with_the_year() -> None:
    asks = parse_cron("5 10 15 20 6 SAT 2026", "cron").asks
    assert asks == Fields(
        second=frozenset({5}),
        minute=frozenset({10}),
        hour=frozenset({15}),
        day_of_month=frozenset({20}),
        month=frozenset({6}),
        day_of_week=frozenset({6}),
        year=frozenset({2026}),
    )


EVERY = [
    ("@every 90m", IntervalRecord(90 * MINUTE)),
    ("@every 1h30m/15m", IntervalRecord(90 * MINUTE, 15 * MINUTE)),
    ("@every 2d", IntervalRecord(48 * HOUR)),
    ("@every 1.5h", IntervalRecord(90 * MINUTE)),
    ("@every 45s # often", IntervalRecord(45 * SECOND)),
    ("TZ=Asia/Kolkata @every 1h", IntervalRecord(HOUR)),
]


@pytest.mark.parametrize(("text", "wanted"), EVERY, ids=[row[0] for row in EVERY])
def test_every_is_an_interval(text: str, wanted: IntervalRecord) -> None:
    assert parse_cron(text, "cron").asks == wanted


@pytest.mark.parametrize(
    ("text", "zone"),
    [("TZ=UTC 0 9 * * *", "UTC"), ("CRON_TZ=Europe/Berlin  @daily", "Europe/Berlin"), ("0 9 * * *", "")],
)
def test_a_zone_may_be_named(text: str, zone: str) -> None:
    assert parse_cron(text, "cron").zone == zone


RHYTHM = [
    "* 2 * * *",
    "*/30 2 * * *",
    "0-59/7 2 * * *",
    "0/20 2 * * *",
    "5,*/30 2 * * *",
    "0 * * * *",
    "0 */2 * * *",
]
FIXED = ["30 2 * * *", "0,30 2 * * *", "1-59 2 * * *", "10/20 2 * * *", "0 0-22 * * *", "0 2 */2 * MON"]


@pytest.mark.parametrize(("text", "fixed"), [(one, False) for one in RHYTHM] + [(one, True) for one in FIXED])
def test_a_field_over_its_whole_span_makes_a_rhythm(text: str, fixed: bool) -> None:
    asks = parse_cron(text, "cron").asks
    assert isinstance(asks, Fields)
    assert asks.fixed is fixed


DAYS = [
    ("the last day", "0 0 L * *", ["2026-11-30", "2026-12-31", "2027-01-31", "2027-02-28"]),
    ("the last day, and another", "0 0 L,15 2 *", ["2027-02-15", "2027-02-28", "2028-02-15", "2028-02-29"]),
    ("the nearest weekday", "0 0 15W * *", ["2026-12-15", "2027-01-15", "2027-02-15", "2027-03-15"]),
    ("the nearest weekday stays in its month", "0 0 1W 5,8 *", ["2027-05-03", "2027-08-02", "2028-05-01"]),
    ("the third Friday", "0 0 * * 5#3", ["2026-12-18", "2027-01-15", "2027-02-19"]),
    ("the fifth Monday", "0 0 * * MON#5", ["2026-11-30", "2027-03-29", "2027-05-31"]),
    ("the last Friday", "0 0 * * L5", ["2026-11-27", "2026-12-25", "2027-01-29"]),
    ("days of month and week narrow each other", "0 0 13 * FRI", ["2027-08-13", "2028-10-13"]),
]


@pytest.mark.parametrize(("text", "wanted"), [row[1:] for row in DAYS], ids=[row[0] for row in DAYS])
def test_which_days_are_meant(text: str, wanted: list[str]) -> None:
    found = instants(SpecRecord(cron=(text,)), at("2026-11-21"), at(wanted[-1]))
    assert found == [at(one) for one in wanted], shown(found)


def test_the_last_of_a_weekday_is_the_nth_in_no_other_way() -> None:
    asks = parse_cron("0 0 * * L5", "cron").asks
    assert isinstance(asks, Fields)
    assert asks.nth == {(5, LAST)}


REFUSED = [
    ("", "must not be empty"),
    ("# only a comment", "must not be empty"),
    ("* * * *", "has not 5, 6 or 7 fields, but 4"),
    ("* * * * * * * *", "has not 5, 6 or 7 fields, but 8"),
    ("@reboot", "is not a known shorthand; .* @daily"),
    ("@daily x", "is not a known shorthand"),
    ("61 * * * *", "is not a cron expression: it is not acceptable, out of range"),
    ("0 0 0 1 *", "out of range"),
    ("0 0 1 1 * 2100", "out of range"),
    ("-1 * * * *", "negative numbers"),
    ("*/0 * * * *", "step '0'"),
    ("1,,2 * * * *", "is not a cron expression"),
    ("noon * * * *", "is not a cron expression"),
    ("0 0 * * 5#9", "is not a cron expression"),
    ("5-5 * * * *", "a range of one value as its minute, '5-5'; write that value"),
    ("0 9 * * MON-MON", "a range of one value as its day_of_week"),
    ("H * * * *", "H and R are not known, use jitter"),
    ("R(0-29)/5 * * * *", "H and R are not known, use jitter"),
    ("@every", "must be written as @every <interval>"),
    ("@every soon", "must be written as @every <interval>"),
    ("@every -5m", "must be written as @every <interval>"),
    ("@every 1h/x", "must be written as @every <interval>"),
    ("TZ= 0 9 * * *", "names no time zone"),
    ("TZ=Europe/Berlin", "has not 5, 6 or 7 fields"),
]


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[repr(row[0]) for row in REFUSED])
def test_what_is_refused_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_cron(text, "cron_expressions[2]")
    assert str(caught.value).startswith("cron_expressions[2]")


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match=r"cron_expressions\[0\] must be a string, not int"):
        parse_cron(5, "cron_expressions[0]")  # type: ignore[arg-type]


def test_croniter_is_imported_in_one_module() -> None:
    importers = [
        one.relative_to(DURABLE).as_posix()
        for one in DURABLE.rglob("*.py")
        if "import croniter" in one.read_text() or "from croniter" in one.read_text()
    ]
    assert importers == ["_timetables/_cron.py"]


def test_croniter_is_loaded_for_an_expression_only() -> None:
    program = (
        "import sys\n"
        "from durable._timetables._times import Timetable\n"
        "from durable._timetables.records import IntervalRecord, SpecRecord\n"
        "assert Timetable(SpecRecord(intervals=(IntervalRecord(60_000_000),), zone='Europe/Berlin')).next(0)\n"
        "assert Timetable(SpecRecord(cron=('@every 1m',))).next(0)\n"
        "assert 'croniter' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=DURABLE.parent, check=True, timeout=60)
