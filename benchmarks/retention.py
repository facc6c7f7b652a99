"""Removing closed runs in bulk: how long it takes, and what it costs a worker at half its load.

The runs are copies of one that a worker has closed, with all its rows. They are removed by the worker itself, as retention does it,
while it starts and finishes workflows at half the rate that it reaches when nothing else is asked of it.
`DURABLE_RETIRED=1000000` says how many; 20,000 by default.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks._bench import Bench
from benchmarks._databases import NAMESPACE, connect, is_postgres, path_of
from benchmarks._figures import Figures, figure
from benchmarks._workflows import noop
from durable import Client, Worker, activity, workflow
from durable.worker import _retention

RUNS = int(os.environ.get("DURABLE_RETIRED", "20000"))
STEPS = 4
LOOK_FOR = 5.0
"""Seconds over which the rate without removals is measured."""

CHUNK = 5000


@activity.defn(name="bench.retention.step")
async def step(number: int) -> int:
    return number


@workflow.defn(name="bench.retention.old")
async def old(steps: int) -> int:
    return sum([await step(number) for number in range(steps)])


def run(bench: Bench) -> Figures:
    """Measure each database."""
    return {kind: asyncio.run(_removed(bench, url)) for kind, url in bench.urls.items()}


async def _removed(bench: Bench, url: str) -> Figures:
    runs = bench.amount(RUNS, least=50)
    seconds = max(0.2, LOOK_FOR * min(1.0, bench.scale))
    before, _retention.LOOK = _retention.LOOK, 0.05
    try:
        async with connect(url) as client, Worker(client, workflows=[noop, old], activities=[step]):
            await client.execute_workflow(old(STEPS), id=f"template-{uuid.uuid4()}")
            template = await _newest(client)
            assert template is not None
            await _copy(url, template, runs)
            most = await _finish(client, seconds, None)
            alone = await _finish(client, seconds, most / 2)
            await client.set_retention(0, workflow_type="bench.retention.old")
            begun = time.perf_counter()
            gone = asyncio.create_task(_all_gone(client))
            beside = await _finish(client, seconds, most / 2, until=gone)
            took = await gone - begun
            await client.clear_retention(workflow_type="bench.retention.old")
    finally:
        _retention.LOOK = before
    return {
        "runs": runs,
        "events of each": 2 + 2 * STEPS,
        "removed": figure([runs / took], "runs/s"),
        "took": figure([took], "s", lower_is_better=True),
        "half load alone": figure([alone], "workflows/s"),
        "half load beside removals": figure([beside], "workflows/s"),
        "kept of the rate": figure([beside / alone], "of the rate alone"),
    }


async def _newest(client: Client) -> str | None:
    async for found in client.list_workflows("WorkflowType = 'bench.retention.old'", limit=1):
        return found.run_id
    return None


async def _all_gone(client: Client) -> float:
    while await _newest(client) is not None:
        await asyncio.sleep(0.25)
    return time.perf_counter()


async def _finish(
    client: Client, seconds: float, rate: float | None, *, until: asyncio.Task[float] | None = None
) -> float:
    """Start and finish workflows for so long, or until something is done, and return how many a second.

    Without a rate it is as many as it can; with one, they begin at that rate, and late ones are caught up on.
    """
    begun = time.perf_counter()
    done = started = 0
    running: set[asyncio.Task[Any]] = set()
    while time.perf_counter() - begun < seconds or (until is not None and not until.done()):
        due = 100 if rate is None else int((time.perf_counter() - begun) * rate) - started
        for _ in range(min(due, 100) - (len(running) if rate is None else 0)):
            started += 1
            task = asyncio.create_task(client.execute_workflow(noop()))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.sleep(0.005)
    done = started - len(running)
    elapsed = time.perf_counter() - begun
    await asyncio.gather(*running)
    return done / elapsed


async def _copy(url: str, template: str, runs: int) -> None:
    """Write so many copies of a closed run."""
    for first in range(0, runs, CHUNK):
        ids = [str(uuid.uuid4()) for _ in range(min(CHUNK, runs - first))]
        if is_postgres(url):
            await _copy_on_server(url, template, ids)
        else:
            await asyncio.to_thread(_copy_in_file, path_of(url), template, ids)


def _copy_in_file(path: Path, template: str, ids: list[str]) -> None:
    db = sqlite3.connect(path, timeout=30)
    with db:
        for table in ("runs", "run_data", "events"):
            names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            rest = ", ".join(name for name in names if name != "run_id")
            text = f"INSERT INTO {table} (run_id, {rest}) SELECT ?, {rest} FROM {table} WHERE run_id = ?"
            db.executemany(text, [(run_id, template) for run_id in ids])
    db.close()


async def _copy_on_server(url: str, template: str, ids: list[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            for table in ("runs", "run_data", "events"):
                names = await connection.fetch(
                    "select column_name from information_schema.columns where table_schema = $1 and table_name = $2",
                    NAMESPACE,
                    table,
                )
                rest = ", ".join(name for (name,) in names if name != "run_id")
                await connection.execute(
                    f"insert into {NAMESPACE}.{table} (run_id, {rest}) select u, {rest} from {NAMESPACE}.{table}, unnest($1::uuid[]) u "
                    "where run_id = $2",
                    ids,
                    template,
                )
    finally:
        await connection.close()
