"""Timers: equal instants, very short and very long ones, and what fires beside what is cancelled."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import Signal, workflow
from tests.scenarios.rig import PATIENCE, Env, event, events, reached, until

go: Signal[float] = Signal("scn.t.go", float)


async def test_timers_of_one_instant_fire_in_one_task_in_their_order(env: Env) -> None:
    @workflow.defn(name="scn.t.equal")
    async def equal() -> list[int]:
        order: list[int] = []

        async def one(number: int) -> None:
            await workflow.sleep(0.05)
            order.append(number)

        await asyncio.gather(*[one(number) for number in range(5)])
        return order

    async with env.worker(equal):
        handle = await env.start(equal())
        assert await handle.result(timeout=PATIENCE) == [0, 1, 2, 3, 4]
    history = (await handle.fetch_history()).events
    fired = [one for one in history if type(one.data).__name__ == "TimerFired"]
    assert len(fired) == 5
    assert len({one.task for one in fired}) == 1
    assert await events(handle) == ["Started", *["TimerStarted"] * 5, *["TimerFired"] * 5, "Completed"]


async def test_one_that_fires_cancels_the_others_of_its_instant(env: Env) -> None:
    """All of one instant have fired; what the first one's code no longer wants is not cancelled any more."""

    @workflow.defn(name="scn.t.cancels_its_like")
    async def cancels_its_like() -> list[str]:
        said: list[str] = []
        tasks: list[asyncio.Task[None]] = []

        async def one(number: int) -> None:
            try:
                await workflow.sleep(0.05)
            except asyncio.CancelledError:
                said.append(f"{number} cancelled")
                raise
            said.append(f"{number} fired")
            for task in tasks[number + 1 :]:
                task.cancel()

        tasks.extend(asyncio.create_task(one(number)) for number in range(3))
        await asyncio.wait(tasks)
        return said

    async with env.worker(cancels_its_like):
        handle = await env.start(cancels_its_like())
        said = await handle.result(timeout=PATIENCE)
    assert said == ["0 fired", "1 cancelled", "2 cancelled"]
    assert await events(handle) == ["Started", *["TimerStarted"] * 3, *["TimerFired"] * 3, "Completed"]


async def test_a_timer_below_a_millisecond_is_one(env: Env) -> None:
    @workflow.defn(name="scn.t.short")
    async def short() -> float:
        before = workflow.time()
        await workflow.sleep(0.0002, summary="a moment")
        await workflow.sleep(timedelta())
        return workflow.time() - before

    async with env.worker(short):
        handle = await env.start(short())
        assert await handle.result(timeout=PATIENCE) >= 0.0002
    assert await events(handle) == ["Started", *["TimerStarted", "TimerFired"] * 2, "Completed"]
    assert (await event(handle, "TimerStarted")).summary == "a moment"
    assert [(await event(handle, "TimerStarted", number)).duration for number in (0, 1)] == [200, 0]


@pytest.mark.temporal("patterns/sleep_for_days")
@pytest.mark.parametrize("days", [30, 36_500, 3_000_000])
async def test_a_long_timer_waits_without_its_worker(env: Env, days: int) -> None:
    """`workflow.sleep` takes a hundred years; `asyncio.sleep` takes ten thousand, and shows as the end of time."""

    @workflow.defn(name="scn.t.long")
    async def long(days: int) -> str:
        timer = asyncio.ensure_future(
            asyncio.sleep(days * 86_400) if days > 36_500 else workflow.sleep(timedelta(days=days))
        )
        await asyncio.wait([timer, asyncio.ensure_future(go.receive())], return_when="FIRST_COMPLETED")
        return "fired" if timer.done() else "woken"

    async with env.worker(long):
        handle = await env.start(long(days))
        await reached(handle, "Started", "TimerStarted")
        told = await handle.describe()
        expected = min(
            told.start_time.timestamp() + days * 86_400, datetime.max.replace(tzinfo=UTC).timestamp()
        )
        assert abs(told.pending_timers[0].timestamp() - expected) < 3600, (
            "from its first task, whenever that was"
        )
    async with env.worker(long):
        await handle.signal(go(1.0))
        assert await handle.result(timeout=PATIENCE) == "woken"
    assert await events(handle) == ["Started", "TimerStarted", "Signaled", "Completed"]


@pytest.mark.temporal("patterns/updatable_timer")
async def test_an_updatable_timer_wakes_at_the_time_it_was_moved_to(env: Env) -> None:
    @workflow.defn(name="scn.t.updatable")
    class Updatable:
        def __init__(self) -> None:
            self.at = workflow.now() + timedelta(days=1)
            self.moved = False

        @workflow.run
        async def run(self) -> bool:
            while (left := self.at - workflow.now()) > timedelta():
                self.moved = False
                try:
                    await workflow.wait_condition(lambda: self.moved, timeout=left, timeout_summary="the end")
                except TimeoutError:
                    break
            return workflow.now() >= self.at

        @workflow.signal
        def move_to(self, at: datetime) -> None:
            self.at, self.moved = at, True

    moved = ["Started", "TimerStarted", *["Signaled", "TimerCanceled", "TimerStarted"] * 2]
    async with env.worker(Updatable):
        for seconds in (0.5, 5, 20):
            handle = await env.start(Updatable.run())
            await reached(handle, "Started", "TimerStarted")
            await handle.signal(Updatable.move_to(datetime.now(UTC) + timedelta(hours=1)))
            await reached(handle, "Started", "TimerStarted", "Signaled", "TimerCanceled", "TimerStarted")
            await handle.signal(Updatable.move_to(datetime.now(UTC) + timedelta(seconds=seconds)))
            assert await handle.result(timeout=PATIENCE + seconds) is True
            told = await events(handle)
            if told != [*moved[:-1], "Completed"]:
                break
            # The time was over before the workflow heard of it, so there was no timer to start: another one has longer.
    assert told == [*moved, "TimerFired", "Completed"]
    assert (await event(handle, "TimerStarted")).summary == "the end"


@pytest.mark.temporal("workflow/wait_condition_timeout")
@pytest.mark.parametrize("first", ["condition", "timeout"])
async def test_a_condition_beside_its_timeout(env: Env, first: str) -> None:
    """Both ready for the same owner: a message goes before a timer, so the condition wins; alone the timeout does."""

    @workflow.defn(name="scn.t.beside")
    async def beside(seconds: float) -> str:
        values: list[float] = []
        workflow.set_signal_handler("scn.t.go", values.append)
        try:
            await workflow.wait_condition(lambda: bool(values), timeout=seconds)
        except TimeoutError:
            return "timeout"
        return "condition"

    for seconds in (1.0, 5.0, 20.0):
        handle = await env.start(beside(seconds))
        async with env.worker(beside):
            await reached(handle, "Started", "TimerStarted")
        if await events(handle) == ["Started", "TimerStarted"]:
            break
        # Its time was over before its worker had stopped: another one has longer.
    if first == "condition":
        await handle.signal(go(1.0))
    await asyncio.sleep(seconds + 0.05)
    async with env.worker(beside):
        assert await handle.result(timeout=PATIENCE) == first
    ended: list[Any] = ["Signaled", "TimerCanceled"] if first == "condition" else ["TimerFired"]
    assert await events(handle) == ["Started", "TimerStarted", *ended, "Completed"]


async def test_a_timer_that_is_due_meanwhile_fires_for_the_next_owner(env: Env) -> None:
    @workflow.defn(name="scn.t.meanwhile")
    async def meanwhile() -> str:
        await workflow.sleep(0.1)
        return "woke"

    async with env.worker(meanwhile):
        handle = await env.start(meanwhile())
        await reached(handle, "Started", "TimerStarted")
    await asyncio.sleep(0.15)
    async with env.worker(meanwhile):
        assert await handle.result(timeout=PATIENCE) == "woke"
        await until("it is closed", lambda: env.client.get_workflow_handle(handle.id).describe())
