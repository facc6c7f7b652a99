"""What a step of the ten-step workflows costs the database: transactions, WAL and disk. Counts, so a busy machine does not change them much.

Everything that a worker does meanwhile is in them: starts, claims, hints, the renewal of its lease, reads, and the first pages after a checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import asyncpg

from benchmarks import steps
from benchmarks._bench import Bench
from benchmarks._databases import NAMESPACE, is_postgres, path_of
from benchmarks._figures import Figures, short

LOADS = ((1, 100), (50, 1000), (500, 2000))
"""Workflows at once, and in all."""


def run(bench: Bench) -> Figures:
    """Count on each database at each load."""
    for url in bench.urls.values():
        asyncio.run(steps.measure(url, 1, 1))  # makes the tables
    return {
        kind: {f"{concurrency} at once": _load(bench, url, concurrency, runs) for concurrency, runs in LOADS}
        for kind, url in bench.urls.items()
    }


def _load(bench: Bench, url: str, concurrency: int, full: int) -> Figures:
    runs = bench.amount(full, least=20)
    counts = _count_postgres if is_postgres(url) else _count_sqlite
    before = asyncio.run(counts(url))
    asyncio.run(steps.measure(url, runs, concurrency))
    after = asyncio.run(counts(url))
    return {f"{name} per step": short((after[name] - before[name]) / (runs * steps.STEPS)) for name in after}


async def _count_postgres(url: str) -> dict[str, float]:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(
            """
            select xact_commit as transactions, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as "WAL bytes",
                coalesce((select sum(pg_total_relation_size(c.oid)) from pg_class c
                    where c.relnamespace = to_regnamespace($1) and c.relkind = 'r'), 0)::float8 as "table and index bytes"
            from pg_stat_database where datname = current_database()""",
            NAMESPACE,
        )
        return dict(row)
    finally:
        await connection.close()


async def _count_sqlite(url: str) -> dict[str, float]:
    with contextlib.closing(sqlite3.connect(path_of(url))) as db:
        (pages,) = db.execute("pragma page_count").fetchone()
        (size,) = db.execute("pragma page_size").fetchone()
    return {"table and index bytes": pages * size}
