"""What metrics tell of the whole database, looked at by one of the workers that collect metrics."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from durable._internal import machine
from durable._internal.instants import SECOND
from durable.exceptions import StoreUnavailableError
from durable.worker._home import Home
from durable.worker._observed import Observer

logger = logging.getLogger("durable.worker")

EVERY = 15.0
"""Seconds between two looks: what Prometheus takes for the usual time between two of its own."""

FIRST = 0.5
"""Seconds until the first one."""

SHARE = 100
"""A look that took long is followed by a pause of so many times as long, so that it costs the database no more than 1 %."""

MISSED = 3
"""Looks that whose turn it is may miss before another worker takes over."""


async def survey(home: Home, observer: Observer | None) -> None:
    """Look again and again for as long as the worker lives, and tell the observer what was seen while it is this one's turn."""
    if observer is None or not observer.measures:
        await asyncio.Event().wait()  # no part of a worker ends by itself
        return

    async def look(hold: int) -> None:
        mine = await home.store.take_survey_turn(home.worker_id, hold)
        observer.surveyed(await home.store.survey() if mine else None)

    await again(home, look, lambda: observer.surveyed(None), "what waits")


async def again(
    home: Home, look: Callable[[int], Awaitable[None]], blind: Callable[[], None], what: str
) -> None:
    """Look at the whole database again and again, for as long as the worker lives.

    Args:
        home: The worker.
        look: Looks once, and gets for how many microseconds the turn is to be this worker's.
        blind: Called when the worker cannot look.
        what: What is looked for, for the log.
    """
    pause, took = FIRST, 0.0
    while True:
        await asyncio.sleep(pause * random.uniform(0.9, 1.1))
        pause = max(EVERY, SHARE * took)
        if not home.lease.held:
            blind()
            continue
        begun = machine.monotonic()
        try:
            await look(round(MISSED * pause * SECOND))
        except StoreUnavailableError as error:
            blind()
            logger.debug("the database is away, counting %s comes later: %s", what, error)
        except Exception:
            blind()
            logger.exception("%s could not be counted; this is tried again later", what)
        took = machine.monotonic() - begun
