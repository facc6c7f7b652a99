"""The lease: kept, missed, won back, and lost for good; by a thread that must not die unseen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from durable.exceptions import StoreUnavailableError
from durable.worker import _lease
from durable.worker._lease import LeaseKeeper

DURATION = 30_000
"""Microseconds: a renewal every 10 ms of the wall; what counts as time is the test's own clock."""


class Clock:
    """`boottime`, of the test's own."""

    def __init__(self) -> None:
        self.at = 1_000_000

    def __call__(self) -> int:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_lease, "boottime", made)
    return made


class Lease:
    """A lease in the database that answers as it is told."""

    def __init__(self, answer: Callable[[int], Any]) -> None:
        self.answer = answer
        self.asked = 0
        self.closed = 0

    async def renew(self) -> bool:
        self.asked += 1
        answer = self.answer(self.asked)
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer)

    async def aclose(self) -> None:
        self.closed += 1


class Rig:
    def __init__(
        self, clock: Clock, answer: Callable[[int], Any], *, alive: Callable[[], bool] = lambda: True
    ) -> None:
        self.lease = Lease(answer)
        self.changes = 0
        self.changed = threading.Event()
        self.keeper = LeaseKeeper(self.lease, DURATION, alive=alive, on_change=self.on_change, since=clock.at)

    def on_change(self) -> None:
        self.changes += 1
        self.changed.set()

    async def until(self, what: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not what():
            assert time.monotonic() < end, f"asked {self.lease.asked}, changes {self.changes}"
            await asyncio.sleep(0.001)


async def test_it_is_held_from_the_start_for_its_duration_and_no_longer(clock: Clock) -> None:
    rig = Rig(clock, lambda n: True)
    assert rig.keeper.held
    clock.at += DURATION - 1
    assert rig.keeper.held
    clock.at += 1
    assert not rig.keeper.held
    assert not rig.keeper.ended


async def test_each_renewal_counts_from_before_it_was_sent(clock: Clock) -> None:
    def answer(n: int) -> bool:
        clock.at += 10_000 if n == 1 else 0  # the answer takes its time
        return True

    rig = Rig(clock, answer)
    begin = clock.at
    clock.at += 5_000
    rig.keeper.start()
    await rig.until(lambda: rig.lease.asked >= 2)
    assert rig.keeper._deadline <= begin + 15_000 + DURATION
    await rig.keeper.stop()
    assert (rig.changes, rig.lease.closed) == (0, 1)


async def test_it_is_missed_and_won_back_and_that_is_told(clock: Clock) -> None:
    away = StoreUnavailableError("away")
    back = threading.Event()
    rig = Rig(clock, lambda n: True if back.is_set() else away)
    rig.keeper.start()
    clock.at += DURATION
    await rig.until(lambda: rig.lease.asked >= 2)
    assert not rig.keeper.held
    assert not rig.keeper.ended
    assert rig.changes == 0
    back.set()
    await rig.until(rig.changed.is_set)
    assert rig.keeper.held
    await rig.keeper.stop()


async def test_it_is_told_as_well_when_the_answer_came_behind_the_deadline(clock: Clock) -> None:
    """Sent in time and answered too late: in between, whoever asked was told that it is not held."""

    def answer(n: int) -> bool:
        if n == 1:
            clock.at += DURATION
            clock.at -= 1
        return True

    rig = Rig(clock, answer)
    clock.at += 2_000
    rig.keeper.start()
    await rig.until(rig.changed.is_set)
    assert rig.keeper.held
    await rig.keeper.stop()


async def test_lost_for_good_is_told_and_final(clock: Clock) -> None:
    rig = Rig(clock, lambda n: False)
    rig.keeper.start()
    await rig.until(rig.changed.is_set)
    assert rig.keeper.ended
    assert not rig.keeper.held
    await rig.until(lambda: rig.lease.closed)
    assert rig.lease.asked == 1
    await rig.keeper.stop()


async def test_it_is_not_renewed_while_the_loop_stands_still(clock: Clock) -> None:
    looks = 0

    def alive() -> bool:
        nonlocal looks
        looks += 1
        return False

    rig = Rig(clock, lambda n: True, alive=alive)
    rig.keeper.start()
    await rig.until(lambda: looks >= 3)
    assert rig.lease.asked == 0
    await rig.keeper.stop()


async def test_an_error_nobody_thought_of_is_tried_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(clock, lambda n: RuntimeError("a defect") if n < 3 else True)
    rig.keeper.start()
    await rig.until(lambda: rig.lease.asked >= 4)
    assert rig.keeper.held
    assert "a defect" in caplog.text
    await rig.keeper.stop()


async def test_a_thread_that_dies_ends_the_incarnation(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def alive() -> bool:
        raise SystemError("nobody catches this")

    rig = Rig(clock, lambda n: True, alive=alive)
    rig.keeper.start()
    await rig.until(rig.changed.is_set)
    assert rig.keeper.ended
    await rig.until(lambda: rig.lease.closed)
    await rig.keeper.stop()


async def test_it_stops_and_stops_twice(clock: Clock) -> None:
    rig = Rig(clock, lambda n: True)
    rig.keeper.start()
    await rig.keeper.stop()
    await rig.keeper.stop()
    assert not rig.keeper._thread.is_alive()
    assert rig.lease.closed == 1
    assert rig.changes == 0
    assert not rig.keeper.ended


async def test_given_up_is_not_held(clock: Clock) -> None:
    rig = Rig(clock, lambda n: True)
    rig.keeper.end()
    assert not rig.keeper.held
    assert rig.keeper.ended
