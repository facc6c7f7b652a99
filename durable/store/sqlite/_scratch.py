"""A file for a while, to measure in."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from urllib.parse import quote

from durable.exceptions import StoreConfigurationError
from durable.store import _url
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._store import SQLiteStore

_LEVELS = ("off", "normal", "full", "extra")


@asynccontextmanager
async def scratch(url: str) -> AsyncGenerator[tuple[str, str | None]]:
    """Name a file that is new, on the disk of another one, and remove it behind the block with all that is beside it.

    Raises:
        StoreConfigurationError: There is no place for it.
    """
    path = _url.sqlite_path(url)
    if path == _url.MEMORY:
        yield url, None
        return
    folder = os.path.dirname(path) or "."
    try:
        place = TemporaryDirectory(prefix=".durable-bench-", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise StoreConfigurationError(f"cannot make a file in {folder}: {error}") from error
    with place as inner:
        yield f"sqlite:///{quote(inner)}/bench.db", None


async def settings_of(store: SQLiteStore) -> Mapping[str, str]:
    """Return what decides what a commit costs."""

    def look(transaction: Transaction) -> Mapping[str, str]:
        level: int = transaction.db.execute("PRAGMA synchronous").fetchone()[0]
        journal: str = transaction.db.execute("PRAGMA journal_mode").fetchone()[0]
        return {
            "sqlite_version": sqlite3.sqlite_version,
            "synchronous": _LEVELS[level],
            "journal_mode": journal,
        }

    return await store.writer.run(look)
