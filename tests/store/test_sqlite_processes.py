"""Several processes on one SQLite file, and how they die."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durable.store import ANY_KEY, Hint, HintKind
from durable.store import sqlite as adapter
from durable.store.sqlite import SQLiteStore

pytestmark = pytest.mark.sqlite

PATIENCE = 60.0


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[SQLiteStore]:
    opened = await adapter.open(sqlite_url)
    yield opened
    await opened.aclose()


async def eventually(happened: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.wait_for(asyncio.to_thread(function, *arguments), PATIENCE)


PROCESS = """
import asyncio, sys
from durable._internal.ids import uuid7
from durable.history import EventRow
from durable.store import NewRun, Transition, WorkerRecord, open_store

async def main(url, work):
    store = await open_store(url)
    worker = uuid7()
    lease = await store.register_worker(WorkerRecord(worker, "other", ("q",), 15_000_000, 0, False, False))
    run = NewRun(uuid7(), "workflow-" + worker, "T", "q", b"{}", owner=worker)
    await store.create_runs([run])
    print(worker, run.run_id, flush=True)
    if work == "wait":
        await asyncio.sleep(60)
    steps = 2**60 if work == "for ever" else int(work)
    for number in range(steps):
        seq = 2 + 3 * number
        rows = tuple(EventRow(seq + index, 2, 30, b"x" * 2000) for index in range(3))
        await store.commit([Transition(run.run_id, 1, rows)])
        print(seq + 2, flush=True)
    await store.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


class Process:
    """Another process on the database, owning one run as one worker."""

    def __init__(self, url: str, work: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, url, work],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        self.worker, self.run_id = self.out.readline().split()

    def line(self) -> str:
        return self.out.readline()

    def kill(self) -> list[str]:
        """SIGKILL; return the whole lines it had still to say."""
        self.process.send_signal(signal.SIGKILL)
        rest = self.out.read()
        self.process.wait()
        return rest[: rest.rfind("\n") + 1].split()

    def end(self) -> str:
        rest = self.out.read()
        assert self.process.wait(PATIENCE) == 0
        return rest


@pytest.fixture
def other(sqlite_url: str) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def start(work: str) -> Process:
        started.append(Process(sqlite_url, work))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
        each.out.close()


@pytest.mark.crash
async def test_a_kill_in_the_middle_of_commits_leaves_whole_transactions(
    sqlite_url: str, other: Callable[[str], Process]
) -> None:
    for round_ in range(6):
        process = await in_thread(other, "for ever")
        acknowledged = [await in_thread(process.line) for _ in range(3 + 7 * round_)]
        acknowledged += await in_thread(process.kill)
        store = await adapter.open(sqlite_url)
        seqs = [row.seq for row in await store.read_events(process.run_id)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) % 3 == 1, "half a transition"
        assert seqs[-1] >= int(acknowledged[-1]), "acknowledged and lost"
        await store.aclose()
        db = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()


@pytest.mark.crash
async def test_a_killed_worker_is_dead_at_once(store: SQLiteStore, other: Callable[[str], Process]) -> None:
    process = await in_thread(other, "wait")
    (alive,) = await store.list_workers()
    assert (alive.worker_id, alive.expired, alive.dead_for_sure) == (process.worker, False, False)
    assert not await store.bury_worker(process.worker, 0)
    await in_thread(process.kill)
    (dead,) = await store.list_workers()
    assert (dead.expired, dead.dead_for_sure) == (True, True)
    assert await store.bury_worker(process.worker, 0)
    assert await store.take_over(10) == 1
    assert await store.list_workers() == []


@pytest.mark.crash
async def test_a_stopped_worker_is_not_dead(store: SQLiteStore, other: Callable[[str], Process]) -> None:
    process = await in_thread(other, "wait")
    process.process.send_signal(signal.SIGSTOP)
    (listed,) = await store.list_workers()
    assert not listed.dead_for_sure
    assert not await store.bury_worker(process.worker, 0)


async def test_processes_share_the_file(sqlite_url: str, other: Callable[[str], Process]) -> None:
    processes = await asyncio.gather(*(in_thread(other, "100") for _ in range(3)))
    await asyncio.gather(*(in_thread(process.end) for process in processes))
    store = await adapter.open(sqlite_url)
    for process in processes:
        assert len(await store.read_events(process.run_id)) == 301
    await store.aclose()


async def test_a_commit_of_another_process_is_a_hint(
    store: SQLiteStore, other: Callable[[str], Process]
) -> None:
    heard: list[Hint] = []
    stop = store.listen(heard.append)
    process = await in_thread(other, "1")
    await in_thread(process.end)

    async def all_kinds() -> bool:
        return {hint.kind for hint in heard if hint.key == ANY_KEY} == set(HintKind)

    await eventually(all_kinds)
    stop()
