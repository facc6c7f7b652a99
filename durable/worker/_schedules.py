"""Schedules: whichever worker comes first looks at those that are due, and at those whose running action has ended.

Nothing is remembered here. What is due stands in the database, as an instant of the database's clock, and each worker looks
there often enough to be on time, also when no hint arrives. An end is told by whoever writes it, in this process, and found
by a scan otherwise: whoever wrote it has died, so once in a lease is as soon as anything of the dead is found.
"""

from __future__ import annotations

import asyncio
import logging
import random

from durable._internal.instants import SECOND
from durable.client._scheduler import Scheduler
from durable.exceptions import DurableError, StoreUnavailableError
from durable.store import Hint, HintKind, ScheduleRow
from durable.worker._clock import boottime
from durable.worker._glances import unseen
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

BATCH = 50
"""Schedules claimed at once: others may take the rest."""

AT_ONCE = 5
"""Schedules looked at at the same time: enough to share commits, few enough to leave connections to others."""

SCANNED = 500
"""Schedules whose running action has ended that one scan finds."""

SHORTEST = 0.01
"""Seconds between two looks, at least: what is due may be in somebody else's hands."""

POLL = 1.0
"""Seconds between two looks for what is due, at most: Temporal's actions are taken within a second of their time."""


class Schedules:
    """See the module; for one incarnation."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._scheduler = Scheduler(home.store, home.identity, home.options.tracing, home.ended)
        self._look = asyncio.Event()
        self._ended: set[str] = set()
        self._scan_at = 0
        self._few = asyncio.Semaphore(AT_ONCE)

    def ended(self, schedule_id: str) -> None:
        """Take the news that an action of a schedule has ended."""
        self._ended.add(schedule_id)
        self._look.set()

    def due(self) -> None:
        """Take the news that a schedule is due."""
        self._look.set()

    def look(self) -> None:
        """Take the news that something has ended that may be an action of a schedule."""
        self._scan_at = 0
        self._look.set()

    async def run(self) -> None:
        """Look until cancelled. Whatever goes wrong, there is another look."""
        home = self._home
        stop = home.store.listen(self._hinted, HintKind.SCHEDULE)
        try:
            while True:
                self._look.clear()
                pause = unseen(home.options.poll, POLL) * random.uniform(0.9, 1.1)
                try:
                    if home.lease.held and not home.leaving:
                        pause = min(pause, await self._act())
                except StoreUnavailableError as error:
                    logger.warning("schedules wait, the database is away: %s", error)
                except Exception:
                    logger.exception("looking at schedules failed, trying again")
                try:
                    async with asyncio.timeout(pause):
                        await self._look.wait()
                except TimeoutError:
                    pass
        finally:
            stop()

    def _hinted(self, hint: Hint) -> None:
        self._look.set()

    async def _act(self) -> float:
        """Look at every schedule that is to be looked at; return the seconds until there is to be another look."""
        store = self._home.store
        ended, self._ended = self._ended, set()
        if (now := boottime()) >= self._scan_at:
            self._scan_at = now + round(self._home.options.lease * random.uniform(0.9, 1.1))
            ended |= set(await store.ended_schedules(SCANNED))
        await asyncio.gather(*map(self._look_up, ended))
        while (wait := await store.next_schedule()) == 0:
            rows = await store.claim_schedules(BATCH)
            await asyncio.gather(*map(self._look_at, rows))
            if len(rows) < BATCH:
                wait = await store.next_schedule()
                break
        until_scan = (self._scan_at - boottime()) / SECOND
        return max(SHORTEST, until_scan if wait is None else min(wait / SECOND, until_scan))

    async def _look_up(self, schedule_id: str) -> None:
        row = await self._home.store.find_schedule(schedule_id)
        if row is not None:
            await self._look_at(row)

    async def _look_at(self, row: ScheduleRow) -> None:
        """Look at one schedule. One that cannot be looked at is claimed, and so tried again a little later."""
        async with self._few:
            try:
                done = await self._scheduler.look(row)
            except StoreUnavailableError as error:
                logger.warning("schedule %r waits: %s", row.schedule_id, error)
            except (DurableError, ValueError) as error:
                logger.error("schedule %r cannot be run by this worker: %s", row.schedule_id, error)
            else:
                if not done:
                    self.ended(row.schedule_id)  # somebody has written it meanwhile
