"""The example's workflows, their process killed at each of its writes: log, tables and the gateway's ledger add up."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from tests.crash import insurance
from tests.crash.child import Job, Point
from tests.crash.harness import World
from tests.crash.judge import judge_history, judge_replay
from tests.crash.test_sweep import AT_ONCE, POLLS, TRIES, points_of

ENDS = ["completed", "cancelled"]


@pytest.fixture
def world(store_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(store_url, tmp_path)
    yield made
    made.close()


class Sweep:
    """Each point has a database (or a schema) and a gateway of its own: the example's queues have fixed names."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.room = asyncio.Semaphore(AT_ONCE // 2)

    async def job(self, name: str) -> Job:
        directory = self.world.directory / name
        directory.mkdir()
        where: dict[str, Any] = {"url": self.world.url, "namespace": f"at_{name}"}
        if self.world.url.startswith("sqlite"):
            where = {"url": f"sqlite:///{directory / 'app.db'}", "namespace": None}
        await insurance.prepare(where["url"], where["namespace"])
        return self.world.job(name, drive="insurance", workflow_id=str(directory), **where)

    async def judge(self, job: Job) -> None:
        results = [line["result"] for line in self.world.ledger(job, phase="result")]
        assert results
        assert all(result == ENDS for result in results), results
        assert await insurance.faults(job.url, job.namespace, Path(job.workflow_id)) == []
        async with Client.connect(job.url, namespace=job.namespace) as client:
            for policy in insurance.POLICIES:
                history = await client.get_workflow_handle(policy.id).fetch_history()
                judge_history(history.events)
                judge_replay(insurance.insure.definition, history.run_id, history.events)
                assert not await client.store.read_messages([history.run_id])
                assert not await client.store.read_activities(history.run_id)

    async def count(self, name: str) -> dict[str, int]:
        job = await self.job(name)
        process = await self.world.start(job)
        assert await process.ended() == 0, process.tail()
        await self.judge(job)
        counts: dict[str, int] = self.world.ledger(job, phase="counts")[0]["counts"]
        return counts

    async def visit(self, point: Point) -> bool:
        async with self.room:
            for attempt in range(TRIES):
                job = await self.job(f"{point}_{attempt}".replace(" ", "_"))
                first = await self.world.start(dataclasses.replace(job, crash_at=point))
                code = await first.ended()
                assert code in (0, -9), f"{point}: exit {code}\n{first.tail()}"
                last = await self.world.start(job)
                assert await last.ended() == 0, f"{point}\n{last.tail()}"
                try:
                    await self.judge(job)
                except AssertionError as error:
                    raise AssertionError(f"{point}: {error}\n{last.tail()}") from None
                if code == -9:
                    return True
            return False


async def sweep(world: World, *, every: int) -> None:
    found = Sweep(world)
    first, second = await found.count("clean_1"), await found.count("clean_2")
    counts = {name: min(first.get(name, 0), second.get(name, 0)) for name in first}
    assert counts["commit"] > 10, counts
    # Letters are answered whenever the postman comes: which of the last commits is which differs from run to run.
    counts["commit"] -= 4
    points = [one for one in points_of(counts) if one.method not in POLLS or one.number <= POLLS[one.method]]
    async with asyncio.TaskGroup() as group:
        visits = {point: group.create_task(found.visit(point)) for point in points[::every]}
    missed = [str(point) for point, visit in visits.items() if not visit.result()]
    assert not missed, f"points that no process came to: {missed}"


async def test_killed_at_some_writes(world: World) -> None:
    await sweep(world, every=9)


@pytest.mark.crash
async def test_killed_at_every_write(world: World) -> None:
    await sweep(world, every=1)
