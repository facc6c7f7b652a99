"""Local time as stretches: pieces of a local day in which the clock runs on without a jump.

An instant has exactly one local time, a local time has none, one or two instants. So time is walked by instants, and
never by local times: a *stretch* is the longest piece of time that lies within one local day and has one offset from UTC.
Where the clock jumps, one stretch ends and another begins, and the second knows what was jumped over and what comes
again. Everything else about daylight saving time follows from these two numbers.

Seconds since the epoch throughout; the schedules' calendars know nothing finer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

DAY = 86_400
"""A local day's length where the clock does not jump, in seconds."""


class Stretch(NamedTuple):
    """The seconds from `start` up to and without `end`, all of one local day and one offset.

    Attributes:
        offset: Local time minus UTC.
        skipped: How many local seconds the clock jumped over right before `start`.
        repeated: For how many seconds from `start` the clock shows what it has shown before; they may outlast the day.
    """

    start: int
    end: int
    offset: int
    skipped: int
    repeated: int

    @property
    def day(self) -> int:
        """The local day, in days since the epoch."""
        return (self.start + self.offset) // DAY

    @property
    def midnight(self) -> int:
        """The second at which the local day would have begun had it all been like this."""
        return self.day * DAY - self.offset


class Zone:
    """A time zone. Two changes of the clock within a day that undo each other are not seen; there never were any."""

    def __init__(self, info: tzinfo) -> None:
        self._info = info

    def stretch(self, second: int) -> Stretch:
        """Return the stretch in which an instant lies."""
        offset = self._offset(second)
        midnight = (second + offset) // DAY * DAY - offset
        start, end = midnight, midnight + DAY
        if self._offset(start) != offset:
            start = _first(lambda at: self._offset(at) == offset, start, second)
        if self._offset(end - 1) != offset:
            end = _first(lambda at: self._offset(at) != offset, second, end - 1)
        skipped = max(0, offset - self._offset(start - 1))
        return Stretch(start, end, offset, skipped, self._repeated(start))

    def _repeated(self, start: int) -> int:
        local = self._local(start)
        if not local.fold:
            return 0
        longest = _seconds(local.replace(fold=0).utcoffset()) - _seconds(local.utcoffset())
        return _first(lambda at: not self._local(at).fold, start, start + longest) - start

    def _offset(self, second: int) -> int:
        return _seconds(self._local(second).utcoffset())

    def _local(self, second: int) -> datetime:
        return datetime.fromtimestamp(second, self._info)


def _seconds(offset: timedelta | None) -> int:
    assert offset is not None
    return offset.days * DAY + offset.seconds


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first number behind `low` of which something holds that does not of `low`, does of `high`, and stays."""
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=128)
def load_zone(name: str) -> Zone:
    """Return the time zone of an IANA name; UTC for an empty one.

    Raises:
        ValueError: There is no such zone, or no time zone data on this machine.
    """
    if name in ("", "UTC"):
        return Zone(UTC)  # needs no data
    try:
        return Zone(ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    if not available_timezones():
        raise ValueError(
            f"time_zone_name: cannot look up {name!r}, because this machine has no time zone data; "
            "install the tzdata package (pip install tzdata)"
        )
    raise ValueError(
        f"time_zone_name: there is no time zone {name!r}; use an IANA name such as 'Europe/Berlin', "
        "or update the tzdata package if it is a new one"
    )


def date_of(day: int) -> tuple[int, int, int]:
    """Return year, month and day of the month of a day since the epoch."""
    date = datetime.fromtimestamp(day * DAY, UTC)
    return date.year, date.month, date.day
