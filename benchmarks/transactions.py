"""Ten-step workflows whose steps are transactional activities, beside the same two statements in bare transactions."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from typing import Any

import asyncpg

from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure
from durable import Worker, activity, workflow

STEPS = 10

LOADS = ((1, 50), (50, 300))
"""Workflows at once, and in all."""

CONNECTIONS = 8
"""Transactions at once, bare ones too."""

EVENTS = 2 * STEPS + 2

_TABLES = (
    "create table if not exists bench_sums (run integer primary key, sum integer not null)",
    "create table if not exists bench_steps (run integer not null, step integer not null)",
)


async def _on_postgres(connection: Any, run: int, step: int) -> int:
    await connection.execute("insert into bench_steps values ($1, $2)", run, step)
    total: int = await connection.fetchval(
        "insert into bench_sums as s values ($1, 1) on conflict (run) do update set sum = s.sum + 1 returning sum",
        run,
    )
    return total


def _on_sqlite(connection: sqlite3.Connection, run: int, step: int) -> int:
    connection.execute("insert into bench_steps values (?, ?)", (run, step))
    ((total,),) = connection.execute(
        "insert into bench_sums values (?, 1) on conflict (run) do update set sum = sum + 1 returning sum",
        (run,),
    ).fetchall()
    return int(total)


@activity.defn(name="bench.write", transactional=True)
async def write_on_postgres(tx: asyncpg.Connection[Any], run: int, step: int) -> int:
    """One step: two statements."""
    return await _on_postgres(tx, run, step)


@activity.defn(name="bench.write", transactional=True)
def write_on_sqlite(tx: sqlite3.Connection, run: int, step: int) -> int:
    """The same on SQLite."""
    return _on_sqlite(tx, run, step)


@workflow.defn
async def write_all(run: int, steps: int) -> int:
    """Steps that each depend on the one before."""
    total = 0
    for step in range(steps):
        total = await workflow.execute_activity("bench.write", args=[run, step], result_type=int)
    return total


def run(bench: Bench) -> Figures:
    """Measure each database at each load."""
    return {
        kind: {f"{concurrency} at once": _load(bench, url, concurrency, runs) for concurrency, runs in LOADS}
        for kind, url in bench.urls.items()
    }


def _load(bench: Bench, url: str, concurrency: int, full: int) -> Figures:
    runs = bench.amount(full, least=min(concurrency, 5))
    bare, ours = list[float](), list[float]()
    measure_bare = _bare_postgres if url.startswith("postgres") else _bare_sqlite
    for _ in range(bench.repeats):
        bench.rest()
        bare.append(runs * STEPS / asyncio.run(measure_bare(url, runs, concurrency)))
        bench.rest()
        ours.append(runs * STEPS / asyncio.run(_durable(url, runs, concurrency)))
    return {
        "workflows": runs,
        "durable": figure(ours, "steps/s"),
        "bare": figure(bare, "transactions/s"),
        "share of the bare transaction": figure(
            [mine / its for mine, its in zip(ours, bare, strict=True)], "ratio"
        ),
    }


async def _bare_postgres(url: str, runs: int, concurrency: int) -> float:
    size = min(concurrency, CONNECTIONS)
    async with asyncpg.create_pool(url, min_size=size, max_size=size) as pool:
        await _prepare(pool)

        async def one(number: int) -> None:
            for step in range(STEPS):
                async with pool.acquire() as connection, connection.transaction():
                    await _on_postgres(connection, number, step)

        return await _all(runs, concurrency, one)


async def _prepare(pool: Any) -> None:
    for table in _TABLES:
        await pool.execute(table)
    await pool.execute("truncate bench_sums, bench_steps")


async def _bare_sqlite(url: str, runs: int, concurrency: int) -> float:
    # One connection: SQLite has one writer, however many there are.
    db = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    try:
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        for table in (*_TABLES, "delete from bench_sums", "delete from bench_steps"):
            db.execute(table)

        async def one(number: int) -> None:
            for step in range(STEPS):
                db.execute("begin immediate")
                _on_sqlite(db, number, step)
                db.execute("commit")

        return await _all(runs, concurrency, one)
    finally:
        db.close()


async def _durable(url: str, runs: int, concurrency: int) -> float:
    transfer: Any = write_on_postgres if url.startswith("postgres") else write_on_sqlite
    async with connect(url) as client:
        run_ids: list[str] = []
        async with Worker(client, workflows=[write_all], activities=[transfer]):

            async def one(number: int) -> None:
                handle = await client.start_workflow(write_all(runs + number, STEPS))
                assert await handle.result() == STEPS
                assert handle.result_run_id is not None
                run_ids.append(handle.result_run_id)

            elapsed = await _all(runs, concurrency, one)
        await check_histories(client, url, run_ids, EVENTS)
    return elapsed


async def _all(runs: int, concurrency: int, one: Any) -> float:
    """Return the seconds that it took to run this for each number, so many at once."""
    gate = asyncio.Semaphore(concurrency)

    async def gated(number: int) -> None:
        async with gate:
            await one(number)

    started = time.perf_counter()
    await asyncio.gather(*(gated(number) for number in range(runs)))
    return time.perf_counter() - started
