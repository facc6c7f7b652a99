"""Whether a worker takes work of its queue: operators pause and drain queues."""

from __future__ import annotations

import logging

from durable.store import QueueState
from durable.worker._held_runs import Owned
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

_SAID = {
    QueueState.OPEN: "task queue %r goes on: its work is taken again",
    QueueState.PAUSED: "task queue %r is paused: nothing of it is begun, and its workflows are handed back",
    QueueState.DRAINING: "task queue %r drains: nothing of it is begun, and its workflows are handed back when they wait",
}


class Gate:
    """What one incarnation knows of its queue's state. A claim that was under way may bring work behind a change."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._state = QueueState.OPEN

    @property
    def open(self) -> bool:
        """Whether work may be taken."""
        return self._state is QueueState.OPEN

    async def look(self) -> bool:
        """Learn the queue's state now, and return whether work may be taken that might not be before.

        Raises:
            StoreUnavailableError: The database is away; the next glance tells.
        """
        before, self._state = self._state, await self._home.store.queue_state(self._home.task_queue)
        if self._state is not before:
            logger.info(_SAID[self._state], self._home.task_queue)
        self._hand_all_back()
        return self.open and before is not QueueState.OPEN

    def glanced(self, state: int) -> bool:
        """Take the queue's state as a glance has seen it, and return whether that is worth a look.

        It is not believed: the glance may have begun before a look that has ended since.
        """
        self._hand_all_back()
        return state != self._state

    def rests(self, host: Owned) -> None:
        """Take the news that a run has nothing urgent to do."""
        if not self.open:
            self._hand_back(host)

    def _hand_all_back(self) -> None:
        if not self.open:
            for host in list(self._home.hosts.values()):
                self._hand_back(host)

    def _hand_back(self, host: Owned) -> None:
        if self._state is QueueState.PAUSED:
            host.pause()
        elif host.parked:
            host.release()
