"""What is the SQLite store's own: group commit, locks, and plans."""

# ruff: noqa: ASYNC240 - these files are small and near

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from durable._internal.ids import uuid7
from durable.exceptions import StoreConfigurationError, StoreUnavailableError
from durable.history import EventRow
from durable.store import (
    Close,
    Hint,
    NewRun,
    RunStatus,
    Transition,
    Verdict,
    WorkerRecord,
)
from durable.store import sqlite as adapter
from durable.store.sqlite import SQLiteStore, _switching
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import FileLock

pytestmark = pytest.mark.sqlite

PATIENCE = 60.0


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[SQLiteStore]:
    opened = await adapter.open(sqlite_url)
    yield opened
    await opened.aclose()


def new_run(owner: str | None = None) -> NewRun:
    run_id = uuid7()
    return NewRun(run_id, f"workflow-{run_id}", "T", "q", b"{}", owner=owner)


def worker(worker_id: str) -> WorkerRecord:
    return WorkerRecord(worker_id, "me", ("q",), 15_000_000, 0, expired=False, dead=False)


def step(run_id: str, seq: int, events: int = 1) -> Transition:
    return Transition(run_id, 1, tuple(EventRow(seq + index, 2, 30, b"x" * 100) for index in range(events)))


async def eventually(happened: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


# --- hints ---


async def test_own_commits_are_no_hints(store: SQLiteStore) -> None:
    heard: list[Hint] = []
    stop = store.listen(heard.append)
    looks = 0

    def counted(look: Callable[[], int]) -> Callable[[], int]:
        def inner() -> int:
            nonlocal looks
            looks += 1
            return look()

        return inner

    store.writer._data_version = counted(store.writer._data_version)
    for _ in range(20):
        await store.create_runs([new_run()])

    async def looked() -> bool:
        return looks > 3

    await eventually(looked)
    assert heard == []
    stop()


# --- group commit ---


async def test_what_waits_is_committed_together(store: SQLiteStore) -> None:
    held = threading.Event()

    def hold(_: Transaction) -> None:
        held.wait(PATIENCE)

    holding = asyncio.ensure_future(store.writer.run(hold))
    await asyncio.sleep(0)
    before = store.writer.transactions
    starts = [asyncio.ensure_future(store.create_runs([new_run()])) for _ in range(100)]
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(holding, *starts)
    assert store.writer.transactions - before <= 2


async def test_a_failing_operation_takes_nobody_with_it(store: SQLiteStore) -> None:
    lease = await store.register_worker(worker("me"))
    runs = [new_run(owner="me") for _ in range(10)]
    await store.create_runs(runs)
    answers = await asyncio.gather(
        *(store.commit([step(run.run_id, 1 if number == 5 else 2)]) for number, run in enumerate(runs)),
        return_exceptions=True,
    )
    for number, (run, answer) in enumerate(zip(runs, answers, strict=True)):
        if number == 5:
            assert isinstance(answer, ValueError)
        else:
            assert not isinstance(answer, BaseException)
            assert answer.verdicts == (Verdict.WRITTEN,)
        assert len(await store.read_events(run.run_id)) == (1 if number == 5 else 2)
    await lease.aclose()


async def test_an_operation_is_undone_alone(store: SQLiteStore) -> None:
    def half(transaction: Transaction) -> None:
        transaction.db.execute("INSERT INTO workers VALUES ('half', '', '[]', 1, 0, 1, '')")
        raise LookupError

    run = new_run()
    answers = await asyncio.gather(
        store.writer.run(half), store.create_runs([run]), store.writer.run(half), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [LookupError, list, LookupError]
    assert await store.list_workers() == []
    assert await store.find_run(run.workflow_id) is not None


async def test_a_full_disk_is_unavailable_and_then_available(store: SQLiteStore) -> None:
    def limit(pages: int) -> Callable[[Transaction], None]:
        return lambda transaction: transaction.db.execute(f"PRAGMA max_page_count = {pages}").close()

    await store.writer.run(limit(1))  # as many as there are
    with pytest.raises(StoreUnavailableError, match="SQLITE_FULL"):
        await store.create_runs([new_run() for _ in range(1000)])
    await store.writer.run(limit(1_000_000))
    await store.create_runs([new_run() for _ in range(1000)])


async def test_a_busy_event_loop_does_not_starve_a_batch(store: SQLiteStore) -> None:
    """Each row would cost a switch of threads, 5 ms beside a loop that computes; a batch is a few statements instead."""
    statements: list[str] = []
    runs = [new_run() for _ in range(1000)]
    await store.create_runs(runs)
    lease = await store.register_worker(worker("me"))
    (owned,) = [await store.claim_runs("me", ["q"], ["T"], 1000, format=1)]
    await store.writer.run(lambda transaction: transaction.db.set_trace_callback(statements.append))
    statements.clear()
    result = await store.commit([step(run.run.run_id, 2) for run in owned])
    assert set(result.verdicts) == {Verdict.WRITTEN}
    assert len(statements) <= 6, [text[:50] for text in statements]
    await lease.aclose()


async def test_appending_alone_is_one_statement_and_all_or_nothing(store: SQLiteStore) -> None:
    statements: list[str] = []
    await store.create_runs([new_run() for _ in range(3)])
    lease = await store.register_worker(worker("me"))
    one, two, three = [run.run.run_id for run in await store.claim_runs("me", ["q"], ["T"], 3, format=1)]
    await store.writer.run(lambda transaction: transaction.db.set_trace_callback(statements.append))
    statements.clear()
    before = store.writer.transactions
    result = await store.commit([step(one, 2), step(two, 2)])
    assert result.verdicts == (Verdict.WRITTEN, Verdict.WRITTEN)
    (statement,) = [text for text in statements if not text.startswith("PRAGMA")]
    assert "INSERT INTO events" in statement
    assert store.writer.transactions - before == 1
    # One that is fenced out leaves the others to the transaction that tells them apart.
    assert await store.terminate(two, lambda seq: EventRow(seq, 2, 1, b"{}"), Close(RunStatus.TERMINATED))
    result = await store.commit([step(one, 3), step(two, 3), step(three, 2)])
    assert result.verdicts == (Verdict.WRITTEN, Verdict.LOST, Verdict.WRITTEN)
    # So does one that was written before.
    result = await store.commit([step(one, 3), step(three, 3)])
    assert result.verdicts == (Verdict.WRITTEN, Verdict.WRITTEN)
    assert [event.seq for event in await store.read_events(one)] == [1, 2, 3]
    assert [event.seq for event in await store.read_events(three)] == [1, 2, 3]
    with pytest.raises(ValueError, match="at most one transition"):
        await store.commit([step(one, 4), step(one, 5)])
    await lease.aclose()


# --- readers ---


async def test_a_reader_does_not_hold_up_a_writer(store: SQLiteStore, path: Path) -> None:
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchone()
    for _ in range(5):
        await store.create_runs([new_run()])
    assert reader.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    reader.close()


async def test_a_writer_does_not_hold_up_reads(store: SQLiteStore) -> None:
    held = threading.Event()
    run = new_run()
    await store.create_runs([run])
    writing = asyncio.ensure_future(store.writer.run(lambda _: held.wait(PATIENCE)))
    assert await store.find_run(run.workflow_id) is not None
    assert not writing.done()
    held.set()
    await writing


async def test_the_log_is_cut_when_it_grew_and_nobody_reads(sqlite_url: str, path: Path) -> None:
    store = await adapter.open(sqlite_url, wal_bytes=200_000, idle=0.01)
    wal = Path(f"{path}-wal")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM runs").fetchone()
    for _ in range(10):
        await store.create_runs([new_run() for _ in range(300)])
    assert wal.stat().st_size > 400_000  # the reader still needs it
    reader.close()

    async def cut() -> bool:
        await store.create_runs([new_run()])
        await asyncio.sleep(0.02)
        return wal.stat().st_size < 400_000

    await eventually(cut)
    await store.aclose()
    assert not wal.exists()


async def test_the_log_is_written_over(sqlite_url: str, path: Path) -> None:
    store = await adapter.open(sqlite_url, wal_commits=5, idle=3600.0)
    wal = Path(f"{path}-wal")
    grown = 0
    for commits in range(60):
        await store.create_runs([new_run()])
        if commits == 20:
            grown = wal.stat().st_size
    assert grown <= wal.stat().st_size < 2 * grown
    await store.aclose()


# --- locks ---


async def test_every_write_waits_for_the_lock(sqlite_url: str, path: Path) -> None:
    store = await adapter.open(sqlite_url, busy=0.1)
    lock = FileLock(f"{path}-lock")
    assert lock.acquire(wait=False)
    with pytest.raises(StoreUnavailableError, match="another process"):
        await store.create_runs([new_run()])
    run = new_run()
    with pytest.raises(StoreUnavailableError, match="another process"):
        await store.create_runs([run])
    assert await store.find_run(run.workflow_id) is None  # reads go on
    lock.release()
    await store.create_runs([run])
    lock.close()
    await store.aclose()


async def test_what_came_while_waiting_goes_along(store: SQLiteStore, path: Path) -> None:
    lock = FileLock(f"{path}-lock")
    lock.acquire()
    before = store.writer.transactions
    starting = [asyncio.ensure_future(store.create_runs([new_run()]))]
    while store.writer._waiting is None:
        await asyncio.sleep(0)
    starting += [asyncio.ensure_future(store.create_runs([new_run()])) for _ in range(20)]
    await asyncio.sleep(0)
    lock.release()
    await asyncio.gather(*starting)
    assert store.writer.transactions - before == 1
    lock.close()


async def test_workers_of_one_process_see_each_other_alive(sqlite_url: str) -> None:
    one, two = await adapter.open(sqlite_url), await adapter.open(sqlite_url)
    lease = await one.register_worker(worker("mine"))
    for store in (one, two):
        (listed,) = await store.list_workers()
        assert not listed.dead_for_sure
        assert not await store.bury_worker("mine", 0)
    one.abandon("mine")
    assert not await lease.renew()
    (listed,) = await two.list_workers()
    assert listed.dead_for_sure
    assert await two.bury_worker("mine", 0)
    await lease.aclose()
    await one.aclose()
    await two.aclose()


async def test_an_abandoned_worker_in_memory_is_dead() -> None:
    store = await adapter.open("sqlite://:memory:")
    lease = await store.register_worker(worker("mine"))
    await store.create_runs([new_run(owner="mine")])
    assert await lease.renew()
    assert not await store.bury_worker("mine", 0)
    store.abandon("mine")
    assert not await lease.renew()
    assert await store.bury_worker("mine", 0)
    assert await store.take_over(10) == 1
    await store.aclose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_does_not_keep_a_worker_alive(sqlite_url: str) -> None:
    one, two = await adapter.open(sqlite_url), await adapter.open(sqlite_url)
    lease = await one.register_worker(worker("mine"))
    child = os.fork()
    if child == 0:
        time.sleep(PATIENCE)  # noqa: ASYNC251 - there is no event loop in the child
        os._exit(0)
    try:
        one.abandon("mine")

        async def dead() -> bool:  # as soon as the child has come so far
            (listed,) = await two.list_workers()
            return listed.dead_for_sure

        await eventually(dead)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it has been killed
    await lease.aclose()
    await one.aclose()
    await two.aclose()


async def test_odd_worker_ids_have_lock_files_too(store: SQLiteStore, path: Path) -> None:
    for worker_id in ("a/../b", "ö" * 120, "x y"):
        lease = await store.register_worker(worker(worker_id))
        assert await lease.renew()
        await lease.aclose()
    assert len(list(path.parent.glob("app.db-worker-*"))) == 3
    for listed in await store.list_workers():
        await store.unregister_worker(listed.worker_id)
    assert list(path.parent.glob("app.db-worker-*")) == []


# --- plans and clocks ---


async def test_no_statement_reads_a_table_from_end_to_end(store: SQLiteStore) -> None:
    """The plans with a parameter for everything; a scan of `json_each` or of given values is none of the database."""
    from durable.store.sqlite import (
        _activities,
        _batches,
        _claims,
        _commit,
        _deadlines,
        _gates,
        _lanes,
        _log,
        _messages,
        _runs,
        _versions,
        _workers,
    )

    def scans(transaction: Transaction) -> list[str]:
        found: list[str] = []
        modules = (
            _runs,
            _messages,
            _commit,
            _claims,
            _deadlines,
            _activities,
            _lanes,
            _gates,
            _versions,
            _workers,
            _log,
            _batches,
        )
        for module in modules:
            for name, sql in module.SQL.items():
                parameters: Any = [None] * sql.count("?")
                if re.search(r":[a-z]", sql):
                    parameters = dict.fromkeys(re.findall(r":([a-z_]+)", sql))
                plan = transaction.db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
                found += [
                    f"{name}: {line[3]}"
                    for line in plan
                    if line[3].startswith("SCAN")
                    and any(
                        line[3].split()[1] == table
                        for table in (
                            "runs",
                            "run_data",
                            "events",
                            "inbox",
                            "activity_tasks",
                            "tasks",
                            "activity_inputs",
                            "operator_log",
                            "batches",
                            "batch_runs",
                        )
                    )
                    and "runs_owned" not in line[3]
                ]
        return found

    assert await store.writer.run(scans) == []


async def test_time_comes_from_the_given_clock_and_never_goes_back(sqlite_url: str) -> None:
    times = [5_000_000]
    store = await adapter.open(sqlite_url, clock=lambda: times[0])
    again = await adapter.open(sqlite_url, clock=lambda: times[0])
    assert await store.now() == 5_000_000
    times[0] = 7_000_000
    run = new_run()
    (verdict,) = await store.create_runs([run])
    assert verdict.now == 7_000_000
    times[0] = 6_000_000
    assert await store.now() == 7_000_000
    assert await again.now() == 7_000_000, "stores of one process share their clock"
    (first,) = await store.read_events(run.run_id)
    assert first.time == 7_000_000
    await store.aclose()
    await again.aclose()


async def test_unknown_limits_are_refused() -> None:
    with pytest.raises(StoreConfigurationError, match="no limit pool_size"):
        await adapter.open("sqlite://:memory:", pool_size=3)
    with pytest.raises(StoreConfigurationError, match="limits of SQLite"):
        await adapter.open("sqlite://:memory:", busy="soon")  # pyright: ignore[reportArgumentType]


async def test_a_run_that_has_nothing_closes_in_few_statements(store: SQLiteStore) -> None:
    """Every statement of the writer's thread is a race for the interpreter lock."""
    await store.register_worker(worker("w"))
    run = new_run("w")
    (verdict,) = await store.create_runs([run])
    said: list[str] = []
    await store.writer.run(lambda transaction: transaction.db.set_trace_callback(said.append))
    said.clear()
    end = EventRow(2, 1, 2, b"{}")
    await store.commit([Transition(run.run_id, verdict.epoch, (end,), close=Close(RunStatus.COMPLETED))])
    assert len([text for text in said if "data_version" not in text]) <= 6, said


@pytest.fixture
def switching_as_usual(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """The interval of a process of its own: what another test killed has given nothing back."""
    monkeypatch.setattr(_switching, "_users", 0)
    found = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield sys.getswitchinterval()
    sys.setswitchinterval(found)


async def test_threads_switch_sooner_while_there_is_a_worker(
    sqlite_url: str, tmp_path: Path, switching_as_usual: float
) -> None:
    before = switching_as_usual
    one, other = await adapter.open(sqlite_url), await adapter.open(f"sqlite:///{tmp_path}/other.db")
    assert sys.getswitchinterval() == before
    await one.register_worker(worker("a"))
    await one.register_worker(worker("b"))
    await other.register_worker(worker("a"))
    await one.aclose()
    assert sys.getswitchinterval() < before
    await other.aclose()
    assert sys.getswitchinterval() == before
