"""Steps per second against how many workflows run at once, how long a run's history is, and how many runs are parked beside them."""

from __future__ import annotations

import asyncio

from benchmarks import floor, steps
from benchmarks._bench import Bench
from benchmarks._databases import connect
from benchmarks._figures import Figures, figure
from benchmarks._parked import park
from benchmarks._workflows import count_and_wait, increment
from durable import Worker

CONCURRENCY = (
    (1, 100),
    (2, 200),
    (5, 500),
    (10, 1000),
    (20, 1500),
    (50, 2500),
    (100, 3000),
    (200, 4000),
    (500, 5000),
    (1000, 6000),
)
"""Workflows of ten steps at once, and in all."""

AT_ONCE = 50
LENGTHS = ((10, 2500), (100, 250), (1_000, 50), (5_000, 50))
"""Steps of a run, and runs, 50 at once."""

PARKED = (0, 1_000, 10_000, 100_000)
"""Runs that wait for a signal in the same database, and have left the worker's memory."""

BESIDE = 2500
"""Workflows that are run beside them."""


def run(bench: Bench) -> Figures:
    """Measure each database."""
    return {kind: _on(bench, url) for kind, url in bench.urls.items()}


def _on(bench: Bench, url: str) -> Figures:
    curves: dict[str, dict[int, list[float]]] = {}

    def note(curve: str, x: int, rate: float) -> None:
        curves.setdefault(curve, {}).setdefault(x, []).append(rate)
        bench.rest()

    for _ in range(bench.repeats):
        for concurrency, full in bench.points(CONCURRENCY):
            runs = bench.amount(full, least=min(concurrency, 20))
            note("concurrency", concurrency, _rate(url, runs, steps.STEPS, concurrency))
            note("concurrency, floor", concurrency, _floor(url, runs, concurrency))
        for full_length, full in bench.points(LENGTHS):
            length, runs = bench.amount(full_length, least=10), bench.amount(full, least=3)
            note("history", length, _rate(url, runs, length, AT_ONCE))
    there, beside = 0, bench.amount(BESIDE, least=20)
    for full in bench.points(PARKED):
        parked = round(full * bench.scale)
        asyncio.run(_park(url, parked - there))
        there = parked
        for _ in range(bench.repeats):
            note("parked", parked, _rate(url, beside, steps.STEPS, AT_ONCE))
    return {
        curve: {str(x): figure(samples, "steps/s") for x, samples in points.items()}
        for curve, points in curves.items()
    }


def _rate(url: str, runs: int, length: int, concurrency: int) -> float:
    elapsed, _ = asyncio.run(steps.measure(url, runs, concurrency, steps=length))
    return runs * length / elapsed


def _floor(url: str, runs: int, concurrency: int) -> float:
    elapsed, _, _ = asyncio.run(floor.measure(url, runs, steps.STEPS, concurrency))
    return runs * steps.STEPS / elapsed


async def _park(url: str, count: int) -> None:
    """Leave so many runs that wait; the worker that took them there is gone."""
    async with connect(url) as client, Worker(client, workflows=[count_and_wait], activities=[increment]):
        await park(client, url, count, steps=1)
