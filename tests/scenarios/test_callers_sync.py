"""Programs without an event loop: Django's views, and others that have a connection and a transaction."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy
import sqlalchemy.orm
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.db.utils import Error

from durable import Client, Signal, Update, Worker, workflow
from durable.client import SyncClient
from durable.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from durable.exceptions import UnfitConnectionError, WorkflowAlreadyStartedError, WorkflowNotFoundError
from tests._pooler import direct
from tests.scenarios import callers

PATIENCE = 30.0
COLOR = SearchAttributeKey.for_keyword("color")
RED = TypedSearchAttributes([SearchAttributePair(COLOR, "red")])

paid = Signal[int]("paid")


@Update
def added(number: int) -> int: ...


@workflow.defn
async def sold(order: str) -> list[Any]:
    seen: list[Any] = [order]

    def add(number: int) -> int:
        seen.append(number)
        return len(seen)

    workflow.set_handler(added, add)
    seen.append(await paid.receive())
    with contextlib.suppress(asyncio.CancelledError):
        await workflow.wait_condition(lambda: False)
    return seen


@contextlib.contextmanager
def view_of_django(url: str) -> Iterator[tuple[Any, Callable[[], Any], Callable[[str], Any]]]:
    """A connection as a view has it, how a transaction is made, and how a statement."""
    alias = f"db{threading.get_ident()}"
    connection = callers.django_connection(url, alias)
    try:
        yield (
            connection,
            lambda: transaction.atomic(using=alias),
            lambda sql: connection.cursor().execute(sql),
        )
    finally:
        with contextlib.suppress(SynchronousOnlyOperation):
            connection.close()


@contextlib.contextmanager
def session_of_sqlalchemy(url: str) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(direct(url).replace("postgresql://", "postgresql+psycopg://"))
    with sqlalchemy.orm.Session(engine) as session:
        yield session, session.begin, lambda sql: session.execute(sqlalchemy.text(sql))
    engine.dispose()


@contextlib.contextmanager
def driver(url: str) -> Iterator[Any]:
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(callers.path_of(url))) as db:
            yield db, lambda: db, db.execute
    else:
        with psycopg.connect(direct(url)) as postgres:
            yield postgres, postgres.transaction, postgres.execute


KINDS = [view_of_django, session_of_sqlalchemy, driver]


@pytest.mark.parametrize("opened", KINDS, ids=lambda one: one.__name__)
async def test_a_program_without_a_loop(store_url: str, opened: Any) -> None:
    sales = SyncClient()

    def place() -> None:
        with opened(store_url) as (connection, atomic, execute):
            with atomic():
                execute("create table orders (id text)")
            with contextlib.suppress(ZeroDivisionError), atomic():
                execute("insert into orders values ('undone')")
                sales.start_workflow(sold("undone"), id="undone", connection=connection)
                raise ZeroDivisionError
            with atomic():
                execute("insert into orders values ('o-1')")
                started = sales.start_workflow(
                    sold("o-1"), id="o-1", connection=connection, search_attributes=RED
                )
                started.start_update(added(5), id="u", connection=connection)
            with atomic(), pytest.raises(WorkflowAlreadyStartedError):
                sales.start_workflow(sold("o-1"), id="o-1", connection=connection)

    def pay() -> None:
        with opened(store_url) as (connection, atomic, execute), atomic():
            execute("update orders set id = 'o-1'")
            handle = sales.get_workflow_handle("o-1")
            handle.signal(paid(100), connection=connection)
            handle.cancel("enough", connection=connection)
            with pytest.raises(WorkflowNotFoundError):
                sales.get_workflow_handle("undone").signal(paid(1), connection=connection)

    def be_late() -> None:
        with opened(store_url) as (connection, atomic, execute), atomic():
            execute("update orders set id = 'o-1'")
            handle = sales.get_workflow_handle("o-1")
            with pytest.raises(WorkflowNotFoundError, match="is closed"):
                handle.signal(paid(100), connection=connection)
            with pytest.raises(WorkflowNotFoundError, match="is closed"):
                handle.start_update(added(5), id="v", connection=connection)

    async with Client.connect(store_url) as client, Worker(client, workflows=[sold], activities=[]):
        await asyncio.to_thread(place)
        handle = client.get_workflow_handle("o-1")
        assert await handle.get_update_handle("u").result() == 2
        assert [run.id async for run in client.list_workflows("color = 'red'")] == ["o-1"]
        await asyncio.to_thread(pay)
        assert await handle.result(timeout=PATIENCE) == ["o-1", 5, 100]
        await asyncio.to_thread(be_late)
    assert await callers.orders(store_url) == ["o-1"]


def test_what_a_program_without_a_loop_cannot_do(store_url: str) -> None:
    sales = SyncClient()

    async def make() -> None:
        async with Client.connect(store_url):
            pass

    with driver(store_url) as (connection, atomic, _):
        with atomic(), pytest.raises(UnfitConnectionError):
            sales.start_workflow(sold("x"), connection=connection)
        asyncio.run(make())
        with pytest.raises(TypeError, match="None is none"):
            sales.start_workflow(sold("x"))
        with pytest.raises(TypeError, match="None is none"):
            sales.get_workflow_handle("x").signal(paid(1), connection=None)
        with atomic(), pytest.raises(UnfitConnectionError, match="use a Client"):
            sales.start_workflow(sold("x"), cron_schedule="* * * * *", connection=connection)
        with atomic(), pytest.raises(TypeError, match="connection must be"):
            sales.start_workflow(sold("x"), connection=store_url)

    async def asynchronous() -> None:
        opened = callers.psycopg_async if store_url.startswith("postgresql") else callers.aiosqlite_connection
        async with opened(store_url) as caller:
            with pytest.raises((TypeError, UnfitConnectionError)):
                sales.start_workflow(sold("x"), connection=caller.connection)

    asyncio.run(asynchronous())


async def test_django_in_the_event_loop_is_told_where_to_go(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client:
        with (
            view_of_django(sqlite_url) as (connection, _, _),
            pytest.raises(UnfitConnectionError, match="async"),
        ):
            await client.start_workflow(sold("x"), connection=connection)


def test_a_view_outside_of_atomic(store_url: str) -> None:
    async def make() -> None:
        async with Client.connect(store_url):
            pass

    asyncio.run(make())
    with view_of_django(store_url) as (connection, atomic, execute):
        with pytest.raises(UnfitConnectionError, match="no transaction is open"):
            SyncClient().start_workflow(sold("x"), connection=connection)
        if connection.vendor == "postgresql":
            with contextlib.suppress(Error), atomic():
                with contextlib.suppress(Error):
                    execute("select 1/0")
                with pytest.raises(UnfitConnectionError, match="failed already"):
                    SyncClient().start_workflow(sold("x"), connection=connection)
