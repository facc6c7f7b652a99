"""Activities at work: slots, claims, deadlines, heartbeats, and what becomes of each attempt.

Attempts come from two sides. A run of this worker starts its own *eagerly*, without a row; the end of such an attempt
goes straight to the run. Others are claimed from `activity_tasks`; their end goes through the row, which is the fence:
whoever ends the attempt first, wins. An eager attempt that sends a heartbeat, or whose run is released, gets a row and
from then on is like the others.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from durable._engine._activities import (
    Canceled,
    Completed,
    Failed,
    Outcome,
    Progress,
    conclude_row,
    decode_progress,
    encode_progress,
    idempotency_key,
    lost,
    scheduled_of,
    timeout,
)
from durable._internal.instants import SECOND, to_datetime, to_timedelta
from durable._replay.machines._activity import policy_of
from durable.activity._activity import Activity
from durable.activity._context import ActivityCancellationDetails, Context, Info
from durable.converter import DataConverter
from durable.exceptions import ApplicationError, ConversionError, HistoryError, StoreUnavailableError
from durable.history import ActivityTaskScheduled, Payloads
from durable.store import (
    ActivityRecord,
    AttemptOutcome,
    Heartbeat,
    HeartbeatAnswer,
    Hint,
    HintKind,
    Store,
)
from durable.worker._attempts import Attempt, Flag, Owner
from durable.worker._clock import DatabaseClock

logger = logging.getLogger("durable.worker")

HEARTBEAT_SHARE = 0.8
"""The share of its heartbeat timeout after which a heartbeat is passed on (Temporal's)."""

HEARTBEAT_DEFAULT, HEARTBEAT_LONGEST = 30.0, 60.0
"""Seconds between heartbeats passed on, without a heartbeat timeout and at most (Temporal's)."""

LIMIT_AFTER = 0.02
"""Seconds after its start at which an attempt gets a timer for its deadlines; no timeout is that short in earnest."""

RETRY_PAUSE = 0.2
"""Seconds before the database is asked again after it was away."""


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
        slots: int,
        executor: ThreadPoolExecutor,
        clock: DatabaseClock,
        defect: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._worker_id = worker_id
        self._identity = identity
        self._namespace = namespace
        self._task_queue = task_queue
        self._served = served
        self._converter = converter
        self._slots = slots
        self._executor = executor
        self._clock = clock
        self._defect = defect
        self._loop = asyncio.get_running_loop()
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._unlimited: list[Attempt] = []
        self._promised: dict[str, set[int]] = {}
        self._promises = 0
        self._begun: set[tuple[str, int, int]] = set()
        self._unseen: set[tuple[str, int, int]] = set()
        self._doubtful: set[tuple[str, int, int]] = set()
        self._outcomes: list[AttemptOutcome] = []
        self._beats: dict[tuple[str, int], Attempt] = {}
        self._post = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._posting = False
        self.shutdown = Flag(self._loop)
        self.freed = asyncio.Event()
        self.was_full = False

    # ------------------------------------------------------------------ what can run here

    @property
    def free(self) -> int:
        """How many more attempts may start."""
        free = self._slots - len(self._running) - self._promises
        if free <= 0:
            self.was_full = True
        return max(0, free)

    @property
    def types(self) -> list[str]:
        """Names of the activities that are served."""
        return list(self._served)

    def promise(self, run_id: str, scheduled: ActivityTaskScheduled) -> bool:
        """Whether this activity can run here, now, eagerly; then a slot is kept for it until it starts."""
        possible = (
            scheduled.task_queue == self._task_queue
            and scheduled.activity_type in self._served
            and self.free > 0
            and not self.shutdown.is_set()
        )
        if possible:
            self._promised.setdefault(run_id, set()).add(scheduled.id)
            self._promises += 1
        return possible

    def has_promised(self, run_id: str) -> bool:
        """Whether slots are kept for a run."""
        return run_id in self._promised

    def keep_promises(self, run_id: str, ids: Iterable[int]) -> None:
        """Give back the slots that are kept for a run, but for those of these activities."""
        promised = self._promised.get(run_id)
        if promised is None:
            return
        before = len(promised)
        promised.intersection_update(ids)
        self._promises -= before - len(promised)
        if not promised:
            del self._promised[run_id]
            self.freed.set()

    # ------------------------------------------------------------------ attempts

    def start(
        self, owner: Owner, scheduled: ActivityTaskScheduled, scheduled_at: int, names: tuple[str, str]
    ) -> Attempt:
        """Start the first attempt of an activity for a run of this worker; `names` are its workflow's id and type."""
        promised = self._promised.get(owner.run_id)
        if promised is not None and scheduled.id in promised:
            promised.remove(scheduled.id)
            self._promises -= 1
            if not promised:
                del self._promised[owner.run_id]
        return self._start(
            Attempt(
                owner.run_id,
                *names,
                scheduled,
                scheduled_at,
                number=1,
                started_at=self._clock.now(),
                heartbeat=(),
                loop=self._loop,
                owner=owner,
            )
        )

    def take(self, records: Sequence[ActivityRecord]) -> None:
        """Start the attempts that a claim returned."""
        for record in records:
            self._clock.observe(record.now)
            try:
                self._take(record)
            except HistoryError as error:
                # Left as it is: its worker is this one, and does not answer for it; an operator has to look.
                logger.error("activity %d of run %s cannot be read: %s", record.id, record.run_id, error)

    def _take(self, record: ActivityRecord) -> None:
        attempt = Attempt(
            record.run_id,
            record.workflow_id,
            record.workflow_type,
            scheduled_of(record),
            record.scheduled_at,
            number=record.attempt,
            started_at=record.now,
            heartbeat=decode_progress(record.progress).heartbeat,
            loop=self._loop,
            record=record,
        )
        if record.cancel_requested:
            self._conclude(attempt, Canceled())
        else:
            self._start(attempt)

    def _start(self, attempt: Attempt) -> Attempt:
        if attempt.record is not None:
            self._begun.add((attempt.run_id, attempt.scheduled.id, attempt.number))
        task = self._loop.create_task(self._run(attempt), name=f"activity {attempt.scheduled.activity_type}")
        attempt.task = task
        self._attempts[attempt.run_id, attempt.scheduled.id] = attempt
        self._running.add(task)
        self._drained.clear()
        if not self._unlimited:
            self._loop.call_later(LIMIT_AFTER, self._limit_all)
        self._unlimited.append(attempt)
        return attempt

    def _limit_all(self) -> None:
        """Set the timers of the attempts that started lately and still run: most have ended by now and need none."""
        started, self._unlimited = self._unlimited, []
        for attempt in started:
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

    async def _run(self, attempt: Attempt) -> None:
        attempt.begun = True
        try:
            outcome = await self._execute(attempt)
            if not attempt.ended:
                self._conclude(attempt, outcome)
        except Exception as error:
            self._defect(error)
        finally:
            assert attempt.task is not None
            self._running.discard(attempt.task)
            key = attempt.run_id, attempt.scheduled.id
            if self._attempts.get(key) is attempt:
                del self._attempts[key]
            if attempt.timer is not None:
                attempt.timer.cancel()
            if attempt.beat_timer is not None:
                attempt.beat_timer.cancel()
            if self.was_full:
                self.freed.set()
            if not self._running:
                self._drained.set()

    async def _execute(self, attempt: Attempt) -> Outcome:
        scheduled = attempt.scheduled
        activity = self._served[scheduled.activity_type]
        definition = activity.definition
        try:
            if attempt.details is not None:
                raise asyncio.CancelledError  # It was stopped before its first step.
            args = self._converter.from_payloads(
                scheduled.input, definition.arg_types[: len(scheduled.input)], path=f"{definition.name} input"
            )
            definition.parameters.bind(tuple(args), {})
            with self._context(attempt):
                if definition.is_async:
                    result = await definition.run(activity.instance, tuple(args))
                else:
                    call = partial(definition.run, activity.instance, tuple(args))
                    in_context: Callable[[], Any] = partial(_call, contextvars.copy_context(), call)
                    result = await self._loop.run_in_executor(self._executor, in_context)
            return self._completed(definition.name, result)
        except asyncio.CancelledError as error:
            if attempt.details is None:
                return Failed(self._converter.to_failure(error))
            if attempt.details.cancel_requested:
                return Canceled()
            if not attempt.details.worker_shutdown:
                return Failed(self._converter.to_failure(error))
            return Failed(
                self._converter.to_failure(
                    ApplicationError("the worker was shut down", type="WorkerShutdown")
                )
            )
        except BaseException as error:
            # SystemExit and the like too: an activity fails, it does not end its worker.
            return Failed(self._converter.to_failure(error))

    def _completed(self, name: str, result: Any) -> Outcome:
        try:
            return Completed(self._converter.to_payload(result, path=f"result of activity {name}"))
        except ConversionError as error:
            # The same code would return the same again.
            refused = ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
            return Failed(self._converter.to_failure(refused))

    def _context(self, attempt: Attempt) -> Context:
        return Context(
            # What the attempt began with: its own heartbeats, and a row it gets later, do not change that.
            partial(self._info, attempt, attempt.heartbeat, attempt.record),
            heartbeat=partial(self._heartbeat, attempt),
            cancelled=attempt.cancelled,
            worker_shutdown=self.shutdown,
            cancellation_details=lambda: attempt.details,
        )

    def _info(self, attempt: Attempt, heartbeat: Payloads, record: ActivityRecord | None) -> Info:
        scheduled = attempt.scheduled
        return Info(
            activity_id=scheduled.activity_id,
            activity_type=scheduled.activity_type,
            attempt=attempt.number,
            heartbeat_details=self._converter.from_payloads(heartbeat) if heartbeat else [],
            heartbeat_timeout=None if scheduled.heartbeat is None else to_timedelta(scheduled.heartbeat),
            idempotency_key=idempotency_key(attempt.run_id, scheduled),
            is_local=record is None,
            priority=None,
            retry_policy=policy_of(scheduled.retry_policy),
            schedule_to_close_timeout=(
                None if scheduled.schedule_to_close is None else to_timedelta(scheduled.schedule_to_close)
            ),
            scheduled_time=to_datetime(attempt.scheduled_at),
            current_attempt_scheduled_time=to_datetime(
                attempt.scheduled_at if record is None else record.due_at
            ),
            start_to_close_timeout=(
                None if scheduled.start_to_close is None else to_timedelta(scheduled.start_to_close)
            ),
            started_time=to_datetime(attempt.started_at),
            task_queue=scheduled.task_queue,
            workflow_id=attempt.workflow_id,
            workflow_namespace=self._namespace,
            workflow_run_id=attempt.run_id,
            workflow_type=attempt.workflow_type,
        )

    def _time_out(self, attempt: Attempt, kind: str) -> None:
        """End an attempt whose deadline has passed, whether its function reacts or not."""
        self._conclude(attempt, timeout(kind, heartbeat=attempt.heartbeat))
        attempt.details = ActivityCancellationDetails(timed_out=True)
        attempt.cancelled.set()
        attempt.interrupt()

    def cancel(self, run_id: str, id: int) -> None:
        """Pass on that the workflow cancelled an activity, if an attempt of it runs here."""
        attempt = self._attempts.get((run_id, id))
        if attempt is not None:
            attempt.cancel_requested = True
            attempt.stop(ActivityCancellationDetails(cancel_requested=True))

    def abandon(self, attempt: Attempt) -> None:
        """Stop an attempt that nobody waits for any more; its end is not reported."""
        attempt.stop(ActivityCancellationDetails(not_found=True))
        attempt.ended = True

    def reconcile(self, rows: Sequence[ActivityRecord]) -> None:
        """Compare what the database says runs here with what does.

        A row that is unknown at two looks in a row was claimed by a call whose answer was lost: its attempt begins now.
        One whose attempt began here counts as lost; should the look be older than the attempt's end, the row refuses.
        """
        unposted = {(outcome.run_id, outcome.id) for outcome in self._outcomes}
        unknown: dict[tuple[str, int, int], ActivityRecord] = {}
        for record in rows:
            attempt = self._attempts.get((record.run_id, record.id))
            known = attempt is not None and attempt.number == record.attempt
            if not known and (record.run_id, record.id) not in unposted:
                unknown[record.run_id, record.id, record.attempt] = record
        shown = {(row.run_id, row.id, row.attempt) for row in rows}
        # Kept until two looks in a row did not show it: one of them may have been on its way for long.
        self._begun -= self._unseen - shown
        self._unseen = self._begun - shown
        for key, record in unknown.items():
            if key not in self._doubtful:
                continue
            if key in self._begun:
                progress = decode_progress(record.progress)
                self._post_outcome(record, lost(scheduled_of(record), progress.heartbeat), progress)
            else:
                logger.info(
                    "activity %d of run %s runs here since an interrupted claim", record.id, record.run_id
                )
                self.take([record])
        self._doubtful = set(unknown)

    # ------------------------------------------------------------------ how they end

    def _conclude(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt.awaiting_row:
            # The first end is the end: what a timed-out function returns later does not count.
            if attempt.waiting_outcome is None:
                attempt.waiting_outcome = outcome
            return
        attempt.ended = True
        if attempt.record is None:
            assert attempt.owner is not None
            attempt.owner.attempt_ended(attempt, outcome)
            return
        self._post_outcome(
            attempt.record, outcome, attempt.progress, cancel_requested=attempt.cancel_requested
        )

    def _post_outcome(
        self, record: ActivityRecord, outcome: Outcome, progress: Progress, *, cancel_requested: bool = False
    ) -> None:
        self._outcomes.append(
            conclude_row(
                record,
                outcome,
                worker=self._worker_id,
                now=self._clock.now(),
                jitter=random.random(),
                identity=self._identity,
                progress=progress,
                cancel_requested=record.cancel_requested or cancel_requested,
            )
        )
        self._post.set()

    def row_written(self, attempt: Attempt, record: ActivityRecord) -> None:
        """Take the news that an attempt has a row now."""
        attempt.record = record
        attempt.owner = None
        self._begun.add((attempt.run_id, attempt.scheduled.id, attempt.number))
        attempt.awaiting_row = False
        if attempt.waiting_outcome is not None and not attempt.ended:
            outcome, attempt.waiting_outcome = attempt.waiting_outcome, None
            self._conclude(attempt, outcome)

    # ------------------------------------------------------------------ heartbeats

    def _heartbeat(self, attempt: Attempt, details: tuple[Any, ...]) -> None:
        """Take a heartbeat, from whatever thread the activity runs in; what cannot be stored is told to its caller."""
        # Kept at once: the attempt may end before the event loop hears of this.
        attempt.heartbeat = self._converter.to_payloads(details, path="heartbeat details")
        self._loop.call_soon_threadsafe(self._beat, attempt)

    def _beat(self, attempt: Attempt) -> None:
        if attempt.ended:
            return
        attempt.last_sign = self._clock.now()
        if attempt.beat_timer is not None:
            return
        now = self._loop.time()
        if now >= attempt.beat_at:
            self._pass_on(attempt)
        else:
            attempt.beat_timer = self._loop.call_at(attempt.beat_at, self._pass_on, attempt)

    def _pass_on(self, attempt: Attempt) -> None:
        attempt.beat_timer = None
        if attempt.ended:
            return
        limit = attempt.scheduled.heartbeat
        pause = (
            HEARTBEAT_DEFAULT if limit is None else min(limit / SECOND * HEARTBEAT_SHARE, HEARTBEAT_LONGEST)
        )
        attempt.beat_at = self._loop.time() + pause
        if attempt.record is not None:
            self._beats[attempt.run_id, attempt.scheduled.id] = attempt
            self._post.set()
        elif attempt.owner is not None and not attempt.awaiting_row:
            attempt.awaiting_row = True
            attempt.owner.give_row(attempt)

    # ------------------------------------------------------------------ what is told to the database

    async def run(self) -> None:
        """Post outcomes and heartbeats of attempts that have rows, until cancelled."""
        while True:
            await self._post.wait()
            self._post.clear()
            self._posting = True
            try:
                await self._post_outcomes()
                await self._post_beats()
            except Exception as error:
                away = isinstance(error, StoreUnavailableError)
                logger.log(
                    logging.WARNING if away else logging.ERROR,
                    "outcomes and heartbeats of activities could not be stored, trying again: %s",
                    error,
                    exc_info=None if away else error,
                )
                await asyncio.sleep(RETRY_PAUSE)
                self._post.set()
            finally:
                self._posting = False

    async def _post_outcomes(self) -> None:
        while self._outcomes:
            batch = self._outcomes[:500]
            # Asked again after an unknown outcome, the row answers that this attempt has been ended: no harm.
            try:
                await self._post_batch(batch)
            except StoreUnavailableError:
                raise
            except Exception:
                for outcome in batch:
                    await self._post_alone(outcome)
            del self._outcomes[: len(batch)]

    async def _post_alone(self, outcome: AttemptOutcome) -> None:
        """Post what a batch was refused with; one that cannot be stored at all is given up, and its attempt with it."""
        try:
            await self._post_batch([outcome])
        except StoreUnavailableError:
            raise
        except Exception:
            logger.exception(
                "activity %d of run %s: its outcome cannot be stored, attempt %d counts as lost",
                outcome.id,
                outcome.run_id,
                outcome.attempt,
            )

    async def _post_batch(self, batch: Sequence[AttemptOutcome]) -> None:
        hints: list[Hint] = []
        for outcome, accepted in zip(batch, await self._store.finish_attempts(batch), strict=True):
            if accepted and outcome.message is not None:
                hints.append(Hint(HintKind.MESSAGE, outcome.run_id))
            elif accepted:
                hints.append(Hint(HintKind.ACTIVITY, self._task_queue))
            else:
                logger.info(
                    "activity %d of run %s: attempt %d had been ended otherwise, its outcome is dropped",
                    outcome.id,
                    outcome.run_id,
                    outcome.attempt,
                )
        self._store.hint(hints)

    async def _post_beats(self) -> None:
        beating, self._beats = list(self._beats.values()), {}
        beating = [attempt for attempt in beating if not attempt.ended]
        if not beating:
            return
        try:
            answers = await self._store.heartbeat(
                [
                    Heartbeat(
                        a.run_id, a.scheduled.id, a.number, self._worker_id, encode_progress(a.progress)
                    )
                    for a in beating
                ]
            )
        except Exception:
            self._beats = {(a.run_id, a.scheduled.id): a for a in beating} | self._beats
            raise
        for attempt, answer in zip(beating, answers, strict=True):
            if answer is HeartbeatAnswer.CANCEL_REQUESTED:
                attempt.cancel_requested = True
                attempt.stop(ActivityCancellationDetails(cancel_requested=True))
            elif answer is HeartbeatAnswer.GONE:
                self.abandon(attempt)

    # ------------------------------------------------------------------ the end

    async def drain(self, grace: float) -> None:
        """Wait for the attempts under way, then ask the rest to end; return when all have, and their outcomes posted."""
        self.shutdown.set()
        if grace > 0:
            await _within(self._drained.wait(), grace)
        for attempt in list(self._attempts.values()):
            attempt.stop(ActivityCancellationDetails(worker_shutdown=True))
        # A function that does not react is left behind: its run counts the attempt as lost.
        await _within(self._drained.wait(), 1.0)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be told to the database."""
        return not self._outcomes and not self._posting

    def kill(self) -> None:
        """Stop everything at once; nothing is reported any more."""
        for attempt in list(self._attempts.values()):
            self.abandon(attempt)


def _call(context: contextvars.Context, function: Callable[[], Any]) -> Any:
    try:
        return context.run(function)
    except StopIteration as error:
        # asyncio cannot carry a StopIteration out of a thread; it would hang.
        raise RuntimeError("an activity raised StopIteration") from error


async def _within(awaitable: Any, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await awaitable
    except TimeoutError:
        pass
