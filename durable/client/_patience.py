"""How long a client waits for a database that is away before it tells its caller."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from durable.exceptions import StoreUnavailableError

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that a call goes on trying. A restart of a database takes less; an outage is the caller's to know."""

FIRST, LONGEST = 0.05, 1.0
"""Seconds between two tries, with full jitter."""


class Patience:
    """The patience of one client: while it is open the database may come back, once it is closed nothing can.

    Attributes:
        patience: Seconds that a call goes on trying.
    """

    def __init__(self) -> None:
        self.patience = PATIENCE
        self._ended = False

    def end(self) -> None:
        """From now on ask once: the client is closed. Again does nothing."""
        self._ended = True

    async def __call__(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what `ask` returns; it is asked again while the database is away, so it must be safe to repeat.

        Raises:
            StoreUnavailableError: The database was away for all that time, or the client is closed. What was asked may
                have happened.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience
        wait = FIRST
        while True:
            try:
                return await ask()
            except StoreUnavailableError:
                if self._ended or loop.time() >= until:
                    raise
            await asyncio.sleep(random.uniform(0, wait))
            wait = min(2 * wait, LONGEST)
