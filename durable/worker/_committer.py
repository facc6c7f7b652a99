"""The committer: one transaction for the steps of all runs that are ready.

While a batch is on its way the next one gathers; there is no timer in between and nothing to tune. A run is asked for
its transition at the last moment, so what came in meanwhile travels along. Where others wait already when a batch is written, they
are sent first, and what was written is told while they are on their way. Commands that only have to show (an activity
that runs here) do not start a batch: they ride with their run's next input, or go alone after `SHOW_AFTER`.

A run whose row somebody else has locked waits by itself, longer each time, with the transition it has made; the batches
go on without it.

With a payload codec a transition is encoded first, beside the batches, once however often it has to be written: what is
read back is compared byte for byte. A codec that fails holds up the run, and no other.

A commit that fails has an unknown outcome. Then nothing of the batch is believed: each run of it is read back, and what
is found at its positions tells whether its transition is there. Runs outside the batch go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

from msgspec.structs import replace

from durable.exceptions import PayloadCodecError, StoreError, StoreUnavailableError
from durable.store import (
    CommitResult,
    EncodedStore,
    NewRun,
    StartOutcome,
    StartVerdict,
    Store,
    Transition,
    Verdict,
    beneath,
)
from durable.worker._clock import DatabaseClock
from durable.worker._lease import LeaseKeeper

logger = logging.getLogger("durable.worker")

MAX_RUNS = 125
"""Transitions in one batch: enough to share its cost, few enough that other runs have their turns while it is written."""

MAX_BYTES = 8 * 1024 * 1024
"""Event bytes in one batch, about: a batch must not become a message the database refuses."""

SHOW_AFTER = 0.02
"""Seconds after which commands that wait for company are written alone, so that a long activity shows."""

LOCKED_FIRST, LOCKED_LONGEST = 0.001, 1.0
"""Seconds until a locked run is tried again, doubled each time: a lock is mostly short, but an operator may hold one."""

RETRY_FIRST, RETRY_LONGEST = 0.05, 5.0
"""Seconds between attempts to reach a database that is away, with full jitter."""

BUSY = Verdict.BUSY


class Committed(Protocol):
    """A run whose transitions are committed."""

    run_id: str

    def next_transition(self, now: int) -> Transition | None:
        """Return what it wants to write now."""
        ...

    def answered(self, verdict: Verdict, now: int) -> None:
        """Take the verdict on what `next_transition` returned last."""
        ...

    def unwritable(self, error: Exception) -> None:
        """Take the news that the database refuses what `next_transition` returned last, and always will."""
        ...

    def held_up(self, error: PayloadCodecError) -> bool:
        """Take the news that the codec fails with what `next_transition` returned last; whether it takes that back."""
        ...


Batch = Sequence[tuple[Committed, Transition]]
"""Runs, each with what is written of it."""


class Committer:
    """Gathers and commits; see the module."""

    def __init__(
        self,
        store: Store,
        worker_id: str,
        clock: DatabaseClock,
        lease: LeaseKeeper,
        *,
        adopt: Callable[[NewRun, StartVerdict], None] = lambda new, verdict: None,
    ) -> None:
        """Commit for one worker.

        Args:
            store: Where to.
            worker_id: Who it is.
            clock: Its clock, which every commit sets.
            lease: Its life: nothing is committed when it is in doubt.
            adopt: Takes runs that a transition created as this worker's.
        """
        self._store = beneath(store)
        self._encode = store.encode_transition if isinstance(store, EncodedStore) else None
        self._encoding: dict[Committed, asyncio.Task[None]] = {}
        self._worker_id = worker_id
        self._clock = clock
        self._lease = lease
        self._adopt = adopt
        self._ready: dict[Committed, Transition | None] = {}
        self._soon: dict[Committed, float] = {}
        self._soon_timer: asyncio.TimerHandle | None = None
        self._locked: dict[Committed, asyncio.TimerHandle] = {}
        self._locked_pause: dict[Committed, float] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._settling: set[asyncio.Task[None]] = set()
        self._busy = False
        self._failures = 0
        self._repeated: set[str] = set()

    def submit(self, run: Committed) -> None:
        """Ask `run` for a transition with the next batch; one that has made a transition already is not asked."""
        self._soon.pop(run, None)
        if run not in self._ready and run not in self._locked and run not in self._encoding:
            self._ready[run] = None
        self._wake.set()

    def submit_soon(self, run: Committed) -> None:
        """Ask `run` for a transition after a moment, unless it is asked before."""
        if run in self._ready or run in self._soon:
            return
        self._soon[run] = self._loop.time() + SHOW_AFTER
        if self._soon_timer is None:
            self._soon_timer = self._loop.call_later(SHOW_AFTER, self._show)

    def show(self) -> None:
        """Ask all that were to be asked after a moment."""
        for run in list(self._soon):
            self.submit(run)

    def withdraw(self, run: Committed) -> None:
        """Forget a run that is gone."""
        self._ready.pop(run, None)
        self._soon.pop(run, None)
        self._locked_pause.pop(run, None)
        if (timer := self._locked.pop(run, None)) is not None:
            timer.cancel()
        if (task := self._encoding.pop(run, None)) is not None:
            task.cancel()

    def _show(self) -> None:
        self._soon_timer = None
        now = self._loop.time() + 0.001
        for run, at in list(self._soon.items()):
            if at > now:
                self._soon_timer = self._loop.call_at(at, self._show)
                break
            self.submit(run)

    async def run(self) -> None:
        """Commit until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if not self._lease.held:
                    await asyncio.sleep(RETRY_FIRST)
                    self._wake.set()
                    continue
                if batch := self._gather():
                    self._busy = True
                    try:
                        await self._commit(batch)
                    finally:
                        self._busy = False
                batch = []  # What has closed is not kept until the next commit.
                if not self._ready:
                    # The turns that this commit has brought are next in line: what they ask for is gathered behind them,
                    # in the same pass of the event loop.
                    await asyncio.sleep(0)
                if self._ready:
                    self._wake.set()
        finally:
            if self._soon_timer is not None:
                self._soon_timer.cancel()
            for timer in self._locked.values():
                timer.cancel()
            for task in (*self._settling, *self._encoding.values()):
                task.cancel()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        waiting = self._ready or self._soon or self._locked or self._encoding
        return not (waiting or self._busy or self._settling)

    def _gather(self) -> list[tuple[Committed, Transition]]:
        batch: list[tuple[Committed, Transition]] = []
        size = 0
        ready = self._ready
        now = self._clock.now()
        # Each run is asked once: one that has nothing to write after all may submit itself again meanwhile.
        for _ in range(len(ready)):
            if len(batch) >= MAX_RUNS or size >= MAX_BYTES:
                break
            run = next(iter(ready))
            made = ready.pop(run)
            try:
                transition = made or run.next_transition(now)
            except Exception as error:
                # What this run's code asked for cannot be written down; no other run shall suffer from it.
                run.unwritable(error)
                continue
            if transition is not None and made is None and self._encode is not None:
                self._encoding[run] = self._loop.create_task(
                    self._encode_first(self._encode, run, transition), name="durable codec"
                )
            elif transition is not None:
                batch.append((run, transition))
                for event in transition.events:
                    size += len(event.data)
        return batch

    async def _encode_first(
        self, encode: Callable[[Transition], Awaitable[Transition]], run: Committed, transition: Transition
    ) -> None:
        """Have a transition encoded, however long that takes, and write it with the next batch then."""
        wait = RETRY_FIRST
        while True:
            try:
                made = await encode(transition)
            except PayloadCodecError as error:
                task = self._encoding.pop(run)
                if run.held_up(error):
                    return
                self._encoding[run] = task
                await asyncio.sleep(random.uniform(0, wait))
                wait = min(wait * 2, RETRY_LONGEST)
            except Exception as error:
                del self._encoding[run]
                run.unwritable(error)
                return
            else:
                del self._encoding[run]
                self._ready[run] = made
                self._wake.set()
                return

    async def _commit(self, batch: Batch) -> None:
        """Commit a batch, and what was ready when it was written, and so on until nothing was."""
        written = await self._write(batch)
        while self._ready and self._lease.held and (following := self._gather()):
            # The database is not kept waiting: what this batch has brought is taken in while it writes the next one.
            writing = self._loop.create_task(self._write(following), name="durable commit")
            try:
                await asyncio.sleep(0)  # it is sent
                self._answer(written)
            except BaseException:
                writing.cancel()
                await asyncio.wait([writing])
                raise
            written = await writing
        self._answer(written)

    async def _write(self, batch: Batch) -> list[tuple[Batch, CommitResult]]:
        """Write a batch, in parts if it has to be, and return what came of each part whose outcome is known."""
        try:
            result = await self._store.commit([transition for _, transition in batch])
        except StoreUnavailableError as error:
            logger.warning(
                "the outcome of a commit of %d runs is unknown, reading back: %s", len(batch), error
            )
            self._failures += 1
            self._spawn_settling(batch)
            return []
        except (StoreError, ValueError) as error:
            if len(batch) == 1:
                batch[0][0].unwritable(error)
                return []
            # One of them is at fault; halve until it stands alone.
            middle = len(batch) // 2
            return [*await self._write(batch[:middle]), *await self._write(batch[middle:])]
        self._failures = 0
        self._clock.observe(result.now)
        return [(batch, result)]

    def _answer(self, written: list[tuple[Batch, CommitResult]]) -> None:
        for batch, result in written:
            self._answer_batch(batch, result)

    def _answer_batch(self, batch: Batch, result: CommitResult) -> None:
        if result.started:
            created = {new.run_id: new for _, transition in batch for new in _created(transition)}
            for started in result.started:
                if self._encode is not None:
                    # What was written is encoded; told that it is there already, the worker reads it, decoded.
                    started = replace(started, outcome=StartOutcome.SAME)
                self._adopt(created[started.run_id], started)
        times, repeated = result.times or (result.now,) * len(batch), self._repeated
        for (run, transition), verdict, now in zip(batch, result.verdicts, times, strict=True):
            if verdict is BUSY:
                self._put_off(run, transition)
                continue
            if self._locked_pause:
                self._locked_pause.pop(run, None)
            if run.run_id not in repeated:
                run.answered(verdict, now)
            else:
                repeated.discard(run.run_id)
                if verdict is Verdict.WRITTEN and transition.events:
                    # The first of the two commits may have been the one, at its own time: the log knows.
                    self._spawn_settling([(run, transition)])
                else:
                    run.answered(verdict, now)

    def _put_off(self, run: Committed, transition: Transition) -> None:
        """Write a locked run's transition later; others do not wait for whoever holds its row."""
        pause = self._locked_pause.get(run, LOCKED_FIRST)
        self._locked_pause[run] = min(pause * 2, LOCKED_LONGEST)
        self._locked[run] = self._loop.call_later(
            pause * random.uniform(0.5, 1.0), self._try_again, run, transition
        )

    def _try_again(self, run: Committed, transition: Transition) -> None:
        del self._locked[run]
        self._ready[run] = transition
        self._wake.set()

    def _spawn_settling(self, batch: Batch) -> None:
        task = self._loop.create_task(self._settle(batch))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, batch: Batch) -> None:
        """Find out what became of a batch, run by run; what is absent is written again."""
        unknown = list(batch)
        # A database that answers and still fails every commit is not asked at full speed.
        wait = min(RETRY_FIRST * 2 ** min(self._failures - 1, 10), RETRY_LONGEST)
        while unknown:
            await asyncio.sleep(random.uniform(0, wait))
            wait = min(wait * 2, RETRY_LONGEST)
            try:
                owned = await self._store.owned_runs(self._worker_id)
                while unknown:
                    run, transition = unknown[-1]
                    await self._settle_one(run, transition, owned.get(run.run_id))
                    unknown.pop()
            except StoreUnavailableError:
                continue
            except Exception:
                # Whatever it is, these runs wait for an answer that nobody else brings.
                logger.exception("reading back a commit failed, trying again")
                unknown.insert(0, unknown.pop())

    async def _settle_one(self, run: Committed, transition: Transition, epoch: int | None) -> None:
        written_at = await self._find(transition)
        if written_at is not None:
            await self._find_created(transition)
            run.answered(Verdict.WRITTEN, written_at)
        elif epoch != transition.epoch:
            run.answered(Verdict.LOST, 0)
        else:
            self._repeated.add(run.run_id)
            self._ready[run] = transition
            self._wake.set()

    async def _find_created(self, transition: Transition) -> None:
        """Take the runs that a transition whose answer was lost created as this worker's."""
        if created := [new for new in _created(transition) if new.owner == self._worker_id]:
            owned = await self._store.owned_runs(self._worker_id)
            for new in created:
                if (epoch := owned.get(new.run_id)) is not None:
                    same = StartVerdict(StartOutcome.SAME, new.run_id, new.workflow_type, epoch)
                    self._adopt(new, same)

    async def _find(self, transition: Transition) -> int | None:
        """Return the time at which a transition was written, or None if it was not."""
        if transition.events:
            first = transition.events[0].seq
            rows = await self._store.read_events(transition.run_id, first - 1, len(transition.events))
            if [(row.seq, row.type, row.data) for row in rows] == [
                (row.seq, row.type, row.data) for row in transition.events
            ]:
                return rows[-1].time
            return None
        if transition.activities:
            there = {row.id: row.attempt for row in await self._store.read_activities(transition.run_id)}
            if all(there.get(row.id, 0) >= row.attempt for row in transition.activities):
                return await self._store.now()
        return None


def _created(transition: Transition) -> Iterator[NewRun]:
    """Yield the runs that a transition creates beside its own."""
    for start in transition.starts:
        yield start.run
    if transition.close is not None and transition.close.successor is not None:
        yield transition.close.successor
