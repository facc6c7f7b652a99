"""Starts of one process share a commit, as the steps of a worker do.

While a call is on its way the next starts gather, without a timer. Two calls may be under way: a start whose workflow id
somebody else is about to take has to wait for that, and others shall not wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from durable.exceptions import PayloadCodecError, StoreUnavailableError
from durable.store import NewRun, StartVerdict, Store

BATCH = 500
"""Starts in one call: beyond it a call only takes longer."""

AT_ONCE = 2
"""Calls under way."""


class Starts:
    """Those starts of one client that wait for the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[tuple[NewRun, asyncio.Future[StartVerdict]]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._awake = False

    async def create(self, run: NewRun) -> StartVerdict:
        """Create a run; see `Store.create_runs`, which also says what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[StartVerdict] = loop.create_future()
        self._waiting.append((run, future))
        if not self._awake and len(self._calls) < AT_ONCE:
            # Behind what is ready now: many starts often come from one `gather`.
            self._awake = True
            loop.call_soon(self._call)
        return await future

    def _call(self) -> None:
        self._awake = False
        if self._waiting and len(self._calls) < AT_ONCE:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            task = asyncio.get_running_loop().create_task(self._create(batch), name="durable client starts")
            self._calls.add(task)
            task.add_done_callback(self._called)

    def _called(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._call()

    async def _create(self, batch: Sequence[tuple[NewRun, asyncio.Future[StartVerdict]]]) -> None:
        try:
            verdicts = await self._store.create_runs([run for run, _ in batch])
        except Exception as error:
            away = isinstance(error, StoreUnavailableError) and not isinstance(error, PayloadCodecError)
            if len(batch) == 1 or away:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                return
        else:
            for (_, future), verdict in zip(batch, verdicts, strict=True):
                if not future.done():
                    future.set_result(verdict)
            return
        # One of them is at fault; the others shall not fail with it.
        for one in batch:
            await self._create([one])

    async def aclose(self) -> None:
        """Let calls under way finish; whoever has not been sent is cancelled."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        if self._calls:
            await asyncio.wait(self._calls)
