"""The databases of environments, and how their time is set.

On SQLite the clock is given to the store, which asks it for the time of each transaction. A server has a clock of its own. So
the template of databases with virtual time has another `now_us()`, the one function that all statements take the time from:
it counts a sequence up, by one microsecond with each look, and to let time pass is to set that sequence. Nor does a lease
expire in it, since time jumps over what a worker would do meanwhile: a worker lives as long as its process, as on SQLite.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Protocol

from durable.client import Client
from durable.store import Store, beneath, migrate, open_store
from durable.testing._clock import VirtualClock
from durable.testing._observed import ObservedStore
from durable.testing._servers._server import PostgresServer
from durable.testing._serving import any_transactional

MEMORY = "sqlite://:memory:"
"""Where an environment keeps its database: nowhere, it is gone with it."""

SHARED_MEMORY = "/dev/shm"
"""Where a file is not written to a disk, on Linux."""

_VIRTUAL = """
CREATE SEQUENCE durable.virtual_clock;
CREATE OR REPLACE FUNCTION durable.now_us() RETURNS bigint LANGUAGE sql VOLATILE
    AS 'SELECT nextval(''durable.virtual_clock'')';
CREATE FUNCTION durable.lives_on() RETURNS trigger LANGUAGE plpgsql
    AS 'BEGIN NEW.expires_at := 9223372036854775807; RETURN NEW; END';
CREATE TRIGGER lives_on BEFORE INSERT OR UPDATE ON durable.workers
    FOR EACH ROW EXECUTE FUNCTION durable.lives_on();
"""

_SET = "SELECT setval('durable.virtual_clock', {0})"
_MOVE = (
    "SELECT setval('durable.virtual_clock', greatest($1::bigint, nextval('durable.virtual_clock'))) AS now"
)
_LATEST = "SELECT last_value FROM durable.virtual_clock"
_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class Database(Protocol):
    """A database that an environment has to itself.

    Attributes:
        clock: What its time is; None for the machine's.
    """

    clock: VirtualClock | None

    @property
    def transaction_types(self) -> tuple[type[Any], ...]:
        """What its store lends to transactional activities."""
        ...

    @property
    def url(self) -> str:
        """Where others find it.

        Raises:
            RuntimeError: Nobody can, or it is not there yet.
        """
        ...

    async def open(self) -> Store:
        """Make it, unless it is there, and return a store on it."""
        ...

    async def ask(self, store: Store, statements: Sequence[str], **values: object) -> list[list[Any]]:
        """Return what statements answer, together and behind everything that was asked before.

        `{schema}` in them stands for what tables are named with, `{now}` for the clock's time, and `{name}` for a value.
        """
        ...

    async def move_to(self, store: Store, instant: int) -> None:
        """Let it be that late."""
        ...

    def drop(self) -> None:
        """Remove it; again does nothing."""
        ...


class SQLite:
    """In memory; in a file, if somebody is to come near it: a transactional activity, or a connection of the test's own."""

    def __init__(self, clock: VirtualClock | None, *, file: bool = False) -> None:
        self.clock = clock
        self._folder: Path | None = None
        self._opened = False
        if file:
            self._make_folder()

    def _make_folder(self) -> Path:
        if self._folder is None:
            place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
            self._folder = Path(tempfile.mkdtemp(prefix="durable-test-", dir=place))
        return self._folder

    @property
    def is_file(self) -> bool:
        """Whether it is in a file."""
        return self._folder is not None

    @property
    def transaction_types(self) -> tuple[type[Any], ...]:
        """See `Database`."""
        return () if self._folder is None else (sqlite3.Connection,)

    @property
    def url(self) -> str:
        """See `Database`."""
        if self._opened and self._folder is None:
            raise RuntimeError(
                "the environment's database is in memory, where no other connection reaches it. Ask for its URL before "
                "anything else, as in `WorkflowEnvironment().url`, and it is a file"
            )
        return f"sqlite:///{self._make_folder() / 'test.db'}"

    async def open(self) -> Store:
        """See `Database`."""
        self._opened = True
        given: dict[str, Any] = {} if self.clock is None else {"clock": self.clock.stamp}
        return await open_store(MEMORY if self._folder is None else self.url, **given)

    async def ask(self, store: Store, statements: Sequence[str], **values: object) -> list[list[Any]]:
        """See `Database`."""
        assert self.clock is not None
        at_bottom: Any = beneath(store)
        asked = [one.format(schema="", now=self.clock.now(), **values) for one in statements]

        def ask(transaction: Any) -> list[list[Any]]:
            return [transaction.db.execute(one).fetchall() for one in asked]

        answers: list[list[Any]] = await at_bottom.writer.run(ask)
        return answers

    async def move_to(self, store: Store, instant: int) -> None:
        """See `Database`."""
        assert self.clock is not None
        self.clock.move_to(instant)

    def drop(self) -> None:
        """See `Database`."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Postgres:
    """A database of a server, a copy of a template."""

    def __init__(self, server: PostgresServer, clock: VirtualClock | None) -> None:
        self.clock = clock
        self._server = server
        self._made: str | None = None

    @property
    def transaction_types(self) -> tuple[type[Any], ...]:
        """See `Database`."""
        import asyncpg  # noqa: PLC0415 - whoever tests on SQLite only never needs it

        return (asyncpg.Connection,)

    @property
    def url(self) -> str:
        """See `Database`. It blocks while the database is made."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> str:
        if self.clock is None:
            return self._server.create_database(self._server.ensure_template("durable", migrate))
        url = self._server.create_database(
            self._server.ensure_template("durable, virtual time", self._prepare)
        )
        self._server.execute(_SET.format(self.clock.now()), url)
        return url

    async def _prepare(self, url: str) -> None:
        await migrate(url)
        self._server.execute_script(_VIRTUAL, url)

    async def open(self) -> Store:
        """See `Database`."""
        return await open_store(await asyncio.to_thread(lambda: self.url), migrate=False)

    async def ask(self, store: Store, statements: Sequence[str], **values: object) -> list[list[Any]]:
        """See `Database`. The clock here follows the server's."""
        assert self.clock is not None
        at_bottom: Any = beneath(store)
        now = f"({_LATEST})"
        asked = [one.format(schema="durable.", now=now, **values) for one in (*statements, _LATEST)]
        together = ", ".join(f"(SELECT json_agg(answer) FROM ({one}) AS answer)" for one in asked)  # noqa: S608
        (row,) = await at_bottom._pool.fetch(f"SELECT {together}", read=True)
        answers = [[tuple(found.values()) for found in json.loads(one or "[]")] for one in row]
        ((latest,),) = answers.pop()
        self.clock.move_to(latest)
        return answers

    async def move_to(self, store: Store, instant: int) -> None:
        """See `Database`. The server's clock first: nothing here shall be ahead of it."""
        assert self.clock is not None
        at_bottom: Any = beneath(store)
        ((now,),) = await at_bottom._pool.fetch(_MOVE, instant)
        self.clock.move_to(now)

    def cut_off(self) -> None:
        """End all sessions, as those of a process that is killed, and return when they are gone."""
        while self._made is not None and self._server.execute(_OTHERS, self._made):
            pass

    def drop(self) -> None:
        """See `Database`."""
        made, self._made = self._made, None
        if made is not None:
            self._server.drop_database(made)


def database_for(server: PostgresServer | None, clock: VirtualClock | None) -> SQLite | Postgres:
    """Return the database of an environment, which is not made yet."""
    if server is not None:
        return Postgres(server, clock)
    return SQLite(clock, file=any_transactional())


def close_sockets(loop: asyncio.AbstractEventLoop) -> None:
    """Close the connections of an event loop that will not run again, as the end of its process would."""
    transports: Any = getattr(loop, "_transports", {})
    for transport in list(transports.values()):
        if (socket := transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):
                socket._sock.close()
        transport._sock = None


@contextlib.asynccontextmanager
async def client_here(client: Client) -> AsyncGenerator[Client]:
    """A client of the same database that the caller's event loop may use: on PostgreSQL another one."""
    at_bottom: Any = beneath(client.store)
    if isinstance(at_bottom, ObservedStore):
        at_bottom = at_bottom.store
    if not hasattr(at_bottom, "_pool"):
        yield client
        return
    settings = at_bottom._pool.settings
    pooler = ("&" if "?" in settings.dsn else "?") + "pooler=transaction" if settings.pooler else ""
    store = await open_store(settings.dsn + pooler, namespace=settings.namespace, migrate=False)
    async with Client(
        store, namespace=client.namespace, identity=client.identity, data_converter=client.data_converter
    ) as here:
        yield here
