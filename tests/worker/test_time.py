"""The database's clock as a worker knows it, and the timers that follow it; on clocks of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from durable.worker._clock import DatabaseClock
from durable.worker._timers import LONGEST, Timers

SECOND = 1_000_000


class Local:
    """A local clock."""

    def __init__(self) -> None:
        self.at = 5000

    def __call__(self) -> int:
        return self.at


def test_the_clock_goes_on_from_the_last_answer() -> None:
    local = Local()
    clock = DatabaseClock(100, local)
    local.at += 30
    assert clock.now() == 130
    clock.observe(1000)
    assert clock.now() == 1000
    local.at += 5
    assert clock.now() == 1005


def test_the_clock_follows_a_database_that_was_set_back() -> None:
    local = Local()
    clock = DatabaseClock(100, local)
    local.at += 30
    clock.observe(50)
    local.at += 1
    assert clock.now() == 51


class Loop:
    """An event loop's timer, one at a time."""

    def __init__(self) -> None:
        self.pending: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        entry = (delay, callback)
        self.pending.append(entry)
        loop = self

        class Handle:
            def cancel(self) -> None:
                loop.pending.remove(entry)

        return Handle()

    def fire(self) -> float:
        delay, callback = self.pending.pop()
        callback()
        return delay


class Host:
    def __init__(self) -> None:
        self.due = 0
        self.gone = False

    def timer_due(self) -> None:
        self.due += 1


async def rig() -> tuple[Timers, Loop, Local]:
    local = Local()
    timers = Timers(DatabaseClock(0, local), pytest.fail)
    loop: Any = Loop()
    timers._loop = loop
    return timers, loop, local


async def test_one_timer_of_the_loop_serves_all_earliest_first() -> None:
    timers, loop, local = await rig()
    early, late = Host(), Host()
    timers.add(20 * SECOND, late)
    timers.add(10 * SECOND, early)
    assert len(loop.pending) == 1
    local.at += 10 * SECOND
    assert 10 <= loop.fire() < 10.01
    assert (early.due, late.due) == (1, 0)
    local.at += 10 * SECOND
    assert 10 <= loop.fire() < 10.01
    assert (early.due, late.due) == (1, 1)
    assert loop.pending == []


async def test_a_later_timer_does_not_disturb_an_earlier_one() -> None:
    timers, loop, _ = await rig()
    timers.add(10 * SECOND, Host())
    armed = loop.pending[0]
    timers.add(11 * SECOND, Host())
    assert loop.pending == [armed]


async def test_a_look_that_comes_too_early_looks_again() -> None:
    """The database's clock may have been set back meanwhile."""
    timers, loop, local = await rig()
    host = Host()
    timers.add(10 * SECOND, host)
    local.at += 4 * SECOND
    loop.fire()
    assert host.due == 0
    assert 6 <= loop.pending[0][0] < 6.01


async def test_a_timer_years_away_is_looked_at_every_minute() -> None:
    timers, loop, _ = await rig()
    timers.add(10**15, Host())
    assert LONGEST <= loop.pending[0][0] < LONGEST + 0.01


async def test_what_is_overdue_is_due_at_once() -> None:
    timers, loop, local = await rig()
    host = Host()
    local.at += SECOND
    timers.add(1, host)
    assert loop.fire() < 0.01
    assert host.due == 1


async def test_a_timer_that_adds_one_when_it_is_due_is_served() -> None:
    timers, loop, local = await rig()

    class Again(Host):
        def timer_due(self) -> None:
            super().timer_due()
            timers.add(local.at - 5000 + SECOND, self)

    host = Again()
    timers.add(0, host)
    for _ in range(3):
        loop.fire()
        local.at += SECOND
    assert host.due == 3
    assert len(loop.pending) == 1


async def test_stopped_timers_fire_no_more_and_stop_twice() -> None:
    timers, loop, _ = await rig()
    timers.add(1, Host())
    timers.stop()
    timers.stop()
    assert loop.pending == []


async def test_a_cancelled_timer_lets_its_run_go() -> None:
    """However far off it is: memory is bounded by what is open."""
    timers, loop, local = await rig()
    kept = Host()
    timers.add(10**12, kept)
    for _ in range(1000):
        timers.cancel(timers.add(10**12, Host()))
    assert len(timers) < 10
    local.at += 10**12
    loop.fire()
    assert kept.due == 1
