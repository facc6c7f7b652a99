"""Eviction: nothing of a run that was put away runs later, in another run or at the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from durable._replay._loop import DEAD
from durable._replay._teardown import evict
from tests.replay.loop_rig import Rig

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
LOG: list[str] = []
OWN: list[Rig] = []


def ran(where: str) -> None:
    """Note a line of a dying run; it must see its own loop, and a context of its own."""
    right = asyncio.get_running_loop() is OWN[0].loop and VARIABLE.get() == "mine"
    LOG.append(where if right else f"{where} ELSEWHERE")


@pytest.fixture(autouse=True)
def _put_away() -> Iterator[None]:
    LOG.clear()
    OWN.clear()
    yield
    Rig.put_away()


async def awaits_in_finally() -> None:
    try:
        await asyncio.sleep(100)
    finally:
        ran("finally")
        await asyncio.sleep(1)
        ran("never")


async def swallows_exceptions() -> None:
    while True:
        try:
            await asyncio.sleep(100)
        except Exception:
            ran("compensates")


async def swallows_base_exceptions_twice() -> None:
    for _ in range(2):
        try:
            await asyncio.sleep(100)
        except BaseException:
            ran("swallowed")
    await asyncio.sleep(100)


async def token() -> None:
    reset = VARIABLE.set("mine")
    try:
        await asyncio.sleep(100)
    finally:
        VARIABLE.reset(reset)
        ran("reset")


async def task_group() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(awaits_in_finally())


async def gathered() -> None:
    await asyncio.gather(awaits_in_finally(), token(), asyncio.shield(awaits_in_finally()))


async def anyio_group() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(awaits_in_finally)
        with anyio.CancelScope(shield=True):
            await token()


async def locked() -> None:
    lock = asyncio.Lock()

    async def waiter() -> None:
        async with lock:
            ran("got the lock")

    async with lock:
        _ = [asyncio.ensure_future(waiter()) for _ in range(2)]
        await asyncio.sleep(100)


async def generators() -> None:
    async def numbers() -> Any:
        try:
            yield 1
            await asyncio.sleep(100)
        finally:
            ran("generator")

    @contextlib.asynccontextmanager
    async def manager() -> Any:
        try:
            yield
        finally:
            ran("manager")
            await asyncio.sleep(1)

    async with manager():
        async for _ in numbers():
            pass


async def makes_tasks_in_finally() -> None:
    async def late() -> None:
        ran("late")

    try:
        await asyncio.sleep(100)
    finally:
        tasks = [asyncio.ensure_future(late()) for _ in range(2)]
        await asyncio.gather(*tasks)


async def waits_for_nothing() -> None:
    await asyncio.get_running_loop().create_future()


HOSTILE = [
    awaits_in_finally,
    swallows_exceptions,
    swallows_base_exceptions_twice,
    token,
    task_group,
    gathered,
    anyio_group,
    locked,
    generators,
    makes_tasks_in_finally,
    waits_for_nothing,
]


def park(code: Any) -> Rig:
    rig = Rig()
    OWN[:] = [rig]

    async def main() -> None:
        VARIABLE.set("mine")
        await code()

    rig.start(main)
    return rig


@pytest.mark.temporal("workflow/cache_eviction_tear_down", "workflow/eviction_swallow")
@pytest.mark.parametrize("code", HOSTILE)
def test_a_hostile_run_ends_at_once_in_its_own_context_and_never_again(code: Any) -> None:
    rig = park(code)
    assert evict(rig.loop) == 0
    assert evict(rig.loop) == 0
    assert rig.loop.state == DEAD
    at_once = list(LOG)
    assert not [line for line in at_once if "ELSEWHERE" in line or line in ("never", "compensates", "late")]
    assert "got the lock" not in at_once

    async def another() -> None:
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()

    Rig().start(another)
    del rig
    OWN.clear()
    gc.collect()
    assert at_once == LOG


def test_the_host_of_an_evicted_run_hears_nothing() -> None:
    for code in HOSTILE:
        rig = park(code)
        before = list(rig.seen)
        evict(rig.loop)
        gc.collect()
        assert (rig.seen, rig.reports, rig.notes) == (before, [], [])


def test_a_poisoned_run_can_be_evicted_and_a_run_in_its_turn_cannot() -> None:
    rig = park(awaits_in_finally)

    def explode() -> None:
        raise KeyError

    with contextlib.suppress(Exception):
        rig.turn(explode)
    assert evict(rig.loop) == 0
    assert LOG == ["finally"]

    async def suicidal() -> None:
        evict(asyncio.get_running_loop())  # type: ignore[arg-type]  # pyright: ignore

    with pytest.raises(RuntimeError, match="own turn"):
        Rig().start(suicidal).result()


def test_inert_calls_on_a_dead_loop_do_not_raise() -> None:
    rig, calls = Rig(), []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        try:
            await waiting
        finally:
            waiting.cancel()
            calls.append(loop.call_soon(print).cancelled())
            calls.append(loop.call_later(5, print).cancelled())
            calls.append(loop.time())

    rig.start(main)
    evict(rig.loop)
    assert calls == [False, False, 0.0]


@pytest.mark.temporal("workflow/eviction_swallow")
def test_survivors_are_counted_named_and_kept_for_ever_and_an_exit_runs_nothing() -> None:
    script = textwrap.dedent(
        """
        import asyncio, gc, sys
        from tests.replay.loop_rig import Rig
        from durable._replay._teardown import evict

        async def immortal():
            while True:
                try:
                    await asyncio.sleep(100)
                except BaseException:
                    print("swallowed")

        rig = Rig()
        rig.start(immortal)
        print("survivors", evict(rig.loop), "immortal" in rig.notes[0])
        Rig.alive.clear()
        del rig
        gc.collect()
        print("exit")
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["swallowed"] * 20 + ["survivors", "1", "True", "exit"]


def test_a_simple_run_goes_by_reference_count_alone() -> None:
    import weakref

    gc.collect()
    gc.disable()
    try:
        rig = park(waits_for_nothing)
        loop = weakref.ref(rig.loop)
        evict(rig.loop)
        Rig.alive.clear()
        OWN.clear()
        del rig
        assert loop() is None or sys.version_info >= (3, 14)
    finally:
        gc.enable()
