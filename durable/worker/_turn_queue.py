"""Turns of many runs, a batch per callback of the event loop, under a limit of time.

Runs whose code is in memory come first, and those that have to be opened (replayed, or begun) get what is left of the time, and always
some of it: a thousand timers that fall due at once do not hold up the steps of who is at work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from durable._internal import machine
from durable._replay._turns import Turns
from durable.worker._clock import DatabaseClock
from durable.worker._watchdog import Watchdog

BUDGET = 0.01
"""Seconds of turns in one callback, about: then everything else in the process gets its chance."""

KNOWN = 0.75
"""The share of it behind which runs that have to be opened get their turn, however many others are ready."""


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
        self._opening: deque[Turnable] = deque()
        self._scheduled = False
        self._watchdog = watchdog
        self._clock = clock
        self._defect = defect

    def add(self, run: Turnable, *, opening: bool = False) -> None:
        """Give a run a turn soon; `opening` says that its code is not in memory."""
        (self._opening if opening else self._queue).append(run)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def clear(self) -> None:
        """Forget whoever waits."""
        self._queue.clear()
        self._opening.clear()

    def _run(self) -> None:
        self._scheduled = False
        began = machine.perf_counter()
        known, end = began + BUDGET * KNOWN, began + BUDGET
        done: list[Turnable] = []
        watchdog = self._watchdog
        with Turns() as turns:
            for queue, until in ((self._queue, known), (self._opening, end), (self._queue, end)):
                while queue:
                    run = queue.popleft()
                    done.append(run)
                    if watchdog.during(run, run.turn, turns):
                        run.broken()
                    if machine.perf_counter() > until:
                        break
        # One look at the clock for all of them: they have ended within the budget.
        now = self._clock.now()
        for run in done:
            try:
                run.conclude(now)
            except Exception as error:
                self._defect(error)
        if (self._queue or self._opening) and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)
