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


async def patiently(ask: Callable[[], Awaitable[T]], seconds: float = PATIENCE) -> T:
    """Return what `ask` returns; it is asked again while the database is away, so it must be safe to repeat.

    Raises:
        StoreUnavailableError: The database was away for all that time. What was asked may have happened.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    wait = FIRST
    while True:
        try:
            return await ask()
        except StoreUnavailableError:
            if loop.time() >= until:
                raise
        await asyncio.sleep(random.uniform(0, wait))
        wait = min(2 * wait, LONGEST)
