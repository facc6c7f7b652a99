"""What a worker tells of its own life."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

import durable.worker._worker as worker_module
from durable import Client, RetryPolicy, Signal, Worker, WorkflowFailureError, activity, workflow
from durable.exceptions import StoreUnavailableError
from durable.worker import WorkerLifeEvent, WorkerLifeEventKind, _activities
from tests.scenarios.rig import PATIENCE, Env, until

STARTED, LOST, STOPPING, DRAINED, FATAL, STOPPED = WorkerLifeEventKind


word = Signal[None]("go")


@activity.defn(name="lif.graceful")
async def graceful(said: list[str]) -> str:
    await activity.wait_for_worker_shutdown()
    return "in time"


@workflow.defn(name="lif.flow")
async def flow() -> str:
    said = await graceful([])
    await word.receive()
    return said


@workflow.defn(name="lif.waits_for_a_word")
async def waits_for_a_word() -> None:
    await word.receive()


class Told:
    """Takes the events of a worker."""

    def __init__(self) -> None:
        self.events: list[WorkerLifeEvent] = []

    async def __call__(self, event: WorkerLifeEvent) -> None:
        await asyncio.sleep(0)
        self.events.append(event)

    @property
    def kinds(self) -> list[WorkerLifeEventKind]:
        return [one.kind for one in self.events]


async def test_from_its_start_to_its_end(plain: Env) -> None:
    told = Told()
    at_the_end: list[Any] = []

    async def tell(event: WorkerLifeEvent) -> None:
        await told(event)
        handle = plain.client.get_workflow_handle("flow")
        if event.kind is DRAINED:
            at_the_end.append((await handle.describe()).owner)

    worker = plain.worker(
        flow,
        graceful,
        on_life_event=tell,
        identity="me",
        task_queue="here",
        graceful_shutdown_timeout=PATIENCE,
    )
    async with worker:
        assert told.kinds == [STARTED]
        started = told.events[0]
        assert started == WorkerLifeEvent(STARTED, "here", "me", worker.worker_id)
        handle = await plain.start(flow(), id="flow", task_queue="here")
        await until("its activity runs", lambda: owned(handle, worker))
    assert told.kinds == [STARTED, STOPPING, DRAINED, STOPPED]
    assert at_the_end == [started.worker_id], "runs are handed back after that"
    assert (await handle.describe()).owner is None
    await worker.shutdown()
    assert told.kinds[-1] is STOPPED
    assert len(told.kinds) == 4
    async with plain.worker(flow, graceful, task_queue="here"):
        await handle.signal(word(None))
        assert await handle.result(timeout=PATIENCE) == "in time"


async def owned(handle: Any, worker: Worker) -> bool:
    described = await handle.describe()
    return described.owner == worker.worker_id and described.history_length > 1


async def test_a_plain_function_that_raises(plain: Env, caplog: pytest.LogCaptureFixture) -> None:
    kinds: list[str] = []

    def tell(event: WorkerLifeEvent) -> None:
        kinds.append(event.kind.value)
        raise ValueError("no")

    async with plain.worker(flow, on_life_event=tell):
        pass
    assert kinds == ["started", "stopping", "drained", "stopped"]
    assert "on_life_event raised over 'started'; the worker goes on" in caplog.text


async def test_it_starts_over(plain: Env) -> None:
    told = Told()
    async with plain.worker(flow, on_life_event=told) as worker:
        first = worker.worker_id
        incarnation = worker._incarnation
        assert incarnation is not None
        incarnation.defect(error := AssertionError("a defect"))
        await until("it has started over", lambda: told.kinds == [STARTED, LOST, STARTED])
        assert (told.events[1].worker_id, told.events[1].error) == (first, error)
        assert told.events[2].worker_id == worker.worker_id != first
    assert told.kinds == [STARTED, LOST, STARTED, STOPPING, DRAINED, STOPPED]


async def test_others_believed_it_dead(plain: Env, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    told = Told()
    async with plain.worker(flow, on_life_event=told) as worker:
        assert worker.worker_id is not None
        await plain.client.store.unregister_worker(worker.worker_id)
        await until("it has started over", lambda: told.kinds == [STARTED, LOST, STARTED])
        assert told.events[1].error is None


async def test_it_cannot_start(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(worker_module.Incarnation):
        async def run(self) -> bool:
            raise StoreUnavailableError("gone")

    monkeypatch.setattr(worker_module, "Incarnation", Broken)
    told = Told()
    async with Client.connect(store_url) as client:
        worker = Worker(client, workflows=[flow], activities=[], on_life_event=told)
        with pytest.raises(StoreUnavailableError) as raised:
            await worker.run()
    assert told.kinds == [FATAL, STOPPED]
    assert [one.error for one in told.events] == [raised.value] * 2


async def test_it_ends_by_an_error(plain: Env) -> None:
    told = Told()
    order: list[Any] = []

    async def fatal(error: BaseException) -> None:
        order.append(error)

    worker = plain.worker(flow, on_life_event=told, on_fatal_error=fatal)
    running = asyncio.create_task(worker.run())
    await until("it runs", lambda: told.kinds == [STARTED])
    incarnation = worker._incarnation
    assert incarnation is not None
    incarnation._end_by(OSError("no pool"))
    with pytest.raises(RuntimeError) as raised:
        await running
    assert told.kinds == [STARTED, STOPPING, DRAINED, FATAL, STOPPED]
    assert told.events[-1].error is raised.value
    assert order == [raised.value]


async def test_it_is_stopped_by_its_own_callback(plain: Env) -> None:
    kinds: list[WorkerLifeEventKind] = []

    async def tell(event: WorkerLifeEvent) -> None:
        kinds.append(event.kind)
        await worker.shutdown()

    worker = plain.worker(flow, on_life_event=tell)
    await asyncio.wait_for(worker.run(), PATIENCE)
    assert kinds == [STARTED, STOPPING, DRAINED, STOPPED]


async def test_what_is_refused(plain: Env) -> None:
    with pytest.raises(TypeError, match="on_life_event must be a function of one event"):
        plain.worker(flow, on_life_event="print")


async def test_a_run_that_is_tried_alone_is_alone_from_its_claim_on(plain: Env) -> None:
    """Nothing is claimed beside it before it has shown that it was not what its owners died of."""
    order: list[str] = []

    async def claim_runs(claim: Any, *args: Any, **kwargs: Any) -> Any:
        order.append("claim")
        return await claim(*args, **kwargs) if "alone" in order else []

    async def claim_probationer(_: Any, worker_id: str, queues: Any, types: Any, **kwargs: Any) -> Any:
        claimed = await plain.store.store.claim_runs(worker_id, queues, types, 1, **kwargs)
        if not claimed:
            return None
        order.append("alone")
        return replace(claimed[0], run=replace(claimed[0].run, deaths=2))

    async def commit(write: Any, *args: Any, **kwargs: Any) -> Any:
        order.append("commit")
        return await write(*args, **kwargs)

    plain.store.hooks |= {"claim_runs": claim_runs, "claim_probationer": claim_probationer, "commit": commit}
    handle = await plain.start(waits_for_a_word())
    async with plain.worker(waits_for_a_word):
        await until("it has shown that it lives", lambda: "commit" in order)
        after = order[order.index("alone") + 1 :]
        assert after[0] == "commit", order
        await handle.signal("go")
        assert await handle.result(timeout=PATIENCE) is None


@activity.defn(name="lif.blocks", no_thread_cancel_exception=True)
def blocks() -> str:
    """As a call to a bank does, which nobody can interrupt."""
    BLOCKED.set()
    assert ANSWERED.wait(PATIENCE)
    return "charged"


BLOCKED, ANSWERED = threading.Event(), threading.Event()


@workflow.defn(name="lif.charges")
async def charges() -> str:
    return await blocks.options(retry_policy=RetryPolicy(maximum_attempts=1))()


@pytest.fixture
def bank() -> Iterator[None]:
    """One that answers when it is told to, at the latest when the test is over."""
    BLOCKED.clear()
    ANSWERED.clear()
    yield
    ANSWERED.set()


@pytest.mark.usefixtures("bank")
async def test_it_waits_for_a_thread_that_nobody_can_interrupt(
    plain: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_activities, "LAST_WORD", PATIENCE)
    async with plain.worker(charges, blocks):
        handle = await plain.start(charges(), id="charges")
        await until("its activity runs", BLOCKED.is_set)
        # Longer than a function on the event loop needs to hear of it.
        asyncio.get_running_loop().call_later(1.5, ANSWERED.set)
    async with plain.worker(charges, blocks):
        # Not "the worker was shut down", while the money is on its way.
        assert await handle.result() == "charged"


@pytest.mark.usefixtures("bank")
async def test_what_it_leaves_behind_is_told(
    plain: Env, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_activities, "LAST_WORD", 0.1)
    async with plain.worker(charges, blocks):
        handle = await plain.start(charges(), id="charges")
        await until("its activity runs", BLOCKED.is_set)
    assert "activity lif.blocks of workflow charges still runs 0.1 s after it was asked to end" in caplog.text
    async with plain.worker(charges, blocks):
        with pytest.raises(WorkflowFailureError, match="the worker was shut down"):
            await handle.result()
