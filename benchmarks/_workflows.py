"""The workflows that are measured."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from itertools import pairwise
from random import Random
from time import monotonic, perf_counter

from durable import Signal, activity, workflow

WIDEST = 100_000
"""Steps of a run at most: a value is the number of its run, then that of its step."""

PAYLOAD = Random(1).randbytes(2048).hex()
"""4 KB that a database cannot compress to nothing."""

go = Signal("go", None)
"""What `wait_for_signal` waits for."""

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


@activity.defn
async def echo(text: str) -> str:
    """Return what it was given."""
    return text


@activity.defn
async def pause(value: int) -> int:
    """One step that takes a millisecond, as a fast call of something else does."""
    await asyncio.sleep(0.001)
    return value + 1


@activity.defn
async def clock() -> float:
    """When it runs, by a clock that all processes of a machine share."""
    return monotonic()


@activity.defn
async def whose(number: int) -> int:
    """Which process runs it."""
    return os.getpid()


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
async def carry(run: int, steps: int) -> int:
    """As many steps, each of which is given 4 KB and returns them."""
    text = PAYLOAD
    for _ in range(steps):
        text = await echo(text)
    return steps if text == PAYLOAD else -1


@workflow.defn
async def count_slowly(run: int, steps: int) -> int:
    """As many steps of a millisecond."""
    value = 0
    for _ in range(steps):
        value = await pause(value)
    return value


@workflow.defn
async def wait_for_signal() -> float:
    """Return when the signal `go` had its effect."""
    await go.receive()
    return await clock()


@workflow.defn
async def count_and_wait(run: int, steps: int) -> int:
    """Steps, and then a wait for the signal `go`."""
    value = run * WIDEST
    for _ in range(steps):
        value = await increment(value)
    await go.receive()
    return value % WIDEST


@workflow.defn
async def fan_out(width: int) -> int:
    """Many activities at once."""
    return sum(await asyncio.gather(*(identity(number) for number in range(width))))


@workflow.defn
async def spread_out(width: int) -> list[int]:
    """Many activities at once; return how many each process ran."""
    return list(Counter(await asyncio.gather(*(whose(number) for number in range(width)))).values())


def step_latencies() -> list[float]:
    """Return the seconds between one step and the next of the same run, for all runs since the last call."""
    gaps = [after - before for run in _stepped.values() for before, after in pairwise(run)]
    _stepped.clear()
    return gaps
