"""The store on SQLite: one file, one machine, any number of processes, nothing to install."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection

import msgspec

from durable._internal import machine
from durable.exceptions import StoreConfigurationError, StoreUnavailableError
from durable.store import _url
from durable.store._migrate import MigrationStatus
from durable.store.sqlite import _schema
from durable.store.sqlite._limits import Limits
from durable.store.sqlite._store import SQLiteStore, open_store

__all__ = [
    "Limits",
    "SQLiteStore",
    "make_roles",
    "migrate",
    "migration_script",
    "migrations",
    "open",
    "roles_script",
]


def _machine_clock() -> int:
    return machine.wall()


def _check(namespace: str | None) -> None:
    if namespace not in (None, "default"):
        raise StoreConfigurationError(
            f"namespace {namespace!r}: on SQLite every namespace is a file of its own; name it in the URL instead"
        )


async def open(  # the name every adapter opens by
    url: str,
    *,
    namespace: str | None = None,
    migrate: bool = True,
    clock: Callable[[], int] = _machine_clock,
    **limits: float,
) -> SQLiteStore:
    """Return an open store, whose tables are checked, and made when the file is new.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db` or `sqlite://:memory:`.
        namespace: None or "default"; a namespace is a file here.
        migrate: Whether missing tables may be made.
        clock: The time in microseconds since the epoch. All workers of a database need one time, so this is for tests.
        **limits: See `Limits`.

    Raises:
        StoreConfigurationError: The URL, a limit, the file or the SQLite library will not do.
        SchemaError: The tables are missing and may not be made, or are older or newer than this release.
        StoreUnavailableError: The file cannot be opened (now).
    """
    _check(namespace)
    checked = _limits(limits)
    return await open_store(_url.sqlite_path(url), url, migrate=migrate, clock=clock, limits=checked)


def _limits(given: dict[str, float]) -> Limits:
    try:
        checked = msgspec.convert(given, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise StoreConfigurationError(f"limits of SQLite: {error}") from None
    if unknown := sorted(set(given) - set(Limits.__struct_fields__)):
        raise StoreConfigurationError(
            f"SQLite has no limit {', '.join(unknown)}; there are {', '.join(Limits.__struct_fields__)}"
        )
    return checked


async def migrate(url: str, *, namespace: str | None = None, after: bool = False) -> list[str]:
    """Bring the tables of a file up to date, and return the names of the migrations that were made.

    Args:
        url: As for `open`.
        namespace: As for `open`.
        after: Also make what workers of the release before could not live with.
    """
    _check(namespace)
    path = _url.sqlite_path(url)
    if path == _url.MEMORY:
        return []
    file = _schema.prepare(path)
    return await asyncio.to_thread(_schema.migrate_file, file, Limits(), after=after)


async def migrations(url: str, *, namespace: str | None = None, **limits: float) -> list[MigrationStatus]:
    """Return the migrations of this release and whether a file has them; arguments and errors as for `open`."""
    _check(namespace)
    checked = _limits(limits)
    path = _url.sqlite_path(url)
    try:
        return await asyncio.to_thread(_schema.statuses, path, checked)
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"cannot open {url}: {error}") from error


_NO_ROLES = (
    "SQLite has no roles: who may write the file may do everything, so its owner and mode are what guards it"
)


def roles_script(url: str, *, namespace: str | None = None) -> str:
    """Refuse: there are none.

    Raises:
        StoreConfigurationError: Always.
    """
    raise StoreConfigurationError(_NO_ROLES)


async def make_roles(url: str, *, namespace: str | None = None) -> None:
    """Refuse: there are none.

    Raises:
        StoreConfigurationError: Always.
    """
    raise StoreConfigurationError(_NO_ROLES)


def migration_script(url: str, *, namespace: str | None = None, made: Collection[str] = ()) -> str:
    """Return the SQL that `migrate` would run, as a script."""
    _check(namespace)
    return _schema.script(made)
