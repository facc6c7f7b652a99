"""Transactions for the functions of activities: what they write, and that the attempt has ended, are committed together.

The fence is the activity's row, and nothing that is done here beforehand locks it: a transaction may be open for long, and
the run's owner, timeouts and operators go on meanwhile. Only the last statement, right before the commit, takes the row;
if the attempt has been ended otherwise by then, it finds nothing, and everything is rolled back. In the same way an unknown
outcome of a commit is resolved: the worker ends the attempt once more, which waits for the row, and so for the old
transaction, and then finds it committed, or has fenced it off.

The function must not end its transaction itself. A commit is refused by the database (see `0002_9_transactions.sql`),
and behind a rollback its session is read-only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

import asyncpg
import msgspec

from durable._engine.records import AttemptOutcome
from durable._internal.at_once import at_once
from durable.exceptions import StoreError, StoreUnavailableError, TransactionError
from durable.store._seats import BLOCKS, seat_of
from durable.store._seats import sqlstate as sqlstate_of
from durable.store._transaction_protocol import ActivityTransaction, BegunTransaction, TransactionSource
from durable.store.postgres._activities import sole_ends
from durable.store.postgres._errors import Meaning, meaning, sqlstate
from durable.store.postgres._inside import Callers
from durable.store.postgres._pool import Pool
from durable.store.postgres._session import Row, Session

T = TypeVar("T")

_COMMITTED = "DU002"
_ANOTHER = "DU003"
_READ_ONLY = "25006"
_ABORTED = "25P02"

_GONE = ("08", "57P")
"""SQLSTATEs, or their classes, of a connection that has ended; a driver's own error has none."""

_LOOK_AGAIN = 0.02
"""Seconds between two looks for a transaction whose commit was not answered."""

_UNDONE = (Meaning.UNAVAILABLE, Meaning.REFUSED, Meaning.CONFLICT, Meaning.POOLER, Meaning.STALE)
"""What a commit can fail with by no fault of the function."""

ENDED_ITSELF = (
    "the function ended the transaction that it was given, or made it read-only; it is committed by the worker when the function returns, and "
    "undone when it raises. For a part that is to be undone alone use a savepoint: `async with tx.transaction():`"
)
WENT_ON = (
    "a statement failed inside the transaction, and the function went on and returned: PostgreSQL undoes all of it then. "
    "Let the error out, or put what may fail in a savepoint: `async with tx.transaction():`"
)
CLOSED = "the connection of the transaction is closed: it was lost, or the function closed it, and the worker needs it open"

_MEANINGS = {_COMMITTED: ENDED_ITSELF, _ANOTHER: ENDED_ITSELF, _READ_ONLY: ENDED_ITSELF, _ABORTED: WENT_ON}


class Transactions(Callers):
    """The port's part about transactions."""

    transaction_types = (asyncpg.Connection,)

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        limits = pool.settings.limits
        lent = msgspec.structs.replace(limits, pool_size=limits.transactions)
        self._lent = Pool(msgspec.structs.replace(pool.settings, limits=lent), lent=True)
        self._lending = asyncio.Semaphore(limits.transactions)

    def transaction(
        self, run_id: str, id: int, attempt: int, source: TransactionSource | None = None
    ) -> AbstractAsyncContextManager[ActivityTransaction]:
        """Lend a connection with an open transaction to the function of an attempt."""
        return (
            self._lend(run_id, id, attempt) if source is None else self._borrow(source, run_id, id, attempt)
        )

    @asynccontextmanager
    async def _borrow(
        self, source: TransactionSource, run_id: str, id: int, attempt: int
    ) -> AsyncGenerator[ActivityTransaction]:
        async with source.begin() as begun:
            borrowed = _Borrowed(self._pool, self._sql, begun, source.in_thread)
            _, look = await borrowed.there(self.look_through(begun.connection))
            await self.check_place(look)
            await borrowed.ask("begin_borrowed", {"run": run_id, "id": id, "attempt": attempt})
            try:
                yield borrowed
            except Exception as error:
                raise explained(error) from error.__cause__

    @asynccontextmanager
    async def _lend(self, run_id: str, id: int, attempt: int) -> AsyncGenerator[ActivityTransaction]:
        failed: Exception | None = None
        # Waited for as long as it takes: the attempt has its own deadlines, and the pool only the time of a call.
        async with self._lending, self._lent.session() as session:
            lent = _Lent(self._pool, self._sql, session)
            await lent.begin(run_id, id, attempt)
            try:
                yield lent
            except Exception as error:
                failed = explained(error)
            await lent.give_back()
        if failed is not None:
            raise failed


def explained(error: Exception) -> Exception:
    """Return what an error means that the transaction of a function ended with, where its own text does not tell."""
    told = _MEANINGS.get(sqlstate_of(error))
    if told is None:
        return error
    explained = TransactionError(told)
    explained.__cause__ = error
    return explained


class _Lent:
    """A transaction while a function has it."""

    around: Callable[[Callable[[], Any]], Any] | None = None

    def __init__(self, pool: Pool, sql: dict[str, str], session: Session) -> None:
        self.connection = session.connection
        self._pool = pool
        self._sql = sql
        self._session = session
        self._transaction = session.connection.transaction(isolation="read_committed")
        self._open = False

    async def begin(self, run_id: str, id: int, attempt: int) -> None:
        """Begin it.

        Raises:
            StoreUnavailableError: It cannot be begun now.
        """
        try:
            async with asyncio.timeout(self._pool.settings.limits.statement):
                await self._transaction.start()
                await self.connection.execute(self._sql["begin_within"].format(run_id, id, attempt))
        except Exception as error:
            raise self._pool.translate(error) from None
        self._open = True

    async def commit(self, outcome: AttemptOutcome) -> bool:
        """See `ActivityTransaction`."""
        if self.connection.is_closed():
            raise StoreError(CLOSED)
        try:
            async with asyncio.timeout(self._pool.settings.limits.statement):
                if not await self._finish(outcome):
                    return False
                await self._transaction.commit()
        except Exception as error:
            if meaning(error) in _UNDONE and sqlstate(error) != _READ_ONLY:
                self._session.kill()
                backend = self._session.backend
                if not self._pool.settings.pooler:
                    await _settle(
                        self._pool, self._sql["end_session"], backend.pid, backend.started, backend.name
                    )
                raise self._pool.translate(error) from None
            raise explained(error) from error.__cause__
        self._open = False
        return True

    async def _finish(self, outcome: AttemptOutcome) -> bool:
        key = outcome.run_id, outcome.id, outcome.attempt
        if outcome.sole is not None:
            await self.connection.fetch(self._sql["leave_transaction"], *key)
            return bool((await self._rows("finish_sole", *sole_ends([outcome])))[0]["ended"])
        message = outcome.message
        assert message is not None, "only a completion is committed with what a function has written"
        rows = await self._rows(
            "finish_within", *key, outcome.worker, message.message_id, message.type, message.data
        )
        return bool(rows[0]["ended"])

    async def _rows(self, name: str, *args: Any) -> list[Row]:
        return await self.connection.fetch(self._sql[name], *args)

    async def give_back(self) -> None:
        """Undo what is not committed, and leave nothing of the function in the session."""
        try:
            async with asyncio.timeout(self._pool.settings.limits.statement):
                if self._open:
                    await self._transaction.rollback()
                if not self._pool.settings.pooler:
                    await self.connection.reset()
        except Exception:
            self._session.kill()


class _Borrowed:
    """A transaction of another library while a function has it."""

    def __init__(self, pool: Pool, sql: dict[str, str], begun: BegunTransaction, in_thread: bool) -> None:
        self.connection = begun.connection
        self.around = begun.around
        self._pool = pool
        self._sql = sql
        self._begun = begun
        self._in_thread = in_thread

    async def there(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what a call on the connection returns; where that blocks, in a thread."""
        return await (asyncio.to_thread(at_once, call, BLOCKS) if self._in_thread else call)

    async def ask(self, name: str, argument: dict[str, Any]) -> str:
        """Ask in the transaction that is open now."""
        return await self.there(self._ask(self._sql[name], msgspec.json.encode(argument).decode()))

    async def _ask(self, sql: str, argument: str) -> str:
        seat: Any = await seat_of(self.connection)
        answer: str = await seat.ask(sql, argument)
        return answer

    async def commit(self, outcome: AttemptOutcome) -> bool:
        """See `ActivityTransaction`."""
        try:
            if await self.ask("finish_borrowed", _end(outcome)) != "true":
                return False
        except Exception as error:
            raise explained(error) from error.__cause__
        try:
            await self._begun.commit()
        except Exception as error:
            if not _is_gone(error):
                raise
            # Whose session it is, and what else is done on it, is not known: it is not ended, but waited for.
            await _settle(self._pool, self._sql["attempt_is_held"], outcome.run_id, outcome.id)
            raise StoreUnavailableError(
                f"{self._pool.settings.shown}: the commit of a transaction was not answered ({error})"
            ) from error
        return True


async def _settle(pool: Pool, sql: str, *args: Any) -> None:
    """Return once a query finds nothing of a transaction whose commit was not answered, or after some time.

    The server may know nothing of a connection that was lost, and keep the activity's row locked. Whoever ends the attempt
    once more waits for that, and all that the worker tells together with it would.
    """
    with suppress(StoreUnavailableError, TimeoutError):
        async with asyncio.timeout(pool.settings.limits.settle):
            while await pool.fetch(sql, *args, read=True):  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(_LOOK_AGAIN)


def _end(outcome: AttemptOutcome) -> dict[str, Any]:
    """The end of an attempt, as `finish_borrowed_2` takes it."""
    end: dict[str, Any] = {
        "run": outcome.run_id,
        "id": outcome.id,
        "attempt": outcome.attempt,
        "worker": outcome.worker,
    }
    if (sole := outcome.sole) is not None:
        return end | {
            "state": outcome.state,
            "status": sole.status,
            "type": sole.outcome.type,
            "data": sole.outcome.data,
            "end_type": sole.closing.type,
            "end_data": sole.closing.data,
        }
    message = outcome.message
    assert message is not None, "only a completion is committed with what a function has written"
    return end | {"message_id": message.message_id, "type": message.type, "data": message.data}


def _is_gone(error: Exception) -> bool:
    """Whether a driver says that a connection has ended: by an SQLSTATE, or without one by the names of all drivers."""
    if code := sqlstate_of(error):
        return code.startswith(_GONE)
    return any(
        kind.__name__ in ("OperationalError", "InterfaceError", "OSError") for kind in type(error).__mro__
    )
