"""Instants and durations as integers of microseconds.

Everything that `durable` stores or compares is an integer: an *instant* counts microseconds since the Unix epoch in
UTC, a *duration* counts microseconds. Integers survive every database and every JSON parser unchanged, compare
exactly, and cannot be naive or aware. Floats and `timedelta` exist only where a person writes or reads them, and the
functions here are the only way across.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from durable._internal.shown import shown

Duration = timedelta | float
"""What people may write for a duration: a `timedelta`, or a number of seconds."""

MICROSECOND = timedelta(microseconds=1)
SECOND = 1_000_000
"""One second, in microseconds."""

HORIZON = 100 * 366 * 24 * 3600 * SECOND
"""The longest duration that is accepted, in microseconds: 100 years. Beyond it databases and `datetime` overflow."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_duration(value: Duration, name: str, *, allow_zero: bool = True) -> int:
    """Return `value` in microseconds, a whole number of milliseconds when it is at least one.

    Args:
        value: A `timedelta`, or a number of seconds.
        name: What the value is called by whoever passed it; it opens the error's text.
        allow_zero: Whether zero is a meaningful value here.

    Raises:
        ValueError: It is negative, NaN, zero where that means nothing, or longer than 100 years.
        TypeError: It is neither a `timedelta` nor a number (a `bool` is not a number here).
    """
    if isinstance(value, timedelta):
        micros = value // MICROSECOND
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{name} must be a timedelta or a number of seconds, not {type(value).__name__}: {shown(value)}"
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value}")
    else:  # before it is multiplied: an integer may be larger than any float
        micros = (
            HORIZON + 1
            if value > HORIZON / SECOND
            else -1
            if value < -HORIZON / SECOND
            else round(value * SECOND)
        )
    if micros < 0 or (micros == 0 and not allow_zero):
        raise ValueError(
            f"{name} must be {'at least' if allow_zero else 'longer than'} zero, not {shown(value)}"
        )
    if micros > HORIZON:
        raise ValueError(f"{name} must be at most 100 years, not {shown(value)}")
    # Timers and timeouts have a resolution of a millisecond; `0.1 + 0.2` seconds shall not differ from 0.3.
    return micros if micros < 1000 else (micros + 500) // 1000 * 1000


def check_timeout(micros: object, name: str) -> None:
    """Refuse what is no timeout in microseconds; None, no timeout at all, is one.

    Raises:
        ValueError: It is not longer than zero, or longer than 100 years.
        TypeError: It is not a whole number.
    """
    if micros is None:
        return
    if isinstance(micros, bool) or not isinstance(micros, int):
        raise TypeError(f"{name} must be a whole number of microseconds here, not {shown(micros)}")
    if not 0 < micros <= HORIZON:
        raise ValueError(f"{name} must be longer than zero and at most 100 years, not {micros} microseconds")


def to_timedelta(micros: int) -> timedelta:
    """Return a duration as a `timedelta`, without loss."""
    return timedelta(microseconds=micros)


def to_datetime(instant: int) -> datetime:
    """Return an instant as an aware `datetime` in UTC, without loss."""
    return _EPOCH + timedelta(microseconds=instant)


def from_datetime(value: datetime, name: str) -> int:
    """Return an aware `datetime` as an instant.

    Raises:
        ValueError: It is naive: which instant it means would depend on the machine.
    """
    if value.tzinfo is None:
        raise ValueError(
            f"{name} must carry a time zone, for example datetime.now(timezone.utc): {shown(value)}"
        )
    return (value - _EPOCH) // MICROSECOND
