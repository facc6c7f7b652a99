"""Sessions of SQLAlchemy 2 for transactional activities: the function asks for one, the worker begins and commits it.

engine = create_async_engine("postgresql+asyncpg://...")
Worker(client, transactions=[AsyncSessions(async_sessionmaker(engine))])

@activity.defn(transactional=True)
async def place(session: AsyncSession, order: Order) -> None:
session.add(Row(id=order.id))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

__all__ = ["AsyncSessions", "Sessions"]


class _BegunAsync:
    around: Callable[[Callable[[], Any]], Any] | None = None

    def __init__(self, session: AsyncSession) -> None:
        self.connection = session

    async def commit(self) -> None:
        await self.connection.commit()


class _Begun:
    around: Callable[[Callable[[], Any]], Any] | None = None

    def __init__(self, session: Session) -> None:
        self.connection = session

    async def commit(self) -> None:
        await asyncio.to_thread(self.connection.commit)


class AsyncSessions:
    """Gives an `AsyncSession` to each transactional activity that is an `async def` and asks for one.

    What it has in it is flushed and committed together with the completion of the activity.

    Args:
        make: Makes a session: an `async_sessionmaker` of an engine on the workflows' database.
    """

    transaction_types: tuple[type[Any], ...] = (AsyncSession,)
    in_thread = False

    def __init__(self, make: Callable[[], AsyncSession]) -> None:
        self._make = make

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[_BegunAsync]:
        """See `TransactionSource`."""
        # A session begins its transaction with its first statement, and undoes it when it is closed.
        async with self._make() as session:
            yield _BegunAsync(session)


class Sessions:
    """The same for plain functions, which run in threads: gives each a `Session`.

    Args:
        make: Makes a session: a `sessionmaker` of an engine on the workflows' database.
    """

    transaction_types: tuple[type[Any], ...] = (Session,)
    in_thread = True

    def __init__(self, make: Callable[[], Session]) -> None:
        self._make = make

    @asynccontextmanager
    async def begin(self) -> AsyncGenerator[_Begun]:
        """See `TransactionSource`."""
        session = self._make()
        try:
            yield _Begun(session)
        finally:
            await asyncio.shield(asyncio.to_thread(session.close))
