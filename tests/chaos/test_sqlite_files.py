"""What happens to the file of a SQLite database while it is used: strangers who lock, read, copy or remove parts of it.

F26 of the faults, and F27: the machine loses its power between any two frames of the log. `DURABLE_POWER=200` writes two
hundred commits for that, instead of some.
"""

# ruff: noqa: ASYNC240 - these files are small and near

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable import Client, Signal, Worker, activity, workflow
from durable._internal.ids import uuid7
from durable.converter import default
from durable.exceptions import StoreUnavailableError
from durable.history import EventType, WorkflowExecutionStarted
from durable.history._wire import encode_data
from durable.store import NewRun, RunStatus
from durable.store import sqlite as adapter
from durable.store.sqlite import SQLiteStore
from durable.testing.invariants import verify

pytestmark = pytest.mark.sqlite

POWER = int(os.environ.get("DURABLE_POWER", 0)) or 12
WAL_HEADER, FRAME = 32, 24 + 4096
"""Bytes of a log's header and of each of its frames, which is a page and what tells where it belongs."""


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[SQLiteStore]:
    opened = await adapter.open(sqlite_url, busy=0.3, wal_bytes=200_000, idle=0.01)
    yield opened
    await opened.aclose()


def new_run() -> NewRun:
    run_id = uuid7()
    started = WorkflowExecutionStarted(workflow_id=f"workflow-{run_id}", workflow_type="T", task_queue="q")
    return NewRun(run_id, started.workflow_id, "T", "q", encode_data(started))


def count(path: Path) -> int:
    """How many runs a stranger sees, in a database that is sound."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found: int = db.execute("SELECT count(*) FROM runs").fetchone()[0]
        return found
    finally:
        db.close()


async def test_f26_a_stranger_who_writes_for_long_is_waited_for_then_told_of(
    store: SQLiteStore, sqlite_url: str, path: Path
) -> None:
    """One that knows nothing of our queue, as a tool for databases does not."""
    stranger = sqlite3.connect(path, isolation_level=None)
    patient = await adapter.open(sqlite_url, busy=60.0)
    stranger.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(patient.create_runs([new_run()]))
    await asyncio.sleep(0)
    stranger.execute("ROLLBACK")
    await waiting
    await patient.aclose()
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        await store.create_runs([new_run()])
    assert await store.find_run("nobody") is None  # reads go on
    stranger.execute("ROLLBACK")
    await store.create_runs([new_run()])
    stranger.close()
    assert count(path) == 2


async def test_f26_a_reader_for_long_makes_the_log_grow_and_its_end_shrinks_it(
    store: SQLiteStore, path: Path
) -> None:
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    wal = Path(f"{path}-wal")
    while wal.stat().st_size < 800_000:
        await store.create_runs([new_run() for _ in range(300)])
    assert reader.execute("SELECT count(*) FROM runs").fetchone() == (0,), "what it reads changes"
    reader.execute("ROLLBACK")
    reader.close()
    for _ in range(1000):
        await store.create_runs([new_run()])
        if wal.stat().st_size < 400_000:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the log still has {wal.stat().st_size} bytes")


async def test_f26_a_copy_of_a_database_in_use_is_whole(
    store: SQLiteStore, path: Path, tmp_path: Path
) -> None:
    """SQLite's own backup, page by page, while others write."""
    await store.create_runs([new_run() for _ in range(20)])
    copied = asyncio.to_thread(_backup, path, tmp_path / "copy.db")
    copying = asyncio.create_task(copied)
    written = 20
    # Each write makes a copy begin again that is read in steps: where it is slow, it would never come to an end.
    while not copying.done() and written < 400:
        await store.create_runs([new_run() for _ in range(20)])
        written += 20
    await copying
    assert 20 <= count(tmp_path / "copy.db") <= written
    async with Client.connect(f"sqlite:///{tmp_path / 'copy.db'}") as client:
        assert [one async for _, found in verify(client.store) for one in found] == []


def _backup(source: Path, target: Path) -> None:
    there, here = sqlite3.connect(source), sqlite3.connect(target)
    there.backup(here, pages=5, sleep=0.001)
    here.close()
    there.close()


@pytest.mark.parametrize("replaced", [False, True])
async def test_f26_a_log_that_is_removed_ends_the_writing_and_loses_nothing(
    sqlite_url: str, path: Path, replaced: bool
) -> None:
    store = await adapter.open(sqlite_url, busy=0.3)
    wal = Path(f"{path}-wal")
    acknowledged = 0
    for _ in range(5):
        await store.create_runs([new_run()])
        acknowledged += 1
    kept = wal.read_bytes()
    wal.unlink()
    if replaced:
        wal.write_bytes(kept)
    told = ""
    while not told:
        try:
            await store.create_runs([new_run()])
            acknowledged += 1
        except StoreUnavailableError as error:
            told = str(error)
        assert acknowledged < 20, "nobody notices"
    assert "was removed or replaced" in told
    wal.unlink(missing_ok=True)
    await store.aclose()
    assert count(path) == acknowledged
    again = await adapter.open(sqlite_url)
    await again.create_runs([new_run()])
    await again.aclose()


# --- F27: no power ---

go: Signal[int] = Signal("power.go", int)


@activity.defn(name="power.step")
async def step(n: int) -> int:
    return n


@workflow.defn(name="power.steps")
async def steps(count: int) -> int:
    total = 0
    for n in range(count):
        total += await step(n)
    return total + await go.receive()


async def test_f27_power_is_lost_between_any_two_frames(sqlite_url: str, path: Path, tmp_path: Path) -> None:
    """At each cut the database is sound, holds what was acknowledged before, and its runs go on to their right ends."""
    wal = Path(f"{path}-wal")
    acknowledged: list[tuple[int, str]] = []
    store = await adapter.open(sqlite_url, wal_commits=1_000_000, wal_bytes=1 << 30, idle=3600.0)
    base = tmp_path / "base.db"
    async with Client(store, namespace="default", identity="power", data_converter=default()) as client:
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(path, base)
        async with Worker(client, workflows=[steps], activities=[step]):
            for number in range(max(1, POWER // 12)):
                handle = await client.start_workflow(steps(3), id=f"power-{number}")
                acknowledged.append((wal.stat().st_size, f"start power-{number}"))
                await handle.signal(go(number), request_id=f"go-{number}")
                acknowledged.append((wal.stat().st_size, f"signal power-{number}"))
                assert await handle.result() == 3 + number
                acknowledged.append((wal.stat().st_size, f"end power-{number}"))
        log = wal.read_bytes()
    frames = (len(log) - WAL_HEADER) // FRAME
    assert frames > POWER
    every = 1 if POWER >= 100 else 5
    for cut in range(frames + 1):
        # Some of the next frame may have come to the disk as well.
        await _judge_cut(
            base, log[: WAL_HEADER + cut * FRAME + 100 * (cut % 2)], acknowledged, cut % every == 0
        )


async def _judge_cut(base: Path, log: bytes, acknowledged: list[tuple[int, str]], goes_on: bool) -> None:
    here = base.with_name("cut.db")
    shutil.copy(base, here)
    Path(f"{here}-wal").write_bytes(log)
    count(here)
    async with Client.connect(f"sqlite:///{here}") as client:
        assert [one async for _, found in verify(client.store) for one in found] == []
        for size, what in acknowledged:
            if size <= len(log):
                await _judge_promise(client, *what.split())
        if goes_on:
            open_runs = [one async for one in client.list_workflows("ExecutionStatus = 'Running'")]
            async with Worker(client, workflows=[steps], activities=[step]):
                for one in open_runs:
                    handle = client.get_workflow_handle(one.id)
                    number = int(one.id.partition("-")[2])
                    # Its sender, who has seen no acknowledgement, sends it again.
                    await handle.signal(go(number), request_id=f"go-{number}")
                    assert await handle.result(timeout=60) == 3 + number
    for name in (here, *(Path(f"{here}-{end}") for end in ("wal", "shm", "lock"))):
        name.unlink(missing_ok=True)


async def _judge_promise(client: Client, what: str, workflow_id: str) -> None:
    found = await client.store.find_run(workflow_id)
    assert found is not None, f"{workflow_id} was acknowledged and is lost"
    if what == "signal":
        events = await client.store.read_events(found.run_id)
        messages = await client.store.read_messages([found.run_id])
        signals = [one for one in events if one.type == EventType.WORKFLOW_EXECUTION_SIGNALED]
        assert len(messages) + len(signals) == 1, f"the signal of {workflow_id} was acknowledged"
    elif what == "end":
        assert found.status is RunStatus.COMPLETED
