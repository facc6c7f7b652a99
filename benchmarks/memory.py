"""What a run costs in memory that is cached and idle: it has made its ten steps and waits for a signal.

A process of its own lets runs come to rest, in two portions, and looks at its resident memory after each: what the second portion has added
is the price, since the first one has filled what is paid once. Buffers of the database's driver count; so does what the allocator keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import sys
from pathlib import Path

from benchmarks._bench import Bench
from benchmarks._databases import check_histories, connect
from benchmarks._figures import Figures, figure
from benchmarks._parked import AT_ONCE, events_at_rest, park
from benchmarks._programs import ask
from benchmarks._workflows import count_and_wait, go, increment
from durable import Worker
from durable.client import WorkflowHandle

RUNS = 8_000
"""Cached at the end."""

STEPS = 10
EVENTS = events_at_rest(STEPS) + 2
"""At rest, and the signal and the end."""


def run(bench: Bench) -> Figures:
    """Measure each database."""
    runs = bench.amount(RUNS, least=40)
    return {
        kind: {
            "runs": runs,
            "per cached run": figure(
                [ask("memory", url, runs)["bytes"] / 1000 for _ in range(bench.repeats)],
                "KB",
                lower_is_better=True,
            ),
        }
        for kind, url in bench.urls.items()
    }


async def measure(url: str, runs: int) -> float:
    """Return the bytes that one run of the second half has added."""
    async with connect(url) as client:
        async with Worker(
            client,
            workflows=[count_and_wait],
            activities=[increment],
            max_cached_workflows=runs,
            max_concurrent_activities=AT_ONCE,
        ):
            handles: list[WorkflowHandle] = []
            resident: list[int] = []
            for _ in range(2):
                handles += await park(client, url, runs // 2, STEPS)
                gc.collect()
                resident.append(_resident())
            for handle in handles:
                await handle.signal(go())
            for handle in handles:
                assert await handle.result() == STEPS
        run_ids = [handle.result_run_id for handle in handles]
        await check_histories(client, url, run_ids, EVENTS)
    return (resident[1] - resident[0]) / (runs // 2)


def _resident() -> int:
    """The bytes of this process in memory now; at their peak where the system does not say."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("runs", type=int)
    options = parser.parse_args()
    print(json.dumps({"bytes": asyncio.run(measure(options.url, options.runs))}))
