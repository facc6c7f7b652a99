"""Others in the same PostgreSQL: locks, lost connections, a worker declared dead although it lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from durable import Client, Signal, activity, workflow
from tests.scenarios.rig import PATIENCE, Env, events, reached, until

say: Signal[str] = Signal("scn.strangers.say", str)


@activity.defn(name="scn.strangers.step")
async def step(i: int) -> int:
    return i


@workflow.defn(name="scn.strangers.steps")
async def steps(count: int) -> int:
    return sum([await step(i) for i in range(count)])


@workflow.defn(name="scn.strangers.waits")
async def waits() -> str:
    word = await say.receive()
    await step(1)
    return word


@pytest.fixture
async def stranger(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.fixture
async def penv(postgres_url: str, proxied: None) -> AsyncIterator[Env]:
    async with Client.connect(postgres_url) as client:
        made = Env(client, 1000)
        yield made
        await made.judge()


@pytest.mark.parametrize("lock", ["FOR UPDATE", "FOR SHARE"])
async def test_a_locked_run_holds_up_nobody_else(penv: Env, stranger: Any, lock: str) -> None:
    async with penv.worker(waits, steps, step):
        stuck = await penv.start(waits())
        await until("it is there", lambda: stuck.describe())
        schema = await _schema(stranger)
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute(f"SELECT 1 FROM {schema}.runs WHERE run_id = $1 {lock}", _id(stuck))
        sending = asyncio.ensure_future(stuck.signal(say("word")))
        others = [await penv.start(steps(5)) for _ in range(10)]
        results = await asyncio.gather(*[other.result(timeout=PATIENCE) for other in others])
        assert results == [10] * 10
        await transaction.rollback()
        await sending
        assert await stuck.result(timeout=PATIENCE) == "word"
    assert await events(stuck) == [
        "Started",
        "Signaled",
        "ActivityScheduled",
        "ActivityCompleted",
        "Completed",
    ]


async def test_connections_are_cut_at_any_moment(penv: Env, stranger: Any) -> None:
    async with penv.worker(steps, step):
        handles = [await penv.start(steps(30)) for _ in range(10)]
        waiting = asyncio.gather(*[handle.result(timeout=2 * PATIENCE) for handle in handles])
        for _ in range(20):
            await stranger.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND pid <> pg_backend_pid() AND datname = current_database() ORDER BY random() LIMIT 2"
            )
            await asyncio.wait([waiting], timeout=0.03)
        assert await waiting == [sum(range(30))] * 10


async def test_a_worker_that_is_declared_dead_starts_over(penv: Env, stranger: Any) -> None:
    worker = penv.worker(waits, steps, step)
    async with worker:
        handle = await penv.start(waits())
        await until("it is owned", lambda: _owner(handle))
        before = worker.worker_id
        schema = await _schema(stranger)
        await stranger.execute(f"UPDATE {schema}.workers SET dead = true")
        await until("another incarnation works", lambda: worker.worker_id not in (None, before))
        assert worker.is_running
        await handle.signal(say("on"))
        assert await handle.result(timeout=PATIENCE) == "on"
        assert await (await penv.start(steps(3))).result(timeout=PATIENCE) == 3


async def test_a_run_taken_by_another_owner_is_let_go(penv: Env, stranger: Any) -> None:
    """The fence: what the old owner has in hand is refused, and the run goes on elsewhere."""
    gate, began = asyncio.Event(), asyncio.Event()

    @activity.defn(name="scn.strangers.gated")
    async def gated() -> str:
        began.set()
        await gate.wait()
        return f"attempt {activity.info().attempt}"

    @workflow.defn(name="scn.strangers.gates")
    async def gates() -> str:
        return await gated()

    async with penv.worker(gates, gated):
        handle = await penv.start(gates())
        await asyncio.wait_for(began.wait(), PATIENCE)
        await reached(handle, "Started", "ActivityScheduled")
        schema = await _schema(stranger)
        # As a takeover does.
        await stranger.execute(
            f"UPDATE {schema}.runs SET owner = NULL, epoch = epoch + 1, deaths = deaths + 1, wake_at = 0 WHERE run_id = $1",
            _id(handle),
        )
        gate.set()
        assert await handle.result(timeout=PATIENCE) == "attempt 2"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def _owner(handle: Any) -> Any:
    return (await handle.describe()).owner


async def _schema(connection: Any) -> str:
    found = await connection.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'runs'")
    return f'"{found}"'


def _id(handle: Any) -> Any:
    return handle.result_run_id
