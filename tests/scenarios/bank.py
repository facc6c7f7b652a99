"""A small bank whose tables are in the workflows' database: what transactional activities write, and what is left of it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from durable import activity
from tests._pooler import direct

TABLES = (
    "create table accounts (name text primary key, cents bigint not null check (cents >= 0))",
    "create table transfers (number integer not null, attempt integer not null)",
)


class Trouble:
    """What the transfers of a test do when they have written everything."""

    def __init__(self) -> None:
        self.fail_before = 0
        self.hang_before = 0
        self.hold = False
        self.running = False
        self.behind: Callable[[Any], Any] = lambda tx: None
        self._released = threading.Event()

    def release(self) -> None:
        """Let those go on that are held."""
        self._released.set()

    def meet(self) -> bool:
        """Whether the function is to hang now."""
        attempt = activity.info().attempt
        if attempt < self.fail_before:
            raise ValueError(f"attempt {attempt} fails")
        return self.hold or attempt < self.hang_before

    async def wait(self) -> None:
        self.running = True
        try:
            while not self._released.is_set():
                await asyncio.sleep(0.001)
        finally:
            self.running = False

    def wait_in_thread(self) -> None:
        self.running = True
        try:
            while not self._released.is_set():
                time.sleep(0.001)
        finally:
            self.running = False


trouble = Trouble()


@activity.defn(name="bank.transfer", transactional=True)
async def transfer_by_asyncpg(
    tx: asyncpg.Connection[Any], number: int, source: str, target: str, cents: int
) -> int:
    # In one order, so that two transfers never wait for each other.
    await tx.execute("select from accounts where name = any ($1) order by name for update", [source, target])
    left: int = await tx.fetchval(
        "update accounts set cents = cents - $1 where name = $2 returning cents", cents, source
    )
    await tx.execute("update accounts set cents = cents + $1 where name = $2", cents, target)
    await tx.execute("insert into transfers values ($1, $2)", number, activity.info().attempt)
    if trouble.meet():
        await trouble.wait()
    made = trouble.behind(tx)
    if made is not None:
        await made
    return left


@activity.defn(name="bank.transfer", transactional=True)
def transfer_by_sqlite3(tx: sqlite3.Connection, number: int, source: str, target: str, cents: int) -> int:
    ((left,),) = tx.execute(
        "update accounts set cents = cents - ? where name = ? returning cents", (cents, source)
    ).fetchall()
    tx.execute("update accounts set cents = cents + ? where name = ?", (cents, target))
    tx.execute("insert into transfers values (?, ?)", (number, activity.info().attempt))
    if trouble.meet():
        trouble.wait_in_thread()
    trouble.behind(tx)
    return int(left)


class PostgresBank:
    """Its tables, seen from outside, and the activity that writes to them: `transfer(number, source, target, cents)`."""

    transfer = transfer_by_asyncpg
    postgres = True

    def __init__(self, url: str) -> None:
        self.url = url

    async def run(self, statement: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(direct(self.url))
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()


class SQLiteBank:
    """The same in a file."""

    transfer = transfer_by_sqlite3
    postgres = False

    def __init__(self, url: str) -> None:
        self.url = url

    async def run(self, statement: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)
        try:
            return db.execute(statement).fetchall()
        finally:
            db.close()


Bank = PostgresBank | SQLiteBank


async def opened(url: str, accounts: int = 2, cents: int = 1000) -> Bank:
    """Make the tables, with some accounts `a0`, `a1`, ..., and no trouble."""
    trouble.__init__()  # type: ignore[misc]
    bank = PostgresBank(url) if url.startswith("postgres") else SQLiteBank(url)
    for table in TABLES:
        await bank.run(table)
    values = ", ".join(f"('a{number}', {cents})" for number in range(accounts))
    await bank.run(f"insert into accounts values {values}")
    return bank


async def balances(bank: Bank) -> list[int]:
    """The accounts in the order of their names."""
    return [cents for (cents,) in await bank.run("select cents from accounts order by name")]


async def applied(bank: Bank) -> list[tuple[int, int]]:
    """The number of each transfer that was made, and which attempt made it."""
    return [
        (number, attempt) for number, attempt in await bank.run("select * from transfers order by number")
    ]
