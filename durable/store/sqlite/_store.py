"""The port on SQLite: each method is a function of `_runs`, `_commit`, ..., run in the thread it belongs to."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from durable._engine.hints import Glance, Hint, HintKind
from durable._engine.lanes import BreakerNews, BreakerRecord, Forced, KeyRecord
from durable._engine.records import (
    ActivityRecord,
    AttemptOutcome,
    ClaimedRun,
    CommitResult,
    Heartbeat,
    HeartbeatAnswer,
    ListedRun,
    Message,
    NewRun,
    QueryAnswer,
    Question,
    RunRecord,
    SendOutcome,
    StartVerdict,
    Transition,
    UpdateOutcome,
    WorkerRecord,
)
from durable._engine.schedules.rows import ScheduleRow, ScheduleWrite
from durable._engine.versioning import DeploymentRow, QueueRoute, VersionRow
from durable.exceptions import StoreConfigurationError, StoreUnavailableError, UnfitConnectionError
from durable.history import EventRow
from durable.store._filter import CountQuery, ListQuery, Position
from durable.store._protocol import Lease
from durable.store._seats import SQLiteSeat, seat_of
from durable.store._transaction_protocol import ActivityTransaction, TransactionSource
from durable.store.sqlite import (
    _activities,
    _claims,
    _commit,
    _hints,
    _lanes,
    _messages,
    _queries,
    _runs,
    _schedules,
    _schema,
    _search,
    _sole,
    _switching,
    _updates,
    _versions,
    _workers,
)
from durable.store.sqlite._claims import Wanted
from durable.store.sqlite._connection import Reader, Writer
from durable.store.sqlite._inside import SQLiteInside
from durable.store.sqlite._limits import Limits
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._operators import Operators
from durable.store.sqlite._transactions import Transactions

T = TypeVar("T")


class SQLiteStore(Operators):
    """A database in one file, or in memory, for the processes of one machine.

    Args:
        db: The writer's connection.
        url: Where it is.
        path: The file; None in memory, where the one connection serves everything.
        clock: The time, in microseconds since the epoch.
        limits: See there.
        lives: Who says which workers live: the operating system's locks, unless somebody stands in for them.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        url: str,
        path: str | None,
        clock: Callable[[], int],
        limits: Limits,
        lives: Lives | None = None,
    ) -> None:
        self.url = url
        self._path = path
        self._limits = limits
        self._clock = clock
        self._hub = _hints.enter(path)
        self._lives = Lives(path) if lives is None else lives
        self._listeners: list[_hints.Listener] = []
        self._claims_made = 0
        self._closing: asyncio.Future[None] | None = None
        self._has_worker = False
        self.writer = Writer(
            db, stamp=self._stamp, path=path, limits=limits, on_foreign_commit=self._on_foreign_commit
        )
        self.reader = None if path is None else Reader("durable-sqlite-reader", self._connect_reader())
        # In memory there is one connection, and none to lend.
        self.transaction_types = () if path is None else (sqlite3.Connection,)
        self._transactions = Transactions(path, limits, self._stamp)
        self.writer.start()
        if self.reader is not None:
            self.reader.start()

    def _connect_reader(self) -> sqlite3.Connection:
        assert self._path is not None
        return _schema.connect(self._path, self._limits, read_only=True)

    def _stamp(self) -> int:
        return self._hub.stamp(self._clock)

    async def _read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        if self.reader is not None:
            return await self.reader.run(call)
        return await self.writer.run(lambda transaction: call(transaction.db))

    # ---------------------------------------------------------------- runs

    async def create_runs(self, runs: Sequence[NewRun]) -> list[StartVerdict]:
        verdicts = await self.writer.run(partial(_runs.create, lives=self._lives, runs=runs))
        deadline = asyncio.get_running_loop().time() + self._limits.busy
        while held_back := [n for n, verdict in enumerate(verdicts) if verdict is None]:
            if asyncio.get_running_loop().time() > deadline:
                raise StoreUnavailableError("a run that a start has messages for takes none")
            await asyncio.sleep(self._limits.held_back)
            again = [runs[n] for n in held_back]
            found = await self.writer.run(partial(_runs.create, lives=self._lives, runs=again))
            for n, verdict in zip(held_back, found, strict=True):
                verdicts[n] = verdict
        return [verdict for verdict in verdicts if verdict is not None]

    async def find_run(
        self, workflow_id: str, run_id: str | None = None, *, measured: bool = True
    ) -> RunRecord | None:
        find = partial(_runs.find, workflow_id=workflow_id, run_id=run_id, measured=measured)
        return await self._read(find)

    async def read_events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[EventRow]:
        return await self._read(partial(_runs.read_events, run_id=run_id, after=after, limit=limit))

    async def read_closing_events(self, run_ids: Sequence[str]) -> dict[str, EventRow]:
        return await self._read(partial(_runs.read_closing_events, run_ids=run_ids))

    async def read_activities(self, run_id: str) -> list[ActivityRecord]:
        return await self._read(lambda db: _activities.read_of_runs(db, self._stamp(), (run_id,)))

    # ---------------------------------------------------------------- lists

    async def attribute_types(self, wanted: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
        known = await self._read(_search.types)
        if wanted.keys() <= known.keys():
            return known
        return await self.writer.run(lambda transaction: _search.add_types(transaction.db, wanted))

    async def list_runs(
        self, query: ListQuery, limit: int, behind: Position | None = None
    ) -> tuple[list[ListedRun], Position | None]:
        return await self._read(partial(_search.list_runs, query=query, limit=limit, behind=behind))

    async def count_runs(self, query: CountQuery) -> list[tuple[str | int | None, int]]:
        return await self._read(partial(_search.count_runs, query=query))

    # ---------------------------------------------------------------- messages

    async def send(self, messages: Sequence[Message]) -> list[SendOutcome]:
        return await self.writer.run(partial(_messages.send, messages=messages))

    async def inside(self, connection: object) -> SQLiteInside:
        seat = await seat_of(connection)
        if not isinstance(seat, SQLiteSeat):
            raise UnfitConnectionError(
                f"the connection is to PostgreSQL, and the client's database is {self.url}"
            )
        return SQLiteInside(seat, path=self._path, url=self.url, stamp=self._stamp, lives=self._lives)

    async def read_messages(self, run_ids: Sequence[str]) -> list[Message]:
        return await self._read(partial(_messages.read, run_ids=run_ids))

    async def read_owned_messages(self, worker_id: str, limit: int) -> list[Message]:
        return await self._read(partial(_messages.read_owned, worker_id=worker_id, limit=limit))

    # ---------------------------------------------------------------- the commit path

    async def commit(self, transitions: Sequence[Transition]) -> CommitResult:
        return await self.writer.run(
            partial(_commit.commit, lives=self._lives, transitions=transitions),
            partial(_commit.append, transitions=transitions),
        )

    async def locked_by(self, run_id: str) -> str:
        return ""

    async def find_update(self, run_id: str, message_id: str) -> UpdateOutcome | None:
        return await self._read(partial(_updates.find, run_id=run_id, message_id=message_id))

    async def condemned_runs(self, limit: int) -> list[RunRecord]:
        return await self._read(partial(_runs.condemned, limit=limit))

    # ---------------------------------------------------------------- claims

    async def claim_runs(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ClaimedRun]:
        wanted = Wanted(task_queues, workflow_types, format, version=version)
        return await self._claim(worker_id, wanted, limit)

    async def claim_probationer(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        *,
        format: int,
        version: str = "",
    ) -> ClaimedRun | None:
        wanted = Wanted(task_queues, workflow_types, format, probation=True, version=version)
        claimed = await self._claim(worker_id, wanted, 1)
        return claimed[0] if claimed else None

    async def _claim(self, worker_id: str, wanted: Wanted, limit: int) -> list[ClaimedRun]:
        self._claims_made += 1
        low_first = self._claims_made % _claims.SHARE == 0
        run_ids = await self.writer.run(
            partial(
                _claims.claim,
                lives=self._lives,
                worker_id=worker_id,
                wanted=wanted,
                limit=limit,
                low_first=low_first,
            )
        )
        return await self._read_claimed(worker_id, run_ids) if run_ids else []

    async def _read_claimed(self, worker_id: str, run_ids: Sequence[str]) -> list[ClaimedRun]:
        return await self._read(lambda db: _claims.read_claimed(db, worker_id, run_ids, self._stamp))

    async def owned_runs(self, worker_id: str) -> dict[str, int]:
        return await self._read(partial(_claims.owned, worker_id=worker_id))

    async def reload_run(self, worker_id: str, run_id: str, epoch: int) -> ClaimedRun | None:
        claimed = await self._read_claimed(worker_id, (run_id,))
        return claimed[0] if claimed and claimed[0].run.epoch == epoch else None

    async def next_wake(self, task_queues: Sequence[str]) -> int | None:
        return await self._read(lambda db: _claims.next_wake(db, self._stamp(), task_queues))

    async def glance(self, task_queues: Sequence[str]) -> Glance:
        return await self._read(lambda db: _claims.glance(db, self._stamp(), task_queues))

    # ---------------------------------------------------------------- activities

    async def claim_activities(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        activity_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ActivityRecord]:
        return await self.writer.run(
            partial(
                _activities.claim,
                lives=self._lives,
                worker_id=worker_id,
                task_queues=task_queues,
                activity_types=activity_types,
                limit=limit,
                format=format,
                version=version,
            )
        )

    async def finish_attempts(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        return await self.writer.run(partial(_sole.finish, outcomes=outcomes))

    async def heartbeat(self, beats: Sequence[Heartbeat]) -> list[HeartbeatAnswer]:
        return await self.writer.run(partial(_activities.heartbeat, beats=beats))

    async def stray_outcomes(self, limit: int) -> list[tuple[ActivityRecord, Message]]:
        return await self._read(lambda db: _sole.stray(db, self._stamp(), limit))

    async def owned_activities(self, worker_id: str) -> list[ActivityRecord]:
        return await self._read(lambda db: _activities.owned(db, self._stamp(), worker_id))

    async def expired_activities(self, limit: int) -> list[ActivityRecord]:
        return await self._read(lambda db: _activities.expired(db, self._stamp(), limit))

    # ---------------------------------------------------------------- limits

    async def read_key(self, kind: int, key: str) -> KeyRecord:
        return await self._read(partial(_lanes.read_key, kind=kind, key=key))

    async def set_key(self, kind: int, key: str, most: int | None) -> None:
        await self.writer.run(partial(_lanes.set_key, kind=kind, key=key, most=most))

    async def sweep_keys(self, limit: int) -> int:
        return 0  # Nothing is kept but what clients have set.

    async def tell_breakers(self, news: Sequence[BreakerNews]) -> None:
        if news:
            await self.writer.run(partial(_lanes.tell_breakers, news=news))

    async def read_breaker(self, key: str) -> BreakerRecord:
        return await self._read(lambda db: _lanes.read_breaker(db, key, self._stamp()))

    async def force_breaker(self, key: str, forced: Forced | None) -> None:
        await self.writer.run(partial(_lanes.force_breaker, key=key, forced=forced))

    async def set_rate(self, task_queue: str, per_second: float | None) -> None:
        await self.writer.run(partial(_lanes.set_rate, task_queue=task_queue, per_second=per_second))

    async def read_rate(self, task_queue: str) -> float | None:
        return await self._read(partial(_lanes.read_rate, task_queue=task_queue))

    # ---------------------------------------------------------------- queries

    async def ask(self, question: Question) -> bool:
        return await self.writer.run(partial(_queries.ask, question=question))

    async def take_questions(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
    ) -> list[Question]:
        if not await self._read(lambda db: _queries.is_any_open(db, self._stamp())):
            return []
        return await self.writer.run(
            partial(
                _queries.take,
                worker_id=worker_id,
                task_queues=task_queues,
                workflow_types=workflow_types,
                limit=limit,
                format=format,
            )
        )

    async def answer_questions(self, answers: Sequence[QueryAnswer]) -> None:
        if answers:
            await self.writer.run(partial(_queries.answer, answers=answers))

    async def read_answers(self, query_ids: Sequence[str]) -> list[QueryAnswer]:
        return await self._read(partial(_queries.read_answers, query_ids=query_ids))

    async def sweep_questions(self, limit: int) -> int:
        if not await self._read(lambda db: _queries.is_any_expired(db, self._stamp())):
            return 0
        return await self.writer.run(partial(_queries.sweep, limit=limit))

    # ---------------------------------------------------------------- schedules

    async def write_schedule(self, write: ScheduleWrite) -> list[StartVerdict] | None:
        return await self.writer.run(partial(_schedules.write, lives=self._lives, write=write))

    async def find_schedule(self, schedule_id: str) -> ScheduleRow | None:
        return await self._read(lambda db: _schedules.find(db, self._stamp(), schedule_id))

    async def list_schedules(self, after: str, limit: int) -> list[ScheduleRow]:
        return await self._read(lambda db: _schedules.list_all(db, self._stamp(), after, limit))

    async def next_schedule(self) -> int | None:
        return await self._read(lambda db: _schedules.next_wake(db, self._stamp()))

    async def claim_schedules(self, limit: int) -> list[ScheduleRow]:
        if await self.next_schedule() != 0:
            return []
        return await self.writer.run(partial(_schedules.claim, limit=limit))

    async def ended_schedules(self, limit: int) -> Sequence[str]:
        return await self._read(partial(_schedules.ended, limit=limit))

    async def delete_schedule(self, schedule_id: str) -> bool:
        return await self.writer.run(partial(_schedules.delete, schedule_id=schedule_id))

    # ---------------------------------------------------------------- versions

    async def find_deployments(self, name: str | None = None) -> list[DeploymentRow]:
        return await self._read(partial(_versions.find_deployments, name=name))

    async def find_versions(self, deployment: str) -> list[VersionRow]:
        return await self._read(partial(_versions.find_versions, lives=self._lives, deployment=deployment))

    async def write_deployment(self, row: DeploymentRow) -> bool:
        return await self.writer.run(partial(_versions.write_deployment, row=row))

    async def forget_version(self, version: str, *, pinned: bool = False) -> bool:
        return await self.writer.run(
            partial(_versions.forget_version, lives=self._lives, version=version, pinned=pinned)
        )

    async def queue_routes(self, task_queues: Sequence[str]) -> dict[str, QueueRoute]:
        return await self._read(partial(_versions.routes, task_queues=task_queues))

    async def moved_runs(self, worker_id: str, task_queues: Sequence[str], version: str) -> list[str]:
        return await self._read(
            partial(_versions.moved, worker_id=worker_id, task_queues=task_queues, version=version)
        )

    async def stranded_versions(self) -> list[tuple[str, str]]:
        return await self._read(lambda db: _versions.stranded(db, self._lives, self._stamp()))

    # ---------------------------------------------------------------- workers

    async def register_worker(self, worker: WorkerRecord) -> Lease:
        if not self._lives.begin(worker.worker_id):
            raise ValueError(
                f"a worker {worker.worker_id!r} is registered and alive; every start takes a fresh id"
            )
        try:
            await self.writer.run(partial(_workers.register, worker=worker))
        except BaseException:
            # Perhaps it was written; then it is a worker that died at its birth, for others to bury.
            self._lives.abandon(worker.worker_id)
            raise
        if not self._has_worker:
            self._has_worker = True
            _switching.enter()
        return _workers.SQLiteLease(
            self._lives, worker.worker_id, None if self._path is None else self._connect_reader
        )

    async def unregister_worker(self, worker_id: str) -> None:
        await self.writer.run(partial(_workers.unregister, worker_id=worker_id))
        self._lives.forget(worker_id)

    async def list_workers(self) -> list[WorkerRecord]:
        return await self._read(partial(_workers.list_all, lives=self._lives))

    async def bury_worker(self, worker_id: str, renewals: int) -> bool:
        buried = await self.writer.run(
            partial(_workers.bury, lives=self._lives, worker_id=worker_id, renewals=renewals)
        )
        if buried:
            self._lives.forget(worker_id)
        return buried

    def abandon(self, worker_id: str) -> None:
        """Let a worker of this store be dead from now on, as if its process had been killed. For tests."""
        self._lives.abandon(worker_id)
        self._transactions.abandon()

    async def take_over(self, limit: int) -> int:
        return await self.writer.run(partial(_workers.take_over, limit=limit))

    async def timed_out_runs(self, limit: int) -> list[RunRecord]:
        if late := await self._read(lambda db: _runs.late(db, self._stamp(), limit)):
            await self.writer.run(partial(_runs.begin, run_ids=late))
        return await self._read(lambda db: _runs.timed_out(db, self._stamp(), limit))

    # ---------------------------------------------------------------- hints and life

    def transaction(
        self, run_id: str, id: int, attempt: int, source: TransactionSource | None = None
    ) -> AbstractAsyncContextManager[ActivityTransaction]:
        return self._transactions.lend(source)

    def hint(self, hints: Sequence[Hint]) -> None:
        """Tell the listeners of this process; those of others see that something was committed."""
        self._hub.tell(hints)

    def listen(self, callback: Callable[[Hint], None], *kinds: HintKind) -> Callable[[], None]:
        """Call `callback` for hints of every store of this process, and for commits of other processes."""
        listener = _hints.Listener(callback, kinds or tuple(HintKind))
        self._hub.add(listener)
        self._listeners.append(listener)
        self._count_listeners()

        def stop() -> None:
            self._hub.remove(listener)
            if listener in self._listeners:
                self._listeners.remove(listener)
            self._count_listeners()

        return stop

    def _count_listeners(self) -> None:
        self.writer.listening = 0 if self._path is None else len(self._listeners)
        self.writer.poke()

    def _on_foreign_commit(self) -> None:
        for listener in tuple(self._listeners):
            listener.tell(_hints.ANYTHING)

    async def now(self) -> int:
        return self._stamp()

    async def aclose(self) -> None:
        """Finish what waits, end the workers of this store that are still registered, as a kill would, and close."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = asyncio.get_running_loop().create_future()
        for listener in self._listeners:
            self._hub.remove(listener)
        self._listeners.clear()
        self._count_listeners()
        lanes = [lane for lane in (self.reader, self.writer) if lane is not None]
        self._transactions.close()
        for lane in lanes:
            lane.stop()
        try:
            for lane in lanes:  # the writer last: its connection tidies up behind all others
                await lane.join(self._limits.busy)
        finally:
            self._lives.close()
            _hints.leave(self._path, self._hub)
            if self._has_worker:
                _switching.leave()
            self._closing.set_result(None)


async def open_store(
    path: str, url: str, *, migrate: bool, clock: Callable[[], int], limits: Limits
) -> SQLiteStore:
    """Open the database at `path`, or in memory."""
    _schema.check_library()

    def work() -> SQLiteStore:
        if not migrate:
            _schema.check_there(path, url)
        file = None if path == ":memory:" else _schema.prepare(path)
        if file is not None:
            _schema.check_file_system(file)
        try:
            db = _schema.open_database(file, url, limits, migrate=migrate)
            return SQLiteStore(db, url=url, path=file, clock=clock, limits=limits)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                raise StoreConfigurationError(
                    f"{url} is not an SQLite database, or damaged: {error}"
                ) from error
            raise StoreUnavailableError(f"cannot open {url}: {error}") from error

    return await asyncio.to_thread(work)
