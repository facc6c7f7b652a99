"""Starts and messages in transactions of callers, on their connections.

A caller's connection is not ours: it stands under no lock of ours, keeps every other writer away for as long as its
transaction is open, and has settings of its own, which are put back. What is done in one call is done whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from msgspec import structs

from durable._engine.records import Message, NewRun, SendOutcome, StartVerdict
from durable.exceptions import UnfitConnectionError
from durable.store._inside import Delivery
from durable.store._seats import SQLiteSeat
from durable.store.sqlite import _messages, _rows, _runs, _search
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives

T = TypeVar("T")

SQL = _rows.queries("runs")


async def inside_of(seat: SQLiteSeat, namespace: str) -> SQLiteInside:
    """Return what a caller's transaction can be told to do, in whatever file it is; a file is a namespace."""
    return SQLiteInside(
        seat, path=None, url="", stamp=lambda: time.time_ns() // 1000, lives=Lives(None), anywhere=True
    )


class SQLiteInside:
    """See `durable.store.Inside`.

    Args:
        seat: The connection.
        path: The file that it must be to; None for one in memory, to which nobody else has a connection.
        url: How people know it.
        stamp: The instant of what is written.
        lives: Who lives.
        anywhere: Whether any file will do.
    """

    def __init__(
        self,
        seat: SQLiteSeat,
        *,
        path: str | None,
        url: str,
        stamp: Callable[[], int],
        lives: Lives,
        anywhere: bool = False,
    ) -> None:
        self._seat = seat
        self._path = path
        self._url = url
        self._stamp = stamp
        self._lives = lives
        self._anywhere = anywhere

    async def create_run(self, run: NewRun) -> StartVerdict | None:
        """Create a run."""

        def create(transaction: Transaction) -> StartVerdict | None:
            (verdict,) = _runs.create(transaction, self._lives, [run])
            if verdict is not None and verdict.run_id == run.run_id and run.activity is None:
                transaction.db.execute(SQL["begin_at_claim"], (run.run_id,))
            return verdict

        return await self._within(create)

    async def send(
        self, workflow_id: str, run_id: str | None, first_run_id: str | None, message: Message
    ) -> Delivery:
        """Put a message into an inbox."""

        def send(transaction: Transaction) -> Delivery:
            found = _runs.find(transaction.db, workflow_id=workflow_id, run_id=run_id, measured=False)
            if found is None:
                return Delivery(SendOutcome.NOT_FOUND)
            if first_run_id is not None and found.first_run_id != first_run_id:
                return Delivery(SendOutcome.NOT_FOUND, found.run_id)
            (outcome,) = _messages.send(transaction, [structs.replace(message, run_id=found.run_id)])
            return Delivery(outcome, found.run_id)

        return await self._within(send)

    async def attribute_types(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Give types to attributes, in the caller's transaction: nobody else can write meanwhile."""
        return await self._within(lambda transaction: _search.add_types(transaction.db, wanted))

    async def _within(self, call: Callable[[Transaction], T]) -> T:
        return await self._seat.work(lambda db: self._run(db, call))

    def _run(self, db: sqlite3.Connection, call: Callable[[Transaction], T]) -> T:
        check(db, self._path, self._url, anywhere=self._anywhere)
        began = _begin(db)
        try:
            with plain(db), _savepoint(db):
                db.execute(SQL["write_nothing"])  # whoever may not is told before anything is judged
                return call(Transaction(db, self._stamp()))
        except BaseException as error:
            if began and db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and "no such table: runs" in str(error):
                raise UnfitConnectionError("the database has no tables of durable") from error
            if getattr(error, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
                raise UnfitConnectionError(f"the connection is read-only: {error}") from error
            raise


def check(db: sqlite3.Connection, path: str | None, url: str, *, anywhere: bool = False) -> None:
    """Return only if something can be written on a connection, to the file that is meant.

    Raises:
        UnfitConnectionError: It cannot.
    """
    try:
        with plain(db):
            file = next((row[2] for row in db.execute("PRAGMA database_list") if row[1] == "main"), "")
            query_only = db.execute("PRAGMA query_only").fetchone()[0]
        meant = anywhere or (path is not None and file and os.path.samefile(file, path))
    except (sqlite3.Error, OSError) as error:
        raise UnfitConnectionError(f"the connection cannot be used: {error}") from error
    if not meant:
        raise UnfitConnectionError(
            f"the connection is to another database ({file or 'one in memory'}) than the client, whose is {url}"
        )
    if query_only:
        raise UnfitConnectionError("the connection is read-only (PRAGMA query_only)")


def _begin(db: sqlite3.Connection) -> bool:
    """See to it that a transaction is open, as the driver would before an INSERT; return whether none was."""
    if db.in_transaction:
        return False
    if db.isolation_level is None or getattr(db, "autocommit", False) is True:
        raise UnfitConnectionError(
            "no transaction is open on the connection (each of its statements commits by itself); begin one with "
            "BEGIN IMMEDIATE, or leave connection= away"
        )
    db.execute("BEGIN IMMEDIATE")
    return True


@contextlib.contextmanager
def _savepoint(db: sqlite3.Connection) -> Generator[None]:
    """All of what is done in the block, or nothing."""
    db.execute("SAVEPOINT durable_call")
    try:
        yield
    except BaseException:
        if db.in_transaction:  # a full disk and the like: SQLite has rolled back everything
            db.execute("ROLLBACK TO durable_call")
            db.execute("RELEASE durable_call")
        raise
    db.execute("RELEASE durable_call")


@contextlib.contextmanager
def plain(db: sqlite3.Connection) -> Generator[None]:
    """Rows and texts as the driver makes them by itself."""
    rows, texts = db.row_factory, db.text_factory
    db.row_factory, db.text_factory = None, str
    try:
        yield
    finally:
        db.row_factory, db.text_factory = rows, texts
