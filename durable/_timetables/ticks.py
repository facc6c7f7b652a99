"""Temporal's older cron schedules: the runs of one workflow id, each begun at a tick, one after the other.

The next tick is looked for when a run has ended, so runs never overlap, and ticks that pass while one is running are left
out. Times are in UTC, unless the expression begins with `CRON_TZ=`.
"""

from __future__ import annotations

from functools import lru_cache

from durable._internal.shown import shown
from durable._timetables._cron import parse_cron
from durable._timetables._times import Timetable
from durable._timetables.records import IntervalRecord, SpecRecord


@lru_cache(maxsize=1000)
def check_cron(text: str, name: str = "cron_schedule") -> None:
    """Refuse what is no cron schedule, or one that never comes.

    Raises:
        ValueError: It cannot be read; the text says what is wrong with it.
        TypeError: It is not a string.
    """
    asks, _ = parse_cron(text, name)
    if not isinstance(asks, IntervalRecord) and _timetable(text).next(0) is None:
        raise ValueError(f"{name}: {shown(text)} never comes; check its days and months")


def next_tick(text: str, began_at: int, now: int) -> int | None:
    """Return the first tick behind `now`, None when there is none.

    Args:
        text: The schedule.
        began_at: When the run before began; `@every` counts from there, as in Temporal.
        now: The instant behind which it must be.
    """
    asks, _ = parse_cron(text, "cron_schedule")
    if isinstance(asks, IntervalRecord):
        return began_at + ((now - began_at) // asks.every + 1) * asks.every
    return _timetable(text).next(now)


def first_delay(cron_schedule: str, now: int) -> int:
    """Return how long the first run of a cron schedule waits for its tick.

    Raises:
        ValueError: The schedule has no tick any more.
    """
    tick = next_tick(cron_schedule, now, now)
    if tick is None:
        raise ValueError(f"cron_schedule: {cron_schedule!r} has no tick in the future; check its year")
    return tick - now


@lru_cache(maxsize=1000)
def _timetable(text: str) -> Timetable:
    return Timetable(SpecRecord(cron=(text,)))
