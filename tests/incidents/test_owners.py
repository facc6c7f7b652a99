"""Who may do which work: recovery, draining, restarts, and attempts that got stuck."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from durable import Client, RetryPolicy, Signal, activity, workflow
from durable.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleRange,
    ScheduleSpec,
)
from durable.exceptions import StoreError, StoreUnavailableError
from durable.store import WorkerRecord
from tests._postgres import PostgresServer
from tests.incidents import FACTOR
from tests.scenarios.rig import PATIENCE, Env, events, until

say: Signal[str] = Signal("inc.say", str)
bodies: Counter[str] = Counter()
SOON = RetryPolicy(initial_interval=0.05, backoff_coefficient=1.0)
ANY_FORMAT = 1_000_000
LONG = 60
"""Seconds of a lease that no worker misses because the machine is busy: so much is begun as is told, and no more."""
NEVER = ScheduleSpec(calendars=[ScheduleCalendarSpec(year=[ScheduleRange(2099)])])


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    bodies.clear()


@activity.defn(name="inc.counted", retry_policy=SOON)
async def counted(text: str) -> str:
    bodies[text] += 1
    return text


@workflow.defn(name="inc.counts")
async def counts(text: str) -> str:
    return await counted(text)


@workflow.defn(name="inc.hears")
async def hears() -> str:
    return await say.receive()


async def owned_by_the_dead(url: str, most: int) -> str:
    """Let a worker that will never be heard of again own all runs that are ready; return its id."""
    async with Client.connect(url) as other:
        worker_id = f"dead-{Random().randrange(10**12)}"
        record = WorkerRecord(worker_id, "dead", ("default",), 400_000, 0, expired=False, dead=False)
        lease = await other.store.register_worker(record)
        assert await lease.renew()
        claimed = await other.store.claim_runs(worker_id, ["default"], None, most, format=ANY_FORMAT)
        assert len(claimed) == most
        await lease.aclose()
    return worker_id


async def test_dbos_py_716_the_database_goes_away_during_recovery(plain: Env, store_url: str) -> None:
    """Recovery is tried again when it, or its answer, got lost, until nothing is without an owner."""
    handles = [await plain.start(counts(f"{i}")) for i in range(6)]
    await owned_by_the_dead(store_url, len(handles))
    tried: list[str] = []

    async def take_over(real: Any, limit: int) -> int:
        tried.append("")
        if len(tried) == 1:
            raise StoreUnavailableError("the server is starting up")
        done: int = await real(2 if len(tried) == 2 else limit)
        if len(tried) == 2:
            raise StoreUnavailableError("the server was shut down")
        return done

    plain.store.hooks["take_over"] = take_over
    async with plain.worker(counts, counted):
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
    assert results == [f"{i}" for i in range(6)]
    assert len(tried) >= 3
    assert bodies == Counter(results)


async def test_dbos_py_742_two_recover_the_same_runs(plain: Env, store_url: str) -> None:
    """Two that both know of the same orphans: each of these is freed once and run once."""
    handles = [await plain.start(counts(f"{i}")) for i in range(10)]
    await owned_by_the_dead(store_url, len(handles))
    both = asyncio.Barrier(2)
    looked: list[int] = []
    freed: list[int] = []

    async def take_over(real: Any, limit: int) -> int:
        looked.append(limit)
        if len(looked) <= 2:
            await both.wait()
        done: int = await real(limit)
        freed.append(done)
        return done

    plain.store.hooks["take_over"] = take_over
    async with (
        plain.worker(
            counts, counted, lease_duration=8
        ),  # and no longer: with it grows the time between two looks
        plain.worker(counts, counted, lease_duration=8),
    ):
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
    assert sum(freed) == len(handles)
    assert bodies == Counter(results)
    for handle in handles:
        assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_dbos_py_804_a_draining_process_of_the_same_name_claims_nothing(
    plain: Env, store_url: str
) -> None:
    """What a process is called does not matter: two of one name are two, and the one that leaves takes no more."""
    began, draining, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @activity.defn(name="inc.gated")
    async def gated() -> str:
        began.set()
        await activity.wait_for_worker_shutdown()
        draining.set()
        await gate.wait()
        return "done"

    @workflow.defn(name="inc.gates")
    async def gates() -> str:
        return await gated()

    asked: Counter[str] = Counter()

    async def claim_runs(real: Any, worker_id: str, *args: Any, **kwargs: Any) -> Any:
        if draining.is_set():
            asked[worker_id] += 1
        return await real(worker_id, *args, **kwargs)

    plain.store.hooks["claim_runs"] = claim_runs
    one = plain.worker(
        gates, gated, counts, counted, identity="same", graceful_shutdown_timeout=60, lease_duration=LONG
    )
    async with one:
        held = await plain.start(gates())
        await asyncio.wait_for(began.wait(), PATIENCE)
        first = one.worker_id
        leaving = asyncio.create_task(one.shutdown())
        await asyncio.wait_for(draining.wait(), PATIENCE)
        async with (
            plain.worker(counts, counted, identity="same", lease_duration=LONG) as two,
            Client.connect(store_url) as away,
        ):
            second = two.worker_id
            assert first != second
            handles = [await away.start_workflow(counts(f"{i}")) for i in range(10)]
            results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
            assert not leaving.done()
            gate.set()
            await leaving
    assert asked[first or ""] == 0
    assert asked[second or ""] > 0
    assert bodies == Counter(results)
    assert await events(held) == ["Started", "ActivityScheduled", "ActivityCompleted"]
    async with plain.worker(gates, gated):
        assert await held.result(timeout=PATIENCE) == "done"


async def test_procrastinate_1518_an_error_while_completing_leaves_nothing_half_done(plain: Env) -> None:
    """Whatever a completion meets, the attempt is either recorded or tried again: nothing stays at work for ever."""
    errors: list[BaseException] = [StoreUnavailableError("gone"), StoreError("UniqueViolation")]
    met: list[str] = []

    async def finish(real: Any, outcomes: Any) -> Any:
        if errors:
            met.append(str(errors[0]))
            raise errors.pop(0)
        return await real(outcomes)

    @workflow.defn(name="inc.aside")
    async def aside() -> str:
        return await workflow.execute_activity(counted, "aside", task_queue="side", start_to_close_timeout=5)

    plain.store.hooks["finish_attempts"] = finish
    async with plain.worker(aside), plain.worker(counted, task_queue="side"):
        handle = await plain.start(aside())
        assert await handle.result(timeout=PATIENCE) == "aside"
    assert met == ["gone", "UniqueViolation"]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    assert not [worker for worker in await plain.client.store.list_workers() if not worker.dead]


async def test_trigger_dev_1566_restarts_multiply_nothing(plain: Env) -> None:
    """An idle schedule, a queued run and one that waits: after any number of restarts there are as many."""
    schedule = Schedule(ScheduleActionStartWorkflow(hears(), id="tick"), NEVER)
    idle = await plain.client.create_schedule("idle", schedule)
    await plain.client.start_workflow("inc.nobody", id="queued")
    waiting = await plain.start(hears())

    async def there() -> list[Any]:
        still_open = "ExecutionStatus = 'Running'"
        found = sorted([one.id async for one in plain.client.list_workflows(still_open)])
        return [found, await events(waiting), (await idle.describe()).info.num_actions]

    async with plain.worker(hears):
        await until("it waits", lambda: _parked(waiting))
    seen: list[list[Any]] = []
    for _ in range(10 * FACTOR):
        async with plain.worker(hears, counts, counted):
            passing = await plain.start(counts("passing"))  # whoever has done this has looked at all there is
            assert await passing.result(timeout=PATIENCE) == "passing"
        seen.append(await there())
    assert all(one == seen[0] for one in seen), seen
    assert seen[0] == [sorted(["queued", waiting.id]), ["Started"], 0]
    async with plain.worker(hears):
        await waiting.signal(say("end"))
        assert await waiting.result(timeout=PATIENCE) == "end"


async def _parked(handle: Any) -> bool:
    return (await handle.describe()).owner is not None


async def test_river_1318_what_may_take_long_hides_nothing_that_is_stuck(plain: Env) -> None:
    """A look at a page of two: attempts that may go on come first, and those behind them are rescued all the same."""
    gate = asyncio.Event()
    attempts: Counter[str] = Counter()

    @activity.defn(name="inc.may_take_long")
    async def may_take_long(text: str) -> str:
        attempts[text] += 1
        await gate.wait()
        return text

    @activity.defn(name="inc.stuck", retry_policy=SOON)
    async def stuck(text: str) -> str:
        attempts[text] += 1
        if attempts[text] == 1:
            await asyncio.Event().wait()
        return text

    @workflow.defn(name="inc.asks")
    async def asks(kind: str, text: str, seconds: float) -> str:
        return await workflow.execute_activity(
            kind, text, task_queue="side", start_to_close_timeout=seconds, result_type=str
        )

    async def expired(real: Any, limit: int) -> Any:
        return await real(2)

    plain.store.hooks["expired_activities"] = expired
    async with (
        plain.worker(asks, lease_duration=LONG),
        plain.worker(may_take_long, stuck, task_queue="side", lease_duration=LONG),
    ):
        long = [await plain.start(asks("inc.may_take_long", f"long {i}", 3600)) for i in range(8)]
        await until("they are at work", lambda: len(attempts) == 8)
        late = [await plain.start(asks("inc.stuck", f"stuck {i}", 0.3)) for i in range(5)]
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in late])
        assert results == [f"stuck {i}" for i in range(5)]
        gate.set()
        await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in long])
    assert [attempts[f"long {i}"] for i in range(8)] == [1] * 8
    assert (
        min(attempts[f"stuck {i}"] for i in range(5)) >= 2
    )  # and more, where the second took too long as well
    for handle in long:
        assert (await events(handle)).count("ActivityTimedOut") == 0


async def test_prefect_17767_many_children_do_not_queue_up_at_their_parent(
    postgres: PostgresServer, postgres_url: str
) -> None:
    """The server itself says when somebody has waited a second for a lock; and every child is told of once."""
    many = 50 * FACTOR

    @workflow.defn(name="inc.child")
    async def child(number: int) -> int:
        for _ in range(3):
            await counted("step")
        return number

    @workflow.defn(name="inc.parent")
    async def parent() -> list[int]:
        return await asyncio.gather(*(child(number) for number in range(many)))

    name = postgres_url.split("?", 1)[0].rsplit("/", 1)[1]
    for setting in ("deadlock_timeout = '1s'", "log_lock_waits = on"):
        postgres.execute(f'ALTER DATABASE "{name}" SET {setting}')
    async with Client.connect(postgres_url) as client:
        env = Env(client, 1000)
        for _ in range(5):
            bodies.clear()
            logged = len(postgres.log)
            async with (
                env.worker(parent, child, counted, lease_duration=LONG),
                env.worker(parent, child, counted, lease_duration=LONG),
            ):
                handle = await env.start(parent())
                assert await handle.result(timeout=PATIENCE * FACTOR) == list(range(many))
            told = Counter(await events(handle))
            assert told["ChildCompleted"] == told["ChildStarted"] == many, told
            assert bodies["step"] == 3 * many
            if "still waiting for" not in postgres.log[logged:]:
                break  # a queue would be there each time; a server that stood still for a second is not
        else:
            pytest.fail("somebody waits for a lock each time")
        await env.judge()
