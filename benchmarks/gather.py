"""One workflow with very many activities at once: how fast, and whether ten times as many take ten times as long."""

from __future__ import annotations

import asyncio
import time

from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure
from benchmarks._workflows import fan_out, identity
from durable import Worker

WIDTHS = (1_000, 10_000)


def run(bench: Bench) -> Figures:
    """Measure each database at each width."""
    return {kind: _widths(bench, url) for kind, url in bench.urls.items()}


def _widths(bench: Bench, url: str) -> Figures:
    rates: dict[int, list[float]] = {full: [] for full in WIDTHS}
    for _ in range(bench.repeats):
        for full, samples in rates.items():
            width = bench.amount(full, least=20)
            bench.rest()
            samples.append(width / asyncio.run(measure(url, width)))
    narrow, wide = WIDTHS
    return {
        **{
            f"{full} activities": {"rate": figure(samples, "activities/s")} for full, samples in rates.items()
        },
        "rate of the wide one as a share of the narrow one's": figure(
            [many / few for few, many in zip(rates[narrow], rates[wide], strict=True)], "ratio (1 is linear)"
        ),
    }


async def measure(url: str, width: int) -> float:
    """Return the seconds from the start to the result."""
    async with connect(url) as client:
        async with Worker(
            client, workflows=[fan_out], activities=[identity], max_concurrent_activities=width
        ):
            await client.execute_workflow(fan_out(3))
            started = time.perf_counter()
            handle = await client.start_workflow(fan_out(width))
            assert await handle.result() == width * (width - 1) // 2
            elapsed = time.perf_counter() - started
        assert handle.result_run_id is not None
        await check_histories(client, url, [handle.result_run_id], 2 * width + 2)
    return elapsed
