"""Connections in which nothing can be started or sent, of every library: each is refused, and nothing half done."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import sqlalchemy
import sqlalchemy.ext.asyncio

from durable import Client, Signal, workflow
from durable.exceptions import UnfitConnectionError, WorkflowNotFoundError
from tests._postgres import PostgresServer
from tests.scenarios import callers

said = Signal[str]("said")


@workflow.defn
async def unfit(number: int) -> int:
    return number


async def refused(client: Client, connection: Any, why: str) -> None:
    handle = client.get_workflow_handle("unfit")
    for call in (
        client.start_workflow(unfit(1), id="unfit", connection=connection),
        client.start_activity("unfit", id="unfit", connection=connection),
        handle.signal(said("x"), connection=connection),
        handle.cancel(connection=connection),
    ):
        with pytest.raises(UnfitConnectionError, match=why):
            await call
    with pytest.raises(WorkflowNotFoundError):
        await handle.describe()


@pytest.fixture
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    name = "postgres_url" if "postgres_url" in request.fixturenames else "sqlite_url"
    async with Client.connect(request.getfixturevalue(name)) as made:
        yield made


def with_each(of: list[Any]) -> Any:
    return pytest.mark.parametrize("opened", of, ids=lambda opened: opened.__name__)


@with_each(callers.POSTGRES)
async def test_postgres(client: Client, postgres_url: str, postgres: PostgresServer, opened: Any) -> None:
    other = postgres.create_database()
    try:
        async with opened(other) as caller:
            await caller.begin()
            await refused(client, caller.connection, "another database")
            await caller.execute("select 1")  # the transaction goes on
            await caller.rollback()
    finally:
        postgres.drop_database(other)
    async with opened(postgres_url) as caller:
        await caller.begin()
        await caller.execute("set transaction read only")
        await refused(client, caller.connection, "read-only")
        await caller.rollback()
        await caller.begin()
        with contextlib.suppress(Exception):
            await caller.execute("select * from nowhere")
        await refused(client, caller.connection, "failed already|cannot be used")
        with contextlib.suppress(Exception):
            await caller.commit()
        await caller.rollback() if not isinstance(caller, callers.Asyncpg) else None
        await caller.begin()
        await client.start_workflow(unfit(1), id="fit", connection=caller.connection)
        await caller.commit()
    assert (await client.get_workflow_handle("fit").describe()).id == "fit"


@with_each(callers.SQLITE)
async def test_sqlite(client: Client, sqlite_url: str, tmp_path: Any, opened: Any) -> None:
    async with opened(f"sqlite:///{tmp_path}/other.db") as caller:
        await caller.begin()
        await refused(client, caller.connection, "another database")
        await caller.rollback()
    async with opened(sqlite_url) as caller:
        await caller.execute("pragma query_only = on")
        await refused(client, caller.connection, "read-only")
        await caller.execute("pragma query_only = off")
        await caller.rollback()
        await caller.begin()
        await client.start_workflow(unfit(1), id="fit", connection=caller.connection)
        await caller.commit()
    assert (await client.get_workflow_handle("fit").describe()).id == "fit"


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "psycopg sync", "aiosqlite", "pysqlite"])
async def test_a_connection_of_sqlalchemy_that_commits_each_statement(driver: str, store_url: str) -> None:
    if ("sqlite" in driver) != store_url.startswith("sqlite"):
        return
    url = callers._alchemy(store_url, driver.partition(" ")[0])
    async with Client.connect(store_url) as client:
        if driver in ("psycopg sync", "pysqlite"):
            engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                await refused(client, connection, "no transaction is open")
            await refused(client, connection, "cannot be used")
            engine.dispose()
        else:
            made = sqlalchemy.ext.asyncio.create_async_engine(url, isolation_level="AUTOCOMMIT")
            async with made.connect() as another:
                await refused(client, another, "no transaction is open")
            await refused(client, another, "cannot be used")
            await made.dispose()


async def test_a_connection_of_psycopg_that_commits_each_statement(client: Client, postgres_url: str) -> None:
    with contextlib.closing(psycopg.connect(postgres_url, autocommit=True)) as connection:
        await refused(client, connection, "no transaction is open")
        with connection.transaction():
            await client.start_workflow(unfit(1), id="fit", connection=connection)
    await refused(client, connection, "closed")
    assert (await client.get_workflow_handle("fit").describe()).id == "fit"
