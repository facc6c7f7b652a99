"""What the guard costs a step: CPU time of the whole process, with the guard off, warning and raising, in turn.

The load is that of `steps`, on one database after the other. Each round has all modes, in an order drawn anew, so that what
else the machine does falls on all of them; the share is the median of the rounds' own.
"""

from __future__ import annotations

import asyncio
import time
from random import Random

from benchmarks._bench import Bench
from benchmarks._databases import connect
from benchmarks._figures import Figures, figure
from benchmarks._workflows import count_up, increment, step_latencies
from durable import Client, Worker

STEPS = 10
CONCURRENCY = 50
RUNS = 400
"""Workflows of a round."""

ROUNDS = 15
MODES = ("off", "warn", "error")


def run(bench: Bench) -> Figures:
    """Measure each database."""
    rounds = bench.amount(ROUNDS, least=1)
    runs = bench.amount(RUNS, least=20)
    return {kind: asyncio.run(_measure(url, rounds, runs)) for kind, url in bench.urls.items()}


async def _measure(url: str, rounds: int, runs: int) -> Figures:
    async with connect(url) as client:
        spent: dict[str, list[float]] = {mode: [] for mode in MODES}
        order = Random(1)  # what comes behind what is not to count
        for number in range(rounds + 1):
            for mode in order.sample(MODES, len(MODES)):
                seconds = await _round(client, mode, runs)
                if number:  # the first one warms up
                    spent[mode].append(seconds / (runs * STEPS) * 1e6)
    return {
        mode: {
            "cpu per step": figure(spent[mode], "us", lower_is_better=True),
            "of that without": figure(
                [mine / bare for mine, bare in zip(spent[mode], spent["off"], strict=True)],
                "ratio",
                lower_is_better=True,
            ),
        }
        for mode in MODES
    }


async def _round(client: Client, mode: str, runs: int) -> float:
    async with Worker(client, workflows=[count_up], activities=[increment], guard=mode):
        gate = asyncio.Semaphore(CONCURRENCY)

        async def one(number: int) -> None:
            async with gate:
                assert await client.execute_workflow(count_up(number, STEPS)) == STEPS

        started = time.process_time()
        await asyncio.gather(*(one(number) for number in range(runs)))
        spent = time.process_time() - started
    step_latencies()
    return spent
