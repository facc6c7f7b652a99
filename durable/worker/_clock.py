"""The database's time, as a worker knows it between two answers.

The database's clock decides (timers, deadlines, leases); a worker only needs to know when to ask. Each answer that
carries the database's time is remembered with the local instant at which it *arrived*, so that the estimate is never
ahead of the database: a worker may be late, never early. The local clock runs through suspension of the machine.
"""

from __future__ import annotations

from collections.abc import Callable

from durable._internal import machine


def boottime() -> int:
    """Return microseconds on a local clock that never jumps and goes on while the machine is suspended."""
    return machine.boottime()


class DatabaseClock:
    """What the database's clock shows, at most."""

    __slots__ = ("_ahead", "_local")

    def __init__(self, now: int, local: Callable[[], int] = boottime) -> None:
        self._local = local
        self._ahead = now - local()

    def observe(self, now: int) -> None:
        """Take an answer's time, just arrived. If the database's clock was set back, so is this."""
        self._ahead = now - self._local()

    def now(self) -> int:
        """Return the database's time in microseconds: the last answer's plus what has passed here since."""
        return self._local() + self._ahead


class GivenClock(DatabaseClock):
    """The database's clock itself, where this process is what moves it: in tests."""

    __slots__ = ()

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(0, lambda: 0)
        self._local = clock

    def observe(self, now: int) -> None:
        """Know it already."""
