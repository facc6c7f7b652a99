"""A million runs that are parked: what new work costs beside them, and what happens when many of them fall due at once."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from statistics import median
from typing import Any

from benchmarks import steps
from benchmarks._bench import Bench
from benchmarks._databases import connect
from benchmarks._figures import Figures, figure, percentile
from benchmarks._seeding import Template, copies, real, settled
from benchmarks._workflows import identity
from durable import Worker, workflow

PARKED = 1_000_000
"""Runs that are parked: half of them at timers, half waiting for signals."""

BURST = 50_000
"""Timers that are due within one second."""

PEAK = 100_000
"""Invoices that fall due at one instant."""

OF_THEM = 3_000_000
"""Invoices on the day that is derived."""

RUNS = 1500
"""Ten-step workflows that are the new work, so many at once."""
AT_ONCE = 50

SEEDED = 5_000.0
"""Runs that are seeded in a second, on a slow day: the instant must not come before the worker."""

YEAR = timedelta(days=365)
TENTHS = 10

_woken: dict[str, list[float]] = {}
_wanted = 0
_all = asyncio.Event()


def _note(workflow_id: str) -> None:
    _woken.setdefault(workflow_id, []).append(time.time())
    if len(_woken) == _wanted:
        _all.set()


@workflow.defn(name="bench.nap")
async def nap() -> None:
    """Wait for a timer, and end."""
    await workflow.sleep(YEAR)
    with workflow.unsafe.sandbox_unrestricted():
        _note(workflow.info().workflow_id)


@workflow.defn(name="bench.invoice")
async def invoice() -> int:
    """Wait until it is due, and do one thing."""
    await workflow.sleep(YEAR)
    done = await identity(1)
    with workflow.unsafe.sandbox_unrestricted():
        _note(workflow.info().workflow_id)
    return done


@workflow.defn(name="bench.listen")
class Listen:
    """Waits for a signal."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._told)

    @workflow.signal
    async def tell(self) -> None:
        self._told = True


def run(bench: Bench) -> Figures:
    """Measure each database."""
    return {kind: asyncio.run(_measure(bench, url)) for kind, url in bench.urls.items()}


async def _measure(bench: Bench, url: str) -> Figures:
    parked = bench.amount(PARKED, least=200)
    empty = await _rates(bench, url)
    templates = [
        await real(url, "nap", nap, nap()),
        await real(url, "listen", Listen, Listen.run(), events=1),
    ]
    started = time.perf_counter()
    for template in templates:
        far = None if template.wake_at is None else template.wake_at
        await copies(url, template, 1, parked // 2, wake_at=far)
    await settled(url)
    seeded = time.perf_counter() - started
    beside = await _rates(bench, url)
    return {
        "parked runs": parked,
        "seconds to seed them": round(seeded, 1),
        "new work": {
            "in an empty database": figure(empty, "steps/s"),
            "beside them": figure(beside, "steps/s"),
            "share": figure([median(beside) / median(empty)], "ratio"),
        },
        "timers due within a second": await _burst(url, templates[0], bench.amount(BURST, least=50)),
        "due at one instant": await _peak(url, bench.amount(PEAK, least=100)),
    }


async def _rates(bench: Bench, url: str) -> list[float]:
    runs = bench.amount(RUNS, least=AT_ONCE)
    found: list[float] = []
    for _ in range(bench.repeats):
        bench.rest()
        elapsed, _ = await steps.measure(url, runs, AT_ONCE)
        found.append(runs * steps.STEPS / elapsed)
    return found


async def _burst(url: str, template: Template, count: int) -> Figures:
    """One worker, and timers of runs that nobody has in memory, spread over one second."""
    at = time.time() + 0.5 + count / SEEDED
    await copies(url, template, 90_000_000 - count, count, wake_at=round(at * 1e6), gap=1e6 / count)
    await settled(url)
    took = await _until_all(url, nap, "bench.nap", count, at)
    late = [times[0] - at for times in _woken.values()]
    return {
        "timers": count,
        "all behind the first instant": figure([took], "s", lower_is_better=True),
        "behind it p50": figure([percentile(late, 0.5)], "s", lower_is_better=True),
        "each once": all(len(times) == 1 for times in _woken.values()),
        "memory": _memory(),
    }


async def _peak(url: str, count: int) -> Figures:
    template = await real(url, "invoice", invoice, invoice())
    at = time.time() + 0.5 + count / SEEDED
    await copies(url, template, 1, count, wake_at=round(at * 1e6))
    await settled(url)
    took = await _until_all(url, invoice, "bench.invoice", count, at)
    ended = sorted(times[0] for times in _woken.values())
    part = count // TENTHS
    tenths = [part / (ended[part * (n + 1) - 1] - (ended[part * n - 1] if n else at)) for n in range(TENTHS)]
    return {
        "invoices": count,
        "rate": figure([count / took], "runs/s"),
        "rate of each tenth": [round(rate) for rate in tenths],
        "last tenth to the median": figure([tenths[-1] / median(tenths)], "ratio"),
        "each once": all(len(times) == 1 for times in _woken.values()),
        f"hours for {OF_THEM:,} at this rate": round(OF_THEM / (count / took) / 3600, 2),
        "memory": _memory(),
    }


async def _until_all(url: str, definition: Any, name: str, count: int, at: float) -> float:
    """Run one worker until all of these have ended and are committed; return how long behind the instant that was."""
    global _wanted, _all
    _woken.clear()
    _wanted, _all = count, asyncio.Event()
    async with connect(url) as client, Worker(client, workflows=[definition], activities=[identity]):
        await _all.wait()
        ended = f"WorkflowType = '{name}' AND ExecutionStatus = 'Completed'"
        while (found := (await client.count_workflows(ended)).count) < count:
            await asyncio.sleep(0.01)
        took = time.time() - at
    assert found == count, f"{found} have closed, of {count}"
    return took


def _memory() -> Figures:
    """The memory of this process, worker and driver, where the system tells."""
    try:
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return {}
    return {"unit": "MB", "resident": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)}
