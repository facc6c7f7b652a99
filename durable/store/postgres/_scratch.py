"""A namespace for a while, to measure in."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from durable.store.postgres._limits import Limits
from durable.store.postgres._part import Part
from durable.store.postgres._pool import Pool
from durable.store.postgres._settings import parse

PREFIX = "durable_bench_"
"""What the names of such schemas begin with: one that was left behind, by a process that was killed, is known by it."""

SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")
"""Settings of the server that decide what a commit costs."""


@asynccontextmanager
async def scratch(url: str) -> AsyncGenerator[tuple[str, str | None]]:
    """Name a schema that is new, and drop it behind the block with all that is in it."""
    name = PREFIX + secrets.token_hex(8)
    try:
        yield url, name
    finally:
        pool = Pool(parse(url, name, Limits()))
        try:
            await pool.fetch(f'drop schema if exists "{name}" cascade')
        finally:
            await pool.aclose()


async def settings_of(store: Part) -> Mapping[str, str]:
    """Return the settings that decide what a commit costs."""
    rows = await store._pool.fetch(
        "select name, setting from pg_settings where name = any($1)", list(SHOWN), read=True
    )
    found = {row["name"]: row["setting"] for row in rows}
    return {name: found[name] for name in SHOWN if name in found}
