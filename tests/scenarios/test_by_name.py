"""Workflows and messages told by their names: several arguments, types of what comes back, and ids that make it one."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from durable import Client, workflow
from durable.client import WorkflowUpdateRPCTimeoutOrCancelledError, WorkflowUpdateStage
from durable.exceptions import WorkflowNotFoundError
from tests.scenarios.rig import PATIENCE, Env, event, events


@dataclass
class Point:
    x: int
    y: int


@workflow.defn(name="named.point")
class Moves:
    def __init__(self) -> None:
        self.added: list[int] = []

    @workflow.run
    async def run(self, x: int, y: int) -> Point:
        await workflow.wait_condition(lambda: len(self.added) >= 2)
        return Point(x + self.added[0], y + self.added[1])

    @workflow.signal
    def add(self, number: int) -> None:
        self.added.append(number)

    @workflow.update
    def move(self, x: int, y: int) -> Point:
        return Point(x, y)


async def test_names_arguments_and_types(env: Env) -> None:
    async with env.worker(Moves):
        handle = await env.start("named.point", args=[1, 2], result_type=Point)
        assert await handle.execute_update("move", args=[3, 4], result_type=Point) == Point(3, 4)
        update = await handle.start_update(
            "move", args=[5, 6], result_type=Point, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        assert await update.result() == Point(5, 6)
        for number in (10, 20):
            await handle.signal("add", number)
        assert await handle.result(timeout=PATIENCE) == Point(11, 22)
    same = env.client.get_workflow_handle(handle.id, run_id=handle.result_run_id, result_type=Point)
    assert await same.result(timeout=PATIENCE) == Point(11, 22)
    assert (await event(handle, "Started")).workflow_type == "named.point"


async def test_a_request_that_is_sent_again_is_one(env: Env) -> None:
    handle = await env.start("named.point", args=[0, 0], result_type=Point)
    for _ in range(2):
        await handle.signal("add", 1, request_id="first")
        await handle.cancel(request_id="stop")
    await handle.signal("add", 2, request_id="second")
    waiting = [one.message_id for one in await env.store.read_messages([handle.result_run_id or ""])]
    assert len(waiting) == len(set(waiting)) == 3
    await handle.terminate()


async def test_an_update_that_nobody_takes(env: Env) -> None:
    handle = await env.start("named.point", args=[0, 0])
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
        await handle.start_update(
            "move", args=[1, 1], wait_for_stage=WorkflowUpdateStage.ACCEPTED, rpc_timeout=0.05
        )
    await handle.terminate()


async def test_a_handle_of_one_run_and_of_one_chain(env: Env) -> None:
    first = await env.start("named.point", args=[1, 1], id="twice", result_type=Point)
    await first.terminate()
    second = await env.start("named.point", args=[2, 2], id="twice", result_type=Point)
    run, chain = first.result_run_id, first.first_execution_run_id
    old = env.client.get_workflow_handle("twice", run_id=run)
    assert await events(old) == ["Started", "Terminated"]
    for gone in (old, env.client.get_workflow_handle("twice", first_execution_run_id=chain)):
        with pytest.raises(WorkflowNotFoundError):
            await gone.cancel()
    await env.client.get_workflow_handle("twice").cancel()
    await second.terminate()


@pytest.mark.owner
async def test_who_and_where_a_client_is(postgres_url: str) -> None:
    async with (
        Client.connect(postgres_url, namespace="shop", identity="me") as client,
        Client.connect(postgres_url, namespace="bank") as other,
    ):
        assert (client.namespace, client.identity) == ("shop", "me")
        handle = await client.start_workflow("named.point", args=[1, 1], id="here")
        assert (await event(handle, "Started")).identity == "me"
        with pytest.raises(WorkflowNotFoundError):
            await other.get_workflow_handle("here").describe()
