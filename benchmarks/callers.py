"""Transactions of callers: how soon a workflow runs behind the commit, and what an open one costs everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from benchmarks._bench import Bench
from benchmarks._databases import connect, is_postgres
from benchmarks._figures import Figures, figure, percentile
from benchmarks._workflows import count_up, identity, increment
from durable import Client, Worker, workflow

STARTS = 200
"""Workflows that are started in a session each."""

OPEN = 60.0
"""Seconds that a transaction stays open, with a start and a signal in it."""

AT_ONCE = 50
STEPS = 10

_began: dict[int, float] = {}


@workflow.defn
async def begin(number: int) -> None:
    """Note when the code runs first."""
    with workflow.unsafe.sandbox_unrestricted():
        _began[number] = perf_counter()


def run(bench: Bench) -> Figures:
    """Measure the time to the first step on each database, and the open transaction on PostgreSQL: SQLite stops for it."""
    return {kind: asyncio.run(_measure(bench, url)) for kind, url in bench.urls.items()}


async def _measure(bench: Bench, url: str) -> Figures:
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://").replace("sqlite://", "sqlite+aiosqlite://")
    )
    async with (
        connect(url) as client,
        Worker(client, workflows=[begin, count_up], activities=[increment, identity]),
    ):
        waits = await _first_steps(client, engine, bench.amount(STARTS, least=5))
        found: Figures = {
            "commit to first step": {
                name: figure([1000 * percentile(waits, share)], "ms", lower_is_better=True)
                for name, share in (("p50", 0.5), ("p95", 0.95))
            }
        }
        if is_postgres(url):
            found["beside an open transaction"] = await _beside(client, engine, bench)
    await engine.dispose()
    return found


async def _first_steps(client: Client, engine: Any, count: int) -> list[float]:
    waits: list[float] = []
    for number in range(count):
        async with AsyncSession(engine) as session:
            async with session.begin():
                await session.execute(text("create table if not exists bench_orders (number integer)"))
                await session.execute(text("insert into bench_orders values (1)"))
                handle = await client.start_workflow(begin(number), connection=session)
            committed = perf_counter()
        await handle.result()
        waits.append(_began.pop(number) - committed)
    return waits


async def _beside(client: Client, engine: Any, bench: Bench) -> Figures:
    """The rate of steps with a transaction open, as a share of the rates before and behind it."""
    seconds = max(0.2, OPEN * bench.scale)
    rates = [await _rate(client, seconds / 2)]
    shares: list[float] = []
    for _ in range(bench.repeats):
        async with _open(client, engine):
            beside = await _rate(client, seconds)
        rates.append(await _rate(client, seconds / 2))
        shares.append(2 * beside / (rates[-2] + rates[-1]))
    return {
        "seconds": seconds,
        "alone": figure(rates, "steps/s"),
        "share of the rate alone": figure(shares, "ratio"),
    }


@contextlib.asynccontextmanager
async def _open(client: Client, engine: Any) -> AsyncIterator[None]:
    async with AsyncSession(engine) as session, session.begin():
        handle = await client.start_workflow(count_up(0, 1), connection=session)
        await handle.signal("unknown", connection=session)
        yield
        await session.rollback()


async def _rate(client: Client, seconds: float) -> float:
    """Keep workflows running for some time, and return their steps per second."""
    numbers = itertools.count(1)
    started = perf_counter()

    async def keep_running() -> int:
        runs = 0
        while perf_counter() - started < seconds:
            await client.execute_workflow(count_up(next(numbers), STEPS))
            runs += 1
        return runs

    runs = await asyncio.gather(*(keep_running() for _ in range(AT_ONCE)))
    return sum(runs) * STEPS / (perf_counter() - started)
