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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from functools import partial
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
from durable._internal.instants import SECOND
from durable.activity._activity import Activity
from durable.activity._context import CURRENT, ActivityCancellationDetails, CompleteAsyncError, Info
from durable.activity._definition import DYNAMIC
from durable.common import RawValue
from durable.converter import DataConverter
from durable.exceptions import ApplicationError, CancelledError, ConversionError, HistoryError
from durable.history import ActivityTaskScheduled, EventRow
from durable.interceptor.worker import Interceptor
from durable.store import ActivityRecord, ActivityTransaction, Store, TransactionSource
from durable.worker._attempt_info import converter_for, info_of
from durable.worker._attempts import Attempt, Flag, Owner
from durable.worker._clock import DatabaseClock
from durable.worker._doubts import Doubts
from durable.worker._intercepted import execute
from durable.worker._local_slots import LocalSlots
from durable.worker._processes import Processes, in_process
from durable.worker._rate import Rate
from durable.worker._reports import Reports
from durable.worker._slots import Slots
from durable.worker._stopped import stopped
from durable.worker._suppliers import ActivitySlotInfo, SlotPermit
from durable.worker._threads import run_in_thread
from durable.worker._transactional import run_within

logger = logging.getLogger("durable.worker")

NO_ASYNC = (
    "a local activity cannot be completed from outside, since only its worker knows of it; use "
    "workflow.execute_activity for one that calls activity.raise_complete_async()"
)

ACTIVITY_FIRST, ACTIVITY_BATCH = 5, 100
"""Activities claimed at once: few at first, since an activity that a run of this worker asks for meanwhile cannot start in the
slots that are kept for them, and four times as many each time that more may be waiting."""

LIMIT_AFTER = 0.02
"""Seconds after its start at which an attempt gets a timer for its deadlines; no timeout is that short in earnest."""


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
    ) -> None:
        self.client = client
        self._store = store
        self._transactions = transactions
        self.reports = Reports(
            store, worker_id, identity=identity, task_queue=task_queue, clock=clock, closed=closed
        )
        self._namespace = namespace
        self._task_queue = task_queue
        self._served = served
        self._dynamic = served.get(DYNAMIC)
        self._converter = converter
        self._slots = slots
        self._executor = executor
        self._processes = processes
        self._fatal = fatal
        self._clock = clock
        self._defect = defect
        self._interceptors = interceptors
        self._eager = eager
        self._rate: Rate | None = None
        self._loop = asyncio.get_running_loop()
        self._local = LocalSlots(local_slots, clock, self._launch, self._time_out)
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()
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
        return list(self._served) if self._dynamic is None else None

    def serves(self, activity_type: str) -> bool:
        """Whether an activity of a type can run here at all."""
        return activity_type in self._served or self._dynamic is not None

    def promise(self, scheduled: ActivityTaskScheduled) -> bool:
        """Whether this activity can run here, now, eagerly; then a slot is kept for it until it starts.

        Each promise is followed by a `start`, or given back.
        """
        possible = (
            self._eager
            and scheduled.task_queue == self._task_queue
            and (scheduled.activity_type in self._served or self._dynamic is not None)
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

    def start(self, owner: Owner, scheduled: ActivityTaskScheduled, scheduled_at: int, now: int) -> Attempt:
        """Start the first attempt of an activity for a run of this worker, in the slot that was promised to it."""
        attempt = Attempt(self, owner, None, scheduled, scheduled_at, 1, now)
        self._start(attempt, self._promised.pop())
        return attempt

    def claimed(self, records: Sequence[ActivityRecord], permits: list[SlotPermit], *, all: bool) -> None:
        """Start the attempts that a claim returned, in the slots it reserved; `all` says whether nothing else waits.

        Permits that are left over stay in the list.
        """
        priorities = self.take(records, permits)
        # What still waits comes behind the last of them.
        self._best_waiting = None if all else max(priorities, default=None)

    def start_local(
        self,
        owner: Owner,
        scheduled: ActivityTaskScheduled,
        scheduled_at: int,
        *,
        number: int,
        delay: int = 0,
    ) -> Attempt:
        """Start an attempt of a local activity, after `delay` microseconds, and as soon as there is a slot for it."""
        attempt = Attempt(
            self, owner, None, scheduled, scheduled_at, number=number, started_at=self._clock.now() + delay
        )
        attempt.due_at = attempt.started_at
        self._attempts[attempt.key] = attempt
        self._local.add(attempt, delay)
        return attempt

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
        task = self._loop.create_task(self._run(attempt), name=attempt.scheduled.activity_type)
        attempt.task = task
        self._attempts[attempt.key] = attempt
        self._running.add(task)
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
        return bool(self._running)

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
        attempt.begun = True
        try:
            outcome = await self._execute(attempt)
            if outcome is None:
                attempt.ended = True
            elif not attempt.ended:
                self._conclude(attempt, outcome)
        except Exception as error:
            self._defect(error)
        finally:
            assert attempt.task is not None
            self._running.discard(attempt.task)
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

    async def _execute(self, attempt: Attempt) -> Outcome | None:
        """Run the function of an attempt; return how that ended, None when it is told already."""
        scheduled, converter = attempt.scheduled, self._converter
        if converter.takes_context:
            converter = self.converter_for(attempt)
        activity = self._served.get(scheduled.activity_type) or self._dynamic
        assert activity is not None
        definition = activity.definition
        try:
            if attempt.details is not None:
                raise asyncio.CancelledError  # It was stopped before its first step.
            given, parameters, name = scheduled.input, definition.parameters, scheduled.activity_type
            if definition.dynamic:
                args: tuple[Any, ...] = (
                    converter.from_payloads(given, [RawValue] * len(given), path=f"{name} input"),
                )
            else:
                values = converter.from_payloads(given, parameters.types[: len(given)], path=f"{name} input")
                args = parameters.bind(tuple(values), {})
            if definition.transactional:
                call = partial(self._intercepted, attempt, activity, args)
                completed = partial(self._completed, name, converter=converter)
                return await run_within(
                    attempt,
                    call,
                    completed,
                    self._store,
                    self._transactions.get(name),
                    self.reports,
                    converter,
                )
            if self._interceptors:
                result = await self._intercepted(attempt, activity, args)
                return self._completed(name, result, converter)
            entered = CURRENT.set(attempt)
            try:
                if definition.is_async:
                    result = await definition.call(activity.instance, args)
                else:
                    result = await self._elsewhere(
                        attempt,
                        activity,
                        partial(definition.call, activity.instance, args),
                        definition.fn,
                        args,
                    )
            finally:
                CURRENT.reset(entered)
            return self._completed(name, result, converter)
        except CompleteAsyncError:
            if scheduled.local is None:
                return HandedOut()
            return Failed(
                converter.to_failure(ApplicationError(NO_ASYNC, type="TypeError", non_retryable=True))
            )
        except (asyncio.CancelledError, CancelledError) as error:
            return stopped(attempt, error, converter)
        except BrokenExecutor as error:
            # No attempt can run there any more.
            self._fatal(error)
            return Failed(converter.to_failure(error))
        except BaseException as error:
            # SystemExit and the like too: an activity fails, it does not end its worker.
            return Failed(converter.to_failure(error))

    def _intercepted(
        self,
        attempt: Attempt,
        activity: Activity[..., Any],
        args: Sequence[Any],
        transaction: ActivityTransaction | None = None,
    ) -> Awaitable[Any]:
        """Call a function through the interceptors, if there are any; they see nothing of its transaction."""
        definition = activity.definition

        async def run(function: partial[Any]) -> Any:
            given = function.args if transaction is None else (transaction.connection, *function.args)
            if definition.is_async:
                return await function.func(*given)
            function = partial(function.func, *given)
            if transaction is not None and transaction.around is not None:
                function = partial(transaction.around, function)
            return await self._elsewhere(attempt, activity, function, function.func, given)

        executor = None if definition.is_async else self._executor
        return execute(self._interceptors, attempt, activity, args, executor, run)

    def _elsewhere(
        self,
        attempt: Attempt,
        activity: Activity[..., Any],
        function: Callable[[], Any],
        fn: Callable[..., Any],
        args: Sequence[Any],
    ) -> Awaitable[Any]:
        """Run a plain function, which is `fn` with `args`, in a thread or in a process."""
        definition = activity.definition
        if self._processes is not None and in_process(definition):
            return self._processes.run(attempt, activity, fn, args)
        return run_in_thread(attempt, definition, function, self._executor)

    def _completed(self, name: str, result: Any, converter: DataConverter) -> Outcome:
        try:
            return Completed(converter.to_payload(result, path=f"result of activity {name}"))
        except ConversionError as error:
            # The same code would return the same again.
            refused = ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
            return Failed(converter.to_failure(refused))

    def converter_for(self, attempt: Attempt) -> DataConverter:
        """Return what makes values of an attempt's payloads."""
        return converter_for(attempt, self._converter, self._namespace)

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
        await self._all_ended(1.0)
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
