"""Runs at rest: they have made their steps and wait for a signal."""

from __future__ import annotations

import asyncio

from benchmarks._databases import count_events
from benchmarks._workflows import count_and_wait
from durable import Client
from durable.client import WorkflowHandle

AT_ONCE = 500
LOOK = 0.1
"""Seconds between two looks whether all are at rest."""


async def park(client: Client, url: str, count: int, steps: int) -> list[WorkflowHandle[None, int]]:
    """Start runs, which a worker of this process must know, and return when all of them wait."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> WorkflowHandle[None, int]:
        async with gate:
            return await client.start_workflow(count_and_wait(number, steps))

    handles = await asyncio.gather(*(one(number) for number in range(count)))
    run_ids = [str(handle.first_execution_run_id) for handle in handles]
    while await count_events(url, run_ids) < count * events_at_rest(steps):
        await asyncio.sleep(LOOK)
    return handles


def events_at_rest(steps: int) -> int:
    """How long the history of a run at rest is."""
    return 1 + 2 * steps
