"""A store without a database of its own: all it can do, it does in transactions of callers."""

from __future__ import annotations

import importlib
from typing import Any

from durable.exceptions import UnfitConnectionError
from durable.store._inside import Inside
from durable.store._seats import PostgresSeat, seat_of
from durable.store._url import ADAPTERS


class Nowhere:
    """See the module, and `Store` for `inside`.

    Args:
        namespace: Of whose tables, where the database has several.

    Raises:
        StoreConfigurationError: It cannot be one.
    """

    url = "no database of its own"
    transaction_types: tuple[type[Any], ...] = ()

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def inside(self, connection: object) -> Inside:
        """Return what a caller's open transaction can be told to do, whatever database that is in."""
        seat = await seat_of(connection)
        adapter = ADAPTERS["postgresql" if isinstance(seat, PostgresSeat) else "sqlite"]
        module = importlib.import_module(f"{adapter}._inside")
        found: Inside = await module.inside_of(seat, self._namespace)
        return found

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise UnfitConnectionError(
            "this asks the database for something beside the transaction that it is to be part of (a cron schedule, a "
            "version, or a query does), and a SyncClient has no connection for that: use a Client"
        )
