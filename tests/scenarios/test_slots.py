"""Slots that a program or the machine hands out, as workers use them; and that no number is ever exceeded."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import durable.worker._worker as worker_module
from durable import Signal, activity, workflow
from durable.common import VersioningBehavior, WorkerDeploymentVersion
from durable.worker import (
    ActivitySlotInfo,
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    LocalActivitySlotInfo,
    ResourceBasedSlotConfig,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    WorkerDeploymentConfig,
    WorkerTuner,
    WorkflowSlotInfo,
)
from tests.scenarios.rig import PATIENCE, Env, until

go = Signal("go", None)
running: set[str] = set()
most: Counter[str] = Counter()
gate = asyncio.Event()


@pytest.fixture(autouse=True)
def fresh() -> None:
    global gate
    gate = asyncio.Event()
    running.clear()
    most.clear()


@activity.defn(name="slo.waits")
async def waits(name: str) -> str:
    running.add(name)
    most["at once"] = max(most["at once"], len(running))
    try:
        await gate.wait()
    finally:
        running.discard(name)
    return name


@activity.defn(name="slo.quick")
async def quick(name: str) -> str:
    return name


@workflow.defn(name="slo.many")
async def many(count: int) -> list[str]:
    return list(await asyncio.gather(*[waits(str(i)) for i in range(count)]))


@workflow.defn(name="slo.all", versioning_behavior=VersioningBehavior.PINNED)
async def all_kinds(name: str) -> list[str]:
    await go.receive()
    return [
        await quick(name),
        await workflow.execute_local_activity(quick, f"local {name}", start_to_close_timeout=10),
        await workflow.execute_activity(quick, f"again {name}"),
    ]


class Permit(SlotPermit):
    def __init__(self, asked: SlotReserveContext) -> None:
        self.asked = asked
        self.used: Any = None


class Supplier(CustomSlotSupplier):
    """So many slots for all kinds together, and a note of everything."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.out: set[Permit] = set()
        self.used: list[Any] = []
        self.asked: list[SlotReserveContext] = []
        self.most = 0
        self._freed = asyncio.Event()

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        while (permit := self.try_reserve_slot(ctx)) is None:
            self._freed.clear()
            await self._freed.wait()
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        if len(self.out) >= self.size:
            return None
        permit = Permit(ctx)
        self.asked.append(ctx)
        self.out.add(permit)
        return permit

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        permit = ctx.permit
        assert isinstance(permit, Permit)
        assert permit in self.out
        assert permit.used is None
        permit.used = ctx.slot_info
        self.used.append(ctx.slot_info)
        self.most = max(self.most, sum(one.used is not None for one in self.out))

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        permit = ctx.permit
        assert isinstance(permit, Permit)
        assert permit.used == ctx.slot_info
        self.out.remove(permit)
        self._freed.set()


@pytest.mark.parametrize("size", [1, 3])
async def test_one_supplier_for_everything(env: Env, size: int) -> None:
    """A workflow task gives its slot up before its activities need one, so even one slot is enough."""
    supplier = Supplier(size)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=supplier, activity_supplier=supplier, local_activity_supplier=supplier
    )
    version = WorkerDeploymentVersion("shop", "7")
    await env.client.start_activity(quick, "alone", id="alone")
    async with env.worker(all_kinds, quick, tuner=tuner, identity="me") as plain:
        assert plain.is_running
        handles = [await env.start(all_kinds(str(n)), id=f"all-{n}") for n in range(4)]
        for handle in handles:
            await handle.signal(go(None))
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=PATIENCE) == [str(n), f"local {n}", f"again {n}"]
        assert await env.client.get_activity_handle("alone").result() == "alone"
    assert supplier.most <= size
    assert supplier.out == set(), "everything was given back"
    kinds = Counter(type(one) for one in supplier.used)
    assert kinds[ActivitySlotInfo] == 9
    assert kinds[LocalActivitySlotInfo] == 4
    assert kinds[WorkflowSlotInfo] >= 16
    assert {one.activity_type for one in supplier.used if isinstance(one, ActivitySlotInfo)} == {"slo.quick"}
    tasks = [one for one in supplier.used if isinstance(one, WorkflowSlotInfo)]
    assert {one.workflow_type for one in tasks} == {"slo.all"}
    assert any(one.is_sticky for one in tasks) == (env.cached > 0)
    assert {one.slot_type for one in supplier.asked} == {"workflow", "activity", "local-activity"}
    assert {(one.task_queue, one.worker_identity, one.worker_build_id) for one in supplier.asked} == {
        ("default", "me", "")
    }
    supplier.asked.clear()
    deployed = WorkerDeploymentConfig(version, use_worker_versioning=True)
    async with env.worker(all_kinds, quick, tuner=tuner, deployment_config=deployed):
        await until("it asks", lambda: supplier.asked)
    assert {(one.worker_deployment_version, one.worker_build_id) for one in supplier.asked} == {
        (version, "7")
    }


async def test_a_supplier_that_has_none_keeps_work_waiting(env: Env) -> None:
    supplier = Supplier(0)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=FixedSizeSlotSupplier(5), activity_supplier=supplier
    )
    async with env.worker(many, waits, tuner=tuner):
        handle = await env.start(many(2))
        await until("they have rows", lambda: rows_of(env, handle, 2))
        assert not running
        gate.set()
        supplier.size = 1
        supplier._freed.set()
        assert await handle.result(timeout=PATIENCE) == ["0", "1"]
    assert most["at once"] == 1
    assert supplier.out == set()


async def rows_of(env: Env, handle: Any, count: int) -> bool:
    return len(await env.client.store.read_activities(handle.result_run_id)) >= count


async def test_a_worker_stops_while_it_waits_for_slots(env: Env) -> None:
    """With no slot for anything, or all of them taken: nothing is waited for, and others go on with what it had."""
    supplier = Supplier(0)
    tuner = WorkerTuner.create_composite(workflow_supplier=supplier, activity_supplier=supplier)
    async with env.worker(all_kinds, quick, tuner=tuner):
        handle = await env.start(all_kinds("x"), id="x")
        await handle.signal(go(None))
    assert supplier.out == set()
    async with env.worker(all_kinds, quick):
        assert await handle.result(timeout=PATIENCE) == ["x", "local x", "again x"]


# ---------------------------------------------------------------------- the machine


class Machine:
    """What `Resources` tells."""

    memory = 0.9
    cpu: float | None = 0.1

    def measure(self) -> None:
        pass


async def test_more_activities_while_the_machine_can_bear_it(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine()
    monkeypatch.setattr(worker_module, "Resources", lambda: machine)
    tuner = WorkerTuner.create_resource_based(
        target_memory_usage=0.8,
        target_cpu_usage=0.9,
        activity_config=ResourceBasedSlotConfig(minimum_slots=2, maximum_slots=4, ramp_throttle=0.01),
    )
    async with env.worker(many, waits, tuner=tuner):
        handle = await env.start(many(6))
        await until("the minimum runs", lambda: len(running) == 2)
        await until("the others have rows", lambda: rows_of(env, handle, 4))
        assert len(running) == 2
        machine.memory = 0.5
        await until("more run", lambda: len(running) == 4)
        machine.memory = 0.9
        gate.set()
        assert await handle.result(timeout=PATIENCE) == [str(i) for i in range(6)]
    assert most["at once"] == 4


async def test_this_machine_says_how_many(plain: Env) -> None:
    env = plain
    tuner = WorkerTuner.create_resource_based(target_memory_usage=1.0, target_cpu_usage=1.0)
    async with env.worker(all_kinds, quick, tuner=tuner):
        handles = [await env.start(all_kinds(str(n)), id=f"all-{n}") for n in range(8)]
        for handle in handles:
            await handle.signal(go(None))
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=PATIENCE) == [str(n), f"local {n}", f"again {n}"]


# ---------------------------------------------------------------------- no number is exceeded


async def test_a_run_is_not_adopted_beside_a_claim_that_may_fill_the_slots(plain: Env) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def claim_runs(method: Any, *args: Any, **options: Any) -> Any:
        found = await method(*args, **options)
        asked.set()  # not before: what is started behind this is none of what the claim found
        await answer.wait()
        return found

    plain.store.hooks["claim_runs"] = claim_runs
    async with plain.worker(all_kinds, quick, max_concurrent_workflow_tasks=1) as worker:
        await asked.wait()
        handle = await plain.start(all_kinds("x"), id="x")
        assert (await handle.describe()).owner is None
        answer.set()
        await until("it is claimed", lambda: owner_is(handle, worker))
        await handle.signal(go(None))
        assert await handle.result(timeout=PATIENCE) == ["x", "local x", "again x"]


async def owner_is(handle: Any, worker: Any) -> bool:
    return (await handle.describe()).owner == worker.worker_id


async def test_an_activity_does_not_start_beside_a_claim_that_may_fill_the_slots(plain: Env) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def claim_activities(method: Any, *args: Any, **options: Any) -> Any:
        found = await method(*args, **options)
        if found:
            asked.set()
            await answer.wait()
        return found

    plain.store.hooks["claim_activities"] = claim_activities
    await plain.client.start_activity(waits, "alone", id="alone")
    async with plain.worker(many, waits, max_concurrent_activities=1):
        await asked.wait()
        handle = await plain.start(many(2))
        await until("both have rows", lambda: rows_of(plain, handle, 2))
        answer.set()
        await until("the one runs", lambda: running == {"alone"})
        gate.set()
        assert await handle.result(timeout=PATIENCE) == ["0", "1"]
    assert most["at once"] == 1


async def test_one_slot_is_enough_for_many_runs(env: Env) -> None:
    async with env.worker(all_kinds, quick, max_concurrent_workflow_tasks=1):
        handles = [await env.start(all_kinds(str(n)), id=f"all-{n}") for n in range(10)]
        for handle in handles:
            await handle.signal(go(None))
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=PATIENCE) == [str(n), f"local {n}", f"again {n}"]


async def test_runs_that_wait_for_a_slot_are_handed_back(plain: Env) -> None:
    """One run is at work for long; a second one that is owned has something to do and no slot."""
    env = plain
    held_up = asyncio.Event()

    async with env.worker(all_kinds, quick, max_concurrent_workflow_tasks=1) as worker:
        handles = [await env.start(all_kinds(str(n)), id=f"all-{n}") for n in range(2)]
        for handle in handles:
            await until("it is owned", lambda handle=handle: owner_is(handle, worker))
        reached = asyncio.Event()

        async def commit(method: Any, *args: Any) -> Any:
            reached.set()
            await held_up.wait()
            return await method(*args)

        env.store.hooks["commit"] = commit
        for handle in handles:
            await handle.signal(go(None))
        await reached.wait()
        stopping = asyncio.create_task(worker.shutdown())
        del env.store.hooks["commit"]
        held_up.set()
        await asyncio.wait_for(stopping, PATIENCE)
    for handle in handles:
        assert (await handle.describe()).owner is None
    async with env.worker(all_kinds, quick):
        for n, handle in enumerate(handles):
            assert await handle.result(timeout=PATIENCE) == [str(n), f"local {n}", f"again {n}"]
