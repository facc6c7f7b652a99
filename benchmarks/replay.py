"""Replay of recorded histories, bytes to the end of the code: what a worker pays for a run that it does not have in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks._bench import Bench
from benchmarks._databases import connect, is_postgres, replay_once
from benchmarks._figures import Figures, figure
from benchmarks._workflows import count_up, increment
from durable import Client, Worker
from durable.history import EventRow, decode_history
from durable.testing.replay import replay_open_runs
from durable.worker import Replayer

LENGTHS = ((10, 1000), (10_000, 1))
"""Steps of a run, and how often it is replayed for one measurement."""

DEPLOYED = "replay-before-a-deploy-"
"""How the ids of the runs begin that are replayed from the database: other benchmarks leave theirs there."""


def run(bench: Bench) -> Figures:
    """Record on one database, since the bytes are the same on each, and replay in memory."""
    url = min(bench.urls.values(), key=is_postgres)
    return asyncio.run(_lengths(bench, url))


async def _lengths(bench: Bench, url: str) -> Figures:
    figures: Figures = {}
    async with connect(url) as client:
        for full_steps, full_times in LENGTHS:
            steps, times = bench.amount(full_steps, least=10), bench.amount(full_times)
            run_id, rows = await _record(client, steps)
            rates: list[float] = []
            for _ in range(bench.repeats):
                bench.rest()
                rates.append(steps * times / _replay(client, run_id, rows, times))
            figures[f"{steps} steps"] = {"rate": figure(rates, "steps/s")}
        figures |= await _check_before_a_deploy(client, bench)
    return figures


async def _check_before_a_deploy(client: Client, bench: Bench) -> Figures:
    """What `durable replay` does, in events: read the histories of many runs, and replay them."""
    runs, steps = bench.amount(500, least=20), 20
    async with Worker(client, workflows=[count_up], activities=[increment]):
        handles = [
            await client.start_workflow(count_up(1, steps), id=f"{DEPLOYED}{number}")
            for number in range(runs)
        ]
        for one in handles:
            await one.result()
    replayer = Replayer(workflows=[count_up])
    histories = [await one.fetch_history() for one in handles]
    in_memory, from_database = list[float](), list[float]()
    for _ in range(bench.repeats):
        bench.rest()
        started = time.perf_counter()
        await replayer.replay_workflows(histories)
        in_memory.append(sum(len(one.events) for one in histories) / (time.perf_counter() - started))
        started = time.perf_counter()
        report = await replay_open_runs(client, f"WorkflowId STARTS_WITH '{DEPLOYED}'", replayer=replayer)
        from_database.append(report.events / (time.perf_counter() - started))
        assert report.ok
    return {
        f"{steps} steps, by a replayer": {"rate": figure(in_memory, "events/s")},
        f"{steps} steps, from the database": {"rate": figure(from_database, "events/s")},
    }


async def _record(client: Client, steps: int) -> tuple[str, Sequence[EventRow]]:
    async with Worker(client, workflows=[count_up], activities=[increment]):
        handle = await client.start_workflow(count_up(0, steps))
        assert await handle.result() == steps
    assert handle.result_run_id is not None
    return handle.result_run_id, await client.store.read_events(handle.result_run_id)


def _replay(client: Client, run_id: str, rows: Sequence[EventRow], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        replay_once(client, run_id, decode_history(rows))
    return time.perf_counter() - started
