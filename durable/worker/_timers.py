"""When to look at which run: its timers, on the database's clock."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count
from typing import Protocol

from durable._internal.instants import SECOND
from durable.worker._clock import DatabaseClock

LONGEST = 60.0
"""Seconds the event loop's own timer runs at most: the database's clock may be set, and is looked at again then."""


class Waiting(Protocol):
    """A run with timers."""

    gone: bool

    def timer_due(self) -> None:
        """Look whether a timer is due."""
        ...


class Timers:
    """The timers of all runs of a worker, earliest first; one timer of the event loop for all of them."""

    def __init__(self, clock: DatabaseClock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[int, int, Waiting]] = []
        self._count = count()
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0

    def add(self, at: int, run: Waiting) -> None:
        """Call `run.timer_due()` once the database's time is `at`."""
        heapq.heappush(self._heap, (at, next(self._count), run))
        if self._handle is None or at < self._handle_at:
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            self._handle_at = self._heap[0][0]
            delay = max(0.0, (self._handle_at - self._clock.now()) / SECOND)
            # A millisecond behind: the estimate is late by the way of an answer, never early.
            self._handle = self._loop.call_later(min(delay, LONGEST) + 0.0005, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._clock.now()
        due: list[Waiting] = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        for run in due:
            if not run.gone:
                run.timer_due()
        if self._handle is None:
            self._arm()

    def stop(self) -> None:
        """Forget everything."""
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
