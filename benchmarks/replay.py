"""Replay of recorded histories, bytes to the end of the code: what a worker pays for a run that it does not have in memory."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Sequence

from benchmarks._bench import Bench
from benchmarks._databases import connect, is_postgres, replay_once
from benchmarks._figures import Figures, figure
from benchmarks._programs import ProgramError, ask
from benchmarks._workflows import count_up, increment
from durable import Client, Worker
from durable.history import EventRow, decode_history
from durable.testing.replay import replay_open_runs
from durable.worker import Replayer

LENGTHS = ((10, 1000), (1_000, 10), (50_000, 1))
"""Steps of a run, and how often it is replayed for one measurement. The last one has 100,002 events."""

PEER_LENGTHS = ((10, 300), (200, 10))
"""The same for Temporal's replayer, whose time for a step grows with the length of the run."""

DEPLOYED = "replay-before-a-deploy-"
"""How the ids of the runs begin that are replayed from the database: other benchmarks leave theirs there."""


def run(bench: Bench) -> Figures:
    """Record and replay in memory, since the bytes are the same on each database, and from one database."""
    return asyncio.run(_lengths(bench)) | asyncio.run(_from_database(bench))


async def _lengths(bench: Bench) -> Figures:
    rates: dict[int, list[float]] = {}
    theirs: list[float] = []
    missing: dict[str, str] = {}
    settings: dict[str, str] = {}
    if importlib.util.find_spec("temporalio") is None:
        missing["temporalio"] = "temporalio is not installed"
    async with connect("sqlite://:memory:") as client:
        recorded: dict[int, tuple[int, int, str, Sequence[EventRow]]] = {}
        for full_steps, full_times in LENGTHS:
            steps = bench.amount(full_steps, least=10)
            recorded[full_steps] = steps, bench.amount(full_times), *await _record(client, steps)
        for _ in range(bench.repeats):
            for full_steps, (steps, times, run_id, rows) in recorded.items():
                bench.rest()
                rates.setdefault(full_steps, []).append(steps * times / _replay(client, run_id, rows, times))
            if not missing:
                try:
                    theirs.append(await asyncio.to_thread(_temporal, bench, settings))
                except ProgramError as error:
                    missing["temporalio"] = f"failed: {error}"
    shortest, middle, longest = rates.values()
    found: Figures = {
        **{f"{steps} steps": {"rate": figure(samples, "steps/s")} for steps, samples in rates.items()},
        "rate of the longest as a share of the middle one's": figure(
            [long / short for long, short in zip(longest, middle, strict=True)], "ratio (1 is linear)"
        ),
        "missing": missing,
    }
    if len(theirs) == bench.repeats:
        found["temporalio"] = {"rate": figure(theirs, "steps/s"), "settings": settings["temporalio"]}
        found["times temporalio"] = figure(
            [mine / its for mine, its in zip(shortest, theirs, strict=True)], "times"
        )
    return found


def _temporal(bench: Bench, settings: dict[str, str]) -> float:
    """Return the better of the peer's rates."""
    rates: list[float] = []
    for full_steps, full_times in PEER_LENGTHS:
        steps, times = bench.amount(full_steps, least=10), bench.amount(full_times)
        answer = ask("peers.temporal_replay", steps, times)
        settings["temporalio"] = f"{answer['version']}: {answer['settings']}"
        rates.append(steps * times / answer["seconds"])
    return max(rates)


async def _from_database(bench: Bench) -> Figures:
    async with connect(min(bench.urls.values(), key=is_postgres)) as client:
        return await _check_before_a_deploy(client, bench)


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
