"""What the database is told of attempts that have rows: that they live, and how they ended.

A row is the fence of its attempt: an outcome is taken once, by whoever brings it first, and a heartbeat is answered by
whether the attempt is still wanted. An eager attempt that sends a heartbeat has no row yet and is given one first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from durable._engine._activities import (
    Outcome,
    Progress,
    conclude_row,
    encode_progress,
    hints_of,
    news_for_breaker,
)
from durable._engine.lanes import is_gated
from durable._internal.backoff import exponential
from durable._internal.instants import SECOND
from durable.activity._context import ActivityCancellationDetails
from durable.exceptions import PayloadCodecError, StoreUnavailableError
from durable.history import ActivityTaskScheduled, EventRow, Payloads
from durable.store import (
    ActivityRecord,
    ActivityState,
    AttemptOutcome,
    BreakerNews,
    Heartbeat,
    HeartbeatAnswer,
    Hint,
    HintKind,
    Store,
    beneath,
)
from durable.worker._attempts import Attempt
from durable.worker._clock import DatabaseClock

logger = logging.getLogger("durable.worker")

HEARTBEAT_SHARE = 0.8
"""The share of its heartbeat timeout after which a heartbeat is passed on (Temporal's)."""

HEARTBEAT_DEFAULT, HEARTBEAT_LONGEST = 30.0, 60.0
"""Seconds between heartbeats passed on, without a heartbeat timeout and at most (Temporal's)."""

RETRY_PAUSE = 0.2
"""Seconds before the database is asked again after it was away."""

HELD_UP_PAUSE = 1.0
"""Seconds before outcomes are told again that the codec failed with."""

RETURN_FIRST, RETURN_LONGEST = 1 * SECOND, 60 * SECOND
"""Microseconds until an activity is claimed again that the codec failed with: longer with each attempt."""


async def finish_each(store: Store, outcomes: Sequence[AttemptOutcome]) -> list[bool | None]:
    """End attempts, as `Store.finish_attempts`; None for one that the codec fails with, which holds up no other.

    Raises:
        StoreUnavailableError: The database is away.
    """
    try:
        return list(await store.finish_attempts(outcomes))
    except PayloadCodecError as error:
        if len(outcomes) == 1:
            logger.error("activity %d of run %s: %s", outcomes[0].id, outcomes[0].run_id, error)
            return [None]
    alone = await asyncio.gather(*(finish_each(store, [outcome]) for outcome in outcomes))
    return [answer for answers in alone for answer in answers]


class _Ended(Struct, frozen=True):
    """How an attempt ended, from which its outcome was made."""

    record: ActivityRecord
    outcome: Outcome
    progress: Progress
    cancel_requested: bool


class Reports:
    """Outcomes and heartbeats that wait to be told to the database; see the module."""

    def __init__(
        self,
        store: Store,
        worker_id: str,
        *,
        identity: str,
        task_queue: str,
        clock: DatabaseClock,
        closed: Callable[[str, EventRow], None],
    ) -> None:
        self._closed = closed
        self._store = store
        self._bare = beneath(store)
        self._worker_id = worker_id
        self._identity = identity
        self._task_queue = task_queue
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._outcomes: list[AttemptOutcome] = []
        self._made_of: dict[tuple[str, int, int], _Ended] = {}
        self._returned: list[AttemptOutcome] = []
        self._beats: dict[tuple[str, int], Attempt] = {}
        self._post = asyncio.Event()
        self._posting = False
        self._gated: dict[tuple[str, int], ActivityTaskScheduled] = {}
        self._news: list[BreakerNews] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be told to the database."""
        return not self._outcomes and not self._returned and not self._posting and not self._news

    @property
    def unposted(self) -> set[tuple[str, int]]:
        """Run and id of the activities whose outcomes are not told yet."""
        return {(outcome.run_id, outcome.id) for outcome in (*self._outcomes, *self._returned)}

    # ------------------------------------------------------------------ what is to be told

    def ended(
        self,
        record: ActivityRecord,
        scheduled: ActivityTaskScheduled,
        outcome: Outcome,
        progress: Progress,
        *,
        cancel_requested: bool = False,
    ) -> None:
        """Tell how the attempt of a row ended."""
        if scheduled.limits is not None and is_gated(scheduled.limits):
            self._gated[record.run_id, record.id] = scheduled
            if (news := news_for_breaker(scheduled, outcome)) is not None:
                self._news.append(news)
        self._outcomes.append(self._conclude(_Ended(record, outcome, progress, cancel_requested)))
        self._post.set()

    def conclude(self, attempt: Attempt, record: ActivityRecord, outcome: Outcome) -> AttemptOutcome:
        """Return how the attempt of a row ends that is ended in a transaction of its own."""
        return self._conclude(_Ended(record, outcome, attempt.progress, attempt.cancel_requested))

    def committed(self, scheduled: ActivityTaskScheduled, outcome: Outcome, ended: AttemptOutcome) -> None:
        """Take the news that an attempt was ended in a transaction of its own."""
        gated = scheduled.limits is not None and is_gated(scheduled.limits)
        if gated and (news := news_for_breaker(scheduled, outcome)) is not None:
            self._news.append(news)
            self._post.set()
        if ended.sole is not None:
            self._closed(ended.run_id, ended.sole.closing)
        self._store.hint(hints_of(ended, scheduled))

    def _conclude(self, ended: _Ended) -> AttemptOutcome:
        record = ended.record
        made = conclude_row(
            record,
            ended.outcome,
            worker=self._worker_id,
            now=self._clock.now(),
            jitter=random.random(),
            identity=self._identity,
            progress=ended.progress,
            cancel_requested=record.cancel_requested or ended.cancel_requested,
        )
        if made.revision is not None:
            self._made_of[record.run_id, record.id, record.attempt] = ended
        return made

    def give_back(self, record: ActivityRecord) -> None:
        """Let whoever can decode it have an activity that was claimed; the failure is the codec's, not the activity's.

        Its number of attempts goes up, since it was claimed; what its retry policy allows is asked after failures only.
        """
        pause = exponential(RETURN_FIRST, 2.0, RETURN_LONGEST, record.attempt)
        logger.error(
            "activity %d of run %s is tried again in %.0f s: %s",
            record.id,
            record.run_id,
            pause / SECOND,
            record.fault,
        )
        self._returned.append(
            AttemptOutcome(
                run_id=record.run_id,
                id=record.id,
                attempt=record.attempt,
                worker=self._worker_id,
                retry_in=pause,
                progress=record.progress,
                base=record.base,
            )
        )
        self._post.set()

    def heartbeat(self, attempt: Attempt, details: Payloads) -> None:
        """Take a heartbeat, from whatever thread the activity runs in."""
        # Kept at once: the attempt may end before the event loop hears of this.
        attempt.last_heartbeat = details
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
            self._beats[attempt.key] = attempt
            self._post.set()
        elif attempt.owner is not None and not attempt.awaiting_row:
            attempt.awaiting_row = True
            attempt.owner.give_row(attempt)

    # ------------------------------------------------------------------ telling it

    async def run(self) -> None:
        """Post what is to be told, until cancelled."""
        while True:
            await self._post.wait()
            self._post.clear()
            self._posting = True
            try:
                await self._post_returned()
                await self._post_news()
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

    async def _post_returned(self) -> None:
        while self._returned:
            batch = self._returned[:500]
            # As they were read: what could not be decoded is not encoded once more.
            await self._bare.finish_attempts(batch)
            del self._returned[: len(batch)]

    async def _post_news(self) -> None:
        """Tell circuit breakers first, so that nothing else tries what the end of an attempt would have kept it from."""
        if self._news:
            news, self._news = self._news, []
            try:
                await self._store.tell_breakers(news)
            except BaseException:
                self._news = news + self._news
                raise

    async def _post_outcomes(self) -> None:
        held_up: list[AttemptOutcome] = []
        while self._outcomes:
            batch = self._outcomes[:500]
            # Asked again after an unknown outcome, the row answers that this attempt has been ended: no harm.
            try:
                held_up += await self._post_batch(batch)
            except StoreUnavailableError:
                self._outcomes += held_up
                raise
            except Exception:
                for outcome in batch:
                    held_up += await self._post_alone(outcome)
            del self._outcomes[: len(batch)]
        self._outcomes += held_up
        if held_up:
            self._loop.call_later(HELD_UP_PAUSE, self._post.set)

    async def _post_alone(self, outcome: AttemptOutcome) -> list[AttemptOutcome]:
        """Post what a batch was refused with; one that cannot be stored at all is given up, and its attempt with it."""
        try:
            return await self._post_batch([outcome])
        except StoreUnavailableError:
            raise
        except Exception:
            logger.exception(
                "activity %d of run %s: its outcome cannot be stored, attempt %d counts as lost",
                outcome.id,
                outcome.run_id,
                outcome.attempt,
            )
            return []

    async def _post_batch(self, batch: Sequence[AttemptOutcome]) -> list[AttemptOutcome]:
        """Post outcomes; return those that the codec fails with (now)."""
        hints: list[Hint] = []
        held_up: list[AttemptOutcome] = []
        for outcome, accepted in zip(batch, await finish_each(self._store, batch), strict=True):
            if accepted is None:
                held_up.append(outcome)
                continue
            ended = self._made_of.pop((outcome.run_id, outcome.id, outcome.attempt), None)
            gated = self._gated.pop((outcome.run_id, outcome.id), None) if accepted else None
            if accepted and outcome.sole is not None:
                self._closed(outcome.run_id, outcome.sole.closing)
            if accepted and gated is not None:
                hints += hints_of(outcome, gated)
            elif accepted and outcome.sole is not None:
                hints.append(Hint(HintKind.CLOSED, outcome.run_id))
            elif accepted and outcome.message is not None:
                hints.append(Hint(HintKind.MESSAGE, outcome.run_id))
            elif accepted:
                hints.append(Hint(HintKind.ACTIVITY, self._task_queue))
            elif ended is None or not await self._ended_anew(ended):
                self._gated.pop((outcome.run_id, outcome.id), None)
                logger.info(
                    "activity %d of run %s: attempt %d had been ended otherwise, its outcome is dropped",
                    outcome.id,
                    outcome.run_id,
                    outcome.attempt,
                )
        self._store.hint(hints)
        return held_up

    async def _ended_anew(self, ended: _Ended) -> bool:
        """Tell once more how an attempt ended if operators have changed its activity while it ran; return whether they have."""
        known = ended.record
        try:
            rows = await self._store.read_activities(known.run_id)
        except BaseException:
            # It is told again, and refused again.
            self._made_of[known.run_id, known.id, known.attempt] = ended
            raise
        for row in rows:
            ours = (row.id, row.attempt, row.worker) == (known.id, known.attempt, self._worker_id)
            if ours and row.state is ActivityState.RUNNING and row.revision != known.revision:
                self._outcomes.append(self._conclude(replace(ended, record=row)))
                return True
        return False

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
            self._beats = {a.key: a for a in beating} | self._beats
            raise
        for attempt, answer in zip(beating, answers, strict=True):
            if answer is HeartbeatAnswer.CANCEL_REQUESTED:
                attempt.cancel_requested = True
                attempt.stop(ActivityCancellationDetails(cancel_requested=True))
            elif answer is HeartbeatAnswer.PAUSED:
                attempt.stop(ActivityCancellationDetails(paused=True))
            elif answer is HeartbeatAnswer.RESET:
                attempt.stop(ActivityCancellationDetails(reset=True))
            elif answer is HeartbeatAnswer.GONE:
                attempt.abandon()
