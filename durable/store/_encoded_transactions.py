"""Transactions of activities, through a codec; see `_encoded`, and `TransactionStore`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from durable._engine.records import AttemptOutcome
from durable.store._passing import Passing
from durable.store._transaction_protocol import ActivityTransaction, TransactionSource


class EncodedTransactions(Passing):
    """The method for transactions."""

    @asynccontextmanager
    async def transaction(
        self, run_id: str, id: int, attempt: int, source: TransactionSource | None = None
    ) -> AsyncGenerator[ActivityTransaction]:
        async with self.stored.transaction(run_id, id, attempt, source) as lent:
            yield _EncodedTransaction(self, lent)


class _EncodedTransaction:
    """A transaction whose outcome passes the codec."""

    def __init__(self, store: Passing, lent: ActivityTransaction) -> None:
        self.connection = lent.connection
        self.around = lent.around
        self._store = store
        self._lent = lent

    async def commit(self, outcome: AttemptOutcome) -> bool:
        return await self._lent.commit(await self._store.encode_outcome(outcome))
