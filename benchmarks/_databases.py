"""The databases that are measured, and what is looked at in them afterwards."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from durable import Client
from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.client._query import definition_for
from durable.history import WorkflowExecutionStarted, decode_history
from tests._postgres import PostgresServer

NAMESPACE = "durable_bench"
"""The schema on PostgreSQL: a server that was there before keeps its own."""

SAMPLE = 100
"""One run in so many is replayed after each measurement."""


def connect(url: str) -> Client:
    """Return what connects a client to a measured database; await or enter it."""
    return Client.connect(url, namespace=NAMESPACE if is_postgres(url) else None)


def is_postgres(url: str) -> bool:
    """Whether a URL leads to PostgreSQL."""
    return url.startswith("postgres")


@contextlib.contextmanager
def databases(urls: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the URLs to measure by kind: those that were given, or a file and a server of our own that sync the disk."""
    if urls:
        yield {"postgresql" if is_postgres(url) else "sqlite": url for url in urls}
        return
    with (
        tempfile.TemporaryDirectory(prefix="durable-bench-") as directory,
        PostgresServer.open(durable_settings=True) as server,
    ):
        yield {"sqlite": f"sqlite:///{directory}/bench.db", "postgresql": server.create_database()}


def path_of(url: str) -> Path:
    """Return the file that an SQLite URL names."""
    return Path(urlsplit(url).path[1:])


async def count_events(url: str, run_ids: Sequence[str]) -> int:
    """Return how many events these runs have in the database."""
    return (await _of_events("count(*)", url, run_ids)) or 0


async def last_event_time(url: str, run_ids: Sequence[str]) -> float:
    """Return the Unix time of the last event of these runs."""
    return (await _of_events("max(time)", url, run_ids)) / 1e6


async def _of_events(what: str, url: str, run_ids: Sequence[str]) -> Any:
    """Return an aggregate over the events of these runs."""
    if not is_postgres(url):
        with contextlib.closing(sqlite3.connect(path_of(url))) as db:
            sql = f"select {what} from events where run_id in (select value from json_each(?))"
            return db.execute(sql, (json.dumps(run_ids),)).fetchone()[0]
    connection = await asyncpg.connect(url)
    try:
        sql = f"select {what} from {NAMESPACE}.events where run_id = any($1::uuid[])"
        return await connection.fetchval(sql, list(run_ids))
    finally:
        await connection.close()


async def check_events(url: str, run_ids: Sequence[str], events_each: int) -> None:
    """See that every event is there, and no more.

    Raises:
        AssertionError: Events are missing, or there are too many.
    """
    found = await count_events(url, run_ids)
    assert found == len(run_ids) * events_each, (
        f"{found} events of {len(run_ids)} runs with {events_each} each"
    )


async def check_histories(client: Client, url: str, run_ids: Sequence[str], events_each: int) -> None:
    """See that every event is there, and that one run in a hundred replays from what was stored.

    Raises:
        AssertionError: Events are missing, or there are too many.
        NondeterminismError: A history does not replay.
    """
    await check_events(url, run_ids, events_each)
    for run_id in run_ids[::SAMPLE]:
        events = decode_history(await client.store.read_events(run_id))
        replay_once(client, run_id, events)


def replay_once(client: Client, run_id: str, events: Sequence) -> None:
    """Bring fresh code to the state that a history describes."""
    started = events[0].data
    assert isinstance(started, WorkflowExecutionStarted)
    definition = definition_for(started.workflow_type, started.task_queue)

    def instance(*, trace: bool = False) -> Instance:
        return Instance(
            definition,
            run_id,
            client.data_converter,
            namespace=client.namespace,
            note=lambda text, error: None,
            trace=trace,
        )

    code = instance()
    try:
        with Turns() as turns:
            replay(code, turns, events, rebuild=lambda: instance(trace=True), strict=True)
        assert code.closing, f"run {run_id} is not at its end"
    finally:
        code.evict()
