"""Closed workflows that have been kept for long enough are removed by workers, exported before where that is asked for."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.client import HistoryFiles, Retention
from durable.common import WorkflowIDReusePolicy
from durable.exceptions import WorkflowNotFoundError
from durable.history import import_history
from durable.worker import _retention
from tests.scenarios.rig import PATIENCE, until


@activity.defn(name="retention.step")
async def step(n: int) -> int:
    return n


@workflow.defn(name="retention.child")
async def child(n: int) -> int:
    return await step(n)


@workflow.defn(name="retention.short")
async def short(n: int) -> int:
    return await child.options(id=f"child-{n}")(n)


@workflow.defn(name="retention.long")
async def long(n: int) -> int:
    return await step(n)


@workflow.defn(name="retention.chain")
async def chain(n: int) -> int:
    if n:
        workflow.continue_as_new(n - 1)
    return n


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_retention, "LOOK", 0.02)


def worker(client: Client, **more: Any) -> Worker:
    return Worker(client, workflows=[short, long, child, chain], activities=[step], **more)


async def ids(client: Client, query: str = "") -> set[str]:
    return {run.id async for run in client.list_workflows(query)}


async def test_each_type_is_kept_as_long_as_is_set(store_url: str) -> None:
    async with Client.connect(store_url) as client, worker(client):
        await client.set_retention(timedelta(days=30))
        for n in range(3):  # before the setting that removes them, perhaps before their results are read
            assert await client.execute_workflow(short(n), id=f"short-{n}") == n
            assert await client.execute_workflow(long(n), id=f"long-{n}") == n
        await client.set_retention(0.05, workflow_type="retention.short")
        assert await client.retention() == [
            Retention(None, timedelta(days=30), False),
            Retention("retention.short", timedelta(milliseconds=50), False),
        ]
        kept = {f"long-{n}" for n in range(3)} | {f"child-{n}" for n in range(3)}

        async def are_gone() -> bool:
            return await ids(client) == kept

        await until("what is to be removed is", are_gone)
        with pytest.raises(WorkflowNotFoundError):
            await client.get_workflow_handle("short-0").describe()
        # Nobody remembers the id: it may be used again, whatever was said about using it again.
        await client.start_workflow(
            short(7), id="short-0", id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE
        )
        # A type of its own setting, and what that setting is taken back to.
        await client.set_retention(None, workflow_type="retention.long")
        await client.set_retention(0)
        kept = {f"long-{n}" for n in range(3)}
        await until("children too, not those that are kept for ever", are_gone)
        await client.clear_retention(workflow_type="retention.long")
        kept = set()
        await until("as all others", are_gone)


async def test_a_chain_loses_what_has_closed_and_goes_on(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        async with worker(client):
            first = await client.start_workflow(chain(3), id="chain")
            assert await first.result() == 0
            assert await client.start_activity(step(1), id="alone") is not None
            await client.get_activity_handle("alone").result()
        runs = [run async for run in client.list_workflows("WorkflowId = 'chain'")]
        assert len(runs) == 4
        await client.set_retention(0)
        async with worker(client):

            async def all_gone() -> bool:
                return not await ids(client)

            await until("all are gone, the activity by itself too", all_gone)


async def test_nothing_that_is_to_be_exported_goes_unexported(store_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "histories"
    async with Client.connect(store_url) as client:
        await client.set_retention(0, export=True)
        async with worker(client):
            for n in range(3):
                await client.execute_workflow(long(n), id=f"long-{n}")
            await client.execute_workflow(short(9), id="short")
            await client.set_retention(0, workflow_type="retention.short")

            async def short_is_gone() -> bool:
                return "short" not in await ids(client)

            await until("what needs no export is removed", short_is_gone)
            assert len(await ids(client)) == 4
        async with worker(client, archive=HistoryFiles(folder)):

            async def all_gone() -> bool:
                return not await ids(client)

            await until("all are gone", all_gone)
    lines = [line for file in folder.iterdir() for line in gzip.decompress(file.read_bytes()).splitlines()]
    records = {record["workflow_id"]: record for record in map(json.loads, lines)}
    assert records.keys() == {"long-0", "long-1", "long-2", "child-9"}
    assert len(lines) == 4
    record = records["long-1"]
    assert [type(event.data).__name__ for event in import_history(record)[3]][
        -1
    ] == "WorkflowExecutionCompleted"


async def test_an_archive_that_fails_loses_nothing(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Sequence[str]] = []

    async def archive(lines: Sequence[str]) -> None:
        told.append(lines)
        if len(told) < 3:
            raise OSError("the disk is full")

    async with Client.connect(store_url) as client, worker(client, archive=archive):
        await client.execute_workflow(long(1), id="long")
        await client.set_retention(0, export=True)

        async def is_gone() -> bool:
            return not await ids(client)

        await until("it is exported in the end", is_gone)
    assert len(told) == 3
    assert "the disk is full" in caplog.text


async def test_one_worker_at_a_time(store_url: str) -> None:
    busy, most, gone = 0, 0, asyncio.Event()

    async def archive(lines: Sequence[str]) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.05)
        busy -= 1
        gone.set()

    async with (
        Client.connect(store_url) as client,
        Client.connect(store_url) as other,
        worker(client, archive=archive),
        worker(other, archive=archive),
    ):
        for n in range(4):
            await client.execute_workflow(long(n), id=f"long-{n}")
        await client.set_retention(0, export=True)
        await asyncio.wait_for(gone.wait(), PATIENCE)

        async def are_gone() -> bool:
            return not await ids(client)

        await until("all are gone", are_gone)
    assert most == 1


async def test_what_cannot_be_set_is_refused(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client:
        with pytest.raises(ValueError, match="keep"):
            await client.set_retention(-1)
        with pytest.raises(ValueError, match="workflow_type"):
            await client.set_retention(1, workflow_type="")
        with pytest.raises(TypeError, match="export must be a bool"):
            await client.set_retention(1, export="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(TypeError, match="archive must be an async function"):
            Worker(client, workflows=[long], activities=[], archive="/tmp")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
