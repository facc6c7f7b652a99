"""Connections of callers, of whatever library, as the stores use them: a seat in somebody else's transaction.

PostgreSQL is asked for one thing only, a statement that takes one text and returns one; SQLite is given a function that
gets the connection of the standard library. So a library that is not here yet needs some ten lines. None of them is
imported unless the object that was passed is of it.

A connection that is not asynchronous is used where the call was made, in its thread, for as long as one statement takes.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

from durable.exceptions import UnfitConnectionError

T = TypeVar("T")

TAKEN = (
    "a connection of asyncpg, psycopg, sqlite3, aiosqlite or Django, or a connection or session of SQLAlchemy, "
    "on which a transaction is open"
)

BLOCKS = "a connection that is used in a thread must not be asynchronous"


@runtime_checkable
class PostgresSeat(Protocol):
    """A connection to PostgreSQL."""

    async def ask(self, sql: str, argument: str) -> str:
        """Return what a statement with the one parameter `$1` returns, in the caller's transaction."""
        ...


@runtime_checkable
class SQLiteSeat(Protocol):
    """A connection to SQLite."""

    async def work(self, call: Callable[[Any], T]) -> T:
        """Return what `call` returns, given the `sqlite3.Connection`, in the thread that this belongs to."""
        ...


async def seat_of(connection: object) -> PostgresSeat | SQLiteSeat:
    """Return a caller's connection as the stores use it.

    Raises:
        TypeError: It is none that is known.
        UnfitConnectionError: It leads to another kind of database, or cannot be used here.
    """
    for kind in type(connection).__mro__:
        make = _LIBRARIES.get(kind.__module__.partition(".")[0])
        if make is not None:
            try:
                found: PostgresSeat | SQLiteSeat = await _settled(make(connection))
            except (TypeError, UnfitConnectionError):
                raise
            except Exception as error:
                raise UnfitConnectionError(f"the connection cannot be used: {error}") from error
            return found
    raise _unknown(connection)


def _unknown(connection: object) -> TypeError:
    return TypeError(f"connection must be {TAKEN}; {type(connection).__name__} is none")


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE that a driver tells, whatever has been put around its error."""
    seen: BaseException | None = error
    while seen is not None:
        for name in ("sqlstate", "pgcode"):
            code = getattr(seen, name, None)
            if isinstance(code, str):
                return code
        seen = getattr(seen, "orig", None) or seen.__cause__
    return ""


async def _settled(value: Any) -> Any:
    """What an asynchronous library will return, or one that is not has returned."""
    return await value if inspect.isawaitable(value) else value


# ---------------------------------------------------------------- the drivers of the stores


class _Asyncpg:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ask(self, sql: str, argument: str) -> str:
        answer: str = await self._connection.fetchval(sql, argument)
        return answer


def _asyncpg(connection: Any) -> PostgresSeat:
    if not hasattr(connection, "fetchval") or hasattr(connection, "acquire"):
        raise _unknown(connection)  # a pool
    _check_loop(connection)
    return _Asyncpg(connection)


def _check_loop(connection: Any) -> None:
    """Only asyncpg has to be asked: used in another event loop it would wait for ever."""
    own = getattr(getattr(connection, "_con", connection), "_loop", None)
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if own is not None and own is not here:
        raise UnfitConnectionError("the connection belongs to another event loop; make the call in that one")


class _Sqlite3:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def work(self, call: Callable[[Any], T]) -> T:
        return call(self._connection)


# ---------------------------------------------------------------- psycopg 3, aiosqlite


class _Psycopg:
    def __init__(self, connection: Any, row_factory: Any) -> None:
        self._connection = connection
        self._row_factory = row_factory

    async def ask(self, sql: str, argument: str) -> str:
        cursor = self._connection.cursor(row_factory=self._row_factory)
        try:
            await _settled(cursor.execute(sql.replace("$1", "%s"), (argument,)))
            answer: tuple[str] = await _settled(cursor.fetchone())
            return answer[0]
        finally:
            await _settled(cursor.close())


def _psycopg(connection: Any) -> PostgresSeat:
    from psycopg.rows import tuple_row  # noqa: PLC0415

    if not hasattr(connection, "cursor") or hasattr(connection, "fetchone"):
        raise _unknown(connection)
    return _Psycopg(connection, tuple_row)


class _Aiosqlite:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def work(self, call: Callable[[Any], T]) -> T:
        # Its thread runs whatever it is given; it has no public name for that.
        answer: T = await self._connection._execute(call, self._connection._conn)
        return answer


# ---------------------------------------------------------------- SQLAlchemy


class _SQLAlchemy:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ask(self, sql: str, argument: str) -> str:
        from sqlalchemy import text  # noqa: PLC0415

        statement = text(sql.replace("$1", ":argument"))
        answer: str = (
            await _settled(self._connection.execute(statement, {"argument": argument}))
        ).scalar_one()
        return answer


async def _sqlalchemy(given: Any) -> PostgresSeat | SQLiteSeat:
    connection: Any = given
    if not hasattr(given, "exec_driver_sql"):  # a session, or what stands for one
        if not callable(getattr(given, "connection", None)):
            raise _unknown(given)
        connection = await _settled(given.connection())
    if connection.dialect.name == "postgresql":
        if connection.dialect.driver == "asyncpg":
            _check_loop((await _raw(connection)).driver_connection)
        return _SQLAlchemy(connection)
    if connection.dialect.name == "sqlite":
        # So that it knows of the transaction which it will be asked to commit.
        await _settled(connection.exec_driver_sql("SELECT 1"))
        found = await seat_of((await _raw(connection)).driver_connection)
        return found
    raise UnfitConnectionError(
        f"the connection is to {connection.dialect.name}, which is none of our databases"
    )


async def _raw(connection: Any) -> Any:
    if hasattr(connection, "get_raw_connection"):
        return await connection.get_raw_connection()
    return connection.connection


# ---------------------------------------------------------------- Django


class _Django:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ask(self, sql: str, argument: str) -> str:
        with self._connection.cursor() as cursor:
            cursor.execute(sql.replace("$1", "%s"), [argument])
            answer: str = cursor.fetchone()[0]
            return answer


def _django(connection: Any) -> PostgresSeat | SQLiteSeat:
    vendor = getattr(connection, "vendor", None)
    if vendor == "postgresql":
        return _Django(connection)
    if vendor == "sqlite":
        connection.ensure_connection()
        return _Sqlite3(connection.connection)
    if vendor is None:
        raise _unknown(connection)
    raise UnfitConnectionError(f"the connection is to {vendor}, which is none of our databases")


_LIBRARIES: dict[str, Callable[[Any], Any]] = {
    "aiosqlite": _Aiosqlite,
    "asyncpg": _asyncpg,
    "django": _django,
    "psycopg": _psycopg,
    "psycopg_pool": _psycopg,
    "sqlalchemy": _sqlalchemy,
    "sqlite3": _Sqlite3,
}
