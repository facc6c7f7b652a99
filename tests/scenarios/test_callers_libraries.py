"""Starts and messages in transactions of callers, with each library that people have."""

from __future__ import annotations

from typing import Any

import pytest

from durable import Client, Signal, Update, Worker, workflow
from durable.client import WorkflowUpdateStage
from durable.exceptions import WorkflowNotFoundError
from tests.scenarios import callers

PATIENCE = 30.0

said = Signal[str]("said")


@Update
def added(number: int) -> int: ...


@workflow.defn
async def listening(order: str) -> list[Any]:
    heard: list[Any] = [order]

    def add(number: int) -> int:
        heard.append(number)
        return len(heard)

    workflow.set_handler(added, add)
    heard.append(await said.receive())
    try:
        await workflow.wait_condition(lambda: False)
    finally:
        return heard  # noqa: B012


async def tell_all(url: str, opened: Any) -> None:
    async with (
        Client.connect(url) as client,
        opened(url) as caller,
        Worker(client, workflows=[listening], activities=[]),
    ):
        await caller.begin()
        await caller.execute("create table orders (id text)")
        await caller.commit()
        connection = caller.connection

        await caller.begin()
        await caller.execute("insert into orders values ('o1')")
        handle = await client.start_workflow(listening("o1"), id="o1", connection=connection)
        await handle.signal(said("lost"), connection=connection)
        await caller.rollback()
        with pytest.raises(WorkflowNotFoundError, match="rolled back"):
            await handle.result(timeout=PATIENCE)

        await caller.begin()
        await caller.execute("insert into orders values ('o1')")
        handle = await client.start_workflow(listening("o1"), id="o1", connection=connection)
        await caller.commit()
        await caller.begin()
        update = await handle.start_update(
            added(7), wait_for_stage=WorkflowUpdateStage.ADMITTED, connection=connection
        )
        await caller.commit()
        assert await update.result() == 2
        await caller.begin()
        await handle.signal(said("heard"), connection=connection)
        await handle.cancel("enough", connection=connection)
        await caller.commit()
        assert await handle.result(timeout=PATIENCE) == ["o1", 7, "heard"]
    assert await callers.orders(url) == ["o1"]


@pytest.mark.parametrize("opened", callers.POSTGRES, ids=lambda opened: opened.__name__)
async def test_postgres(postgres_url: str, opened: Any) -> None:
    await tell_all(postgres_url, opened)


@pytest.mark.parametrize("opened", callers.SQLITE, ids=lambda opened: opened.__name__)
async def test_sqlite(sqlite_url: str, opened: Any) -> None:
    await tell_all(sqlite_url, opened)
