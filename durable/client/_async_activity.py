"""Activities that somebody outside ends: addressed by a token or by ids, completed, failed, kept up, cancelled.

The row of an attempt is its fence. An attempt that has none yet, since it runs beside its workflow, gets one when its run's
owner is asked for it; one whose outcome is in the log never will, which is told at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from durable._engine._activities import (
    ActivityInputEvent,
    Canceled,
    Completed,
    Failed,
    Outcome,
    Progress,
    Token,
    conclude_row,
    decode_progress,
    encode_progress,
    hints_of,
    news_for_breaker,
    read_task_token,
    scheduled_of,
)
from durable._engine._sole import is_sole, sole_name
from durable._internal.ids import check_name, check_optional_name
from durable._internal.left_out import explains_options
from durable._internal.shown import shown
from durable.activity._context import ActivityCancellationDetails
from durable.client._connection import Connection
from durable.client._rows_wanted import RowsWanted
from durable.converter import (
    ActivitySerializationContext,
    DataConverter,
    SerializationContext,
)
from durable.exceptions import ActivityNotFoundError, AsyncActivityCancelledError
from durable.history import (
    CLOSING,
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    Event,
    WorkflowExecutionStarted,
    decode_data,
    decode_history,
)
from durable.interceptor.client import (
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ReportCancellationAsyncActivityInput,
)
from durable.store import ActivityRecord, ActivityState, Heartbeat, HeartbeatAnswer

ROW_PATIENCE = 10.0
"""Seconds for which the owner of a run is asked to make an activity reachable that runs beside it."""

SHOWN_WITHIN = 2.0
"""Seconds after which an activity that runs stands in the log: one that has just begun shows a moment later."""

OutcomeOf = Callable[[ActivityRecord, ActivityTaskScheduled, DataConverter], Outcome]
"""Makes an outcome of what is known of an attempt."""

LOOK_FIRST, LOOK_LONGEST = 0.005, 0.25
"""Seconds between two looks for it, doubled each time."""


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity by its ids, whichever attempt of it is open.

    Attributes:
        workflow_id: The workflow that asked for it; None for one that a client started.
        run_id: Which run of that; the open one when None.
        activity_id: Its id there, `activity.info().activity_id`.
    """

    workflow_id: str | None
    run_id: str | None
    activity_id: str


@explains_options
class AsyncActivityHandle:
    """One attempt of an activity that is ended from outside. `Client.get_async_activity_handle` makes one."""

    def __init__(
        self,
        connection: Connection,
        id_or_token: AsyncActivityIDReference | bytes,
        data_converter_override: DataConverter | None = None,
    ) -> None:
        """Address an attempt; asks nothing of the database.

        Args:
            connection: The client's.
            id_or_token: Its token, or the ids of its activity.
            data_converter_override: How its values are stored, if not as the client has it.

        Raises:
            ValueError: The token is none, or an id cannot be one.
        """
        self._connection = connection
        self._id_or_token = id_or_token
        self._token: Token | None = None
        self._override = data_converter_override
        if isinstance(id_or_token, bytes):
            self._token = read_task_token(id_or_token)
        else:
            check_optional_name(id_or_token.workflow_id, "workflow_id")
            check_optional_name(id_or_token.run_id, "run_id")
            check_name(id_or_token.activity_id, "activity_id")

    def __repr__(self) -> str:
        return f"<AsyncActivityHandle {self._id_or_token!r}>"

    def with_context(self, context: SerializationContext) -> AsyncActivityHandle:
        """Return a handle whose converter is told this about the values; without it, it is told what the row says."""
        converter = self._override or self._connection.converter
        return AsyncActivityHandle(self._connection, self._id_or_token, converter.with_context(context))

    # ------------------------------------------------------------------ what may be said

    async def complete(self, result: Any = None) -> None:
        """End the activity with a result. Said again by its token, with the same result, it is taken as said once.

        Raises:
            ActivityNotFoundError: The attempt is not open (any more); nothing was done.
            ConversionError: The result cannot be stored.
            StoreUnavailableError: The database is away; whether it was done is not known. Say it again.
        """
        await self._connection.outbound.complete_async_activity(
            CompleteAsyncActivityInput(self._id_or_token, result, self._override, self)
        )

    async def _complete(self, result: Any) -> None:
        def completed(scheduled: ActivityTaskScheduled, converter: DataConverter) -> Completed:
            path = f"result of activity {scheduled.activity_type}"
            return Completed(converter.to_payload(result, path=path))

        try:
            await self._end(lambda record, scheduled, converter: completed(scheduled, converter))
        except ActivityNotFoundError:
            if not await self._was_completed(completed):
                raise

    async def fail(self, error: Exception, *, last_heartbeat_details: Any = ()) -> None:
        """End the attempt with an error; the retry policy says whether there is another one.

        Args:
            error: What it failed with.
            last_heartbeat_details: What the next attempt finds in `info().heartbeat_details`; what the last heartbeat said
                when there are none.

        Raises:
            ActivityNotFoundError: The attempt is not open (any more); nothing was done.
            ConversionError: The details cannot be stored.
            StoreUnavailableError: The database is away; whether it was done is not known. Say it again.
        """
        await self._connection.outbound.fail_async_activity(
            FailAsyncActivityInput(self._id_or_token, error, last_heartbeat_details, self._override, self)
        )

    async def _fail(self, error: Exception, last_heartbeat_details: Any) -> None:
        if not isinstance(error, BaseException):
            raise TypeError(f"error must be an exception, not {shown(error)}")
        if not isinstance(last_heartbeat_details, list | tuple):
            raise TypeError(
                f"last_heartbeat_details must be a list or a tuple, not {shown(last_heartbeat_details)}"
            )
        await self._end(
            lambda record, scheduled, converter: Failed(converter.to_failure(error)), last_heartbeat_details
        )

    async def report_cancellation(self, *details: Any) -> None:
        """End the activity as cancelled, which it was asked to be.

        Raises:
            ActivityNotFoundError: The attempt is not open (any more); nothing was done.
            ConversionError: The details cannot be stored.
            StoreUnavailableError: The database is away; whether it was done is not known. Say it again.
            ValueError: Nobody has asked the activity to end.
        """

        await self._connection.outbound.report_cancellation_async_activity(
            ReportCancellationAsyncActivityInput(self._id_or_token, details, self._override, self)
        )

    async def _report_cancellation(self, details: Sequence[Any]) -> None:
        def canceled(
            record: ActivityRecord, scheduled: ActivityTaskScheduled, converter: DataConverter
        ) -> Outcome:
            if not record.cancel_requested:
                raise ValueError(
                    f"activity {scheduled.activity_id!r} of workflow {record.workflow_id!r} was not asked to end; "
                    "complete it or fail it"
                )
            return Canceled(converter.to_payloads(details, path="cancellation details"))

        await self._end(canceled)

    async def heartbeat(self, *details: Any) -> None:
        """Say that it goes on, and with what progress; the heartbeat timeout counts from here.

        Raises:
            ActivityNotFoundError: The attempt is not open (any more).
            AsyncActivityCancelledError: It is asked to end.
            ConversionError: The details cannot be stored.
            StoreUnavailableError: The database is away.
        """
        await self._connection.outbound.heartbeat_async_activity(
            HeartbeatAsyncActivityInput(self._id_or_token, details, self._override, self)
        )

    async def _heartbeat(self, details: Sequence[Any]) -> None:
        store = self._connection.store
        while True:
            record = await self._find()
            converter = self._converter(record.workflow_id, record.workflow_type, scheduled_of(record))
            beat = Heartbeat(
                record.run_id,
                record.id,
                record.attempt,
                record.worker,
                encode_progress(Progress(converter.to_payloads(details, path="heartbeat details"))),
            )
            (answer,) = await store.heartbeat([beat])
            if answer is HeartbeatAnswer.CANCEL_REQUESTED:
                raise AsyncActivityCancelledError(ActivityCancellationDetails(cancel_requested=True))
            if answer is HeartbeatAnswer.PAUSED:
                raise AsyncActivityCancelledError(ActivityCancellationDetails(paused=True))
            if answer is HeartbeatAnswer.RESET:
                raise AsyncActivityCancelledError(ActivityCancellationDetails(reset=True))
            if answer is HeartbeatAnswer.GO_ON:
                return

    # ------------------------------------------------------------------ finding and ending it

    async def _end(self, outcome_of: OutcomeOf, last_heartbeat_details: Any = ()) -> None:
        store = self._connection.store
        while True:
            record = await self._find()
            scheduled = scheduled_of(record)
            converter = self._converter(record.workflow_id, record.workflow_type, scheduled)
            progress = decode_progress(record.progress)
            if last_heartbeat_details:
                progress = Progress(
                    converter.to_payloads(last_heartbeat_details, path="heartbeat details"),
                    progress.last_failure,
                )
            ending = outcome_of(record, scheduled, converter)
            outcome = conclude_row(
                record,
                ending,
                worker=None,
                now=record.now,
                jitter=random.random(),
                identity=self._connection.identity,
                progress=progress,
                cancel_requested=record.cancel_requested,
            )
            (ended,) = await store.finish_attempts([outcome])
            if ended:
                if outcome.sole is not None:
                    closing = outcome.sole.closing
                    self._connection.local.closed(record.run_id, decode_data(closing.type, closing.data))
                if (news := news_for_breaker(scheduled, ending)) is not None:
                    await store.tell_breakers([news])
                store.hint(hints_of(outcome, scheduled))
                return
            # Somebody else has changed it just now, or has it locked; the next look tells.
            await asyncio.sleep(LOOK_FIRST)

    async def _was_completed(
        self, outcome: Callable[[ActivityTaskScheduled, DataConverter], Completed]
    ) -> bool:
        """Whether this attempt has ended with this very outcome: somebody did not hear the answer, and says it again."""
        token, store, patiently = self._token, self._connection.store, self._connection.patiently
        if token is None:
            return False  # ids may name another attempt by now
        run_id = token.run_id
        # First what is unread: by the time that the log is read it stands there, or it is unread still.
        messages = await patiently(partial(store.read_messages, [run_id]))
        log = decode_history(await patiently(partial(store.read_events, run_id)))
        unread = [decode_data(one.type, one.data) for one in messages if one.internal and one.fault is None]
        first: Any = log[0].data if log else None
        scheduled: ActivityTaskScheduled | None = None
        for data in (*(event.data for event in log), *unread):
            if isinstance(data, ActivityTaskScheduled) and data.id == token.id:
                scheduled = data
            elif isinstance(data, ActivityTaskCompleted) and (data.id, data.attempt) == (
                token.id,
                token.attempt,
            ):
                assert scheduled is not None
                converter = self._converter(first.workflow_id, first.workflow_type, scheduled)
                return data.result == outcome(scheduled, converter).result
        return False

    async def _find(self) -> ActivityRecord:
        """Return the row of the attempt, as soon as it has one.

        Raises:
            ActivityNotFoundError: It is not open, or has not got one in time.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        pause = LOOK_FIRST
        store = self._connection.store
        wanted: RowsWanted | None = None
        while True:
            run_id = await self._run_id()
            rows = await self._connection.patiently(partial(store.read_activities, run_id))
            for row in rows:
                if row.fault is not None:
                    raise row.fault
                if self._is(row.id, scheduled_of(row).activity_id):
                    if self._open(row):
                        return row
                    raise self._unknown("it has ended, or another attempt has taken its place", run_id)
            log = decode_history(await self._connection.patiently(partial(store.read_events, run_id)))
            number = self._number_in(log, run_id)
            if number is not None:
                if wanted is None or wanted.run_id != run_id:
                    started = log[0].data
                    assert isinstance(started, WorkflowExecutionStarted)
                    wanted = RowsWanted(self._connection, run_id, started.workflow_type, started.task_queue)
                await wanted.ask([number])
            elif loop.time() > began + SHOWN_WITHIN:
                raise self._unknown("its workflow has not asked for it, or it has ended", run_id)
            if loop.time() > began + ROW_PATIENCE:
                raise self._unknown(
                    f"the worker of its workflow has not made it reachable within {ROW_PATIENCE:g} s", run_id
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_LONGEST)

    async def _run_id(self) -> str:
        if self._token is not None:
            return self._token.run_id
        reference = self._id_or_token
        assert isinstance(reference, AsyncActivityIDReference)
        store, workflow_id = self._connection.store, reference.workflow_id
        if workflow_id is None:
            workflow_id = sole_name(reference.activity_id)
        run = await self._connection.patiently(
            lambda: store.find_run(workflow_id, reference.run_id, measured=False)
        )
        if run is None:
            raise self._unknown(
                "no client has started it" if reference.workflow_id is None else "there is no such workflow"
            )
        return run.run_id

    def _is(self, number: int, activity_id: str) -> bool:
        if isinstance(self._id_or_token, AsyncActivityIDReference):
            return activity_id == self._id_or_token.activity_id
        return self._token is not None and number == self._token.id

    def _open(self, row: ActivityRecord) -> bool:
        if self._token is not None and row.attempt != self._token.attempt:
            return False
        return row.state is ActivityState.RUNNING or row.outside_since is not None

    def _number_in(self, log: Sequence[Event], run_id: str) -> int | None:
        """Return the number of an attempt that has no row yet; None as long as the log does not show the activity.

        Raises:
            ActivityNotFoundError: It will have none: its run is closed, it has an outcome, or it is a local one.
        """
        if not log or isinstance(log[-1].data, CLOSING):
            raise self._unknown("it has ended", run_id)
        token = self._token
        if token is not None and token.attempt != 1:
            raise self._unknown("it has ended", run_id)  # what is tried again has a row
        number = None if token is None else token.id
        for event in log:
            data = event.data
            if isinstance(data, ActivityTaskScheduled) and self._is(data.id, data.activity_id):
                if data.local is not None:
                    raise self._unknown("it is a local one, which nobody but its worker knows of", run_id)
                number = data.id
            elif isinstance(data, ActivityInputEvent) and data.id == number:
                if token is not None:
                    raise self._unknown("it has ended", run_id)
                number = None  # its id may have been used again, by one that shows in a moment
        return number

    def _converter(
        self, workflow_id: str, workflow_type: str, scheduled: ActivityTaskScheduled
    ) -> DataConverter:
        converter = self._override or self._connection.converter
        if self._override is not None or not converter.takes_context:
            return converter
        sole = is_sole(workflow_type)
        return converter.with_context(
            ActivitySerializationContext(
                namespace=self._connection.namespace,
                activity_id=scheduled.activity_id,
                activity_type=scheduled.activity_type,
                activity_task_queue=scheduled.task_queue,
                workflow_id=None if sole else workflow_id,
                workflow_type=None if sole else workflow_type,
            )
        )

    def _unknown(self, why: str, run_id: str = "") -> ActivityNotFoundError:
        if self._token is not None:
            name, workflow_id = str(self._token.id), ""
            what = f"attempt {self._token.attempt} of activity {name} of run {self._token.run_id}"
        else:
            assert isinstance(self._id_or_token, AsyncActivityIDReference)
            name, workflow_id = self._id_or_token.activity_id, self._id_or_token.workflow_id or ""
            what = f"activity {name!r} of workflow {workflow_id!r}" if workflow_id else f"activity {name!r}"
        return ActivityNotFoundError(
            f"{what} is not open: {why}", activity_id=name, workflow_id=workflow_id, run_id=run_id
        )


def async_activity_handle(
    connection: Connection,
    workflow_id: str | None,
    run_id: str | None,
    activity_id: str | None,
    task_token: bytes | None,
) -> AsyncActivityHandle:
    """Return the handle that one of the two ways to name an attempt gives.

    Raises:
        ValueError: Neither way is taken, or both, or a name cannot be one.
    """
    if task_token is not None:
        if workflow_id is not None or run_id is not None or activity_id is not None:
            raise ValueError("get_async_activity_handle() takes the task_token or the ids, not both")
        return AsyncActivityHandle(connection, task_token)
    if activity_id is None:
        raise ValueError(
            "get_async_activity_handle() takes activity_id=, with workflow_id= unless a client started it, or task_token="
        )
    return AsyncActivityHandle(connection, AsyncActivityIDReference(workflow_id, run_id, activity_id))
