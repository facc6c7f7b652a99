"""When a schedule acts, as people write it: Temporal's names and fields, checked where they are written.

Each class checks itself as it is made, and again as it is stored: its fields can be changed in between, as an update does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from durable._internal.ids import check_note
from durable._internal.instants import SECOND, Duration, from_datetime, to_datetime, to_duration, to_timedelta
from durable._internal.shown import shown
from durable._timetables._fields import SPANS
from durable._timetables._times import check_interval, timetable
from durable._timetables.records import CalendarRecord, IntervalRecord, RangeRecord, Ranges, SpecRecord

MAX_JITTER = 366 * 24 * 3600 * SECOND
"""The longest jitter, in microseconds: a year. What is longer was meant in another unit."""

MAX_RANGES = 100
"""How many ranges a field, or parts a spec, may have: the spec is read again for every decision."""

MAX_COMMENT = 200
"""The longest comment of a calendar, in characters."""

T = TypeVar("T")


@dataclass(frozen=True)
class ScheduleRange:
    """The values from `start` to `end`, both included, `step` apart.

    Attributes:
        start: The first value.
        end: The last value; `start` when it is left out. A range does not wrap: write two.
        step: How far apart the values are; 1 when it is left out.
    """

    start: int
    end: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        for name in ("start", "end", "step"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(
                    f"ScheduleRange.{name} must be a whole number, not {type(value).__name__}: {shown(value)}"
                )
            if value < 0:
                raise ValueError(f"ScheduleRange.{name} must not be negative: {value}")
        if self.end == 0:
            object.__setattr__(self, "end", self.start)
        if self.step == 0:
            object.__setattr__(self, "step", 1)
        if self.end < self.start:
            raise ValueError(
                f"ScheduleRange: from {self.start} to {self.end} is empty; to go round the end, write two ranges"
            )


@dataclass
class ScheduleCalendarSpec:
    """The times whose every field is in one of that field's ranges, in the spec's time zone.

    On days on which the clock jumps, what is jumped over is meant at the first instant behind the jump, and what comes
    twice is meant once; unless second, minute or hour has a range over its whole span, for example
    `ScheduleRange(0, 59, 15)`: then it is a rhythm that follows the clock as it is.

    Attributes:
        second: From 0 to 59; 0 by default.
        minute: From 0 to 59; 0 by default.
        hour: From 0 to 23; 0 by default.
        day_of_month: From 1 to 31; every day by default.
        month: From 1 to 12; every month by default.
        year: From 1970 to 2099; every year when empty.
        day_of_week: From 0, Sunday, to 6; every day by default. It narrows `day_of_month`.
        comment: For people.
    """

    second: Sequence[ScheduleRange] = (ScheduleRange(0),)
    minute: Sequence[ScheduleRange] = (ScheduleRange(0),)
    hour: Sequence[ScheduleRange] = (ScheduleRange(0),)
    day_of_month: Sequence[ScheduleRange] = (ScheduleRange(1, 31),)
    month: Sequence[ScheduleRange] = (ScheduleRange(1, 12),)
    year: Sequence[ScheduleRange] = ()
    day_of_week: Sequence[ScheduleRange] = (ScheduleRange(0, 6),)
    comment: str | None = None

    def __post_init__(self) -> None:
        self.to_record()

    def to_record(self) -> CalendarRecord:
        """Return it as it is stored, checked."""
        comment = check_note(self.comment or "", "ScheduleCalendarSpec.comment")
        if len(comment) > MAX_COMMENT:
            raise ValueError(
                f"ScheduleCalendarSpec.comment must be at most {MAX_COMMENT} characters, not {len(comment)}"
            )
        return CalendarRecord(**{name: self._ranges(name) for name in SPANS}, comment=comment)

    def _ranges(self, name: str) -> Ranges:
        what = f"ScheduleCalendarSpec.{name}"
        ranges = _sequence(getattr(self, name), ScheduleRange, what)
        if not ranges and name != "year":
            raise ValueError(f"{what} is empty, so nothing matches it; leave it out for its default")
        low, high = SPANS[name]
        for one in ranges:
            if not low <= one.start <= one.end <= high:
                more = "; Sunday is 0" if name == "day_of_week" else ""
                raise ValueError(
                    f"{what} must be from {low} to {high}, not from {one.start} to {one.end}{more}"
                )
        return tuple(RangeRecord(one.start, one.end, one.step) for one in ranges)

    @classmethod
    def from_record(cls, record: CalendarRecord) -> ScheduleCalendarSpec:
        """Return what was stored."""
        ranges: dict[str, Any] = {
            name: tuple(ScheduleRange(one.start, one.end, one.step) for one in getattr(record, name))
            for name in SPANS
        }
        return cls(**ranges, comment=record.comment or None)


@dataclass
class ScheduleIntervalSpec:
    """The instants `epoch + n * every + offset`.

    Attributes:
        every: The period: a whole number of seconds, at least one.
        offset: How far behind the beginning of each period; a whole number of seconds, less than the period.
    """

    every: Duration
    offset: Duration | None = None

    def __post_init__(self) -> None:
        self.to_record()

    def to_record(self) -> IntervalRecord:
        """Return it as it is stored, checked."""
        every = to_duration(self.every, "ScheduleIntervalSpec.every", allow_zero=False)
        offset = 0 if self.offset is None else to_duration(self.offset, "ScheduleIntervalSpec.offset")
        record = IntervalRecord(every, offset)
        check_interval(record, "ScheduleIntervalSpec")
        return record

    @classmethod
    def from_record(cls, record: IntervalRecord) -> ScheduleIntervalSpec:
        """Return what was stored."""
        return cls(to_timedelta(record.every), to_timedelta(record.offset) if record.offset else None)


@dataclass
class ScheduleSpec:
    """The instants at which a schedule acts: those of all its parts together, without what `skip` matches.

    Attributes:
        calendars: Times by the calendar.
        intervals: Periods.
        cron_expressions: Times in cron's notation: five fields (minute, hour, day of month, month, day of week), six (and
            the year), seven (the second before, the year behind), `@daily` and the like, or `@every 90m/15m`; with
            `CRON_TZ=<zone>` before it, and a `# comment` behind it. Days of the month and of the week narrow each
            other: unlike a crontab, and like Temporal, `0 0 13 * FRI` is every Friday the 13th.
        skip: Times that are left out. A calendar's hour is 0 unless it says otherwise: a whole day is
            `hour=[ScheduleRange(0, 23)], minute=[ScheduleRange(0, 59)], second=[ScheduleRange(0, 59)]`.
        start_at: Nothing before it is meant.
        end_at: Nothing behind it is meant.
        jitter: By how much each action may be put off, never up to the next one. By how much it is, follows from the
            schedule's id and the instant, and so is the same whoever asks.
        time_zone_name: The IANA name of the zone of calendars, cron expressions and `skip`; UTC when None.
    """

    calendars: Sequence[ScheduleCalendarSpec] = field(default_factory=list[ScheduleCalendarSpec])
    intervals: Sequence[ScheduleIntervalSpec] = field(default_factory=list[ScheduleIntervalSpec])
    cron_expressions: Sequence[str] = field(default_factory=list[str])
    skip: Sequence[ScheduleCalendarSpec] = field(default_factory=list[ScheduleCalendarSpec])
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: Duration | None = None
    time_zone_name: str | None = None

    def __post_init__(self) -> None:
        self.to_record()

    def to_record(self) -> SpecRecord:
        """Return it as it is stored, checked: every part of it has been read.

        Raises:
            ValueError: A part means nothing, or contradicts another; the text names the field and what to write.
            TypeError: A part is of a wrong type.
        """
        start_at, end_at = _instant(self.start_at, "start_at"), _instant(self.end_at, "end_at")
        if start_at is not None and end_at is not None and end_at < start_at:
            raise ValueError(
                f"ScheduleSpec.end_at must not be before start_at: {self.end_at} is before {self.start_at}"
            )
        jitter = 0 if self.jitter is None else to_duration(self.jitter, "ScheduleSpec.jitter")
        if jitter > MAX_JITTER:
            raise ValueError(
                f"ScheduleSpec.jitter must be at most 366 days, not {shown(self.jitter)}; a number is taken as seconds"
            )
        zone: object = self.time_zone_name
        if zone is not None and not isinstance(zone, str):
            raise TypeError(
                f"ScheduleSpec.time_zone_name must be a string such as 'Europe/Berlin', not {shown(zone)}"
            )
        calendars = _sequence(self.calendars, ScheduleCalendarSpec, "ScheduleSpec.calendars")
        intervals = _sequence(self.intervals, ScheduleIntervalSpec, "ScheduleSpec.intervals")
        skip = _sequence(self.skip, ScheduleCalendarSpec, "ScheduleSpec.skip")
        record = SpecRecord(
            calendars=tuple(one.to_record() for one in calendars),
            intervals=tuple(one.to_record() for one in intervals),
            cron=tuple(_sequence(self.cron_expressions, str, "ScheduleSpec.cron_expressions")),
            skip=tuple(one.to_record() for one in skip),
            start_at=start_at,
            end_at=end_at,
            jitter=jitter,
            zone=zone or "",
        )
        try:
            timetable(record)
        except ValueError as error:
            raise ValueError(f"ScheduleSpec.{error}") from None
        return record

    @classmethod
    def from_record(cls, record: SpecRecord) -> ScheduleSpec:
        """Return what was stored."""
        return cls(
            calendars=[ScheduleCalendarSpec.from_record(one) for one in record.calendars],
            intervals=[ScheduleIntervalSpec.from_record(one) for one in record.intervals],
            cron_expressions=list(record.cron),
            skip=[ScheduleCalendarSpec.from_record(one) for one in record.skip],
            start_at=None if record.start_at is None else to_datetime(record.start_at),
            end_at=None if record.end_at is None else to_datetime(record.end_at),
            jitter=timedelta(microseconds=record.jitter) if record.jitter else None,
            time_zone_name=record.zone or None,
        )


def _sequence(value: object, kind: type[T], name: str) -> Sequence[T]:
    """Return a list or tuple of one kind of thing, as it was meant."""
    if not isinstance(value, list | tuple):
        hint = "; write it in brackets" if isinstance(value, kind) else ""
        raise TypeError(
            f"{name} must be a list or a tuple of {kind.__name__}, not {type(value).__name__}{hint}"
        )
    items = cast(Sequence[Any], value)
    for one in items:
        if not isinstance(one, kind):
            raise TypeError(f"{name} must hold {kind.__name__}, not {type(one).__name__}: {shown(one)}")
    if len(items) > MAX_RANGES:
        raise ValueError(f"{name} must have at most {MAX_RANGES} entries, not {len(items)}")
    return items


def _instant(value: object, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"ScheduleSpec.{name} must be a datetime with a time zone, not {shown(value)}")
    return from_datetime(value, f"ScheduleSpec.{name}")
