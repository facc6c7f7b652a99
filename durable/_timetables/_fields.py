"""What a calendar or a cron expression asks of local time, as sets of numbers, and which days and times these are.

A day's times are one integer with a bit for each of its seconds: the union of calendars, and what `skip` takes away,
are then one operation for a whole day, and a spec that never fires is found out at the speed of days, not of seconds.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable

from msgspec import Struct

from durable._timetables._zones import DAY
from durable._timetables.records import CalendarRecord, Ranges

SPANS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_month": (1, 31),
    "month": (1, 12),
    "day_of_week": (0, 6),
    "year": (1970, 2099),
}
"""The values a field can have. Instants of other years are never meant."""

TIME_FIELDS = ("second", "minute", "hour")

LAST = -1
"""The n of a month's last weekday of a kind."""

Numbers = frozenset[int]
NONE: Numbers = frozenset()


class Fields(Struct, frozen=True, gc=False):
    """A local time is meant when each of its fields is in the set of that name.

    Attributes:
        year: Empty for every year.
        fixed: Whether it names times of the day, rather than a rhythm: no field of the time is written over its whole
            span (`*`, `*/15`, `ScheduleRange(0, 59, 15)`). A time is owed to each day, a rhythm is not, and that makes
            the difference where the clock jumps.
        last_day: Whether the last day of the month is meant too.
        nearest: Days of the month, for each of which the nearest day from Monday to Friday of that month is meant.
            When there are any, `day_of_month` means nothing.
        nth: Pairs (weekday, n) that narrow `day_of_week` to the nth such day of the month.
    """

    second: Numbers
    minute: Numbers
    hour: Numbers
    day_of_month: Numbers
    month: Numbers
    day_of_week: Numbers
    year: Numbers = NONE
    fixed: bool = True
    last_day: bool = False
    nearest: Numbers = NONE
    nth: frozenset[tuple[int, int]] = frozenset()

    def times(self) -> int:
        """Return the times of a day, bit n for second n."""
        minute = _bits(self.second)
        hour = sum(minute << 60 * number for number in self.minute)
        return sum(hour << 3600 * number for number in self.hour)

    def days(self, year: int, month: int) -> int:
        """Return the days of a month, bit n for day n."""
        if month not in self.month or (self.year and year not in self.year):
            return 0
        first_weekday, length = calendar.monthrange(year, month)
        last = LAST if not self.last_day else length
        wanted = {_nearest(day, first_weekday, length) for day in self.nearest if day <= length}
        found = 0
        for day in range(1, length + 1):
            weekday = (first_weekday + day) % 7  # `monthrange` counts from Monday, cron from Sunday
            if day not in wanted and (self.nearest or (day not in self.day_of_month and day != last)):
                continue
            if weekday in self.day_of_week and self._is_nth(weekday, day, length):
                found |= 1 << day
        return found

    def _is_nth(self, weekday: int, day: int, length: int) -> bool:
        if not self.nth:
            return True
        return (weekday, (day + 6) // 7) in self.nth or (day + 7 > length and (weekday, LAST) in self.nth)


def _nearest(day: int, first_weekday: int, length: int) -> int:
    """The day from Monday to Friday that is nearest to a day of the month, within that month."""
    match (first_weekday + day - 1) % 7:
        case 5:  # Saturday
            return day - 1 if day > 1 else day + 2
        case 6:  # Sunday
            return day + 1 if day < length else day - 2
        case _:
            return day


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << number for number in numbers)


def every(period: int) -> int:
    """Return the times of a day that are a whole number of periods behind its beginning, bit n for second n."""
    found, reach = 1, period
    while reach < DAY:
        found |= found << reach
        reach *= 2
    return found & ((1 << DAY) - 1)


def fields_of(record: CalendarRecord) -> Fields:
    """Return what a calendar asks for."""
    return Fields(
        second=_numbers(record.second),
        minute=_numbers(record.minute),
        hour=_numbers(record.hour),
        day_of_month=_numbers(record.day_of_month),
        month=_numbers(record.month),
        day_of_week=_numbers(record.day_of_week),
        year=_numbers(record.year),
        fixed=not any(
            (one.start, one.end) == SPANS[name] for name in TIME_FIELDS for one in getattr(record, name)
        ),
    )


def _numbers(ranges: Ranges) -> Numbers:
    return frozenset(number for one in ranges for number in range(one.start, one.end + 1, one.step))
