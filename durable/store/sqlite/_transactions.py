"""Transactions for the functions of activities: what they write, and that the attempt has ended, are committed together.

SQLite has one writer. While a function has its transaction, nothing else is written to the file, by whatever process: the
transaction holds the lock that all writers queue for (see `_connection`). So it has a limit, after which it is undone, the
lock is given back and the connection takes no more writes, whatever the function is doing.

The transaction is on a connection of its own, which is made for it and closed behind it: nothing that a function does to
its connection outlives it. Or it is on one of the application's own library, which begins and commits; below it there is
always a connection of the standard library, and what is said here is done to that. A function must not end its transaction
itself: SQLite asks an authorizer, which refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from durable._engine.records import AttemptOutcome
from durable._internal.at_once import at_once
from durable.exceptions import StoreError, TransactionError, UnfitConnectionError
from durable.store._seats import BLOCKS, SQLiteSeat, seat_of
from durable.store._transaction_protocol import ActivityTransaction, BegunTransaction, TransactionSource
from durable.store.sqlite import _schema, _sole
from durable.store.sqlite._connection import Transaction, inside, unavailable
from durable.store.sqlite._inside import SQL, check, plain
from durable.store.sqlite._limits import Limits
from durable.store.sqlite._locks import FileLock

T = TypeVar("T")

ENDED_ITSELF = (
    "the function tried to {} the transaction that it was given; it is committed by the worker when the function returns, "
    "and undone when it raises (`with tx:` and `tx.executescript()` commit, too). For a part that is to be undone alone "
    "use SAVEPOINT"
)
GONE = (
    "the transaction is over before the function has returned: SQLite undid it (ON CONFLICT ROLLBACK, a full disk), or "
    "the function closed its connection"
)
TOO_LONG = (
    "the transaction was undone after {:g} s, since on SQLite nothing else can be written meanwhile. Do what takes long in "
    "an activity before it"
)
ENDED_IN_LIBRARY = (
    "the function ended the transaction that it was given, and went on in another one; it is committed by the worker when "
    "the function returns, and undone when it raises"
)

_UNDONE = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_LOCKED", "SQLITE_NOMEM")
"""What a commit can fail with by no fault of the function."""


class Transactions:
    """Lends transactions, one at a time.

    Args:
        path: The database file, None for one in memory.
        limits: See there.
        stamp: The time.
    """

    def __init__(self, path: str | None, limits: Limits, stamp: Callable[[], int]) -> None:
        self._path = path
        self._limits = limits
        self._stamp = stamp
        # Of this process one waits for the lock of all processes, so that the writer's turn comes in between.
        self._turn = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._lent: _Lent | None = None

    @asynccontextmanager
    async def lend(self, source: TransactionSource | None) -> AsyncGenerator[ActivityTransaction]:
        """See `Store.transaction`."""
        assert self._path is not None, "see `Store.transaction_types`"
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "durable-sqlite-transaction")
        async with self._turn:
            given = (self._path, self._limits, self._stamp, self._thread)
            if source is None:
                self._lent = _Lent(*given)
                async with _opened(self._lent) as lent:
                    yield lent
                return
            borrowed = _Borrowed(*given)
            try:
                await borrowed.work(borrowed.enter)
                async with source.begin() as begun:
                    borrowed.take(begun, in_thread=source.in_thread)
                    async with _opened(borrowed):
                        yield borrowed
            finally:
                await asyncio.shield(borrowed.work(borrowed.leave))

    def abandon(self) -> None:
        """Undo what is lent, and return when that is done, as the end of the process would: its event loop is gone."""
        if self._lent is not None and self._thread is not None:
            for step in (self._lent._undo, self._lent.leave):
                self._thread.submit(step).result()

    def close(self) -> None:
        """End the thread behind what it has to do."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)


@asynccontextmanager
async def _opened(lent: _Lent | _Borrowed) -> AsyncGenerator[ActivityTransaction]:
    """Begin a transaction; undo what is not committed of it."""
    entered = inside.set(True)
    left_behind = True
    try:
        await lent.begin()
        yield lent
        left_behind = False
    except Exception as error:
        left_behind = False
        told = lent.explained(error)
        if told is error:
            raise
        raise told from error
    finally:
        inside.reset(entered)
        await asyncio.shield(lent.end(left_behind=left_behind))


class _Connection(sqlite3.Connection):
    """Closes itself when a function that was left behind in its thread lets go of it."""

    def __del__(self) -> None:
        self.close()


class _Held:
    """A transaction while a function has it, and with it the lock of all writers.

    Attributes:
        connection: What the function is given.
        around: See `ActivityTransaction`.
        db: The connection below it, while it is ours.
    """

    connection: Any
    around: Callable[[Callable[[], Any]], Any] | None = None
    db: sqlite3.Connection | None = None

    def __init__(
        self, path: str, limits: Limits, stamp: Callable[[], int], thread: ThreadPoolExecutor
    ) -> None:
        self._path = path
        self._limits = limits
        self._stamp = stamp
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._gate: FileLock | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refused = ""
        self._expired = False
        self._giving_up: asyncio.Task[None] | None = None

    async def work(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, in a thread, in which all is done in the order in which it is asked for."""
        return await self._loop.run_in_executor(self._thread, call)

    async def on_connection(self, call: Callable[[], T]) -> T:
        """The same for what uses `db`, in the thread that it belongs to."""
        return await self.work(call)

    def enter(self) -> None:
        """Wait for the lock of all writers."""
        self._gate = FileLock(f"{self._path}-lock")
        self._gate.acquire()

    def leave(self) -> None:
        """Let the others write."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()

    def _authorize(self, action: int, argument: str | None, *_: str | None) -> int:
        if action != sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        self._refused = argument or "end"
        return sqlite3.SQLITE_DENY

    def _limit(self) -> None:
        """Begin to count the time of the function."""
        self._timer = self._loop.call_later(self._limits.transaction, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        if self.db is not None:
            with contextlib.suppress(sqlite3.Error):
                self.db.interrupt()
        self._giving_up = self._loop.create_task(self.give_up())

    async def give_up(self) -> None:
        """Let the others write. The function may still have the connection: it can write nothing any more."""
        await self.on_connection(self._undo)
        await self.work(self.leave)

    def _undo(self) -> None:
        db = self.db
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.set_authorizer(None)
                db.execute("PRAGMA query_only = ON")
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def _finish(self, outcome: AttemptOutcome) -> bool:
        """End the attempt; all but the commit."""
        db = self.db
        if self._expired or self._refused or db is None:
            raise self.explained(sqlite3.OperationalError("interrupted"))
        try:
            db.set_authorizer(None)
            if not db.in_transaction:
                raise TransactionError(GONE)
            with plain(db):
                return _sole.finish(Transaction(db, self._stamp()), [outcome])[0]
        except sqlite3.ProgrammingError as error:
            raise TransactionError(GONE) from error
        except sqlite3.Error as error:
            raise unavailable(error) from error

    def explained(self, error: Exception) -> Exception:
        """Return what an error of the function means, where SQLite's own text does not tell."""
        if self._expired and _of_sqlite(error) is not None:
            return StoreError(TOO_LONG.format(self._limits.transaction))
        if self._refused:  # whatever a library makes of that
            return TransactionError(ENDED_ITSELF.format(self._refused.lower()))
        return error


class _Lent(_Held):
    """On a connection of its own."""

    async def begin(self) -> None:
        """Wait for the lock of all writers, and begin."""
        await self.work(self._begin)
        self._limit()

    def _begin(self) -> None:
        self.enter()
        try:
            self.connection = self.db = _schema.connect(self._path, self._limits, factory=_Connection)
            self.db.execute("BEGIN IMMEDIATE")
            self.db.set_authorizer(self._authorize)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    async def commit(self, outcome: AttemptOutcome) -> bool:
        """See `ActivityTransaction`."""
        self._stop_timer()
        return await self.work(partial(self._commit, outcome))

    def _commit(self, outcome: AttemptOutcome) -> bool:
        if not self._finish(outcome):
            return False
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise unavailable(error) from error
        return True

    async def end(self, *, left_behind: bool) -> None:
        """Undo what is not committed, behind whatever is under way, and close the connection.

        It is not closed while the function may be in the middle of a statement: it was `left_behind` in its thread.
        """
        self._stop_timer()
        if left_behind:
            await self.give_up()
        else:
            await self.work(self._close)

    def _close(self) -> None:
        if self.db is not None:
            with contextlib.suppress(sqlite3.Error):
                self.db.close()  # which undoes what is open
        self.leave()


class _Borrowed(_Held):
    """On a connection of a library of the application's, which goes back to it."""

    _begun: BegunTransaction
    _in_thread: bool
    _seat: SQLiteSeat

    def take(self, begun: BegunTransaction, *, in_thread: bool) -> None:
        """Take what the library has begun."""
        self._begun = begun
        self._in_thread = in_thread
        self.connection, self.around = begun.connection, begun.around

    async def begin(self) -> None:
        """See to it that a transaction is open that may write, and that nobody but the worker can end.

        Raises:
            UnfitConnectionError: It leads elsewhere, or nothing can be written there.
        """
        self._seat = await self._sit()
        await self._at(self._begin)
        self._limit()

    async def _sit(self) -> SQLiteSeat:
        found = seat_of(self.connection)
        seat = await (self.work(partial(at_once, found, BLOCKS)) if self._in_thread else found)
        if not isinstance(seat, SQLiteSeat):
            raise UnfitConnectionError(f"the connection is to PostgreSQL, and the database is {self._path}")
        return seat

    async def _at(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `call` returns, given the connection that the library's leads to now."""
        called: Any = self._seat.work(call)
        found: T = await (self.work(partial(at_once, called, BLOCKS)) if self._in_thread else called)
        return found

    async def on_connection(self, call: Callable[[], T]) -> T:
        """See `_Held`."""
        return await self._at(lambda _: call())

    def _begin(self, db: sqlite3.Connection) -> None:
        check(db, self._path, self._path)
        self.db = db
        try:
            db.execute(SQL["write_nothing"] if db.in_transaction else "BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise unavailable(error) from error
        db.set_authorizer(self._authorize)

    async def commit(self, outcome: AttemptOutcome) -> bool:
        """See `ActivityTransaction`."""
        self._stop_timer()
        if not self._refused and not self._expired:
            self._seat = await self._sit()
            if await self._at(lambda db: db) is not self.db:
                raise TransactionError(ENDED_IN_LIBRARY)
        if not await self.on_connection(partial(self._finish, outcome)):
            return False
        self.db = None  # behind the commit the library may give it to somebody else
        try:
            await self._begun.commit()
        except Exception as error:
            cause = _of_sqlite(error)
            if cause is None or not getattr(cause, "sqlite_errorname", "").startswith(_UNDONE):
                raise
            raise unavailable(cause) from error
        return True

    async def end(self, *, left_behind: bool) -> None:
        """Undo what is not committed, and leave nothing of it on the connection."""
        self._stop_timer()
        if self._giving_up is not None:
            await self._giving_up
        if self.db is not None:
            with contextlib.suppress(Exception):  # a connection that its library has given up meanwhile
                await self.on_connection(self._restore)

    def _restore(self) -> None:
        self._undo()
        assert self.db is not None
        with contextlib.suppress(sqlite3.Error):
            self.db.execute("PRAGMA query_only = OFF")


def _of_sqlite(error: BaseException | None) -> sqlite3.Error | None:
    """The error of the standard library, whatever another one has put around it."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = getattr(error, "orig", None) or error.__cause__
    return error
