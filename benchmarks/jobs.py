"""Activities that a client starts in bulk and one other process works, beside PgQueuer's jobs with batches of 200.

Both leave a row for each state: the time is from the first claim to the last completion, ours from the moment the worker is told to
start, since our history has no event for a claim. The peer's log is a row of its state; ours is a history with the argument and the
result, of which a sample is described and read back.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import secrets
from collections.abc import Sequence
from typing import Any

from benchmarks._bench import Bench
from benchmarks._databases import SAMPLE, check_events, connect, is_postgres, last_event_time
from benchmarks._figures import Figures, figure
from benchmarks._programs import ProgramError, ask, side_database
from benchmarks._work import working
from benchmarks._workflows import identity
from durable.client import ActivityExecutionStatus, ActivityHandle, ActivityStart

JOBS = 20_000
LOOK = 0.2
"""Seconds between two looks whether all are done; the time is read from the database afterwards."""

EVENTS = 4
"""Started, scheduled, completed, closed."""


def run(bench: Bench) -> Figures:
    """Measure each database, and the peer on PostgreSQL in turn with it."""
    missing: dict[str, str] = {}
    if importlib.util.find_spec("pgqueuer") is None:
        missing["pgqueuer"] = "pgqueuer is not installed"
    return {**{kind: _on(bench, url, missing) for kind, url in bench.urls.items()}, "missing": missing}


def _on(bench: Bench, url: str, missing: dict[str, str]) -> Figures:
    jobs = bench.amount(JOBS, least=20)
    ours, theirs = list[float](), list[float]()
    settings: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(side_database(url)) if is_postgres(url) and not missing else None
        for _ in range(bench.repeats):
            bench.rest()
            ours.append(jobs / asyncio.run(measure(url, jobs)))
            if place is None or missing:
                continue
            try:
                answer = ask("peers.pgqueuer_jobs", place, jobs)
            except ProgramError as error:
                missing["pgqueuer"] = f"failed: {error}"
                continue
            settings["pgqueuer"] = f"{answer['version']}: {answer['settings']}"
            theirs.append(jobs / answer["seconds"])
    found: Figures = {"jobs": jobs, "durable": figure(ours, "jobs/s")}
    if len(theirs) == len(ours):
        found["pgqueuer"] = figure(theirs, "jobs/s")
        found["share of pgqueuer"] = figure(
            [mine / its for mine, its in zip(ours, theirs, strict=True)], "ratio"
        )
        found["settings"] = settings
    return found


async def measure(url: str, jobs: int) -> float:
    """Return the seconds from the start of the worker to the last completion."""
    async with connect(url) as client:
        batch = f"job-{secrets.token_hex(4)}-"
        mine = f"ActivityId STARTS_WITH '{batch}'"
        handles = await client.start_activities(
            [ActivityStart(identity, number, id=f"{batch}{number}") for number in range(jobs)]
        )
        with working(url) as began:
            while (await client.count_activities(f"{mine} AND ExecutionStatus = 'Running'")).count:
                await asyncio.sleep(LOOK)
        run_ids = [_run_id(handle) for handle in handles]
        ended = await last_event_time(url, run_ids)
        await check_events(url, run_ids, EVENTS)
        await _check(handles)
    return ended - began


def _run_id(handle: ActivityHandle[Any]) -> str:
    assert handle.run_id is not None
    return handle.run_id


async def _check(handles: Sequence[ActivityHandle[Any]]) -> None:
    """See that each of a sample can be described, and has its own result."""
    for number, handle in list(enumerate(handles))[::SAMPLE]:
        assert (await handle.describe()).status == ActivityExecutionStatus.COMPLETED
        assert await handle.result() == number
