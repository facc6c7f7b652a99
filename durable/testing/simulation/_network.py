"""The database of a simulation, and the way to it.

It is the shipped adapter for SQLite, on one connection to a database in memory that all processes share: a call is a step
on the only thread, so nobody sees half of a transaction. Between a process and it stands a network that can be cut, and
that can lose a request or an answer.

Leases. On SQLite a worker lives as long as it holds a lock of the operating system. Here it may live by a lease instead,
as on PostgreSQL: renewed by the worker's own thread, over the network, judged by the database's clock. So a process that
stands still is taken for dead, and comes back: only then do epochs have something to fence off.
"""

from __future__ import annotations

import random
from functools import cache, partial
from typing import Any

from durable._engine.records import Hold, Transition, Verdict, WorkerRecord
from durable._internal.instants import SECOND
from durable.exceptions import StoreUnavailableError
from durable.history import EventType
from durable.store._protocol import Lease
from durable.store.sqlite import _claims, _commit, _connection, _schema, _workers
from durable.store.sqlite._connection import Job
from durable.store.sqlite._limits import Limits
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._store import SQLiteStore
from durable.testing.invariants import Write
from durable.testing.simulation._plan import Fault
from durable.testing.simulation._world import Host, World

LIMITS = Limits()

SCHEDULED = int(EventType.ACTIVITY_TASK_SCHEDULED)

LATEST = 12.0
"""Seconds after which a stalled request arrives although nobody has taken over."""


@cache
def _template() -> bytes:
    db = _schema.open_database(None, "simulation", LIMITS, migrate=True)
    try:
        return db.serialize()
    finally:
        db.close()


class Database:
    """One database for all processes of a world.

    Attributes:
        writes: Who wrote what, in order.
        stale: What was written by whom it did not belong to any more.
        leases: Whether workers live by leases instead of by locks.
    """

    def __init__(self, world: World, *, leases: bool) -> None:
        self.world = world
        self.leases = leases
        self.db = _schema.connect(":memory:", LIMITS)
        self.db.deserialize(_template())
        self.db.execute("PRAGMA foreign_keys = ON")
        self.writes: list[Write] = []
        self.stale: list[str] = []
        self.stores: list[SimulatedStore] = []
        self.latest = 0
        self.expires: dict[str, int] = {}
        self.renewals: dict[str, int] = {}
        self.processes: dict[str, Host] = {}
        self.holders: dict[str, Host] = {}
        self.hints = random.Random(f"{world.seed} hints")
        self.lost_hints = 0.0

    def now(self) -> int:
        """The database's clock; no two transactions have the same time, nor does it ever go back."""
        self.latest = max(self.latest + 1, self.world.now + self.world.db_ahead)
        return self.latest

    def is_alive(self, worker_id: str) -> bool:
        """Whether a worker lives, as the database knows."""
        if self.leases:
            return self.expires.get(worker_id, 0) > self.world.now + self.world.db_ahead
        holder = self.holders.get(worker_id)
        return holder is not None and holder.alive

    def is_taken_over(self, host: Host) -> bool:
        """Whether a worker of this process was marked dead."""
        return any(
            one is host and _workers.is_marked_dead(self.db, worker_id)
            for worker_id, one in self.processes.items()
        )

    def quarantined(self) -> list[tuple[str, str]]:
        """Workflow id and run id of runs that are held for whoever looks into it."""
        asked = "SELECT workflow_id, run_id FROM runs WHERE status = 1 AND hold = ? ORDER BY run_id"
        return self.db.execute(asked, (int(Hold.QUARANTINED),)).fetchall()

    def has_others(self, host: Host) -> bool:
        """Whether another worker's process is at work."""
        return any(
            holder is not host and holder.alive and not holder.frozen and not holder.hangs
            for holder in self.holders.values()
        )

    def committed(self, by: SimulatedStore) -> None:
        """Let the other processes notice, late, twice or never."""
        for store in self.stores:
            if store is by or store.deaf or not store.host.alive:
                continue
            draw = self.hints.random()
            if draw < self.lost_hints:
                continue
            for _ in range(2 if draw > 0.95 else 1):
                self.world.after(self.hints.uniform(0.0005, 0.03), partial(self._notice, store))

    def _notice(self, store: SimulatedStore) -> None:
        if store.host.alive:
            store._on_foreign_commit()


class SimulatedLives(Lives):
    """Who lives, by the lock of a process or by a lease."""

    def __init__(self, database: Database, host: Host) -> None:
        super().__init__(None)
        self._all = database
        self._host = host

    def begin(self, worker_id: str) -> bool:
        self._all.processes[worker_id] = self._all.holders[worker_id] = self._host
        return super().begin(worker_id)

    def abandon(self, worker_id: str) -> None:
        super().abandon(worker_id)
        self._all.holders.pop(worker_id, None)

    def is_alive(self, worker_id: str) -> bool:
        return self._all.is_alive(worker_id)


class SimulatedLease:
    """A lease in the database, beyond the network."""

    def __init__(self, store: SimulatedStore, worker_id: str) -> None:
        self._store = store
        self._worker_id = worker_id

    async def renew(self) -> bool:
        database = self._store.database
        if self._store.cut:
            raise StoreUnavailableError("the network is cut")
        if _workers.is_marked_dead(database.db, self._worker_id):
            return False
        database.renewals[self._worker_id] = database.renewals.get(self._worker_id, 0) + 1
        database.expires[self._worker_id] = max(
            database.expires.get(self._worker_id, 0), database.now() + self._store.lease
        )
        if self._store.mute:
            raise StoreUnavailableError("the network brings no answers")
        return True

    async def aclose(self) -> None:
        """There is nothing to close."""


class SimulatedStore(SQLiteStore):
    """The shipped store, in a process, with leases on top if there are to be some.

    Attributes:
        cut: Whether the network is.
        mute: Whether it brings no answers.
        deaf: Whether it brings no hints.
        slow: Whether it takes very long.
        fates: What becomes of requests to come.
    """

    def __init__(self, database: Database, host: Host) -> None:
        self.database = database
        self.host = host
        self.cut = self.mute = self.deaf = self.slow = False
        self.lease = 0
        self.fates: list[Fault] = []
        super().__init__(
            database.db,
            url="simulation",
            path=None,
            clock=database.now,
            limits=LIMITS,
            lives=SimulatedLives(database, host),
        )
        self._way = random.Random(f"{database.world.seed} way {host.name}")
        self._transact = self.writer._transact
        self.writer._transact = self._send  # type: ignore[method-assign]
        database.stores.append(self)

    def heal(self) -> None:
        """Let nothing be wrong with its network any more."""
        self.cut = self.mute = self.deaf = self.slow = False
        self.fates.clear()

    # ------------------------------------------------------------ the network

    def _later(self) -> float:
        return self._way.uniform(0.05, 1.0) if self.slow else self._way.uniform(0.0001, 0.004)

    def _send(self, jobs: list[Job]) -> None:
        """Requests leave the process; they arrive a little later, together."""
        self.database.world.after(self._later(), partial(self._arrive, jobs))

    def _arrive(self, jobs: list[Job]) -> None:
        world, host = self.database.world, self.host
        if self.cut:
            world.after(0.5, partial(self._fail, jobs, "the network is cut"))
            return
        if not host.alive:
            # With a server it stands in the socket, and is done although nobody waits for it any more.
            if self.database.leases and self._way.random() < 0.5:
                world.tell(host, "dead, and its request arrives")
                self._do(jobs)
            return
        match self._fate(jobs):
            case "lost":
                world.tell(host, "request lost")
                world.after(0.02, partial(self._fail, jobs, "the connection broke"))
            case "killed before":
                world.tell(host, "killed before its request")
                host.kill()
            case "stalled":
                host.freeze()
                self._stall(jobs, world.now + round(LATEST * SECOND))
            case "killed behind":
                self._do(jobs)
                world.tell(host, "committed, and killed")
                host.kill()
            case "answer lost":
                self._do(jobs)
                world.tell(host, "committed, and not told")
                world.after(0.02, partial(self._fail, jobs, "the connection broke"))
            case _:
                self._do(jobs)
                world.after(self._later(), partial(self._answer, jobs))

    def _fate(self, jobs: list[Job]) -> str:
        """What becomes of a request: the first fate that is meant for one like it."""
        for fate in self.fates:
            if fate.kind == "stalled" and not self.database.has_others(self.host):
                continue  # nobody would take over
            if any(_is_meant(job, fate.on) for job in jobs):
                self.fates.remove(fate)
                return fate.kind
        return ""

    def _stall(self, jobs: list[Job], latest: int) -> None:
        """Let a request of a process that stands still arrive when others have just taken over, and let it go on then."""
        world = self.database.world
        if not self.host.alive:
            return
        if world.now < latest and not self._is_too_late(jobs):
            world.after(0.003, partial(self._stall, jobs, latest))
            return
        wait = self._way.choice((0.0, 0.0, 0.01, 0.03, 0.1, 1.0))
        world.after(wait, partial(self._arrive, jobs))
        world.after(wait + self._way.uniform(0.0, 0.5), self.host.thaw)

    def _is_too_late(self, jobs: list[Job]) -> bool:
        """Whether what is to be written belongs to somebody else by now."""
        found, written = self._found(jobs), [one for job in jobs for one in _transitions(job)]
        if not written:
            return self.database.is_taken_over(self.host)
        return any(found[one.run_id][0] != one.epoch for one in written)

    def _do(self, jobs: list[Job]) -> None:
        """Let the database do what it was asked for; the answers are kept in the jobs."""
        before = self.db_changes
        found = self._found(jobs)
        answer, _connection.deliver = _connection.deliver, _keep
        try:
            self._transact(jobs)
        finally:
            _connection.deliver = answer
        for job in jobs:
            self._observe(job, found)
        self.database.world.tell(self.host, " ".join(map(_told, jobs)))
        if self.db_changes != before:
            self.database.committed(self)

    @property
    def db_changes(self) -> int:
        """How many rows were ever changed."""
        return self.database.db.total_changes

    def _answer(self, jobs: list[Job]) -> None:
        if not self.host.alive:
            return
        if self.cut or self.mute:
            self.database.world.after(0.5, partial(self._fail, jobs, "the network is cut"))
            return
        _connection.deliver(jobs)

    def _fail(self, jobs: list[Job], why: str) -> None:
        if self.host.alive:
            for job in jobs:
                job.error = StoreUnavailableError(why)
            _connection.deliver(jobs)

    def _found(self, jobs: list[Job]) -> dict[str, tuple[int, int]]:
        """Epoch and length of runs that are about to be written to, as they are."""
        runs = {transition.run_id for job in jobs for transition in _transitions(job)}
        return {run_id: self._state(run_id) for run_id in runs}

    def _state(self, run_id: str) -> tuple[int, int]:
        asked = "SELECT epoch, (SELECT max(seq) FROM events WHERE run_id = runs.run_id) FROM runs WHERE run_id = ?"
        epoch, length = self.database.db.execute(asked, (run_id,)).fetchone() or (0, 0)
        return epoch, length or 0

    def _observe(self, job: Job, found: dict[str, tuple[int, int]]) -> None:
        """Note who wrote what, under which epoch."""
        if job.error is not None:
            return
        writes, host, call = self.database.writes, self.host, job.call
        for transition, verdict in zip(_transitions(job), getattr(job.result, "verdicts", ()), strict=False):
            run_id, events = transition.run_id, transition.events
            epoch, length = found.get(run_id, (0, 0))
            if verdict is Verdict.WRITTEN and events and events[0].seq > length:
                writes.append(Write(run_id, transition.epoch, host.name, events[0].seq, len(events)))
                if transition.epoch != epoch:
                    self.database.stale.append(
                        f"I10: {run_id}: {host.name} wrote under epoch {transition.epoch}, and it was {epoch}"
                    )
        if isinstance(call, partial) and call.func is _claims.claim:
            for run_id in job.result:
                writes.append(Write(run_id, self._state(run_id)[0], host.name, claim=True))

    # ------------------------------------------------------------ leases

    async def register_worker(self, worker: WorkerRecord) -> Lease:
        self.lease = worker.lease
        self.database.expires[worker.worker_id] = self.database.now() + worker.lease
        found = await super().register_worker(worker)
        return SimulatedLease(self, worker.worker_id) if self.database.leases else found

    async def list_workers(self) -> list[WorkerRecord]:
        found = await super().list_workers()
        if not self.database.leases:
            return found
        return [
            _replace(one, renewals=self.database.renewals.get(one.worker_id, 0), dead_for_sure=False)
            for one in found
        ]

    async def bury_worker(self, worker_id: str, renewals: int) -> bool:
        if self.database.leases and self.database.renewals.get(worker_id, 0) != renewals:
            return False
        return await super().bury_worker(worker_id, 0)


def _replace(record: Any, **changes: Any) -> Any:
    return type(record)(**{**{name: getattr(record, name) for name in record.__struct_fields__}, **changes})


def _keep(jobs: list[Job]) -> None:
    """Answers wait until the network brings them."""


def _name(job: Job) -> str:
    call: Any = job.call
    function = getattr(call, "func", call)
    return getattr(function, "__qualname__", "?").replace(".<locals>.<lambda>", "")


def _told(job: Job) -> str:
    return _name(job) if job.error is None else f"{_name(job)}!{type(job.error).__name__}"


def _writes(job: Job) -> bool:
    return isinstance(job.call, partial)


def _is_meant(job: Job, on: str) -> bool:
    """Whether a request is one of those that a fate is for."""
    if on == "rows":
        return any(event.type == SCHEDULED for one in _transitions(job) for event in one.events)
    if on == "close":
        return any(one.close is not None for one in _transitions(job))
    return _writes(job) and (not on or _name(job) == on)


def _transitions(job: Job) -> list[Transition]:
    call: Any = job.call
    return call.keywords["transitions"] if _writes(job) and call.func is _commit.commit else []
