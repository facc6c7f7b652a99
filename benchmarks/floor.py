"""The floor: what durable steps cost when there is nothing but the commit path.

A bare engine. Each run is a coroutine on an event loop of its own, so that it can be stopped between two turns; what it
asks for and what it is answered are rows `(run, seq, type, data)`; the answer is appended first and applied afterwards;
and all runs share one group commit. PostgreSQL gets one statement for each commit, with the fence that any engine needs
(the run's row, locked, under the expected epoch). SQLite has one writer, who needs no lock: there it is a bare insert of
the same rows with the pragmas of the library.

No types, no leases, no messages, no retries: whatever the library does beyond this it has to pay for above the floor.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from asyncio import events
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import msgspec

from benchmarks._databases import is_postgres, path_of

STARTED, SCHEDULED, COMPLETED, CLOSED = 1, 2, 3, 9

Row = tuple[int, int, int, bytes]

_encode = msgspec.json.Encoder().encode


class Log(Protocol):
    """Where the rows go."""

    async def append(self, rows: list[Row]) -> None:
        """Return when all of these are on the disk."""
        ...


class TurnLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as a coroutine needs that awaits futures."""

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def turn(self) -> None:
        """Run until nothing is ready."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while self._ready:
                self._ready.popleft()._run()
        finally:
            events._set_running_loop(outer)


class Engine:
    """The group commit that all runs share, and the clock of their steps."""

    def __init__(self, log: Log) -> None:
        self.loop = asyncio.get_running_loop()
        self.rows: list[Row] = []
        self.gaps: list[float] = []
        self.commits = 0
        self._log = log
        self._after: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._wake = asyncio.Event()

    def then(self, callback: Callable[..., None], *args: Any) -> None:
        """Call back once all that was appended until now is committed."""
        self._after.append((callback, args))
        self._wake.set()

    async def commit_forever(self) -> None:
        """Write what has gathered while the write before was under way."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            rows, self.rows = self.rows, []
            after, self._after = self._after, []
            await self._log.append(rows)
            self.commits += 1
            for callback, args in after:
                callback(*args)


class Run:
    """One run of dependent steps."""

    def __init__(self, engine: Engine, number: int, steps: int) -> None:
        self._engine = engine
        self._number = number
        self._steps = steps
        self._loop = TurnLoop()
        self._seq = 0
        self._asked: list[tuple[int, int]] = []
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._stepped_at: float | None = None
        self.done: asyncio.Future[int] = engine.loop.create_future()
        self._append(STARTED, {"type": "count_up", "input": [steps]})
        self._main = asyncio.Task(self._code(), loop=self._loop)
        self._turn()

    async def _code(self) -> int:
        value = 0
        for _ in range(self._steps):
            value = await self._ask(value)
        return value

    def _ask(self, value: int) -> asyncio.Future[int]:
        """Schedule an activity; its row wakes nobody, since it rides with its completion."""
        seq = self._append(SCHEDULED, {"name": "increment", "input": [value]})
        self._waiting[seq] = future = self._loop.create_future()
        self._asked.append((seq, value))
        return future

    def _turn(self) -> None:
        self._loop.turn()
        asked, self._asked = self._asked, []
        for seq, value in asked:
            self._engine.loop.create_task(self._activity(seq, value))
        if self._main.done():
            result = self._main.result()
            self._append(CLOSED, {"result": result})
            self._engine.then(self.done.set_result, result)

    async def _activity(self, seq: int, value: int) -> None:
        now = time.perf_counter()
        if self._stepped_at is not None:
            self._engine.gaps.append(now - self._stepped_at)
        self._stepped_at = now
        result = value + 1
        self._append(COMPLETED, {"scheduled": seq, "result": result})
        self._engine.then(self._completed, seq, result)

    def _completed(self, seq: int, result: int) -> None:
        self._waiting.pop(seq).set_result(result)
        self._turn()

    def _append(self, kind: int, data: Any) -> int:
        self._seq += 1
        self._engine.rows.append((self._number, self._seq, kind, _encode(data)))
        return self._seq


class PostgresLog:
    """One statement for each commit."""

    TABLES = """
        drop table if exists floor_events, floor_runs;
        create table floor_runs (
            run_id bigint primary key, next_seq int default 0, epoch int default 1, owner int, wake_at timestamptz,
            status smallint) with (fillfactor = 70);
        create table floor_events (
            run_id bigint, seq int, type smallint, time timestamptz default now(), data bytea, primary key (run_id, seq))"""

    APPEND = """
        with fenced as materialized (
            select run_id from floor_runs where run_id = any ($5::bigint[]) and epoch = 1
            order by run_id for no key update skip locked)
        insert into floor_events (run_id, seq, type, data)
        select e.run_id, e.seq, e.type, e.data
        from unnest($1::bigint[], $2::int[], $3::smallint[], $4::bytea[]) e (run_id, seq, type, data)
        join fenced using (run_id)"""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, runs: int) -> AsyncIterator[PostgresLog]:
        """Make the tables, and remove them at the end."""
        log = cls(await asyncpg.connect(url))
        try:
            await log._connection.execute(cls.TABLES)
            await log._connection.execute(
                "insert into floor_runs (run_id) select generate_series(1, $1)", runs
            )
            log._append = await log._connection.prepare(cls.APPEND)
            yield log
            await log._connection.execute("drop table floor_events, floor_runs")
        finally:
            await log._connection.close()

    async def append(self, rows: list[Row]) -> None:
        numbers, seqs, kinds, datas = zip(*rows, strict=True)
        await self._append.fetch(numbers, seqs, kinds, datas, list(dict.fromkeys(numbers)))

    async def count(self) -> int:
        return await self._connection.fetchval("select count(*) from floor_events")


class SQLiteLog:
    """One transaction for each commit, in the engine's own thread: nothing is faster, and nothing else waits here."""

    TABLE = """
        create table floor_events (
            run_id integer, seq integer, type integer, time integer, data blob, primary key (run_id, seq)) without rowid"""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._remove()
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in (
            "journal_mode = wal",
            "synchronous = full",
            "wal_autocheckpoint = 0",
            "cache_size = -16384",
        ):
            self._db.execute(f"pragma {pragma}")
        self._db.execute(self.TABLE)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, runs: int) -> AsyncIterator[SQLiteLog]:
        """Make a file beside the measured one, and remove it at the end."""
        log = cls(path_of(url).with_name("floor.db"))
        try:
            yield log
        finally:
            log._db.close()
            log._remove()

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    async def append(self, rows: list[Row]) -> None:
        now = time.time_ns() // 1000
        db = self._db
        db.execute("begin immediate")
        db.executemany(
            "insert into floor_events values (?, ?, ?, ?, ?)",
            [(number, seq, kind, now, data) for number, seq, kind, data in rows],
        )
        db.execute("commit")
        await asyncio.sleep(0)

    async def count(self) -> int:
        return self._db.execute("select count(*) from floor_events").fetchone()[0]


async def one_row_commits(url: str, count: int) -> list[float]:
    """Return the seconds that each of so many commits took, one after the other and of one row each."""
    log_type = PostgresLog if is_postgres(url) else SQLiteLog
    took: list[float] = []
    async with log_type.open(url, 1) as log:
        for seq in range(1, count + 1):
            started = time.perf_counter()
            await log.append([(1, seq, STARTED, b"{}")])
            took.append(time.perf_counter() - started)
    return took


async def measure(url: str, runs: int, steps: int, concurrency: int) -> tuple[float, list[float], int]:
    """Return the seconds that these runs took, the seconds between dependent steps, and the number of commits."""
    log_type = PostgresLog if is_postgres(url) else SQLiteLog
    async with log_type.open(url, runs) as log:
        engine = Engine(log)
        committing = asyncio.create_task(engine.commit_forever())
        gate = asyncio.Semaphore(concurrency)

        async def one(number: int) -> None:
            async with gate:
                assert await Run(engine, number, steps).done == steps

        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(1, runs + 1)))
        elapsed = time.perf_counter() - started
        committing.cancel()
        assert await log.count() == runs * (2 * steps + 2)
    return elapsed, engine.gaps, engine.commits
