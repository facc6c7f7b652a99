"""What an idle worker asks of its database."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, Worker, workflow
from durable.store.sqlite import SQLiteStore
from durable.store.sqlite._connection import Lane

GLANCES = 60


@workflow.defn(name="glances.nothing")
async def nothing() -> None:
    pass


@pytest.mark.sqlite
async def test_an_idle_worker_makes_one_statement_per_poll_interval(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()
    often = asyncio.Event()
    glance, run = SQLiteStore.glance, Lane.run

    async def counted(self: Any, *args: Any) -> Any:
        calls["glances"] += 1
        if calls["glances"] >= GLANCES:
            often.set()
        return await glance(self, *args)

    async def counted_too(self: Any, *args: Any) -> Any:
        calls["calls"] += 1
        return await run(self, *args)

    monkeypatch.setattr(SQLiteStore, "glance", counted)
    monkeypatch.setattr(Lane, "run", counted_too)
    async with (
        await Client.connect(sqlite_url) as client,
        Worker(client, workflows=[nothing], activities=[], poll_interval=timedelta(milliseconds=20)),
    ):
        await client.execute_workflow(nothing())
        calls.clear()
        async with asyncio.timeout(120):
            await often.wait()
        # The rest is what a worker does every five seconds, however few glances the machine makes in these: its lease,
        # the dead, what it owns. A second statement for each glance would be as many as there are glances.
        assert calls["calls"] - calls["glances"] <= GLANCES / 2, calls
