"""A payload codec, and transactions of callers and of activities: it stands before both."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest

from durable import Client, Signal, Update, activity, workflow
from durable.client import SyncClient, WithStartWorkflowOperation, WorkflowUpdateStage
from durable.common import WorkflowIDConflictPolicy
from durable.converter import DataConverter, Payload
from durable.exceptions import PayloadCodecError, WorkflowNotFoundError
from durable.store import beneath
from tests.scenarios import callers
from tests.scenarios.rig import PATIENCE, Env
from tests.scenarios.test_callers_sync import driver
from tests.scenarios.test_codec import SECRET, Toy, as_stored

told = Signal[str]("told")


@Update
def asked(text: str) -> str: ...


@workflow.defn(name="scn.codec.listens")
async def listens(text: str) -> list[str]:
    workflow.set_handler(asked, lambda text: f"answer {text}")
    return [text, await told.receive()]


@activity.defn(name="scn.codec.echoes")
async def echoes(text: str) -> str:
    return text


class AtOnce(Toy):
    """A codec that waits for nothing."""

    async def _call(self, what: str, payloads: Sequence[Payload]) -> None:
        self.calls.append((what, len(payloads)))


@pytest.fixture
def codec() -> Toy:
    return Toy()


@pytest.fixture
async def env(store_url: str, codec: Toy) -> AsyncIterator[Env]:
    async with Client.connect(store_url, data_converter=DataConverter(payload_codec=codec)) as client:
        yield Env(client, 1000)


@pytest.fixture
async def mine(store_url: str, env: Env) -> AsyncIterator[Any]:
    async with callers.of_database(store_url) as made:
        yield made


async def test_what_a_caller_sends_passes_the_codec(env: Env, mine: Any) -> None:
    client, connection = env.client, mine.connection
    await mine.begin()
    handle = await client.start_workflow(listens(SECRET), id="l", memo={"for": SECRET}, connection=connection)
    update = await handle.start_update(
        asked(SECRET), wait_for_stage=WorkflowUpdateStage.ADMITTED, connection=connection
    )
    with_start = await client.start_update_with_start_workflow(
        asked(SECRET),
        start_workflow_operation=WithStartWorkflowOperation(
            listens(SECRET),
            id="l",
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            connection=connection,
        ),
        wait_for_stage=WorkflowUpdateStage.ADMITTED,
    )
    await handle.signal(told(SECRET), connection=connection)
    other = await client.start_workflow(
        listens(SECRET), id="m", start_signal=told(SECRET), connection=connection
    )
    by_itself = await client.start_activity(echoes, SECRET, id="a", connection=connection)
    await mine.commit()
    for run_id in (handle.result_run_id, other.result_run_id, by_itself.run_id):
        assert SECRET.encode() not in await as_stored(client.store, run_id or "")
    async with env.worker(listens, echoes):
        assert await handle.result(timeout=PATIENCE) == [SECRET, SECRET]
        assert await other.result(timeout=PATIENCE) == [SECRET, SECRET]
        assert [await one.result() for one in (update, with_start)] == [f"answer {SECRET}"] * 2
        assert await by_itself.result(timeout=PATIENCE) == SECRET
    assert await (await handle.describe()).memo() == {"for": SECRET}


async def test_a_codec_that_is_away_leaves_the_transaction_as_it_was(
    env: Env, mine: Any, codec: Toy, store_url: str
) -> None:
    await mine.begin()
    await mine.execute("create table orders (id text)")
    await mine.execute("insert into orders values ('kept')")
    codec.away = lambda what: True
    with pytest.raises(PayloadCodecError):
        await env.client.start_workflow(listens("x"), id="l", connection=mine.connection)
    codec.away = lambda what: False
    handle = await env.client.start_workflow(listens("x"), id="m", connection=mine.connection)
    codec.away = lambda what: True
    with pytest.raises(PayloadCodecError):
        await handle.signal(told("x"), connection=mine.connection)
    codec.away = lambda what: False
    await mine.commit()
    assert await callers.orders(store_url) == ["kept"]
    with pytest.raises(WorkflowNotFoundError):
        await env.client.get_workflow_handle("l").describe()
    assert await beneath(env.client.store).read_messages([handle.result_run_id or ""]) == []


async def test_without_an_event_loop_a_codec_must_not_wait(env: Env, store_url: str) -> None:
    def start(codec: Toy) -> str | None:
        sales = SyncClient(data_converter=DataConverter(payload_codec=codec))
        with driver(store_url) as (connection, atomic, _), atomic():
            return sales.start_workflow(
                listens(SECRET), id="l", start_signal=told("x"), connection=connection
            ).result_run_id

    with pytest.raises(TypeError, match="a codec"):
        await asyncio.to_thread(start, Toy())
    run_id = await asyncio.to_thread(start, AtOnce())
    assert SECRET.encode() not in await as_stored(env.client.store, run_id or "")
    async with env.worker(listens):
        assert await env.client.get_workflow_handle("l").result(timeout=PATIENCE) == [SECRET, "x"]


@activity.defn(name="scn.codec.writes", transactional=True)
async def writes(tx: asyncpg.Connection[Any], text: str) -> str:
    await tx.execute("create table written (one integer)")
    return text


@activity.defn(name="scn.codec.writes", transactional=True)
def writes_here(tx: sqlite3.Connection, text: str) -> str:
    tx.execute("create table written (one integer)")
    return text


@workflow.defn(name="scn.codec.writing")
async def writing(text: str) -> str:
    return await workflow.execute_activity("scn.codec.writes", text, result_type=str)


async def test_the_completion_of_a_transactional_activity_passes_the_codec(
    env: Env, mine: Any, store_url: str
) -> None:
    async with env.worker(writing, writes_here if store_url.startswith("sqlite") else writes):
        handle = await env.client.start_workflow(writing(SECRET), id="w")
        assert await handle.result(timeout=PATIENCE) == SECRET
    assert SECRET.encode() not in await as_stored(env.client.store, handle.result_run_id or "")
    await mine.begin()
    await mine.execute("insert into written values (1)")
    await mine.commit()
