"""A handle: one workflow execution, addressed from outside."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple, cast, overload

from durable._engine._messages import message
from durable._internal.ids import check_name, uuid7
from durable._internal.instants import SECOND, Duration, to_duration
from durable.client._calls import call_of
from durable.client._checked import to_checked_payloads
from durable.client._connection import Connection
from durable.client._describe import WorkflowExecutionDescription, describe
from durable.client._outcome import next_run_of, result_of
from durable.client._patience import PATIENCE
from durable.client._query import Asking, check_condition
from durable.client._updates import WorkflowUpdateHandle, WorkflowUpdateStage, new_update
from durable.common import QueryRejectCondition
from durable.converter import DataConverter
from durable.exceptions import PayloadCodecError, StoreUnavailableError, WorkflowNotFoundError
from durable.history import (
    Event,
    EventRow,
    Input,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionTerminated,
    decode_history,
    encode_data,
)
from durable.store import ActivityRecord, Hint, HintKind, RunRecord, SendOutcome, beneath
from durable.workflow._calls import QueryCall, SignalCall, UpdateCall
from durable.workflow._methods import BoundUpdate
from durable.workflow._updates import Update

W_co = TypeVar("W_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
W = TypeVar("W")
R2 = TypeVar("R2")
Ts = TypeVarTuple("Ts")

HELD_BACK = 0.05
"""Seconds until a message is sent again at the latest that a run held back because it is about to close."""

QUERY_TIMEOUT = 10.0
"""Seconds a query waits for its answer, and for messages that were acknowledged before it was asked."""

CLOSED = "the workflow is closed; a closed workflow can be described and queried, and told nothing"
UNKNOWN = "there is no such workflow; check the id, and that client and worker use the same database"


@dataclass(frozen=True)
class WorkflowHistory:
    """The log of one run."""

    workflow_id: str
    run_id: str
    events: Sequence[Event]


class WorkflowHandle(Generic[W_co, R_co]):
    """One workflow, by id: to wait for, to send messages to, to ask, and to end.

    Made by `Client.start_workflow` and `Client.get_workflow_handle`; making one asks nothing of the database.

    Attributes:
        id: The workflow's id.
        run_id: The run that messages are for; None for whichever is open.
        result_run_id: The run that `result` waits for; None for whichever is open, or was last.
        first_execution_run_id: The run that was started, when this handle comes from a start.
    """

    def __init__(
        self,
        connection: Connection,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = Any,
    ) -> None:
        self._connection = connection
        self.id = check_name(id, "id")
        self.run_id = run_id
        self.result_run_id = result_run_id
        self.first_execution_run_id = first_execution_run_id
        self._result_type = result_type

    def __repr__(self) -> str:
        return f"<WorkflowHandle {self.id!r} run {self.run_id or self.result_run_id}>"

    @property
    def _converter(self) -> DataConverter:
        return self._connection.converter_for(self.id)

    async def _find(self, run_id: str | None) -> RunRecord:
        record = await self._connection.patiently(lambda: self._connection.store.find_run(self.id, run_id))
        if record is None:
            raise WorkflowNotFoundError(
                f"workflow {self.id!r}: {UNKNOWN}", workflow_id=self.id, run_id=run_id
            )
        return record

    async def _find_own(self) -> RunRecord:
        """Return the run this handle is about: the given one, else the newest of the chain it started, or of all."""
        if self.run_id is not None or self.result_run_id is None:
            return await self._find(self.run_id)
        newest = await self._find(None)
        own = (self.first_execution_run_id, self.result_run_id)
        if newest.first_run_id in own or newest.run_id in own:
            return newest
        return await self._find(self.result_run_id)

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
            WorkflowNotFoundError: There is no such workflow.
            TimeoutError: The builtin one: it was still open after `timeout`.
        """
        seconds = None if timeout is None else to_duration(timeout, "timeout") / SECOND
        async with asyncio.timeout(seconds):
            run_id = self.result_run_id or self.run_id
            if run_id is None:
                run_id = (await self._find(None)).run_id
            event = await self._connection.waiting.closing_event(run_id)
            while follow_runs and (following := next_run_of(event)):
                event = await self._connection.waiting.closing_event(following)
        result: R_co = result_of(event, self._converter, self._result_type, self.id)
        return result

    # ------------------------------------------------------------------ messages

    async def _send(self, event: Input, *, own: bool = False) -> str:
        """Put a message into the run's inbox, once, however often the database has to be asked; return which run's.

        Args:
            event: What it becomes.
            own: Whether only runs of the chain are meant that this handle started, if it did.
        """
        message_id = event.message or uuid7()
        store = self._connection.store
        followed: set[str] = set()
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            record = await self._find(self.run_id)
            if own:
                self._check_chain(record)
            new = [message(record.run_id, message_id, event)]
            outcome = (await self._connection.patiently(partial(store.send, new)))[0]
            if outcome in (SendOutcome.SENT, SendOutcome.REPEATED):
                store.hint([Hint(HintKind.MESSAGE, record.run_id)])
                return record.run_id
            if outcome is SendOutcome.HELD_BACK:
                # It is about to close, and takes nothing until it has: a moment.
                if asyncio.get_running_loop().time() > until:
                    raise StoreUnavailableError(
                        f"workflow {self.id!r} has been about to close for {PATIENCE:g} s and took no message; send it again"
                    )
                await asyncio.sleep(random.uniform(0.01, HELD_BACK))
                continue
            if await self._was_read(record.run_id, message_id):
                return record.run_id
            if self.run_id is None and record.run_id not in followed:
                # It may have closed by going on in another run; look again.
                followed.add(record.run_id)
                continue
            text = UNKNOWN if outcome is SendOutcome.NOT_FOUND else CLOSED
            raise WorkflowNotFoundError(
                f"workflow {self.id!r}: {text}", workflow_id=self.id, run_id=record.run_id
            )

    def _check_chain(self, record: RunRecord) -> None:
        first = self.first_execution_run_id
        if self.run_id is None and first is not None and record.first_run_id != first:
            raise WorkflowNotFoundError(
                f"workflow {self.id!r}: the chain of runs that began with {first} is over; its id has been used again, "
                "by a run that this handle does not mean",
                workflow_id=self.id,
                run_id=record.run_id,
            )

    async def _was_read(self, run_id: str, message_id: str) -> bool:
        """Whether a message whose send was in doubt has become an event, or has an outcome, being an update."""
        store = beneath(self._connection.store)  # where message ids are as plain as anywhere
        if await self._connection.patiently(lambda: store.find_update(run_id, message_id)):
            return True
        rows = await self._connection.patiently(lambda: store.read_events(run_id))
        wanted = f'"message":"{message_id}"'.encode()
        return any(wanted in row.data for row in rows)

    @overload
    async def signal(self: WorkflowHandle[W, Any], call: SignalCall[W], /) -> None: ...
    @overload
    async def signal(
        self: WorkflowHandle[W, Any], signal: Callable[[*Ts], SignalCall[W]], /, *values: *Ts
    ) -> None: ...
    @overload
    async def signal(
        self: WorkflowHandle[W, Any], signal: Callable[..., SignalCall[W]], /, *, args: Sequence[Any]
    ) -> None: ...
    @overload
    async def signal(self, signal: str, /, *values: Any, args: Sequence[Any] = ...) -> None: ...
    async def signal(self, signal: Any, /, *values: object, args: Sequence[Any] = ()) -> None:
        """Send a signal; once this returns it is stored and will reach the workflow, in order, exactly once.

        Args:
            signal: A call (`Publish.decide(decision)`), or in Temporal's way a signal method or a name, with its
                argument behind it.
            values: The argument, in Temporal's way.
            args: Several arguments, in Temporal's way.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ConversionError: An argument cannot be stored.
            TypeError: The arguments do not fit the signal.
            StoreUnavailableError: The database is away; the signal may or may not have been stored.
        """
        call = call_of(signal, values, args, SignalCall)
        name, arguments = (call.name, call.args) if isinstance(call, SignalCall) else call
        types = call.definition.arg_types if isinstance(call, SignalCall) else None
        payloads = to_checked_payloads(self._converter, arguments, types, f"signal {name}")
        await self._send(
            WorkflowExecutionSignaled(name=name, input=payloads, identity=self._connection.identity)
        )

    async def cancel(self, reason: str = "") -> None:
        """Ask the workflow to cancel itself; once this returns the request is stored.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; the request may or may not have been stored.
        """
        await self._send(
            WorkflowExecutionCancelRequested(reason=_text(reason), identity=self._connection.identity),
            own=True,
        )

    async def terminate(self, *args: Any, reason: str = "") -> None:
        """End the workflow at once, without asking its code. Unread messages are dropped.

        Args:
            args: Details, for whoever waits for the result.
            reason: Why, for people.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; it may or may not have been ended.
        """
        details = self._converter.to_payloads(args, path="details")
        end = WorkflowExecutionTerminated(
            reason=_text(reason), details=details, identity=self._connection.identity
        )
        followed: set[str] = set()
        while True:
            record = await self._find(self.run_id)
            self._check_chain(record)
            if await self._connection.terminate(record, end):
                return
            if self.run_id is not None or record.run_id in followed:
                raise WorkflowNotFoundError(
                    f"workflow {self.id!r}: {CLOSED}", workflow_id=self.id, run_id=record.run_id
                )
            # It may have closed by going on in another run; look again.
            followed.add(record.run_id)

    # ------------------------------------------------------------------ updates

    @overload
    async def execute_update(
        self: WorkflowHandle[W, Any],
        call: UpdateCall[W, R2],
        /,
        *,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def execute_update(
        self: WorkflowHandle[W, Any],
        update: Callable[[*Ts], UpdateCall[W, R2]],
        /,
        *values: *Ts,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def execute_update(
        self: WorkflowHandle[W, Any],
        update: Callable[..., UpdateCall[W, R2]],
        /,
        *,
        args: Sequence[Any],
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def execute_update(
        self,
        update: str,
        /,
        *values: Any,
        args: Sequence[Any] = ...,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> Any: ...
    async def execute_update(
        self,
        update: Any,
        /,
        *values: object,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> Any:
        """Send an update and return what its handler returns.

        Once it is stored it survives any crash; it is handled at most once for each id, and its outcome is kept. An
        update that is refused leaves no event, and its id is not looked at again either.

        Args:
            update: A call (`Publish.rename("x")`), or in Temporal's way an update method or a name, with its argument
                behind it.
            values: The argument, in Temporal's way.
            args: Several arguments, in Temporal's way.
            id: What makes sending it again harmless; a fresh one by default.
            result_type: What its result is decoded as, for an update by name.
            rpc_timeout: How long to wait for the outcome; for ever when None. The update goes on.

        Raises:
            WorkflowUpdateFailedError: It was refused, failed, or ended with its workflow; `cause` says why.
            WorkflowUpdateRPCTimeoutOrCancelledError: It had no outcome after `rpc_timeout`.
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ConversionError: An argument cannot be stored, or the result not be read.
            TypeError: The arguments do not fit the update.
            StoreUnavailableError: The database is away; the update may or may not have been stored. Send it again with
                the same id to be sure.
        """
        handle = await self._start_update(
            update, values, args, id, result_type, WorkflowUpdateStage.COMPLETED, rpc_timeout
        )
        return await handle.result()

    @overload
    async def start_update(
        self: WorkflowHandle[W, Any],
        call: UpdateCall[W, R2],
        /,
        *,
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    async def start_update(
        self: WorkflowHandle[W, Any],
        update: Callable[[*Ts], UpdateCall[W, R2]],
        /,
        *values: *Ts,
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    async def start_update(
        self: WorkflowHandle[W, Any],
        update: Callable[..., UpdateCall[W, R2]],
        /,
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any],
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    async def start_update(
        self,
        update: str,
        /,
        *values: Any,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = ...,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[Any]: ...
    async def start_update(
        self,
        update: Any,
        /,
        *values: object,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, and return once it has come as far as `wait_for_stage`.

        ADMITTED needs no worker: the update is stored, and will be looked at. One that is refused counts as completed;
        its handle's `result` raises.

        Args:
            update: As for `execute_update`, and so are `values`, `args`, `id` and `result_type`.
            values: See `update`.
            wait_for_stage: How far it must have come.
            args: See `update`.
            id: See `update`.
            result_type: See `update`.
            rpc_timeout: How long to wait; for ever when None. The update goes on.

        Raises:
            Exception: As `execute_update`, but for failures of the update itself.
        """
        if not isinstance(wait_for_stage, WorkflowUpdateStage):
            raise TypeError(f"wait_for_stage must be a WorkflowUpdateStage, not {wait_for_stage!r}")
        return await self._start_update(update, values, args, id, result_type, wait_for_stage, rpc_timeout)

    async def _start_update(
        self,
        update: Any,
        values: tuple[Any, ...],
        args: Sequence[Any],
        id: str | None,
        result_type: Any,
        stage: WorkflowUpdateStage,
        rpc_timeout: Duration | None,
    ) -> WorkflowUpdateHandle[Any]:
        new = new_update(self._connection, update, values, args, id, result_type)
        run_id = await self._send(new.event)
        handle: WorkflowUpdateHandle[Any] = WorkflowUpdateHandle(
            self._connection, new.id, self.id, workflow_run_id=run_id, result_type=new.result_type
        )
        if stage > WorkflowUpdateStage.ADMITTED:
            await handle.reach(stage, rpc_timeout=rpc_timeout)
        return handle

    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: Any = None
    ) -> WorkflowUpdateHandle[Any]:
        """Return a handle of an update by id, whether it exists or not."""
        return WorkflowUpdateHandle(
            self._connection,
            id,
            self.id,
            workflow_run_id=workflow_run_id or self.run_id,
            result_type=Any if result_type is None else result_type,
        )

    @overload
    def get_update_handle_for(
        self: WorkflowHandle[W, Any],
        update: BoundUpdate[W, ..., R2],
        id: str,
        *,
        workflow_run_id: str | None = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    def get_update_handle_for(
        self, update: Update[..., R2], id: str, *, workflow_run_id: str | None = None
    ) -> WorkflowUpdateHandle[R2]: ...
    def get_update_handle_for(
        self, update: Any, id: str, *, workflow_run_id: str | None = None
    ) -> WorkflowUpdateHandle[Any]:
        """Return a handle of an update by id, typed by its definition.

        Raises:
            TypeError: `update` is none.
        """
        if not isinstance(update, BoundUpdate | Update):
            raise TypeError(f"expected an update (Class.update, or an @Update), not {update!r}")
        return self.get_update_handle(
            id, workflow_run_id=workflow_run_id, result_type=cast(Any, update).definition.ret_type
        )

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
        call = call_of(query, values, args, QueryCall)
        if isinstance(call, QueryCall):
            name, arguments, result_type = call.name, call.args, call.result_type
        else:
            name, arguments = call
        seconds = QUERY_TIMEOUT
        if rpc_timeout is not None:
            seconds = to_duration(rpc_timeout, "rpc_timeout", allow_zero=False) / SECOND
        converter = self._converter
        types = call.definition.arg_types if isinstance(call, QueryCall) else None
        payloads = to_checked_payloads(converter, arguments, types, f"query {name}")
        record = await self._find_own()
        check_condition(record, reject_condition or self._connection.reject_queries)
        found = await Asking(self._connection, record, name, payloads, seconds).answer()
        return converter.from_payload(found, result_type, path=f"result of query {name}")

    async def describe(self) -> WorkflowExecutionDescription:
        """Return what the database knows about the workflow now.

        What the payload codec cannot decode is shown as a text that says so.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
        """
        record = await self._find_own()
        store, run_id = self._connection.store, record.run_id

        async def read() -> tuple[list[EventRow], list[ActivityRecord]]:
            try:
                return await store.read_events(run_id), await store.read_activities(run_id)
            except PayloadCodecError:
                bare = beneath(store)
                return await bare.read_events(run_id), await bare.read_activities(run_id)

        rows, activities = await self._connection.patiently(read)
        workers = await self._connection.patiently(store.list_workers)
        now = await self._connection.patiently(store.now)
        lock = await self._connection.patiently(lambda: store.locked_by(run_id))
        history, namespace = decode_history(rows), self._connection.namespace
        return describe(record, history, activities, workers, now, lock, self._converter, namespace)

    async def fetch_history(self) -> WorkflowHistory:
        """Return the run's whole log.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
            HistoryError: It cannot be read by this release.
        """
        record = await self._find_own()
        rows = await self._connection.patiently(lambda: self._connection.store.read_events(record.run_id))
        return WorkflowHistory(self.id, record.run_id, decode_history(rows))

    async def fetch_history_events(self) -> AsyncIterator[Event]:
        """Yield the run's events, in order.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
            HistoryError: They cannot be read by this release.
        """
        for event in (await self.fetch_history()).events:
            yield event


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"reason must be a string, not {type(value).__name__}")
    encode_data(WorkflowExecutionCancelRequested(reason=value))
    return value
