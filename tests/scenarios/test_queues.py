"""Task queues that operators pause and drain: workers obey within a poll, nothing is lost, and it is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable import Client, Signal, activity, workflow
from durable.client import TaskQueueState
from tests.scenarios.rig import PATIENCE, Env, reached, until

go: Signal[str] = Signal("que.go", str)
ran: list[str] = []
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()
    gates.clear()


@activity.defn(name="que.note")
async def note(text: str) -> str:
    ran.append(text)
    if text in gates:
        await gates[text].wait()
    return text


@workflow.defn(name="que.steps")
async def steps(name: str) -> str:
    await note(f"{name} first")
    await note(f"{name} second")
    said = await go.receive()
    await note(f"{name} third")
    return said


def owns(env: Env, number: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return (await env.client.describe_task_queue("default")).owned == number

    return look


def sees(client: Client, workers: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        # A worker whose lease is not renewed for a moment does not count, and then does again.
        return (await client.describe_task_queue("default")).workers == workers

    return look


def obeys(*clients: Client) -> Callable[[], bool]:
    """Whether the workers of these clients know that they are to take nothing, and no claim of before is under way."""
    workers: list[Any] = [worker for client in clients for worker in client._connection.local.workers]
    return lambda: (
        bool(workers)
        and not any(worker.wants("default", "que.steps") or worker.claims.claiming for worker in workers)
    )


async def finish(env: Env, *names: str) -> None:
    for name in names:
        handle = env.client.get_workflow_handle(name)
        await handle.signal(go(name))
        assert await asyncio.wait_for(handle.result(), PATIENCE) == name


async def test_nothing_of_a_paused_queue_is_begun_and_nothing_is_lost(env: Env) -> None:
    async with env.worker(steps, note):
        gates["a first"] = asyncio.Event()
        await env.start(steps("a"), id="a")
        waits = await env.start(steps("b"), id="b")
        await reached(waits, "Started", *["ActivityScheduled", "ActivityCompleted"] * 2)
        await until("an attempt runs", lambda: "a first" in ran)
        assert await env.client.pause_task_queue("default", reason="the bank is away")
        await until("its workflows are handed back", owns(env, 0))
        await env.start(steps("c"), id="c")
        await waits.signal(go("b"))
        gates["a first"].set()
        await until("its worker is seen", sees(env.client, 1))
        assert (await env.client.describe_task_queue("default")).state is TaskQueueState.PAUSED
        await until("c and b wait", lambda: waiting(env, 1))
        assert sorted(ran) == ["a first", "b first", "b second"], (
            "what ran goes on to its end, and nothing else"
        )
        assert await env.client.unpause_task_queue("default")
        await finish(env, "a", "c")
        assert await asyncio.wait_for(waits.result(), PATIENCE) == "b"
        assert len(ran) == len(set(ran)) == 9
    log = [entry async for entry in env.client.operator_log()]
    assert [(one.operation, one.detail, one.reason) for one in log] == [
        ("unpause_task_queue", "default", ""),
        ("pause_task_queue", "default", "the bank is away"),
    ]


async def waiting(env: Env, number: int) -> bool:
    found = await env.client.describe_task_queue("default")
    return found.waiting_workflows >= number and found.unread_messages >= 1


async def test_a_draining_queue_brings_what_is_under_way_to_where_it_waits(plain: Env) -> None:
    env = plain
    async with env.worker(steps, note):
        gates["a first"] = asyncio.Event()
        handle = await env.start(steps("a"), id="a")
        await until("an attempt runs", lambda: "a first" in ran)
        assert await env.client.drain_task_queue("default")
        await until("it obeys", obeys(env.client))
        await env.start(steps("b"), id="b")
        gates["a first"].set()
        await reached(handle, "Started", *["ActivityScheduled", "ActivityCompleted"] * 2)
        await until("it is handed back", owns(env, 0))
        assert ran == ["a first", "a second"]
        assert (await env.client.describe_task_queue("default")).state is TaskQueueState.DRAINING
        assert await env.client.unpause_task_queue("default")
        await finish(env, "a", "b")


async def test_workers_of_other_clients_obey_within_a_poll_and_new_ones_from_the_start(
    plain: Env, store_url: str
) -> None:
    env = plain
    async with Client.connect(store_url) as other, env.worker(steps, note):
        assert await other.pause_task_queue("default")
        assert not await other.pause_task_queue("default"), "it is paused already"
        assert not await other.unpause_task_queue("elsewhere"), "it is not"
        assert await other.drain_task_queue("default"), "that is something else"
        assert await other.pause_task_queue("default")
        await until("it obeys", obeys(env.client))
        await env.start(steps("a"), id="a")
        async with env.worker(steps, note, client=other):
            await until("both live and obey", obeys(env.client, other))
            await until("both are seen", sees(other, 2))
            assert ran == []
            assert await other.unpause_task_queue("default")
            await finish(env, "a")


async def test_what_a_client_starts_by_itself_waits_too(plain: Env) -> None:
    env = plain
    await env.client.pause_task_queue("default")
    async with env.worker(note):
        handle = await env.client.start_activity(note("alone"), id="alone")
        await until("it waits", lambda: activities_wait(env))
        await env.client.unpause_task_queue("default")
        assert await asyncio.wait_for(handle.result(), PATIENCE) == "alone"


async def activities_wait(env: Env) -> bool:
    return (await env.client.describe_task_queue("default")).waiting_activities == 1


async def test_what_cannot_be_a_queue_or_a_reason(plain: Env) -> None:
    for call in (
        plain.client.pause_task_queue,
        plain.client.drain_task_queue,
        plain.client.unpause_task_queue,
    ):
        with pytest.raises(ValueError, match="task_queue"):
            await call("")
        with pytest.raises(TypeError, match="reason"):
            await call("q", reason=3)  # type: ignore[arg-type]
