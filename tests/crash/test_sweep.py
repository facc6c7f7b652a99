"""A worker is killed before, after and amid each of its writes; another one carries on, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable import Client
from durable.history import StartChildWorkflowExecutionInitiated
from tests.crash.child import WRITES, Point
from tests.crash.harness import World, judge
from tests.crash.programs import SCENARIOS, Scenario
from tests.crash.wires import WIRE

AT_ONCE = 6
"""Worlds at the same time: most of each is waiting for a lease to end."""

TRIES = 4
"""How often a point may be missed: steps that are ready together share a commit, or do not."""

POLLS = {
    "claim_runs": 2,
    "claim_activities": 2,
    "claim_probationer": 1,
    "take_over": 1,
    "bury_worker": 1,
    "heartbeat": 2,
}
"""Points of methods that are called again and again by the clock: only the first few say something."""


CANONICAL = ("sequence", "waits", "children", "updates", "continues", "cancels")
"""Activities one behind the other; timers and a signal; children, their ends and a stranger; updates; runs that follow
each other; a cancel."""

MISSED = 0.05
"""The share of writes to the wire that need not be come to: renewals and polls go by the clock, so no two lives have the
same."""


@pytest.fixture
def world(store_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(store_url, tmp_path)
    yield made
    made.close()


class Sweep:
    """The points of one scenario, and what is found at each."""

    def __init__(self, world: World, client: Client, scenario: Scenario) -> None:
        self.world = world
        self.client = client
        self.scenario = scenario
        self.room = asyncio.Semaphore(AT_ONCE)

    async def count(self, which: int = 1) -> dict[str, int]:
        """How often a clean run writes."""
        name = f"{self.scenario.name}-clean-{which}"
        job = self.world.job(name, drive=self.scenario.name, workflow_id=name)
        process = await self.world.start(job)
        assert await process.ended() == 0, process.tail()
        counts: dict[str, int] = self.world.ledger(job, phase="counts")[0]["counts"]
        await self.judge(job, set())
        return counts

    async def judge(self, job, killed: set[int]) -> None:
        ledger = self.world.ledger(job)
        results = [line["result"] for line in ledger if line["phase"] == "result"]
        assert results, "nobody got a result"
        assert all(result == results[0] for result in results), results
        assert self.scenario.right(results[0]), results[0]
        handle = self.client.get_workflow_handle(job.workflow_id)
        assert (await handle.describe()).status.name == self.scenario.status
        newest = await self.client.store.find_run(job.workflow_id)
        assert newest is not None
        run_id = newest.first_run_id
        while run_id:
            run = self.client.get_workflow_handle(job.workflow_id, run_id=run_id)
            await judge(self.client, run, ledger, killed)
            run_id, before = getattr((await run.fetch_history()).events[-1].data, "new_run_id", ""), run_id
        assert before == newest.run_id, "two runs follow one"
        for event in (await handle.fetch_history()).events:
            if isinstance(event.data, StartChildWorkflowExecutionInitiated):
                child = self.client.get_workflow_handle(event.data.workflow_id, run_id=event.data.run_id)
                await judge(self.client, child, ledger, killed)

    async def visit(self, *points: Point) -> bool:
        """Kill one process after the other at these points, let a last one finish, and judge; False when one was missed."""
        async with self.room:
            for attempt in range(TRIES):
                name = "-".join(
                    [self.scenario.name, *(str(point).replace(" ", "-") for point in points), str(attempt)]
                )
                job = self.world.job(name, drive=self.scenario.name, workflow_id=name)
                killed: set[int] = set()
                hit = []
                for point in points:
                    process = await self.world.start(dataclasses.replace(job, crash_at=point))
                    code = await process.ended()
                    hit.append(code == -9)
                    if code == -9:
                        killed.add(process.pid)
                    else:
                        assert code == 0, f"{point}: exit {code}\n{process.tail()}"
                last = await self.world.start(job)
                assert await last.ended() == 0, f"{points}\n{last.tail()}"
                try:
                    await self.judge(job, killed)
                except AssertionError as error:
                    raise AssertionError(f"{', '.join(map(str, points))}: {error}\n{last.tail()}") from None
                if all(hit):
                    return True
            return False

    async def visit_all(self, points: list[tuple[Point, ...]], *, missing: float = 0.0) -> None:
        async with asyncio.TaskGroup() as group:
            visits = {point: group.create_task(self.visit(*point)) for point in points}
        missed = [", ".join(map(str, point)) for point, visit in visits.items() if not visit.result()]
        print(f"{self.scenario.name}: killed at {len(visits) - len(missed)} of {len(visits)} points")
        assert len(missed) <= missing * len(visits), f"points that no process came to: {missed}"


def points_of(counts: dict[str, int], when: tuple[str, ...] = ("before", "after")) -> list[Point]:
    return [
        Point(method, number, moment)
        for method in WRITES
        for number in range(1, min(counts.get(method, 0), POLLS.get(method, 1_000)) + 1)
        for moment in when
    ]


async def sweep(world: World, name: str, *, full: bool) -> None:
    scenario = SCENARIOS[name]
    async with Client.connect(world.url, data_converter=scenario.converter) as client:
        found = Sweep(world, client, scenario)
        first, second = await found.count(1), await found.count(2)
        counts = {method: min(first.get(method, 0), second.get(method, 0)) for method in first}
        counts["commit"] = min(counts["commit"], found.scenario.commits)
        for needed in ("create_runs", "commit", "register_worker"):
            assert counts[needed] > 0, counts
        points = points_of(counts, ("before", "into", "after") if full else ("before", "after"))
        if not full:
            points = [
                p for p in points if p.method in ("commit", "finish_attempts", "send", "claim_activities")
            ][::2]
        await found.visit_all([(point,) for point in points])


@pytest.mark.parametrize(
    "name", ["waits", "fan", "beats", "children", "updates", "continues", "coded", "tidies"]
)
async def test_killed_at_some_writes(world: World, name: str) -> None:
    await sweep(world, name, full=False)


@pytest.mark.crash
@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_at_every_write(world: World, name: str) -> None:
    await sweep(world, name, full=True)


async def sweep_wire(world: World, name: str, *, some: int = 0) -> None:
    scenario = SCENARIOS[name]
    async with Client.connect(world.url, data_converter=scenario.converter) as client:
        found = Sweep(world, client, scenario)
        writes = min((await found.count(1))[WIRE], (await found.count(2))[WIRE])
        when = ("before", "amid") if world.url.startswith("postgres") else ("before",)
        points = [Point(WIRE, number, moment) for number in range(1, writes + 1) for moment in when]
        chosen = points[:: len(points) // some] if some else points
        await found.visit_all([(point,) for point in chosen], missing=MISSED)


async def test_killed_at_some_writes_to_the_wire(world: World) -> None:
    await sweep_wire(world, "waits", some=5)


@pytest.mark.crash
@pytest.mark.parametrize("name", CANONICAL)
async def test_killed_at_every_write_to_the_wire(world: World, name: str) -> None:
    await sweep_wire(world, name)


@pytest.mark.crash
async def test_killed_while_taking_over(world: World) -> None:
    """The second worker dies too, at each of the writes with which it takes over from the first."""
    first = Point("commit", 3, "after")
    async with Client.connect(world.url) as client:
        found = Sweep(world, client, SCENARIOS["waits"])
        seconds = [
            Point(method, number, moment)
            for method, numbers in (
                ("bury_worker", 1),
                ("take_over", 2),
                ("claim_runs", 4),
                ("commit", 2),
                ("create_runs", 1),
            )
            for number in range(1, numbers + 1)
            for moment in ("before", "into", "after")
        ]
        await found.visit_all([(first, second) for second in seconds])
