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
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec

from durable._engine.records import AttemptOutcome
from durable.exceptions import StoreError, TransactionError
from durable.store._transaction_protocol import ActivityTransaction
from durable.store.postgres._activities import sole_ends
from durable.store.postgres._errors import Meaning, meaning, sqlstate
from durable.store.postgres._part import Part
from durable.store.postgres._pool import Pool
from durable.store.postgres._session import Row, Session

_COMMITTED = "DU002"
_ANOTHER = "DU003"
_READ_ONLY = "25006"
_ABORTED = "25P02"

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


class Transactions(Part):
    """The port's part about transactions."""

    transaction_types = (asyncpg.Connection,)

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        limits = pool.settings.limits
        lent = msgspec.structs.replace(limits, pool_size=limits.transactions)
        self._lent = Pool(msgspec.structs.replace(pool.settings, limits=lent), lent=True)
        self._lending = asyncio.Semaphore(limits.transactions)

    @asynccontextmanager
    async def transaction(self, run_id: str, id: int, attempt: int) -> AsyncGenerator[ActivityTransaction]:
        """Lend a connection with an open transaction to the function of an attempt."""
        failed: Exception | None = None
        # Waited for as long as it takes: the attempt has its own deadlines, and the pool only the time of a call.
        async with self._lending, self._lent.session() as session:
            lent = _Lent(self._pool, self._sql, session)
            await lent.begin(run_id, id, attempt)
            try:
                yield lent
            except Exception as error:
                failed = lent.explained(error)
            await lent.give_back()
        if failed is not None:
            raise failed


class _Lent:
    """A transaction while a function has it."""

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
            code = sqlstate(error)
            if code == _ABORTED:
                raise TransactionError(WENT_ON) from error
            if code in (_ANOTHER, _READ_ONLY):
                raise TransactionError(ENDED_ITSELF) from error
            if meaning(error) in _UNDONE:
                self._session.kill()
                raise self._pool.translate(error) from None
            raise
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

    def explained(self, error: Exception) -> Exception:
        """Return what an error of the function means, where the database's own text does not tell."""
        if sqlstate(error) in (_COMMITTED, _READ_ONLY):
            explained = TransactionError(ENDED_ITSELF)
            explained.__cause__ = error
            return explained
        return error

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
