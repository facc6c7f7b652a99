"""Activities at work: slots, deadlines, and what becomes of each attempt.

Attempts come from two sides. A run of this worker starts its own *eagerly*, without a row; the end of such an attempt
goes straight to the run. Others are claimed from `activity_tasks`; their end goes through the row, which is the fence:
whoever ends the attempt first, wins. An eager attempt that sends a heartbeat, or whose run is released, gets a row and
from then on is like the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from types import MappingProxyType
from typing import Any

from durable._engine._activities import (
    Canceled,
    Completed,
    Failed,
    HandedOut,
    Outcome,
    circuit_open,
    decode_progress,
    lost,
    scheduled_of,
    timeout,
)
from durable._internal.eager import begin
from durable._internal.instants import SECOND
from durable._metering import MetricMeter
from durable.activity._activity import Activity
from durable.activity._context import ActivityCancellationDetails, Info
from durable.converter import DataConverter
from durable.exceptions import ApplicationError, HistoryError
from durable.history import ActivityTaskScheduled, EventRow
from durable.interceptor.worker import Interceptor
from durable.store import ActivityRecord, Store, TransactionSource
from durable.worker._attempt_info import info_of
from durable.worker._attempts import Attempt, Flag
from durable.worker._clock import DatabaseClock
from durable.worker._doubts import Doubts
from durable.worker._execution import Execution
from durable.worker._local_slots import LocalSlots
from durable.worker._processes import Processes
from durable.worker._rate import Rate
from durable.worker._reports import Reports
from durable.worker._slots import Slots
from durable.worker._suppliers import ActivitySlotInfo, SlotPermit

logger = logging.getLogger("durable.worker")

ACTIVITY_FIRST, ACTIVITY_BATCH = 5, 100
"""Activities claimed at once: few at first, since an activity that a run of this worker asks for meanwhile cannot start in the
slots that are kept for them, and four times as many each time that more may be waiting."""

LIMIT_AFTER = 0.02
"""Seconds after its start at which an attempt gets a timer for its deadlines; no timeout is that short in earnest."""


LAST_WORD = 10.0
"""Seconds for which a worker that stops waits for attempts that it has asked to end: a call that blocks its thread cannot be
interrupted, and whoever begins the activity anew meanwhile does its work a second time."""


class Activities:
    """Every activity attempt of one worker."""

    def __init__(
        self,
        store: Store,
        worker_id: str,
        *,
        identity: str,
        namespace: str,
        task_queue: str,
        served: Mapping[str, Activity[..., Any]],
        converter: DataConverter,
        slots: Slots,
        local_slots: Slots,
        executor: Executor,
        clock: DatabaseClock,
        defect: Callable[[BaseException], None],
        interceptors: Sequence[Interceptor] = (),
        eager: bool = True,
        per_second: float | None = None,
        processes: Processes | None = None,
        transactions: Mapping[str, TransactionSource] = MappingProxyType({}),
        fatal: Callable[[BaseException], None] = lambda error: None,
        client: Any = None,
        closed: Callable[[str, EventRow], None] = lambda run_id, event: None,
        meter: MetricMeter = MetricMeter.noop,
    ) -> None:
        self.client = client
        self.meter = meter
        self.worker_id = worker_id
        self.reports = Reports(
            store, worker_id, identity=identity, task_queue=task_queue, clock=clock, closed=closed
        )
        self._execution = Execution(
            store,
            self.reports,
            namespace=namespace,
            served=served,
            converter=converter,
            interceptors=interceptors,
            executor=executor,
            processes=processes,
            transactions=transactions,
            fatal=fatal,
        )
        # Whether an activity of a type can run here at all.
        self.serves = self._execution.serves
        self.converter_for = self._execution.converter_for
        self._namespace = namespace
        self._task_queue = task_queue
        self._slots = slots
        self._processes = processes
        self._clock = clock
        self._defect = defect
        self._eager = eager
        self._rate: Rate | None = None
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._local = LocalSlots(local_slots, clock, self._launch, self._time_out)
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._running = 0
        self._unlimited: list[Attempt] = []
        self._promised: list[SlotPermit] = []
        self._doubts = Doubts()
        self._drained = asyncio.Event()
        if per_second is not None:
            self._rate = Rate(per_second, self._loop.time())
        self.shutdown = Flag()
        self.freed = asyncio.Event()
        self.queue_rate: float | None = None
        self._best_waiting: int | None = None

    # ------------------------------------------------------------------ what can run here

    async def reserve(self, most: int) -> list[SlotPermit]:
        """Take slots for a claim, at most so many; none if no attempt may start now. `freed` tells when one may."""
        most = min(most, self._allowed)
        if most <= 0:
            return []
        permits = await self._slots.reserve(most)
        if not permits:
            self._slots.when_free(self.freed.set)
        return permits

    def release(self, permits: Sequence[SlotPermit]) -> None:
        """Give back slots that nothing has begun in."""
        for permit in permits:
            self._slots.give(permit)

    @property
    def _allowed(self) -> int:
        """How many more attempts may start by the limit per second."""
        if self._rate is None:
            return ACTIVITY_BATCH
        return max(0, self._rate.free(self._loop.time()) - len(self._promised))

    @property
    def wait_for_rate(self) -> float:
        """Seconds until the limit of starts per second lets one more through; 0 if there is none."""
        return 0.0 if self._rate is None else self._rate.wait(self._loop.time())

    @property
    def types(self) -> list[str] | None:
        """Names of the activities that are served; None for all."""
        return self._execution.types

    def promise(self, scheduled: ActivityTaskScheduled) -> bool:
        """Whether this activity can run here, now, eagerly; then a slot is kept for it until it starts.

        Each promise is followed by a `start`, or given back.
        """
        possible = (
            self._eager
            and scheduled.task_queue == self._task_queue
            and self.serves(scheduled.activity_type)
            and self.queue_rate is None
            and (self._best_waiting is None or scheduled.priority <= self._best_waiting)
            and (self._rate is None or self._allowed > 0)
            and not self.shutdown.is_set()
        )
        if not possible:
            return False
        permit = self._slots.take()
        if permit is not None:
            self._promised.append(permit)
            return True
        # It goes to the queue. Until that is known to be empty, nothing less urgent passes it by.
        self._best_waiting = min(self._best_waiting or scheduled.priority, scheduled.priority)
        self._slots.when_free(self.freed.set)
        return False

    def give_back(self, count: int) -> None:
        """Free slots that were promised and are not needed."""
        self.release([self._promised.pop() for _ in range(count)])

    # ------------------------------------------------------------------ attempts

    def start(self, attempt: Attempt) -> None:
        """Start the first attempt of an activity for a run of this worker, in the slot that was promised to it.

        It may have ended when this returns.
        """
        self._start(attempt, self._promised.pop())

    def claimed(self, records: Sequence[ActivityRecord], permits: list[SlotPermit], *, all: bool) -> None:
        """Start the attempts that a claim returned, in the slots it reserved; `all` says whether nothing else waits.

        Permits that are left over stay in the list.
        """
        priorities = self.take(records, permits)
        # What still waits comes behind the last of them.
        self._best_waiting = None if all else max(priorities, default=None)

    def start_local(self, attempt: Attempt, delay: int = 0) -> None:
        """Start an attempt of a local activity, after `delay` microseconds, and as soon as there is a slot for it."""
        attempt.due_at = attempt.started_at
        self._attempts[attempt.key] = attempt
        self._local.add(attempt, delay)

    def forget(self, attempt: Attempt) -> None:
        """Let go of an attempt that has ended, or will not begin."""
        if attempt.timer is not None:
            attempt.timer.cancel()
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]

    def take(self, records: Sequence[ActivityRecord], permits: list[SlotPermit]) -> list[int]:
        """Start attempts of rows that are this worker's, in these slots, and return their priorities."""
        priorities: list[int] = []
        for record in records:
            self._clock.observe(record.now)
            if record.fault is not None:
                self.reports.give_back(record)
                continue
            try:
                priorities.append(self._take(record, permits))
            except HistoryError as error:
                # Left as it is: its worker is this one, and does not answer for it; an operator has to look.
                logger.error("activity %d of run %s cannot be read: %s", record.id, record.run_id, error)
        return priorities

    def _take(self, record: ActivityRecord, permits: list[SlotPermit]) -> int:
        attempt = Attempt(
            self,
            None,
            record,
            scheduled_of(record),
            record.scheduled_at,
            number=record.attempt,
            started_at=record.now,
            heartbeat=decode_progress(record.progress).heartbeat,
        )
        if record.cancel_requested:
            self._conclude(attempt, Canceled())
        elif record.refused:
            self._conclude(attempt, circuit_open(attempt.scheduled))
        else:
            self._doubts.begun(attempt.run_id, attempt.scheduled.id, attempt.number)
            self._start(attempt, permits.pop() if permits else self._slots.take())
        return attempt.scheduled.priority

    def _start(self, attempt: Attempt, permit: SlotPermit | None) -> None:
        if self._rate is not None:
            self._rate.take()
        attempt.permit = permit
        if permit is not None and self._slots.told:
            self._slots.mark(permit, ActivitySlotInfo(attempt.scheduled.activity_type))
        self._launch(attempt)

    def _launch(self, attempt: Attempt) -> None:
        self._attempts[attempt.key] = attempt
        self._running += 1
        attempt.task = task = begin(
            self._loop,
            self._run(attempt),
            attempt.scheduled.activity_type,
            # Not that of the client's call or the result that brought it about, whose variables say nothing of it.
            self._context.copy(),
        )
        if not task.done():
            if not self._unlimited:
                self._loop.call_later(LIMIT_AFTER, self._limit_all)
            self._unlimited.append(attempt)

    def _limit_all(self) -> None:
        """Set the timers of the attempts that started lately and still run: most have ended by now and need none."""
        started, self._unlimited = self._unlimited, []
        for attempt in started:
            if not attempt.ended:
                self._limit(attempt)

    def _limit(self, attempt: Attempt) -> None:
        """Look at an attempt's deadlines: end it, or look again when the first of them comes.

        A heartbeat moves a deadline without touching the timer; the timer finds out when it fires.
        """
        attempt.timer = None
        if attempt.ended or not (limits := attempt.limits()):
            return
        at, kind = min(limits)
        left = at - self._clock.now()
        if left <= 0:
            self._time_out(attempt, kind)
        else:
            attempt.timer = self._loop.call_later(left / SECOND, self._limit, attempt)

    @property
    def at_work(self) -> bool:
        """Whether a function runs."""
        return self._running > 0

    @property
    def first(self) -> int | None:
        """The instant at which the first local activity that waits is due, None if none waits."""
        now = self._clock.now()
        return min(
            (a.due_at for a in self._attempts.values() if a.task is None and a.due_at > now), default=None
        )

    @property
    def first_limit(self) -> int | None:
        """The first instant by which an attempt that runs must have ended, None if there is none."""
        running = [one for one in self._attempts.values() if one.task is not None and not one.ended]
        return min((at for one in running for at, _ in one.limits()), default=None)

    def time_moved(self) -> None:
        """Look at once at deadlines, and at local activities that wait: the database's clock was set."""
        for attempt in list(self._attempts.values()):
            if attempt.timer is not None:
                attempt.timer.cancel()
            if attempt.task is None:
                self._local.look(attempt)
            else:
                self._limit(attempt)

    async def _run(self, attempt: Attempt) -> None:
        attempt.task = asyncio.current_task(self._loop)
        attempt.begun = True
        try:
            outcome = await self._execution.run(attempt)
            if outcome is None:
                attempt.ended = True
            elif not attempt.ended:
                self._conclude(attempt, outcome)
        except Exception as error:
            self._defect(error)
        finally:
            self._running -= 1
            self.forget(attempt)
            if attempt.beat_timer is not None:
                attempt.beat_timer.cancel()
            slots, permit = self._slots, attempt.permit
            if attempt.scheduled.local is not None:
                self._local.freed(attempt)
            elif permit is not None:
                attempt.permit = None
                slots.give(permit, ActivitySlotInfo(attempt.scheduled.activity_type) if slots.told else None)
            if not self._running and self.shutdown.is_set():
                self._drained.set()

    def info(self, attempt: Attempt) -> Info:
        """Return the facts about an attempt as it began: a heartbeat of its own, or a row it got, changes nothing."""
        return info_of(attempt, self.converter_for(attempt), self._namespace)

    def heartbeat(self, attempt: Attempt, details: tuple[Any, ...]) -> None:
        """See `Reports`. One of a local activity tells nobody anything: its worker knows, and there is no row."""
        if attempt.scheduled.local is not None:
            return
        self.reports.heartbeat(
            attempt, self.converter_for(attempt).to_payloads(details, path="heartbeat details")
        )

    def heartbeat_of_process(self, attempt: Attempt, details: tuple[Any, ...]) -> None:
        """Take a heartbeat of an attempt whose function is in another process, from whatever thread reads it."""
        try:
            self.heartbeat(attempt, details)
        except Exception as error:
            refused = ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
            self._loop.call_soon_threadsafe(self._fail, attempt, refused)

    def _fail(self, attempt: Attempt, error: BaseException) -> None:
        if not attempt.ended:
            self._conclude(attempt, Failed(self.converter_for(attempt).to_failure(error)))
            attempt.tell(ActivityCancellationDetails(not_found=True))

    def _time_out(self, attempt: Attempt, kind: str) -> None:
        """End an attempt whose deadline has passed, whether its function reacts or not."""
        self._conclude(attempt, timeout(kind, heartbeat=attempt.last_heartbeat))
        attempt.tell(ActivityCancellationDetails(timed_out=True))

    def cancel(self, run_id: str, id: int) -> None:
        """Pass on that the workflow cancelled an activity, if an attempt of it runs here."""
        attempt = self._attempts.get((run_id, id))
        if attempt is None:
            return
        attempt.cancel_requested = True
        attempt.stop(ActivityCancellationDetails(cancel_requested=True))
        if attempt.task is None and not attempt.ended:
            # A local one that has not begun never will.
            self._conclude(attempt, Canceled())

    def abandon(self, run_id: str, ids: Iterable[int]) -> None:
        """Stop those attempts of these activities that run here: their run has closed, and their rows are gone with it.

        By a heartbeat they would hear of it too, if they heartbeat, and when the next one is passed on.
        """
        for id in ids:
            if (attempt := self._attempts.get((run_id, id))) is not None:
                attempt.abandon()

    def reconcile(self, rows: Sequence[ActivityRecord]) -> None:
        """Compare what the database says runs here with what does: begin what a lost answer claimed, end what is lost.

        Should the look be older than an attempt's end, the row refuses.
        """
        unposted = self.reports.unposted

        def known(row: ActivityRecord) -> bool:
            attempt = self._attempts.get((row.run_id, row.id))
            here = attempt is not None and attempt.number == row.attempt
            return here or (row.run_id, row.id) in unposted

        gone, unclaimed = self._doubts.look(rows, known)
        for record in gone:
            progress = decode_progress(record.progress)
            scheduled = scheduled_of(record)
            self.reports.ended(record, scheduled, lost(scheduled, progress.heartbeat), progress)
        for record in unclaimed:
            logger.info(
                "activity %d of run %s runs here since an interrupted claim", record.id, record.run_id
            )
        self.take(unclaimed, [])

    # ------------------------------------------------------------------ how they end

    def _conclude(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt.awaiting_row:
            # The first end is the end: what a timed-out function returns later does not count.
            if attempt.waiting_outcome is None:
                attempt.waiting_outcome = outcome
            return
        if attempt.scheduled.local is not None and attempt.interrupted and not isinstance(outcome, Completed):
            # The worker stops. It is left open, for whoever owns the run next.
            attempt.ended = True
            return
        if attempt.record is None and isinstance(outcome, HandedOut):
            # Its row says that it goes on, and has to be there before.
            assert attempt.owner is not None
            attempt.awaiting_row, attempt.waiting_outcome = True, outcome
            attempt.owner.give_row(attempt)
            return
        attempt.ended = True
        if attempt.task is None:
            self.forget(attempt)
        if attempt.record is None:
            assert attempt.owner is not None
            attempt.owner.attempt_ended(attempt, outcome)
            return
        self.reports.ended(
            attempt.record,
            attempt.scheduled,
            outcome,
            attempt.progress,
            cancel_requested=attempt.cancel_requested,
        )

    def row_written(self, attempt: Attempt, record: ActivityRecord) -> None:
        """Take the news that an attempt has a row now."""
        attempt.record = attempt.asked_by = record
        attempt.owner = None
        self._doubts.begun(attempt.run_id, attempt.scheduled.id, attempt.number)
        attempt.awaiting_row = False
        if attempt.rowed is not None and not attempt.rowed.done():
            attempt.rowed.set_result(None)
        if attempt.waiting_outcome is not None and not attempt.ended:
            outcome, attempt.waiting_outcome = attempt.waiting_outcome, None
            self._conclude(attempt, outcome)

    # ------------------------------------------------------------------ the end

    async def drain(self, grace: float) -> None:
        """Wait for the attempts under way, then ask the rest to end; return when all have, or will not."""
        self.shutdown.set()
        if self._processes is not None:
            self._processes.shut_down()
        if grace > 0:
            await self._all_ended(grace)
        self._local.stop()
        for attempt in list(self._attempts.values()):
            attempt.stop(ActivityCancellationDetails(worker_shutdown=True))
        await self._all_ended(LAST_WORD)
        for attempt in [one for one in self._attempts.values() if one.at_work]:
            logger.warning(
                "activity %s of workflow %s still runs %g s after it was asked to end, and is left behind: what it does now "
                "may be done twice",
                attempt.scheduled.activity_type,
                attempt.asked_by.workflow_id,
                LAST_WORD,
            )
        # A function that does not react is left behind: in a thread it goes on alone, and the attempt has failed; on the
        # event loop the run counts the attempt as lost.
        for attempt in list(self._attempts.values()):
            if attempt.in_thread:
                attempt.leave_behind()
        await self._all_ended(0.1)

    async def _all_ended(self, seconds: float) -> None:
        """Wait until no attempt runs, but no longer than this."""
        self._drained.clear()
        if self._running:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._drained.wait()

    def kill(self) -> None:
        """Stop everything at once; nothing is reported any more."""
        for attempt in list(self._attempts.values()):
            attempt.abandon()
            attempt.leave_behind()
