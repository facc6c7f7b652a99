"""Workers: rows that say who they are, and locks that say whether they live."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec

from durable._engine.records import WorkerRecord
from durable.exceptions import StoreUnavailableError
from durable.store._probation import PROBATION, QUARANTINED
from durable.store.sqlite import _rows, _versions
from durable.store.sqlite._connection import Transaction, unavailable
from durable.store.sqlite._locks import Lives

SQL = _rows.queries("workers")

_queues = msgspec.json.Decoder(tuple[str, ...]).decode


def is_live(transaction: Transaction, lives: Lives, worker_id: str) -> bool:
    """Whether this worker may own anything: registered, not marked dead, and alive."""
    found = transaction.db.execute(SQL["is_dead"], (worker_id,)).fetchone()
    return found is not None and not found[0] and lives.is_alive(worker_id)


def version_of(transaction: Transaction, worker_id: str) -> str:
    """The version of a worker, "" for one without."""
    found = transaction.db.execute(SQL["is_dead"], (worker_id,)).fetchone()
    return "" if found is None else found[1]


def register(transaction: Transaction, worker: WorkerRecord) -> None:
    """Write the row. The worker lives already: whoever finds the row finds the lock held."""
    queues = _rows.to_json(worker.task_queues).decode()
    if worker.version:
        _versions.serve(transaction, worker.version, worker.task_queues)
    try:
        transaction.db.execute(
            SQL["register"],
            (worker.worker_id, worker.identity, queues, worker.lease, transaction.now, worker.version),
        )
    except sqlite3.IntegrityError:
        raise ValueError(
            f"a worker {worker.worker_id!r} is or was registered; every start takes a fresh id"
        ) from None


def unregister(transaction: Transaction, worker_id: str) -> None:
    """See `Store.unregister_worker`. While something still names it, the row stays for `take_over` to find."""
    transaction.db.execute(SQL["mark_dead"], (worker_id,))
    transaction.db.execute(SQL["remove_unnamed"])


def bury(transaction: Transaction, lives: Lives, worker_id: str, renewals: int) -> bool:
    """See `Store.bury_worker`; no renewal is counted here, the lock is looked at again instead."""
    if renewals or lives.is_alive(worker_id):
        return False
    return transaction.db.execute(SQL["mark_dead"], (worker_id,)).rowcount == 1


def list_all(db: sqlite3.Connection, lives: Lives) -> list[WorkerRecord]:
    """See `Store.list_workers`. One whose lock is free is dead for sure: the operating system says so."""
    records: list[WorkerRecord] = []
    for worker_id, identity, queues, lease, dead, version in db.execute(SQL["list"]).fetchall():
        gone = bool(dead) or not lives.is_alive(worker_id)
        records.append(
            WorkerRecord(
                worker_id,
                identity,
                _queues(queues),
                lease,
                0,
                expired=gone,
                dead=bool(dead),
                dead_for_sure=gone,
                version=version,
            )
        )
    return records


def take_over(transaction: Transaction, limit: int) -> int:
    """See `Store.take_over`. A freed run changes its epoch, so that nothing its dead owner left behind is written."""
    db = transaction.db
    freed = 0
    for owner in _rows.strings(db.execute(SQL["lost_owners"]).fetchone()[0]):
        if freed < limit:
            values = {
                "owner": owner, "now": transaction.now, "limit": limit - freed, "probation": PROBATION,
                "reason": QUARANTINED,
            }  # fmt: skip
            freed += db.execute(SQL["free_runs"], values).rowcount
    for worker in _rows.strings(db.execute(SQL["lost_workers"]).fetchone()[0]):
        if freed < limit:
            freed += db.execute(SQL["free_activities"], {"worker": worker, "limit": limit - freed}).rowcount
    db.execute(SQL["remove_unnamed"])
    return freed


def is_marked_dead(db: sqlite3.Connection, worker_id: str) -> bool:
    """Whether it was buried, or removed."""
    found = db.execute(SQL["is_dead"], (worker_id,)).fetchone()
    return found is None or bool(found[0])


class SQLiteLease:
    """A worker's life on SQLite: the lock does the work, so that renewing is one look at the row.

    Args:
        lives: Where the lock is held.
        worker_id: Whose life it is.
        connect: Opens a connection for the thread that keeps the lease; None in memory, where the lock says it all.
    """

    def __init__(
        self, lives: Lives, worker_id: str, connect: Callable[[], sqlite3.Connection] | None
    ) -> None:
        self._lives = lives
        self._worker_id = worker_id
        self._connect = connect
        self._db: sqlite3.Connection | None = None

    async def renew(self) -> bool:
        """False when the worker was marked dead, or abandoned: it must stop at once, for good."""
        if not self._lives.is_held(self._worker_id):
            return False
        if self._connect is None:
            return True
        try:
            if self._db is None:
                self._db = self._connect()
            return not is_marked_dead(self._db, self._worker_id)
        except sqlite3.Error as error:
            raised = unavailable(error)
            raise (
                raised if isinstance(raised, StoreUnavailableError) else StoreUnavailableError(str(error))
            ) from error

    async def aclose(self) -> None:
        """Free the connection; the worker lives on."""
        if self._db is not None:
            self._db.close()
            self._db = None
