"""The store on PostgreSQL 14 or newer, through asyncpg.

A namespace is a schema. Nothing relies on `search_path`, on session state, on advisory locks or on an isolation level
above READ COMMITTED; every call is a transaction of one statement, so it works behind a pooler in transaction mode too.
What needs several statements with fresh snapshots in one round trip is a PL/pgSQL function, named by version, so that
yesterday's workers find theirs.
"""

from __future__ import annotations

import logging
from typing import Any

from durable.exceptions import StoreConfigurationError
from durable.store._protocol import Store
from durable.store.postgres._activities import Activities
from durable.store.postgres._claims import Claims
from durable.store.postgres._hints import Hints
from durable.store.postgres._limits import Limits
from durable.store.postgres._migrations import prepare
from durable.store.postgres._pool import Pool
from durable.store.postgres._runs import Runs
from durable.store.postgres._settings import parse
from durable.store.postgres._workers import Workers

__all__ = ["Limits", "PostgresStore", "open"]

log = logging.getLogger("durable.store")

_RISKS = {
    "fsync": "a crash of the server loses or corrupts everything",
    "synchronous_commit": "a crash of the server loses work that was acknowledged",
    "full_page_writes": "a crash of the server's machine may corrupt pages",
}


class PostgresStore(Runs, Claims, Activities, Workers, Hints):
    """A namespace in a PostgreSQL database; see `durable.store.Store` for what each method promises."""

    async def aclose(self) -> None:
        """Finish what is under way and close every connection; again does nothing."""
        if self._pool.closed:
            return
        await self._stop_hints()
        async with self._turn:
            await self._pool.aclose()
            if self._committer is not None:
                await self._committer.aclose()


async def open(  # noqa: A001 - `store.postgres.open`, as `store.sqlite.open`
    url: str, *, namespace: str = "durable", migrate: bool = True, **limits: Any
) -> Store:
    """Open the namespace of a database: reachable, fit to be relied on, and with the tables this release needs.

    Args:
        url: `postgresql://user:password@host:port/database`, with the options of the driver (`sslmode`, `target_session_attrs`,
            ...) and ours: `pooler=transaction` when a pooler gives each transaction another connection.
        namespace: The schema that holds the tables.
        migrate: Whether to make or change the tables where that is needed.
        **limits: See `Limits`.

    Raises:
        StoreConfigurationError: The URL, the namespace, a limit or a setting of the server makes it unfit.
        StoreUnavailableError: It cannot be reached.
        SchemaError: The tables are missing, older or newer than this release can use.
    """
    unknown = set(limits) - set(Limits.__struct_fields__)
    if unknown:
        raise StoreConfigurationError(f"there is no limit named {', '.join(sorted(unknown))} for PostgreSQL")
    pool = Pool(parse(url, namespace, Limits(**limits)))
    try:
        async with pool.session() as session:
            for setting, risk in _RISKS.items():
                if session.look[setting] == "off":
                    log.warning("%s has %s = off: %s", pool.settings.shown, setting, risk)
        await prepare(pool, migrate=migrate)
    except BaseException:
        await pool.aclose()
        raise
    return PostgresStore(pool)
