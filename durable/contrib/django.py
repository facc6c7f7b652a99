"""Django's connections and models for transactional activities: the function is called inside `transaction.atomic`.

Worker(client, transactions=[Connections()])

@activity.defn(transactional=True)
def place(tx: BaseDatabaseWrapper, order_id: str) -> None:
    Order.objects.create(id=order_id)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import django.db  # type: ignore[import-untyped]
from django.db.backends.base.base import BaseDatabaseWrapper  # type: ignore[import-untyped]

from durable.exceptions import TransactionError

__all__ = ["Connections"]

_django: Any = django.db  # it says little of its types

logger = logging.getLogger("durable.contrib.django")

ROLLED_BACK = (
    "a part of the transaction has failed or was rolled back, and the function went on and returned: Django undoes all of "
    "it then. Let the error out, or put what may fail in an `atomic()` of its own"
)


class Connections:
    """Gives a connection of Django to each transactional activity that is a plain `def` and asks for one.

    The function is called inside `transaction.atomic(using=...)`, and the connection that it is given is the one that its
    models use, too. It need not do anything with it. What is registered with `transaction.on_commit` is called behind the
    commit: once, or not at all if the process dies there.

    Args:
        using: Which of the `DATABASES`: an alias of the workflows' database. `CONN_MAX_AGE` says how long its connections
            are kept.
    """

    transaction_types: tuple[type[Any], ...] = (BaseDatabaseWrapper,)
    in_thread = True

    def __init__(self, using: str = "default") -> None:
        self._using = using
        self._idle: list[Any] = []

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[_Begun]:
        """See `TransactionSource`."""
        # A connection of Django belongs to a thread, and the function has one of its own: so this one is lent to threads.
        begun = _Begun(self._idle.pop() if self._idle else _django.connections.create_connection(self._using))
        try:
            await asyncio.to_thread(begun.enter)
            yield begun
        finally:
            await asyncio.shield(asyncio.to_thread(begun.leave))
            if begun.committed:
                self._idle.append(begun.connection)


class _Begun:
    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.committed = False
        self._atomic: Any = None

    def enter(self) -> None:
        self.connection.inc_thread_sharing()
        self.connection.close_if_unusable_or_obsolete()
        with _current(self.connection):
            self._atomic = _django.transaction.atomic(using=self.connection.alias)
            self._atomic.__enter__()

    def around(self, function: Callable[[], Any]) -> Any:
        with _current(self.connection):
            result = function()
        if self.connection.needs_rollback:
            raise TransactionError(ROLLED_BACK)
        return result

    async def commit(self) -> None:
        await asyncio.to_thread(self._commit)

    def _commit(self) -> None:
        connection = self.connection
        hooks, connection.run_on_commit = connection.run_on_commit, []
        with _current(connection):
            self._atomic.__exit__(None, None, None)
            self.committed = True
            for _, hook, *_ in hooks:
                try:
                    hook()
                except Exception:
                    # The transaction is committed, and so is the end of the attempt.
                    logger.exception("what was to be done behind the commit of an activity failed")

    def leave(self) -> None:
        connection = self.connection
        if self.committed:
            connection.close_if_unusable_or_obsolete()
        else:
            # Inside the block: a function that was left behind in its thread would commit each statement behind it.
            connection.close()
        connection.dec_thread_sharing()


@contextmanager
def _current(connection: Any) -> Generator[None]:
    """Have this thread use that connection under its alias."""
    connections, alias = _django.connections, connection.alias
    before = next((one for one in connections.all(initialized_only=True) if one.alias == alias), None)
    connections[alias] = connection
    try:
        yield
    finally:
        if before is None:
            del connections[alias]
        else:
            connections[alias] = before
