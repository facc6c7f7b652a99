"""Turns of many runs, a batch per callback of the event loop, under a limit of time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from durable._replay._turns import Turns
from durable.worker._clock import DatabaseClock
from durable.worker._watchdog import Watchdog

BUDGET = 0.01
"""Seconds of turns in one callback, about: then everything else in the process gets its chance."""


class Turnable(Protocol):
    """A run whose turn can come."""

    def turn(self, turns: Turns) -> None:
        """Run its code."""
        ...

    def broken(self) -> None:
        """Take the news that the turn held the event loop for too long and was ended; nothing of it counts."""
        ...

    def conclude(self, now: int) -> None:
        """Take what the code gave; `now` is the database's time, at most."""
        ...


class TurnQueue:
    """Runs that are ready for a turn, in order."""

    def __init__(
        self, watchdog: Watchdog, clock: DatabaseClock, defect: Callable[[BaseException], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Turnable] = deque()
        self._scheduled = False
        self._watchdog = watchdog
        self._clock = clock
        self._defect = defect

    def add(self, run: Turnable) -> None:
        """Give a run a turn soon."""
        self._queue.append(run)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def clear(self) -> None:
        """Forget whoever waits."""
        self._queue.clear()

    def _run(self) -> None:
        self._scheduled = False
        until = time.perf_counter() + BUDGET
        done: list[Turnable] = []
        queue, watchdog = self._queue, self._watchdog
        with Turns() as turns:
            while queue:
                run = queue.popleft()
                done.append(run)
                if watchdog.during(run, run.turn, turns):
                    run.broken()
                if time.perf_counter() > until:
                    break
        # One look at the clock for all of them: they have ended within the budget.
        now = self._clock.now()
        for run in done:
            try:
                run.conclude(now)
            except Exception as error:
                self._defect(error)
        if queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)
