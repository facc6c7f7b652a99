"""Activities in other processes: what goes there and comes back, heartbeats, cancels, and a process that dies."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from durable import RetryPolicy, Worker, activity, worker, workflow
from durable.exceptions import ActivityError, ApplicationError, RegistrationError
from durable.worker import _reports
from tests.scenarios import in_processes as there
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, until

SPAWN = multiprocessing.get_context("spawn")
FAST = RetryPolicy(initial_interval=0.01)


@pytest.fixture(scope="module")
def manager() -> Iterator[Any]:
    with SPAWN.Manager() as made:
        yield made


@pytest.fixture(scope="module")
def shared(manager: Any) -> worker.SharedStateManager:
    return worker.SharedStateManager.create_from_multiprocessing(manager)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """Started and with everything imported, so that no heartbeat is late for it."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as made:
        made.submit(there.Shop, "x").result()
        yield made


@pytest.fixture
def eager_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats are passed on at once, however long their timeout is: a busy machine is late for short ones."""
    monkeypatch.setattr(_reports, "HEARTBEAT_LONGEST", 0.02)


@workflow.defn(name="scn.pr.calls")
async def calls(name: str, args: list[Any]) -> Any:
    return await workflow.execute_activity(
        name,
        args=args,
        retry_policy=FAST,
        heartbeat_timeout=PATIENCE if name == "scn.pr.waits" else None,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


@workflow.defn(name="scn.pr.explained")
async def explained() -> Any:
    return await workflow.execute_activity(
        "scn.pr.explains",
        activity_id="x",
        heartbeat_timeout=PATIENCE,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


@workflow.defn(name="scn.pr.cancels")
async def cancels(name: str) -> str:
    try:
        await workflow.execute_activity(
            name,
            heartbeat_timeout=PATIENCE,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
    except asyncio.CancelledError:
        return "cancelled"
    return "never"


def options(pool: Any, shared: Any) -> dict[str, Any]:
    return {"activity_executor": pool, "shared_state_manager": shared}


@pytest.mark.temporal("hello/activity_multiprocess")
async def test_in_another_process(plain: Env, pool: Any, shared: Any) -> None:
    """Functions and methods run there, and what said that it wants a thread does not."""
    async with plain.worker(calls, there.where, there.here, there.Shop("x"), **options(pool, shared)):
        found = await (await plain.start(calls("scn.pr.where", ["a"]))).result(timeout=PATIENCE)
        assert await (await plain.start(calls("scn.pr.here", []))).result(timeout=PATIENCE) == os.getpid()
        handle = await plain.start(calls("scn.pr.method", ["lamp"]))
        assert await handle.result(timeout=PATIENCE) == "lamp at x, in True"
    assert found[0] == "a"
    assert found[1] != os.getpid()
    assert found[2:] == [True, 1]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_what_cannot_come_back_fails_the_activity_alone(plain: Env, pool: Any, shared: Any) -> None:
    async with plain.worker(calls, there.fails, there.where, **options(pool, shared)):
        caused = await fails(await plain.start(calls("scn.pr.fails", ["caused"])))
        assert isinstance(caused, ActivityError)
        above = caused.cause
        assert isinstance(above, ApplicationError)
        assert (above.message, above.type, list(above.details)) == ("above", "Above", [7])
        assert isinstance(above.__cause__, ApplicationError)
        assert above.__cause__.type == "KeyError"
        nothing = await fails(await plain.start(calls("scn.pr.fails", ["result"])))
        assert "cannot be pickled for the worker" in str(nothing.__cause__)

        @workflow.defn(name="scn.pr.odd")
        async def odd() -> None:
            await workflow.execute_activity(
                "scn.pr.fails", "odd", retry_policy=RetryPolicy(maximum_attempts=1)
            )

    async with plain.worker(odd, there.fails, there.where, **options(pool, shared)):
        error = await fails(await plain.start(odd()))
        assert isinstance(error.__cause__, ApplicationError)
        assert (error.__cause__.type, error.__cause__.message) == ("OddError", "1 and 2")


@pytest.mark.temporal("worker_activity/process_cancel")
@pytest.mark.usefixtures("eager_heartbeats")
async def test_process_cancel(plain: Env, pool: Any, shared: Any) -> None:
    """Its heartbeats cross the border, and so does the flag."""
    async with plain.worker(cancels, there.waits, **options(pool, shared)):
        handle = await plain.start(cancels("scn.pr.waits"))

        async def beating() -> bool:
            rows = await plain.client.store.read_activities((await handle.describe()).run_id)
            return any(b"alive" in row.progress or row.progress for row in rows)

        await until("it beats", beating)
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "cancelled"
    assert "ActivityCanceled" in await events(handle)


@pytest.mark.usefixtures("eager_heartbeats")
@pytest.mark.parametrize("why", ["cancel_requested", "paused", "reset", "worker_shutdown"])
async def test_it_knows_why_it_is_asked_to_end(plain: Env, pool: Any, shared: Any, why: str) -> None:
    given = options(pool, shared) | {"graceful_shutdown_timeout": 0.01}
    async with plain.worker(explained, there.explains, **given):
        handle = await plain.start(explained())

        async def beating() -> bool:
            rows = await plain.client.store.read_activities(handle.first_execution_run_id or "")
            return any(row.progress for row in rows)

        await until("it beats", beating)
        if why == "cancel_requested":
            await handle.cancel()
        elif why == "paused":
            await handle.pause_activity(id="x")
        elif why == "reset":
            await handle.reset_activity(id="x")
        if why != "worker_shutdown":
            assert await handle.result(timeout=PATIENCE) == [why]
    async with plain.worker(explained):
        assert await handle.result(timeout=PATIENCE) == [why]
    assert (await events(handle))[-2:] == ["ActivityCompleted", "Completed"]


async def test_heartbeat_details_are_told_to_the_next_attempt(plain: Env, pool: Any, shared: Any) -> None:
    async with plain.worker(calls, there.beats, **options(pool, shared)):
        handle = await plain.start(calls("scn.pr.beats", []))
        assert await handle.result(timeout=PATIENCE) == ["so far", 3]
    assert (await event(handle, "ActivityCompleted")).attempt == 2


@pytest.mark.temporal("worker_activity/executor_crash")
async def test_executor_crash(plain: Env, shared: Any) -> None:
    """The attempt fails, the worker ends and says why, and a worker with a whole pool tries it again."""
    told: list[BaseException] = []

    async def note(error: BaseException) -> None:
        told.append(error)

    with ProcessPoolExecutor(1, mp_context=SPAWN) as doomed:
        serving = plain.worker(calls, there.dies, **options(doomed, shared), on_fatal_error=note)
        running = asyncio.create_task(serving.run())
        handle = await plain.start(calls("scn.pr.dies", []))
        with pytest.raises(RuntimeError, match="its activity executor is broken") as ended:
            await asyncio.wait_for(running, PATIENCE)
    assert type(ended.value.__cause__).__name__ == "BrokenProcessPool"
    assert told == [ended.value]

    @activity.defn(name="scn.pr.dies")
    async def lives() -> str:
        return f"attempt {activity.info().attempt}"

    async with plain.worker(calls, lives):
        assert await handle.result(timeout=PATIENCE) == "attempt 2"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_what_a_process_cannot_run_is_refused_early(plain: Env, pool: Any, shared: Any) -> None:
    @activity.defn(name="scn.pr.inner")
    def inner() -> None: ...

    locked = there.Shop("x")
    locked.lock = threading.Lock()  # type: ignore[attr-defined]
    for wrong, words in ((inner, "define it at the top of a module"), (locked, "cannot be pickled")):
        with pytest.raises(RegistrationError, match=words):
            Worker(plain.client, workflows=[], activities=[wrong], **options(pool, shared))
    with pytest.raises(RegistrationError, match="give the worker a ProcessPoolExecutor"):
        Worker(plain.client, workflows=[], activities=[there.Shop("x")])
    with pytest.raises(ValueError, match="needs a shared_state_manager"):
        Worker(plain.client, workflows=[], activities=[], activity_executor=pool)
    with pytest.raises(ValueError, match="is for an activity_executor of processes"):
        Worker(plain.client, workflows=[], activities=[], shared_state_manager=shared)
    for name in ("activity_executor", "shared_state_manager"):
        with pytest.raises(TypeError, match=name):
            Worker(plain.client, workflows=[], activities=[], **{name: 1})  # type: ignore[arg-type]


async def test_threads_of_ones_own(plain: Env) -> None:
    @activity.defn(name="scn.pr.thread")
    def thread() -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor(1, thread_name_prefix="mine") as threads:
        async with plain.worker(calls, thread, activity_executor=threads):
            handle = await plain.start(calls("scn.pr.thread", []))
            assert (await handle.result(timeout=PATIENCE)).startswith("mine")
        assert threads.submit(lambda: 1).result() == 1, "it is not shut down with the worker"
