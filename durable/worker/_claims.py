"""How a worker finds work: hints wake it, glances find what hints have missed, and state is all that counts.

Three things are looked for: runs that are ready, activities that are due, and messages for runs that are owned. Each is
a query over state, never over what was seen last. A hint makes the look come sooner and changes nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Generator

from durable._engine.versioning import places
from durable._internal.instants import SECOND
from durable.exceptions import StoreUnavailableError
from durable.history import FORMAT
from durable.store import Hint, HintKind, Message
from durable.worker._activities import ACTIVITY_BATCH, ACTIVITY_FIRST
from durable.worker._committer import RETRY_FIRST, RETRY_LONGEST
from durable.worker._glances import SELDOM
from durable.worker._home import Home
from durable.worker._paused import give_up_paused
from durable.worker._suppliers import SlotPermit

logger = logging.getLogger("durable.worker")

CLAIM_BATCH = 100
"""Runs claimed at once: enough to fill a commit, few enough to share with other workers."""

MESSAGE_BATCH = 1000
"""Messages read at once when polling."""

READ_ON = 0.02
"""Seconds until messages are read on when there were more than one batch."""

ANY = "*"
"""The key of a hint that says no more than that something happened."""


class Claims:
    """The loops that look for work, for one incarnation."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._store = home.store
        self._look_for_runs = asyncio.Event()
        self._look_for_activities = asyncio.Event()
        self._look_for_mail = asyncio.Event()
        self._mail: set[str] = set()
        self._all_mail = False
        self._pauses = False
        self._read_all_at = 0.0
        self._stopped = False
        self._unlisten: Callable[[], None] = lambda: None
        self._full = False
        self._claiming = 0
        self._passed: set[str] = set()
        # How many activities the next claim asks for; without workflows there is nobody to leave slots to.
        self._first = ACTIVITY_BATCH if home.options.workflow_types == [] else ACTIVITY_FIRST
        self._ask = self._first
        self.on_probation = False

    def stop(self) -> None:
        """Claim nothing more; messages for runs that are still owned are read on."""
        self._stopped = True
        self._unlisten()

    def room_made(self) -> None:
        """Take the news that a run is gone: there may be room for another."""
        if self._full:
            self._look_for_runs.set()

    async def run(self) -> None:
        """Look for work until cancelled."""
        self._unlisten = self._store.listen(
            self._hinted, HintKind.RUN, HintKind.ACTIVITY, HintKind.MESSAGE, HintKind.PAUSE
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop("runs", self._look_for_runs, self._claim_runs))
            if self._home.options.activities and self._home.options.remote_activities:
                group.create_task(self._loop("activities", self._look_for_activities, self._claim_activities))
            group.create_task(self._loop("messages", self._look_for_mail, self._read_mail))
            group.create_task(self._watch_slots())

    def _hinted(self, hint: Hint) -> None:
        match hint.kind:
            case HintKind.RUN:
                if hint.key in (ANY, self._home.task_queue):
                    self._look_for_runs.set()
            case HintKind.ACTIVITY:
                if hint.key in (ANY, self._home.task_queue):
                    self._look_for_activities.set()
            case HintKind.MESSAGE:
                if hint.key == ANY:
                    self._all_mail = True
                    self._look_for_mail.set()
                    self._look_for_runs.set()
                elif hint.key in self._home.hosts:
                    self._mail.add(hint.key)
                    self._look_for_mail.set()
                else:
                    if self._claiming:
                        # A claim that is under way may bring this run as it was before the message.
                        self._passed.add(hint.key)
                    self._look_for_runs.set()
            case HintKind.PAUSE:
                if hint.key == ANY or hint.key in self._home.hosts:
                    self._pauses = True
                    self._look_for_mail.set()
            case HintKind.CLOSED | HintKind.UPDATE | HintKind.QUERY | HintKind.ANSWER | HintKind.SCHEDULE:
                pass

    def glanced(self, queue_state: int) -> None:
        """Take what a glance has seen of the queue's state."""
        if self._home.gate.glanced(queue_state):
            self._pauses = True
            self._look_for_mail.set()

    @property
    def claiming(self) -> bool:
        """Whether a claim is under way, whose answer may bring more work."""
        return self._claiming > 0

    @property
    def _may_claim(self) -> bool:
        return not self._stopped and self._home.gate.open and self._home.lease.held

    @contextlib.contextmanager
    def _claim(self) -> Generator[None, None, None]:
        self._claiming += 1
        try:
            yield
        finally:
            self._claiming -= 1
            if not self._claiming and self._passed:
                for run_id in self._passed & self._home.hosts.keys():
                    self.mail_for(run_id)
                self._passed.clear()

    def look(self) -> None:
        """Look for everything now."""
        self._look_for_runs.set()
        self._look_for_activities.set()
        self._all_mail = True
        self._look_for_mail.set()

    def mail_for(self, run_id: str) -> None:
        """Read the messages of an owned run soon."""
        self._mail.add(run_id)
        self._look_for_mail.set()

    async def _loop(self, what: str, wake: asyncio.Event, look: Callable[[], Awaitable[float]]) -> None:
        """Look, and look again when woken or after the wait that `look` returned.

        Whatever goes wrong, there is another look: nothing else would find what is there.
        """
        pause = RETRY_FIRST
        while True:
            wake.clear()
            try:
                wait = await look()
                pause = RETRY_FIRST
            except StoreUnavailableError as error:
                logger.warning("looking for %s: the database is away, trying again: %s", what, error)
                wait = random.uniform(0, pause)
                pause = min(pause * 2, RETRY_LONGEST)
                await asyncio.sleep(wait)
                continue
            except Exception:
                logger.exception("looking for %s failed, trying again", what)
                wait = RETRY_LONGEST
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await wake.wait()

    # ------------------------------------------------------------------ runs

    async def _claim_runs(self) -> float:
        """Claim until nothing is ready or there is no room; return the seconds until the next look."""
        home = self._home
        options = home.options
        queues, types, version = [home.task_queue], options.workflow_types, options.version
        if types == []:
            return 3600.0
        while self._may_claim:
            if self.on_probation:
                if home.held.has_unproven:
                    return 0.005
                self.on_probation = False
            limit, permits = await self._room()
            if limit <= 0:
                break
            with self._claim():
                try:
                    claimed = await self._store.claim_runs(
                        home.worker_id, queues, types, limit, format=FORMAT, version=version
                    )
                    home.take(claimed, fresh=True, permits=permits)
                finally:
                    if home.run_slots is not None:
                        home.run_slots.give_back(permits)
            if len(claimed) < limit and not home.held.has_unproven:
                with self._claim():
                    alone = await self._store.claim_probationer(
                        home.worker_id, queues, types, format=FORMAT, version=version
                    )
                    if alone is not None:
                        self.on_probation = True
                        home.take([alone], fresh=True)
                if alone is not None:
                    logger.warning(
                        "run %s was owned by %d workers that died; it is tried alone",
                        alone.run.run_id,
                        alone.run.deaths,
                    )
                    continue
            if len(claimed) < limit:
                break
            await asyncio.sleep(0)
        return await self._until_next()

    async def _room(self) -> tuple[int, list[SlotPermit]]:
        """Return how many runs may be claimed, and the slots that are kept for them if workflow tasks have slots."""
        home = self._home
        limit = min(CLAIM_BATCH, home.held.space)
        self._full = limit <= 0
        slots = home.run_slots
        if self._full or slots is None:
            return limit, []
        permits = await slots.reserve(limit)
        if not self._may_claim:
            slots.give_back(permits)
            return 0, []
        if not permits:
            slots.when_free(self._look_for_runs.set)
        return len(permits), permits

    async def _until_next(self) -> float:
        """Return the seconds until something is due, if that is before the next glance, or a long time."""
        poll: float = self._home.options.poll
        due = await self._store.next_wake(places(self._home.task_queue, self._home.options.version))
        if due is not None and due / SECOND < poll:
            # What is due and was not claimed is somebody else's, or will not have us: do not spin.
            return max(due / SECOND + 0.001, 0.02)
        return SELDOM * poll * random.uniform(0.9, 1.1)

    # ------------------------------------------------------------------ activities

    async def _claim_activities(self) -> float:
        home = self._home
        activities = home.activities
        taken = 0
        while self._may_claim:
            if (wait := activities.wait_for_rate) > 0:
                return wait
            permits = await activities.reserve(self._ask)
            try:
                limit = len(permits)
                if not self._may_claim:
                    break
                if not limit:
                    # Full: a slot that becomes free brings the next look, whatever is due. Or starts that the rate allows
                    # are promised, which is over in a moment.
                    limited = home.options.activities_per_second is not None
                    return READ_ON if limited else SELDOM * home.options.poll
                with self._claim():
                    claimed = await self._store.claim_activities(
                        home.worker_id,
                        [home.task_queue],
                        activities.types,
                        limit,
                        format=FORMAT,
                        version=home.options.version,
                    )
                    activities.claimed(claimed, permits, all=len(claimed) < limit)
                    taken += len(claimed)
            finally:
                activities.release(permits)
            if len(claimed) < limit:
                self._ask = self._first
                break
            self._ask = min(self._ask * 4, ACTIVITY_BATCH)
        wait = await self._until_next()
        if taken and activities.queue_rate is not None:
            # More may wait for the next permit.
            wait = min(wait, max(READ_ON, 1 / activities.queue_rate))
        return wait

    async def _watch_slots(self) -> None:
        """Look for activities again when a full worker may have a free slot."""
        freed = self._home.activities.freed
        while True:
            await freed.wait()
            freed.clear()
            self._look_for_activities.set()

    # ------------------------------------------------------------------ messages

    async def _read_mail(self) -> float:
        """Read what hints told of, and everything when a glance has shown that there is something: hints are lost at times."""
        home = self._home
        loop = asyncio.get_running_loop()
        if loop.time() >= self._read_all_at:
            self._all_mail = True
        if self._pauses:
            self._pauses = False
            await give_up_paused(home)
            await home.versions.look()
            if await home.gate.look():
                self.look()
        while self._mail or self._all_mail:
            run_ids, self._mail = [run_id for run_id in self._mail if run_id in home.hosts], set()
            everything, self._all_mail = self._all_mail, False
            messages: list[Message] = []
            if everything:
                self._read_all_at = loop.time() + SELDOM * home.options.poll
                await home.versions.look()
                if home.hosts:
                    messages = await self._store.read_owned_messages(home.worker_id, MESSAGE_BATCH)
                    if len(messages) == MESSAGE_BATCH:
                        # There may be more behind these, which are consumed first.
                        self._read_all_at = loop.time() + READ_ON
                self._mail.update(run_ids)
            elif run_ids:
                messages = await self._store.read_messages(run_ids)
            by_run: dict[str, list[Message]] = {}
            for message in messages:
                by_run.setdefault(message.run_id, []).append(message)
            for run_id, own in by_run.items():
                host = home.hosts.get(run_id)
                if host is not None:
                    try:
                        host.deliver(own)
                    except Exception as error:
                        home.defect(error)
        return max(0.0, self._read_all_at - loop.time())
