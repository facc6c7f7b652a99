"""Timers, conditions, and waiting for several things."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import activity, workflow
from durable._internal.instants import to_datetime
from durable.exceptions import NotInWorkflowError
from tests.workflow.fakes import START, FakeRuntime, Run


@activity.defn(name="waiting.resize")
async def resize(url: str) -> str:
    return url


def test_sleep_is_always_a_timer(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        await workflow.sleep(timedelta(days=30), summary="a month")
        await workflow.sleep(0)
        await workflow.sleep(1.5)

    run(code())
    assert host.timers == [(2_592_000, "a month"), (0, ""), (1.5, "")]


def test_sleep_until(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        await workflow.sleep_until(to_datetime(START) + timedelta(hours=2), summary="noon")
        await workflow.sleep_until(datetime(2001, 1, 1, tzinfo=UTC))
        with pytest.raises(ValueError, match="instant must carry a time zone"):
            await workflow.sleep_until(datetime(2001, 1, 1))  # noqa: DTZ001
        with pytest.raises(TypeError, match="instant must be a datetime, not int: 3"):
            await workflow.sleep_until(3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="duration must be at least zero, not -1"):
            await workflow.sleep(-1)
        with pytest.raises(TypeError, match="summary must be a string, not int: 3"):
            await workflow.sleep(1, summary=3)  # type: ignore[arg-type]

    run(code())
    assert host.timers == [(7200, "noon"), (0, "")]


def test_a_condition_is_waited_for(run: Run, host: FakeRuntime) -> None:
    async def code() -> float:
        seen: list[int] = []
        host.loop.call_later(5, seen.append, 1)
        await workflow.wait_condition(lambda: bool(seen))
        await workflow.wait_condition(lambda: True, timeout=10)
        return host.loop.clock

    assert run(code()) == 5
    assert host.timers == [], "what holds at once needs no timer"


def test_a_condition_times_out(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        with pytest.raises(TimeoutError, match="the condition did not come true within 3600 seconds"):
            await workflow.wait_condition(
                lambda: False, timeout=timedelta(hours=1), timeout_summary="approval"
            )
        with pytest.raises(TimeoutError, match="within 0 seconds"):
            await workflow.wait_condition(lambda: False, timeout=0)

    run(code())
    assert host.timers == [(3600, "approval")], "zero waits for nothing"


def test_a_condition_that_holds_in_time_forgets_its_timer(run: Run, host: FakeRuntime) -> None:
    async def code() -> float:
        seen: list[int] = []
        host.loop.call_later(5, seen.append, 1)
        await workflow.wait_condition(lambda: bool(seen), timeout=60)
        await asyncio.sleep(1)
        return host.loop.clock

    assert run(code()) == 6


def test_a_condition_that_comes_true_with_the_timeout_wins(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        seen: list[int] = []
        task = asyncio.create_task(workflow.wait_condition(lambda: bool(seen), timeout=5))
        await asyncio.sleep(0)
        host.loop.call_later(5, seen.append, 1)
        await task

    run(code())


def test_cancelling_a_wait_cancels_its_parts(run: Run, host: FakeRuntime) -> None:
    async def code() -> float:
        task = asyncio.create_task(workflow.wait_condition(lambda: False, timeout=60))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        return host.loop.clock

    assert run(code()) == 2


def test_a_condition_is_a_plain_function(run: Run) -> None:
    async def check() -> bool:
        return True

    async def code() -> None:
        for wrong in (check, True):
            with pytest.raises(
                TypeError, match="wait_condition takes a plain function, for example `lambda: self"
            ):
                await workflow.wait_condition(wrong)  # type: ignore[arg-type]

    run(code())


# ---- map


def _later(
    host: FakeRuntime, seconds: Callable[[str], float], peak: list[int]
) -> Callable[[str], Awaitable[str]]:
    under_way = 0

    async def work(item: str) -> str:
        nonlocal under_way
        under_way += 1
        peak.append(under_way)
        try:
            await asyncio.sleep(seconds(item))
        finally:
            under_way -= 1
        if item == "bad":
            raise ValueError(item)
        return item.upper()

    return work


def test_map_keeps_the_order_of_the_items(run: Run, host: FakeRuntime) -> None:
    peak: list[int] = []
    work = _later(host, lambda item: {"a": 3, "b": 1, "c": 2}[item], peak)

    async def code() -> list[str]:
        return await workflow.map(work, iter("abc"))

    assert run(code()) == ["A", "B", "C"]
    assert max(peak) == 3


def test_map_runs_so_many_at_a_time(run: Run, host: FakeRuntime) -> None:
    peak: list[int] = []
    work = _later(host, lambda _: 1, peak)

    async def code() -> list[str]:
        return await workflow.map(work, [str(n) for n in range(10)], concurrency=3)

    assert run(code()) == [str(n) for n in range(10)]
    assert (max(peak), host.loop.clock) == (3, 4)


def test_map_of_activities_needs_no_tasks(run: Run, host: FakeRuntime) -> None:
    async def code() -> list[str]:
        return await workflow.map(resize, ["a", "b"], concurrency=1)

    assert run(code()) == ["done", "done"]
    assert host.called == ["waiting.resize('a')", "waiting.resize('b')"]
    assert run(_empty()) == []


async def _empty() -> list[str]:
    nothing: list[str] = []
    return await workflow.map(resize, nothing)


def test_the_first_failure_of_map_cancels_the_others(run: Run, host: FakeRuntime) -> None:
    peak: list[int] = []
    work = _later(host, lambda item: 1 if item == "bad" else 60, peak)

    async def code() -> None:
        with pytest.raises(ValueError, match="bad"):
            await workflow.map(work, ["a", "bad", "b", "c"], concurrency=3)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(code())
    assert host.loop.clock == 1
    assert len(peak) == 3, "what had not begun never does"


def test_map_can_return_failures(run: Run, host: FakeRuntime) -> None:
    work = _later(host, lambda _: 1, [])

    async def code() -> list[Any]:
        return await workflow.map(work, ["a", "bad"], return_exceptions=True)

    first, second = run(code())
    assert first == "A"
    assert repr(second) == "ValueError('bad')"


def test_cancelling_map_cancels_what_is_under_way_and_waits_for_it(run: Run, host: FakeRuntime) -> None:
    ended: list[str] = []

    async def work(item: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(5)
            ended.append(item)

    async def code() -> None:
        task = asyncio.create_task(workflow.map(work, ["a", "b"]))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(code())
    assert (ended, host.loop.clock) == (["a", "b"], 6)


@pytest.mark.parametrize(
    ("items", "options", "error", "text"),
    [
        (
            {"a", "b"},
            {},
            TypeError,
            "workflow.map takes its items in their order, and a set has another one in every",
        ),
        (["a"], {"concurrency": 0}, ValueError, "concurrency must be at least 1, not 0"),
        (["a"], {"concurrency": True}, TypeError, "concurrency must be a whole number, not bool: True"),
        (["a"], {"concurrency": 1.5}, TypeError, "concurrency must be a whole number, not float: 1.5"),
    ],
)
def test_map_refuses(
    run: Run, items: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    async def code() -> None:
        await workflow.map(resize, items, **options)

    with pytest.raises(error) as caught:
        run(code())
    assert text in str(caught.value)


# ---- wait and as_completed


def test_wait_returns_lists_in_the_order_given(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        slow, fast = (
            asyncio.create_task(asyncio.sleep(9, "slow")),
            asyncio.create_task(asyncio.sleep(1, "fast")),
        )
        done, pending = await workflow.wait([slow, fast], return_when="FIRST_COMPLETED")
        assert (done, pending) == ([fast], [slow])
        done, pending = await workflow.wait([slow, fast], timeout=timedelta(seconds=1))
        assert (done, pending) == ([fast], [slow])
        done, pending = await workflow.wait([slow, fast])
        assert (done, pending) == ([slow, fast], [])
        done, _ = await workflow.wait([resize("a"), resize("a")])
        assert [future.result() for future in done] == ["done", "done"]

    run(code())


def test_as_completed_gives_results_as_they_come(run: Run, host: FakeRuntime) -> None:
    async def code() -> list[str]:
        parts = [asyncio.sleep(seconds, f"{seconds}") for seconds in (3, 1, 2)]
        return [await result for result in workflow.as_completed(parts)]

    assert run(code()) == ["1", "2", "3"]


def test_as_completed_times_out(run: Run, host: FakeRuntime) -> None:
    async def code() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(seconds, f"{seconds}")) for seconds in (1, 30)]
        first, second = workflow.as_completed(tasks, timeout=5)
        got = [await first]
        with pytest.raises(TimeoutError, match="not everything was done within 5 seconds"):
            await second
        assert host.loop.clock == 5
        await tasks[1]
        return got

    assert run(code()) == ["1"]


async def test_elsewhere_there_is_no_waiting() -> None:
    for waiting in (workflow.sleep(1), workflow.wait_condition(lambda: True), workflow.map(resize, ["a"])):
        with pytest.raises(NotInWorkflowError, match="belongs into workflow code"):
            await waiting
    with pytest.raises(NotInWorkflowError, match=r"workflow.as_completed\(\) belongs"):
        workflow.as_completed([])
