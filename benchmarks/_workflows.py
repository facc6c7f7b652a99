"""The workflows that are measured."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from time import perf_counter

from durable import activity, workflow

WIDEST = 100_000
"""Steps of a run at most: a value is the number of its run, then that of its step."""

_stepped: dict[int, list[float]] = {}
"""When each step of each run ran; the distance between two is the latency of a dependent step."""


@activity.defn
async def increment(value: int) -> int:
    """One step: the cheapest activity that has an argument and a result, and notes the time."""
    _stepped.setdefault(value // WIDEST, []).append(perf_counter())
    return value + 1


@activity.defn
async def identity(value: int) -> int:
    """The cheapest of all."""
    return value


@workflow.defn
async def count_up(run: int, steps: int) -> int:
    """Steps that each depend on the one before; the number of the run tells them apart."""
    value = run * WIDEST
    for _ in range(steps):
        value = await increment(value)
    return value % WIDEST


@workflow.defn
async def noop() -> None:
    """Nothing."""


@workflow.defn
async def fan_out(width: int) -> int:
    """Many activities at once."""
    return sum(await asyncio.gather(*(identity(number) for number in range(width))))


def step_latencies() -> list[float]:
    """Return the seconds between one step and the next of the same run, for all runs since the last call."""
    gaps = [after - before for run in _stepped.values() for before, after in pairwise(run)]
    _stepped.clear()
    return gaps
