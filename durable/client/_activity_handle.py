"""An activity that a client started: to wait for, to look at, to operate and to end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from durable._engine._activities import cancel_waiting, decode_progress
from durable._engine._operated import request_cancel
from durable._engine._sole import own_name, sole_name
from durable._engine._state import RunState
from durable._internal.ids import check_name, check_note
from durable._internal.instants import SECOND, Duration, to_datetime, to_duration
from durable._internal.left_out import explains_options
from durable.client._activity_executions import ActivityExecution, status_of
from durable.client._checked import check_result_type
from durable.client._connection import Connection
from durable.client._executions import attributes_of, shown
from durable.client._operated_activities import Change, Operating, pausing, resetting, unpausing, updating
from durable.common import PendingActivityState, RetryPolicy
from durable.converter import ActivitySerializationContext, DataConverter
from durable.exceptions import ActivityFailureError, ActivityNotFoundError, CancelledError, TerminatedError
from durable.history import (
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Event,
    EventData,
    EventRow,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    decode_data,
    decode_history,
    decode_retry_policy,
)
from durable.interceptor.client import CancelActivityInput, DescribeActivityInput, TerminateActivityInput
from durable.store import ActivityRecord, ActivityState, Hint, HintKind, RunRecord, beneath

UNKNOWN = "no client has started it; check the id, and that this is the database"
UNCOMMITTED = "the transaction that it was started in is still open, or has been rolled back; commit it before you wait for the result"

R_co = TypeVar("R_co", covariant=True)

LOOK_AGAIN = 0.005
"""Seconds until an activity is looked at again that has changed between a look and a deed."""


@dataclass(frozen=True, kw_only=True)
class ActivityExecutionDescription(ActivityExecution):
    """An activity that a client started, as the database knows it at one moment.

    Attributes:
        attempt: The number of the present, next or last attempt.
        run_state: What it waits for while it is open, else None.
        retry_policy: What follows a failed attempt.
        last_failure: What the last attempt that failed ended with.
        last_started_time: When the attempt under way began.
        next_attempt_schedule_time: When the next attempt may be taken, if it waits for that.
        expiration_time: By when all attempts must be over, None for never.
        heartbeat_details: What its heartbeats said last.
        worker: The worker that runs the attempt under way.
        paused: Whether an operator has paused it, since `pause_time` and for `pause_reason`.
        canceled_reason: Why it is asked to end, None if it is not.
        summary: The line for people that it was started with.
    """

    attempt: int
    run_state: PendingActivityState | None
    retry_policy: RetryPolicy | None
    last_failure: BaseException | None
    last_started_time: datetime | None
    next_attempt_schedule_time: datetime | None
    expiration_time: datetime | None
    heartbeat_details: Sequence[Any] = ()
    worker: str | None = None
    paused: bool = False
    pause_time: datetime | None = None
    pause_reason: str = ""
    canceled_reason: str | None = None
    summary: str = field(default="")


@explains_options
class ActivityHandle(Generic[R_co]):
    """One activity that a client started, by id. `Client.start_activity` and `Client.get_activity_handle` make it.

    Attributes:
        id: Its id.
        run_id: The run that is meant; None for whichever is open, or was last.
    """

    def __init__(
        self,
        connection: Connection,
        id: str,
        *,
        run_id: str | None = None,
        result_type: Any = Any,
        tentative: bool = False,
    ) -> None:
        self._connection = connection
        self.id = check_name(id, "activity_id")
        self.run_id = run_id
        self._result_type = check_result_type(result_type)
        self._tentative = tentative  # whether its start has yet to be committed, as far as is known

    def __repr__(self) -> str:
        return f"<ActivityHandle {self.id!r} run {self.run_id}>"

    # ------------------------------------------------------------------ waiting and looking

    async def result(self, *, timeout: Duration | None = None) -> R_co:
        """Return the activity's result once it has one, however long that takes.

        Args:
            timeout: How long to wait; for ever when None. The activity goes on.

        Raises:
            ActivityFailureError: It closed without a result; `cause` says why: what its last attempt failed with, a
                `TimeoutError`, `CancelledError` or `TerminatedError`.
            ActivityNotFoundError: There is no such activity; or the transaction that it was started in is still open, or
                has been rolled back.
            TimeoutError: The builtin one: it was still open after `timeout`.
        """
        seconds = None if timeout is None else to_duration(timeout, "timeout") / SECOND
        async with asyncio.timeout(seconds):
            run_id = self.run_id
            if run_id is None or self._tentative:
                run_id = (await self._find()).run_id
            event = await self._connection.waiting.closing_event(run_id)
            return await self._result_of(run_id, event)

    async def _result_of(self, run_id: str, event: EventData) -> R_co:
        converter = self._connection.converter
        if converter.takes_context:
            converter = self._converter(await self._find())
        match event:
            case WorkflowExecutionCompleted(result=result):
                found: R_co = converter.from_payload(
                    result, self._result_type, path=f"result of activity {self.id}"
                )
                return found
            case WorkflowExecutionFailed(failure=failure):
                cause: BaseException = converter.from_failure(failure)
            case WorkflowExecutionCanceled(details=details):
                cause = CancelledError("activity was cancelled", *converter.from_payloads(details))
            case WorkflowExecutionTerminated(reason=reason):
                cause = TerminatedError(reason or "activity was terminated")
            case WorkflowExecutionTimedOut():
                # What timed out, and what it had failed with before, is in the event of the activity itself.
                timed_out = [
                    one.data
                    for one in await self._events(run_id)
                    if isinstance(one.data, ActivityTaskTimedOut)
                ]
                cause = converter.from_failure(timed_out[-1].failure)
            case _:
                raise AssertionError(event)
        raise ActivityFailureError(cause=cause)

    async def describe(self) -> ActivityExecutionDescription:
        """Return what the database knows about the activity now.

        Raises:
            ActivityNotFoundError: There is no such activity.
        """
        found: ActivityExecutionDescription = await self._connection.outbound.describe_activity(
            DescribeActivityInput(self.id, self.run_id)
        )
        return found

    async def _describe(self) -> ActivityExecutionDescription:
        """Return what is known: what `describe` does behind its interceptors."""
        record = await self._find()
        store = self._connection.store
        rows = await self._connection.patiently(lambda: store.read_activities(record.run_id))
        events = await self._events(record.run_id)
        converter = self._converter(record)
        return _description(record, events, rows, converter, self._connection.namespace)

    # ------------------------------------------------------------------ ending it

    async def cancel(self, reason: str = "") -> None:
        """Ask the activity to end; once this returns the request is stored.

        One that waits is cancelled at once. An attempt under way is told with its next heartbeat, and no other follows
        it; what it returns all the same is the activity's result.

        Args:
            reason: Why, for people.

        Raises:
            ActivityNotFoundError: There is no such activity, or it is closed.
            StoreUnavailableError: The database is away; the request may or may not have been stored.
        """
        await self._connection.outbound.cancel_activity(CancelActivityInput(self.id, self.run_id, reason))

    async def _cancel(self, reason: str) -> None:
        """Ask it to end: what `cancel` does behind its interceptors."""
        check_note(reason, "reason")
        run_id = (await self._find_open()).run_id
        # Beneath any codec: nothing of it has to be read for that.
        store, patiently = beneath(self._connection.store), self._connection.patiently
        closing: EventRow | None = None
        while True:
            rows = await patiently(lambda: store.read_activities(run_id))
            if not rows:
                last = (await patiently(lambda: store.read_closing_events([run_id]))).get(run_id)
                if closing is None or last is None or last.data != closing.data:
                    raise self._closed(run_id)
                # It was cancelled by this, and the answer was lost.
                self._told_closed(run_id, closing)
                return
            row = rows[0]
            if row.cancel_requested:
                return
            if row.state is ActivityState.QUEUED and row.outside_since is None:
                outcome = cancel_waiting(row)
                (ended,) = await patiently(partial(store.finish_attempts, [outcome]))
                assert outcome.sole is not None
                closing = outcome.sole.closing
                if ended:
                    self._told_closed(run_id, closing)
                    return
            else:
                change = request_cancel(row, reason)
                if (await patiently(partial(store.change_activities, [change])))[0]:
                    return
            await asyncio.sleep(LOOK_AGAIN)

    def _told_closed(self, run_id: str, closing: EventRow) -> None:
        self._connection.local.closed(run_id, decode_data(closing.type, closing.data))
        self._connection.store.hint([Hint(HintKind.CLOSED, run_id)])

    async def terminate(self, reason: str = "") -> None:
        """End the activity at once; what an attempt under way brings counts no more, and it is told by its heartbeat.

        Args:
            reason: Why, for people.

        Raises:
            ActivityNotFoundError: There is no such activity, or it is closed.
            StoreUnavailableError: The database is away; it may or may not have been ended.
        """
        await self._connection.outbound.terminate_activity(
            TerminateActivityInput(self.id, self.run_id, reason)
        )

    async def _terminate(self, reason: str) -> None:
        """End it: what `terminate` does behind its interceptors."""
        check_note(reason, "reason")
        record = await self._find_open()
        end = WorkflowExecutionTerminated(reason=reason, identity=self._connection.identity)
        if not await self._connection.terminate(record, end):
            raise self._closed(record.run_id)
        self._connection.local.closed(record.run_id, end)

    # ------------------------------------------------------------------ operating it

    async def pause(self, reason: str = "") -> None:
        """Keep it from being tried (again) until it is unpaused; see `WorkflowHandle.pause_activity`.

        Raises:
            ActivityNotFoundError: There is no such activity, or it is closed.
            StoreUnavailableError: The database is away; ask again.
        """
        await self._operate("pause_activity", pausing(reason), reason)

    async def unpause(
        self, *, reset_attempts: bool = False, reset_heartbeats: bool = False, jitter: Duration = 0
    ) -> None:
        """Let it go on if it is paused; see `WorkflowHandle.unpause_activity`.

        Raises:
            ActivityNotFoundError: There is no such activity, or it is closed.
            ValueError: The jitter is out of range.
            StoreUnavailableError: The database is away; ask again.
        """
        await self._operate("unpause_activity", unpausing(reset_attempts, reset_heartbeats, jitter))

    async def reset(
        self,
        *,
        reset_heartbeats: bool = False,
        keep_paused: bool = False,
        restore_original_options: bool = False,
        jitter: Duration = 0,
    ) -> None:
        """Send it back to its first attempt; see `WorkflowHandle.reset_activity`.

        Raises:
            ActivityNotFoundError: There is no such activity, or it is closed.
            ValueError: The jitter is out of range.
            StoreUnavailableError: The database is away; ask again.
        """
        await self._operate(
            "reset_activity", resetting(reset_heartbeats, keep_paused, restore_original_options, jitter)
        )

    async def update_options(
        self,
        *,
        task_queue: str | None = None,
        schedule_to_close_timeout: Duration | None = None,
        schedule_to_start_timeout: Duration | None = None,
        start_to_close_timeout: Duration | None = None,
        heartbeat_timeout: Duration | None = None,
        retry_policy: RetryPolicy | None = None,
        restore_original: bool = False,
    ) -> None:
        """Give it other options; see `WorkflowHandle.update_activity_options`.

        Raises:
            ActivityNotFoundError: There is no such activity, or it is closed.
            ValueError: There is nothing to change, or a value is out of range.
            StoreUnavailableError: The database is away; ask again.
        """
        timeouts = {
            "schedule_to_close": schedule_to_close_timeout,
            "schedule_to_start": schedule_to_start_timeout,
            "start_to_close": start_to_close_timeout,
            "heartbeat": heartbeat_timeout,
        }
        await self._operate(
            "update_activity_options", updating(task_queue, timeouts, retry_policy, restore_original)
        )

    async def _operate(self, operation: str, change: Change, reason: str = "") -> None:
        record = await self._find_open()
        deed = self._connection.deed(operation, record.workflow_id, reason)
        meant = Operating(self._connection, record, repr(self.id), lambda scheduled: True, deed)
        await meant.change(change)

    # ------------------------------------------------------------------ finding it

    async def _find(self) -> RunRecord:
        find = self._connection.store.find_run
        record = await self._connection.patiently(
            lambda: find(sole_name(self.id), self.run_id, measured=False)
        )
        if record is None:
            raise ActivityNotFoundError(
                f"activity {self.id!r}: {UNCOMMITTED if self._tentative else UNKNOWN}",
                activity_id=self.id,
                run_id=self.run_id or "",
            )
        self._tentative = False
        return record

    async def _find_open(self) -> RunRecord:
        record = await self._find()
        if record.closed_at is not None:
            raise self._closed(record.run_id)
        return record

    def _closed(self, run_id: str) -> ActivityNotFoundError:
        return ActivityNotFoundError(
            f"activity {self.id!r} is closed; it can be described, and told nothing",
            activity_id=self.id,
            run_id=run_id,
        )

    async def _events(self, run_id: str) -> list[Event]:
        store = self._connection.store
        return decode_history(await self._connection.patiently(lambda: store.read_events(run_id)))

    def _converter(self, record: RunRecord) -> DataConverter:
        converter = self._connection.converter
        if not converter.takes_context:
            return converter
        return converter.with_context(
            ActivitySerializationContext(
                namespace=self._connection.namespace,
                activity_id=self.id,
                activity_type=own_name(record.workflow_type),
                activity_task_queue=record.task_queue,
                workflow_id=None,
                workflow_type=None,
            )
        )


def _description(
    run: RunRecord,
    events: Sequence[Event],
    rows: Sequence[ActivityRecord],
    converter: DataConverter,
    namespace: str,
) -> ActivityExecutionDescription:
    scheduled = events[1].data
    assert isinstance(scheduled, ActivityTaskScheduled)
    state = RunState.of(run.run_id, events)
    begins = run.started_at + state.started.delay
    row = rows[0] if rows else None
    if row is not None:
        row_scheduled = decode_data(scheduled.type, row.scheduled)
        assert isinstance(row_scheduled, ActivityTaskScheduled)
        scheduled = row_scheduled
    progress = decode_progress(row.progress if row is not None else b"")
    outcome = None if row is not None or len(events) < 3 else events[2].data
    failure = progress.last_failure or getattr(outcome, "failure", None)
    run_state = None if row is None else _run_state(row)
    waits = run_state is PendingActivityState.SCHEDULED
    closes = None if scheduled.schedule_to_close is None else begins + scheduled.schedule_to_close
    closed = run.closed_at
    return ActivityExecutionDescription(
        activity_id=own_name(run.workflow_id),
        activity_run_id=run.run_id,
        activity_type=own_name(run.workflow_type),
        task_queue=run.task_queue if row is None else row.task_queue,
        status=status_of(run.status),
        scheduled_time=to_datetime(run.started_at),
        close_time=None if closed is None else to_datetime(closed),
        execution_duration=None if closed is None else timedelta(microseconds=closed - run.started_at),
        namespace=namespace,
        typed_search_attributes=attributes_of(state.search_attributes),
        attempt=row.number if row is not None else getattr(outcome, "attempt", 1),
        run_state=run_state,
        retry_policy=decode_retry_policy(scheduled.retry_policy),
        last_failure=None if failure is None else converter.from_failure(failure),
        last_started_time=None if row is None or row.started_at is None else to_datetime(row.started_at),
        next_attempt_schedule_time=to_datetime(row.due_at) if row is not None and waits else None,
        expiration_time=None if closes is None else to_datetime(closes),
        heartbeat_details=[shown(detail, converter) for detail in progress.heartbeat],
        worker=None if row is None else row.worker,
        paused=row is not None and row.paused_at is not None,
        pause_time=None if row is None or row.paused_at is None else to_datetime(row.paused_at),
        pause_reason="" if row is None else row.pause_reason,
        canceled_reason=row.cancel_reason if row is not None and row.cancel_requested else None,
        summary=scheduled.summary,
    )


def _run_state(row: ActivityRecord) -> PendingActivityState:
    """What an open activity waits for."""
    paused = row.paused_at is not None
    if row.state is ActivityState.QUEUED and row.outside_since is None:
        return PendingActivityState.PAUSED if paused else PendingActivityState.SCHEDULED
    if row.cancel_requested:
        return PendingActivityState.CANCEL_REQUESTED
    return PendingActivityState.PAUSE_REQUESTED if paused else PendingActivityState.STARTED
