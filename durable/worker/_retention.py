"""The removal of closed workflows that have been kept for long enough, by whichever worker has its turn."""

from __future__ import annotations

import asyncio
import logging
import random

from durable._internal import machine
from durable.client._retention import Sweeper
from durable.exceptions import StoreConfigurationError, StoreUnavailableError
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

LOOK = 10.0
"""Seconds between two looks whether anything is to be removed."""

SHARE = 2
"""For how many times as long as a batch has taken nothing is removed after it."""

LONGEST_PAUSE = 0.08
"""Seconds of such a pause at most: with batches of a hundred it alone lets 1,250 runs a second go."""

FIRST_PAUSE = 0.05
"""Seconds of the pause behind the first batch."""


async def retire(home: Home) -> None:
    """Remove what is overdue, for as long as the worker lives and its role may do it."""
    sweeper = Sweeper(home.store, home.namespace, home.options.archive)
    pause = FIRST_PAUSE
    while True:
        await asyncio.sleep(LOOK * random.uniform(0.5, 1.5))
        try:
            removed = 0
            while home.lease.held:
                begun = machine.monotonic()
                found = await sweeper.sweep(pause)
                if found is None:
                    break
                removed += max(found, 0)
                await asyncio.sleep(pause)
                pause = min(SHARE * (machine.monotonic() - begun - pause), LONGEST_PAUSE)
            if removed:
                logger.info(
                    "%d closed workflow runs were removed, which had been kept for long enough", removed
                )
        except StoreConfigurationError as error:
            logger.info("closed workflows are left to a worker or a command that may remove them: %s", error)
            await asyncio.Event().wait()  # no part of a worker ends by itself
        except StoreUnavailableError as error:
            logger.warning("the removal of closed workflows goes on later: %s", error)
        except Exception:
            logger.exception("closed workflows could not be exported or removed; this is tried again later")
