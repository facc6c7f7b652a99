"""Random specs against an oracle that looks at every minute, or every second, of some weeks; and against croniter.

The oracle shares nothing with the timetable: it asks the zone for the local time of each instant and compares fields. Each
seed is one spec and one change of a clock; a seed that fails is kept in `KEPT` for ever, and run first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from random import Random
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterBadDateError, croniter

from durable._timetables._times import Timetable
from durable._timetables.records import CalendarRecord, IntervalRecord, SpecRecord
from tests.engine.schedules.said import SECOND, at, calendar

KEPT: tuple[int, ...] = ()
LIVES = 180
BATCHES = 6
A_WEEK = 7 * 86_400

CHANGES = [
    ("Europe/Berlin", "2025-03-30T01:00"),
    ("Europe/Berlin", "2025-10-26T01:00"),
    ("America/New_York", "2025-03-09T07:00"),
    ("America/New_York", "2025-11-02T06:00"),
    ("Australia/Lord_Howe", "2025-04-05T15:00"),
    ("Australia/Lord_Howe", "2025-10-04T15:30"),
    ("Africa/Casablanca", "2025-02-23T02:00"),
    ("Africa/Casablanca", "2025-04-06T02:00"),
    ("Asia/Kolkata", "2025-06-01T00:00"),
    ("UTC", "2025-06-01T00:00"),
    ("America/St_Johns", "2010-11-07T02:31"),  # back across midnight
    ("America/Sao_Paulo", "2018-11-04T03:00"),  # forward at midnight
    ("America/Sao_Paulo", "2018-02-18T02:00"),  # back at midnight
    ("Africa/Cairo", "2024-04-25T22:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),  # forward by a day
    ("Europe/Berlin", "2060-10-31T01:00"),  # known by rule only
]

Wall = tuple[int, int, int, int, int, int, int]


class Moment:
    """An instant in a zone: its local time, whether that was shown before, and the local times that were jumped over."""

    def __init__(self, second: int, zone: ZoneInfo, step: int) -> None:
        local = datetime.fromtimestamp(second, zone)
        offset = local.utcoffset()
        before = datetime.fromtimestamp(second - 1, zone).utcoffset()
        assert offset is not None
        assert before is not None
        self.second = second
        self.wall = wall(local)
        self.again = local.fold == 1
        naive = int(local.replace(tzinfo=UTC).timestamp())
        gap = int((offset - before).total_seconds())
        self.gap = [wall(datetime.fromtimestamp(one, UTC)) for one in range(naive - gap, naive, step)]


def wall(local: datetime) -> Wall:
    weekday = local.isoweekday() % 7
    return (local.second, local.minute, local.hour, local.day, local.month, weekday, local.year)


@lru_cache
def moments(zone: str, low: int, high: int, step: int) -> list[Moment]:
    return [Moment(second, ZoneInfo(zone), step) for second in range(low, high, step)]


class Asked:
    """A calendar as the oracle reads it."""

    def __init__(self, record: CalendarRecord) -> None:
        names = ("second", "minute", "hour", "day_of_month", "month", "day_of_week", "year")
        self.sets = [
            {n for one in getattr(record, name) for n in range(one.start, one.end + 1, one.step)}
            for name in names
        ]
        full = {"second": 59, "minute": 59, "hour": 23}
        self.rhythm = any(
            one.start == 0 and one.end == full[name] for name in full for one in getattr(record, name)
        )

    def matches(self, local: Wall) -> bool:
        return all(value in wanted or not wanted for value, wanted in zip(local, self.sets, strict=True))

    def means(self, moment: Moment, skip: Iterable[Asked]) -> bool:
        if self.matches(moment.wall) and (self.rhythm or not moment.again):
            return True
        return not self.rhythm and any(
            self.matches(one) and not any(other.matches(one) for other in skip) for one in moment.gap
        )


def expected(spec: SpecRecord, among: list[Moment]) -> list[int]:
    calendars = [Asked(one) for one in spec.calendars]
    skip = [Asked(one) for one in spec.skip]
    found: list[int] = []
    for moment in among:
        meant = any(one.means(moment, skip) for one in calendars) or any(
            (moment.second * SECOND - one.offset) % one.every == 0 for one in spec.intervals
        )
        if meant and not any(one.matches(moment.wall) for one in skip):
            found.append(moment.second * SECOND)
    return found


def random_ranges(rng: Random, low: int, high: int) -> list[tuple[int, ...]]:
    def one() -> tuple[int, ...]:
        start = rng.randint(low, high)
        match rng.randrange(5):
            case 0:
                return (low, high)
            case 1:
                return (low, high, rng.choice((2, 5, 15, 20, 30)))
            case 2:
                return (start, rng.randint(start, high), rng.randint(1, 7))
            case _:
                return (start,)

    return [one() for _ in range(rng.choice((1, 1, 1, 2)))]


def random_calendar(rng: Random, *, seconds: bool) -> CalendarRecord:
    fields: dict[str, list[tuple[int, ...]]] = {
        "minute": random_ranges(rng, 0, 59),
        "hour": rng.choice(
            ([(0, 23)], [(rng.choice((0, 1, 2, 3, 23)),)], [(0, 3)], random_ranges(rng, 0, 23))
        ),
    }
    if seconds:
        fields["second"] = random_ranges(rng, 0, 59)
    if rng.random() < 0.3:
        fields["day_of_month"] = random_ranges(rng, 1, 31)
    if rng.random() < 0.3:
        fields["day_of_week"] = random_ranges(rng, 0, 6)
    if rng.random() < 0.1:
        fields["month"] = random_ranges(rng, 1, 12)
    return calendar(**fields)


def random_spec(rng: Random, zone: str, *, seconds: bool) -> SpecRecord:
    unit = SECOND if seconds else 60 * SECOND
    every = rng.choice((1, 7, 30, 60, 61, 1440, 5000)) * unit
    return SpecRecord(
        calendars=tuple(random_calendar(rng, seconds=seconds) for _ in range(rng.choice((1, 1, 2)))),
        intervals=(IntervalRecord(every, rng.randrange(every // unit) * unit),) if rng.random() < 0.2 else (),
        skip=tuple(random_calendar(rng, seconds=seconds) for _ in range(rng.choice((0, 0, 1, 2)))),
        zone=zone,
    )


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_timetable_means_what_looking_at_each_instant_finds(batch: int) -> None:
    for seed in (*KEPT, *range(LIVES))[batch::BATCHES]:
        rng = Random(seed)
        zone, change = rng.choice(CHANGES)
        seconds = rng.random() < 0.25
        around = 4 * 3600 if seconds else A_WEEK
        middle = at(change) // SECOND
        among = moments(zone, middle - around, middle + around, 1 if seconds else 60)
        spec = random_spec(rng, zone, seconds=seconds)
        wanted = expected(spec, among)
        times = Timetable(spec)
        low, high = (middle - around) * SECOND - 1, (middle + around) * SECOND - 1
        assert list(times.between(low, high)) == wanted, (seed, spec)
        assert times.count(low, high) == len(wanted), seed
        for one in rng.sample(range(len(wanted)), min(8, len(wanted))):
            assert times.next(wanted[one] - 1) == wanted[one], seed
            if one:
                assert times.previous(wanted[one]) == wanted[one - 1], seed
                assert times.next(wanted[one - 1]) == wanted[one], seed
        somewhere = rng.randint(low, high)
        assert times.previous(somewhere) == _known_before(times, wanted, somewhere), seed


def _known_before(times: Timetable, wanted: list[int], instant: int) -> int | None:
    """The last of the instants found, or, before the first of them, whatever has none behind it up to there."""
    if any(one < instant for one in wanted):
        return max(one for one in wanted if one < instant)
    found = times.previous(instant)
    assert found is None or times.count(found, instant - 1) == 0
    return found


def random_field(rng: Random, low: int, high: int) -> str:
    start, step = rng.randint(low, high - 1), rng.randint(2, 9)
    end = rng.randint(start + 1, high)
    texts = ("*", f"*/{step}", f"{start}", f"{start},{end}", f"{start}-{end}", f"{start}-{end}/{step}")
    return rng.choice((*texts, f"{start}/{step}"))


def random_cron(rng: Random) -> str:
    day = rng.choice(("*", "*", "*", "L", "15W", "1w", random_field(rng, 1, 28)))
    weekday = rng.choice(("*", "*", "mon-fri", "sun", "7", "fri-mon", "5#3", "L5", "1#1,3#2"))
    month = rng.choice(("*", "*", "jan,jul", "oct-mar", random_field(rng, 1, 12)))
    return f"{random_field(rng, 0, 59)} {random_field(rng, 0, 23)} {day} {month} {weekday}"


def test_a_cron_expression_means_what_croniter_says_where_no_clock_jumps() -> None:
    for seed in range(400):
        rng = Random(seed)
        text = random_cron(rng)
        # As Temporal has it, days of the month and of the week narrow each other: `day_or` off.
        start = at("2026-01-01") // SECOND + rng.randrange(400 * 86_400)
        theirs = croniter(text, float(start), day_or=False)
        times = Timetable(SpecRecord(cron=(text,)))
        after: int | None = start * SECOND
        for _ in range(12):
            wanted = _or_none(theirs.get_next)
            assert after is not None
            after = times.next(after)
            assert after == wanted, (seed, text)
            if after is None:
                break
        while after is not None and after > start * SECOND:
            wanted = _or_none(theirs.get_prev)
            after = times.previous(after)
            assert after == wanted, (seed, text)


def _or_none(look: Callable[[], float]) -> int | None:
    try:
        return round(look()) * SECOND
    except CroniterBadDateError:
        return None  # nothing in fifty years


def test_a_cron_expression_is_the_calendar_it_spells() -> None:
    for seed in range(150):
        rng = Random(seed)
        minute, hour = random_ranges(rng, 0, 59), random_ranges(rng, 0, 23)
        day, weekday = random_ranges(rng, 1, 31), random_ranges(rng, 0, 6)
        fields = [(minute, 0, 59), (hour, 0, 23), (day, 1, 31), ([(1, 12)], 1, 12), (weekday, 0, 6)]
        text = " ".join(",".join(_spelt(one, low, high) for one in ranges) for ranges, low, high in fields)
        zone, change = rng.choice(CHANGES)
        record = calendar(minute=minute, hour=hour, day_of_month=day, day_of_week=weekday)
        low, high = at(change) - A_WEEK * SECOND, at(change) + A_WEEK * SECOND
        spelt = Timetable(SpecRecord(cron=(text,), zone=zone)).between(low, high)
        assert list(spelt) == list(Timetable(SpecRecord((record,), zone=zone)).between(low, high)), text


def _spelt(one: tuple[int, ...], low: int, high: int) -> str:
    start, end, step = (*one, *((one[0], 1) if len(one) == 1 else (1,)))[:3]
    if start == end:
        return str(start)
    span = "*" if (start, end) == (low, high) else f"{start}-{end}"
    return span if step == 1 else f"{span}/{step}"
