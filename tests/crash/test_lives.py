"""Processes that die, hang, sleep and leave, and what the others make of it."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from durable import Client, WorkflowFailureError
from durable.exceptions import CancelledError
from durable.history import ActivityTaskCompleted, ActivityTaskScheduled
from tests._postgres import PostgresServer
from tests.crash.harness import Process, World, judge, judge_history, until
from tests.crash.programs import beats, exits, go, long, loops, parked, remote, sequence, sibling, waits


@pytest.fixture
def world(store_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(store_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def postgres_world(postgres_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(postgres_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    name = "world" if "world" in request.fixturenames else "postgres_world"
    async with Client.connect(request.getfixturevalue(name).url) as connected:
        yield connected


async def gather_results(handles: list[Any], timeout: float = 120.0) -> list[Any]:
    async with asyncio.timeout(timeout):
        return await asyncio.gather(*[handle.result() for handle in handles])


# --- two queues, three processes ---


async def test_an_activity_moves_from_process_to_process(
    world: World, client: Client, tmp_path: Path
) -> None:
    """The workflow is in one process; its activity runs in a second, that is killed amid it, and then in a third."""
    door = tmp_path / "door"
    home = world.job("home", side=False, serve=None)
    away = world.job("away", side=False, serve=("crash.elsewhere",))
    await world.ready(home)
    handle = await client.start_workflow(remote("away", str(door)), task_queue="home")

    async def queued() -> bool:
        pending = (await handle.describe()).pending_activities
        return [one.state for one in pending] == ["queued"]

    await until("the activity is queued, and nobody serves its queue", queued)
    second = await world.ready(away)
    await until("it runs in the second process", lambda: world.ledger(away, phase="begin", pid=second.pid))
    second.signal(signal.SIGKILL)
    assert await second.ended() == -9
    third = await world.ready(away)
    await until("it runs in the third process", lambda: world.ledger(away, phase="begin", pid=third.pid))
    door.touch()
    assert await handle.result(timeout=60) == f"ran in {third.pid}"
    ledger = world.ledger(away)
    await judge(client, handle, ledger, {second.pid})
    assert [line["attempt"] for line in ledger if line["phase"] == "begin"] == [1, 2]
    completed = [
        e.data for e in (await handle.fetch_history()).events if isinstance(e.data, ActivityTaskCompleted)
    ]
    assert [data.attempt for data in completed] == [2]


# --- a run that kills its workers ---


async def test_a_run_that_kills_its_worker_is_quarantined_and_no_other(world: World, client: Client) -> None:
    """One run exits the process; 100 have activities under way, 1,000 are parked: three deaths, and one run is held."""
    job = world.job("home", side=False, cached=2000, slots=200)

    async def start(call: Any, number: int) -> Any:
        return await client.start_workflow(call, id=f"{call.name}-{number}", task_queue="home")

    process = await world.ready(job)
    quiet = [await one for one in asyncio.as_completed([start(parked(), i) for i in range(1000)])]
    siblings = [await one for one in asyncio.as_completed([start(sibling(1.0), i) for i in range(100)])]
    await until(
        "all siblings have an activity under way",
        lambda: len({line["workflow"] for line in world.ledger(job, phase="begin")}) == 100,
    )
    killer = await start(exits(9), 0)
    deaths = 0
    while True:
        await until("the process died, or the run is held", functools.partial(_either, process, killer))
        if process.alive:
            break
        assert await process.ended() == 9
        deaths += 1
        assert deaths <= 3, "a fourth process died of it"
        process = await world.ready(job)
    told = await killer.describe()
    assert (deaths, told.hold, told.owner) == (3, "quarantined", None)
    assert "died" in told.reason
    assert told.status.name == "RUNNING"
    assert await gather_results(siblings) == ["slow"] * 100
    await asyncio.gather(*[handle.signal(go("on")) for handle in quiet])
    assert await gather_results(quiet) == ["on"] * 1000
    killed = {one.pid for one in world.processes if not one.alive}
    ledger = world.ledger(job)
    for handle in [*siblings, quiet[0], quiet[-1]]:
        await judge(client, handle, ledger, killed)
    held = (await killer.describe()).hold
    assert held == "quarantined"
    # An operator may still end it.
    await killer.terminate(reason="it kills")
    with pytest.raises(WorkflowFailureError):
        await killer.result()


async def _either(process: Process, killer: Any) -> bool:
    return not process.alive or (await killer.describe()).hold == "quarantined"


# --- code that holds the thread ---


@pytest.mark.temporal("workflow/deadlock", "workflow/deadlock_fill_up_slots")
async def test_an_endless_loop_blocks_its_run_and_no_other(world: World, client: Client) -> None:
    # More than a busy machine holds up a turn that is in order.
    job = world.job("home", side=False, break_after=4.0, lease=30.0)
    process = await world.ready(job)
    slow = await client.start_workflow(sibling(0.2), task_queue="home")
    stuck = await client.start_workflow(loops(), task_queue="home")
    others = [await client.start_workflow(sequence(2), task_queue="home") for _ in range(5)]

    async def blocked() -> bool:
        return (await stuck.describe()).hold == "blocked"

    await until("the run is blocked", blocked)
    told = await stuck.describe()
    assert "programs.py" in told.reason, told.reason
    assert "loops" in told.reason
    assert await gather_results([slow, *others]) == ["slow", *[[0, 10]] * 5]
    assert process.alive
    await judge(client, slow, world.ledger(job), set())
    judge_history((await stuck.fetch_history()).events, closed=False)


# --- a process that is not dead ---


async def test_a_worker_that_was_stopped_writes_nothing_when_it_wakes(
    postgres_world: World, client: Client
) -> None:
    """SIGSTOP for longer than a lease, takeover, SIGCONT: what the old one had in hand is refused, and it starts over."""
    world = postgres_world
    job = world.job("home", side=False)
    first = await world.ready(job)

    async def owners(handles: list[Any]) -> list[str | None]:
        return [(await handle.describe()).owner for handle in handles]

    while True:
        handles = [await client.start_workflow(long(40), task_queue="home") for _ in range(5)]
        runs = {handle.result_run_id for handle in handles}
        await until(
            "all have begun",
            lambda runs=runs: runs <= {line["run"] for line in world.ledger(job, phase="end")},
        )
        first.signal(signal.SIGSTOP)
        if None not in (owned := await owners(handles)):
            break
        first.signal(signal.SIGCONT)  # they had ended before it was stopped: others are to be in its hand
    owner = owned[0]
    second = await world.ready(job)

    async def taken() -> bool:
        return owner not in await owners(handles)

    await until("the other one has taken over", taken)
    first.signal(signal.SIGCONT)
    await gather_results(handles)
    assert [await handle.result() for handle in handles] == [sum(range(40)) * 10] * 5
    # Frozen is as good as dead: what it had begun may have been begun again by the other.
    for handle in handles:
        await judge(client, handle, world.ledger(job), {first.pid})
    await until(
        "it has started over as another incarnation", lambda: "starting over as a new one" in first.tail(400)
    )
    second.signal(signal.SIGTERM)
    assert await second.ended() == 0
    again = await client.start_workflow(sequence(2), task_queue="home")
    assert await again.result(timeout=60) == [0, 10]
    assert first.alive


# --- a process that leaves ---


@pytest.mark.temporal("worker_shutdown/poll_complete_on_shutdown")
async def test_a_worker_that_leaves_hands_everything_back_at_once(world: World, client: Client) -> None:
    """With a lease of an hour, only a hand-over explains that another one goes on at all while the test waits."""
    job = world.job("home", side=False, lease=3600.0)
    first = await world.ready(job)
    waiting = [await client.start_workflow(waits(), task_queue="home") for _ in range(20)]
    busy = await client.start_workflow(sibling(600.0), task_queue="home")
    await until(
        "all wait for a signal, and one has an activity under way",
        lambda: len(world.ledger(job, phase="end")) == 20 and len(world.ledger(job, phase="begin")) == 21,
    )
    second = await world.ready(job)
    first.signal(signal.SIGTERM)
    assert await first.ended() == 0
    await asyncio.gather(*[handle.signal(go("now")) for handle in waiting])
    assert await gather_results(waiting) == [[10, "now", "slept", 20]] * 20
    await until(
        "the activity has another attempt in the other process",
        lambda: world.ledger(job, phase="begin", pid=second.pid, workflow=busy.id),
    )
    for handle in waiting:
        await judge(client, handle, world.ledger(job), set())
    await busy.cancel()
    with pytest.raises(WorkflowFailureError) as caught:
        await busy.result(timeout=60)
    assert isinstance(caught.value.cause, CancelledError)


# --- a database that dies ---


async def test_everything_completes_although_the_server_is_killed(
    mortal: PostgresServer, tmp_path: Path
) -> None:
    """Twice the postmaster dies under load, and a dozen times a backend; all runs complete and nothing is doubled."""
    world = World(mortal.create_database(), tmp_path)
    try:
        async with Client.connect(world.url) as client:
            await _through_deaths(mortal, world, client)
    finally:
        world.close()


async def _through_deaths(server: PostgresServer, world: World, client: Client) -> None:
    job = world.job("home", lease=2.0)
    processes = [await world.ready(job) for _ in range(2)]
    handles = [await client.start_workflow(long(150), task_queue="home") for _ in range(10)]
    handles += [await client.start_workflow(beats("home-side"), task_queue="home") for _ in range(3)]

    def steps() -> int:
        return len(world.ledger(job, phase="end"))

    more: list[Any] = []

    async def more_work() -> int:
        """Start what is enough to go on with, however much was done while nobody looked; return the steps until now."""
        before = steps()
        more.extend([await client.start_workflow(long(25), task_queue="home") for _ in range(2)])
        return before

    for _ in range(2):
        before = await more_work()
        await until("it goes on", lambda before=before: steps() > before + 40)
        for _ in range(6):
            await asyncio.to_thread(
                server.execute,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                "AND pid <> pg_backend_pid() ORDER BY random() LIMIT 3",
            )
            before = await more_work()
            await until("it goes on behind a lost connection", lambda before=before: steps() > before + 3)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    late = [await client.start_workflow(sequence(3), task_queue="home") for _ in range(5)]
    results = await gather_results([*handles, *late])
    assert results == [sum(range(150)) * 10] * 10 + [[0, 1, 2]] * 3 + [[0, 10, 20]] * 5
    assert await gather_results(more) == [sum(range(25)) * 10] * len(more)
    assert all(process.alive for process in processes)
    ledger = world.ledger(job)
    everyone = {process.pid for process in processes}
    for handle in [*handles, *more, *late]:
        # A worker that lost its lease with the server is as good as dead to its runs: both pids may explain.
        await judge(client, handle, ledger, everyone)
    scheduled = 0
    for handle in [*handles, *more]:
        events = (await handle.fetch_history()).events
        scheduled += sum(isinstance(event.data, ActivityTaskScheduled) for event in events)
    executed = len([line for line in ledger if line["phase"] == "begin"])
    assert executed <= scheduled * 1.5, "far more was executed than lost leases explain"
