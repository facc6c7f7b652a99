"""Starts and signals by SQL: from triggers, and in whatever language."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from durable import Client, Signal, Worker, workflow
from durable.exceptions import WorkflowNotFoundError
from tests.store.postgres_rig import connected


@dataclass
class Order:
    id: str
    cents: int
    note: str | None = None


paid = Signal[dict[str, Any]]("paid")


@workflow.defn
async def bought(order: Order, urgent: bool) -> list[Any]:
    payment = await paid.receive()
    return [order.id, order.cents, order.note, urgent, payment["cents"], payment["how"]]


@pytest.fixture
async def client(postgres_url: str) -> AsyncIterator[Client]:
    async with Client.connect(postgres_url) as made:
        yield made


@pytest.fixture
async def mine(client: Client, postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as connection:
        yield connection


TRIGGERS = """
create table orders (id text primary key, cents bigint not null, note text, paid bigint);
create function on_order() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        perform durable.start_workflow_1('bought', 'order-' || new.id, jsonb_build_array(to_jsonb(new) - 'paid', true));
    else
        perform durable.signal_workflow_1('order-' || new.id, 'paid',
            jsonb_build_array(jsonb_build_object('cents', new.paid, 'how', 'by ü card')));
    end if;
    return new;
end $$;
create trigger on_order after insert or update of paid on orders for each row execute function on_order();
"""


async def test_triggers_start_and_signal(client: Client, mine: asyncpg.Connection) -> None:
    await mine.execute(TRIGGERS)
    async with Worker(client, workflows=[bought], activities=[], poll_interval=60):
        with pytest.raises(asyncpg.NotNullViolationError):
            await mine.execute("insert into orders (id) values ('none')")
        async with mine.transaction():
            undone = mine.transaction()
            await undone.start()
            await mine.execute("insert into orders (id, cents) values ('undone', 1)")
            await undone.rollback()
            await mine.execute("insert into orders (id, cents, note) values ('1', 1000, 'ø')")
        await mine.execute("update orders set paid = 900 where id = '1'")
        handle = client.get_workflow_handle("order-1")
        assert await handle.result(timeout=60) == ["1", 1000, "ø", True, 900, "by ü card"]
        for never in ("order-none", "order-undone"):
            with pytest.raises(WorkflowNotFoundError):
                await client.get_workflow_handle(never).describe()
        # What the trigger cannot tell any more is an error of the statement.
        with pytest.raises(asyncpg.PostgresError, match="'order-1' is closed"):
            await mine.execute("update orders set paid = 1 where id = '1'")
        assert await mine.fetchval("select paid from orders") == 900
    first = (await handle.fetch_history()).events[0].data
    assert getattr(first, "identity", "").startswith("SQL ")
    assert UUID(handle.result_run_id or (await handle.describe()).run_id).version == 7


async def test_options_and_errors(client: Client, mine: asyncpg.Connection) -> None:
    run = await mine.fetchval(
        "select durable.start('bought', 'a', '[{\"id\": \"a\", \"cents\": 1}, false]', task_queue => 'q', run_timeout => '1 hour')"
    )
    described = await client.get_workflow_handle("a").describe()
    assert (described.run_id, described.task_queue) == (str(run), "q")
    record = await client.store.find_run("a")
    assert record is not None
    assert record.times_out_at is not None
    assert timedelta(microseconds=record.times_out_at - record.started_at) == timedelta(hours=1)
    with pytest.raises(asyncpg.UniqueViolationError, match="'a' is in use"):
        await mine.fetchval("select durable.start('bought', 'a')")
    assert await mine.fetchval("select durable.start('bought', 'a', on_conflict => 'use_existing')") == run
    assert await mine.fetchval("select durable.signal('a', 'paid', run_id => $1)", run) == run
    with pytest.raises(asyncpg.NoDataFoundError, match="no workflow 'nobody'"):
        await mine.fetchval("select durable.signal('nobody', 'paid')")
    for wrong, why in (
        ("durable.start('', 'x')", "type must be 1 to 255"),
        ("durable.start('bought', null)", "id must be 1 to 255 bytes .* not null"),
        ("durable.start('bought', E'a\\nb')", "without control characters"),
        ("durable.start('bought', repeat('x', 256))", "255 bytes"),
        ("durable.start('bought', 'x', '{}')", "must be a JSON array"),
        ("durable.start('bought', 'x', null)", "must be a JSON array"),
        ("durable.start('bought', 'x', on_conflict => 'terminate')", "fail or use_existing"),
        ("durable.start('bought', 'x', run_timeout => '-1 s')", "longer than zero"),
        ("durable.signal('a', ' ')", "the signal must be"),
        ("durable.signal('a', 'paid', '1')", "must be a JSON array"),
    ):
        with pytest.raises(asyncpg.InvalidParameterValueError, match=why):
            await mine.fetchval(f"select {wrong}")
    assert await mine.fetchval("select count(*) from durable.runs") == 1


async def test_another_namespace_has_its_own(
    client: Client, mine: asyncpg.Connection, postgres_url: str
) -> None:
    async with (
        Client.connect(postgres_url, namespace="other") as other,
        Worker(other, workflows=[bought], activities=[], poll_interval=60),
    ):
        await mine.execute("select other.start('bought', 'a', '[{\"id\": \"a\", \"cents\": 1}, false]')")
        await mine.execute("select other.signal('a', 'paid', '[{\"cents\": 2, \"how\": \"x\"}]')")
        assert await other.get_workflow_handle("a").result(timeout=60) == ["a", 1, None, False, 2, "x"]
        with pytest.raises(WorkflowNotFoundError):
            await client.get_workflow_handle("a").describe()
