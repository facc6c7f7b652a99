"""The workflows that are measured."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from durable import activity, workflow

latencies: dict[str, list[float]] = {}
"""When each activity of each run ran; the distance between two is the latency of a dependent step."""


@activity.defn
async def increment(value: int) -> int:
    """One step: the cheapest activity that has an argument and a result."""
    latencies.setdefault(activity.info().workflow_run_id, []).append(time.perf_counter())
    return value + 1


@activity.defn
async def identity(value: int) -> int:
    """The same without a clock."""
    return value


@workflow.defn
async def count_up(steps: int) -> int:
    """Steps that each depend on the one before."""
    value = 0
    for _ in range(steps):
        value = await increment(value)
    return value


@workflow.defn
async def noop() -> None:
    """Nothing."""


@workflow.defn
async def fan_out(width: int) -> int:
    """Many activities at once."""
    return sum(await asyncio.gather(*(identity(number) for number in range(width))))


def step_latencies() -> list[float]:
    """Return the seconds between one step and the next of the same run, for all runs since the last call."""
    gaps = [after - before for run in latencies.values() for before, after in pairwise(run)]
    latencies.clear()
    return gaps
