"""Transactional activities with the sessions and connections of other libraries."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import psycopg
import pytest
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import durable.client._client as client_module
from durable import Client, Worker, activity
from durable.client import SyncClient
from durable.common import RetryPolicy
from durable.contrib import django
from durable.contrib.psycopg import AsyncConnections, Connections
from durable.contrib.sqlalchemy import AsyncSessions, Sessions
from durable.exceptions import CancelledError, RegistrationError
from durable.store import open_store
from tests.scenarios import callers
from tests.scenarios.bank import Bank, applied, balances, opened, trouble
from tests.scenarios.rig import PATIENCE, until
from tests.scenarios.test_transactions import move, try_once

STATEMENTS = (
    "update accounts set cents = cents - 300 where name = 'a0'",
    "update accounts set cents = cents + 300 where name = 'a1'",
)


@activity.defn(name="bank.transfer", transactional=True)
async def by_async_session(tx: AsyncSession, number: int, source: str, target: str, cents: int) -> int:
    for statement in STATEMENTS:
        await tx.execute(text(statement))
    await tx.execute(
        text("insert into transfers values (:n, :a)"), {"n": number, "a": activity.info().attempt}
    )
    if trouble.meet():
        await trouble.wait()
    if (made := trouble.behind(tx)) is not None:
        await made
    return 700


@activity.defn(name="bank.transfer", transactional=True)
def by_session(tx: Session, number: int, source: str, target: str, cents: int) -> int:
    for statement in STATEMENTS:
        tx.execute(text(statement))
    tx.execute(text("insert into transfers values (:n, :a)"), {"n": number, "a": activity.info().attempt})
    if trouble.meet():
        trouble.wait_in_thread()
    trouble.behind(tx)
    return 700


@activity.defn(name="bank.transfer", transactional=True)
async def by_async_psycopg(
    tx: psycopg.AsyncConnection[Any], number: int, source: str, target: str, cents: int
) -> int:
    for statement in STATEMENTS:
        await tx.execute(statement)
    await tx.execute("insert into transfers values (%s, %s)", (number, activity.info().attempt))
    if trouble.meet():
        await trouble.wait()
    if (made := trouble.behind(tx)) is not None:
        await made
    return 700


@activity.defn(name="bank.transfer", transactional=True)
def by_psycopg(tx: psycopg.Connection[Any], number: int, source: str, target: str, cents: int) -> int:
    for statement in STATEMENTS:
        tx.execute(statement)
    tx.execute("insert into transfers values (%s, %s)", (number, activity.info().attempt))
    if trouble.meet():
        trouble.wait_in_thread()
    trouble.behind(tx)
    return 700


@activity.defn(name="bank.transfer", transactional=True)
def by_django(tx: BaseDatabaseWrapper, number: int, source: str, target: str, cents: int) -> int:
    with connections[tx.alias].cursor() as cursor:
        for statement in STATEMENTS:
            cursor.execute(statement)
    account_of_django(tx.alias).objects.using(tx.alias).filter(name="a1").update(name="a1")
    with transaction.atomic(using=tx.alias), tx.cursor() as cursor:
        cursor.execute("insert into transfers values (%s, %s)", [number, activity.info().attempt])
    if trouble.meet():
        trouble.wait_in_thread()
    trouble.behind(tx)
    return 700


def account_of_django(alias: str) -> Any:
    """A model, once Django is set up."""
    global _account
    if _account is None:

        class Account(models.Model):
            name = models.TextField(primary_key=True)
            cents = models.BigIntegerField()

            class Meta:
                app_label = "bank"
                db_table = "accounts"

        _account = Account
    return _account


_account: Any = None


class Library(NamedTuple):
    """An activity, what begins its transactions, and how a statement is run on what it is given."""

    transfer: Any
    source: Any
    run: Callable[[Any, str], Any]


def by_text(tx: Any, statement: str) -> Any:
    return tx.execute(text(statement))


def by_execute(tx: Any, statement: str) -> Any:
    return tx.execute(statement)


def by_cursor(tx: Any, statement: str) -> Any:
    with tx.cursor() as cursor:
        cursor.execute(statement)


@asynccontextmanager
async def async_sqlalchemy(url: str) -> AsyncIterator[Library]:
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://").replace("sqlite://", "sqlite+aiosqlite://")
    )
    yield Library(by_async_session, AsyncSessions(async_sessionmaker(engine)), by_text)
    await engine.dispose()


@asynccontextmanager
async def sqlalchemy(url: str) -> AsyncIterator[Library]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield Library(by_session, Sessions(sessionmaker(engine)), by_text)
    engine.dispose()


@asynccontextmanager
async def async_psycopg(url: str) -> AsyncIterator[Library]:
    yield Library(by_async_psycopg, AsyncConnections(url), by_execute)


@asynccontextmanager
async def sync_psycopg(url: str) -> AsyncIterator[Library]:
    yield Library(by_psycopg, Connections(url), by_execute)


@asynccontextmanager
async def by_connection_of_django(url: str) -> AsyncIterator[Library]:
    callers.django_connection(url, "bank")
    connections.settings["bank"]["CONN_MAX_AGE"] = 60
    source = django.Connections("bank")
    yield Library(by_django, source, by_cursor)
    await asyncio.to_thread(_close, source._idle)


def _close(idle: list[Any]) -> None:
    for connection in idle:
        connection.inc_thread_sharing()
        connection.close()


def of(kind: str, *makes: Any) -> list[Any]:
    """Scenes of libraries on one kind of database."""
    mark = getattr(pytest.mark, kind)
    return [pytest.param((kind, make), id=f"{kind}-{make.__name__}", marks=mark) for make in makes]


ALCHEMY = (async_sqlalchemy, sqlalchemy)
ON_SQLITE = of("sqlite", *ALCHEMY, by_connection_of_django)
EVERYWHERE = of("postgres", *ALCHEMY, async_psycopg, sync_psycopg, by_connection_of_django) + ON_SQLITE
OF_SQLALCHEMY = of("postgres", *ALCHEMY) + of("sqlite", *ALCHEMY)
OF_DJANGO = of("postgres", by_connection_of_django) + of("sqlite", by_connection_of_django)


def with_scenes(scenes: list[Any]) -> Any:
    return pytest.mark.parametrize("scene", scenes, indirect=True)


class Scene(NamedTuple):
    """A bank in a database, and a library that leads there."""

    url: str
    bank: Bank
    library: Library

    async def run(self, call: Any, *, transfer: Any = None, source: Any = None) -> Any:
        async with (
            Client.connect(self.url) as client,
            self.worker(client, transfer, source),
        ):
            handle = await client.start_workflow(call, id="transfer")
            return await handle.result(timeout=PATIENCE)

    def worker(self, client: Client, transfer: Any = None, source: Any = None) -> Worker:
        return Worker(
            client,
            workflows=[move, try_once],
            activities=[transfer or self.library.transfer],
            transactions=[source or self.library.source],
        )

    async def untouched(self) -> bool:
        return await balances(self.bank) == [1000, 1000] and await applied(self.bank) == []


@pytest.fixture(params=EVERYWHERE)
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    kind, make = request.param
    url = request.getfixturevalue(f"{kind}_url")
    bank = await opened(url)
    async with make(url) as library:
        yield Scene(url, bank, library)


async def test_rows_and_completion_are_committed_together(scene: Scene) -> None:
    trouble.fail_before = 2
    assert await scene.run(move(1, 300)) == 700
    assert await balances(scene.bank) == [700, 1300]
    assert await applied(scene.bank) == [(1, 2)]


async def test_one_after_the_other_on_the_connections_there_are(scene: Scene) -> None:
    async with Client.connect(scene.url) as client, scene.worker(client):
        calls = [client.execute_workflow(move(number, 300), id=f"m{number}") for number in range(3)]
        assert await asyncio.gather(*calls) == [700] * 3
    assert await balances(scene.bank) == [100, 1900]
    assert await applied(scene.bank) == [(number, 1) for number in range(3)]


async def test_a_client_can_start_it_by_itself(scene: Scene) -> None:
    trouble.fail_before = 2
    async with Client.connect(scene.url) as client, scene.worker(client):
        handle = await client.start_activity(
            "bank.transfer", args=[1, "a0", "a1", 300], id="alone", retry_policy=RetryPolicy(0.01)
        )
        assert await handle.result(timeout=PATIENCE) == 700
    assert await applied(scene.bank) == [(1, 2)]


@pytest.mark.parametrize("ending", ["commit", "rollback", "close"])
async def test_a_function_cannot_end_its_transaction(scene: Scene, ending: str) -> None:
    run = scene.library.run
    if ending == "close" and scene.library.transfer is by_async_session and not scene.bank.postgres:
        return  # SQLAlchemy loses the connection then, and its thread with it

    def behind(tx: Any) -> Any:
        made = getattr(tx, ending)()
        return None if made is None else _then(made, lambda: run(tx, "insert into transfers values (99, 1)"))

    trouble.behind = behind
    told = await scene.run(try_once(1, 300))
    assert told != "it did not fail"
    if ending != "close" and scene.library.transfer is not by_django:
        assert told.startswith("TransactionError: the function ")
    assert await scene.untouched()


async def _then(first: Any, behind: Callable[[], Any]) -> None:
    await first
    await behind()


async def test_what_is_refused_cannot_be_passed_over(scene: Scene) -> None:
    """It goes on in a second transaction of its library's, as far as there is one."""
    run = scene.library.run

    async def asynchronous(tx: Any) -> None:
        with contextlib.suppress(Exception):
            await tx.rollback()
        with contextlib.suppress(Exception):
            await run(tx, "insert into transfers values (99, 1)")

    def behind(tx: Any) -> Any:
        if scene.library.transfer in (by_async_session, by_async_psycopg):
            return asynchronous(tx)
        with contextlib.suppress(Exception):
            tx.rollback()
        with contextlib.suppress(Exception):
            run(tx, "insert into transfers values (99, 1)")
        return None

    trouble.behind = behind
    told = await scene.run(try_once(1, 300))
    if scene.library.transfer is by_django:  # which refuses by itself, and nothing has happened
        assert told == "it did not fail"
        assert await applied(scene.bank) == [(1, 1), (99, 1)]
    else:
        assert told.startswith("TransactionError: the function ")
        assert await scene.untouched()


async def test_a_statement_that_fails_is_what_it_failed_with(scene: Scene) -> None:
    run = scene.library.run
    trouble.behind = lambda tx: run(tx, "insert into nowhere values (1)")
    told = await scene.run(try_once(1, 300))
    assert "nowhere" in told
    assert await scene.untouched()


async def test_tables_can_be_made(scene: Scene) -> None:
    run = scene.library.run
    trouble.behind = lambda tx: run(tx, "create table made (one integer)")
    assert await scene.run(move(1, 300)) == 700
    assert await scene.bank.run("select * from made") == []


async def test_a_worker_that_stops_undoes_what_is_not_finished(scene: Scene) -> None:
    trouble.hold = True
    async with Client.connect(scene.url) as client:
        async with scene.worker(client):
            handle = await client.start_workflow(move(1, 300), id="transfer")
            await until("the function runs", lambda: trouble.running)
        assert await scene.untouched()
        trouble.release()
        async with scene.worker(client):
            assert await handle.result(timeout=PATIENCE) == 700
    assert [number for number, _ in await applied(scene.bank)] == [1]


async def test_a_workflow_can_be_started_in_its_transaction(scene: Scene) -> None:
    """On the event loop: a function in a thread has a `SyncClient` for that."""

    def start(tx: Any) -> Any:
        if scene.library.transfer in (by_async_session, by_async_psycopg):
            return activity.client().start_workflow(
                move(9, 1), id="inside", task_queue="later", connection=tx
            )
        SyncClient().start_workflow(move(9, 1), id="inside", task_queue="later", connection=tx)
        return None

    trouble.behind = start
    assert await scene.run(move(1, 300)) == 700
    async with Client.connect(scene.url) as client:
        assert (await client.get_workflow_handle("inside").describe()).id == "inside"


@with_scenes(of("postgres", sync_psycopg) + OF_DJANGO)
async def test_a_function_that_is_left_behind_in_its_thread_writes_nothing(scene: Scene) -> None:
    """Its worker has stopped, and its process has not; it takes no notice of being asked to end."""
    running, released = threading.Event(), threading.Event()
    ended: list[str] = []

    def behind(tx: Any) -> None:
        running.set()
        while not released.is_set():
            with contextlib.suppress(CancelledError):
                released.wait(0.01)
        try:
            scene.library.run(tx, "insert into transfers values (99, 1)")
            ended.append("written")
        except BaseException as error:
            ended.append(type(error).__name__)

    trouble.behind = behind
    try:
        async with Client.connect(scene.url) as client:
            async with scene.worker(client):
                await client.start_workflow(move(1, 300), id="transfer")
                await until("the function runs", running.is_set)
            released.set()
            await until("the function has ended", lambda: ended)
    finally:
        released.set()
    assert ended != ["written"]
    assert await scene.untouched()


# --- SQLAlchemy: what a session has still to flush ---


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "transfers"
    number: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int]


@with_scenes(OF_SQLALCHEMY)
async def test_what_a_session_has_not_flushed_is_committed_too(scene: Scene) -> None:
    trouble.behind = lambda tx: tx.add(Note(number=5, attempt=1))
    assert await scene.run(move(1, 300)) == 700
    assert await applied(scene.bank) == [(1, 1), (5, 1)]


@with_scenes(OF_SQLALCHEMY)
async def test_a_flush_that_fails_at_the_commit_fails_the_attempt(scene: Scene) -> None:
    await scene.bank.run("create unique index no_two on transfers (number)")
    trouble.behind = lambda tx: tx.add(Note(number=1, attempt=1))
    told = await scene.run(try_once(1, 300))
    assert told.startswith("IntegrityError: ")
    assert await scene.untouched()


# --- Django ---


@with_scenes(OF_DJANGO)
async def test_hooks_of_django_are_called_behind_the_commit(scene: Scene) -> None:
    called: list[str] = []

    def fail() -> None:
        called.append("fails")
        raise ValueError("too late")

    def behind(tx: Any) -> None:
        transaction.on_commit(lambda: called.append("first"), using="bank")
        transaction.on_commit(fail, using="bank")
        transaction.on_commit(lambda: called.append("last"), using="bank")
        if activity.info().attempt == 1:
            raise ValueError("nothing is called")

    trouble.behind = behind
    assert await scene.run(move(1, 300)) == 700
    assert called == ["first", "fails", "last"]
    assert await applied(scene.bank) == [(1, 2)]


@with_scenes(OF_DJANGO)
async def test_a_part_that_django_has_given_up_cannot_be_passed_over(scene: Scene) -> None:
    trouble.behind = lambda tx: transaction.set_rollback(True, using="bank")
    told = await scene.run(try_once(1, 300))
    assert told.startswith("TransactionError: a part of the transaction"), told
    assert await scene.untouched()


@with_scenes(OF_DJANGO)
async def test_the_threads_own_connection_of_django_is_as_it_was(scene: Scene) -> None:
    begun = django._Begun(connections.create_connection("bank"))

    def use() -> bool:
        own = connections["bank"]
        inside = begun.around(lambda: connections["bank"])
        return inside is begun.connection and connections["bank"] is own

    assert await asyncio.to_thread(use)


# --- SQLite: nothing else is written meanwhile ---


@with_scenes(ON_SQLITE)
async def test_a_transaction_that_takes_too_long_is_undone_and_others_go_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "open_store", partial(open_store, transaction=0.2))
    trouble.hold = True
    async with Client.connect(scene.url) as client, scene.worker(client):
        handle = await client.start_workflow(try_once(1, 300), id="too long")
        await until("the function runs", lambda: trouble.running)
        await client.start_workflow(try_once(2, 300), id="other", task_queue="elsewhere")
        assert trouble.running
        assert await scene.untouched()
        trouble.release()
        assert "was undone after 0.2 s" in await handle.result(timeout=PATIENCE)
        # Nothing of it is left on the connection that goes back to its library.
        trouble.hold = False
        again = await client.start_workflow(move(3, 300), id="again")
        assert await again.result(timeout=PATIENCE) == 700
    assert await applied(scene.bank) == [(3, 1)]


# --- where it does not fit ---


@with_scenes(of("postgres", async_psycopg) + of("sqlite", sqlalchemy))
async def test_a_source_that_leads_elsewhere_is_refused(scene: Scene, tmp_path: Any) -> None:
    """The same server and another database, or another file."""
    if scene.bank.postgres:
        elsewhere: Any = AsyncConnections(scene.url.rpartition("/")[0] + "/postgres")
    else:
        other = tmp_path / "other.db"
        sqlite3.connect(other).close()
        elsewhere = Sessions(sessionmaker(create_engine(f"sqlite:///{other}")))
    told = await scene.run(try_once(1, 300), source=elsewhere)
    assert "another database" in told


async def test_a_source_to_the_other_kind_of_database_is_refused(postgres_url: str, sqlite_url: str) -> None:
    for url, other in ((postgres_url, sqlite_url), (sqlite_url, postgres_url)):
        scene = Scene(url, await opened(url), None)  # type: ignore[arg-type]
        async with sqlalchemy(other) as library:
            told = await scene.run(try_once(1, 300), transfer=library.transfer, source=library.source)
        assert "the connection is to " in told
        assert await scene.untouched()


async def test_what_a_function_asks_for_must_be_given(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        with pytest.raises(RegistrationError, match=r"durable.contrib"):
            async with Worker(client, workflows=[], activities=[by_session]):
                pass

        @activity.defn(name="bank.wrong", transactional=True)
        async def wrong(tx: Session) -> None: ...

        with pytest.raises(RegistrationError, match="must be a plain `def`"):
            async with Worker(
                client, workflows=[], activities=[wrong], transactions=[Sessions(sessionmaker())]
            ):
                pass
