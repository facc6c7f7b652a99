"""Dependent steps on DBOS, PostgreSQL or SQLite."""

from __future__ import annotations

import asyncio
import time

from dbos import DBOS, DBOSConfig

from benchmarks.peers._program import Load, main

SETTINGS = (
    "async workflows called directly on one event loop, so that nothing is queued and nobody polls for a result; "
    "the pool of 20 connections that is the default (60 were slower), warnings only, no tracing, no admin server"
)


@DBOS.step()
async def increment(value: int) -> int:
    return value + 1


@DBOS.workflow()
async def count_up(steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await increment(value)
    return value


async def measure(load: Load) -> float:
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": load.url,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    try:
        await count_up(load.steps)
        gate = asyncio.Semaphore(load.concurrency)

        async def one() -> None:
            async with gate:
                assert await count_up(load.steps) == load.steps

        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(load.runs)))
        return time.perf_counter() - started
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main("dbos", SETTINGS, measure)
