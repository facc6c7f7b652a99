"""`durable bench`: how many steps a second one worker on this machine makes on this database."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from statistics import quantiles
from typing import Any

from durable import activity, workflow
from durable.cli._context import Context, hurried
from durable.cli._exits import ExitCode
from durable.cli._options import duration, finish, whole
from durable.client import Client
from durable.store import migrations, scratch
from durable.worker import Worker

RUNS = (1, 50, 500)
"""Workflows at once: what one has to wait for, what a busy process does, and about the most."""

SECONDS = 5.0
"""For how long each number is measured."""

WARM = 0.5
"""Seconds before that, which are not counted: plans are made and caches filled."""

STEPS = 200
"""Steps of a workflow before the next one is started: few enough that no history grows long, so that a start costs little."""

MOST = 2_000
"""Workflows at once at most: with more, one process measures how it switches between them."""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Measure steps a second, and how long a step takes, with one worker in this process: workflows that call an activity "
        "which does nothing, one after the other, so that each step is a commit. It makes a namespace of its own on the database "
        "(a schema on PostgreSQL; a folder beside the file on SQLite) and removes it at its end; what is there is not touched, "
        "but whoever else works on the database is slowed down meanwhile."
    )
    parser.add_argument(
        "--runs",
        type=whole,
        action="append",
        metavar="N",
        help=f"workflows at once; several times for several; {', '.join(map(str, RUNS))} by default",
    )
    parser.add_argument(
        "--seconds",
        type=duration,
        default=timedelta(seconds=SECONDS),
        metavar="TIME",
        help=f"how long each is measured; {SECONDS:g}s by default",
    )
    finish(parser, bench)


async def bench(context: Context) -> ExitCode:
    """Measure one number of workflows after the other."""
    options, out = context.options, context.out
    levels: Sequence[int] = options.runs or RUNS
    if not all(0 < runs <= MOST for runs in levels):
        raise ValueError(f"--runs is a number from 1 to {MOST}")
    if options.seconds <= timedelta(0):
        raise ValueError("--seconds must be longer than zero")
    if options.namespace is not None:
        raise ValueError("bench makes a namespace of its own; leave -n out")
    url = context.settings.url
    await migrations(url, namespace=None, **hurried(url))  # it says soon when the database is away
    async with scratch(url) as (store, namespace, settings):
        out.note(", ".join(f"{name} {value}" for name, value in settings.items()))
        async with context.client_of(store, namespace) as client:
            await out.records(
                "results",
                _measured(context, client, levels, settings),
                ("runs", "steps/s", "p50", "p99"),
                lambda one: (
                    str(one["runs"]),
                    f"{one['steps_per_second']:.0f}",
                    f"{one['p50_ms']:.2f} ms",
                    f"{one['p99_ms']:.2f} ms",
                ),
            )
    return ExitCode.OK


async def _measured(
    context: Context, client: Client, levels: Sequence[int], settings: Mapping[str, str]
) -> AsyncIterator[dict[str, Any]]:
    seconds = context.options.seconds.total_seconds()
    meter = Meter()
    loop = program(meter)
    most = max(levels)
    async with Worker(
        client,
        task_queue="bench",
        workflows=[loop],
        activities=[meter.step],
        max_concurrent_activities=most,
        max_cached_workflows=most,
    ):
        for runs in levels:
            context.out.note(f"{runs} at once, for {seconds:g} s ...")
            yield await meter.measure(client, loop, runs, seconds) | {"settings": settings}


class Meter:
    """Counts steps, and times them: from when an activity of a workflow begins until its next one does."""

    def __init__(self) -> None:
        self.measuring = self.going = False
        self.took: list[float] = []
        self._last: dict[str, float] = {}

        @activity.defn(name="durable-bench-step")
        async def step() -> bool:
            """Return whether there is to be another one."""
            run, now = activity.info().workflow_run_id or "", time.perf_counter()
            before, self._last[run] = self._last.get(run), now
            if self.measuring and before is not None:
                self.took.append(now - before)
            return self.going

        self.step = step

    async def measure(self, client: Client, loop: Any, runs: int, seconds: float) -> dict[str, Any]:
        """Keep so many workflows going for so long, and return what was counted."""

        async def keep_going() -> None:
            while self.going:
                await client.execute_workflow(loop(STEPS), task_queue="bench")

        self.took, self._last, self.going = [], {}, True
        async with asyncio.TaskGroup() as group:
            for _ in range(runs):
                group.create_task(keep_going())
            await asyncio.sleep(WARM)
            self.measuring, begun = True, time.perf_counter()
            await asyncio.sleep(seconds)
            self.measuring, took = False, time.perf_counter() - begun
            self.going = False
        if len(self.took) < 2:
            raise ValueError(f"fewer than two steps in {seconds:g} s: say more --seconds")
        parts = quantiles(self.took, n=100)
        return {
            "runs": runs,
            "seconds": round(took, 3),
            "steps": len(self.took),
            "steps_per_second": round(len(self.took) / took, 1),
            "p50_ms": round(parts[49] * 1000, 3),
            "p99_ms": round(parts[98] * 1000, 3),
        }


def program(meter: Meter) -> Any:
    """Return the workflow: step after step, until it is told that it was the last one."""
    step = meter.step

    @workflow.defn(name="durable-bench")
    async def loop(steps: int) -> None:
        for _ in range(steps):
            if not await step():
                return

    return loop
