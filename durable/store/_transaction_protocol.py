"""The part of the port that lends transactions to the functions of activities; see `_protocol`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from durable._engine.records import AttemptOutcome


class ActivityTransaction(Protocol):
    """An open transaction that the function of an attempt writes in, and that the end of the attempt commits."""

    connection: Any
    """What the function is given: a connection of the driver's, in the transaction."""

    around: Callable[[Callable[[], Any]], Any] | None
    """What a plain function is called through, in its thread; None for nothing special."""

    async def commit(self, outcome: AttemptOutcome) -> bool:
        """End the attempt in this transaction, and commit it.

        Returns:
            False when the attempt had been ended otherwise: then the transaction is undone at the end of its block.

        Raises:
            StoreUnavailableError: It is undone, or it is not known. Ending the attempt once more, by `finish_attempts`,
                tells: it is refused behind a commit, and from then on the old transaction cannot be committed.
            TransactionError: The function has made it unfit; nothing is committed.
            Exception: The driver's: the database refuses what the function has written (a deferred constraint).
        """
        ...


class BegunTransaction(Protocol):
    """A transaction of an application's own library, as a `TransactionSource` begins it."""

    connection: Any
    """What the function is given, in an open transaction."""

    around: Callable[[Callable[[], Any]], Any] | None
    """See `ActivityTransaction`."""

    async def commit(self) -> None:
        """Commit it."""
        ...


class TransactionSource(Protocol):
    """Begins transactions of an application's own library, for its transactional activities.

    They are to the workflows' database, and what is given is one of the connections or sessions that `connection=` of a
    client takes.
    """

    transaction_types: tuple[type[Any], ...]
    """What functions ask for, to be given one of these."""

    in_thread: bool
    """Whether they are for plain functions, which run in threads, and block where they are used; else for `async def`."""

    def begin(self) -> AbstractAsyncContextManager[BegunTransaction]:
        """Begin a transaction; what is not committed is undone at the end of the block."""
        ...


class TransactionStore(Protocol):
    """What ends attempts in one transaction with the rows of the application."""

    transaction_types: tuple[type[Any], ...]
    """What the functions of transactional activities can be given without a source; nothing if there is none to lend."""

    def transaction(
        self, run_id: str, id: int, attempt: int, source: TransactionSource | None = None
    ) -> AbstractAsyncContextManager[ActivityTransaction]:
        """Lend a connection with an open transaction to the function of an attempt; what is not committed is undone.

        Until `commit` it holds up nothing but what waits for rows of the application; on SQLite it holds up all that
        write, and is undone after a while. Waits until there is one to lend.

        Args:
            run_id: Whose.
            id: Which activity.
            attempt: Which attempt of it.
            source: Who begins it; the store itself, if left out.

        Raises:
            StoreUnavailableError: There is none now; nothing has happened.
            UnfitConnectionError: What the source has begun leads to another database, or nothing can be written there.
        """
        ...
