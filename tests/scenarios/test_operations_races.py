"""Operators and workers at the same moment, in every order: one legal outcome, and the history replays."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

import pytest

from durable import Signal, activity, workflow
from durable._engine._reset import Excluded
from durable.client import WorkflowHandle
from durable.client._reset import Wanted, _try
from durable.common import WorkflowExecutionStatus
from durable.exceptions import (
    TerminatedError,
    WorkflowFailureError,
    WorkflowNotFoundError,
    WorkflowStillOpenError,
)
from durable.store import Deed, beneath
from durable.workflow._workflow import definition_of
from tests.scenarios.rig import PATIENCE, Env, events, until

go: Signal[int] = Signal("rac.go", int)

ROUNDS = 15


@activity.defn(name="rac.step")
async def step(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@workflow.defn(name="rac.walk")
async def walk(steps: int) -> int:
    n = 0
    for _ in range(steps):
        n = await step(n)
    return n


@workflow.defn(name="rac.sums")
async def sums(count: int) -> int:
    total = 0
    for _ in range(count):
        total += await go.receive()
    return total


async def soon(chance: random.Random) -> None:
    """Some moment within the life of a short run."""
    for _ in range(chance.randrange(40)):
        await asyncio.sleep(0)
    await asyncio.sleep(chance.random() * 0.01)


def own(handle: WorkflowHandle[Any, Any], run_id: str) -> WorkflowHandle[Any, Any]:
    return WorkflowHandle(handle._connection, handle.id, run_id=run_id)


async def test_a_reset_meets_a_step(env: Env) -> None:
    """Whatever step was under way, the new run walks the whole way, from a history that replays."""
    chance = random.Random(1)
    async with env.worker(walk, step):
        for n in range(ROUNDS):
            old = await env.start(walk(6), id=f"w-{n}")
            await soon(chance)
            new = await old.reset(to=chance.choice(["first_task", "last_good_task"]))  # type: ignore[arg-type]
            assert await new.result(timeout=PATIENCE) == 6
            assert new.result_run_id is not None
            env.handles.append((own(new, new.result_run_id), definition_of(walk)))
            assert old.result_run_id is not None
            told = await events(own(old, old.result_run_id))
            assert told[-1] in ("Completed", "Terminated")


async def test_a_reset_meets_signals(env: Env) -> None:
    """Each acknowledged signal counts exactly once, in whichever run it was read."""
    chance = random.Random(2)
    async with env.worker(sums):
        for n in range(ROUNDS):
            old = await env.start(sums(8), id=f"s-{n}")

            async def send(handle: WorkflowHandle[Any, Any] = old) -> None:
                for bit in range(8):
                    await env.client.get_workflow_handle(handle.id).signal(go(1 << bit))

            sending = asyncio.create_task(send())
            await soon(chance)
            new = await old.reset(to="first_task")
            await sending
            assert await new.result(timeout=PATIENCE) == 255


async def test_a_run_that_ends_while_a_reset_reads_loses_no_signal(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two things a reset reads, whichever comes first, the run takes a signal and closes."""
    reads = 0
    async with env.worker(sums):
        old = await env.start(sums(2), id="between")
        await old.signal(go(1))
        store: Any = beneath(old._connection.store)

        def ending_behind(read: Any) -> Any:
            async def then_end(*values: Any, **named: Any) -> Any:
                nonlocal reads
                found = await read(*values, **named)
                reads += 1
                if reads == 1:
                    await env.client.get_workflow_handle(old.id).signal(go(2))
                    assert await old.result(timeout=PATIENCE) == 3
                return found

            return then_end

        record = await old._find_own()
        for name in ("find_run", "read_events"):
            monkeypatch.setattr(store, name, ending_behind(getattr(store, name)), raising=False)
        wanted = Wanted(
            run_id=str(uuid.uuid4()),
            event_id=None,
            to="first_task",
            excluded=Excluded(),
            deed=Deed("reset", old.id, ""),
        )
        tries = 0
        while not await _try(store, record, wanted):
            tries += 1
        assert tries == 1  # the run that it meant to end had ended
        new = env.client.get_workflow_handle(old.id, run_id=wanted.run_id)
        assert await new.result(timeout=PATIENCE) == 3


async def test_a_pause_meets_an_activity_s_end(env: Env) -> None:
    chance = random.Random(3)
    async with env.worker(walk, step):
        for n in range(ROUNDS):
            handle = await env.start(walk(6), id=f"p-{n}")
            await soon(chance)
            try:
                await handle.pause()
            except WorkflowNotFoundError:
                assert await handle.result(timeout=PATIENCE) == 6
                continue
            told = await handle.describe()
            assert (told.hold, told.owner) == ("paused", None)
            length = told.history_length
            await soon(chance)
            assert (await handle.describe()).history_length == length
            await handle.unpause()
            assert await handle.result(timeout=PATIENCE) == 6


async def test_a_pause_meets_an_unpause(env: Env) -> None:
    chance = random.Random(4)
    async with env.worker(walk, step):
        for n in range(ROUNDS):
            handle = await env.start(walk(6), id=f"u-{n}")
            await soon(chance)
            await asyncio.gather(handle.pause(), handle.unpause(), return_exceptions=True)
            await asyncio.gather(handle.unpause(), return_exceptions=True)
            assert await handle.result(timeout=PATIENCE) == 6


async def test_a_terminate_meets_the_end(env: Env) -> None:
    chance = random.Random(5)
    async with env.worker(walk, step):
        for n in range(ROUNDS):
            handle = await env.start(walk(3), id=f"t-{n}")
            await soon(chance)
            try:
                await handle.terminate(reason="enough")
            except WorkflowNotFoundError:
                assert await handle.result(timeout=PATIENCE) == 3
                assert (await events(handle))[-1] == "Completed"
            else:
                with pytest.raises(WorkflowFailureError) as failed:
                    await handle.result(timeout=PATIENCE)
                assert isinstance(failed.value.cause, TerminatedError)
                assert (await events(handle))[-1] == "Terminated"


@pytest.mark.owner
async def test_a_delete_meets_a_late_message(env: Env) -> None:
    """The sender is told: it was taken, or there is nobody; nothing is left behind."""
    chance = random.Random(6)
    async with env.worker(sums):
        for n in range(ROUNDS):
            handle = await env.client.start_workflow(sums(1), id=f"d-{n}")
            run_id = handle.result_run_id
            assert run_id is not None

            async def delete(handle: WorkflowHandle[Any, Any] = handle) -> None:
                async def gone() -> bool:
                    try:
                        await handle.delete()
                    except WorkflowStillOpenError:
                        return False
                    return True

                await until("it is closed and gone", gone)

            deleting = asyncio.create_task(delete())
            await soon(chance)
            await handle.signal(go(1))
            late = await asyncio.gather(*[handle.signal(go(1)) for _ in range(3)], return_exceptions=True)
            assert all(one is None or isinstance(one, WorkflowNotFoundError) for one in late), late
            await deleting
            assert await env.store.find_run(handle.id) is None
            assert await env.store.read_messages([run_id]) == []
            assert await env.store.read_events(run_id) == []


async def test_two_resets_at_once(env: Env) -> None:
    """Each wins once; the last one is the run that is open."""
    async with env.worker(sums):
        old = await env.start(sums(1), id="two")
        base = own(old, old.result_run_id or "")
        one, two = await asyncio.gather(base.reset(to="first_task"), base.reset(to="first_task"))
        await old.signal(go(7))
        newest = await env.store.find_run("two")
        assert newest.run_id in (one.result_run_id, two.result_run_id)
        assert await env.client.get_workflow_handle("two").result(timeout=PATIENCE) == 7
        statuses = {(await own(old, each.result_run_id or "").describe()).status for each in (one, two)}
        assert statuses == {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.TERMINATED}
