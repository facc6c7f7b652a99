"""A function in a thread is interrupted once, only while it runs, and never behind a shield."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from durable.exceptions import CancelledError
from durable.worker._interrupts import Interrupt

PATIENCE = 60.0


def busy_until(stop: threading.Event) -> str:
    """Run Python until stopped; nothing here waits in C for longer than a moment."""
    while not stop.is_set():
        time.sleep(0.0001)
    return "stopped"


def begun(pool: ThreadPoolExecutor, interrupt: Interrupt, function: Any) -> Future[Any]:
    """Start a call in the pool and return when the function has begun."""
    started = threading.Event()

    def body() -> Any:
        started.set()
        return function()

    future = pool.submit(interrupt.call, body)
    assert started.wait(PATIENCE)
    return future


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as they can, so that a request comes in the middle of anything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_function_is_interrupted_where_it_is(pool: ThreadPoolExecutor) -> None:
    interrupt, never = Interrupt(), threading.Event()
    future = begun(pool, interrupt, lambda: busy_until(never))
    interrupt.request()
    assert isinstance(future.exception(PATIENCE), CancelledError)
    assert pool.submit(lambda: "alive").result(PATIENCE) == "alive"


def test_before_its_first_line(pool: ThreadPoolExecutor) -> None:
    interrupt = Interrupt()
    interrupt.request()
    ran: list[int] = []
    with pytest.raises(CancelledError):
        interrupt.call(lambda: ran.append(1))
    assert ran == []


def test_once_however_often_it_is_asked_for(pool: ThreadPoolExecutor) -> None:
    interrupt, go = Interrupt(), threading.Event()
    seen: list[str] = []

    def function() -> str:
        try:
            busy_until(threading.Event())
        except CancelledError:
            seen.append("interrupted")
        return busy_until(go)

    future = begun(pool, interrupt, function)
    interrupt.request()
    while not seen:
        time.sleep(0.001)
    interrupt.request()
    time.sleep(0.01)
    go.set()
    assert future.result(PATIENCE) == "stopped"
    assert seen == ["interrupted"]


def test_never_after_the_function_has_returned(pool: ThreadPoolExecutor) -> None:
    interrupt = Interrupt()
    assert interrupt.call(lambda: 1) == 1
    interrupt.request()
    for _ in range(1000):
        pass


@pytest.mark.parametrize("ending", ["falls through", "raises", "returns"])
def test_a_shield_holds_it_back_until_its_end(pool: ThreadPoolExecutor, ending: str) -> None:
    interrupt, go = Interrupt(), threading.Event()
    steps: list[str] = []

    def function() -> str:
        with interrupt.shielded():
            with interrupt.shielded():
                busy_until(go)
                steps.append("inner")
            steps.append("outer")
            if ending == "raises":
                raise ValueError("its own")
            if ending == "returns":
                return "its own"
        steps.append("behind")
        return "never"

    future = begun(pool, interrupt, function)
    interrupt.request()
    time.sleep(0.01)
    assert steps == []
    go.set()
    assert isinstance(future.exception(PATIENCE), CancelledError)
    assert steps == ["inner", "outer"]


def test_a_shield_without_a_cancel_does_nothing() -> None:
    interrupt = Interrupt()

    def function() -> int:
        with interrupt.shielded():
            return 3

    assert interrupt.call(function) == 3


class Try:
    """One call of some length, with a shielded block or without, and what its thread does behind it."""

    def __init__(self, rounds: int, shields: bool) -> None:
        self.interrupt = Interrupt()
        self.rounds = rounds
        self.shields = shields
        self.inside: list[str] = []

    def work(self) -> str:
        try:
            found = self.interrupt.call(self.function)
        except CancelledError:
            found = "cancelled"
        self.spin()
        return found

    def function(self) -> str:
        if self.shields:
            with self.interrupt.shielded():
                self.inside.append("in")
                self.spin()
                self.inside.append("out")
        self.spin()
        return "value"

    def spin(self) -> None:
        for _ in range(self.rounds):
            pass


@pytest.mark.parametrize("seed", range(3))
def test_at_any_instant_it_hits_the_function_or_nothing(
    pool: ThreadPoolExecutor, hasty: None, seed: int
) -> None:
    """What runs in the thread behind the call is never hit, whenever the request comes."""
    rng = random.Random(seed)
    found: list[str] = []
    for _ in range(2000):
        one = Try(rng.randrange(60), rng.random() < 0.3)
        future = pool.submit(one.work)
        for _ in range(rng.randrange(200)):
            pass
        one.interrupt.request()
        found.append(future.result(PATIENCE))
        assert one.inside in ([], ["in", "out"]), "a shielded block is whole or was not entered"
    assert set(found) <= {"value", "cancelled"}
    assert "cancelled" in found


def test_the_thread_of_the_pool_is_the_same_afterwards(pool: ThreadPoolExecutor) -> None:
    before = pool.submit(threading.get_ident).result(PATIENCE)
    for _ in range(50):
        interrupt = Interrupt()
        future = begun(pool, interrupt, lambda: busy_until(threading.Event()))
        interrupt.request()
        assert isinstance(future.exception(PATIENCE), CancelledError)
    assert pool.submit(threading.get_ident).result(PATIENCE) == before


TRACED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from durable.exceptions import CancelledError
from durable.worker._interrupts import Interrupt

def call(interrupted):
    interrupt = Interrupt()
    def function():
        if interrupted:
            try:
                interrupt.request()
                while True:
                    pass
            except CancelledError:
                pass
    pool.submit(interrupt.call, function).result()

def traced():
    return None

with ThreadPoolExecutor(1) as pool:
    for interrupted in (False, True):
        call(interrupted)
        sys.settrace(lambda *_: None)
        traced()
        sys.settrace(None)
"""


def test_tracers_go_on_behind_it() -> None:
    """On 3.11 an exception that was taken back, instead of arriving, keeps every traced thread from going on."""
    subprocess.run([sys.executable, "-c", TRACED], check=True, timeout=60)
