"""Transactions for the functions of activities: what they write, and that the attempt has ended, are committed together.

SQLite has one writer. While a function has its transaction, nothing else is written to the file, by whatever process: the
transaction holds the lock that all writers queue for (see `_connection`). So it has a limit, after which it is undone, the
lock is given back and the connection takes no more writes, whatever the function is doing.

The transaction is on a connection of its own, which is made for it and closed behind it: nothing that a function does to
its connection outlives it. It must not end its transaction itself: SQLite asks an authorizer, which refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from durable._engine.records import AttemptOutcome
from durable.exceptions import StoreError, TransactionError
from durable.store._transaction_protocol import ActivityTransaction
from durable.store.sqlite import _schema, _sole
from durable.store.sqlite._connection import Transaction, inside, unavailable
from durable.store.sqlite._limits import Limits
from durable.store.sqlite._locks import FileLock

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
    async def lend(self) -> AsyncGenerator[ActivityTransaction]:
        """See `Store.transaction`."""
        assert self._path is not None, "see `Store.transaction_types`"
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "durable-sqlite-transaction")
        async with self._turn:
            self._lent = lent = _Lent(self._path, self._limits, self._stamp, self._thread)
            entered = inside.set(True)
            left_behind = True
            try:
                await lent.begin()
                yield lent
                left_behind = False
            except Exception as error:
                left_behind = False
                if isinstance(error, sqlite3.Error):
                    raise lent.explained(error) from error
                raise
            finally:
                inside.reset(entered)
                await asyncio.shield(lent.end(left_behind=left_behind))

    def abandon(self) -> None:
        """Undo what is lent, and return when that is done, as the end of the process would: its event loop is gone."""
        if self._lent is not None and self._thread is not None:
            self._thread.submit(self._lent._undo).result()

    def close(self) -> None:
        """End the thread behind what it has to do."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)


class _Connection(sqlite3.Connection):
    """Closes itself when a function that was left behind in its thread lets go of it."""

    def __del__(self) -> None:
        self.close()


class _Lent:
    """A transaction while a function has it. All is done in one thread, in the order in which it is asked for."""

    connection: sqlite3.Connection

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

    async def begin(self) -> None:
        """Wait for the lock of all writers, and begin."""
        await self._loop.run_in_executor(self._thread, self._begin)
        self._timer = self._loop.call_later(self._limits.transaction, self._expire)

    def _begin(self) -> None:
        self._gate = FileLock(f"{self._path}-lock")
        self._gate.acquire()
        try:
            self.connection = _schema.connect(self._path, self._limits, factory=_Connection)
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.set_authorizer(self._authorize)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    def _authorize(self, action: int, argument: str | None, *_: str | None) -> int:
        if action != sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        self._refused = argument or "end"
        return sqlite3.SQLITE_DENY

    async def commit(self, outcome: AttemptOutcome) -> bool:
        """See `ActivityTransaction`."""
        if self._timer is not None:
            self._timer.cancel()
        return await self._loop.run_in_executor(self._thread, partial(self._commit, outcome))

    def _commit(self, outcome: AttemptOutcome) -> bool:
        if self._expired or self._refused:
            raise self.explained(sqlite3.OperationalError("interrupted"))
        db = self.connection
        try:
            db.set_authorizer(None)
            db.row_factory, db.text_factory = None, str
            if not db.in_transaction:
                raise TransactionError(GONE)
            if not _sole.finish(Transaction(db, self._stamp()), [outcome])[0]:
                return False
            db.execute("COMMIT")
        except sqlite3.ProgrammingError as error:
            raise TransactionError(GONE) from error
        except sqlite3.Error as error:
            raise unavailable(error) from error
        return True

    def _expire(self) -> None:
        self._expired = True
        with contextlib.suppress(sqlite3.Error):
            self.connection.interrupt()
        self._undone = self._loop.run_in_executor(self._thread, self._undo)

    def _undo(self) -> None:
        """Let the others write. The function may still have the connection: it can write nothing any more."""
        with contextlib.suppress(sqlite3.Error, AttributeError):
            self.connection.set_authorizer(None)
            self.connection.execute("PRAGMA query_only = ON")
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        self._leave()

    def explained(self, error: sqlite3.Error) -> Exception:
        """Return what an error of the function means, where SQLite's own text does not tell."""
        if self._expired:
            return StoreError(TOO_LONG.format(self._limits.transaction))
        if self._refused:
            return TransactionError(ENDED_ITSELF.format(self._refused.lower()))
        return error

    async def end(self, *, left_behind: bool) -> None:
        """Undo what is not committed, behind whatever is under way, and close the connection.

        It is not closed while the function may be in the middle of a statement: it was `left_behind` in its thread.
        """
        if self._timer is not None:
            self._timer.cancel()
        await self._loop.run_in_executor(self._thread, self._undo if left_behind else self._close)

    def _close(self) -> None:
        with contextlib.suppress(sqlite3.Error, AttributeError):
            self.connection.close()  # which undoes what is open
        self._leave()

    def _leave(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.close()
