"""How time passes in an environment: it stands still while anything is to be done, and jumps to what is due next.

Theory. Nothing happens in an environment unless its program, one of its workers or the clock does something. All calls of
the database go through one store, and all workers are known to the client; so "nothing is under way" is a fact that can be
looked at and not a guess by waiting: no call has no answer, no run is at work, nothing is to be written. Then only the
clock is left, and the first instant at which something is due is the next thing that happens.

When it may jump is another question. A test that has just started a workflow, and will signal it with its next line, has
nothing under way either. So time jumps only while somebody awaits an outcome (a result, an update), or in `advance`.

What runs in activities is the world outside: it takes as long as it takes. Time does not jump over it; it passes second by
second then, as it does while the test waits for something else, so that timeouts come and nothing waits for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from enum import Enum

from durable._internal.instants import SECOND
from durable.client import Client
from durable.store import ANY_KEY, Hint, HintKind
from durable.testing._agenda import Agenda, read_agenda
from durable.testing._databases import Database
from durable.testing._observed import ObservedStore
from durable.worker._incarnation import Incarnation

PASSES = 6
"""Rounds of the event loop in which something that is about to ask the database would have asked."""

BETWEEN = 0.001
"""Seconds between two looks while something is under way."""

IDLE = 0.002
"""Seconds between two looks whether anybody awaits an outcome, and whether it needs time to pass."""

GRACE = 0.1
"""Seconds that `advance` leaves to activities which run, before time passes over them."""

TICK = 1.0
"""Seconds of the machine's time after which a second has passed, where time does not jump."""

STUCK_AFTER = 3.0
"""Seconds after which an outcome is given up that nothing can bring any more."""

LOOKS = tuple(Hint(kind, ANY_KEY) for kind in (HintKind.RUN, HintKind.ACTIVITY, HintKind.SCHEDULE))


class Rest(Enum):
    """How much is under way."""

    BUSY = "something is under way"
    WORKING = "only activities run"
    QUIET = "nothing is under way"


class Time:
    """The driver of one environment's clock."""

    def __init__(
        self,
        database: Database,
        store: ObservedStore,
        client: Client,
        *,
        serve: Callable[[str], Awaitable[None]],
        stuck: Callable[[], Awaitable[None]],
        tired: Callable[[Sequence[tuple[str, int]]], Awaitable[None]],
        failed: Callable[[], None],
        give_up: Callable[[BaseException], None],
    ) -> None:
        """Drive the clock of `database`, which has one.

        Args:
            database: Whose clock it is.
            store: What is looked at.
            client: Whose workers are looked at.
            serve: Starts a worker for a queue on which something waits, unless that is not wanted.
            stuck: Called when what is awaited can not come.
            tired: Called with run and id of activities that have failed very often.
            failed: Raises what is to be raised in whoever moves the clock.
            give_up: Raises an error in whoever awaits an outcome.
        """
        assert database.clock is not None
        self._database = database
        self._clock = database.clock
        self._store = store
        self._client = client
        self._serve = serve
        self._stuck = stuck
        self._tired = tired
        self._failed = failed
        self._give_up = give_up
        self._frozen = self._manual = self._moving = 0
        self._moved_at = time.monotonic()
        self._written = -1
        self._written_at = self._moved_at
        self._agenda: Agenda | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to drive."""
        self._task = asyncio.get_running_loop().create_task(self._drive(), name="durable environment's time")

    async def stop(self) -> None:
        """Stop; again does nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @contextlib.contextmanager
    def frozen(self) -> Generator[None]:
        """Keep time from passing by itself within the block."""
        self._frozen += 1
        try:
            yield
        finally:
            self._frozen -= 1
            self._moved_at = time.monotonic()

    @contextlib.contextmanager
    def unskipped(self) -> Generator[None]:
        """Let no time be skipped within the block: seconds pass as they do on the machine."""
        self._manual += 1
        try:
            yield
        finally:
            self._manual -= 1

    async def advance(self, duration: int) -> None:
        """Let so many microseconds pass, and all happen that is due in them, in order."""
        self._moving += 1
        try:
            target = self._clock.now() + duration
            while True:
                await self._come_to_rest()
                due = self._next(working=True)
                if due is None or due > target:
                    break
                await self._move_to(due)
            await self._move_to(target)
            await self._come_to_rest()
        finally:
            self._moving -= 1

    # ------------------------------------------------------------------ by itself

    @property
    def _awaited(self) -> bool:
        shared = self._client._connection
        return shared.waiting.awaited or shared.updates.awaited

    async def _drive(self) -> None:
        try:
            await self._drive_on()
        except Exception as error:
            self._give_up(error)  # nobody else moves the clock, so nobody shall wait for it

    async def _drive_on(self) -> None:
        moved = False
        while True:
            await asyncio.sleep(0 if moved else IDLE)
            moved = False
            if self._moving:
                continue
            if self._frozen:
                self._moved_at = time.monotonic()
            elif not self._awaited or self._manual or (rest := await self._look()) is Rest.WORKING:
                await self._tick()
            elif rest is Rest.QUIET and self._awaited and not (self._frozen or self._moving or self._manual):
                moved = await self._jump()

    async def _tick(self) -> None:
        """Let a second pass if it has passed on the machine."""
        if time.monotonic() - self._moved_at >= TICK:
            self._agenda = None
            await self._move_to(self._clock.now() + SECOND)

    async def _jump(self) -> bool:
        """Jump to what is due next, and return True; give up what cannot come."""
        assert self._agenda is not None
        if self._agenda.tired:
            await self._tired(self._agenda.tired)
        due = self._next(working=False)
        if due is not None:
            await self._move_to(due)
            return True
        if self._store.writes != self._written:
            self._written, self._written_at = self._store.writes, time.monotonic()
        elif time.monotonic() - self._written_at > STUCK_AFTER:
            self._written_at = time.monotonic()
            await self._stuck()
        return False

    # ------------------------------------------------------------------ looking

    @property
    def _workers(self) -> Sequence[Incarnation]:
        return [one for one in self._client.local.workers if isinstance(one, Incarnation)]

    async def _come_to_rest(self) -> None:
        """Return when nothing is under way, or nothing but activities for a while.

        Raises:
            Exception: A task of a workflow has failed.
        """
        working_since: float | None = None
        while True:
            rest = await self._look()
            self._failed()
            if rest is Rest.QUIET:
                return
            if rest is Rest.WORKING:
                working_since = working_since or time.monotonic()
                if time.monotonic() - working_since > GRACE:
                    return
            await asyncio.sleep(BETWEEN)

    async def _look(self) -> Rest:
        """Return how much is under way, and know what is to come if it is not much."""
        store = await self._store.open()
        calls = self._store.calls
        for _ in range(PASSES):
            await asyncio.sleep(0)
        if self._changed(calls):
            for worker in self._workers:
                worker.committer.show()
            return Rest.BUSY
        self._agenda = agenda = await read_agenda(self._database, store)
        if self._changed(calls) or agenda.unread:
            return Rest.BUSY
        workers = self._workers
        unserved = agenda.waiting - {worker.task_queue for worker in workers}
        if unserved:
            for queue in unserved:
                await self._serve(queue)
            if self._changed(calls):
                return Rest.BUSY
        working = agenda.outside or any(worker.activities.at_work for worker in workers)
        return Rest.WORKING if working else Rest.QUIET

    def _changed(self, calls: int) -> bool:
        """Whether anything was asked of the database since it was asked so many times, or will be."""
        store = self._store
        return bool(store.under_way) or store.calls != calls or any(map(_at_work, self._workers))

    def _next(self, *, working: bool) -> int | None:
        """Return the first instant at which something is due, deadlines of attempts that run among them if asked for."""
        assert self._agenda is not None
        found = [self._agenda.next]
        for worker in self._workers:
            found += [worker.timers.first, worker.activities.first]
            if working:
                found.append(worker.activities.first_limit)
        return min((at for at in found if at is not None), default=None)

    async def _move_to(self, instant: int) -> None:
        self._moved_at = time.monotonic()
        await self._database.move_to(self._store.store, instant)
        rows = self._agenda is None or (self._agenda.next or instant + 1) <= instant
        for worker in self._workers:
            worker.time_moved(rows=rows)
        if rows:
            self._store.store.hint(LOOKS)


def _at_work(worker: Incarnation) -> bool:
    return (
        not worker.committer.idle
        or not worker.activities.reports.idle
        or worker.claims.claiming
        or worker.spawned
        or any(host.at_work for host in worker.hosts.values())
    )
