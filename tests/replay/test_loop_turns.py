"""Turns: when they end, what they keep out, and what poisons them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from durable._replay import _turns
from durable._replay._loop import IN_TURN, PARKED, POISONED
from durable._replay._turns import SpinError, TurnPoisoned, Turns
from tests.replay.loop_rig import Rig


@pytest.fixture(autouse=True)
def _put_away() -> Iterator[None]:
    yield
    Rig.put_away()


class Passes(Rig):
    """A run with one operation, whose passes are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.operation: Any = None

    def op(self, *, stubborn: bool = False) -> Any:
        self.pending = 1
        self.operation = self.loop.operation(1, (lambda: True) if stubborn else None)
        return self.operation

    def passes_of(self, apply: Callable[[], Any]) -> tuple[int, int]:
        """Passes of one turn, and callbacks it leaves for the next."""
        left: list[int] = []
        passes = _turns._passes

        def spy(*args: Any) -> int:
            left.append(passes(*args))
            return left[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_turns, "_passes", spy)
            self.turn(apply)
        kept = len(self.loop.kept or ())
        # Counted down by each pass that left something; one that drains the queue ends the turn uncounted.
        return (_turns.TURN_PASSES - left[-1] if left else 0) + (not kept), kept


async def shielded_cleanup(rig: Passes) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        with anyio.CancelScope(shield=True):
            await rig.op()


async def await_in_finally(rig: Passes) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        await rig.op()


async def asyncio_shield(rig: Passes) -> None:
    await asyncio.shield(rig.op())


async def waits_through(rig: Passes) -> None:
    await rig.op(stubborn=True)


async def group_child_awaits(rig: Passes) -> None:
    async def child() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.shield(rig.op())

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(1000)


async def condition_lock_held(rig: Passes) -> None:
    condition = asyncio.Condition()

    async def holder() -> None:
        async with condition:
            await rig.op()

    async with condition:
        rig.holder = asyncio.create_task(holder())  # type: ignore[attr-defined]  # pyright: ignore
        await condition.wait()


async def swallower(rig: Passes) -> None:
    operation = rig.op()
    while not operation.done():
        try:
            await asyncio.shield(operation)
        except asyncio.CancelledError:
            continue


async def swallower_with_timeouts(rig: Passes) -> None:
    operation = rig.op()
    while not operation.done():
        try:
            async with asyncio.timeout(60):
                await asyncio.shield(operation)
        except (asyncio.CancelledError, TimeoutError):
            continue


async def gather_of_swallowers(rig: Passes) -> None:
    await asyncio.gather(swallower(rig))


@pytest.mark.parametrize(
    ("code", "passes", "kept"),
    [
        (shielded_cleanup, 1, 0),
        (await_in_finally, 2, 0),
        (asyncio_shield, 1, 0),
        (waits_through, 2, 1),
        (group_child_awaits, 102, 2),
        (condition_lock_held, 100, 2),
        (swallower, 100, 3),
        (swallower_with_timeouts, 101, 3),
        (gather_of_swallowers, 100, 3),
    ],
)
def test_level_cancellation_ends_every_turn_after_as_many_passes_as_ever(
    code: Any, passes: int, kept: int
) -> None:
    rig = Passes()
    scopes: list[anyio.CancelScope] = []

    async def main() -> str:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await code(rig)
        return "out"

    task = rig.start(main)

    def cancel() -> None:
        # The scope is cancelled by workflow code; here the host does it in the run's name.
        scopes[0].cancel()
        rig.loop.progress += 1

    counted = rig.passes_of(cancel)
    assert counted == (passes, kept)
    again = rig.passes_of(lambda: None)
    assert again[1] == kept

    def complete() -> None:
        rig.loop.progress += 1
        if rig.operation is not None and not rig.operation.done():
            rig.operation.set_result("late")

    rig.turn(complete)
    assert task.done()
    # gather() raises a CancelledError of its own making, which anyio's scope does not take for its own.
    assert task.cancelled() if code is gather_of_swallowers else task.result() == "out"
    assert not rig.loop.kept
    assert not rig.reports


def test_a_run_that_ignores_cancels_and_waits_for_nothing_is_a_spin() -> None:
    rig = Rig()

    async def main() -> None:
        nothing = asyncio.get_running_loop().create_future()
        with anyio.CancelScope() as scope:
            scope.cancel()
            while True:
                try:
                    await asyncio.shield(nothing)  # THE LINE
                except asyncio.CancelledError:
                    continue

    with pytest.raises(SpinError, match=r"swallows CancelledError.*test_loop_turns\.py:\d+"):
        rig.start(main)
    assert rig.loop.state == POISONED


def test_polling_without_progress_is_a_spin_that_names_the_line() -> None:
    async def main() -> None:
        while True:  # the mistake
            await asyncio.sleep(0)

    rig = Rig()
    with pytest.raises(SpinError, match=r"100,000 passes.*test_loop_turns\.py:\d+"):
        rig.start(main)


def test_tasks_made_for_ever_are_a_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "TURN_PASSES", 1000)

    async def main() -> None:
        while True:
            await asyncio.gather(asyncio.sleep(0))

    rig = Rig()
    with pytest.raises(SpinError, match="coming to rest"):
        rig.start(main)


def test_conditions_are_evaluated_when_all_is_quiet_and_wake_in_order() -> None:
    rig, log = Rig(), []
    state = {"n": 0}

    async def waiter(i: int) -> None:
        await rig.wait_condition(lambda: state["n"] >= i)
        state["n"] += 1
        log.append(i)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for i in (3, 1, 2, 0):
                group.create_task(waiter(i))

    task = rig.start(main)
    assert task.done()
    assert log == [0, 1, 2, 3]


# ---- what is kept out


def test_nothing_of_the_outer_program_is_seen_and_everything_is_put_back() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("outer", default="clean")
    rig = Rig()
    seen: list[Any] = []

    async def child() -> None:
        seen.append(variable.get())

    async def main() -> None:
        seen.append(variable.get())
        variable.set("run")
        await asyncio.create_task(child())
        seen.append(asyncio.get_running_loop() is rig.loop)
        seen.append(asyncio.current_task() is not None and gc.isenabled())
        await asyncio.sleep(1)

    async def outer() -> None:
        variable.set("leak")
        loop, task, hooks = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()

        def apply() -> None:
            seen.append(variable.get())
            rig.loop.create_task(main())

        rig.turn(apply)  # inside an outer task
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        assert sys.get_asyncgen_hooks() == hooks
        assert gc.isenabled()
        done = loop.create_future()

        def callback() -> None:  # and from an outer callback
            rig.fire_next()
            done.set_result(None)

        loop.call_soon(callback)
        await done

    asyncio.run(outer())
    assert seen == ["clean", "clean", "run", True, False]
    assert rig.loop.newest is None or rig.loop.newest.done()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_turn_cannot_run_inside_a_turn() -> None:
    rig = Rig()

    async def main() -> None:
        Rig().turn()

    task = rig.start(main)
    with pytest.raises(RuntimeError, match="inside another run's turn"):
        task.result()


def test_scheduling_outside_a_turn_is_refused() -> None:
    rig = Rig()
    with pytest.raises(RuntimeError, match="outside a turn"):
        rig.loop.call_soon(print)
    with Turns() as turns:
        numbers = rig.loop.numbers
        assert turns.read(rig.loop, lambda: asyncio.get_running_loop().time()) == 0

        def query() -> None:
            asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(print)

        with pytest.raises(RuntimeError, match="outside a turn"):
            turns.read(rig.loop, query)
        assert rig.loop.numbers == numbers


def test_what_escapes_a_callback_poisons_the_run() -> None:
    for bad in (KeyError("x"), SystemExit(3), asyncio.CancelledError()):
        rig = Rig()

        def explode(bad: BaseException = bad) -> None:
            raise bad

        with pytest.raises(TurnPoisoned) as caught:
            rig.turn(lambda explode=explode, rig=rig: rig.loop.call_soon(explode))
        assert caught.value.cause is bad
        assert rig.loop.state == POISONED
        with pytest.raises(RuntimeError, match="no more turns"):
            rig.turn()


def test_system_exit_in_a_task_poisons_and_an_interrupt_in_mid_turn_comes_through() -> None:
    async def leaves() -> None:
        sys.exit(1)

    async def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)

    rig = Rig()
    with pytest.raises(TurnPoisoned) as caught:
        rig.start(leaves)
    assert isinstance(caught.value.cause, SystemExit)
    rig = Rig()
    with pytest.raises(KeyboardInterrupt):
        rig.start(interrupted)
    assert rig.loop.state == POISONED
    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_foreign_finalizer_does_not_run_in_a_turn() -> None:
    intruders: list[str] = []

    class Foreign:
        def __del__(self) -> None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return
            intruders.append("ran in a turn")

    async def main() -> None:
        for _ in range(2000):  # enough for a collection, were it on
            _ = [[] for _ in range(5)]

    for _ in range(20):
        cycle: list[Any] = [Foreign()]
        cycle.append(cycle)
        del cycle
        Rig().start(main)
    gc.collect()
    assert intruders == []


def test_dropped_async_generators_close_in_their_own_turn_or_never() -> None:
    log: list[str] = []

    async def numbers() -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            log.append(f"closed in {asyncio.get_running_loop() is rig.loop}")

    async def main() -> None:
        async for _ in numbers():
            break
        await asyncio.sleep(1)

    async def cyclic() -> None:
        generator = numbers()
        await anext(generator)
        cycle: list[Any] = [generator]
        cycle.append(cycle)

    rig = Rig()
    rig.start(main)
    assert log == ["closed in True"]
    rig.fire_next()
    rig.start(cyclic)
    gc.collect()
    assert log == ["closed in True"]
    assert any("test_loop_turns.py" in note for note in rig.notes)


def test_a_lock_of_the_module_refuses_the_second_run_that_waits() -> None:
    lock = asyncio.Lock()

    async def main() -> None:
        async with lock:
            await asyncio.sleep(1)

    async def two() -> None:
        await asyncio.gather(main(), main())

    first, second = Rig(), Rig()
    first.start(two)
    task = second.start(main)
    with pytest.raises(RuntimeError, match="different event loop"):
        task.result()
    assert first.loop.state == PARKED != IN_TURN
