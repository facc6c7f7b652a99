"""Waiting for updates: told in memory, hinted, or found by looking.

A waiter is there before its update is sent, so that nothing told in between is missed. What a worker of this process
tells needs no look at the database; a hint, the end of a run, and the passing of time each cause one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator, Sequence

from durable.client._pace import Pace
from durable.client._patience import Patience
from durable.history import EventData
from durable.store import ANY_KEY, Hint, HintKind, Store, UpdateOutcome, UpdateStage

POLL = 1.0
"""Seconds between looks for what no hint told of."""


class UpdateWaiter:
    """One who waits for an update, of the run it was sent to."""

    __slots__ = ("_error", "_pace", "_patiently", "_store", "_told", "_woken", "message_id", "run_id")

    def __init__(self, store: Store, patiently: Patience, run_id: str, message_id: str) -> None:
        self._store = store
        self._patiently = patiently
        self._told: UpdateOutcome | None = None
        self._error: BaseException | None = None
        self._woken = asyncio.Event()
        self._pace = Pace()
        self.run_id = run_id
        self.message_id = message_id

    def tell(self, outcome: UpdateOutcome) -> None:
        """Take the news of how far the update has come, for good."""
        self._told = outcome
        self._woken.set()

    def wake(self, *, vaguely: bool = False) -> None:
        """Look soon: something may have happened, with this run unless `vaguely`."""
        self._pace.vague |= vaguely
        self._woken.set()

    def fail(self, error: BaseException) -> None:
        """Wait no longer, but raise this."""
        self._error = error
        self._woken.set()

    async def reached(self, stage: UpdateStage, *, look: bool = True) -> UpdateOutcome | None:
        """Return the update once it has come so far, or None when its run knows nothing of it.

        Args:
            stage: How far.
            look: Whether it may have come so far already.
        """
        while True:
            found = self._told
            if found is None and look:
                with self._pace.looking():
                    found = await self._patiently(
                        lambda: self._store.find_update(self.run_id, self.message_id)
                    )
                if found is None:
                    return None
            if found is not None and found.stage >= stage:
                return found
            self._told, look = None, True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._woken.wait()
            self._woken.clear()
            if self._error is not None:
                raise self._error
            if self._told is None:
                await self._pace.pause()


class UpdateWaiting:
    """Those of one client who wait for updates."""

    def __init__(self, store: Store, patiently: Patience) -> None:
        self._store = store
        self._patiently = patiently
        self._waiters: dict[str, list[UpdateWaiter]] = {}
        self._unlisten: Callable[[], None] | None = None

    @contextlib.contextmanager
    def waiter(self, run_id: str, message_id: str) -> Generator[UpdateWaiter]:
        """Wait for an update within this block."""
        if self._unlisten is None:
            self._unlisten = self._store.listen(self._hinted, HintKind.UPDATE, HintKind.CLOSED)
        waiter = UpdateWaiter(self._store, self._patiently, run_id, message_id)
        self._waiters.setdefault(run_id, []).append(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiters[run_id]
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[run_id]

    def told(self, run_id: str, outcomes: Sequence[UpdateOutcome]) -> None:
        """Take the news of updates of a run of this process."""
        for waiter in self._waiters.get(run_id, ()):
            for outcome in outcomes:
                if outcome.message_id == waiter.message_id:
                    waiter.tell(outcome)

    def ended(self, run_id: str, _event: EventData) -> None:
        """Take the news that a run has closed: its updates have an outcome, or have gone on."""
        self._wake(run_id)

    @property
    def awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiters)

    def fail_all(self, error: BaseException) -> None:
        """Let nobody wait any longer: the outcome will not come, for this reason."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.fail(error)

    def _wake(self, run_id: str, *, vaguely: bool = False) -> None:
        for waiter in self._waiters.get(run_id, ()):
            waiter.wake(vaguely=vaguely)

    def _hinted(self, hint: Hint) -> None:
        vaguely = hint.key == ANY_KEY
        for run_id in self._waiters if vaguely else [hint.key]:
            self._wake(run_id, vaguely=vaguely)

    def close(self) -> None:
        """Hear no more hints. Again does nothing."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
