"""Transactional activities with the sessions and connections of other libraries, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from durable import Client, Worker, activity
from durable.contrib.psycopg import AsyncConnections, Connections
from durable.contrib.sqlalchemy import AsyncSessions, Sessions
from durable.exceptions import RegistrationError
from tests.scenarios.bank import Bank, applied, balances, opened, trouble
from tests.scenarios.rig import Env
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
    trouble.meet()
    if (made := trouble.behind(tx)) is not None:
        await made
    return 700


@activity.defn(name="bank.transfer", transactional=True)
def by_session(tx: Session, number: int, source: str, target: str, cents: int) -> int:
    for statement in STATEMENTS:
        tx.execute(text(statement))
    tx.execute(text("insert into transfers values (:n, :a)"), {"n": number, "a": activity.info().attempt})
    trouble.meet()
    trouble.behind(tx)
    return 700


@activity.defn(name="bank.transfer", transactional=True)
async def by_async_psycopg(
    tx: psycopg.AsyncConnection[Any], number: int, source: str, target: str, cents: int
) -> int:
    for statement in STATEMENTS:
        await tx.execute(statement)
    await tx.execute("insert into transfers values (%s, %s)", (number, activity.info().attempt))
    trouble.meet()
    if (made := trouble.behind(tx)) is not None:
        await made
    return 700


@activity.defn(name="bank.transfer", transactional=True)
def by_psycopg(tx: psycopg.Connection[Any], number: int, source: str, target: str, cents: int) -> int:
    for statement in STATEMENTS:
        tx.execute(statement)
    tx.execute("insert into transfers values (%s, %s)", (number, activity.info().attempt))
    trouble.meet()
    trouble.behind(tx)
    return 700


Library = tuple[Any, Any]


@asynccontextmanager
async def async_sqlalchemy(url: str) -> AsyncIterator[Library]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    yield by_async_session, AsyncSessions(async_sessionmaker(engine))
    await engine.dispose()


@asynccontextmanager
async def sqlalchemy(url: str) -> AsyncIterator[Library]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield by_session, Sessions(sessionmaker(engine))
    engine.dispose()


@asynccontextmanager
async def async_psycopg(url: str) -> AsyncIterator[Library]:
    yield by_async_psycopg, AsyncConnections(url)


@asynccontextmanager
async def sync_psycopg(url: str) -> AsyncIterator[Library]:
    yield by_psycopg, Connections(url)


@pytest.fixture(
    params=[async_sqlalchemy, sqlalchemy, async_psycopg, sync_psycopg], ids=lambda one: one.__name__
)
async def library(request: pytest.FixtureRequest, postgres_url: str) -> AsyncIterator[Library]:
    make: Callable[[str], Any] = request.param
    async with make(postgres_url) as made:
        yield made


@pytest.fixture
async def bank(postgres_url: str) -> Bank:
    return await opened(postgres_url)


async def run(url: str, library: Library, call: Any) -> Any:
    transfer, source = library
    async with (
        Client.connect(url) as client,
        Worker(client, workflows=[move, try_once], activities=[transfer], transactions=[source]),
    ):
        return await client.execute_workflow(call, id="transfer")


@pytest.mark.postgres
async def test_rows_and_completion_are_committed_together(
    postgres_url: str, bank: Bank, library: Library
) -> None:
    trouble.fail_before = 2
    assert await run(postgres_url, library, move(1, 300)) == 700
    assert await balances(bank) == [700, 1300]
    assert await applied(bank) == [(1, 2)]


@pytest.mark.postgres
@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_function_cannot_end_its_transaction(
    postgres_url: str, bank: Bank, library: Library, ending: str
) -> None:
    trouble.behind = lambda tx: getattr(tx, ending)()
    told = await run(postgres_url, library, try_once(1, 300))
    assert told.startswith("TransactionError: the function ended")
    assert await balances(bank) == [1000, 1000]
    assert await applied(bank) == []


@pytest.mark.postgres
async def test_a_source_that_leads_elsewhere_is_refused(
    postgres_url: str, plain: Env, bank: Bank, library: Library
) -> None:
    """It is to the database of another server's user, so to speak: the same server, another database."""
    transfer, _ = library
    if transfer is not by_async_psycopg:
        return
    elsewhere = AsyncConnections(postgres_url.rpartition("/")[0] + "/postgres")
    told = await run(postgres_url, (transfer, elsewhere), try_once(1, 300))
    assert "another database" in told


@pytest.mark.postgres
async def test_what_a_function_asks_for_must_be_given(postgres_url: str) -> None:
    async with Client.connect(postgres_url) as client:
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
