"""Connections of programs, of every library that is taken, with a transaction that can be begun and ended."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosqlite
import asyncpg
import django
import psycopg
import sqlalchemy
import sqlalchemy.ext.asyncio
import sqlalchemy.orm
from django.conf import settings
from django.db import connections
from psycopg.rows import dict_row

from tests._pooler import direct


class Caller:
    """A connection, and how its library begins and ends a transaction.

    Attributes:
        connection: What is passed as `connection=`.
    """

    connection: Any

    async def begin(self) -> None: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...

    async def execute(self, sql: str) -> Any: ...


class Asyncpg(Caller):
    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.transaction: Any = None

    async def begin(self, **options: Any) -> None:
        self.transaction = self.connection.transaction(**options)
        await self.transaction.start()

    async def commit(self) -> None:
        await self.transaction.commit()

    async def rollback(self) -> None:
        await self.transaction.rollback()

    async def execute(self, sql: str) -> Any:
        return await self.connection.fetch(sql)


class Plain(Caller):
    """A driver whose methods are like those of the DB-API, asynchronous or not."""

    def __init__(self, connection: Any, *, text: Callable[[str], Any] = str) -> None:
        self.connection = connection
        self._text = text

    async def commit(self) -> None:
        await _settled(self.connection.commit())

    async def rollback(self) -> None:
        await _settled(self.connection.rollback())

    async def execute(self, sql: str) -> Any:
        return await _settled(self.connection.execute(self._text(sql)))


async def _settled(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


@contextlib.asynccontextmanager
async def asyncpg_connection(url: str) -> AsyncIterator[Caller]:
    connection = await asyncpg.connect(direct(url))
    yield Asyncpg(connection)
    await connection.close()


@contextlib.asynccontextmanager
async def asyncpg_pool(url: str) -> AsyncIterator[Caller]:
    async with asyncpg.create_pool(direct(url), min_size=1, max_size=1) as pool, pool.acquire() as connection:
        yield Asyncpg(connection)


@contextlib.asynccontextmanager
async def psycopg_sync(url: str) -> AsyncIterator[Caller]:
    with contextlib.closing(psycopg.connect(direct(url))) as connection:
        yield Plain(connection)


@contextlib.asynccontextmanager
async def psycopg_async(url: str) -> AsyncIterator[Caller]:
    connection: Any = await psycopg.AsyncConnection.connect(direct(url), row_factory=dict_row)  # type: ignore[arg-type]
    yield Plain(connection)
    await connection.close()


@contextlib.asynccontextmanager
async def sqlite3_connection(url: str) -> AsyncIterator[Caller]:
    with contextlib.closing(sqlite3.connect(path_of(url))) as connection:
        connection.row_factory = sqlite3.Row
        yield Plain(connection)


@contextlib.asynccontextmanager
async def aiosqlite_connection(url: str) -> AsyncIterator[Caller]:
    async with aiosqlite.connect(path_of(url)) as connection:
        yield Plain(connection)


def of_database(url: str) -> Any:
    """The one that the database's own driver makes."""
    return sqlite3_connection(url) if url.startswith("sqlite") else asyncpg_connection(url)


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


async def orders(url: str) -> list[str]:
    """What is in the table `orders`, seen by a stranger."""
    query = "select id from orders order by id"
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(path_of(url))) as db:
            return [row[0] for row in db.execute(query)]
    connection = await asyncpg.connect(direct(url))
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


def _django_database(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": path_of(url)}
    parts = urlsplit(direct(url))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname,
        "PORT": parts.port,
    }


def django_connection(url: str, alias: str = "default") -> Any:
    """This thread's connection of Django to a database, under an alias."""
    if not settings.configured:
        settings.configure(DATABASES={})
        django.setup()
    made = connections.configure_settings({"default": {}, alias: _django_database(url)})
    connections.settings[alias] = made[alias]
    return connections[alias]


def _alchemy(url: str, driver: str) -> str:
    return (
        direct(url)
        .replace("postgresql://", f"postgresql+{driver}://")
        .replace("sqlite://", f"sqlite+{driver}://")
    )


def alchemy(driver: str, what: str) -> Any:
    @contextlib.asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Caller]:
        if driver in ("asyncpg", "aiosqlite"):
            engine: Any = sqlalchemy.ext.asyncio.create_async_engine(_alchemy(url, driver))
            make = (
                sqlalchemy.ext.asyncio.AsyncSession if what == "session" else lambda engine: engine.connect()
            )
            async with make(engine) as connection:
                yield Plain(connection, text=sqlalchemy.text)
            await engine.dispose()
        else:
            engine = sqlalchemy.create_engine(_alchemy(url, driver))
            make = sqlalchemy.orm.Session if what == "session" else lambda engine: engine.connect()
            with make(engine) as connection:
                yield Plain(connection, text=sqlalchemy.text)
            engine.dispose()

    opened.__name__ = f"sqlalchemy_{driver}_{what}"
    return opened


POSTGRES = [
    asyncpg_connection,
    asyncpg_pool,
    psycopg_sync,
    psycopg_async,
    *[alchemy(driver, what) for driver in ("asyncpg", "psycopg") for what in ("session", "connection")],
]
SQLITE = [
    sqlite3_connection,
    aiosqlite_connection,
    *[alchemy(driver, what) for driver in ("aiosqlite", "pysqlite") for what in ("session", "connection")],
]
