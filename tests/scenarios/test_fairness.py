"""Runs beside each other: one with many activities takes no worker for itself, and one with a long activity holds nobody up."""

from __future__ import annotations

import asyncio

import pytest

from durable import Client, activity, workflow
from tests.scenarios.rig import PATIENCE, Env, events, until

gate = asyncio.Event()
running = 0


@pytest.fixture(autouse=True)
def fresh() -> None:
    global gate, running
    gate, running = asyncio.Event(), 0


@activity.defn(name="fair.long")
async def long() -> None:
    global running
    running += 1
    await gate.wait()


@activity.defn(name="fair.short")
async def short(number: int) -> int:
    return number + 1


@workflow.defn(name="fair.wide")
async def wide(width: int) -> int:
    return len(await asyncio.gather(*[long() for _ in range(width)]))


async def one_by_one(count: int) -> int:
    number = 0
    for _ in range(count):
        number = await short(number)
    return number


@workflow.defn(name="fair.steps")
async def steps(count: int) -> int:
    return await one_by_one(count)


@workflow.defn(name="fair.mixed")
async def mixed(count: int) -> int:
    waiting = asyncio.ensure_future(long())
    done = await one_by_one(count)
    await waiting
    return done


async def test_a_run_with_many_activities_is_worked_by_all_workers(plain: Env, store_url: str) -> None:
    """Its owner starts as many as it has slots, and keeps none of the others for later."""
    env = plain
    async with Client.connect(store_url) as second, env.worker(wide, long, max_concurrent_activities=3):
        handle = await env.start(wide(20))
        await until("the owner is full", lambda: running == 3)
        async with env.worker(long, client=second, max_concurrent_activities=4):
            await until("both are full", lambda: running == 7)
            gate.set()
            assert await handle.result(timeout=PATIENCE) == 20


async def test_a_long_activity_holds_up_no_other_run(env: Env) -> None:
    async with env.worker(wide, steps, long, short):
        slow = await env.start(wide(2))
        await until("both run", lambda: running == 2)
        quick = await env.start(steps(5))
        assert await quick.result(timeout=PATIENCE) == 5
        assert "ActivityCompleted" not in await events(slow)
        gate.set()
        assert await slow.result(timeout=PATIENCE) == 2


async def test_nor_the_steps_beside_it(env: Env) -> None:
    async with env.worker(mixed, long, short):
        handle = await env.start(mixed(5))

        async def stepped() -> bool:
            return (await events(handle)).count("ActivityCompleted") == 5

        await until("all steps are committed", stepped)
        gate.set()
        assert await handle.result(timeout=PATIENCE) == 5
