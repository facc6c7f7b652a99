"""The ten steps of `steps`, with 4 KB in and out of each, and with activities that take a millisecond, in turn with the plain ones."""

from __future__ import annotations

import asyncio

from benchmarks import steps
from benchmarks._bench import Bench
from benchmarks._figures import Figures, figure
from benchmarks._workflows import carry, count_slowly, count_up, echo, increment, pause

PLAIN = "plain"
VARIANTS = {
    PLAIN: (count_up, increment),
    "4 KB payloads": (carry, echo),
    "1 ms activities": (count_slowly, pause),
}

LOADS = ((1, 100), (50, 1000), (500, 2000))
"""Workflows at once, and in all."""


def run(bench: Bench) -> Figures:
    """Measure each database at each load."""
    return {
        kind: {f"{concurrency} at once": _load(bench, url, concurrency, runs) for concurrency, runs in LOADS}
        for kind, url in bench.urls.items()
    }


def _load(bench: Bench, url: str, concurrency: int, full: int) -> Figures:
    runs = bench.amount(full, least=min(concurrency, 20))
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(bench.repeats):
        for name, (code, step) in VARIANTS.items():
            bench.rest()
            elapsed, _ = asyncio.run(steps.measure(url, runs, concurrency, code, step))
            rates[name].append(runs * steps.STEPS / elapsed)
    return {
        name: {
            "rate": figure(samples, "steps/s"),
            "share of the plain one's": figure(
                [mine / plain for mine, plain in zip(samples, rates[PLAIN], strict=True)], "ratio"
            ),
        }
        for name, samples in rates.items()
    }
