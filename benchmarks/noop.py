"""A workflow that does nothing, from its start to its result, in one process, beside one-row commits of the same minute."""

from __future__ import annotations

import asyncio
import time

from benchmarks import floor
from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure, percentile
from benchmarks._workflows import noop
from durable import Worker

LOADS = ((1, 500), (200, 4000))
"""Workflows at once, and in all."""

EVENTS = 2


def run(bench: Bench) -> Figures:
    """Measure each database at each load."""
    return {
        kind: {f"{concurrency} at once": _load(bench, url, concurrency, runs) for concurrency, runs in LOADS}
        for kind, url in bench.urls.items()
    }


def _load(bench: Bench, url: str, concurrency: int, full: int) -> Figures:
    runs = bench.amount(full, least=min(concurrency, 20))
    samples: list[tuple[float, list[float]]] = []
    commits: list[float] = []
    for _ in range(bench.repeats):
        bench.rest()
        commits.append(percentile(asyncio.run(floor.one_row_commits(url, runs)), 0.5))
        samples.append(asyncio.run(measure(url, runs, concurrency)))
    return {
        "workflows": runs,
        "rate": figure([runs / elapsed for elapsed, _ in samples], "workflows/s"),
        **{
            f"start to result p{round(share * 100)}": figure(
                [percentile(took, share) * 1000 for _, took in samples], "ms", lower_is_better=True
            )
            for share in (0.5, 0.99)
        },
        "one-row commit p50": figure([one * 1000 for one in commits], "ms", lower_is_better=True),
        "start to result p50 in one-row commits": figure(
            [percentile(took, 0.5) / one for (_, took), one in zip(samples, commits, strict=True)],
            "commits",
            lower_is_better=True,
        ),
    }


async def measure(url: str, runs: int, concurrency: int) -> tuple[float, list[float]]:
    """Return the seconds that all of them took, and that each took."""
    took: list[float] = []
    async with connect(url) as client:
        async with Worker(client, workflows=[noop], activities=[]):
            await client.execute_workflow(noop())
            gate = asyncio.Semaphore(concurrency)

            async def one() -> str:
                async with gate:
                    started = time.perf_counter()
                    handle = await client.start_workflow(noop())
                    await handle.result()
                    took.append(time.perf_counter() - started)
                    assert handle.result_run_id is not None
                    return handle.result_run_id

            started = time.perf_counter()
            run_ids = await asyncio.gather(*(one() for _ in range(runs)))
            elapsed = time.perf_counter() - started
        await check_histories(client, url, run_ids, EVENTS)
    return elapsed, took
