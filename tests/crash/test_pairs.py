"""Parent and child that close on each other, in two processes: none is lost, nothing deadlocks, and all is told truly.

`DURABLE_PAIRS=10000` makes ten thousand pairs of it, instead of some.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
from collections import Counter

import asyncpg

from durable import Client
from durable.testing.invariants import verify
from tests.crash import pairs
from tests.crash.pairs import CHILDREN, Way, end_together

PAIRS = int(os.environ.get("DURABLE_PAIRS", 0)) or 40
AT_ONCE = 50

_context = multiprocessing.get_context("forkserver")


async def test_parent_and_child_close_on_each_other(store_url: str) -> None:
    chance, room = random.Random(11), asyncio.Semaphore(AT_ONCE)
    ends: Counter[tuple[str, str]] = Counter()

    async with Client.connect(store_url) as client:

        async def pair(number: int) -> None:
            async with room:
                ends[await end_together(client, number, chance)] += 1

        processes = [
            _context.Process(target=pairs.main, args=(store_url, queue), daemon=True)
            for queue in ("pairs-parents", CHILDREN)
        ]
        try:
            for process in processes:
                process.start()
            async with asyncio.TaskGroup() as group:
                for number in range(PAIRS):
                    group.create_task(pair(number))
        finally:
            for process in processes:
                process.kill()
                process.join(10)
        assert [one async for _, found in verify(client.store) for one in found] == []
    print(dict(ends))
    assert sum(ends.values()) == PAIRS
    assert not {(way, end) for way, end in ends if end not in ("COMPLETED", Way[way].ends_it)}
    if PAIRS >= 1000:  # each was first, and each kind of end was met
        assert {end for _, end in ends} == {"COMPLETED", "CANCELED", "TERMINATED"}
    if store_url.startswith("postgres"):
        await _no_deadlocks(store_url)


async def _no_deadlocks(url: str) -> None:
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        question = "select deadlocks from pg_stat_database where datname = current_database()"
        assert await connection.fetchval(question) == 0
    finally:
        await connection.close()
