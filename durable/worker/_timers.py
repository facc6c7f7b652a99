"""When to look at which run: its timers, on the database's clock."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

from durable._internal.instants import SECOND
from durable.worker._clock import DatabaseClock

LONGEST = 60.0
"""Seconds the event loop's own timer runs at most: the database's clock may be set, and is looked at again then."""


class Waiting(Protocol):
    """A run with timers."""

    def timer_due(self) -> None:
        """Look whether a timer is due."""
        ...


class Timer:
    """An entry: when to look at which run; without a run it was cancelled."""

    __slots__ = ("at", "run")

    def __init__(self, at: int, run: Waiting) -> None:
        self.at = at
        self.run: Waiting | None = run


class Timers:
    """The timers of all runs of a worker, earliest first; one timer of the event loop for all of them."""

    def __init__(self, clock: DatabaseClock, defect: Callable[[BaseException], None]) -> None:
        self._clock = clock
        self._defect = defect
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[int, int, Timer]] = []
        self._count = count()
        self._canceled = 0
        self._handle: asyncio.TimerHandle | None = None
        self._handle_at = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: int, run: Waiting) -> Timer:
        """Call `run.timer_due()` once the database's time is `at`; return what cancels that."""
        timer = Timer(at, run)
        heapq.heappush(self._heap, (at, next(self._count), timer))
        if self._handle is None or at < self._handle_at:
            self._arm()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Forget an entry; again does nothing. The run is let go at once, though its timer may be years off."""
        if timer.run is None:
            return
        timer.run = None
        self._canceled += 1
        if self._canceled > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].run is not None]
            heapq.heapify(self._heap)
            self._canceled = 0

    @property
    def first(self) -> int | None:
        """The instant of the earliest entry, None if there is none."""
        while self._heap and self._heap[0][2].run is None:
            heapq.heappop(self._heap)
            self._canceled -= 1
        return self._heap[0][0] if self._heap else None

    def look(self) -> None:
        """Look at once at what is due: the database's clock was set."""
        if self._handle is not None:
            self._handle.cancel()
        self._fire()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            self._handle_at = self._heap[0][0]
            delay = max(0.0, (self._handle_at - self._clock.now()) / SECOND)
            # A little behind: the estimate is late by the way of an answer, never early.
            self._handle = self._loop.call_later(min(delay, LONGEST) + 0.0005, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._clock.now()
        due: list[Waiting] = []
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            if timer.run is None:
                self._canceled -= 1
            else:
                due.append(timer.run)
                timer.run = None
        for run in due:
            try:
                run.timer_due()
            except Exception as error:
                self._defect(error)
        if self._handle is None:
            self._arm()

    def stop(self) -> None:
        """Forget everything."""
        self._heap.clear()
        self._canceled = 0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
