"""How long a step takes at half of what the worker can do, while very many timers of other runs fall due.

Workflows begin at fixed instants, whatever became of those before: a worker that falls behind is not spared. The timers are of parked
runs that nobody has in memory: each has to be claimed, read, replayed and closed, by the same worker.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from statistics import median

from benchmarks import steps
from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure, percentile
from benchmarks._seeding import Template, copies, real
from benchmarks._workflows import count_up, increment, step_latencies
from durable import Client, Worker, workflow

SECONDS = 60.0
TIMERS = 10_000
"""How many fall due in that time."""

FULL, AT_ONCE = 5_000, 500
"""Workflows, and how many of them at once, that tell what the worker can do."""

TICK = 0.005
"""Seconds between two looks which workflows are to begin."""

LEAD, SEEDED = 1.0, 2_000.0
"""Seconds that are left for the copies of parked runs beforehand, and how many of them are made in one, on a slow day."""

_fired = 0


@workflow.defn(name="bench.doze")
async def doze() -> None:
    """Wait for a timer, and end."""
    global _fired
    await workflow.sleep(timedelta(days=365))
    with workflow.unsafe.sandbox_unrestricted():
        _fired += 1


def run(bench: Bench) -> Figures:
    """Measure each database: without timers, with timers all the time, and with all of them at one instant."""
    return {kind: asyncio.run(_measure(bench, url)) for kind, url in bench.urls.items()}


async def _measure(bench: Bench, url: str) -> Figures:
    count, seconds = bench.amount(TIMERS, least=20), max(0.5, SECONDS * bench.scale)
    template = await real(url, "doze", doze, doze())
    can: list[float] = []
    samples: dict[str, list[list[float]]] = {}
    for number in range(bench.repeats):
        bench.rest()
        runs = bench.amount(FULL, least=50)
        elapsed, _ = await steps.measure(url, runs, AT_ONCE)
        can.append(runs * steps.STEPS / elapsed)
        for place, (name, timers, over) in enumerate(
            (
                ("without timers", 0, 0.0),
                ("timers all the time", count, seconds),
                ("timers at one instant", count, 0.0),
            )
        ):
            first = 1 + (3 * number + place) * TIMERS
            took = await _loaded(url, can[-1] / 2, seconds, template, first, timers, over)
            samples.setdefault(name, []).append(took)
    return {
        "seconds": seconds,
        "timers that fall due": count,
        "full load": figure(can, "steps/s"),
        "half load": figure([rate / 2 for rate in can], "steps/s"),
        **{name: _figures(of) for name, of in samples.items()},
    }


def _figures(samples: list[list[float]]) -> Figures:
    return {
        **{
            f"step p{round(share * 100)}": figure(
                [percentile(gaps, share) * 1000 for gaps in samples], "ms", lower_is_better=True
            )
            for share in (0.5, 0.99)
        },
        "p99 to p50": figure(
            [percentile(gaps, 0.99) / percentile(gaps, 0.5) for gaps in samples],
            "ratio",
            lower_is_better=True,
        ),
        "steps": median(len(gaps) for gaps in samples),
    }


async def _loaded(
    url: str, rate: float, seconds: float, template: Template, first: int, timers: int, over: float
) -> list[float]:
    """Return the seconds between steps under a load of so many steps a second."""
    global _fired
    _fired = 0
    # All at one instant: in the middle.
    begin = time.time() + LEAD + timers / SEEDED
    if timers:
        at = begin if over else begin + seconds / 2
        await copies(url, template, first, timers, wake_at=round(at * 1e6), gap=over * 1e6 / timers)
    async with connect(url) as client:
        async with Worker(
            client,
            workflows=[count_up, doze],
            activities=[increment],
            max_concurrent_activities=max(100, AT_ONCE),
        ):
            for _ in range(3):
                await client.execute_workflow(count_up(0, steps.STEPS))
            await asyncio.sleep(max(0.0, begin - time.time()))
            step_latencies()
            run_ids = await _arriving(client, rate / steps.STEPS, seconds)
            while _fired < timers:
                await asyncio.sleep(TICK)
        await check_histories(client, url, run_ids, 2 * steps.STEPS + 2)
    assert _fired == timers, f"{_fired} timers have fired, of {timers}"
    return step_latencies()


async def _arriving(client: Client, per_second: float, seconds: float) -> list[str]:
    """Start workflows at this rate, and return their run ids when all of them have ended."""

    async def one(number: int) -> str:
        handle = await client.start_workflow(count_up(number, steps.STEPS))
        assert await handle.result() == steps.STEPS
        assert handle.result_run_id is not None
        return handle.result_run_id

    began = time.perf_counter()
    running: list[asyncio.Task[str]] = []
    while (passed := time.perf_counter() - began) < seconds:
        due = int(passed * per_second) + 1
        running += [asyncio.create_task(one(number)) for number in range(len(running), due)]
        await asyncio.sleep(TICK)
    return await asyncio.gather(*running)
