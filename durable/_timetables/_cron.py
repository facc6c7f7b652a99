"""Cron expressions, read as Temporal reads them. The only importer of croniter, and only when there is an expression.

croniter knows the notation: names, steps, lists, `L`, `W`, `#`. Which instants are meant is not asked of it, because the
answer for a day on which the clock jumps has changed between its releases; an expression becomes `Fields`, and is from
there on what a calendar is.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from durable._internal.instants import HORIZON, SECOND
from durable._internal.shown import shown
from durable._timetables._fields import LAST, NONE, SPANS, TIME_FIELDS, Fields, Numbers
from durable._timetables.records import IntervalRecord

SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_NAMES = ("second", "minute", "hour", "day_of_month", "month", "day_of_week", "year")
_LAYOUTS = {5: "0 {} *", 6: "0 {}", 7: "{}"}
"""How five, six and seven fields become seven. A sixth field is the year and not the second, as Temporal has it."""

_CRONITER_ORDER = ("minute", "hour", "day_of_month", "month", "day_of_week", "second", "year")

_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S*)\s+(.*)", re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)  # `5#3`, the third Friday, is no comment
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|[smhd]))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|[smhd])", re.ASCII)
_UNITS = {
    "d": 86_400 * SECOND, "h": 3_600 * SECOND, "m": 60 * SECOND, "s": SECOND,
    "ms": 1_000, "us": 1, "µs": 1, "ns": 0.001,
}  # fmt: skip
_EQUAL_BOUNDS = re.compile(r"(?:^|,)(\w+)-\1(?:/|,|$)", re.ASCII)
_ECHO = re.compile(r"^\[.*?\]\s*")  # croniter's errors begin with the seven fields that it was given
_RANDOM = re.compile(r"(?:^|,)[hr](?:\(|/|,|$)", re.ASCII)


class Cron(NamedTuple):
    """What an expression says: fields of a calendar, or an interval; and the zone it names, empty for none."""

    asks: Fields | IntervalRecord
    zone: str


MAX_CRON = 4096
"""Characters of a cron expression with its comment: more than all values of all fields take, written one by one."""


def parse_cron(text: str, name: str) -> Cron:
    """Return what a cron expression says.

    Args:
        text: Five fields (minute, hour, day of month, month, day of week), six (and the year), seven (the second
            before, the year behind), `@daily` and the like, or `@every 90m/15m`; with `CRON_TZ=<zone>` or `TZ=<zone>`
            before it, and a `# comment` behind it. Days of the month and of the week narrow each other: unlike a
            crontab, and like Temporal, `0 0 13 * FRI` is every Friday the 13th.
        name: What the expression is called by whoever passed it; it opens the error's text.

    Raises:
        ValueError: It cannot be read; the text says what is wrong with it.
        TypeError: It is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {type(text).__name__}: {shown(text)}")
    if len(text) > MAX_CRON:
        raise ValueError(f"{name} must be at most {MAX_CRON:,} characters, not {len(text):,}: {shown(text)}")
    words, zone = _COMMENT.sub("", text).strip(), ""
    if found := _ZONE.fullmatch(words):
        zone, words = found[1], found[2].strip()
        if not zone:
            raise ValueError(f"{name}: {shown(text)} names no time zone behind TZ=")
    if not words:
        raise ValueError(f"{name} must not be empty: {shown(text)}; write '0 9 * * MON-FRI', for example")
    if words.startswith("@every"):
        return Cron(_interval(words, name, text), zone)
    return Cron(_fields(SHORTHANDS.get(words.lower(), words), name, text), zone)


def _interval(words: str, name: str, text: str) -> IntervalRecord:
    every, _, offset = words.removeprefix("@every").strip().partition("/")
    for part in (every, offset or "0s"):
        if not _DURATION.fullmatch(part):
            raise ValueError(
                f"{name}: {shown(text)} must be written as @every <interval> or @every <interval>/<offset>, "
                "with durations such as 90s, 15m, 1h30m or 2d"
            )
    if _duration(every) < SECOND:
        raise ValueError(f"{name}: {shown(text)} must have an interval of at least one second")
    return IntervalRecord(_duration(every), _duration(offset))


def _duration(text: str) -> int:
    parts = _DURATION_PART.findall(text)
    return min(HORIZON + 1, round(sum(float(number) * _UNITS[unit] for number, unit in parts)))


def _fields(words: str, name: str, text: str) -> Fields:
    parts = words.lower().split()
    if words.startswith("@") or len(parts) not in _LAYOUTS:
        what = (
            "is not a known shorthand"
            if words.startswith("@")
            else f"has not 5, 6 or 7 fields, but {len(parts)}"
        )
        raise ValueError(
            f"{name}: {shown(text)} {what}; write 5 fields (minute, hour, day of month, month, day of week), 6 (and the "
            f"year), 7 (the second before, the year behind), @every <interval>, or one of {', '.join(SHORTHANDS)}"
        )
    parts = _LAYOUTS[len(parts)].format(" ".join(parts)).split()
    for field, part in zip(_NAMES, parts, strict=True):
        if _RANDOM.search(part):
            raise ValueError(
                f"{name}: {shown(text)} has {part!r} as its {field}; H and R are not known, use jitter"
            )
        if _EQUAL_BOUNDS.search(part):
            # croniter reads 5-5 as all of them, everybody else as 5.
            raise ValueError(
                f"{name}: {shown(text)} has a range of one value as its {field}, {part!r}; write that value"
            )
    read = _read(" ".join(parts), name, text)
    sets = {field: read[field] for field in _NAMES}
    nth = {
        (weekday, LAST if number == "l" else number)
        for weekday, numbers in read["nth"].items()
        for number in numbers
    }
    days = sets["day_of_month"]
    return Fields(
        **{field: _numbers(field, values) for field, values in sets.items()},
        fixed=not any(
            _spans(field, part) for field, part in zip(_NAMES, parts, strict=True) if field in TIME_FIELDS
        ),
        last_day="l" in days,
        nearest=frozenset(read["nearest"]),
        nth=frozenset(nth),
    )


def _read(seven: str, name: str, text: str) -> dict[str, Any]:
    """What croniter makes of seven fields; its own types say less than it returns."""
    from croniter import CroniterError, croniter  # noqa: PLC0415  # slow to load, and needed for cron only

    try:
        read: Any = croniter(seven, 0.0, second_at_beginning=True)
    except (CroniterError, ValueError, KeyError, TypeError) as error:
        why = _ECHO.sub("", str(error))
        raise ValueError(f"{name}: {shown(text)} is not a cron expression: it {why}") from None
    sets: dict[str, Any] = dict(zip(_CRONITER_ORDER, read.expanded, strict=True))
    return {**sets, "nth": read.nth_weekday_of_month, "nearest": read.nearest_weekday}


def _numbers(field: str, values: list[int | str]) -> Numbers:
    if "*" in values:
        low, high = SPANS[field]
        return NONE if field == "year" else frozenset(range(low, high + 1))
    return frozenset(value for value in values if isinstance(value, int))


def _spans(field: str, part: str) -> bool:
    """Whether a field of the time is written over its whole span, so that it means a rhythm."""
    low, high = SPANS[field]
    for one in part.split(","):
        bounds, slash, _ = one.partition("/")
        if bounds in ("*", f"{low}-{high}") or (slash and bounds == str(low)):
            return True
    return False
