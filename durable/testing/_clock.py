"""A clock that only moves when it is told to."""

from __future__ import annotations

import threading


class VirtualClock:
    """Time in microseconds since the epoch, for one environment.

    It stands still, but for one microsecond with every stamp: no two transactions of a database happen at the same
    instant, and neither does anything that is sorted by when it began.
    """

    def __init__(self, now: int) -> None:
        self._now = now
        self._guard = threading.Lock()

    def now(self) -> int:
        """Return the time."""
        return self._now

    def stamp(self) -> int:
        """Return the time for a transaction, later than any before."""
        with self._guard:
            self._now += 1
            return self._now

    def move_to(self, instant: int) -> None:
        """Let it be that late; it never goes back."""
        with self._guard:
            self._now = max(self._now, instant)
