"""A handle: one workflow execution, addressed from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple, overload

from durable._internal.ids import check_flag, check_note
from durable._internal.instants import SECOND, Duration, to_duration
from durable._internal.left_out import explains_options
from durable._internal.shown import shown
from durable.client._addressed import R_co, W_co, requested
from durable.client._calls import call_of, signal_of
from durable.client._checked import check_result_type
from durable.client._describe import WorkflowExecutionDescription
from durable.client._described import described, why_waiting
from durable.client._handle_operations import OperatedByHandle
from durable.client._handle_updates import UpdatedByHandle
from durable.client._history import (
    PAGE,
    WorkflowHistory,
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
    check_page_size,
)
from durable.client._inside import CLOSED
from durable.client._operated_activities import OperatesOnActivities
from durable.client._outcome import next_run_of, result_of
from durable.client._parents import cancel_waiting
from durable.client._query import Asking, check_condition
from durable.common import QueryRejectCondition
from durable.converter._checked import to_checked_payloads
from durable.exceptions import WorkflowNotFoundError
from durable.history import (
    EventRow,
    Payload,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionTerminated,
    check_history,
)
from durable.interceptor.client import (
    CancelWorkflowInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    QueryWorkflowInput,
    SignalWorkflowInput,
    TerminateWorkflowInput,
)
from durable.store import Hold
from durable.workflow._calls import QueryCall, SignalCall

W = TypeVar("W")
R2 = TypeVar("R2")
Ts = TypeVarTuple("Ts")


QUERY_TIMEOUT = 10.0
"""Seconds a query waits for its answer, and for messages that were acknowledged before it was asked."""


@explains_options
class WorkflowHandle(
    UpdatedByHandle[W_co, R_co], OperatedByHandle[W_co, R_co], OperatesOnActivities[W_co, R_co]
):
    """One workflow, by id: to wait for, to send messages to, to ask, and to end.

    Made by `Client.start_workflow` and `Client.get_workflow_handle`; making one asks nothing of the database.

    Attributes:
        id: The workflow's id.
        run_id: The run that messages are for; None for whichever is open.
        result_run_id: The run that `result` waits for; None for whichever is open, or was last.
        first_execution_run_id: The run that was started, when this handle comes from a start.
    """

    # ------------------------------------------------------------------ waiting

    async def result(self, *, follow_runs: bool = True, timeout: Duration | None = None) -> R_co:
        """Return the workflow's result once it has one, however long that takes.

        Args:
            follow_runs: Whether to wait for the last of a chain of runs: for what a workflow continued as, and for the
                next attempt or the next run of a cron schedule, which goes on until one is cancelled or terminated.
            timeout: How long to wait; for ever when None. The workflow goes on.

        Raises:
            WorkflowFailureError: It closed without a result; `cause` says why.
            WorkflowContinuedAsNewError: It goes on in another run, which is not to be followed.
            WorkflowNotFoundError: There is no such workflow; or the transaction that it was started in is still open, or
                has been rolled back.
            TimeoutError: The builtin one: it was still open after `timeout`.
        """
        seconds = None if timeout is None else to_duration(timeout, "timeout") / SECOND
        run_id = self.result_run_id or ""
        check_flag(follow_runs, "follow_runs")
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                if self._tentative:
                    await self._check_committed()
                if not run_id:
                    run_id = (await self._find(self.run_id)).run_id
                event = await self._connection.waiting.closing_event(run_id)
                while follow_runs and (following := next_run_of(event)):
                    run_id = following
                    event = await self._connection.waiting.closing_event(run_id)
        except TimeoutError:
            if not timer.expired():
                raise
            why = await why_waiting(self._connection, self.id, run_id or self.run_id)
            raise TimeoutError(f"workflow {self.id!r} was still open after {seconds:g} s{why}") from None
        result: R_co = result_of(event, self._converter, self._result_type, self.id)
        return result

    # ------------------------------------------------------------------ messages

    @overload
    async def signal(
        self: WorkflowHandle[W, Any],
        call: SignalCall[W],
        /,
        *,
        request_id: str | None = ...,
        connection: Any = ...,
    ) -> None: ...
    @overload
    async def signal(
        self: WorkflowHandle[W, Any],
        signal: Callable[[*Ts], SignalCall[W]],
        /,
        *values: *Ts,
        request_id: str | None = ...,
        connection: Any = ...,
    ) -> None: ...
    @overload
    async def signal(
        self: WorkflowHandle[W, Any],
        signal: Callable[..., SignalCall[W]],
        /,
        *,
        args: Sequence[Any],
        request_id: str | None = ...,
        connection: Any = ...,
    ) -> None: ...
    @overload
    async def signal(
        self,
        signal: str,
        /,
        *values: Any,
        args: Sequence[Any] = ...,
        request_id: str | None = ...,
        connection: Any = ...,
    ) -> None: ...
    async def signal(
        self,
        signal: Any,
        /,
        *values: object,
        args: Sequence[Any] = (),
        request_id: str | None = None,
        connection: Any = None,
    ) -> None:
        """Send a signal; once this returns it is stored and will reach the workflow, in order, exactly once.

        Args:
            signal: A call (`Publish.decide(decision)`), or in Temporal's way a signal method or a name, with its
                argument behind it.
            values: The argument, in Temporal's way.
            args: Several arguments, in Temporal's way.
            request_id: What makes sending it again harmless: a run takes one signal of each id.
            connection: A connection, or a session, on which a transaction of yours is open: the signal is part of that. It
                is sent when you commit; until then the workflow does not close.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ConversionError: An argument cannot be stored.
            TypeError: The arguments do not fit the signal, or the connection is none.
            UnfitConnectionError: The connection leads elsewhere, or has no open transaction.
            StoreUnavailableError: The database is away; the signal may or may not have been stored.
        """
        name, arguments, types = signal_of(signal, values, args)
        await self._connection.outbound.signal_workflow(
            SignalWorkflowInput(self.id, self.run_id, name, arguments, {}, types, request_id, connection)
        )

    async def _signal(
        self,
        name: str,
        args: Sequence[Any],
        types: Sequence[Any] | None,
        headers: dict[str, Payload],
        request_id: str | None,
        caller: object,
    ) -> None:
        """Send a signal: what `signal` does behind its interceptors."""
        payloads = to_checked_payloads(self._converter, args, types, f"signal {name}")
        identity = self._connection.identity
        message = requested(request_id, "signal")
        event = WorkflowExecutionSignaled(
            message=message, name=name, input=payloads, headers=headers, identity=identity
        )
        if caller is None:
            await self._send(event)
        else:
            await self._send_inside(event, caller)

    async def cancel(
        self, reason: str = "", *, request_id: str | None = None, connection: Any = None
    ) -> None:
        """Ask the workflow to cancel itself; once this returns the request is stored.

        One that waits for its concurrency key has not begun, and ends as cancelled at once, without running any code.

        Args:
            reason: Why, for people and for the workflow's code.
            request_id: What makes asking again harmless: a run takes one request of each id.
            connection: As for `signal`.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; the request may or may not have been stored.
        """
        await self._connection.outbound.cancel_workflow(
            CancelWorkflowInput(
                self.id, self.run_id, self.first_execution_run_id, reason, request_id, connection
            )
        )

    async def _cancel(self, reason: str, request_id: str | None, caller: object) -> None:
        """Send a cancel request: what `cancel` does behind its interceptors."""
        event = WorkflowExecutionCancelRequested(
            message=requested(request_id, "cancel"),
            reason=check_note(reason, "reason"),
            identity=self._connection.identity,
        )
        if caller is not None:
            # There is no request yet, and perhaps never will be: a worker looks for those that are there.
            await self._send_inside(event, caller, own=True)
            return
        run = await self._send(event, own=True)
        if run.hold is Hold.BLOCKED and run.wake_at is None:
            # Whoever sees the request may end it as long as it waits for its concurrency key; why not at once.
            store = self._connection.store
            await self._connection.patiently(lambda: cancel_waiting(store, run))

    async def terminate(self, *args: Any, reason: str = "") -> None:
        """End the workflow at once, without asking its code. Unread messages are dropped.

        Args:
            args: Details, for whoever waits for the result.
            reason: Why, for people.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; it may or may not have been ended.
        """
        await self._connection.outbound.terminate_workflow(
            TerminateWorkflowInput(self.id, self.run_id, self.first_execution_run_id, args, reason)
        )

    async def _terminate(self, args: Sequence[Any], reason: str, batch_id: str) -> None:
        """End the workflow: what `terminate` does behind its interceptors."""
        details = self._converter.to_payloads(args, path="details")
        end = WorkflowExecutionTerminated(
            reason=check_note(reason, "reason"), details=details, identity=self._connection.identity
        )
        followed: set[str] = set()
        while True:
            record = await self._find(self.run_id)
            self._check_chain(record)
            if await self._connection.terminate(record, end, batch_id):
                return
            if self.run_id is not None or record.run_id in followed:
                raise WorkflowNotFoundError(
                    f"workflow {self.id!r}: {CLOSED}", workflow_id=self.id, run_id=record.run_id
                )
            # It may have closed by going on in another run; look again.
            followed.add(record.run_id)

    # ------------------------------------------------------------------ questions

    @overload
    async def query(
        self: WorkflowHandle[W, Any],
        call: QueryCall[W, R2],
        /,
        *,
        reject_condition: QueryRejectCondition | None = ...,
        rpc_timeout: Duration | None = ...,
    ) -> R2: ...
    @overload
    async def query(
        self: WorkflowHandle[W, Any],
        query: Callable[[*Ts], QueryCall[W, R2]],
        /,
        *values: *Ts,
        reject_condition: QueryRejectCondition | None = ...,
        rpc_timeout: Duration | None = ...,
    ) -> R2: ...
    @overload
    async def query(
        self: WorkflowHandle[W, Any],
        query: Callable[..., QueryCall[W, R2]],
        /,
        *,
        args: Sequence[Any],
        reject_condition: QueryRejectCondition | None = ...,
        rpc_timeout: Duration | None = ...,
    ) -> R2: ...
    @overload
    async def query(
        self,
        query: str,
        /,
        *values: Any,
        args: Sequence[Any] = ...,
        result_type: Any = ...,
        reject_condition: QueryRejectCondition | None = ...,
        rpc_timeout: Duration | None = ...,
    ) -> Any: ...
    async def query(
        self,
        query: Any,
        /,
        *values: object,
        args: Sequence[Any] = (),
        result_type: Any = Any,
        reject_condition: QueryRejectCondition | None = None,
        rpc_timeout: Duration | None = None,
    ) -> Any:
        """Return a query's answer from the state the workflow is in; nothing is changed.

        The answer takes into account every message that was acknowledged before. Closed workflows answer too. A process
        that does not have the workflow's code asks the workers that have it.

        Args:
            query: A call (`Publish.status()`), or in Temporal's way a query method or a name, with its argument behind it.
            values: The argument, in Temporal's way.
            args: Several arguments, in Temporal's way.
            result_type: What the answer of a query that is named is decoded as.
            reject_condition: In which states of the workflow not to ask; the client's default otherwise.
            rpc_timeout: How long to wait for an answer, and before it until the workflow has read its messages; 10
                seconds by default.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
            WorkflowQueryRejectedError: `reject_condition` says so.
            WorkflowQueryFailedError: There is no such query, its arguments do not fit, or its handler raised.
            WorkflowQueryTimeoutError: The same, because nobody has answered in time.
            ConversionError: The answer is not of the type that was asked for.
            ValueError: The timeout is not longer than zero.
        """
        check_result_type(result_type)
        call = call_of(query, values, args, QueryCall)
        if isinstance(call, QueryCall):
            name, arguments = call.name, call.args
            result_type = call.result_type if result_type is Any else result_type
        else:
            name, arguments = call
        types = call.definition.arg_types if isinstance(call, QueryCall) else None
        return await self._connection.outbound.query_workflow(
            QueryWorkflowInput(
                self.id,
                self.run_id,
                name,
                arguments,
                reject_condition,
                {},
                result_type,
                rpc_timeout,
                types,
                self,
            )
        )

    async def _query(
        self,
        name: str,
        args: Sequence[Any],
        types: Sequence[Any] | None,
        result_type: Any,
        reject_condition: QueryRejectCondition | None,
        rpc_timeout: Duration | None,
        headers: Mapping[str, Payload],
    ) -> Any:
        """Return a query's answer: what `query` does behind its interceptors."""
        seconds = QUERY_TIMEOUT
        if rpc_timeout is not None:
            seconds = to_duration(rpc_timeout, "rpc_timeout", allow_zero=False) / SECOND
        converter = self._converter
        payloads = to_checked_payloads(converter, args, types, f"query {name}")
        record = await self._find_own()
        check_condition(record, reject_condition or self._connection.reject_queries)
        found = await Asking(self._connection, record, name, payloads, seconds, headers).answer()
        return converter.from_payload(found, result_type, path=f"result of query {name}")

    async def describe(self) -> WorkflowExecutionDescription:
        """Return what the database knows about the workflow now.

        What the payload codec cannot decode is shown as a text that says so.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
        """
        found: WorkflowExecutionDescription = await self._connection.outbound.describe_workflow(
            DescribeWorkflowInput(self.id, self.run_id, self)
        )
        return found

    async def _describe(self) -> WorkflowExecutionDescription:
        """Return what is known: what `describe` does behind its interceptors."""
        return await described(self._connection, await self._find_own(measured=True))

    async def fetch_history(
        self, *, event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT
    ) -> WorkflowHistory:
        """Return the run's log as it is now, whole, for a `Replayer` or to be kept as a file.

        Args:
            event_filter_type: CLOSE_EVENT for nothing but the event that closed it.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
            HistoryError: It cannot be read by this release.
        """
        run_id = (await self._find_own()).run_id
        own = WorkflowHandle[object, object](self._connection, self.id, run_id=run_id)
        events = [event async for event in own.fetch_history_events(event_filter_type=event_filter_type)]
        if event_filter_type is WorkflowHistoryEventFilterType.ALL_EVENT:
            check_history(events)
        return WorkflowHistory(self.id, run_id, events, self._connection.namespace)

    def fetch_history_events(
        self,
        *,
        page_size: int | None = None,
        next_page_token: bytes | None = None,
        wait_new_event: bool = False,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
    ) -> WorkflowHistoryEventAsyncIterator:
        """Return the run's events, in order, read while they are gone through.

        Args:
            page_size: How many are read at once; 1,000 by default.
            next_page_token: Where an earlier iterator of the run was.
            wait_new_event: Whether to go on as new events come, until the run closes.
            event_filter_type: CLOSE_EVENT for nothing but the event that closes it.

        Raises:
            WorkflowNotFoundError: There is no such workflow; while it is gone through, as the errors below.
            HistoryError: They cannot be read by this release.
            ValueError: The size or the token cannot be one.
        """
        found: Any = self._connection.outbound.fetch_workflow_history_events(
            FetchWorkflowHistoryEventsInput(
                self.id,
                self.run_id,
                PAGE if page_size is None else check_page_size(page_size),
                next_page_token,
                wait_new_event,
                _filter_type(event_filter_type),
                self,
            )
        )
        return found  # type: ignore[no-any-return]

    def _read_events(self, input: FetchWorkflowHistoryEventsInput) -> WorkflowHistoryEventAsyncIterator:
        """Return the run's events: what `fetch_history_events` does behind its interceptors."""
        run_id = ""

        async def read(after: int, limit: int) -> list[EventRow]:
            nonlocal run_id
            store = self._connection.store
            run_id = run_id or (await self._find_own()).run_id
            rows = await self._connection.patiently(lambda: store.read_events(run_id, after, limit))
            if not rows:
                await self._find(run_id)
            return rows

        return WorkflowHistoryEventAsyncIterator(
            read,
            check_page_size(input.page_size),
            input.next_page_token,
            check_flag(input.wait_new_event, "wait_new_event"),
            _filter_type(input.event_filter_type),
        )


def _filter_type(value: object) -> WorkflowHistoryEventFilterType:
    if not isinstance(value, WorkflowHistoryEventFilterType):
        raise TypeError(f"event_filter_type must be a WorkflowHistoryEventFilterType, not {shown(value)}")
    return value
