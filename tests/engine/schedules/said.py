"""Specs and instants in the words that tests use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from durable._internal.instants import SECOND, from_datetime, to_datetime
from durable._timetables._fields import SPANS
from durable._timetables._times import Timetable
from durable._timetables.records import CalendarRecord, RangeRecord, SpecRecord

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

WHOLE_DAY = {"hour": [(0, 23)], "minute": [(0, 59)], "second": [(0, 59)]}


def at(text: str, zone: str = "UTC") -> int:
    """The instant of a local time, the first one where there are two."""
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)), "text")


def shown(instants: Sequence[int], zone: str = "UTC") -> list[str]:
    """Instants as `day hour:minute offset` of a zone, with the seconds where there are any."""
    local = [to_datetime(one).astimezone(ZoneInfo(zone)) for one in instants]
    return [one.strftime("%d %H:%M:%S%z" if one.second else "%d %H:%M%z") for one in local]


def calendar(comment: str = "", **fields: Sequence[tuple[int, ...]]) -> CalendarRecord:
    """A calendar with Temporal's defaults: midnight of every day, unless said otherwise."""
    given: dict[str, Sequence[tuple[int, ...]]] = {
        "second": [(0,)],
        "minute": [(0,)],
        "hour": [(0,)],
        "day_of_month": [(1, 31)],
        "month": [(1, 12)],
        "day_of_week": [(0, 6)],
        "year": [],
        **fields,
    }
    assert given.keys() == SPANS.keys()
    ranges = {
        name: tuple(RangeRecord(one[0], one[1] if len(one) > 1 else one[0], *one[2:]) for one in ranges)
        for name, ranges in given.items()
    }
    return CalendarRecord(**ranges, comment=comment)


def instants(spec: SpecRecord, after: int, until: int) -> list[int]:
    return list(Timetable(spec).between(after, until))
