"""When something is to happen, as it is stored: frozen records, no behaviour. Durations are in microseconds."""

from __future__ import annotations

from msgspec import Struct

SEMANTICS = 1
"""How a spec is read: which instants it means, given the same words. It is stored with each, so that a release which
reads them otherwise can go on reading old ones as they were meant."""


class RangeRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """The values from `start` to `end`, both included, `step` apart."""

    start: int
    end: int
    step: int = 1


Ranges = tuple[RangeRecord, ...]


class CalendarRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """The times whose every field is in one of that field's ranges; no range for the year means every year."""

    second: Ranges
    minute: Ranges
    hour: Ranges
    day_of_month: Ranges
    month: Ranges
    day_of_week: Ranges
    year: Ranges = ()
    comment: str = ""


class IntervalRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """The instants `epoch + n * every + offset`, in whole seconds though written in microseconds."""

    every: int
    offset: int = 0


class SpecRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """When a schedule acts: calendars, intervals and cron expressions together, without what `skip` matches.

    Attributes:
        cron: The expressions as they were written.
        start_at: The first instant that may be meant, None for no limit.
        end_at: The last one.
        jitter: By how much an action may be put off, never up to the next one.
        zone: The IANA name of the time zone of calendars, cron expressions and `skip`; empty for UTC.
    """

    calendars: tuple[CalendarRecord, ...] = ()
    intervals: tuple[IntervalRecord, ...] = ()
    cron: tuple[str, ...] = ()
    skip: tuple[CalendarRecord, ...] = ()
    start_at: int | None = None
    end_at: int | None = None
    jitter: int = 0
    zone: str = ""
    semantics: int = SEMANTICS
