"""Tasks that take their first step where they are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from durable._internal.eager import begin


async def outside_tasks(function: Callable[[asyncio.AbstractEventLoop], Any]) -> Any:
    """Call a function as a callback of the loop, and return what it returned."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def call() -> None:
        try:
            future.set_result(function(loop))
        except BaseException as error:
            future.set_exception(error)

    loop.call_soon(call)
    return await future


async def test_what_waits_for_nothing_has_ended_when_begin_returns() -> None:
    async def work() -> str:
        task = asyncio.current_task()
        assert task is not None
        assert task in asyncio.all_tasks() or task.done()
        return task.get_name()

    def look(loop: asyncio.AbstractEventLoop) -> str:
        task = begin(loop, work(), "at once", copy_context())
        assert task.done()
        assert asyncio.current_task(loop) is None
        return task.result()

    assert await outside_tasks(look) == "at once"


async def test_what_waits_goes_on_by_the_loop_and_can_be_cancelled() -> None:
    steps: list[str] = []
    gate = asyncio.Event()

    async def work() -> None:
        steps.append("first")
        async with asyncio.timeout(60):  # which asks for the current task
            await gate.wait()
        steps.append("second")
        await asyncio.sleep(60)

    def look(loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        task = begin(loop, work(), "waits", copy_context())
        assert steps == ["first"]
        loop.call_soon(gate.set)  # the loop calls as ever
        return task

    task = await outside_tasks(look)
    while len(steps) < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_stays_in_the_task() -> None:
    async def work() -> None:
        raise ValueError("mine")

    task = await outside_tasks(lambda loop: begin(loop, work(), "fails", copy_context()))
    assert str(task.exception()) == "mine"


async def test_it_does_not_hold_up_the_task_that_makes_it() -> None:
    loop = asyncio.get_running_loop()
    began: list[bool] = []

    async def work() -> None:
        began.append(True)

    task = begin(loop, work(), "soon", copy_context())
    assert not began
    await task
    assert began


async def test_a_loop_that_makes_tasks_in_its_own_way_makes_these_too() -> None:
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=loop, **more)
        made.append("one")
        return task

    async def work() -> int:
        return 1

    def look(loop: asyncio.AbstractEventLoop) -> asyncio.Task[int]:
        task = begin(loop, work(), "theirs", copy_context())
        assert not task.done()
        return task

    loop.set_task_factory(factory)
    try:
        assert await (await outside_tasks(look)) == 1
    finally:
        loop.set_task_factory(None)
    assert made == ["one"]


async def test_what_it_begins_may_begin_others() -> None:
    order: list[str] = []

    async def inner() -> None:
        order.append("inner")

    async def outer(loop: asyncio.AbstractEventLoop) -> None:
        order.append("outer")
        inside = begin(loop, inner(), "inner", copy_context())
        assert not inside.done()
        await inside
        order.append("outer again")

    task = await outside_tasks(lambda loop: begin(loop, outer(loop), "outer", copy_context()))
    await task
    assert order == ["outer", "inner", "outer again"]
