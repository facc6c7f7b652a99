"""Connections of psycopg 3 for transactional activities: the function asks for one, the worker begins and commits.

Worker(client, transactions=[AsyncConnections("postgresql://...")])

@activity.defn(transactional=True)
async def place(tx: psycopg.AsyncConnection, order: Order) -> None:
await tx.execute("insert into orders values (%s)", (order.id,))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from psycopg import AsyncConnection, Connection

__all__ = ["AsyncConnections", "Connections"]


class _BegunAsync:
    around: Callable[[Callable[[], Any]], Any] | None = None

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self.connection = connection

    async def commit(self) -> None:
        await self.connection.commit()


class _Begun:
    around: Callable[[Callable[[], Any]], Any] | None = None

    def __init__(self, connection: Connection[Any]) -> None:
        self.connection = connection
        self.committed = False

    async def commit(self) -> None:
        await asyncio.to_thread(self.connection.commit)
        self.committed = True


class AsyncConnections:
    """Gives an `AsyncConnection` to each transactional activity that is an `async def` and asks for one.

    Args:
        where: The workflows' PostgreSQL database: a URL (a connection is made for each attempt), or an
            `AsyncConnectionPool`, which is yours to open and to close.
    """

    transaction_types: tuple[type[Any], ...] = (AsyncConnection,)
    in_thread = False

    def __init__(self, where: Any) -> None:
        self._where = where

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[_BegunAsync]:
        """See `TransactionSource`."""
        if not isinstance(self._where, str):
            async with self._where.connection() as connection:
                try:
                    yield _BegunAsync(connection)
                finally:
                    await connection.rollback()  # a pool would commit what is left open
            return
        connection = await AsyncConnection.connect(self._where)
        try:
            yield _BegunAsync(connection)
        finally:
            await connection.close()


class Connections:
    """The same for plain functions, which run in threads: gives each a `Connection`.

    Args:
        where: As for `AsyncConnections`; a pool is a `ConnectionPool`.
    """

    transaction_types: tuple[type[Any], ...] = (Connection,)
    in_thread = True

    def __init__(self, where: Any) -> None:
        self._where = where

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[_Begun]:
        """See `TransactionSource`."""
        pool = None if isinstance(self._where, str) else self._where

        def take() -> Connection[Any]:
            made: Connection[Any] = Connection.connect(self._where) if pool is None else pool.getconn()
            return made

        def give_back() -> None:
            if not begun.committed:
                # A function may have been left behind in its thread, and go on with it.
                connection.close()
            if pool is not None:
                pool.putconn(connection)
            else:
                connection.close()

        connection = await asyncio.to_thread(take)
        begun = _Begun(connection)
        try:
            yield begun
        finally:
            await asyncio.shield(asyncio.to_thread(give_back))
