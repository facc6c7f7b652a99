"""One look for all: what a worker polls for, in one statement.

Each loop of a worker (claims, messages, queries, schedules, what is overdue) looks when a hint says so. Hints may be lost,
so somebody has to look without one; if every loop did, an idle worker would make ten statements a second that find nothing.
Here one statement per poll interval tells which of the loops has anything to look for, and wakes that one. The loops look
by themselves only once in a while, so that nothing rests on this alone.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from durable._engine.versioning import places
from durable._internal.instants import SECOND
from durable.exceptions import StoreUnavailableError
from durable.store import Glance
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

SELDOM = 60
"""Poll intervals after which a loop looks although nothing was seen."""


class Glances:
    """The look, and whom it wakes, for one incarnation.

    Args:
        home: The incarnation.
        due: Looks for runs, activities and messages.
        overdue: Looks for runs and attempts that are overdue.
        asked: Looks for queries.
        scheduled: Looks for schedules that are due.
        gated: Is told what an operator has said of the queue.
    """

    def __init__(
        self,
        home: Home,
        *,
        due: Callable[[], None],
        overdue: Callable[[], None],
        asked: Callable[[], None],
        scheduled: Callable[[], None],
        gated: Callable[[int], None],
    ) -> None:
        self._home = home
        self._due = due
        self._overdue = overdue
        self._asked = asked
        self._scheduled = scheduled
        self._gated = gated
        self._later: list[asyncio.TimerHandle] = []

    async def run(self) -> None:
        """Look until cancelled. Whatever goes wrong, there is another look."""
        home = self._home
        try:
            while True:
                # Spread, since workers are started together; never longer than was asked for.
                await asyncio.sleep(home.options.poll * random.uniform(0.8, 1.0))
                if not home.lease.held:
                    continue
                try:
                    found = await home.store.glance(places(home.task_queue, home.options.version))
                except StoreUnavailableError as error:
                    logger.debug("the database is away, looking again: %s", error)
                except Exception:
                    logger.exception("looking for work failed, trying again")
                else:
                    self._tell(found)
        finally:
            self._forget()

    def _tell(self, found: Glance) -> None:
        self._forget()
        self._gated(found.queue_state)
        if found.ready or found.routed or self._home.versions.routed:
            self._due()
        else:
            self._call(found.wake_in, self._due)
        if found.overdue:
            self._overdue()
        if found.asked:
            self._asked()
        self._call(found.schedule_in, self._scheduled)

    def _call(self, wait: int | None, look: Callable[[], None]) -> None:
        """Have somebody look at what becomes due before the next glance."""
        if wait is not None and wait / SECOND < 1.2 * self._home.options.poll:
            self._later.append(asyncio.get_running_loop().call_later(wait / SECOND + 0.001, look))

    def _forget(self) -> None:
        for handle in self._later:
            handle.cancel()
        self._later.clear()


def unseen(poll: float, usual: float) -> float:
    """Return after how many seconds a loop looks by itself that would look as `usual` if nobody glanced for it."""
    return SELDOM * poll if poll <= usual else usual
