"""One side of a duel: a store whose clock moves when it is told to, and whose tables can be read whole.

Both databases stand at the same instant all the time, but for the microsecond that each look at a clock takes; so instants
are compared by their second. Every duration in a duel ends in the middle of a second (`HALF`) and time passes in steps
that never add up to such an ending, so that nobody is a microsecond early.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from durable._internal.instants import SECOND
from durable.store import Store, WorkerRecord, open_store
from durable.testing._clock import VirtualClock
from durable.testing._databases import Postgres
from durable.testing._servers._server import PostgresServer

BEGINNING = 1_700_000_000 * SECOND
HALF = SECOND // 2
LEASE = 60 * SECOND

TABLES: dict[str, tuple[str, ...]] = {
    "runs": ("run_id",),
    "run_data": ("run_id",),
    "events": ("run_id", "seq"),
    "inbox": ("run_id", "position"),
    "activity_tasks": ("run_id", "id"),
    "update_outcomes": ("run_id", "message_id"),
    "search_attributes": ("run_id", "name", "position"),
    "search_attribute_types": ("name",),
    "schedules": ("schedule_id",),
    "queries": ("query_id",),
    "workers": ("worker_id",),
    "deployments": ("name",),
    "deployment_versions": ("version", "task_queue"),
    "queue_routes": ("task_queue",),
    "limit_keys": ("kind", "key"),
    "breakers": ("key",),
    "rates": ("task_queue",),
    "batches": ("batch_id",),
    "batch_runs": ("batch_id", "number"),
    "operator_log": ("number",),
}
"""Tables that both databases have, and what their rows are sorted by."""

PRIVATE: dict[str, frozenset[str]] = {
    "runs": frozenset({"history_length", "history_size", "reason"}),
    "run_data": frozenset({"reason"}),
    "activity_tasks": frozenset({"scheduled"}),
    "schedules": frozenset({"running", "workflow_ids", "run_ids", "revision"}),
    "workers": frozenset({"expires_at", "renewals"}),
    "inbox": frozenset({"position"}),
    "batch_runs": frozenset({"number"}),
    "operator_log": frozenset({"number"}),
    "rates": frozenset({"at", "permits"}),
}
"""Columns that one database has and the other keeps elsewhere, or that count as they like. The port shows what they mean."""

FLAGS = frozenset({"refused", "fails_fast"})
"""Columns where nothing is false."""

_EXPIRE = """
BEGIN; SET LOCAL session_replication_role = replica;
UPDATE durable.workers SET expires_at = 0 WHERE worker_id = '{0}'; COMMIT
"""

Row = dict[str, Any]
Tables = dict[str, list[Row]]


class Side(Protocol):
    """A store in a duel. Whoever asks it by `store` may be a client or any worker."""

    name: str
    store: Store

    async def join(self, record: WorkerRecord) -> None:
        """Let a worker register."""
        ...

    async def die(self, worker_id: str) -> None:
        """Let a worker be killed."""
        ...

    async def move_to(self, instant: int) -> None:
        """Let it be that late."""
        ...

    async def read(self) -> Tables:
        """Return all rows of all tables."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


class SQLiteSide:
    """SQLite in a file; each worker has a store of its own there, with which it lives and dies."""

    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._path = directory / "duel.db"
        self._clock = VirtualClock(BEGINNING)
        self._lives: dict[str, Store] = {}
        self.store: Store

    async def open(self) -> SQLiteSide:
        self.store = await self._opened()
        return self

    async def _opened(self) -> Store:
        return await open_store(f"sqlite:///{self._path}", clock=self._clock.stamp)

    async def join(self, record: WorkerRecord) -> None:
        alive = await self._opened()
        try:
            await (await alive.register_worker(record)).aclose()
        except BaseException:
            await alive.aclose()
            raise
        self._lives[record.worker_id] = alive

    async def die(self, worker_id: str) -> None:
        await self._lives.pop(worker_id).aclose()

    async def move_to(self, instant: int) -> None:
        self._clock.move_to(instant)

    async def read(self) -> Tables:
        db = sqlite3.connect(self._path)
        db.row_factory = sqlite3.Row
        try:
            return {table: [dict(row) for row in db.execute(f"SELECT * FROM {table}")] for table in TABLES}
        finally:
            db.close()

    async def forget(self, type: int) -> None:
        """Lose the messages of a type, as a store with a defect might."""
        db = sqlite3.connect(self._path)
        with db:
            db.execute("DELETE FROM inbox WHERE type = ?", (type,))
        db.close()

    async def close(self) -> None:
        for store in (self.store, *self._lives.values()):
            await store.aclose()


class PostgresSide:
    """PostgreSQL, with a clock that is a sequence; a worker that dies is one whose lease has passed."""

    name = "postgres"

    def __init__(self, server: PostgresServer) -> None:
        self._database = Postgres(server, VirtualClock(BEGINNING))
        self.store: Store
        self._connection: asyncpg.Connection[asyncpg.Record]

    async def open(self) -> PostgresSide:
        self.store = await self._database.open()
        self._connection = await asyncpg.connect(self._database.url)
        return self

    async def join(self, record: WorkerRecord) -> None:
        await (await self.store.register_worker(record)).aclose()

    async def die(self, worker_id: str) -> None:
        await self._connection.execute(_EXPIRE.format(worker_id))

    async def move_to(self, instant: int) -> None:
        await self._database.move_to(self.store, instant)

    async def read(self) -> Tables:
        parts = ", ".join(
            f"'{table}', (SELECT coalesce(json_agg(t), '[]') FROM durable.{table} t)" for table in TABLES
        )
        found = await self._connection.fetchval(f"SELECT json_build_object({parts})")
        tables: Tables = json.loads(found)
        return tables

    async def close(self) -> None:
        await self._connection.close()
        await self.store.aclose()
        await asyncio.to_thread(self._database.drop)


def comparable(tables: Tables) -> dict[str, list[str]]:
    """Return the rows of all tables as texts that are equal when the rows mean the same.

    Keys that nobody has set a limit for have rows on PostgreSQL only, to be locked; and how many workers died of a run
    means nothing once it has closed.
    """
    for run in tables["runs"]:
        if run["closed_at"] is not None:
            run["deaths"] = 0
    found: dict[str, list[str]] = {}
    for table, keys in TABLES.items():
        private = PRIVATE.get(table, frozenset())
        there = [row for row in tables[table] if table != "limit_keys" or row["most"] is not None]
        rows = sorted(there, key=lambda row: tuple(row[key] for key in keys))
        found[table] = [
            ", ".join(
                f"{name}={_plain(row[name] or None if name in FLAGS else row[name])}"
                for name in sorted(row)
                if name not in private
            )
            for row in rows
        ]
    return found


def _plain(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case bytes():
            return _plain("\\x" + value.hex())
        case float():
            return f"{value:.5g}"
        case int() if value >= BEGINNING:
            return f"second {(value - BEGINNING) // SECOND}"
        case str() if len(value) > 100:
            return f"{value[:20]}.. {sha256(value.encode()).hexdigest()[:8]}"
        case str() if value.startswith("["):
            return _plain(json.loads(value))
        case list():
            items: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]
            return "[" + ", ".join(map(_plain, items)) + "]"
        case _:
            return str(value)
