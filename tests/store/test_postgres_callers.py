"""Transactions of callers on PostgreSQL: which are fit, what they lock, and what they see."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import psycopg
import pytest

from durable import Client, Signal, workflow
from durable._internal.ids import uuid7
from durable.common import ActivityIDReusePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.exceptions import UnfitConnectionError, WorkflowAlreadyStartedError, WorkflowNotFoundError
from durable.store import Close, Message, NewRun, RunStatus, Transition, Verdict
from tests._postgres import PostgresServer
from tests.store.postgres_rig import connected, opened, register, start, step

said = Signal[str]("said")


@workflow.defn
async def order(number: int) -> int:
    return number


@pytest.fixture
async def client(postgres_url: str) -> AsyncIterator[Client]:
    async with Client.connect(postgres_url) as made:
        yield made


@pytest.fixture
async def mine(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgres_url) as connection:
        yield connection


async def refused(client: Client, connection: Any, why: str) -> None:
    """Neither a start nor a message is taken, and nothing was written."""
    with pytest.raises(UnfitConnectionError, match=why):
        await client.start_workflow(order(1), id="unfit", connection=connection)
    with pytest.raises(UnfitConnectionError, match=why):
        await client.get_workflow_handle("unfit").signal(said("x"), connection=connection)
    with pytest.raises(WorkflowNotFoundError):
        await client.get_workflow_handle("unfit").describe()


async def test_a_connection_without_a_transaction(
    client: Client, mine: asyncpg.Connection, postgres_url: str
) -> None:
    await refused(client, mine, "no transaction is open")
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as auto:
        await refused(client, auto, "no transaction is open")
        async with auto.transaction():
            await client.start_workflow(order(1), id="fit", connection=auto)
    assert (await client.get_workflow_handle("fit").describe()).id == "fit"


async def test_a_connection_to_another_database(client: Client, postgres: PostgresServer) -> None:
    other = postgres.create_database()
    try:
        async with connected(other) as connection, connection.transaction():
            await refused(client, connection, "another database")
            assert await connection.fetchval("select 1") == 1, "the transaction goes on"
            # Nor when that one has a namespace of the same name.
        async with Client.connect(other), connected(other) as connection, connection.transaction():
            await refused(client, connection, "another database")
    finally:
        postgres.drop_database(other)


async def test_a_namespace_that_is_gone(postgres_url: str, mine: asyncpg.Connection) -> None:
    async with Client.connect(postgres_url, namespace="other") as other:
        async with mine.transaction():
            await other.start_workflow(order(1), id="theirs", connection=mine)
        assert (await other.get_workflow_handle("theirs").describe()).id == "theirs"
        await mine.execute("drop schema other cascade")
        async with mine.transaction():
            with pytest.raises(UnfitConnectionError, match="no namespace 'other'"):
                await other.start_workflow(order(1), id="x", connection=mine)
            assert await mine.fetchval("select 1") == 1


async def test_namespaces_are_apart(client: Client, postgres_url: str, mine: asyncpg.Connection) -> None:
    async with Client.connect(postgres_url, namespace="other") as other, mine.transaction():
        await client.start_workflow(order(1), id="same", connection=mine)
        await other.start_workflow(order(2), id="same", connection=mine)
        assert await mine.fetchval("select count(*) from durable.runs") == 1
        assert await mine.fetchval("select count(*) from other.runs") == 1


async def test_a_transaction_that_may_not_write(client: Client, mine: asyncpg.Connection) -> None:
    async with mine.transaction(readonly=True):
        await refused(client, mine, "read-only")
        assert await mine.fetchval("select 1") == 1


async def test_a_transaction_that_has_failed(client: Client, mine: asyncpg.Connection) -> None:
    with contextlib.suppress(asyncpg.PostgresError):
        async with mine.transaction():
            with pytest.raises(asyncpg.PostgresError):
                await mine.execute("select 1/0")
            await refused(client, mine, "has failed already")
    async with mine.transaction():
        with pytest.raises(asyncpg.PostgresError):
            async with mine.transaction():
                await mine.execute("select 1/0")
        await client.start_workflow(order(1), id="behind a savepoint", connection=mine)
    assert (await client.get_workflow_handle("behind a savepoint").describe()).id == "behind a savepoint"


async def test_a_savepoint_that_is_rolled_back_takes_the_start_with_it(
    client: Client, mine: asyncpg.Connection
) -> None:
    async with mine.transaction():
        with contextlib.suppress(ZeroDivisionError):
            async with mine.transaction():
                await client.start_workflow(order(1), id="x", connection=mine)
                raise ZeroDivisionError
        await client.start_workflow(order(2), id="y", connection=mine)
    assert await mine.fetch("select workflow_id from durable.runs") == [("y",)]


async def test_a_connection_that_is_closed_or_given_back(
    client: Client, mine: asyncpg.Connection, postgres_url: str
) -> None:
    await mine.close()
    await refused(client, mine, "closed")
    async with asyncpg.create_pool(postgres_url, min_size=1, max_size=1) as pool:
        with pytest.raises(TypeError, match="connection must be"):
            await client.start_workflow(order(1), connection=pool)
        lent = await pool.acquire()
        await pool.release(lent)
        await refused(client, lent, "cannot be used")
    gone = psycopg.connect(postgres_url)
    gone.close()
    await refused(client, gone, "closed")


async def test_a_connection_of_another_event_loop(client: Client, postgres_url: str) -> None:
    made: list[Any] = []

    def elsewhere() -> None:
        with asyncio.Runner() as runner:
            made.append(runner.run(asyncpg.connect(postgres_url)))
            transaction = made[0].transaction()
            runner.run(transaction.start())
            done.wait()
            made[0].terminate()

    done = threading.Event()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    try:
        while not made or not made[0].is_in_transaction():
            await asyncio.sleep(0.005)
        await refused(client, made[0], "another event loop")
    finally:
        done.set()
        await asyncio.to_thread(thread.join)


async def test_a_connection_in_use(client: Client, mine: asyncpg.Connection, postgres_url: str) -> None:
    async with connected(postgres_url) as other, mine.transaction():
        await other.execute("select pg_advisory_lock(1)")
        busy = asyncio.create_task(mine.execute("select pg_advisory_xact_lock(1)"))
        await asyncio.sleep(0)
        await refused(client, mine, "another operation is in progress")
        await other.execute("select pg_advisory_unlock(1)")
        await busy


async def test_a_role_that_may_not(client: Client, mine: asyncpg.Connection, postgres_url: str) -> None:
    await mine.execute("create role stranger")
    try:
        async with mine.transaction():
            await mine.execute("set local role stranger")
            await refused(client, mine, "permission denied|may not use")
    finally:
        await mine.execute("drop role stranger")


# ---------------------------------------------------------------- other isolation levels


@contextlib.asynccontextmanager
async def undone(mine: asyncpg.Connection, isolation: str) -> AsyncIterator[None]:
    """A transaction that has looked at the runs already, and is rolled back."""
    transaction = mine.transaction(isolation=isolation)
    await transaction.start()
    await mine.fetch("select * from durable.runs")
    yield
    await transaction.rollback()


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_success_or_a_serialization_error(
    client: Client, mine: asyncpg.Connection, isolation: str
) -> None:
    async with mine.transaction(isolation=isolation):
        await mine.execute("select 1")
        await client.start_workflow(order(1), id="a", connection=mine)
        await client.get_workflow_handle("a").signal(said("x"), connection=mine)
        await client.start_activity("a", id="a", connection=mine)
    assert await mine.fetchval("select count(*) from durable.inbox") == 1
    assert await mine.fetchval("select count(*) from durable.activity_tasks") == 1

    # Somebody starts the same, behind what the transaction sees.
    async with undone(mine, isolation):
        await client.start_workflow(order(1), id="b")
        with pytest.raises(asyncpg.SerializationError):
            await client.start_workflow(
                order(1),
                id="b",
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal=said("x"),
                connection=mine,
            )
    async with undone(mine, isolation):
        await client.start_activity("a", id="b")
        with pytest.raises(asyncpg.SerializationError):
            await client.start_activity("a", id="b", connection=mine)
    # Or it closes.
    handle = await client.start_workflow(order(1), id="c")
    async with undone(mine, isolation):
        await handle.terminate()
        with pytest.raises(asyncpg.SerializationError):
            await handle.signal(said("x"), connection=mine)
    # Whether an id was used before cannot be judged there.
    for policy in (WorkflowIDReusePolicy.REJECT_DUPLICATE, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY):
        async with mine.transaction(isolation=isolation):
            with pytest.raises(UnfitConnectionError, match="READ COMMITTED"):
                await client.start_workflow(order(1), id="d", id_reuse_policy=policy, connection=mine)
            reject = ActivityIDReusePolicy(int(policy))
            with pytest.raises(UnfitConnectionError, match="READ COMMITTED"):
                await client.start_activity("a", id="d", id_reuse_policy=reject, connection=mine)
    async with mine.transaction(isolation="read_committed"):
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow(
                order(1), id="c", id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE, connection=mine
            )


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_a_run_takes_steps_beside_a_transaction_that_sees_the_past(
    client: Client, mine: asyncpg.Connection, postgres_url: str, isolation: str
) -> None:
    async with opened(postgres_url) as store, mine.transaction(isolation=isolation):
        await register(store, "me")
        (run,) = await start(store)
        await mine.fetch("select * from durable.runs")
        assert (await store.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
        handle = client.get_workflow_handle(f"workflow-{run}")
        await handle.signal(said("x"), connection=mine)
        assert (await store.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
        await handle.signal(said("y"), connection=mine)
    assert await mine.fetchval("select count(*) from durable.inbox") == 2


# ---------------------------------------------------------------- long transactions


async def test_an_open_transaction_holds_up_the_close_and_nothing_else(
    client: Client, mine: asyncpg.Connection, postgres_url: str
) -> None:
    async with opened(postgres_url) as store:
        await register(store, "me")
        told, other = await start(store, 2)
        close = Close(RunStatus.COMPLETED)
        async with mine.transaction():
            await client.get_workflow_handle(f"workflow-{told}").signal(said("x"), connection=mine)
            await client.start_workflow(order(1), id="new", connection=mine)
            assert (await store.commit([step(told), step(other)])).verdicts == (Verdict.WRITTEN,) * 2
            ends = [Transition(run, 1, step(run, 3).events, close=close) for run in (told, other)]
            assert (await store.commit(ends)).verdicts == (Verdict.BUSY, Verdict.WRITTEN)
            held = await mine.fetch(
                "select distinct relation::regclass::text as table, mode from pg_locks where pid = pg_backend_pid() "
                "and relation::regclass::text like 'durable.%' and mode not in ('AccessShareLock', 'RowShareLock', "
                "'RowExclusiveLock')"
            )
            assert held == [], "no table is locked against anybody"
        # Now there is a message, which is read first.
        assert (await store.commit(ends[:1])).verdicts == (Verdict.REFUSED,)
        assert len(await store.read_messages([told])) == 1


async def test_one_hint_at_the_commit_and_none_if_not_wanted(
    mine: asyncpg.Connection, postgres_url: str
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def told() -> list[str]:
        """What has been told since the last time: what is told by commits comes in their order."""
        await mine.execute("notify \"durable durable\", 'end'")
        found: list[str] = []
        async with asyncio.timeout(10):
            while (hint := await heard.get()) != "end":
                found.append(hint)
        return found

    async with connected(postgres_url) as listener:
        await listener.add_listener("durable durable", lambda *given: heard.put_nowait(str(given[-1])))
        async with opened(postgres_url) as store, mine.transaction():
            inside = await store.inside(mine)
            runs = [await start_inside(inside) for _ in range(3)]
        assert await told() == ["--------1q"]
        async with opened(postgres_url) as store, mine.transaction():
            inside = await store.inside(mine)
            for _ in range(10):
                for run in runs:
                    await inside.send(run.workflow_id, None, None, message())
        assert await told() == [f"--------3{run.run_id}" for run in runs] + ["--------3*"]
        async with opened(postgres_url, tell_callers=False) as store, mine.transaction():
            inside = await store.inside(mine)
            run = await start_inside(inside)
            await inside.send(run.workflow_id, None, None, message())
        assert await told() == []


async def start_inside(inside: Any) -> NewRun:
    run_id = uuid7()
    run = NewRun(run_id, f"workflow-{run_id}", "t", "q", b"{}")
    assert (await inside.create_run(run)) is not None
    return run


def message() -> Any:
    return Message("", uuid7(), 2, b"{}")


async def test_no_table_is_read_from_end_to_end(client: Client, mine: asyncpg.Connection) -> None:
    await client.start_workflow(order(1), id="a")
    count = (
        "select coalesce(sum(seq_scan), 0) from pg_stat_xact_user_tables where schemaname = 'durable' "
        "and relname in ('runs', 'run_data', 'events', 'inbox', 'activity_tasks', 'search_attributes')"
    )
    async with mine.transaction():
        before = await mine.fetchval(count)
        await client.start_workflow(order(1), id="b", start_signal=said("x"), connection=mine)
        await client.start_workflow(order(1), id="a", start_signal=said("x"), connection=mine)
        await client.get_workflow_handle("a").signal(said("x"), connection=mine)
        await client.start_activity("a", id="a", connection=mine)
        assert await mine.fetchval(count) == before


async def test_who_holds_up_a_close_is_named(
    client: Client, mine: asyncpg.Connection, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has sent something and waits, also when the run has taken steps meanwhile, and when there are several."""
    monkeypatch.setattr("durable.store.postgres._runs.LOCKED_LONG", 0)
    pid = await mine.fetchval("select pg_backend_pid()")
    async with opened(postgres_url) as store, connected(postgres_url) as another:
        await register(store, "me")
        (run,) = await start(store)
        handle = client.get_workflow_handle(f"workflow-{run}")
        assert await store.locked_by(run) == ""
        async with mine.transaction():
            await handle.signal(said("x"), connection=mine)
            assert f"session {pid} " in await store.locked_by(run)
            assert (await store.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
            assert f"session {pid} " in await store.locked_by(run)
            async with another.transaction():
                await handle.signal(said("y"), connection=another)
                assert (await store.locked_by(run)).count("session") == 2
                assert (await store.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
                told = await store.locked_by(run)
                assert told.count("session") == 2
                assert f"session {pid} " in told
        assert await store.locked_by(run) == ""
