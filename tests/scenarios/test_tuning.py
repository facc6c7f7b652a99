"""What a worker does at once, and what it leaves to others: each option of its tuning."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

import durable.worker._worker as worker_module
from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.exceptions import ApplicationError, StoreUnavailableError, WorkflowQueryFailedError
from durable.store import Hold
from durable.worker import FixedSizeSlotSupplier, WorkerTuner
from tests.scenarios.rig import PATIENCE, Env, events, fails, held, reached, until

started: list[str] = []
gate = asyncio.Event()


@pytest.fixture(autouse=True)
def fresh() -> None:
    global gate
    gate = asyncio.Event()
    started.clear()


@activity.defn(name="tun.waits")
async def waits(name: str) -> str:
    started.append(name)
    await gate.wait()
    return name


@activity.defn(name="tun.quick")
async def quick(name: str) -> str:
    started.append(name)
    return name


@workflow.defn(name="tun.many")
async def many(count: int) -> list[str]:
    return list(await asyncio.gather(*[waits(str(i)) for i in range(count)]))


@workflow.defn(name="tun.fast")
async def fast(count: int) -> list[str]:
    return list(await asyncio.gather(*[quick(str(i)) for i in range(count)]))


@workflow.defn(name="tun.plain")
async def plain_result(word: str) -> str:
    return word


@workflow.defn(name="tun.fails")
async def fails_plainly() -> None:
    raise KeyError("a defect")


# ---------------------------------------------------------------------- slots


async def no_more_than(env: Env, most: int, total: int, **options: Any) -> None:
    async with env.worker(many, waits, **options):
        handle = await env.start(many(total))
        await until("the slots are taken", lambda: len(started) == most)
        # What does not fit has a row, and stays there.
        await until("the others have rows", lambda: rows_of(env, handle, total - most))
        assert len(started) == most
        gate.set()
        assert await handle.result(timeout=PATIENCE) == [str(i) for i in range(total)]


async def rows_of(env: Env, handle: Any, count: int) -> bool:
    return len(await env.client.store.read_activities(handle.result_run_id)) >= count


async def test_activities_at_once(env: Env) -> None:
    await no_more_than(env, 2, 5, max_concurrent_activities=2)


async def test_a_tuner_says_how_many(env: Env) -> None:
    await no_more_than(env, 3, 5, tuner=WorkerTuner.create_fixed(activity_slots=3))


async def test_a_tuner_of_suppliers(env: Env) -> None:
    tuner = WorkerTuner.create_composite(
        workflow_supplier=FixedSizeSlotSupplier(50), activity_supplier=FixedSizeSlotSupplier(1)
    )
    await no_more_than(env, 1, 3, tuner=tuner)


@pytest.mark.parametrize("option", ["number", "tuner"])
async def test_workflow_tasks_at_once(plain: Env, store_url: str, option: str) -> None:
    """One whose step cannot be written is at work; a second one is not taken meanwhile."""
    options: dict[str, Any] = (
        {"max_concurrent_workflow_tasks": 1}
        if option == "number"
        else {"tuner": WorkerTuner.create_fixed(workflow_slots=1)}
    )
    held_up = asyncio.Event()
    reached_store = asyncio.Event()

    async def commit(method: Any, *args: Any) -> Any:
        reached_store.set()
        await held_up.wait()
        return await method(*args)

    looked = asyncio.Event()

    async def next_wake(method: Any, *args: Any) -> Any:
        looked.set()
        return await method(*args)

    plain.store.hooks["next_wake"] = next_wake
    async with Client.connect(store_url) as other, plain.worker(plain_result, **options) as worker:
        await looked.wait()  # No claim that began before there was a first one shall bring the second.
        plain.store.hooks["commit"] = commit
        first = await plain.start(plain_result("a"))
        await reached_store.wait()
        second = await other.start_workflow(plain_result("b"))
        plain.handles.append((plain.client.get_workflow_handle(second.id), plain_result.definition))
        # The worker has looked for work since: a message to a run that nobody owns makes it look.
        looked.clear()
        await looked.wait()
        record = await other.store.find_run(second.id)
        assert record is not None
        assert (record.owner, record.hold) == (None, Hold.NONE)
        del plain.store.hooks["commit"], plain.store.hooks["next_wake"]
        held_up.set()
        assert await first.result(timeout=PATIENCE) == "a"
        assert await second.result(timeout=PATIENCE) == "b"
        assert worker.is_running


# ---------------------------------------------------------------------- rates


async def test_activities_per_second(env: Env) -> None:
    began = time.monotonic()
    async with env.worker(fast, quick, max_activities_per_second=5):
        handle = await env.start(fast(8))
        assert await handle.result(timeout=PATIENCE) == [str(i) for i in range(8)]
    # Five at once, and three more at five per second.
    assert time.monotonic() - began >= 0.55


# ---------------------------------------------------------------------- what is left to others


@pytest.mark.temporal("eager_activity/non_remote_activities_worker")
async def test_no_remote_activities(env: Env) -> None:
    async with env.worker(fast, quick, no_remote_activities=True):
        handle = await env.start(fast(1))
        await until("it has a row", lambda: rows_of(env, handle, 1))
        assert started == []
        async with env.worker(quick):
            assert await handle.result(timeout=PATIENCE) == ["0"]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_no_eager_activities(env: Env) -> None:
    """They go through the queue, where the worker finds them."""
    rows: list[Any] = []

    async def commit(method: Any, transitions: Any, *rest: Any) -> Any:
        rows.extend(row for one in transitions for row in one.activities)
        return await method(transitions, *rest)

    @activity.defn(name="tun.is_local")
    async def is_local() -> bool:
        return activity.info().is_local

    @workflow.defn(name="tun.asks")
    async def asks() -> bool:
        return await is_local()

    env.store.hooks["commit"] = commit
    async with env.worker(asks, is_local, disable_eager_activity_execution=True):
        assert await (await env.start(asks())).result(timeout=PATIENCE) is False
    assert len(rows) == 1
    async with env.worker(asks, is_local):
        assert await (await env.start(asks())).result(timeout=PATIENCE) is False
    assert len(rows) == 1


async def test_a_worker_of_activities_and_one_of_workflows(env: Env) -> None:
    async with env.worker(fast):
        handle = await env.start(fast(3))
        await until("they have rows", lambda: rows_of(env, handle, 3))
        async with env.worker(quick):
            assert await handle.result(timeout=PATIENCE) == ["0", "1", "2"]


async def test_two_queues_in_one_process(env: Env) -> None:
    @workflow.defn(name="tun.crosses")
    async def crosses() -> str:
        return await quick.options(task_queue="there")("x")

    async with env.worker(crosses), env.worker(quick, plain_result, task_queue="there"):
        handle = await env.start(crosses())
        other = await env.start(plain_result("y"), task_queue="there")
        assert await handle.result(timeout=PATIENCE) == "x"
        assert await other.result(timeout=PATIENCE) == "y"


async def test_two_workers_of_one_queue_in_one_process(env: Env) -> None:
    one = env.worker(many, waits, max_concurrent_activities=1, identity="one")
    two = env.worker(many, waits, max_concurrent_activities=1, identity="two")
    async with one, two:
        handle = await env.start(many(2))
        await until("each has one", lambda: len(started) == 2)
        gate.set()
        assert await handle.result(timeout=PATIENCE) == ["0", "1"]


async def test_identity_is_in_the_events(env: Env) -> None:
    async with env.worker(fast, quick, identity="somebody"):
        handle = await env.start(fast(1))
        await handle.result(timeout=PATIENCE)
    told = [e.data for e in (await handle.fetch_history()).events]
    assert [
        getattr(one, "identity", None) for one in told if type(one).__name__ == "ActivityTaskCompleted"
    ] == ["somebody"]


# ---------------------------------------------------------------------- life


async def test_failures_of_any_workflow(env: Env) -> None:
    env.replays = False  # the judge knows nothing of the worker's options
    async with env.worker(fails_plainly):
        blocked = await env.start(fails_plainly())
        await held(blocked)
        await blocked.terminate()
    # What ended it was not the exception, and where the code would stand behind that is nobody's answer.
    with pytest.raises(WorkflowQueryFailedError, match=r"the workflow's code fails: .a defect."):
        await blocked.query("__stack_trace")
    async with env.worker(fails_plainly, workflow_failure_exception_types=[KeyError]):
        failed = await env.start(fails_plainly())
        error = await fails(failed)
    # Whoever has the code, and not the option, can ask it all the same.
    assert await failed.query("__stack_trace") == ""
    assert isinstance(error, ApplicationError)
    assert error.type == "KeyError"


async def test_a_fatal_error_is_told_and_raised(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []

    async def on_fatal_error(error: BaseException) -> None:
        told.append(error)

    class Broken(worker_module.Incarnation):
        async def run(self) -> bool:
            raise StoreUnavailableError("gone")

    monkeypatch.setattr(worker_module, "Incarnation", Broken)
    async with Client.connect(store_url) as client:
        worker = Worker(client, workflows=[plain_result], activities=[], on_fatal_error=on_fatal_error)
        with pytest.raises(StoreUnavailableError) as raised:
            await worker.run()
        assert told == [raised.value]
        assert worker.is_shutdown
        assert not worker.is_running


async def test_its_life(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        worker = Worker(client, workflows=[plain_result], activities=[])
        assert (worker.is_running, worker.is_shutdown) == (False, False)
        running = asyncio.create_task(worker.run())
        await until("it runs", lambda: worker.is_running)
        await until("it is known", lambda: worker.worker_id)
        await worker.shutdown()
        await running
        assert (worker.is_running, worker.is_shutdown) == (False, True)


@pytest.mark.temporal("worker_activity/worker_shutdown_graceful")
async def test_activities_have_their_grace(env: Env) -> None:
    told = threading.Event()

    @activity.defn(name="tun.leaves")
    async def leaves() -> str:
        started.append("leaves")
        await activity.wait_for_worker_shutdown()
        told.set()
        await asyncio.sleep(0)
        return "done in time"

    @workflow.defn(name="tun.leaving")
    async def leaving() -> str:
        return await leaves.options(retry_policy=RetryPolicy(maximum_attempts=1))()

    async with env.worker(leaving, leaves, graceful_shutdown_timeout=PATIENCE):
        handle = await env.start(leaving())
        await until("it runs", lambda: started == ["leaves"])
    assert told.is_set()
    await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
    async with env.worker(leaving, leaves):
        assert await handle.result(timeout=PATIENCE) == "done in time"


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"max_concurrent_activities": 0}, ValueError, "max_concurrent_activities must be at least 1"),
        (
            {"max_concurrent_workflow_tasks": 0},
            ValueError,
            "max_concurrent_workflow_tasks must be at least 1",
        ),
        ({"max_activities_per_second": 0}, ValueError, "max_activities_per_second must be more than 0"),
        ({"max_activities_per_second": "5"}, TypeError, "max_activities_per_second must be a number"),
        (
            {"tuner": WorkerTuner.create_fixed(), "max_concurrent_activities": 5},
            ValueError,
            "tuner and max_concurrent_activities exclude each other",
        ),
        ({"tuner": 5}, TypeError, "tuner must be a WorkerTuner"),
        ({"workflow_failure_exception_types": [5]}, TypeError, "takes exception classes"),
        ({"max_concurrent_activity_task_polls": 5}, TypeError, "one look at the database brings a batch"),
        ({"workflow_task_poller_behavior": 5}, TypeError, "one look at the database brings a batch"),
        ({"nonsense": 5}, TypeError, "Worker has no option 'nonsense'"),
    ],
)
async def test_what_is_refused(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    async with Client.connect("sqlite://:memory:") as client:
        with pytest.raises(kind, match=text):
            Worker(client, workflows=[plain_result], activities=[], **options)


async def test_a_worker_is_written_down_as_it_was_made(plain: Env) -> None:
    async with plain.worker(plain_result, lease_duration=7.5, identity="me") as worker:
        (found,) = await plain.client.store.list_workers()
        assert (found.worker_id, found.identity, found.lease) == (worker.worker_id, "me", 7_500_000)


async def test_a_worker_leaves_alone_what_it_does_not_list(env: Env) -> None:
    other = await env.start(fails_plainly())
    async with env.worker(plain_result):
        for _ in range(5):
            assert await (await env.start(plain_result("a"))).result(timeout=PATIENCE) == "a"
        assert (await other.describe()).hold == "", "who served it would have blocked it"
    assert await events(other) == ["Started"]
