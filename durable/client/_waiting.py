"""Waiting for runs to close: told in memory, hinted, or found by looking; one loop for all who wait.

Who waits is known here before it is looked whether the run has closed already, so what is told in between is not missed.
Where hints do not arrive (a pooler, a lost connection) only looking finds anything; so until one has been heard it is looked
soon behind the beginning of a wait, and less often the longer that lasts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from durable.client._local import LocalRuns
from durable.client._pace import Pace
from durable.client._patience import Patience
from durable.exceptions import HistoryError, PayloadCodecError, StoreError
from durable.history import EventData, EventRow, decode_data
from durable.store import ANY_KEY, Hint, HintKind, Store

logger = logging.getLogger("durable.client")

POLL = 1.0
"""Seconds between looks for what no hint told of."""

SOONEST = 0.02
"""Seconds between looks at least, while no hint has been heard."""

OF_WAIT = 0.05
"""How long it is until the next look then, as a part of what has been waited: nobody waits much longer for it."""

OF_EACH = 0.0001
"""Seconds that it is put off for each who waits: a look at many costs more, and comes less often."""

CLOSED = "the client was closed while a result was awaited"

BATCH = 500
"""Runs looked at in one query."""


class Waiting:
    """Those of one client who wait for runs to close."""

    def __init__(self, store: Store, local: LocalRuns, patiently: Patience) -> None:
        self._store = store
        self._patiently = patiently
        self._local = local
        self._waiters: dict[str, list[asyncio.Future[EventData]]] = {}
        self._look = asyncio.Event()
        self._suspects: set[str] = set()
        self._pace = Pace()
        self._heard = False
        self._looked_at = self._came_at = 0.0
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
        self._enter(run_id, future)
        try:
            if not self._local.owns(run_id):
                self._expect()
                if (row := await self._first_look(run_id)) is not None:
                    return decode_data(row.type, row.data)
            # A worker here tells of the close; should it lose the run, the poll finds out.
            return await future
        finally:
            self._leave(run_id, future)

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
            run_ids = list(dict.fromkeys(run_id for run_id, _ in batch))
            found = await self._patiently(lambda: self._read(run_ids)) if batch else {}
            if isinstance(found, PayloadCodecError):
                raise found
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

    async def _read(self, run_ids: Sequence[str]) -> dict[str, EventRow] | PayloadCodecError:
        """Return what has closed runs; or that it cannot be decoded, which waiting does not mend."""
        try:
            return await self._store.read_closing_events(run_ids)
        except PayloadCodecError as error:
            return error

    def _enter(self, run_id: str, future: asyncio.Future[EventData]) -> None:
        self._waiters.setdefault(run_id, []).append(future)
        if self._unlisten is None:
            self._unlisten = self._store.listen(self._hinted, HintKind.CLOSED)
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._looked_at = loop.time()
            self._task = loop.create_task(self._run(), name="durable client waiting")

    def _expect(self) -> None:
        """Have the next look at all come sooner, unless hints are heard: somebody waits for what happens elsewhere."""
        self._came_at = asyncio.get_running_loop().time()
        if not self._heard:
            self._look.set()

    def _leave(self, run_id: str, future: asyncio.Future[EventData]) -> None:
        if not future.cancel() and not future.cancelled():
            future.exception()  # perhaps nobody has asked for it
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

    def _hinted(self, hint: Hint) -> None:
        self._heard = True
        if hint.key == ANY_KEY:
            self._pace.vague = True
            self._suspects.update(self._waiters)
        elif hint.key in self._waiters:
            self._suspects.add(hint.key)
        if self._suspects:
            self._look.set()

    def _look_at_all_at(self) -> float:
        """When it is looked at all who are waited for, however busy the hints are: the one that was lost is not among them."""
        if self._heard:
            return self._looked_at + POLL
        waited = self._looked_at - self._came_at
        return self._looked_at + min(POLL, max(SOONEST, OF_WAIT * waited, OF_EACH * len(self._waiters)))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            try:
                async with asyncio.timeout_at(self._look_at_all_at()):
                    await self._look.wait()
                at_all = False
            except TimeoutError:
                at_all = True
            await self._pace.pause()
            self._look.clear()
            suspects, self._suspects = self._suspects & self._waiters.keys(), set()
            with self._pace.looking():
                await self._look_at_each(suspects)
                if at_all or loop.time() >= self._look_at_all_at():
                    self._looked_at = loop.time()
                    if await self._look_at_each(self._waiters.keys() - suspects):
                        self._heard = False

    async def _look_at_each(self, run_ids: Collection[str]) -> bool:
        """Tell who waits for those of these runs that have closed; whether one has."""
        ordered, found = list(run_ids), False
        try:
            for start in range(0, len(ordered), BATCH):
                found |= await self._look_at(ordered[start : start + BATCH])
        except StoreError as error:
            logger.warning("waiting for results: the database is away, trying again: %s", error)
        except Exception:
            logger.exception("waiting for results failed, trying again")
        return found

    async def _look_at(self, run_ids: list[str]) -> bool:
        try:
            found = await self._store.read_closing_events(run_ids)
        except PayloadCodecError as error:
            if len(run_ids) > 1:
                return any([await self._look_at([run_id]) for run_id in run_ids])
            self._fail(run_ids[0], error)
            return True
        for run_id, row in found.items():
            try:
                event = decode_data(row.type, row.data)
            except HistoryError as error:
                self._fail(run_id, error)
            else:
                self.told(run_id, event)
        return bool(found)

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
