"""The tables of a namespace: made, brought up to date, or refused; which of these is decided by `_migrate`.

All is done in one transaction. Any number of processes may try at once: they queue at a lock on `schema_version`, and all
but the first find nothing left to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from importlib.resources import files

from durable.store import _migrate
from durable.store._migrate import Migration, MigrationStatus
from durable.store.postgres._errors import sqlstate
from durable.store.postgres._pool import Pool
from durable.store.postgres._session import Session
from durable.store.postgres._settings import qualified

_PACKAGE = "durable.store.postgres"

_MET_ANOTHER = ("23505", "42P06", "42P07", "40P01", "XX000")
"""What is told to one of two processes that create one schema at the same moment; the last is "updated concurrently"."""

_OF_NAMESPACE = re.compile(r"\bdurable(?=_(?:owner|runtime|ui_ro|ui_rw|janitor)\b|\"|')")
"""What `roles.sql` says of the schema `durable` beside its tables and functions: its own name, and those of its roles."""

_IS_THERE = """
select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'schema_version'
"""
_APPLIED = "select name from durable.schema_version"
_PREPARE = """
create schema if not exists {schema};
create table if not exists durable.schema_version (
    name text collate "C" primary key,
    applied_at bigint not null
);
lock table durable.schema_version in access exclusive mode
"""
_NOTE = "insert into durable.schema_version values ($1, durable.now_us())"


async def prepare(pool: Pool, *, migrate: bool) -> None:
    """Check that the namespace's tables fit this release; make them when there are none and `migrate` says so.

    Raises:
        SchemaError: See `_migrate.judge`.
        StoreUnavailableError: Ambiguous; doing it again is safe.
    """
    migrations = _migrate.load(_PACKAGE)
    applied = await _applied(pool)
    found = None if applied is None else _migrate.version(applied)
    if _migrate.judge(found, _migrate.newest(migrations), migrate=migrate, url=pool.settings.shown):
        await _apply(pool, lambda applied: migrations if not applied else [])


async def bring_up_to_date(pool: Pool, *, after: bool) -> list[str]:
    """Make what is missing, and return the names of it."""
    migrations = _migrate.load(_PACKAGE)
    return await _apply(
        pool, lambda applied: _migrate.pending(migrations, applied, after=after or not applied)
    )


async def statuses(pool: Pool) -> list[MigrationStatus]:
    """Return the migrations of this release and whether the namespace has them."""
    return _migrate.statuses(_migrate.load(_PACKAGE), await _applied(pool) or ())


def script(namespace: str, made: Collection[str]) -> str:
    """Return what `bring_up_to_date` would do, for psql."""
    todo = [one for one in _migrate.load(_PACKAGE) if one.name not in made]
    note = _NOTE.replace("$1", "'{name}'")
    parts = [f"-- {one.name}\n{one.sql}\n{note.format(name=one.name)};\n" for one in todo]
    prepare = _PREPARE.format(schema=f'"{namespace}"').strip()
    return qualified("\n".join(["begin;", f"{prepare};\n", *parts, "commit;"]), namespace)


def roles_script(namespace: str) -> str:
    """Return what makes the namespace's roles and gives each its rights, for psql; see `roles.sql`."""
    sql = files(_PACKAGE).joinpath("roles.sql").read_text(encoding="utf-8")
    named = _OF_NAMESPACE.sub(namespace, qualified(sql, namespace))
    return f"begin;\n{named}commit;\n"


async def make_roles(pool: Pool) -> None:
    """Run `roles_script`, in one transaction.

    Raises:
        StoreConfigurationError: The role that asks may not make roles, or is not the owner of the tables.
        SchemaError: There are no tables.
    """
    try:
        async with pool.session() as session:
            await session.connection.execute(roles_script(pool.settings.namespace))
    except Exception as error:
        raise pool.translate(error) from None


async def _applied(pool: Pool) -> list[str] | None:
    """The names of what was done to this namespace, None when it has no tables of ours."""
    if not await pool.fetch(_IS_THERE, pool.settings.namespace, read=True):
        return None
    rows = await pool.fetch(pool.settings.qualify(_APPLIED), read=True)
    return [row["name"] for row in rows] or None


async def _apply(pool: Pool, todo: Callable[[list[str]], Iterable[Migration]]) -> list[str]:
    tries = 0
    while True:
        try:
            async with pool.session() as session:
                return await _apply_once(session, pool, todo)
        except Exception as error:
            tries += 1
            if tries == pool.settings.limits.tries or sqlstate(error) not in _MET_ANOTHER:
                raise pool.translate(error) from None
            await pool.back_off(tries)


async def _apply_once(
    session: Session, pool: Pool, todo: Callable[[list[str]], Iterable[Migration]]
) -> list[str]:
    settings = pool.settings
    connection = session.connection
    done: list[str] = []
    await session.begin()
    try:
        await connection.execute(settings.qualify(_PREPARE.format(schema=f'"{settings.namespace}"')))
        # Behind the lock, so that what another process did meanwhile is seen.
        applied = [row["name"] for row in await connection.fetch(settings.qualify(_APPLIED))]
        for migration in todo(applied):
            await connection.execute(settings.qualify(migration.sql))
            await connection.execute(settings.qualify(_NOTE), migration.name)
            done.append(migration.name)
        await session.end("commit")
    except BaseException:
        session.kill()  # nothing of it is to stay, and a friendly end could fail as well
        raise
    return done
