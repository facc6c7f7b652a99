"""A worker's lease: kept up from a thread, given up when the worker no longer deserves it.

Theory. A lease says: nobody else acts for my runs until it ends. Two clocks are involved, and the rule that makes them
safe is one-sided: the database's clock decides when others may take over, and the local clock only ever stops this
worker *sooner*. The local deadline counts from before a renewal was sent, on a clock that runs through suspension, so
it always lies before the database's.

The thread renews on a connection and an event loop of its own: a busy event loop must not cost the lease. But a thread
that renews for ever would hide a dead event loop, so it renews only while that loop goes on (see `_watchdog`).

A worker whose deadline has passed stops acting: no commit, no new effect. Its lease may still be renewed, and then it
goes on. Once somebody has marked it dead, that is final, and the process starts over as a fresh incarnation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from durable._internal import threads
from durable.exceptions import StoreUnavailableError
from durable.store import Lease
from durable.worker._clock import boottime

logger = logging.getLogger("durable.worker")

RENEWALS_PER_LEASE = 3
"""How many times per lease it is renewed: two may fail before it is missed."""


class LeaseKeeper:
    """The thread that keeps a worker's lease, and what the worker asks about it."""

    def __init__(
        self,
        lease: Lease,
        duration: int,
        *,
        alive: Callable[[], bool],
        on_change: Callable[[], None],
        since: int,
    ) -> None:
        """Prepare to keep a lease.

        Args:
            lease: What `Store.register_worker` returned.
            duration: Its length in microseconds.
            alive: Whether the worker's event loop goes on; asked before each renewal, from the thread.
            on_change: Called from the thread when the lease was won back, or lost for good.
            since: `boottime()` from before the worker was registered.
        """
        self._lease = lease
        self._duration = duration
        self._alive = alive
        self._on_change = on_change
        self._deadline = since + duration
        self._tried = since
        self._ended = False
        self._thread = threads.Looping("durable-lease", self._keep)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether the worker may act now."""
        return not self._ended and boottime() < self._deadline

    @property
    def at_work(self) -> bool:
        """Whether renewals are being sent, answered or not."""
        return boottime() - self._tried < self._duration

    @property
    def age(self) -> int:
        """Microseconds since it was renewed last."""
        return boottime() - self._deadline + self._duration

    @property
    def ended(self) -> bool:
        """Whether the lease is lost for good."""
        return self._ended

    def end(self) -> None:
        """Give the lease up for good."""
        self._ended = True
        self._thread.stop()

    async def stop(self) -> None:
        """Stop renewing; again does nothing."""
        self._thread.stop()
        if self._thread.is_alive():
            await self._thread.join(5.0)

    async def _keep(self) -> None:
        pause = self._duration / RENEWALS_PER_LEASE / 1_000_000
        wait = pause
        try:
            while not await self._thread.pause(wait):
                wait = pause
                if not self._alive():
                    continue
                sent = self._tried = boottime()
                try:
                    renewed = await asyncio.wait_for(self._lease.renew(), pause)
                except Exception as error:
                    away = isinstance(error, StoreUnavailableError | TimeoutError)
                    logger.log(
                        logging.WARNING if away else logging.ERROR,
                        "the lease could not be renewed, trying again: %s",
                        str(error) or type(error).__name__,
                        exc_info=None if away else error,
                    )
                    wait = min(pause / 4, 1.0)
                    continue
                if not renewed:
                    self._ended = True
                    self._on_change()
                    return
                # Judged when the answer is there: whoever asked in between was told that the lease is not held.
                missed = boottime() >= self._deadline
                self._deadline = sent + self._duration
                if missed and self.held:
                    self._on_change()
        finally:
            if not self._thread.stopped and not self._ended:
                # Whatever ends this thread ends the incarnation: nobody keeps its lease any more.
                self._ended = True
                self._on_change()
            await self._lease.aclose()
