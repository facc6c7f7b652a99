"""The store on PostgreSQL 14 or newer, through asyncpg.

A namespace is a schema. Nothing relies on `search_path`, on session state, on advisory locks or on an isolation level
above READ COMMITTED; every call is a transaction of one statement, so it works behind a pooler in transaction mode too.
What needs several statements with fresh snapshots in one round trip is a PL/pgSQL function, named by version, so that
yesterday's workers find theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import msgspec

from durable.exceptions import StoreConfigurationError
from durable.store._migrate import MigrationStatus
from durable.store.postgres import _migrations as migration
from durable.store.postgres._activities import Activities
from durable.store.postgres._batches import Batches
from durable.store.postgres._claims import Claims
from durable.store.postgres._fleet import Fleet
from durable.store.postgres._hints import Hints
from durable.store.postgres._inside import Callers
from durable.store.postgres._lanes import Lanes
from durable.store.postgres._limits import Limits
from durable.store.postgres._migrations import bring_up_to_date, prepare, script, statuses
from durable.store.postgres._operations import Operations
from durable.store.postgres._pool import Pool
from durable.store.postgres._queries import Queries
from durable.store.postgres._retention import Retention
from durable.store.postgres._schedules import Schedules
from durable.store.postgres._session import Session
from durable.store.postgres._settings import Settings, check_namespace, parse
from durable.store.postgres._transactions import Transactions
from durable.store.postgres._versions import Versions
from durable.store.postgres._workers import Workers

__all__ = [
    "Limits",
    "PostgresStore",
    "make_roles",
    "migrate",
    "migration_script",
    "migrations",
    "open",
    "roles_script",
]

log = logging.getLogger("durable.store")

DEFAULT_NAMESPACE = "durable"

_RISKS = {
    "fsync": "a crash of the server loses or corrupts everything",
    "synchronous_commit": "a crash of the server loses work that was acknowledged",
    "full_page_writes": "a crash of the server's machine may corrupt pages",
}
_OF_A_DATABASE = ("synchronous_commit",)  # or of a role; the others are the whole server's

_warned: set[tuple[str, str]] = set()
"""Where this process has warned of what: one risk is one warning, however often stores are opened."""


class PostgresStore(
    Schedules,
    Operations,
    Batches,
    Claims,
    Activities,
    Transactions,
    Lanes,
    Fleet,
    Queries,
    Retention,
    Workers,
    Versions,
    Hints,
    Callers,
):
    """A namespace in a PostgreSQL database; see `durable.store.Store` for what each method promises."""

    async def aclose(self) -> None:
        """Finish what is under way and close every connection; again does nothing."""
        if self._pool.closed:
            return
        await self._stop_hints()
        async with self._turn:
            await self._lent.aclose()
            await self._pool.aclose()
            for session in self._sessions.values():
                await session.aclose()


async def open(
    url: str, *, namespace: str | None = None, migrate: bool = True, **limits: Any
) -> PostgresStore:
    """Return an open store: reachable, fit to be relied on, its tables checked, and made when there are none.

    Args:
        url: `postgresql://user:password@host:port/database`, with the driver's options (`sslmode`,
            `target_session_attrs`, ...) and ours: `pooler=transaction` when a pooler gives each transaction another
            connection.
        namespace: The schema that holds the tables; "durable" unless another is named.
        migrate: Whether missing tables may be made.
        **limits: See `Limits`.

    Raises:
        StoreConfigurationError: The URL, the namespace, a limit or a setting of the server makes it unfit.
        StoreUnavailableError: It cannot be reached (now). A server that does not answer, or is starting, is waited for as
            long as `Limits.acquire` says; an address where nobody listens, as long as `Limits.opening`.
        SchemaError: The tables are missing and may not be made, or are older or newer than this release.
    """
    pool = _pool(url, namespace, limits)
    try:
        async with pool.session() as session:
            _warn(session, pool.settings)
        await prepare(pool, migrate=migrate)
        return PostgresStore(pool)
    except BaseException:
        await pool.aclose()
        raise


async def migrate(url: str, *, namespace: str | None = None, after: bool = False) -> list[str]:
    """Bring the tables of a namespace up to date, and return the names of the migrations that were made.

    Args:
        url: As for `open`.
        namespace: As for `open`.
        after: Also make what workers of the release before could not live with.

    Raises:
        StoreConfigurationError: The URL, the namespace or a setting of the server makes it unfit.
        StoreUnavailableError: It cannot be reached (now); doing it again is safe.
    """
    pool = _pool(url, namespace, {})
    try:
        return await bring_up_to_date(pool, after=after)
    finally:
        await pool.aclose()


async def migrations(url: str, *, namespace: str | None = None, **limits: Any) -> list[MigrationStatus]:
    """Return the migrations of this release and whether a namespace has them; arguments and errors as for `open`."""
    pool = _pool(url, namespace, limits)
    try:
        return await statuses(pool)
    finally:
        await pool.aclose()


def migration_script(url: str, *, namespace: str | None = None, made: Collection[str] = ()) -> str:
    """Return the SQL that `migrate` would run, as a script.

    Raises:
        StoreConfigurationError: The namespace will not do.
    """
    name = DEFAULT_NAMESPACE if namespace is None else namespace
    check_namespace(name)
    return script(name, made)


def roles_script(url: str, *, namespace: str | None = None) -> str:
    """Return the SQL that makes the roles of a namespace, as a script.

    Raises:
        StoreConfigurationError: The namespace will not do.
    """
    name = DEFAULT_NAMESPACE if namespace is None else namespace
    check_namespace(name)
    return migration.roles_script(name)


async def make_roles(url: str, *, namespace: str | None = None) -> None:
    """Make the roles of a namespace, and give each its rights.

    Raises:
        StoreConfigurationError: The role in the URL may not.
        SchemaError: There are no tables.
        StoreUnavailableError: It cannot be reached (now); doing it again is safe.
    """
    pool = _pool(url, namespace, {})
    try:
        await migration.make_roles(pool)
    finally:
        await pool.aclose()


def _warn(session: Session, settings: Settings) -> None:
    for setting, risk in _RISKS.items():
        where = settings.shown if setting in _OF_A_DATABASE else settings.server
        if session.look[setting] == "off" and (where, setting) not in _warned:
            _warned.add((where, setting))
            log.warning("%s has %s = off: %s", settings.shown, setting, risk)

    if session.in_plain_text and (settings.server, "TLS") not in _warned:
        _warned.add((settings.server, "TLS"))
        log.warning(
            "%s is another machine, and everything goes there in plain text: add sslmode=verify-full to the URL, or "
            "sslmode=disable if the network is trusted",
            settings.shown,
        )


def _pool(url: str, namespace: str | None, limits: dict[str, Any]) -> Pool:
    if unknown := sorted(set(limits) - set(Limits.__struct_fields__)):
        raise StoreConfigurationError(
            f"PostgreSQL has no limit {', '.join(unknown)}; there are {', '.join(Limits.__struct_fields__)}"
        )
    try:
        checked = msgspec.convert(limits, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise StoreConfigurationError(f"limits of PostgreSQL: {error}") from None
    return Pool(parse(url, DEFAULT_NAMESPACE if namespace is None else namespace, checked))
