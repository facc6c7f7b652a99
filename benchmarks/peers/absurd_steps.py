"""Dependent steps on absurd, which has PostgreSQL only."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import files
from typing import Any

import psycopg
from absurd_sdk import AsyncAbsurd

from benchmarks.peers._program import Load, main

QUEUE = "bench"
WORKERS = 8
POLL = 0.01
SETTINGS = (
    f"asynchronous workers, up to {WORKERS} of them in one process, since each has one connection (with 50 at once, 1 worker did a "
    f"third and 4 a half of what 10 did), that share the tasks; all tasks are spawned before the clock starts, and idle workers "
    f"look every {POLL * 1000:.0f} ms instead of 250"
)


async def count_up(params: Any, context: Any) -> int:
    value = 0
    for number in range(params["steps"]):

        async def increment(value: int = value) -> int:
            return value + 1

        value = await context.step(f"increment-{number}", increment)
    return value


async def measure(load: Load) -> float:
    await _make_schema(load.url)
    client = AsyncAbsurd(load.url, queue_name=QUEUE)
    await client.create_queue(QUEUE)
    tasks = [(await client.spawn("count_up", {"steps": load.steps}, queue=QUEUE)) for _ in range(load.runs)]
    # A worker claims a whole batch and works through it: small ones share the load evenly.
    workers = [AsyncAbsurd(load.url, queue_name=QUEUE) for _ in range(min(WORKERS, load.concurrency))]
    for worker in workers:
        worker.register_task("count_up", queue=QUEUE)(count_up)
    started = time.perf_counter()
    working = [
        asyncio.create_task(
            worker.start_worker(concurrency=load.concurrency // len(workers), poll_interval=POLL)
        )
        for worker in workers
    ]
    for task in tasks:
        while (result := await client.fetch_task_result(task["task_id"])) is None or result.state not in (
            "completed",
            "failed",
        ):
            await asyncio.sleep(POLL)
        assert result.result == load.steps, result
    elapsed = time.perf_counter() - started
    for worker in workers:
        worker.stop_worker()
    await asyncio.gather(*working)
    for worker in (client, *workers):
        await worker.close()
    return elapsed


async def _make_schema(url: str) -> None:
    """What `absurdctl init` does, from the package index: that command loads its SQL from elsewhere, this package has it."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        done = await connection.execute("select to_regnamespace('absurd') is not null")
        if await done.fetchone() == (True,):
            await connection.execute("select absurd.drop_queue(%s)", (QUEUE,))
            return
        (schema,) = (one for one in files("django-absurd") or () if one.match("migrations/0001_*.sql"))
        await connection.execute(schema.read_text().encode())


if __name__ == "__main__":
    main("absurd-sdk", SETTINGS, measure)
