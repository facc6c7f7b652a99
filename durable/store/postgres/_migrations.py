"""The tables of a namespace: made, brought up to date, or refused.

A migration is all files of one number, in the order of their names, run in one transaction. Any number of processes may
try at once: they queue at a lock on `schema_version`, and all but the first find nothing to do. Each version says which is
the oldest release of the tables' users that can still live with it (`oldest`), so that the workers of yesterday run on
the tables of today while they are being replaced.
"""

from __future__ import annotations

import re
from importlib import resources

from durable.exceptions import SchemaError
from durable.store.postgres._errors import sqlstate
from durable.store.postgres._pool import Pool
from durable.store.postgres._session import Session
from durable.store.postgres._settings import Settings

VERSION = 1
"""The newest version of the tables that this release knows."""

OLDEST = {1: 1}
"""For each version, the oldest version whose releases can work on it."""

_MET_ANOTHER = ("23505", "42P06", "42P07", "40P01", "XX000")
"""What is told to one of two processes that create one schema at the same moment; the last is "updated concurrently"."""

_FILE = re.compile(r"(\d{4})_\w+\.sql")


async def prepare(pool: Pool, *, migrate: bool) -> None:
    """Make the namespace's tables fit for this release, or, without `migrate`, only look.

    Raises:
        SchemaError: They are missing or older, and are not to be touched; or newer than this release can work with.
        StoreUnavailableError: Ambiguous; doing it again is safe.
    """
    found = await _version(pool)
    if migrate and (found is None or found < VERSION):
        for tries in range(1, pool.settings.limits.tries + 1):
            try:
                async with pool.session() as session:
                    await _migrate(session, pool.settings)
                break
            except Exception as error:  # noqa: BLE001 - sorted by its SQLSTATE
                if tries == pool.settings.limits.tries or sqlstate(error) not in _MET_ANOTHER:
                    raise pool.translate(error) from None
                await pool.back_off(tries)
        found = await _version(pool)
    name = pool.settings.namespace
    if found is None:
        raise SchemaError(
            f"{pool.settings.shown} has no tables of durable in the schema {name}; open the store with migrate=True"
        )
    if found < VERSION:
        raise SchemaError(
            f"the tables in schema {name} have version {found}, this release needs {VERSION}; "
            "open the store with migrate=True"
        )


async def _version(pool: Pool) -> int | None:
    qualify = pool.settings.qualify
    there = await pool.fetch(
        "select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = $1 and c.relname = 'schema_version'",
        pool.settings.namespace,
        read=True,
    )
    if not there:
        return None
    rows = await pool.fetch(
        qualify("select version, oldest from durable.schema_version order by version desc limit 1"), read=True
    )
    if not rows:
        return None
    version, oldest = rows[0]
    if version > VERSION and oldest > VERSION:
        raise SchemaError(
            f"the tables in schema {pool.settings.namespace} have version {version}, which releases that know at "
            f"least version {oldest} can use; this one knows {VERSION}: install a newer release"
        )
    return version


async def _migrate(session: Session, settings: Settings) -> None:
    await session.begin()
    run = session.connection.execute
    await run(
        settings.qualify(
            f'create schema if not exists "{settings.namespace}";'
            "create table if not exists durable.schema_version "
            "(version integer primary key, oldest integer not null, applied_at bigint not null);"
            "lock table durable.schema_version in access exclusive mode"
        )
    )
    found = await session.connection.fetchval(
        settings.qualify("select coalesce(max(version), 0) from durable.schema_version")
    )
    for number, sql in _files():
        if number > found:
            await run(settings.qualify(sql))
    for number in range(found + 1, VERSION + 1):
        await session.connection.execute(
            settings.qualify("insert into durable.schema_version values ($1, $2, durable.now_us())"),
            number,
            OLDEST[number],
        )
    await session.end("commit")


def _files() -> list[tuple[int, str]]:
    folder = resources.files("durable.store.postgres").joinpath("migrations")
    named = sorted((file.name, file) for file in folder.iterdir() if _FILE.fullmatch(file.name))
    return [(int(name[:4]), file.read_text("utf-8")) for name, file in named]
