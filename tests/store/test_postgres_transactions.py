"""Transactional activities on PostgreSQL: one transaction, lost commits, old attempts, and what they hold up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from durable.contrib.psycopg import AsyncConnections
from durable.exceptions import StoreUnavailableError, TransactionError
from durable.history import EventType
from durable.store import ActivityRecord, AttemptOutcome, Message, NewActivity
from durable.store.postgres import PostgresStore
from tests.store.postgres_rig import PATIENCE, Proxy, opened, register, start, step

OPEN = """
    select count(*) from pg_stat_activity
    where datname = current_database() and state like 'idle in transaction%'
"""


def completed(task: ActivityRecord) -> AttemptOutcome:
    kind = int(EventType.ACTIVITY_TASK_COMPLETED)
    # The proxy knows a commit by its data.
    told = Message(task.run_id, f"activity:{task.id}", kind, b"step done", internal=True)
    return AttemptOutcome(task.run_id, task.id, task.attempt, "me", message=told)


def given_up(task: ActivityRecord, worker: str | None = "me") -> AttemptOutcome:
    return AttemptOutcome(task.run_id, task.id, task.attempt, worker, retry_in=0)


async def begun(store: PostgresStore, count: int = 1) -> list[ActivityRecord]:
    runs = await start(store, count)
    rows = NewActivity(1, "kind", "queue", b"{}", 0)
    await store.commit([step(run, activities=(rows,)) for run in runs])
    return await store.claim_activities("me", ["queue"], None, count, format=99)


async def attempt(store: PostgresStore, task: ActivityRecord, *statements: str, source: Any = None) -> bool:
    """Run statements in the transaction of an attempt, and commit it."""
    async with store.transaction(task.run_id, task.id, task.attempt, source) as lent:
        for statement in statements:
            await lent.connection.execute(statement)
        return await lent.commit(completed(task))


@pytest.fixture
async def ledger(stranger: asyncpg.Connection[Any]) -> asyncpg.Connection[Any]:
    await stranger.execute("create table ledger (line text)")
    return stranger


async def test_rows_and_completion_carry_the_same_transaction(
    store: PostgresStore, ledger: asyncpg.Connection[Any]
) -> None:
    (task,) = await begun(store)
    assert await attempt(store, task, "insert into ledger values ('paid')")
    query = "select (select xmin from ledger), (select xmin from durable.inbox), (select xmin from durable.activity_tasks)"
    row = await ledger.fetchrow(query)
    assert row is not None
    assert row[0] == row[1] == row[2]


@pytest.mark.parametrize("cut", ["before the request", "behind the request", "before the reply"])
@pytest.mark.parametrize("at", ["end", "commit"])
async def test_a_lost_commit_is_told_by_ending_the_attempt_once_more(
    postgres_url: str, ledger: asyncpg.Connection[Any], cut: str, at: str
) -> None:
    async with Proxy(postgres_url) as proxy, opened(proxy.url) as store:
        await register(store, "me")
        proxy.mark = b"step " if at == "end" else b"COMMIT;"
        for number, task in enumerate(await begun(store, 5)):
            proxy.cut = cut
            with pytest.raises(StoreUnavailableError):
                await attempt(store, task, f"insert into ledger values ('{number}')")
            # Once this is answered, the old transaction is committed or never will be.
            (undone,) = await store.finish_attempts([given_up(task)])
            written = await ledger.fetchval("select count(*) from ledger where line = $1", str(number))
            assert written == (not undone)
            assert len(await store.read_messages([task.run_id])) == written
            if cut == "before the reply":
                assert written == (at == "commit")
            elif cut == "before the request" or at == "end":
                assert not written
        assert proxy.cuts == 5


@pytest.mark.parametrize("library", [None, AsyncConnections], ids=["lent", "borrowed"])
async def test_a_lost_commit_that_the_server_does_not_know_of_holds_up_nobody(
    postgres_url: str, ledger: asyncpg.Connection[Any], library: Any
) -> None:
    """The server has the row locked, and waits for a client that is gone. Nobody waits for the server."""
    async with (
        Proxy(postgres_url) as proxy,
        opened(postgres_url if library else proxy.url, settle=PATIENCE) as store,
    ):
        await register(store, "me")
        proxy.mark = b"COMMIT"
        task, other = await begun(store, 2)
        # The session of a library is not ours to end; the server ends it after a while.
        source = library and library(f"{proxy.url}?options=-c%20idle_in_transaction_session_timeout%3D1s")
        proxy.cut = "unknown to the server"
        with pytest.raises(StoreUnavailableError):
            await attempt(store, task, "insert into ledger values ('lost')", source=source)
        assert proxy.cuts == 1
        # Nothing of it is left for anybody to wait for.
        assert await ledger.fetchval(OPEN) == 0
        async with asyncio.timeout(PATIENCE):
            assert await store.finish_attempts([given_up(task), given_up(other)]) == [True, True]
        assert await ledger.fetchval("select count(*) from ledger") == 0


async def test_an_attempt_that_is_taken_for_dead_cannot_commit(
    store: PostgresStore, ledger: asyncpg.Connection[Any]
) -> None:
    (task,) = await begun(store)
    async with store.transaction(task.run_id, task.id, task.attempt) as old:
        await old.connection.execute("insert into ledger values ('old')")
        # Its row is free as long as its function runs: nobody waits to take it over.
        assert await asyncio.wait_for(store.finish_attempts([given_up(task, None)]), PATIENCE) == [True]
        (again,) = await store.claim_activities("me", ["queue"], None, 1, format=99)
        assert again.attempt == 2
        assert await attempt(store, again, "insert into ledger values ('new')")
        assert not await old.commit(completed(task))
    assert [row["line"] for row in await ledger.fetch("select line from ledger")] == ["new"]
    assert len(await store.read_messages([task.run_id])) == 1


async def test_transactions_hold_up_no_call_and_no_commit(
    postgres_url: str, ledger: asyncpg.Connection[Any]
) -> None:
    async with opened(postgres_url, pool_size=1, transactions=1) as store:
        await register(store, "me")
        first, second = await begun(store, 2)
        ended: list[str] = []

        async def held(task: ActivityRecord, inside: asyncio.Event) -> None:
            async with store.transaction(task.run_id, task.id, task.attempt) as lent:
                ended.append("begun")
                await inside.wait()
                assert await lent.commit(completed(task))
                ended.append("ended")

        go_on = asyncio.Event()
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(held(first, go_on))
            group.create_task(held(second, go_on))
            while not ended:
                await asyncio.sleep(0.001)
            # One of them is open, the other waits for its end, and everything else goes on.
            assert len(await store.read_activities(first.run_id)) == 1
            (other,) = await start(store)
            await store.commit([step(other)])
            assert ended == ["begun"]
            go_on.set()
        assert ended == ["begun", "ended"] * 2


async def test_nobody_sees_the_attempts_that_are_under_way(
    store: PostgresStore, ledger: asyncpg.Connection[Any]
) -> None:
    committed, undone = await begun(store, 2)
    async with store.transaction(committed.run_id, 1, 1) as lent:
        assert await ledger.fetchval("select count(*) from durable.transactions") == 0
        assert await lent.commit(completed(committed))
    with suppress(ZeroDivisionError):
        async with store.transaction(undone.run_id, 1, 1):
            raise ZeroDivisionError
    assert await ledger.fetchval("select count(*) from durable.transactions") == 0


async def test_what_fails_at_the_commit_is_the_functions_fault(
    store: PostgresStore, ledger: asyncpg.Connection[Any]
) -> None:
    await ledger.execute(
        "create table late (line text unique deferrable initially deferred); insert into late values ('a')"
    )
    (task,) = await begun(store)
    with pytest.raises(asyncpg.UniqueViolationError):
        await attempt(store, task, "insert into late values ('a')")
    assert await store.finish_attempts([given_up(task)]) == [True]


async def test_behind_a_rollback_of_its_own_a_function_writes_nothing(
    store: PostgresStore, ledger: asyncpg.Connection[Any]
) -> None:
    (task,) = await begun(store)
    for ending in ("rollback", "rollback; begin read write", "rollback; begin", "commit"):
        with pytest.raises(TransactionError):
            await attempt(store, task, ending, "insert into ledger values ('behind')")
    assert await ledger.fetchval("select count(*) from ledger") == 0
    assert await attempt(store, task)
