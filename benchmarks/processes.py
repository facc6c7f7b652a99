"""Client and worker in two processes: from a signal to its effect, and from a start to the result, with hints and without.

The effect is an activity in the other process that tells the time, by a clock that the processes of a machine share. With hints, one at a
time, since what is asked is how soon; without, many within one poll, since what is asked is the worst. Without hints neither process
hears of the other, so a start waits for the worker's poll and its result for the client's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure, percentile
from benchmarks._work import deafen, working
from benchmarks._workflows import go, noop, wait_for_signal
from durable import Client
from durable.client import WorkflowHandle

SAMPLES = 300
POLL = 1.0
"""Seconds between the looks of a worker, and of a client that waits: what both do by default."""

PARKED = 0.3
"""Seconds for workflows to come to rest before they are signalled."""

Took = list[float]


def run(bench: Bench) -> Figures:
    """Measure each database with hints and without."""
    return {
        kind: {name: _measure(bench, url, hints) for name, hints in (("hints", True), ("no hints", False))}
        for kind, url in bench.urls.items()
    }


def _measure(bench: Bench, url: str, hints: bool) -> Figures:
    count = bench.amount(SAMPLES, least=10)
    samples: list[tuple[Took, Took]] = []
    with working(url, hints=hints):
        for _ in range(bench.repeats):
            bench.rest()
            samples.append(asyncio.run(_latencies(url, count, hints)))
    return {
        "signal to effect": _figures([effects for effects, _ in samples]),
        "start to result": _figures([results for _, results in samples]),
        "samples": count,
        "poll": POLL * 1000,
    }


def _figures(samples: list[Took]) -> Figures:
    return {
        f"p{round(share * 100)}": figure(
            [percentile(took, share) * 1000 for took in samples], "ms", lower_is_better=True
        )
        for share in (0.5, 0.99)
    }


async def _latencies(url: str, count: int, hints: bool) -> tuple[Took, Took]:
    async with connect(url) as client:
        if not hints:
            deafen(client)
        waiting = [await client.start_workflow(wait_for_signal()) for _ in range(count)]
        await asyncio.sleep(PARKED + (0 if hints else 2 * POLL))
        effects = await _each(hints, [lambda one=one: _signal(one) for one in waiting])
        started: list[WorkflowHandle[None, None]] = []
        results = await _each(hints, [lambda: _start(client, started)] * count)
        await check_histories(client, url, [_run_id(one) for one in waiting], EVENTS_OF_SIGNALLED)
        await check_histories(client, url, [_run_id(one) for one in started], EVENTS_OF_NOOP)
    return effects, results


EVENTS_OF_SIGNALLED = 5
"""Started, signalled, scheduled, completed, closed."""

EVENTS_OF_NOOP = 2


async def _each(hints: bool, calls: list[Callable[[], Awaitable[float]]]) -> Took:
    """Call one after the other, or spread over one poll."""
    if hints:
        return [await call() for call in calls]

    async def later(number: int, call: Callable[[], Awaitable[float]]) -> float:
        await asyncio.sleep(POLL * number / len(calls))
        return await call()

    return await asyncio.gather(*(later(number, call) for number, call in enumerate(calls)))


async def _signal(handle: WorkflowHandle[None, float]) -> float:
    sent = monotonic()
    await handle.signal(go())
    return await handle.result() - sent


async def _start(client: Client, started: list[WorkflowHandle[None, None]]) -> float:
    began = monotonic()
    handle = await client.start_workflow(noop())
    await handle.result()
    started.append(handle)
    return monotonic() - began


def _run_id(handle: WorkflowHandle) -> str:
    assert handle.result_run_id is not None
    return handle.result_run_id
