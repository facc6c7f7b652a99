"""What the tests of the PostgreSQL store share. They never sleep: they wait until the server says that somebody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from durable._internal.ids import uuid7
from durable.exceptions import StoreUnavailableError
from durable.history import EventRow
from durable.store import (
    Close,
    NewRun,
    RunStatus,
    StartOutcome,
    Transition,
    WorkerRecord,
    postgres,
)
from durable.store.postgres import PostgresStore

LEASE = 3_600_000_000
PATIENCE = 60.0


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncGenerator[PostgresStore]:
    store = await postgres.open(url, **options)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def opened_hasty(url: str, **limits: float) -> AsyncGenerator[PostgresStore]:
    """A store that gives up soon, with a connection in its pool: where these are made, a busy machine is waited for."""
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        while True:
            with suppress(StoreUnavailableError):
                store = await stack.enter_async_context(opened(url, **limits))
                await store.now()
                break
        close = stack.pop_all()
    async with close:
        yield store


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def register(store: PostgresStore, worker: str) -> None:
    await store.register_worker(WorkerRecord(worker, worker, ("q",), LEASE, 0, False, False))


async def start(store: PostgresStore, count: int = 1, owner: str | None = "me", **more: Any) -> list[str]:
    runs = [
        NewRun(run_id, f"workflow-{run_id}", "t", "q", b"{}", owner=owner, **more)
        for run_id in sorted(uuid7() for _ in range(count))
    ]
    verdicts = await store.create_runs(runs)
    assert {verdict.outcome for verdict in verdicts} <= {StartOutcome.STARTED}
    return [run.run_id for run in runs]


def step(run_id: str, seq: int = 2, epoch: int = 1, **more: Any) -> Transition:
    return Transition(run_id, epoch, (EventRow(seq, seq, 20, b"step %d" % seq),), **more)


def closing(run_id: str, seq: int = 2, epoch: int = 1, **more: Any) -> Transition:
    return step(run_id, seq, epoch, close=Close(RunStatus.COMPLETED), **more)


async def terminate(store: PostgresStore, run: str) -> None:
    assert await store.terminate(run, lambda seq: EventRow(seq, seq, 13, b"{}"), Close(RunStatus.TERMINATED))


async def commit_by(
    connection: asyncpg.Connection, store: PostgresStore, transitions: Sequence[Transition]
) -> asyncpg.Record:
    """Commit in somebody else's session, in the transaction that is open there."""
    return await store.write(lambda sql, args: connection.fetch(sql, *args), transitions)


async def until(connection: asyncpg.Connection, question: str, *args: Any) -> None:
    """Return when the server answers yes."""
    async with asyncio.timeout(PATIENCE):
        while not await connection.fetchval(question, *args):
            pass


async def until_waiting(connection: asyncpg.Connection) -> None:
    """Return when some session waits for another's lock."""
    await until(
        connection,
        "select exists (select from pg_stat_activity "
        "where wait_event_type = 'Lock' and datname = current_database())",
    )


class Proxy:
    """Stands between the store and the server, and cuts the connection of a commit at a chosen moment."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.cut: str | None = None
        self.mark = b"step "
        self.cuts = 0
        self.url = ""
        self._port = 0
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]  # entered again, it is where it was
        user = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{self._port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed.set()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (self._target.hostname, self._target.port)
        server_reader, server_writer = await asyncio.open_connection(*target)
        state = {"commit": False}

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, requests: bool) -> None:
            try:
                while data := await source.read(65536):
                    if requests and self.cut and self.mark in data:
                        state["commit"] = True
                        if self.cut == "before the request":
                            break
                        if self.cut == "unknown to the server":
                            self.cut, self.cuts = None, self.cuts + 1
                            writer.transport.abort()
                            await self._closed.wait()
                            return
                    if not requests and state["commit"] and self.cut == "before the reply":
                        break
                    sink.write(data)
                    await sink.drain()
                    if requests and state["commit"] and self.cut == "behind the request":
                        break
                else:
                    return
                self.cut, self.cuts = None, self.cuts + 1
            except OSError:
                pass
            finally:
                writer.transport.abort()
                server_writer.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, server_writer, requests=True))
            group.create_task(pump(server_reader, writer, requests=False))
