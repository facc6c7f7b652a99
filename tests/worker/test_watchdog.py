"""The watchdog, with a thread that really is blocked, on a clock that stands still unless the test holds the thread."""

from __future__ import annotations

import asyncio
import contextlib
import io
import pdb
import sys
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from durable._internal import machine
from durable.worker import _watchdog
from durable.worker._watchdog import EXIT_CODE, Watchdog

REAL_DEBUGGED = _watchdog._debugged

RUN = SimpleNamespace(workflow_id="order-42")


class Watched(Watchdog):
    """One whose looks are counted."""

    looks = 0

    def _look(self) -> float | None:
        try:
            return super()._look()
        finally:
            self.looks += 1


class Clock:
    """The watchdog's time: only who holds the thread lets it pass, so that no turn takes longer than the test says."""

    STEP = 0.02

    def __init__(self) -> None:
        self.at = 1000.0
        self.dog: Watched | None = None

    def __call__(self) -> float:
        return self.at

    def hold(self, seconds: float) -> None:
        """Hold the thread with Python code, which an exception can end; the watchdog looks at every moment of it."""
        assert self.dog is not None
        for _ in range(round(seconds / self.STEP)):
            self.at += self.STEP
            seen, end = self.dog.looks, time.monotonic() + 60
            while self.dog.looks < seen + 2:  # one may have begun before
                assert time.monotonic() < end, "the watchdog does not look"


clock = Clock()
hold = clock.hold


@pytest.fixture
async def dog(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watchdog]:
    monkeypatch.setattr(machine, "monotonic", clock)
    monkeypatch.setattr(_watchdog, "INTERVAL", 0.005)
    monkeypatch.setattr(_watchdog, "EXIT_AFTER", 0.05)
    monkeypatch.setattr(_watchdog, "_debugged", lambda thread_id: False)  # coverage and debuggers trace
    monkeypatch.setattr(_watchdog.logging, "shutdown", lambda: None)
    clock.dog = made = Watched(warn_after=0.04, break_after=0.25)
    made.exits = []  # type: ignore[attr-defined]
    made.exit = made.exits.append  # type: ignore[attr-defined]
    made.start()
    await asyncio.sleep(0)
    yield made
    await made.stop()
    await made.stop()


async def told(caplog: pytest.LogCaptureFixture) -> None:
    """Wait for the watchdog's thread, which may still be reading source files for its stack."""
    async with asyncio.timeout(60):
        while "stood still" not in caplog.text:
            await asyncio.sleep(0.001)


async def test_a_blocked_loop_is_named_with_its_stack(
    dog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    hold(0.2)
    await told(caplog)
    assert caplog.text.count("the event loop has stood still") == 1
    assert "outside of workflow code" in caplog.text
    assert "in hold" in caplog.text


@pytest.mark.temporal("workflow/deadlock")
async def test_a_blocking_turn_is_named_by_its_workflow(
    dog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    assert dog.during(RUN, hold, 0.2) is False
    await told(caplog)
    assert "the code of workflow 'order-42' holds it" in caplog.text
    assert "in hold" in caplog.text


@pytest.mark.temporal("workflow/deadlock_interruptible")
async def test_a_turn_that_never_ends_is_broken(dog: Watchdog) -> None:
    def spin(_: None) -> None:
        while True:
            clock.at += 0.000001

    assert dog.during(RUN, spin, None) is True
    assert "in spin" in dog.broken_stack
    assert dog.exits == []  # type: ignore[attr-defined]
    # The next turn is nobody's business.
    assert dog.during(RUN, hold, 0.0) is False
    assert dog.current is None


async def test_a_turn_has_no_longer_than_its_workflow_says(dog: Watchdog) -> None:
    hurried = SimpleNamespace(workflow_id="order-43", turn_limit=0.1)
    assert dog.during(hurried, hold, 0.2) is True
    assert dog.broken_after == 0.1
    # A longer one does not lift the worker's own limit.
    patient = SimpleNamespace(workflow_id="order-44", turn_limit=60)
    assert dog.during(patient, hold, 1) is True
    assert dog.broken_after == 0.25
    assert dog.during(RUN, hold, 0.15) is False


async def test_a_turn_that_swallows_the_exception_once_counts_as_broken(dog: Watchdog) -> None:
    def swallow(_: None) -> None:
        with contextlib.suppress(BaseException):
            hold(5)

    assert dog.during(RUN, swallow, None) is True


@pytest.mark.temporal("workflow/deadlock_uninterruptible")
async def test_a_turn_that_resists_costs_the_process(dog: Watchdog) -> None:
    exits: list[int] = dog.exits  # type: ignore[attr-defined]

    def resist(_: None) -> None:
        end = time.monotonic() + 60
        while not exits and time.monotonic() < end:
            try:
                hold(0.1)
            except BaseException:
                continue

    assert dog.during(RUN, resist, None) is True
    assert exits
    assert exits[0] == EXIT_CODE


async def test_silence_from_before_a_turn_is_not_the_turns(dog: Watchdog) -> None:
    hold(0.3)
    assert dog.during(RUN, hold, 0.05) is False


async def test_blocking_outside_of_a_turn_breaks_nothing(dog: Watchdog) -> None:
    hold(0.4)
    assert dog.broken_stack == ""
    assert dog.exits == []  # type: ignore[attr-defined]


async def test_a_loop_that_stands_still_is_not_alive(dog: Watchdog) -> None:
    assert dog.alive
    hold(0.3)
    assert not dog.alive
    async with asyncio.timeout(60):
        while not dog.alive:  # nobody tells; whoever asks is told
            await asyncio.sleep(0.001)


async def test_an_error_of_the_turn_goes_on_its_way(dog: Watchdog) -> None:
    def fail(_: None) -> Any:
        raise KeyError("x")

    with pytest.raises(KeyError):
        dog.during(RUN, fail, None)
    assert dog.current is None


async def test_a_turn_that_somebody_steps_through_takes_as_long_as_it_takes(
    dog: Watchdog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watchdog, "_debugged", REAL_DEBUGGED)
    said: list[str] = []

    class Slow(io.StringIO):
        """Somebody who thinks for longer than a turn may take, and then has the program go on."""

        def readline(self, size: int | None = -1, /) -> str:
            hold(0.4)
            said.append("c")
            return "c\n"

    def turn(given: object) -> None:
        debugger = pdb.Pdb(stdin=Slow(), stdout=io.StringIO(), nosigint=True)
        debugger.set_trace()
        hold(0.1)  # and the time before does not count behind the prompt

    outer = sys.gettrace()
    try:
        assert not dog.during(RUN, turn, None)
    finally:
        sys.settrace(outer)
    assert said
    assert dog.alive
    assert all("0.4" not in one.message for one in caplog.records)
    # Nobody looks any more.
    assert dog.during(RUN, lambda given: hold(5), None)


async def test_without_a_debugger_the_same_turn_is_broken(dog: Watchdog) -> None:
    assert dog.during(RUN, lambda given: hold(5), None)
