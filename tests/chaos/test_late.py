"""F39 of the faults: who took the lower number commits later, behind whoever looked past it."""

from __future__ import annotations

import asyncpg
import pytest

from durable import Client, Signal, Worker, workflow
from tests.crash.harness import until

pytestmark = pytest.mark.postgres

word: Signal[str] = Signal("late.word", str)


@workflow.defn(name="late.hears")
async def hears(count: int) -> list[str]:
    return [await word.receive() for _ in range(count)]


async def test_f39_a_lower_number_that_commits_later_is_found(postgres_url: str) -> None:
    """A message and a start, each in a transaction of a caller's that is open while later ones are read and done."""
    async with (
        Client.connect(postgres_url) as client,
        Worker(client, workflows=[hears], activities=[], poll_interval=0.1),
    ):
        listener = await client.start_workflow(hears(3), id="listener")
        callers = [await asyncpg.connect(postgres_url) for _ in range(2)]
        try:
            first, second = callers
            begun = first.transaction(), second.transaction()
            for one in begun:
                await one.start()
            await client.start_workflow(hears(1), id="early", connection=first)
            await listener.signal(word("early"), connection=second)
            assert await _number(second, "inbox", "position") > 0, "it has its number already"

            late = await client.start_workflow(hears(1), id="late")
            await late.signal(word("done"))
            assert await late.result(timeout=60) == ["done"]
            await listener.signal(word("late"))

            async def has_heard() -> bool:
                return len((await listener.fetch_history()).events) >= 2

            await until("the later one was heard", has_heard)
            for one in begun:
                await one.commit()
        finally:
            for connection in callers:
                await connection.close()
        early = client.get_workflow_handle("early")
        await early.signal(word("heard"))
        assert await early.result(timeout=60) == ["heard"]
        await listener.signal(word("last"))
        assert await listener.result(timeout=60) == ["late", "early", "last"]


async def _number(connection: asyncpg.Connection, table: str, column: str) -> int:
    found: int = await connection.fetchval(f"select coalesce(max({column}), 0) from durable.{table}")
    return found
