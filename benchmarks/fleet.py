"""Ten-step workflows by one, two, four and eight worker processes on one database: the total, and what waited for locks meanwhile.

The number of workflows and how many of them are at once are the same for each, shared evenly; each process starts what it runs. More
processes make it faster as long as cores are free: theirs, and those of the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from statistics import median

import asyncpg

from benchmarks import steps
from benchmarks._bench import ALL_POINTS, Bench
from benchmarks._databases import connect, is_postgres
from benchmarks._figures import Figures, figure
from benchmarks._fleet import together

PROCESSES = (1, 2, 4, 8)
RUNS = 4_000
AT_ONCE = 400

LOOK = 0.02
"""Seconds between two looks who waits for a lock: one that lasts 100 ms is seen."""

WAITING = """
select l.locktype || ' ' || coalesce(l.relation::regclass::text, ''),
    extract(epoch from clock_timestamp() - l.waitstart)::float8 * 1000
from pg_locks l where not l.granted and l.waitstart is not null
    and l.database in (0, (select oid from pg_database where datname = current_database()))
"""


def run(bench: Bench) -> Figures:
    """Measure each database with each number of processes, in turn."""
    return {kind: _measure(bench, url) for kind, url in bench.urls.items()}


def _measure(bench: Bench, url: str) -> Figures:
    asyncio.run(_tables(url))
    rates: dict[int, list[float]] = {}
    waits: dict[int, list[float]] = {}
    numbers = PROCESSES if bench.scale >= ALL_POINTS else PROCESSES[:2]
    for number in range(bench.repeats):
        for processes in numbers if number % 2 == 0 else reversed(numbers):
            runs = bench.amount(RUNS // processes, least=5)
            bench.rest()
            with _watched(url) as longest:
                seconds = together(url, processes, runs, steps.STEPS, AT_ONCE // processes)
            rates.setdefault(processes, []).append(processes * runs * steps.STEPS / seconds)
            waits.setdefault(processes, []).append(max(longest.values(), default=0.0))
    best = max(numbers, key=lambda processes: median(rates[processes]))
    shares = {
        processes: [mine / its for mine, its in zip(rates[processes], rates[best], strict=True)]
        for processes in numbers[1:]
    }
    found: Figures = {
        "best with": best,
        **{
            f"{processes} processes": {
                "rate": figure(rates[processes], "steps/s"),
                **({"of the best": figure(shares[processes], "ratio")} if processes in shares else {}),
                "longest lock wait, ms": [round(wait, 1) for wait in waits[processes]],
            }
            for processes in numbers
        },
        "least of the best": figure(min(shares.values(), key=median), "ratio"),
    }
    if is_postgres(url):
        found["longest lock wait"] = figure(
            [max(of) for of in zip(*waits.values(), strict=True)], "ms", lower_is_better=True
        )
    return found


async def _tables(url: str) -> None:
    async with connect(url):
        pass


@contextlib.contextmanager
def _watched(url: str) -> Iterator[dict[str, float]]:
    """Yield the longest wait for each kind of lock, in milliseconds, seen from beside."""
    longest: dict[str, float] = {}
    if not is_postgres(url):
        yield longest
        return
    stop = threading.Event()

    async def watch() -> None:
        connection = await asyncpg.connect(url)
        try:
            while not stop.is_set():
                for what, waited in await connection.fetch(WAITING):
                    longest[what] = max(waited, longest.get(what, 0.0))
                await asyncio.sleep(LOOK)
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(watch()))
    thread.start()
    try:
        yield longest
    finally:
        stop.set()
        thread.join()
