"""One run with very many activities, and two worker processes with the slots that they have by default: who does how much of it.

Beside it small workflows of dependent steps go one after the other; what a step of theirs takes is compared with what it took before.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks import steps
from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure, percentile
from benchmarks._work import working
from benchmarks._workflows import count_up, spread_out
from durable import Client

WIDTH = 10_000
BEFORE = 20
"""Small workflows before it."""


def run(bench: Bench) -> Figures:
    """Measure each database."""
    return {kind: _measure(bench, url) for kind, url in bench.urls.items()}


def _measure(bench: Bench, url: str) -> Figures:
    width = bench.amount(WIDTH, least=250)
    rates: list[float] = []
    shares: list[float] = []
    small: dict[str, list[float]] = {"alone": [], "beside it": []}
    with working(url), working(url):
        for _ in range(bench.repeats):
            bench.rest()
            seconds, done, before, beside = asyncio.run(_once(url, width, bench.amount(BEFORE, least=2)))
            rates.append(width / seconds)
            shares.append(min(done) / width if len(done) > 1 else 0.0)
            small["alone"] += before
            small["beside it"] += beside
    return {
        "activities": width,
        "rate": figure(rates, "activities/s"),
        "share of the process that did less": figure(shares, "ratio"),
        **{
            f"small workflows {name}, per step": {
                f"p{round(share * 100)}": figure(
                    [percentile(took, share) * 1000 / steps.STEPS], "ms", lower_is_better=True
                )
                for share in (0.5, 0.9)
            }
            for name, took in small.items()
        },
    }


async def _once(url: str, width: int, before: int) -> tuple[float, list[int], list[float], list[float]]:
    """Return the seconds that it took, how much each process did, and what small workflows took before and beside."""
    async with connect(url) as client:
        alone = [await _small(client) for _ in range(before)]
        began = time.perf_counter()
        handle = await client.start_workflow(spread_out(width))
        result = asyncio.create_task(handle.result())
        beside = [await _small(client)]
        while not result.done():
            beside.append(await _small(client))
        done = await result
        took = time.perf_counter() - began
        assert handle.result_run_id is not None
        await check_histories(client, url, [handle.result_run_id], 2 * width + 2)
    return took, done, alone, beside


async def _small(client: Client) -> float:
    began = time.perf_counter()
    assert await client.execute_workflow(count_up(0, steps.STEPS)) == steps.STEPS
    return time.perf_counter() - began
