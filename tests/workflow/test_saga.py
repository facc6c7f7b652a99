"""Sagas: what was done is undone, in reverse, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest

from durable import activity, workflow
from durable.exceptions import CancelledError, NondeterminismError, NotInWorkflowError
from tests.workflow.fakes import FakeRuntime, Run


@activity.defn(name="saga.book")
async def book(what: str) -> str:
    return what


@activity.defn(name="saga.undo")
async def undo(what: str) -> None: ...


def test_without_a_failure_nothing_is_undone_and_nobody_warns(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        async with workflow.saga() as saga:
            saga.compensate(undo, await book("a"))
            saga.compensate(undo("b"))
            saga.compensate(_undo_by_hand([]))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(code())
        gc.collect()
    assert host.called == ["saga.book('a')"]


async def _undo_by_hand(log: list[str], what: str = "hand") -> None:
    log.append(what)


def test_a_failure_undoes_in_reverse_and_is_raised_again(run: Run, host: FakeRuntime) -> None:
    log: list[str] = []
    host.answers["saga.undo"] = lambda what: log.append(what)

    async def code() -> None:
        async with workflow.saga() as saga:
            saga.compensate(undo, "a")
            saga.compensate(_undo_by_hand, log, what="by hand")
            saga.compensate(_undo_by_hand(log, "coroutine"))
            saga.compensate(undo("d"))
            raise ValueError("hotel full")

    with pytest.raises(ValueError, match="hotel full"):
        run(code())
    assert log == ["d", "coroutine", "by hand", "a"]


def test_a_cancel_undoes_and_no_further_cancel_interrupts_it(run: Run, host: FakeRuntime) -> None:
    log: list[str] = []

    async def slowly(what: str) -> None:
        await asyncio.sleep(10)
        log.append(what)

    async def book_trip() -> None:
        async with workflow.saga() as saga:
            saga.compensate(slowly, "a")
            saga.compensate(slowly, "b")
            await asyncio.sleep(1000)

    async def code() -> None:
        task = asyncio.create_task(book_trip())
        for _ in range(4):
            await asyncio.sleep(1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(code())
    assert (log, host.loop.clock) == (["b", "a"], 21)


def test_a_cancel_during_the_undoing_of_a_failure_is_not_lost(run: Run, host: FakeRuntime) -> None:
    log: list[str] = []

    async def slowly(what: str) -> None:
        await asyncio.sleep(10)
        log.append(what)

    async def book_trip() -> None:
        async with asyncio.timeout(5), workflow.saga() as saga:
            saga.compensate(slowly, "a")
            raise ValueError("first")

    async def code() -> BaseException | None:
        with pytest.raises(TimeoutError) as caught:
            await book_trip()
        cancelled = caught.value.__cause__
        assert isinstance(cancelled, asyncio.CancelledError)
        return cancelled.__cause__

    assert repr(run(code())) == "ValueError('first')"
    assert (log, host.loop.clock) == (["a"], 10)


def test_a_failing_undo_keeps_no_other_from_running(run: Run, host: FakeRuntime) -> None:
    undone: list[str] = []

    def answer(what: str) -> Any:
        undone.append(what)
        return {"b": ValueError("no b"), "c": None}.get(what)

    host.answers["saga.undo"] = answer

    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def code() -> None:
        async with workflow.saga() as saga:
            for what in "abc":
                saga.compensate(undo, what)
            saga.compensate(cancelled)
            raise KeyError("first")

    with pytest.raises(ExceptionGroup, match="2 of 4 undo steps of a saga failed") as caught:
        run(code())
    assert undone == ["c", "b", "a"]
    first, second = caught.value.exceptions
    assert isinstance(first, CancelledError)
    assert str(first) == "undo step 'cancelled' was cancelled"
    assert str(second) == "no b"
    assert repr(caught.value.__cause__) == "KeyError('first')"


def test_what_is_no_failure_of_the_world_undoes_nothing(run: Run, host: FakeRuntime) -> None:
    class Leaving(BaseException): ...

    async def code(error: BaseException) -> None:
        async with workflow.saga() as saga:
            saga.compensate(undo, "a")
            raise error

    for error in (NondeterminismError("fix me"), Leaving()):
        with pytest.raises(type(error)):
            run(code(error))
    assert host.called == []


def test_arguments_are_checked_when_the_compensation_is_written(run: Run) -> None:
    async def code() -> None:
        async with workflow.saga() as saga:
            with pytest.raises(TypeError, match=r"activity 'saga.undo': missing a required argument: 'what'"):
                saga.compensate(undo)  # type: ignore[call-overload]
            with pytest.raises(
                TypeError, match=r"compensate\(_undo_by_hand, ...\): got an unexpected keyword"
            ):
                saga.compensate(_undo_by_hand, [], wat=1)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="what was started runs already"):
                saga.compensate(undo.start("a"))
            with pytest.raises(TypeError, match=r"compensate\(\) takes a call or a function, not int: 3"):
                saga.compensate(3)  # type: ignore[call-overload]
            call = undo("x")
            with pytest.raises(TypeError, match="takes no further arguments with a call"):
                saga.compensate(call, 1)  # type: ignore[call-overload]
            call.close()

    run(code())


def test_a_saga_is_open_inside_its_block_and_once(run: Run) -> None:
    async def code() -> None:
        saga = workflow.saga()
        with pytest.raises(RuntimeError, match="belongs inside of `async with"):
            saga.compensate(undo, "a")
        async with saga:
            pass
        with pytest.raises(RuntimeError, match="belongs inside"):
            saga.compensate(undo, "a")
        with pytest.raises(RuntimeError, match="a saga can be entered once"):
            async with saga:
                pass

    run(code())
    with pytest.raises(NotInWorkflowError):
        workflow.saga()
