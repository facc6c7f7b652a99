"""One look at a schedule: what has ended is taken in, what is due is decided, and both are written with what they start.

Workers look at schedules that are due, or whose running action has ended; a client looks before it changes one, so that
what was due before the change is decided as it was meant then. All of it is fenced by the schedule's revision: of two who
look at the same moment one writes, and the other looks again. A run's id is made of the schedule and the instant, so even
a decision that is written twice starts one run.

Running actions that are to be cancelled or terminated are asked behind the commit that says so, and that they were told is
written then; until it is, whoever looks next asks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct

from durable._engine._chain import TIMED_OUT
from durable._engine._messages import end, message
from durable._engine._start import start
from durable._engine._state import CLOSING_STATUS
from durable._engine._updates import LOST
from durable._engine.schedules._decide import Start, decide
from durable._engine.schedules._requests import closed, refused, told
from durable._engine.schedules.records import (
    Asked,
    PolicyRecord,
    RunningAction,
    ScheduleProgress,
    ScheduleRecord,
)
from durable._engine.schedules.rows import (
    ScheduleRow,
    ScheduleWrite,
    decode_progress,
    decode_record,
    encode_schedule,
)
from durable._internal.instants import SECOND, to_datetime
from durable._search_attributes import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.client._parents import news_of
from durable.common import WorkflowExecutionStatus, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import (
    EventData,
    Payload,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    decode_data,
)
from durable.history._search_attributes import encode_search_attributes
from durable.store import (
    ANY_KEY,
    Close,
    Hint,
    HintKind,
    NewRun,
    RunRecord,
    RunStatus,
    SendOutcome,
    StartOutcome,
    Store,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from durable.telemetry import Tracing

logger = logging.getLogger("durable.client")

ASK_AGAIN = 2 * SECOND
"""Microseconds until others ask a running action, when whoever was to do it has not written that it did."""

SCHEDULED_BY_ID = SearchAttributeKey.for_keyword("TemporalScheduledById")
SCHEDULED_START_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")

Made = tuple[NewRun, "Span | None"]
"""A run that is started, and the span of its start, which ends when it was."""

CANCEL_ID = "cancelled by its schedule"
"""The id of the cancel request to a run: sent again it is the same."""


class Kept(Struct, frozen=True):
    """A schedule: what it is for, and what it has done."""

    record: ScheduleRecord
    progress: ScheduleProgress

    @classmethod
    def of(cls, row: ScheduleRow) -> Kept:
        """Return what a row says.

        Raises:
            PayloadCodecError: The codec could not decode it.
            HistoryCorruptError: It is not what this library wrote.
        """
        if row.fault is not None:
            raise row.fault
        return cls(decode_record(row.record), decode_progress(row.progress))


Change = Callable[[Kept, int], Kept | None]
"""What is to be changed about a schedule, given the database's time; None when it has been changed already."""


class Scheduler:
    """Looks at schedules, for a client or a worker.

    Args:
        store: Where they are.
        identity: Who looks, for people.
        ended: Told of each run that is terminated.
    """

    def __init__(
        self,
        store: Store,
        identity: str,
        tracing: Tracing | None,
        ended: Callable[[str, EventData], None] | None = None,
    ) -> None:
        self._store = store
        self._identity = identity
        self._tracing = tracing
        self._ended = ended

    async def look(self, row: ScheduleRow, change: Change | None = None) -> bool:
        """Decide what a schedule does now, change it, and write both.

        Returns:
            Whether it is done: False when somebody else has written the schedule meanwhile, or when more is due than one
            decision takes; look again, at a fresh row.

        Raises:
            ValueError: The spec cannot be read on this machine.
            StoreUnavailableError: The database, or the codec, is away; what was written is not known.
        """
        kept = Kept.of(row)
        record, now = kept.record, row.now
        progress, running = await self._ends(record.policy, kept.progress)
        decision = decide(record, progress, now=now, running=running)
        progress, wake = decision.progress, decision.wake
        starts = self._new_runs(record, progress.schedule_id, decision.starts)
        behind = wake is not None and wake <= now
        if change is not None and not behind:
            changed = change(Kept(record, progress), now)
            if changed is not None:
                record = changed.record
                taken = {one.run_id for one in changed.progress.running}
                decision = decide(record, changed.progress, now=now, running=taken)
                progress, wake = decision.progress, decision.wake
                starts += self._new_runs(record, progress.schedule_id, decision.starts)
        untold = [one for one in progress.running if one.asked > one.told]
        if untold:
            wake = min(now + ASK_AGAIN if wake is None else wake, now + ASK_AGAIN)
        if change is None and wake == row.wake_at and progress == kept.progress:
            return True
        if not await self._write(row.revision, record, progress, wake, starts):
            return False
        if untold:
            await self._ask(progress.schedule_id, untold)
        return not (behind and change is not None)

    async def create(
        self, schedule_id: str, record: ScheduleRecord, progress: ScheduleProgress, now: int
    ) -> bool:
        """Write a new schedule, with what it starts at once; False when there is one of that id."""
        decision = decide(record, progress, now=now, running=())
        starts = self._new_runs(record, schedule_id, decision.starts)
        return await self._write(None, record, decision.progress, decision.wake, starts)

    def _new_runs(self, record: ScheduleRecord, schedule_id: str, starts: Sequence[Start]) -> list[Made]:
        """Make the runs that are started, each with a trace of its own if there are spans."""
        made: list[Made] = []
        spans = None if self._tracing is None else self._tracing.spans
        for one in starts:
            headers, span = record.action.headers, None
            if spans is not None:
                attributes = {
                    "durable.workflow.id": one.workflow_id,
                    "durable.workflow.run_id": one.run_id,
                    "durable.schedule.id": schedule_id,
                    "durable.task_queue": record.action.task_queue,
                }
                headers, span = spans.scheduled(record.action.workflow_type, attributes, headers)
            made.append((new_run(record, schedule_id, one, self._identity, headers), span))
        return made

    async def _write(
        self,
        revision: int | None,
        record: ScheduleRecord,
        progress: ScheduleProgress,
        wake: int | None,
        starts: Sequence[Made],
    ) -> bool:
        schedule_id = progress.schedule_id
        write = ScheduleWrite(
            schedule_id=schedule_id,
            revision=revision,
            record=encode_schedule(record),
            progress=encode_schedule(progress),
            wake_at=wake,
            running=tuple((one.workflow_id, one.run_id) for one in progress.running),
            starts=tuple(new for new, _ in starts),
        )
        verdicts = await self._store.write_schedule(write)
        if verdicts is None:
            return False
        hints = dict.fromkeys(Hint(HintKind.RUN, one.task_queue) for one, _ in starts)
        hints[Hint(HintKind.SCHEDULE, schedule_id)] = None
        self._store.hint(list(hints))
        for (new, span), verdict in zip(starts, verdicts, strict=True):
            if span is not None and verdict.outcome is StartOutcome.STARTED:
                span.end()
            if verdict.outcome is StartOutcome.REJECTED:
                logger.warning(
                    "schedule %r could not start workflow %r: another one is open under that id, as run %s",
                    schedule_id,
                    new.workflow_id,
                    verdict.run_id,
                )
                await self._refuse(schedule_id, new.run_id)
        return True

    async def _refuse(self, schedule_id: str, run_id: str) -> None:
        def change(kept: Kept, now: int) -> Kept:
            return Kept(kept.record, refused(kept.progress, run_id))

        await self.change(schedule_id, change)

    async def change(self, schedule_id: str, change: Change) -> bool:
        """Change a schedule, looking as often as it takes; False when there is none of that id.

        Raises:
            ValueError: As `look`.
            StoreUnavailableError: As `look`.
        """
        while (row := await self._store.find_schedule(schedule_id)) is not None:
            if await self.look(row, change):
                return True
            await asyncio.sleep(0)
        return False

    # ------------------------------------------------------------------ what has ended

    async def _ends(
        self, policy: PolicyRecord, progress: ScheduleProgress
    ) -> tuple[ScheduleProgress, set[str]]:
        """Take in what running actions came to; return the first runs of those that go on."""
        running: set[str] = set()
        for one in progress.running:
            last = await self._last_run(one)
            if last is None:
                progress = refused(progress, one.run_id)
                continue
            event = None if last.closed_at is None else await self._closing_event(last)
            if event is None:
                running.add(one.run_id)
                continue
            status = WorkflowExecutionStatus(int(CLOSING_STATUS[type(event)]))
            result = (event.result,) if isinstance(event, WorkflowExecutionCompleted) else ()
            failure = event.failure if isinstance(event, WorkflowExecutionFailed) else None
            if isinstance(event, WorkflowExecutionTimedOut):
                failure = TIMED_OUT
            progress = closed(policy, progress, one.run_id, status, result=result, failure=failure)
        return progress, running

    async def _last_run(self, one: RunningAction) -> RunRecord | None:
        """Return the last run of an action's chain, None when there is no such chain."""
        newest = await self._store.find_run(one.workflow_id)
        if newest is None or newest.first_run_id == one.run_id:
            return newest
        # Somebody has used the workflow's id again.
        run = await self._store.find_run(one.workflow_id, one.run_id)
        while run is not None and run.closed_at is not None:
            following: str = getattr(await self._closing_event(run), "new_run_id", "")
            if not following:
                return run
            run = await self._store.find_run(one.workflow_id, following)
        return run

    async def _closing_event(self, run: RunRecord) -> EventData | None:
        row = (await self._store.read_closing_events([run.run_id])).get(run.run_id)
        return None if row is None else decode_data(row.type, row.data)

    # ------------------------------------------------------------------ what is asked of running actions

    async def _ask(self, schedule_id: str, untold: Sequence[RunningAction]) -> None:
        """Cancel or terminate running actions, and write that they were told."""
        asked: dict[str, Asked] = {}
        for one in untold:
            run = await self._last_run(one)
            if run is None or run.closed_at is not None:
                asked[one.run_id] = one.asked
            elif one.asked is Asked.TERMINATE:
                if await self._terminate(run, f"its schedule {schedule_id!r} starts another one"):
                    asked[one.run_id] = one.asked
            elif await self._cancel(run, f"its schedule {schedule_id!r} starts another one"):
                asked[one.run_id] = one.asked

        def change(kept: Kept, now: int) -> Kept:
            return Kept(kept.record, told(kept.progress, asked))

        if asked:
            await self.change(schedule_id, change)

    async def _cancel(self, run: RunRecord, reason: str) -> bool:
        request = WorkflowExecutionCancelRequested(reason=reason, identity=self._identity)
        (outcome,) = await self._store.send([message(run.run_id, CANCEL_ID, request)])
        self._store.hint([Hint(HintKind.MESSAGE, run.run_id)])
        return outcome in (SendOutcome.SENT, SendOutcome.REPEATED)

    async def _terminate(self, run: RunRecord, reason: str) -> bool:
        event = WorkflowExecutionTerminated(reason=reason, identity=self._identity)
        news = await news_of(self._store, run, event)
        close = Close(RunStatus.TERMINATED, update_lost=LOST)
        done = await self._store.terminate(run.run_id, lambda seq: end(seq, event), close, news)
        if done:
            if self._ended is not None:
                self._ended(run.run_id, event)
            self._store.hint([Hint(HintKind.CLOSED, run.run_id), Hint(HintKind.MESSAGE, ANY_KEY)])
        return done


def new_run(
    record: ScheduleRecord, schedule_id: str, one: Start, identity: str, headers: dict[str, Payload]
) -> NewRun:
    """Return the run that an action is: the same one whoever makes it, but for the trace in its headers."""
    action = record.action
    own = TypedSearchAttributes(
        (
            SearchAttributePair(SCHEDULED_BY_ID, schedule_id),
            SearchAttributePair(SCHEDULED_START_TIME, to_datetime(one.nominal)),
        )
    )
    seed = sha256(f"durable schedule seed\0{one.run_id}".encode()).digest()
    started = WorkflowExecutionStarted(
        workflow_id=one.workflow_id,
        workflow_type=action.workflow_type,
        task_queue=action.task_queue,
        input=action.input,
        seed=int.from_bytes(seed[:8]) >> 1,
        execution_timeout=action.execution_timeout,
        run_timeout=action.run_timeout,
        task_timeout=action.task_timeout,
        retry_policy=action.retry_policy,
        first_run_id=one.run_id,
        memo=action.memo,
        headers=headers,
        identity=identity,
        static_summary=action.static_summary,
        static_details=action.static_details,
        search_attributes=action.search_attributes | encode_search_attributes(own, reserved=True),
        priority=action.priority,
        limits=action.limits,
        last_result=one.last_result[0] if one.last_result else None,
        last_failure=one.last_failure,
        schedule_id=schedule_id,
        scheduled_at=one.nominal,
        scheduled_before=one.previous,
    )
    return start(
        one.run_id,
        started,
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        conflict=WorkflowIDConflictPolicy.FAIL,
    )
