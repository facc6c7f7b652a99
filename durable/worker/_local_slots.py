"""Local activities that are to begin: they wait for their next attempt, or for a slot, in memory and nowhere else.

What waits here has no row and no event beside the one that asked for it. When the worker stops, or gives their run up,
they are forgotten, and the next owner of the run begins them again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from durable._engine._activities import close_by
from durable._internal.instants import SECOND
from durable.worker._attempts import Attempt
from durable.worker._clock import DatabaseClock


class LocalSlots:
    """See the module.

    Attributes:
        used: How many run.
    """

    def __init__(
        self,
        slots: int,
        clock: DatabaseClock,
        begin: Callable[[Attempt], None],
        time_out: Callable[[Attempt, str], None],
    ) -> None:
        """Begin attempts by `begin`, so many at once; what waits for too long is ended by `time_out`."""
        self._slots = slots
        self._clock = clock
        self._begin = begin
        self._time_out = time_out
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Attempt] = deque()
        self._stopped = False
        self.used = 0

    def add(self, attempt: Attempt, delay: int = 0) -> None:
        """Begin an attempt as soon as there is a slot, but not before `delay` microseconds have passed."""
        if delay:
            attempt.timer = self._loop.call_later(delay / SECOND, self.look, attempt)
        else:
            self._due(attempt)

    def look(self, attempt: Attempt) -> None:
        """Look at one that waits: it may be due by now, or its time may be up."""
        attempt.timer = None
        if attempt in self._waiting:
            self._limit(attempt)
        elif (left := attempt.due_at - self._clock.now()) > 0:
            attempt.timer = self._loop.call_later(left / SECOND, self.look, attempt)
        else:
            self._due(attempt)

    def freed(self) -> None:
        """Take the news that one that ran has ended."""
        self.used -= 1
        while self._waiting and self.used < self._slots and not self._stopped:
            attempt = self._waiting.popleft()
            if not attempt.ended:
                self._start(attempt)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    def _due(self, attempt: Attempt) -> None:
        attempt.timer = None
        if attempt.ended or self._stopped:
            return
        if self.used < self._slots:
            self._start(attempt)
            return
        self._waiting.append(attempt)
        self._limit(attempt)

    def _limit(self, attempt: Attempt) -> None:
        limits = [(at, kind) for at, kind in _limits(attempt) if at is not None]
        if limits:
            at, kind = min(limits)
            left = max(0, at - self._clock.now()) / SECOND
            attempt.timer = self._loop.call_later(left, self._expired, attempt, kind)

    def _expired(self, attempt: Attempt, kind: str) -> None:
        attempt.timer = None
        if not attempt.ended and not self._stopped:
            self._waiting.remove(attempt)
            self._time_out(attempt, kind)

    def _start(self, attempt: Attempt) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
            attempt.timer = None
        self.used += 1
        attempt.started_at = attempt.last_sign = self._clock.now()
        self._begin(attempt)


def _limits(attempt: Attempt) -> list[tuple[int | None, str]]:
    """The instants by which an attempt that waits for a slot must have begun, or be over."""
    scheduled = attempt.scheduled
    start_by = None
    if attempt.number == 1 and scheduled.schedule_to_start is not None:
        start_by = attempt.scheduled_at + scheduled.schedule_to_start
    return [(start_by, "schedule_to_start"), (close_by(scheduled, attempt.scheduled_at), "schedule_to_close")]
