"""What every worker does for all: end what is overdue, take over from the dead, and check what it owns.

Any worker may do any of it at any time, and all of them do: each step is fenced by a row, so it happens once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from functools import partial

from durable._engine._activities import (
    Failed,
    began,
    conclude_row,
    decode_progress,
    expiry,
    news_for_breaker,
    scheduled_of,
)
from durable._engine._chain import timed_out
from durable._engine._messages import end
from durable._engine._sole import end_stray
from durable._engine._state import RunState
from durable._internal.instants import SECOND
from durable.client._parents import news_of
from durable.exceptions import HistoryError, StoreConfigurationError, StoreUnavailableError
from durable.history import decode_data, decode_history
from durable.store import ActivityRecord, AttemptOutcome, BreakerNews, Hint, HintKind, RunRecord
from durable.worker._clock import boottime
from durable.worker._glances import unseen
from durable.worker._home import Home
from durable.worker._paused import give_up_paused
from durable.worker._reports import finish_each

logger = logging.getLogger("durable.worker")

SWEEP_CHANCE = 0.1
"""How often, of the looks for what it owns, a worker sweeps what nobody needs: keys that nothing has, and old deeds."""

SELDOM_ROUNDS = 12
"""Rounds after which it is looked for what is overdue although no glance has shown anything."""

LOG_KEPT = 90 * 86_400 * SECOND
"""Microseconds for which the operators' log is kept, and with it what is known of a batch: a quarter of a year."""

BATCH = 200
"""Rows handled at once: transactions stay short."""


class Housekeeping:
    """See the module; for one incarnation."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._store = home.store
        self._standing: dict[str, tuple[int, int]] = {}
        self._held_since: int | None = None
        self._doubtful: set[str] = set()
        self._may_prune = True
        self.looked = asyncio.Event()
        self._wake = asyncio.Event()

    def look(self) -> None:
        """End what is overdue at once: something is, or the database's clock was set."""
        self._wake.set()

    async def run(self) -> None:
        """Keep house until cancelled."""
        lease = self._home.options.lease / SECOND
        every = min(1.0, lease / 3)
        rounds = max(1, round(lease / 3 / every))
        # Then a glance tells when anything is overdue, and this looks by itself once in a while.
        glanced, seldom = unseen(self._home.options.poll, every) > every, rounds * SELDOM_ROUNDS
        count = 0
        while True:
            woken = await self._woken(every * random.uniform(0.9, 1.1))
            if not self._home.lease.held:
                self._held_since = None
                continue
            if self._held_since is None:
                self._held_since = boottime()
            try:
                count += not woken
                if woken or not glanced or count % seldom == 0:
                    await self._end_overdue_attempts()
                if woken or count % (seldom if glanced else rounds) == 0:
                    await self._end_strays()
                    await self._end_overdue_runs()
                if woken:
                    continue
                if count % rounds == 0:
                    await self._home.condemned.end_all()
                    await self._bury_the_dead()
                    await self._check_ownership()
                await self._home.versions.warn_of_stranded(boottime() / SECOND)
            except StoreUnavailableError as error:
                logger.warning("housekeeping was interrupted and goes on later: %s", error)
            except Exception:
                logger.exception("housekeeping failed and goes on later")
            self.looked.set()

    async def _woken(self, seconds: float) -> bool:
        """Wait that long, and return whether `look` was called meanwhile, which ends the wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    # ------------------------------------------------------------------ deadlines

    async def _end_overdue_attempts(self) -> None:
        """End attempts whose deadline passed, or whose worker is gone; others may do the same at the same time."""
        while rows := await self._store.expired_activities(BATCH):
            outcomes: list[AttemptOutcome] = []
            news: list[BreakerNews] = []
            for record in rows:
                if record.fault is not None:
                    logger.error("an overdue activity is looked at again later: %s", record.fault)
                    continue
                try:
                    ended = expiry(record)
                    outcome = None if ended is None else self._conclude(record, ended)
                    if ended is not None and began(record):
                        told = news_for_breaker(scheduled_of(record), ended)
                        news += [] if told is None else [told]
                except HistoryError as error:
                    logger.error("activity %d of run %s cannot be read: %s", record.id, record.run_id, error)
                else:
                    if outcome is not None:
                        outcomes.append(outcome)
            await self._store.tell_breakers(news)
            answers = await finish_each(self._store, outcomes)
            hints: dict[Hint, None] = {}
            for outcome, accepted in zip(outcomes, answers, strict=True):
                if accepted and outcome.sole is not None:
                    self._home.ended(
                        outcome.run_id, decode_data(outcome.sole.closing.type, outcome.sole.closing.data)
                    )
                elif accepted:
                    kind = HintKind.MESSAGE if outcome.message is not None else HintKind.ACTIVITY
                    hints[Hint(kind, outcome.run_id if outcome.message is not None else "*")] = None
            self._store.hint(list(hints))
            if len(rows) < BATCH or not any(answers):
                return

    def _conclude(self, record: ActivityRecord, ended: Failed) -> AttemptOutcome:
        return conclude_row(
            record,
            ended,
            worker=record.worker,
            now=record.now,
            jitter=random.random(),
            identity=self._home.identity,
            progress=decode_progress(record.progress),
            cancel_requested=record.cancel_requested,
        )

    async def _end_strays(self) -> None:
        """End the runs of activities by themselves that workers of an older release have ended, for want of an owner."""
        outcomes: list[AttemptOutcome] = []
        for record, message in await self._store.stray_outcomes(BATCH):
            try:
                outcomes.append(end_stray(record, message))
            except HistoryError as error:
                logger.error("the outcome of run %s cannot be read: %s", record.run_id, error)
        for outcome, ended in zip(outcomes, await finish_each(self._store, outcomes), strict=True):
            if ended and outcome.sole is not None:
                closing = outcome.sole.closing
                self._home.ended(outcome.run_id, decode_data(closing.type, closing.data))

    async def _end_overdue_runs(self) -> None:
        for run in await self._store.timed_out_runs(BATCH):
            ending = timed_out(await self._state_of(run), await self._store.now())
            news = await news_of(self._store, run, ending.event)
            if await self._store.terminate(run.run_id, partial(end, data=ending.event), ending.close, news):
                logger.info("run %s of workflow %s outlived its timeout", run.run_id, run.workflow_id)
                self._store.hint([Hint(HintKind.MESSAGE, message.run_id) for message in news])
                if ending.close.successor is not None:
                    self._store.hint([Hint(HintKind.RUN, ending.close.successor.task_queue)])
                self._home.ended(run.run_id, ending.event, run.workflow_type)
                self._home.condemned.look()
            elif (host := self._home.hosts.get(run.run_id)) is not None:
                host.drop()

    async def _state_of(self, run: RunRecord) -> RunState | None:
        try:
            return RunState.of(run.run_id, decode_history(await self._store.read_events(run.run_id)))
        except HistoryError as error:
            logger.error("the log of run %s cannot be read: %s", run.run_id, error)
            return None

    # ------------------------------------------------------------------ the dead

    async def _bury_the_dead(self) -> None:
        """Mark workers dead whose lease ended and whose renewals stood still for a lease length before our eyes."""
        now = boottime()
        seen: dict[str, tuple[int, int]] = {}
        dead = False
        for worker in await self._store.list_workers():
            if worker.worker_id == self._home.worker_id:
                continue
            if worker.dead:
                dead = True
                continue
            renewals, since = self._standing.get(worker.worker_id, (worker.renewals, now))
            if renewals != worker.renewals:
                since = now
            seen[worker.worker_id] = worker.renewals, since
            stood_still = now - since >= worker.lease and now - (self._held_since or now) >= worker.lease
            gone = worker.dead_for_sure or (worker.expired and stood_still)
            if gone and await self._store.bury_worker(worker.worker_id, worker.renewals):
                logger.warning(
                    "worker %s (%s) is dead; its runs are taken over", worker.worker_id, worker.identity
                )
                dead = True
        self._standing = seen
        if dead or random.random() < 0.1:
            await self._take_over()

    async def _take_over(self) -> None:
        freed = 0
        while count := await self._store.take_over(BATCH):
            freed += count
        if freed:
            logger.warning("%d runs and activities of dead workers were freed", freed)
            self._store.hint([Hint(HintKind.RUN, "*"), Hint(HintKind.ACTIVITY, "*")])
            await self._end_overdue_attempts()

    # ------------------------------------------------------------------ what is ours

    async def _check_ownership(self) -> None:
        """Compare what the database says we own with what we hold; adopt what we do not know, drop what is not ours."""
        home = self._home
        before = {run_id for run_id, host in home.hosts.items() if host.at_rest}
        owned = await self._store.owned_runs(home.worker_id)
        for run_id, host in list(home.hosts.items()):
            # A host in the middle of a commit learns from its answer.
            if run_id in before and host.at_rest and owned.get(run_id) != host.epoch and not host.gone:
                logger.warning("run %s is no longer this worker's", run_id)
                host.drop()
        unknown = {run_id for run_id in owned if run_id not in home.hosts}
        for run_id in unknown & self._doubtful:
            claimed = await self._store.reload_run(home.worker_id, run_id, owned[run_id])
            if (
                claimed is not None
                and run_id not in home.hosts
                and home.options.workflow(claimed.run.workflow_type) is not None
            ):
                logger.info("run %s is this worker's since an interrupted claim", run_id)
                home.take([claimed])
        await give_up_paused(home)
        # Once is not enough: a claim's answer may be on its way.
        self._doubtful = unknown
        home.activities.queue_rate = await self._store.read_rate(home.task_queue)
        if random.random() < SWEEP_CHANCE:
            await self._store.sweep_keys(BATCH)
            await self._prune()
        home.activities.reconcile(await self._store.owned_activities(home.worker_id))

    async def _prune(self) -> None:
        """Remove old entries of the operators' log, if that is this role's to do."""
        if self._may_prune:
            try:
                await self._store.prune_log(LOG_KEPT, BATCH)
            except StoreConfigurationError as error:
                self._may_prune = False
                logger.info(
                    "old entries of the operators' log are left to a worker that may remove them: %s", error
                )
