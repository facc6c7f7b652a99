"""Parents and children in different workers, held, lost and closing at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Signal, workflow
from durable.client import Client, WorkflowHandle
from durable.exceptions import (
    ChildWorkflowError,
    StoreUnavailableError,
    TerminatedError,
    WorkflowNotFoundError,
)
from durable.workflow import ParentClosePolicy
from tests.scenarios.rig import PATIENCE, Env, events, fails, held, reached, until
from tests.scenarios.test_children import child_of, double, gathers, kid, waits
from tests.scenarios.test_children import go as poke

go: Signal[str] = Signal("apart.go", str)

BEGUN = ["Started", "StartChildInitiated", "ChildStarted"]


@workflow.defn(name="apart.parent")
async def parent(queue: str) -> str:
    """Await a child of another queue, until a signal ends it first."""
    child = await waits.options(id="child", task_queue=queue).start()
    said = asyncio.ensure_future(go.receive())
    await asyncio.wait([child, said], return_when=asyncio.FIRST_COMPLETED)
    return f"child {child.result()}" if child.done() else said.result()


@workflow.defn(name="apart.broken")
async def broken() -> None:
    raise KeyError("a defect")


async def closed(handle: WorkflowHandle[Any, Any]) -> None:
    async def look() -> bool:
        return (await handle.describe()).close_time is not None

    await until("the run is closed", look)


async def test_a_child_of_another_worker(env: Env, store_url: str) -> None:
    async with (
        Client.connect(store_url) as second,
        env.worker(parent),
        env.worker(waits, client=second, task_queue="there"),
    ):
        handle = await env.start(parent("there"))
        await reached(handle, *BEGUN)
        child = child_of(env)
        await child.signal(poke("hello"))
        assert await handle.result(timeout=PATIENCE) == "child hello"


async def test_the_child_of_another_worker_ends_with_its_parent(env: Env, store_url: str) -> None:
    async with (
        Client.connect(store_url) as second,
        env.worker(parent),
        env.worker(waits, client=second, task_queue="there"),
    ):
        handle = await env.start(parent("there"))
        await reached(handle, *BEGUN)
        child = child_of(env)

        async def owned() -> bool:
            return env.cached == 0 or (await child.describe()).owner is not None

        await until("the other worker has the child", owned)
        await handle.signal(go("enough"))
        assert await handle.result(timeout=PATIENCE) == "enough"
        assert isinstance(await fails(child), TerminatedError)


async def test_a_blocked_child_ends_with_its_parent(plain: Env) -> None:
    @workflow.defn(name="apart.has_broken")
    async def has_broken() -> str:
        await broken.options(id="child").start()
        return await go.receive()

    async with plain.worker(has_broken, broken):
        handle = await plain.start(has_broken())
        await reached(handle, *BEGUN)
        child = child_of(plain, broken)
        await held(child)
        await handle.signal(go("enough"))
        await handle.result(timeout=PATIENCE)
        assert isinstance(await fails(child), TerminatedError)


async def test_children_whose_parent_is_ended_while_no_worker_is_there(plain: Env) -> None:
    async with plain.worker(parent, waits):
        handle = await plain.start(parent("default"))
        await reached(handle, *BEGUN)
    await handle.terminate()
    child = child_of(plain)
    assert (await child.describe()).close_time is None
    async with plain.worker(waits):
        assert isinstance(await fails(child), TerminatedError)


async def test_a_parent_hears_of_its_child_while_nobody_owns_it(plain: Env) -> None:
    async with plain.worker(parent, waits):
        handle = await plain.start(parent("default"))
        await reached(handle, *BEGUN)
    child = child_of(plain)
    await child.terminate(reason="over")
    async with plain.worker(parent):
        cause = await fails(handle)
    assert isinstance(cause, ChildWorkflowError)
    assert str(cause.cause) == "over"


@pytest.mark.parametrize("first", ["parent", "child"])
async def test_both_close_at_the_same_time(plain: Env, first: str) -> None:
    """Whoever is first: the child has one end, and the parent's inbox is empty in the end."""
    async with plain.worker(parent, waits):
        handle = await plain.start(parent("default"))
        await reached(handle, *BEGUN)
        child = child_of(plain)
        sends = [handle.signal(go("enough")), child.signal(poke("hello"))]
        sent = await asyncio.gather(
            *(sends if first == "parent" else reversed(sends)), return_exceptions=True
        )
        # The end of the one may come before the signal to the other.
        assert all(one is None or isinstance(one, WorkflowNotFoundError) for one in sent), sent
        result = await handle.result(timeout=PATIENCE)
        await closed(child)
    assert result in ("enough", "child hello")
    assert (await events(child))[-1] in ("Completed", "Terminated")
    assert not await plain.client.store.read_messages([handle.result_run_id])


async def test_a_commit_with_children_whose_answer_is_lost(plain: Env) -> None:
    """The children are there, this worker's, and found again."""
    lost: list[int] = []

    async def commit(method: Any, transitions: Any) -> Any:
        result = await method(transitions)
        if not lost and any(transition.starts for transition in transitions):
            lost.append(len(transitions))
            raise StoreUnavailableError("the answer is lost")
        return result

    plain.store.hooks["commit"] = commit
    async with plain.worker(gathers, kid, double):
        handle = await plain.start(gathers(20))
        assert await handle.result(timeout=PATIENCE) == [2 * n for n in range(20)]
    assert lost
    assert (await events(handle)).count("ChildStarted") == 20


async def test_a_commit_with_children_that_never_came(plain: Env) -> None:
    lost: list[int] = []

    async def commit(method: Any, transitions: Any) -> Any:
        if not lost and any(transition.starts for transition in transitions):
            lost.append(len(transitions))
            raise StoreUnavailableError("it never arrived")
        return await method(transitions)

    plain.store.hooks["commit"] = commit
    async with plain.worker(gathers, kid, double):
        handle = await plain.start(gathers(20))
        assert await handle.result(timeout=PATIENCE) == [2 * n for n in range(20)]
    assert lost
    assert (await events(handle)).count("ChildStarted") == 20


async def test_children_beyond_what_a_worker_holds(plain: Env) -> None:
    """More children than it keeps in memory, each of which waits: none is lost, and all are answered."""

    @workflow.defn(name="apart.many")
    async def many(n: int) -> int:
        children = [
            await waits.options(id=f"many-{i}", parent_close_policy=ParentClosePolicy.TERMINATE).start()
            for i in range(n)
        ]
        await asyncio.gather(*[child.signal(poke(child.id)) for child in children])
        return len(set(await asyncio.gather(*children)))

    async with plain.worker(many, waits, max_cached_workflows=5):
        handle = await plain.start(many(150))
        assert await handle.result(timeout=5 * PATIENCE) == 150
