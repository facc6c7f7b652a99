"""The start of a child beside something else: a message to it, a schedule that is none."""

from __future__ import annotations

import asyncio

import pytest

from durable import Signal, workflow
from durable.history import (
    ChildWorkflowExecutionStarted,
    ExternalWorkflowExecutionSignaled,
    SignalExternalWorkflowExecutionInitiated,
)
from tests.scenarios.rig import PATIENCE, Env

go = Signal("go", str)


@workflow.defn(name="starts_kid")
async def kid() -> str:
    return await go.receive()


@workflow.defn(name="starts_parent")
async def parent(child_id: str) -> str:
    child = asyncio.create_task(workflow.execute_child_workflow(kid, id=child_id))
    await asyncio.sleep(0)
    await workflow.get_external_workflow_handle(child_id).signal("go", "told")
    return await child


@pytest.mark.temporal("child_workflow/signal")
async def test_a_signal_by_id_to_a_child_of_the_same_task_reaches_it(env: Env) -> None:
    async with env.worker(parent, kid):
        handle = await env.start(parent("starts-kid"))
        assert await handle.result(timeout=PATIENCE) == "told"
    history = await handle.fetch_history()
    kinds = [type(event.data) for event in history.events]
    order = [
        kinds.index(kind)
        for kind in (
            ChildWorkflowExecutionStarted,
            SignalExternalWorkflowExecutionInitiated,
            ExternalWorkflowExecutionSignaled,
        )
    ]
    assert order == sorted(order)


@workflow.defn(name="starts_scheduled")
async def scheduled(schedule: str) -> str:
    try:
        await workflow.start_child_workflow(kid, id="never", cron_schedule=schedule)
    except ValueError as error:
        return str(error)
    return "started"


@pytest.mark.parametrize("schedule", ["every monday", "61 * * * *", "0 0 30 2 *"])
async def test_a_cron_schedule_that_is_none_raises_at_the_call(env: Env, schedule: str) -> None:
    async with env.worker(scheduled, kid):
        handle = await env.start(scheduled(schedule))
        assert "cron_schedule" in await handle.result(timeout=PATIENCE)
    assert len((await handle.fetch_history()).events) == 2
