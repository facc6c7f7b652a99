"""Which instants a spec means.

The policy where the clock jumps, for calendars and cron expressions alike, is that of Debian's cron:

* A *fixed* calendar names times of the day (`30 2 * * *`). A time that the clock jumps over is meant at the first instant
  behind the jump, and a time that comes twice is meant the first time only: each day gets its run, and gets it once.
* A *rhythm* (`*/30 2 * * *`, `0 * * * *`; some field of the time is written over its whole span) follows the clock as it
  is: what is jumped over is not meant, what comes twice is meant twice.

Intervals count seconds since the epoch and know no clock. `skip` takes away every instant whose local time it matches.

Time is walked stretch by stretch (see `_zones`), and each stretch is one integer with a bit for every second that is
meant. So the cost of a search is the days it crosses; months in which no calendar has a day are stepped over, and a spec
that never fires again is found out after at most 130 years of such steps.
"""

from __future__ import annotations

import calendar
import hashlib
from collections.abc import Iterator
from functools import lru_cache

from durable._internal.instants import HORIZON, SECOND
from durable._timetables._cron import parse_cron
from durable._timetables._fields import SPANS, Fields, every, fields_of
from durable._timetables._zones import DAY, Stretch, date_of, load_zone
from durable._timetables.records import IntervalRecord, SpecRecord

_FIRST_YEAR, _LAST_YEAR = SPANS["year"]
_LAST_SECOND = 4_102_444_799
"""The end of 2099 in UTC: nothing behind it is meant."""
_MARGIN = 2 * DAY
"""How far before a month that has days the walk goes on day by day: a zone is at most a day away from UTC, and a jump of
the clock reaches at most a day back."""


class Timetable:
    """The instants of one spec. Instants are microseconds since the epoch, in and out; all of them are whole seconds."""

    def __init__(self, spec: SpecRecord) -> None:
        """Read a spec.

        Raises:
            ValueError: A cron expression cannot be read, an interval or the time zone is none, or two zones are named.
        """
        calendars = [fields_of(one) for one in spec.calendars]
        intervals = list(spec.intervals)
        zones = {spec.zone} - {""}
        for number, text in enumerate(spec.cron):
            name = f"cron_expressions[{number}]"
            asks, zone = parse_cron(text, name)
            if isinstance(asks, IntervalRecord):
                check_interval(asks, name)
                intervals.append(asks)
            else:
                calendars.append(asks)
                zones.add(zone or spec.zone)
        self._zone = load_zone(_one_zone(zones))
        self._calendars = [_Calendar(fields) for fields in calendars]
        self._skip = [_Calendar(fields_of(one)) for one in spec.skip]
        self._intervals = [
            (one.every // SECOND, one.offset // SECOND, every(one.every // SECOND)) for one in intervals
        ]
        self._jitter = spec.jitter
        self._first = 0 if spec.start_at is None else max(0, -(-spec.start_at // SECOND))
        self._last = _LAST_SECOND if spec.end_at is None else min(_LAST_SECOND, spec.end_at // SECOND)

    # ------------------------------------------------------------------ questions

    def next(self, after: int) -> int | None:
        """Return the first instant behind `after`, None when there is none."""
        return next(self.between(after, None), None)

    def previous(self, before: int) -> int | None:
        """Return the last instant before `before`, None when there is none.

        The time from there to a nominal instant is that instant's *data interval*: what happened since the last one.
        """
        second = min(self._last, -(-before // SECOND) - 1)
        while second >= self._first:
            stretch = self._zone.stretch(second)
            low, high = self._window(stretch, self._first, second)
            if found := self._meant(stretch) & _bits(low, high):
                return (stretch.midnight + found.bit_length() - 1) * SECOND
            second = min(stretch.start - 1, self._jump_back(stretch))
        return None

    def between(self, after: int, until: int | None) -> Iterator[int]:
        """Yield the instants behind `after`, up to and including `until`, in order; with None, all there are."""
        for midnight, meant in self._days(after, until):
            while meant:
                lowest = meant & -meant
                yield (midnight + lowest.bit_length() - 1) * SECOND
                meant ^= lowest

    def count(self, after: int, until: int) -> int:
        """Return how many instants there are behind `after`, up to and including `until`, without visiting each."""
        return sum(meant.bit_count() for _, meant in self._days(after, until))

    def due(self, schedule_id: str, nominal: int) -> int:
        """Return the instant at which the action of a nominal instant is due: that instant, and its jitter.

        The jitter is the same whenever it is asked for, at least zero, shorter than the spec's, and always before the
        next nominal instant; so due instants are in the order of nominal ones.
        """
        following = self.next(nominal) if self._jitter else None
        room = self._jitter if following is None else min(self._jitter, following - nominal)
        digest = hashlib.blake2b(f"{schedule_id}\0{nominal}".encode(), digest_size=8).digest()
        return nominal + (int.from_bytes(digest) * room >> 64)

    def last_due(self, schedule_id: str, until: int) -> int | None:
        """Return the last nominal instant whose action is due up to and including `until`, None when there is none."""
        nominal = self.previous(until + 1)
        if nominal is not None and self.due(schedule_id, nominal) > until:
            return self.previous(nominal)  # which is due before `nominal`
        return nominal

    # ------------------------------------------------------------------ the walk

    def _days(self, after: int, until: int | None) -> Iterator[tuple[int, int]]:
        """Yield the midnights, and the bits behind each, of the stretches that mean something."""
        second = max(self._first, after // SECOND + 1)
        last = self._last if until is None else min(self._last, until // SECOND)
        while second <= last:
            stretch = self._zone.stretch(second)
            low, high = self._window(stretch, second, last)
            if found := self._meant(stretch) & _bits(low, high):
                yield stretch.midnight, found
            second = max(stretch.end, self._jump(stretch))

    def _window(self, stretch: Stretch, first: int, last: int) -> tuple[int, int]:
        """The part of a stretch from one second up to and including another, in seconds behind its midnight."""
        return max(stretch.start, first) - stretch.midnight, min(stretch.end, last + 1) - stretch.midnight

    def _meant(self, stretch: Stretch) -> int:
        """The seconds of a stretch that are meant, bit n for the nth behind its midnight."""
        day, midnight = stretch.day, stretch.midnight
        begin = stretch.start - midnight
        fixed = _times(self._calendars, day, fixed=True) & ~_bits(begin, begin + stretch.repeated)
        found = fixed | _times(self._calendars, day, fixed=False)
        for period, offset, pattern in self._intervals:
            if (first := (offset - midnight) % period) < DAY:
                found |= pattern << first
        if stretch.skipped and self._owed(day, begin - stretch.skipped, begin):
            found |= 1 << begin
        if found and self._skip:
            found &= ~(_times(self._skip, day, fixed=True) | _times(self._skip, day, fixed=False))
        return found & _bits(begin, stretch.end - midnight)

    def _owed(self, day: int, low: int, high: int) -> bool:
        """Whether a fixed time is among local seconds that the clock jumped over, counted from a day's midnight."""
        while low < high:
            before = low // DAY
            end = min(high, (before + 1) * DAY)
            times = _times(self._calendars, day + before, fixed=True)
            taken = _times(self._skip, day + before, fixed=True) | _times(
                self._skip, day + before, fixed=False
            )
            if times & ~taken & _bits(low - before * DAY, end - before * DAY):
                return True
            low = end
        return False

    def _jump(self, stretch: Stretch) -> int:
        """The second from which it is worth looking on, as far as months without days show."""
        year, month, _ = date_of(stretch.day)
        if self._intervals or self._has_days(year, month):
            return 0
        while year <= _LAST_YEAR:
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
            if self._has_days(year, month):
                return _begin(year, month) - _MARGIN
        return _LAST_SECOND + 1

    def _jump_back(self, stretch: Stretch) -> int:
        """The second up to which it is worth looking back, as far as months without days show."""
        year, month, _ = date_of(stretch.day)
        if self._intervals or self._has_days(year, month):
            return _LAST_SECOND
        end = _begin(year, month)
        while year >= _FIRST_YEAR:
            year, month = (year, month - 1) if month > 1 else (year - 1, 12)
            if self._has_days(year, month):
                return end + _MARGIN
            end = _begin(year, month)
        return -1

    def _has_days(self, year: int, month: int) -> bool:
        return any(one.days(year, month) for one in self._calendars)


class _Calendar:
    """The days and times of one calendar, worked out once."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._known: tuple[int, int, int] = (0, 0, 0)
        self.fixed = fields.fixed
        self.times = fields.times()

    def days(self, year: int, month: int) -> int:
        if self._known[:2] != (year, month):
            self._known = (year, month, self._fields.days(year, month))
        return self._known[2]


def _times(calendars: list[_Calendar], day: int, *, fixed: bool) -> int:
    """The times of a day of all fixed calendars, or of all others."""
    found = 0
    year, month, number = date_of(day)
    for one in calendars:
        if one.fixed is fixed and one.days(year, month) >> number & 1:
            found |= one.times
    return found


def _begin(year: int, month: int) -> int:
    """The first second of a month in UTC."""
    return calendar.timegm((year, month, 1, 0, 0, 0))


def _one_zone(zones: set[str]) -> str:
    """The time zone of a whole spec, as `time_zone_name` and its cron expressions name it."""
    if len(zones) > 1:
        named = ", ".join(repr(zone) if zone else "none at all" for zone in sorted(zones))
        raise ValueError(
            f"cron_expressions: a schedule has one time zone, and here it is {named}; say it once, in time_zone_name"
        )
    return next(iter(zones), "")


def _bits(low: int, high: int) -> int:
    """The bits from one up to and without another."""
    return (1 << high) - (1 << low) if low < high else 0


def check_interval(interval: IntervalRecord, name: str) -> None:
    """Refuse an interval that means nothing.

    Raises:
        ValueError: It is shorter than a second or no whole number of them, or its offset is not within it.
    """
    if not SECOND <= interval.every <= HORIZON or interval.every % SECOND:
        raise ValueError(
            f"{name}: every must be a whole number of seconds, from 1 second to 100 years, "
            f"not {interval.every / SECOND:g} seconds"
        )
    if not 0 <= interval.offset < interval.every or interval.offset % SECOND:
        raise ValueError(
            f"{name}: offset must be a whole number of seconds, at least zero and shorter than every "
            f"({interval.every / SECOND:g} seconds), not {interval.offset / SECOND:g} seconds"
        )


@lru_cache(maxsize=256)
def timetable(spec: SpecRecord) -> Timetable:
    """Return the timetable of a spec; the last ones asked for are kept.

    Raises:
        ValueError: See `Timetable`.
    """
    return Timetable(spec)
