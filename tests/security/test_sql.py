"""S2: what somebody says stands in no statement. The texts of all statements are watched while everything is told hostile strings."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import asyncpg
import pytest

from durable import ActivityError, Client, RetryPolicy, Worker, activity, workflow
from durable.common import Concurrency, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.exceptions import DurableError
from tests._postgres import PostgresServer
from tests.inputs import test_b15_every_option as every_option
from tests.inputs.test_b15_every_option import outcome
from tests.scenarios.rig import PATIENCE, until

MARK = "canary8e"
PARTS = (
    "'", '"', "`", ";", "--", "/*", "*/", "\\", "\\'", "''", "$1", "$$", "%s", "%", "_", ":runs", "?", "?1", "{0}", "{", "[", ")",
    " OR 1=1", " UNION SELECT 1", "; DROP TABLE durable.runs", "x') OR ('1'='1", "E'", "U&'", "\u02bc", "\uff07", "\u202e", "#",
    "@@version", "::text", "||", "<", "&", "pg_sleep(9)", "é",
)  # fmt: skip


def texts(count: int, seed: int = 1) -> list[str]:
    """Strings of the parts that statements are made of, each with the mark in it."""
    chosen = random.Random(seed)
    return [
        "".join(
            [
                *chosen.choices(PARTS, k=chosen.randint(0, 4)),
                MARK,
                *chosen.choices(PARTS, k=chosen.randint(1, 5)),
            ]
        )
        for _ in range(count)
    ]


Said = Callable[[], list[str]]


@contextlib.contextmanager
def watched_server(server: PostgresServer) -> Iterator[tuple[str, Said]]:
    """A database, and what the server's log has of the texts of statements there; of parameters it is told to log none."""
    if server.binaries is None:
        pytest.skip("the log of a server that was already running is not ours to read")
    url = server.create_database()
    name = url.rpartition("/")[2].partition("?")[0]
    for setting in (
        "log_statement = 'all'",
        "log_min_error_statement = 'error'",
        "log_parameter_max_length = 0",
        "log_parameter_max_length_on_error = 0",
        "log_error_verbosity = 'terse'",
    ):
        server.execute(f"alter database {name} set {setting}")
    start = len(server.log)
    try:
        yield url, lambda: server.log[start:].splitlines()
    finally:
        server.drop_database(url)


@contextlib.contextmanager
def watched_file(url: str, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Said]]:
    """A file, and the texts of all statements that are given to SQLite."""
    seen: list[str] = []

    class Recording(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> Any:
            seen.append(sql)
            return super().execute(sql, *values)

        def executemany(self, sql: str, *values: Any) -> Any:
            seen.append(sql)
            return super().executemany(sql, *values)

        def executescript(self, sql: str) -> Any:
            seen.append(sql)
            return super().executescript(sql)

        def cursor(self, *given: Any) -> Any:
            raise AssertionError("a cursor of its own would not be watched")

    connect = sqlite3.connect
    patch.setattr(
        sqlite3, "connect", lambda *args, **options: connect(*args, **{**options, "factory": Recording})
    )
    yield url, lambda: seen


@pytest.fixture(params=["sqlite", "postgres"])
def watched(
    request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Said]]:
    if request.param == "sqlite":
        with watched_file(f"sqlite:///{tmp_path}/app.db", monkeypatch) as found:
            yield found
    else:
        with watched_server(request.getfixturevalue("postgres")) as found:
            yield found


async def test_s2_every_parameter_of_every_method(
    watched: tuple[str, Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, said = watched
    monkeypatch.setattr(every_option, "LIMIT", 2)  # nothing waits here, and a statement is not to be cut off
    faults: list[str] = []
    hostile = itertools.cycle(texts(500))
    async with Client.connect(url, identity=next(hostile)) as client:
        async for name, parameter, call in every_option.every_parameter(client):
            for wrap in (str, lambda text: [text], lambda text: {text: text}):
                value = wrap(next(hostile))
                if fault := await outcome(partial(call, value, next(hostile))):
                    faults.append(f"{name}({parameter}={value!r}): {fault}")
        for text in texts(100, seed=2):
            for query in (
                text,
                f"WorkflowId = '{text}'",
                f"{text} = 1",
                f"`{text}` = 'x'",
                f"WorkflowId IN ({text})",
            ):
                if fault := await outcome(lambda: client.count_workflows(query)):  # noqa: B023
                    faults.append(f"{query!r}: {fault}")
    assert not faults, "\n".join(faults[:20])
    lines = said()
    assert len(lines) > 300
    assert not [line for line in lines if MARK in line][:5]


hostile_name = texts(1, seed=3)[0]


@activity.defn(name=f"does {hostile_name}", retry_policy=RetryPolicy(maximum_attempts=1))
async def fails(text: str) -> str:
    activity.heartbeat(text)
    raise ValueError(text)


async def test_s2_everything_that_a_worker_is_told(watched: tuple[str, Said]) -> None:
    """The way of hostile names and values through workers: queues, types, keys, memos, attributes, messages, failures, reasons."""
    url, said = watched
    names = iter(texts(60, seed=4))
    queue, signal, query, update = (next(names) for _ in range(4))
    key = SearchAttributeKey.for_keyword(next(names)[:40])

    @workflow.defn(name=next(names))
    class Told:
        def __init__(self) -> None:
            self.text = ""

        @workflow.run
        async def run(self, text: str) -> str:
            workflow.upsert_memo({text: text})
            workflow.upsert_search_attributes([key.value_set(text)])
            await workflow.wait_condition(lambda: bool(self.text))
            with contextlib.suppress(ActivityError):
                await fails.options(eager=False, concurrency=Concurrency(text[:80], limit=1))(self.text)
            workflow.set_current_details(text)
            return text

        @workflow.signal(name=signal)
        def tell(self, text: str) -> None:
            self.text = text

        @workflow.query(name=query)
        def ask(self, text: str) -> str:
            return text

        @workflow.update(name=update)
        def change(self, text: str) -> str:
            return text

    async with Client.connect(url) as client:
        attributes = TypedSearchAttributes([SearchAttributePair(key, next(names))])
        async with Worker(
            client, workflows=[Told], activities=[fails], task_queue=queue, identity=next(names)
        ):
            options: dict[str, Any] = {"task_queue": queue, "memo": {next(names): next(names)}}
            handle = await client.start_workflow(
                Told.run, next(names), id=next(names), search_attributes=attributes, **options
            )
            assert await handle.query(query, "x") == "x"
            text = next(names)
            assert await handle.execute_update(update, text, id=next(names)) == text
            await handle.pause(next(names))
            await handle.unpause(next(names))
            await handle.signal(signal, next(names))
            result = await handle.result(timeout=PATIENCE)
            assert MARK in result
            await until("it is found by what it set", lambda: found_by(client, key.name, result))
            other = await client.start_workflow(Told.run, next(names), id=next(names), **options)
            await other.terminate(next(names), reason=next(names))
    lines = said()
    assert len(lines) > 30
    assert not [line for line in lines if MARK in line][:5]


async def found_by(client: Client, name: str, value: str) -> bool:
    try:
        quoted = value.replace("'", "''")
        return await client.count_workflows(f"`{name}` = '{quoted}'") is not None
    except DurableError:
        return True  # such a name is not asked for in a filter


async def test_s2_a_value_in_a_statement_would_be_seen(watched: tuple[str, Said]) -> None:
    url, said = watched
    async with Client.connect(url):
        statement = f"select '{MARK}' as it"
        if url.startswith("sqlite"):
            sqlite3.connect(url.removeprefix("sqlite:///")).execute(statement).connection.close()
        else:
            connection = await asyncpg.connect(url)
            await connection.fetch(statement)
            await connection.fetch("select $1::text", MARK)
            await connection.close()
    assert len([line for line in said() if MARK in line]) == 1
