"""The insurer's own tables, in the database that also holds the workflows. Plain SQL over plain drivers.

The two databases differ in little: placeholders, and how JSON is read. SQL is written once, with `$1`.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import unquote

import asyncpg

TABLES = (
    "create table invoices (idempotency_key text primary key, number text not null, policy text not null, "
    "month integer not null, cents integer not null)",
    "create table payments (idempotency_key text primary key, invoice text not null, cents integer not null)",
    "create table letters (idempotency_key text primary key, kind text not null, policy text not null, "
    "text text not null, answered integer not null default 0)",
    "create table kills (worker text not null, pid integer not null, policies integer not null, "
    "killed_at bigint not null)",
)

SQLITE_LOG = """
create view log as
select runs.workflow_id as policy, events.run_id, events.seq, events.type, events.time,
       json_extract(cast(events.data as text), '$.id') as id,
       coalesce(json_extract(cast(events.data as text), '$.attempt'), 1) as attempt,
       json_extract(cast(events.data as text), '$.identity') as worker
from events join runs on runs.run_id = events.run_id
"""

POSTGRES_LOG = """
create view log as
select policy, run_id, seq, type, time, (facts ->> 'id')::integer as id,
       coalesce((facts ->> 'attempt')::integer, 1) as attempt, facts ->> 'identity' as worker
from (select runs.workflow_id as policy, events.run_id, events.seq, events.type, events.time,
             convert_from(events.data, 'UTF8')::json as facts
      from events join runs on runs.run_id = events.run_id) as readable
"""

PLACEHOLDER = re.compile(r"\$(\d)")


class Database(Protocol):
    """What this example needs of a database."""

    async def execute(self, sql: str, *values: Any) -> None:
        """Run one statement, in a transaction of its own."""
        ...

    async def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        ...


class SQLite:
    """One connection, used by one thread."""

    def __init__(self, path: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="insurance-sqlite")
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)

    async def execute(self, sql: str, *values: Any) -> None:
        await self.fetch(sql, *values)

    async def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: self._connection.execute(PLACEHOLDER.sub(r"?\1", sql), values).fetchall()
        )

    def close(self) -> None:
        self._thread.shutdown()
        self._connection.close()


class Postgres:
    """A few connections."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def execute(self, sql: str, *values: Any) -> None:
        await self._pool.execute(sql, *values)

    async def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._pool.fetch(sql, *values)]


@asynccontextmanager
async def open_database(url: str, namespace: str | None) -> AsyncGenerator[Database, None]:
    """Open the database of a URL; in PostgreSQL, the schema that is the workflows' namespace."""
    if url.startswith("sqlite:///"):
        sqlite = SQLite(unquote(url.removeprefix("sqlite:///")))
        try:
            yield sqlite
        finally:
            sqlite.close()
    else:
        settings = {"search_path": f'"{namespace}"'}
        async with asyncpg.create_pool(url, min_size=1, max_size=4, server_settings=settings) as pool:
            yield Postgres(pool)


async def drop(database: Database, namespace: str) -> None:
    """Remove a schema of PostgreSQL with all that is in it."""
    await database.execute(f'drop schema "{namespace}" cascade')


async def create_tables(database: Database) -> None:
    """Make the insurer's tables, and a view of the workflows' log that SQL can read."""
    for statement in TABLES:
        await database.execute(statement)
    await database.execute(SQLITE_LOG if isinstance(database, SQLite) else POSTGRES_LOG)
