"""Waiting for runs to close: told in memory, hinted, or found by looking; one loop for all who wait."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from durable.client._local import LocalRuns
from durable.exceptions import HistoryError, PayloadCodecError, StoreError
from durable.history import EventData, EventRow, decode_data
from durable.store import Hint, HintKind, Store

logger = logging.getLogger("durable.client")

POLL = 1.0
"""Seconds between looks for what no hint told of."""

PAUSE = 0.02
"""Seconds between two looks at least, when hints say no more than that something happened."""

CLOSED = "the client was closed while a result was awaited"

BATCH = 500
"""Runs looked at in one query."""


class Waiting:
    """Those of one client who wait for runs to close."""

    def __init__(self, store: Store, local: LocalRuns) -> None:
        self._store = store
        self._local = local
        self._waiters: dict[str, list[asyncio.Future[EventData]]] = {}
        self._look = asyncio.Event()
        self._suspects: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] | None = None
        self._wondering: list[tuple[str, asyncio.Future[EventRow | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def closing_event(self, run_id: str) -> EventData:
        """Return the event that closes a run, once it is committed.

        Raises:
            HistoryError: It cannot be read.
            PayloadCodecError: It cannot be decoded.
        """
        future: asyncio.Future[EventData] = asyncio.get_running_loop().create_future()
        if not self._local.owns(run_id):
            row = await self._first_look(run_id)
            if row is not None:
                return decode_data(row.type, row.data)
            # Closed between the look and now? The next look will tell; make it soon.
            self._suspects.add(run_id)
            self._look.set()
        # A worker here tells of the close; should it lose the run, the poll finds out.
        return await self._wait(run_id, future)

    async def _first_look(self, run_id: str) -> EventRow | None:
        """Return what has closed a run already, in one question with all others who want to know of theirs."""
        future: asyncio.Future[EventRow | None] = asyncio.get_running_loop().create_future()
        self._wondering.append((run_id, future))
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask(), name="durable client looking")
        return await future

    async def _ask(self) -> None:
        while self._wondering:
            batch, self._wondering = self._wondering[:BATCH], self._wondering[BATCH:]
            await self._answer([entry for entry in batch if not entry[1].done()])

    async def _answer(self, batch: list[tuple[str, asyncio.Future[EventRow | None]]]) -> None:
        try:
            found = (
                await self._store.read_closing_events(list({run_id for run_id, _ in batch})) if batch else {}
            )
        except asyncio.CancelledError:
            for _, future in batch:
                if not future.done():
                    future.set_exception(RuntimeError(CLOSED))
            raise
        except Exception as error:
            if isinstance(error, PayloadCodecError) and len(batch) > 1:
                for entry in batch:
                    await self._answer([entry])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for run_id, future in batch:
                if not future.done():
                    future.set_result(found.get(run_id))

    async def _wait(self, run_id: str, future: asyncio.Future[EventData]) -> EventData:
        self._waiters.setdefault(run_id, []).append(future)
        self._start()
        try:
            return await future
        finally:
            waiters = self._waiters.get(run_id)
            if waiters is not None and future in waiters:
                waiters.remove(future)
                if not waiters:
                    del self._waiters[run_id]

    def told(self, run_id: str, event: EventData) -> None:
        """Take the news that a run of this process has closed."""
        for future in self._waiters.pop(run_id, ()):
            if not future.done():
                future.set_result(event)

    @property
    def awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiters)

    def fail_all(self, error: Exception) -> None:
        """Let nobody wait any longer: no result will come, for this reason."""
        for run_id in list(self._waiters):
            self._fail(run_id, error)

    def _start(self) -> None:
        if self._unlisten is None:
            self._unlisten = self._store.listen(self._hinted, HintKind.CLOSED)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="durable client waiting")

    def _hinted(self, hint: Hint) -> None:
        if hint.key == "*" or hint.key in self._waiters:
            self._suspects.update(self._waiters if hint.key == "*" else [hint.key])
            if self._suspects:
                self._look.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        everything_at = loop.time() + POLL
        while self._waiters:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(everything_at):
                    await self._look.wait()
            self._look.clear()
            if loop.time() >= everything_at:
                # However busy the hints are: the one that was lost is not among them.
                everything_at = loop.time() + POLL
                self._suspects.update(self._waiters)
            suspects, self._suspects = [run_id for run_id in self._suspects if run_id in self._waiters], set()
            try:
                for start in range(0, len(suspects), BATCH):
                    await self._look_at(suspects[start : start + BATCH])
            except StoreError as error:
                logger.warning("waiting for results: the database is away, trying again: %s", error)
            except Exception:
                logger.exception("waiting for results failed, trying again")
            await asyncio.sleep(PAUSE)

    async def _look_at(self, run_ids: list[str]) -> None:
        try:
            found = await self._store.read_closing_events(run_ids)
        except PayloadCodecError as error:
            if len(run_ids) == 1:
                self._fail(run_ids[0], error)
            else:
                for run_id in run_ids:
                    await self._look_at([run_id])
            return
        for run_id, row in found.items():
            try:
                event = decode_data(row.type, row.data)
            except HistoryError as error:
                self._fail(run_id, error)
            else:
                self.told(run_id, event)

    def _fail(self, run_id: str, error: Exception) -> None:
        """Tell who waits for a run that is closed how it closed cannot be read."""
        for future in self._waiters.pop(run_id, ()):
            if not future.done():
                future.set_exception(error)

    async def aclose(self) -> None:
        """Stop; whoever still waits is told that the client was closed."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        for task in (self._task, self._asking):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for _, wondering in self._wondering:
            if not wondering.done():
                wondering.set_exception(RuntimeError(CLOSED))
        self._wondering.clear()
        for waiters in self._waiters.values():
            for future in waiters:
                if not future.done():
                    future.set_exception(RuntimeError(CLOSED))
        self._waiters.clear()
