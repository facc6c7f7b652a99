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
from durable.worker._slots import Slots
from durable.worker._suppliers import LocalActivitySlotInfo, SlotPermit


class LocalSlots:
    """See the module."""

    def __init__(
        self,
        slots: Slots,
        clock: DatabaseClock,
        begin: Callable[[Attempt], None],
        time_out: Callable[[Attempt, str], None],
    ) -> None:
        """Begin attempts by `begin` as there are slots; what waits for too long is ended by `time_out`."""
        self._slots = slots
        self._clock = clock
        self._begin = begin
        self._time_out = time_out
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Attempt] = deque()
        self._stopped = False

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

    def freed(self, attempt: Attempt) -> None:
        """Take the news that one that ran has ended."""
        if (permit := attempt.permit) is not None:
            attempt.permit = None
            self._slots.give(permit, LocalActivitySlotInfo(attempt.scheduled.activity_type))

    def _next(self) -> None:
        while self._waiting and not self._stopped:
            if self._waiting[0].ended:
                self._waiting.popleft()
            elif (permit := self._slots.take()) is not None:
                self._start(self._waiting.popleft(), permit)
            else:
                self._slots.when_free(self._next)
                return

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    def _due(self, attempt: Attempt) -> None:
        attempt.timer = None
        if attempt.ended or self._stopped:
            return
        permit = None if self._waiting else self._slots.take()
        if permit is not None:
            self._start(attempt, permit)
            return
        self._waiting.append(attempt)
        self._slots.when_free(self._next)
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

    def _start(self, attempt: Attempt, permit: SlotPermit) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
            attempt.timer = None
        attempt.permit = permit
        if self._slots.told:
            self._slots.mark(permit, LocalActivitySlotInfo(attempt.scheduled.activity_type))
        attempt.started_at = attempt.last_sign = self._clock.now()
        self._begin(attempt)


def _limits(attempt: Attempt) -> list[tuple[int | None, str]]:
    """The instants by which an attempt that waits for a slot must have begun, or be over."""
    scheduled = attempt.scheduled
    start_by = None
    if attempt.number == 1 and scheduled.schedule_to_start is not None:
        start_by = attempt.scheduled_at + scheduled.schedule_to_start
    return [(start_by, "schedule_to_start"), (close_by(scheduled, attempt.scheduled_at), "schedule_to_close")]
