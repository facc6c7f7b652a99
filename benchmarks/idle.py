"""A worker that has nothing to do: what it costs its machine and its database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg

from benchmarks._bench import Bench
from benchmarks._databases import connect, is_postgres
from benchmarks._figures import Figures, figure
from benchmarks._workflows import identity, noop
from durable import Worker

WINDOW = 6.0
"""Seconds of a sample: more than a round of what a worker does now and then, short enough that autovacuum spoils a few."""

WINDOWS = 10
"""Samples of each repetition."""

FEWEST = 5
"""Samples at least: with fewer their median would be that of autovacuum's minute."""

SETTLED = 2.0
"""Seconds after which a worker that has had something to do is at rest."""


def run(bench: Bench) -> Figures:
    """Measure each database."""
    return {kind: asyncio.run(_measure(bench, url)) for kind, url in bench.urls.items()}


async def _measure(bench: Bench, url: str) -> Figures:
    seconds = min(WINDOW, WINDOW * WINDOWS * bench.scale)
    shares: list[float] = []
    made: list[float] = []
    async with (
        _counted(url) as transactions,
        connect(url) as client,
        Worker(client, workflows=[noop], activities=[identity]),
    ):
        await client.execute_workflow(noop())
        await asyncio.sleep(min(seconds, SETTLED))
        for _ in range(bench.amount(WINDOWS * bench.repeats, least=FEWEST)):
            before, began, used = await transactions(), time.perf_counter(), time.process_time()
            await asyncio.sleep(seconds)
            watched = time.perf_counter() - began
            shares.append(100 * (time.process_time() - used) / watched)
            made.append((await transactions() - before - 1) / watched)
    found: Figures = {"cpu": figure(shares, "% of a core", lower_is_better=True)}
    if is_postgres(url):
        # Each statement of an idle worker is a transaction. The median is the figure: autovacuum's are counted too.
        found["statements"] = figure(made, "1/s", lower_is_better=True)
    return found


@contextlib.asynccontextmanager
async def _counted(url: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """What tells the transactions of the database, with one of its own; 0 on SQLite, where nobody counts."""
    if not is_postgres(url):

        async def nothing() -> int:
            return 0

        yield nothing
        return
    connection = await asyncpg.connect(url)

    async def transactions() -> int:
        return await connection.fetchval(
            "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
        )

    try:
        yield transactions
    finally:
        await connection.close()
