"""Code that changes under its runs: three deploys, from the old way over both to the new one."""

from __future__ import annotations

from typing import Any

import pytest

from durable import Signal, activity, workflow
from durable.history import MarkerRecorded
from durable.worker import PatchActivationInput
from tests.scenarios.rig import PATIENCE, Env, until

go = Signal("go", str)
CHANGE = "ask-the-bank"


@activity.defn(name="patching_charge")
async def charge(order: str) -> str:
    return f"charged {order}"


@activity.defn(name="patching_ask")
async def ask(order: str) -> str:
    return f"asked {order}"


@workflow.defn(name="patching_order")
async def first(order: str) -> list[str]:
    said = [await charge(order)]
    await go.receive()
    said.append(await charge(order))
    return said


@workflow.defn(name="patching_order")
async def second(order: str) -> list[str]:
    said = [await charge(order)]
    await go.receive()
    said.append(await ask(order) if workflow.patched(CHANGE) else await charge(order))
    return said


@workflow.defn(name="patching_order")
async def third(order: str) -> list[str]:
    said = [await charge(order)]
    await go.receive()
    workflow.deprecate_patch(CHANGE)
    said.append(await ask(order))
    return said


@workflow.defn(name="patching_order")
async def fourth(order: str) -> list[str]:
    said = [await charge(order)]
    await go.receive()
    said.append(await ask(order))
    return said


async def markers(handle: Any) -> list[MarkerRecorded]:
    history = await handle.fetch_history()
    return [event.data for event in history.events if isinstance(event.data, MarkerRecorded)]


async def waits(handle: Any) -> bool:
    """Whether the first activity is over and written."""
    return len((await handle.fetch_history()).events) >= 3


@pytest.mark.temporal("workflow/patch", "hello/patch", "patterns/patching")
async def test_three_deploys(env: Env) -> None:
    env.replays = False  # each run is replayed by several versions of its code, by hand
    async with env.worker(first, charge):
        parked = await env.start(first("a"))
        passed = await env.start(first("b"))
        await until("both wait", lambda: waits(parked))
        await passed.signal(go("on"))
        assert await passed.result(timeout=PATIENCE) == ["charged b", "charged b"]
    async with env.worker(second, charge, ask):
        # It was parked before the patch, and gets there with the code that has it.
        await parked.signal(go("on"))
        assert await parked.result(timeout=PATIENCE) == ["charged a", "asked a"]
        assert await markers(parked) == [MarkerRecorded(patch_id=CHANGE)]
        assert await markers(passed) == []
        waiting = await env.start(second("c"))
        await until("it waits", lambda: waits(waiting))
    async with env.worker(third, charge, ask):
        await waiting.signal(go("on"))
        assert await waiting.result(timeout=PATIENCE) == ["charged c", "asked c"]
        assert await markers(waiting) == [MarkerRecorded(patch_id=CHANGE, deprecated=True)]
        late = await env.start(third("d"))
        await until("it waits", lambda: waits(late))
        await late.signal(go("on"))
        assert await late.result(timeout=PATIENCE) == ["charged d", "asked d"]
    for version, histories in (
        (second, (parked, passed, waiting, late)),
        (third, (parked, waiting, late)),
        (fourth, (waiting, late)),
    ):
        for handle in histories:
            await replayed(handle, version)


async def replayed(handle: Any, definition: Any) -> None:
    from tests.crash.judge import judge_replay

    history = await handle.fetch_history()
    judge_replay(definition.definition, history.run_id, history.events)


@pytest.mark.temporal("workflow/patch")
async def test_code_that_forgot_its_patch_blocks_the_run(env: Env) -> None:
    @workflow.defn(name="patching_forgetful")
    async def before() -> str:
        workflow.patched(CHANGE)
        await go.receive()
        return "patched"

    @workflow.defn(name="patching_forgetful")
    async def after() -> str:
        await go.receive()
        return "forgotten"

    async with env.worker(before):
        handle = await env.start(before())
        await until("the marker is written", lambda: markers(handle))
    async with env.worker(after):
        await handle.signal(go("on"))
        reason = await until("it is blocked", lambda: blocked(handle))
        assert f"MarkerRecorded patch {CHANGE}" in reason
        assert "deprecate_patch" in reason
    async with env.worker(before):
        assert await handle.result(timeout=PATIENCE) == "patched"


async def blocked(handle: Any) -> str | None:
    found = await handle.describe()
    return found.reason if found.hold == "blocked" else None


@pytest.mark.temporal("workflow/patch_activation_callback")
async def test_a_deploy_that_goes_step_by_step(env: Env) -> None:
    on: set[str] = set()

    def callback(input: PatchActivationInput) -> bool:
        assert input.patch_id == CHANGE
        return input.workflow_info.workflow_id in on

    on.add("patching-on")
    async with env.worker(second, charge, ask, patch_activation_callback=callback):
        runs = [await env.start(second("x"), id=id) for id in ("patching-off", "patching-on")]
        for run in runs:
            await until("it waits", lambda run=run: waits(run))  # type: ignore[misc]
            await run.signal(go("on"))
        off, turned = [await run.result(timeout=PATIENCE) for run in runs]
    assert off == ["charged x", "charged x"]
    assert turned == ["charged x", "asked x"]
    assert [len(await markers(run)) for run in runs] == [0, 1]


@workflow.defn(name="patching_early")
async def early_before(n: int) -> str:
    await charge("x")
    await go.receive()
    return "old"


@workflow.defn(name="patching_early")
async def early_after(n: int) -> str:
    way = "new" if workflow.patched(CHANGE) else "old"
    await charge("x")
    if n == 0:
        await go.receive()
        workflow.continue_as_new(1)
    return f"{n} {way}"


async def test_the_next_run_of_a_chain_asks_anew(env: Env) -> None:
    env.replays = False
    async with env.worker(early_before, charge):
        handle = await env.start(early_before(0))
        await until("it waits", lambda: waits(handle))
    async with env.worker(early_after, charge):
        await handle.signal(go("on"))
        # The first run had passed the patch before it was there; the second begins with it.
        assert await handle.result(timeout=PATIENCE) == "1 new"
    assert (
        await markers(env.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)) == []
    )
    assert len(await markers(env.client.get_workflow_handle(handle.id))) == 1
