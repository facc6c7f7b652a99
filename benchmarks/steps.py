"""Ten-step workflows, each step an eager activity that depends on the one before, beside the floor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks import floor
from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure, percentile
from benchmarks._workflows import count_up, increment, step_latencies
from durable import Activity, Client, Worker
from durable.workflow import WorkflowCall

STEPS = 10

LOADS = ((1, 300), (50, 3000), (500, 5000))
"""Workflows at once, and in all."""


def run(bench: Bench) -> Figures:
    """Measure each database at each load."""
    return {
        kind: {f"{concurrency} at once": _load(bench, url, concurrency, runs) for concurrency, runs in LOADS}
        for kind, url in bench.urls.items()
    }


def _load(bench: Bench, url: str, concurrency: int, full: int) -> Figures:
    runs = bench.amount(full, least=min(concurrency, 20))
    bare: list[tuple[float, list[float]]] = []
    ours: list[tuple[float, list[float]]] = []
    for _ in range(bench.repeats):
        bench.rest()
        elapsed, gaps, _ = asyncio.run(floor.measure(url, runs, STEPS, concurrency))
        bare.append((runs * STEPS / elapsed, gaps))
        bench.rest()
        elapsed, gaps = asyncio.run(measure(url, runs, concurrency))
        ours.append((runs * STEPS / elapsed, gaps))
    return {
        "workflows": runs,
        "durable": _figures(ours),
        "floor": _figures(bare),
        "share of the floor": figure(
            [mine / its for (mine, _), (its, _) in zip(ours, bare, strict=True)], "ratio"
        ),
    }


def _figures(samples: list[tuple[float, list[float]]]) -> Figures:
    return {
        "rate": figure([rate for rate, _ in samples], "steps/s"),
        **{
            f"step p{round(share * 100)}": figure(
                [percentile(gaps, share) * 1000 for _, gaps in samples], "ms", lower_is_better=True
            )
            for share in (0.5, 0.99)
        },
    }


async def run_all(
    client: Client,
    code: Callable[[int, int], WorkflowCall[Any, int]],
    runs: int,
    steps: int,
    concurrency: int,
) -> list[str]:
    """Run so many workflows of so many steps, as many at once as `concurrency` says, and return their run ids."""
    gate = asyncio.Semaphore(concurrency)

    async def one(number: int) -> str:
        async with gate:
            handle = await client.start_workflow(code(number, steps))
            assert await handle.result() == steps
            assert handle.result_run_id is not None
            return handle.result_run_id

    return await asyncio.gather(*(one(number) for number in range(runs)))


async def measure(
    url: str,
    runs: int,
    concurrency: int,
    code: Callable[[int, int], WorkflowCall[Any, int]] = count_up,
    step: Activity[..., Any] = increment,
    steps: int = STEPS,
) -> tuple[float, list[float]]:
    """Return the seconds that workflows took, from the first start to the last result, and those between steps.

    Args:
        url: Where they run.
        runs: How many.
        concurrency: How many at once.
        code: The workflow, which is given a number and that of its steps, and returns the latter.
        step: The activity that it calls.
        steps: How often.
    """
    async with connect(url) as client:
        async with Worker(
            client,
            workflows=[code],
            activities=[step],
            max_concurrent_activities=max(100, concurrency),
        ):
            for _ in range(3):
                await client.execute_workflow(code(0, steps))
            step_latencies()
            started = time.perf_counter()
            run_ids = await run_all(client, code, runs, steps, concurrency)
            elapsed = time.perf_counter() - started
        await check_histories(client, url, run_ids, 2 * steps + 2)
    return elapsed, step_latencies()
