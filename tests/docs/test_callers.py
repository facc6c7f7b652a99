"""`docs/transactions.md`: what it shows of starts and signals in transactions of programs runs."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import asyncpg
from django.http import HttpRequest, QueryDict
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from durable import Client, Worker
from tests.scenarios import callers

PAGE = Path(__file__).parents[2] / "docs" / "transactions.md"


def shown() -> dict[str, Any]:
    """What the section defines."""
    section = PAGE.read_text("utf-8").partition("## Start and signal in a transaction of yours")[2]
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    names: dict[str, Any] = {"__name__": "shown"}
    for text in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        exec(compile(text, str(PAGE), "exec", dont_inherit=True), names)
    return names


async def test_orders_on_postgresql(postgres_url: str) -> None:
    names = shown()
    async with (
        Client.connect(postgres_url) as client,
        Worker(client, workflows=[names["checkout"]], activities=[]),
    ):
        db = await asyncpg.connect(postgres_url)
        await db.execute("create table orders (id text primary key, cents integer)")
        await names["place"](client, db, "o-1")
        with contextlib.suppress(asyncpg.UniqueViolationError):
            await names["place"](client, db, "o-1")
        await names["pay"](client, db, "o-1", 100)
        assert await client.get_workflow_handle("o-1").result(timeout=60) == "o-1: 100 cents"

        engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
        sessions = async_sessionmaker(engine)
        assert await names["create_order"](sessions, client, "o-2") == {"order": "o-2"}
        await names["pay"](client, db, "o-2", 200)
        assert await client.get_workflow_handle("o-2").result(timeout=60) == "o-2: 200 cents"
        await engine.dispose()
        await db.close()


async def test_a_view_of_django(sqlite_url: str) -> None:
    names = shown()
    async with (
        Client.connect(sqlite_url) as client,
        Worker(client, workflows=[names["checkout"]], activities=[]),
    ):

        def view() -> bytes:
            connection = callers.django_connection(sqlite_url)
            connection.cursor().execute("create table orders (id text primary key, cents integer)")
            request = HttpRequest()
            request.POST = QueryDict("order=o-1")
            answer: bytes = names["order_view"](request).content
            connection.close()
            return answer

        assert await asyncio.to_thread(view) == b'{"order": "o-1"}'
        await client.get_workflow_handle("o-1").signal(names["paid"](100))
        assert await client.get_workflow_handle("o-1").result(timeout=60) == "o-1: 100 cents"


async def test_sql(postgres_url: str) -> None:
    names = shown()
    calls, trigger = re.findall(r"^```sql\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    async with (
        Client.connect(postgres_url) as client,
        Worker(client, workflows=[names["checkout"]], activities=[]),
    ):
        db = await asyncpg.connect(postgres_url)
        await db.execute(calls)
        assert await client.get_workflow_handle("o-1").result(timeout=60) == "o-1: 1200 cents"
        await db.execute(f"create table orders (id text primary key, cents integer); {trigger}")
        await db.execute("insert into orders values ('o-2')")
        await client.get_workflow_handle("o-2").signal(names["paid"](100))
        assert await client.get_workflow_handle("o-2").result(timeout=60) == "o-2: 100 cents"
        await db.close()


async def test_orders_on_sqlite(sqlite_url: str) -> None:
    names = shown()
    async with (
        Client.connect(sqlite_url) as client,
        Worker(client, workflows=[names["checkout"]], activities=[]),
    ):
        with contextlib.closing(sqlite3.connect(callers.path_of(sqlite_url))) as db:
            db.execute("create table orders (id text primary key, cents integer)")
            await names["place_here"](client, db, "o-1")
        await client.get_workflow_handle("o-1").signal(names["paid"](100))
        assert await client.get_workflow_handle("o-1").result(timeout=60) == "o-1: 100 cents"
