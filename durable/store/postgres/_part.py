"""What all parts of the store share: the pool, and the queries of the namespace."""

from __future__ import annotations

from typing import Any

from durable._internal.named_sql import load
from durable.store.postgres._pool import Pool
from durable.store.postgres._session import Row

_FILES = (
    "runs",
    "messages",
    "commit",
    "fleet",
    "claims",
    "activities",
    "batches",
    "callers",
    "deadlines",
    "lanes",
    "log",
    "operations",
    "queries",
    "retention",
    "schedules",
    "search",
    "versions",
    "workers",
)


class Part:
    """One part of the port; `PostgresStore` is all of them on one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.url = pool.settings.shown
        self._sql: dict[str, str] = {}
        for file in _FILES:
            for name, text in load(__package__ or "", f"sql/{file}.sql").items():
                if name in self._sql:
                    raise ValueError(f"two queries are named {name}")
                self._sql[name] = pool.settings.qualify(text)

    async def _fetch(self, name: str, *args: Any) -> list[Row]:
        """A call that writes: it may have taken effect when it raises."""
        return await self._pool.fetch(self._sql[name], *args)

    async def _read(self, name: str, *args: Any) -> list[Row]:
        """A call that only reads: a lost connection is made up for."""
        return await self._pool.fetch(self._sql[name], *args, read=True)
