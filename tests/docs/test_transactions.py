"""`docs/transactions.md`: what it shows runs."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from durable import Client, Worker, workflow
from durable.contrib.sqlalchemy import AsyncSessions
from tests.scenarios import callers

PAGE = Path(__file__).parents[2] / "docs" / "transactions.md"


async def test_the_transfer_runs(postgres_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("create table accounts (name text primary key, cents integer)")
        await connection.execute("insert into accounts values ('ada', 1000), ('bob', 0)")
        program = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
        file = tmp_path / "bank.py"
        file.write_text(f"{program}\n\nimport asyncio\n\nasyncio.run(main({postgres_url!r}))\n")
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(file)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "300 from ada to bob\n"), done.stderr
        rows = await connection.fetch("select name, cents from accounts order by name")
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [("ada", 700), ("bob", 300)]


async def test_sessions_and_models(store_url: str) -> None:
    """What the page shows of SQLAlchemy and Django, with a workflow that calls both."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[1:3]
    names: dict[str, Any] = {"__name__": "shown"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)

    @workflow.defn
    async def both() -> None:
        await names["pay"]("o-1", 100)
        await names["enrol"]("ada", "logic")

    await asyncio.to_thread(_make_tables, store_url)
    engine = create_async_engine(
        store_url.replace("postgresql://", "postgresql+asyncpg://").replace(
            "sqlite://", "sqlite+aiosqlite://"
        )
    )
    sources = [AsyncSessions(async_sessionmaker(engine)), *names["transactions"]]
    async with (
        Client.connect(store_url) as client,
        Worker(client, workflows=[both], activities=[names["pay"], names["enrol"]], transactions=sources),
    ):
        await client.execute_workflow(both(), id="both")
    async with engine.connect() as connection:
        assert (await connection.execute(text("select * from payments"))).all() == [("o-1", 100)]
        assert (await connection.execute(text("select * from enrolments"))).all() == [("ada", "logic")]
    await engine.dispose()


def _make_tables(url: str) -> None:
    connection = callers.django_connection(url)
    with connection.cursor() as cursor:
        cursor.execute("create table payments (order_id text primary key, cents integer)")
        cursor.execute("create table enrolments (student text, course text)")
    connection.close()
