"""Databases as a program with few rights finds them: migrated by their owner, used as a role of `durable migrate roles`.

`DURABLE_TEST_ROLE=runtime` runs the scenarios, and the suite that every store passes, as a login of that role.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from durable import store
from durable.testing._servers._server import PostgresServer

FORCED = os.environ.get("DURABLE_TEST_ROLE", "")
LOGINS = {
    "runtime": ("durable_runtime",),
    "worker": ("durable_runtime", "durable_janitor"),
    "ui_ro": ("durable_ui_ro",),
    "ui_rw": ("durable_ui_rw",),
    "janitor": ("durable_janitor",),
}


async def _prepare(url: str) -> None:
    await store.migrate(url, after=True)
    await store.make_roles(url)


@contextmanager
def database_for(postgres: PostgresServer, *logins: str) -> Iterator[list[str]]:
    """A database of its own with the namespace's roles; yields its URL for its owner, then one for each of these logins.

    What belongs to the application (tables of tests) these may make in the schema `public`.
    """
    owner = postgres.create_database(postgres.ensure_template("roles", _prepare))
    try:
        yield [owner, *(_login(postgres, owner, login) for login in logins)]
    finally:
        postgres.drop_database(owner)


def _login(postgres: PostgresServer, owner: str, login: str) -> str:
    name = f"test_{login}"
    groups = ", ".join(LOGINS[login])
    if not postgres.execute(f"select 1 from pg_roles where rolname = '{name}'"):
        postgres.execute(f"create role {name} login password 'secret of a role'")
    postgres.execute(f"grant {groups} to {name}")
    postgres.execute(f"grant all on schema public to {name}", owner)
    parts = urlsplit(owner)
    return urlunsplit(
        parts._replace(netloc=f"{name}:secret%20of%20a%20role@{parts.netloc.rpartition('@')[2]}")
    )
