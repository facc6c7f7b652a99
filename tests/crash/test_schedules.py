"""A worker is killed before, after and amid each write of a schedule's actions: no instant is doubled or lost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from tests.crash.harness import Job, Point, World, judge
from tests.crash.scheduled import INSTANTS

AT_ONCE = 6
TRIES = 4
METHODS = ("write_schedule", "claim_schedules", "terminate", "send")
MOMENTS = ("before", "into", "after")


@pytest.fixture
def world(store_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(store_url, tmp_path)
    yield made
    made.close()


async def judge_instants(client: Client, world: World, job: Job, killed: set[int]) -> None:
    """Each instant of the period has one run, and the schedule knows of three."""
    told = await client.get_schedule_handle(job.workflow_id).describe()
    assert (told.info.num_actions, told.info.num_actions_skipped_overlap) == (3, 0)
    starts: list[tuple[datetime, datetime | None]] = []
    for instant in INSTANTS:
        handle = client.get_workflow_handle(f"{job.workflow_id}-{instant}")
        assert await handle.result() == [0]
        run = await handle.describe()
        starts.append((run.start_time, run.close_time))
        await judge(client, handle, world.ledger(job), killed)
    flat = [time for pair in starts for time in pair if time is not None]
    assert flat == sorted(flat), "each began behind the end of the one before"


async def judge_replacement(client: Client, world: World, job: Job, killed: set[int]) -> None:
    """Of all that were started one is open, and the others were ended for it."""
    told = await client.get_schedule_handle(job.workflow_id).describe()
    (left,) = [one.workflow_id for one in told.info.running_actions]
    ended = "TERMINATED" if job.drive == "terminating" else "CANCELED"
    for one in told.info.recent_actions:
        action: Any = one.action
        handle = client.get_workflow_handle(action.workflow_id)
        assert (await handle.describe()).status.name == ("RUNNING" if action.workflow_id == left else ended)


JUDGES = {"one_by_one": judge_instants, "terminating": judge_replacement, "cancelling": judge_replacement}


async def visit(world: World, client: Client, drive: str, point: Point, room: asyncio.Semaphore) -> bool:
    async with room:
        for attempt in range(TRIES):
            name = f"{drive}-{str(point).replace(' ', '-')}-{attempt}"
            job = world.job(name, drive=drive, workflow_id=name)
            first = await world.start(dataclasses.replace(job, crash_at=point))
            code = await first.ended()
            assert code in (0, -9), f"{point}: exit {code}\n{first.tail()}"
            last = await world.start(job)
            assert await last.ended() == 0, f"{point}\n{last.tail()}"
            try:
                await JUDGES[drive](client, world, job, {first.pid} if code == -9 else set())
            except AssertionError as error:
                raise AssertionError(f"{point}: {error}\n{last.tail()}") from None
            if code == -9:
                return True
    return False


async def sweep(world: World, drive: str, *, full: bool) -> None:
    async with Client.connect(world.url) as client:
        clean = world.job(f"{drive}-clean", drive=drive, workflow_id=f"{drive}-clean")
        process = await world.start(clean)
        assert await process.ended() == 0, process.tail()
        await JUDGES[drive](client, world, clean, set())
        counts: dict[str, int] = world.ledger(clean, phase="counts")[0]["counts"]
        assert counts["write_schedule"] >= 3, counts
        points = [
            Point(method, number, moment)
            for method in METHODS
            for number in range(1, counts.get(method, 0) + 1)
            for moment in MOMENTS
        ]
        room = asyncio.Semaphore(AT_ONCE)
        chosen = points if full else points[1::4]
        async with asyncio.TaskGroup() as group:
            visits = {point: group.create_task(visit(world, client, drive, point, room)) for point in chosen}
        # How often a schedule is looked at depends on what ends between two looks: the last number may be missed.
        missed = {point.method for point, seen in visits.items() if not seen.result() and point.number == 1}
        assert not missed, f"writes that no process came to: {missed}"


@pytest.mark.parametrize("drive", JUDGES)
async def test_killed_at_some_writes_of_a_schedule(world: World, drive: str) -> None:
    await sweep(world, drive, full=False)


@pytest.mark.crash
@pytest.mark.parametrize("drive", JUDGES)
async def test_killed_at_every_write_of_a_schedule(world: World, drive: str) -> None:
    await sweep(world, drive, full=True)
