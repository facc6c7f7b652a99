"""What a client's interceptors stand around: every call, from its input on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from durable._engine._messages import message
from durable._internal.ids import check_name, uuid7
from durable._internal.shown import shown
from durable.client._activity_calls import ActivityCalls
from durable.client._addressed import requested
from durable.client._connection import Connection
from durable.client._handle import WorkflowHandle
from durable.client._history import WorkflowHistoryEventAsyncIterator
from durable.client._listing import WorkflowExecutionAsyncIterator, WorkflowExecutionCount, count
from durable.client._schedule_calls import ScheduleCalls
from durable.client._start_options import Start, check
from durable.client._starter import Starter
from durable.client._starting_update import start_with_update
from durable.client._target import Target
from durable.client._updates import WorkflowUpdateHandle, WorkflowUpdateStage, new_update
from durable.converter._checked import to_checked_payloads
from durable.history import WorkflowExecutionSignaled
from durable.interceptor._headers import checked_headers
from durable.interceptor.client import (
    CancelCorrelatedInput,
    CancelWorkflowInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalCorrelatedInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
)

Handle = WorkflowHandle[Any, Any]


def intercepted(
    interceptors: Sequence[Interceptor], connection: Connection, starter: Starter
) -> OutboundInterceptor:
    """Return what a client's calls go to: its interceptors, the first one outermost, and behind them the database.

    Raises:
        TypeError: One of them is no interceptor.
    """
    found: OutboundInterceptor = Outbound(connection, starter)
    for one in reversed(interceptors):
        if not isinstance(one, Interceptor):
            raise TypeError(f"interceptors takes durable.client.Interceptor objects, not {shown(one)}")
        found = one.intercept_client(found)
    return found


class Outbound(ScheduleCalls, ActivityCalls):
    """The innermost: what the client does."""

    def __init__(self, connection: Connection, starter: Starter) -> None:
        self._connection = connection
        self._starter = starter

    async def start_workflow(self, input: StartWorkflowInput) -> Handle:
        target, said = _start_of(input)
        workflow_id = uuid7() if said.id is None else said.id
        signal = said.signal
        if signal is None:
            return await self._starter.start(workflow_id, target, said)
        name, arguments, types = signal
        converter = self._connection.converter_for(workflow_id)
        sent = WorkflowExecutionSignaled(
            name=name,
            input=to_checked_payloads(converter, arguments, types, f"signal {name}"),
            headers=said.headers,
            identity=self._connection.identity,
        )
        return await self._starter.start(
            workflow_id, target, said, message("", requested(said.request_id, "start signal"), sent)
        )

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        handle = self._handle(input.id, input.run_id, input.first_execution_run_id)
        await handle._cancel(input.reason, input.request_id, input.connection)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        handle = self._handle(input.id, input.run_id, input.first_execution_run_id)
        await handle._terminate(input.args, input.reason or "", input.batch_id)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> Any:
        return await self._meant(input)._describe()

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        return WorkflowExecutionAsyncIterator(
            self._connection,
            input.query,
            limit=input.limit,
            page_size=input.page_size,
            next_page_token=input.next_page_token,
        )

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        return await count(self._connection, input.query)

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        return self._meant(input)._read_events(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        return await self._meant(input)._query(
            check_name(input.query, "query"),
            input.args,
            input.arg_types,
            input.ret_type,
            input.reject_condition,
            input.rpc_timeout,
            checked_headers(input.headers),
        )

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        await self._handle(input.id, input.run_id, None)._signal(
            check_name(input.signal, "signal"),
            input.args,
            input.arg_types,
            checked_headers(input.headers),
            input.request_id,
            input.connection,
        )

    async def signal_correlated(self, input: SignalCorrelatedInput) -> list[Handle]:
        found: list[Handle] = await input.correlated._signal(input)
        return found

    async def cancel_correlated(self, input: CancelCorrelatedInput) -> list[Handle]:
        found: list[Handle] = await input.correlated._cancel(input)
        return found

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        connection = self._connection
        _check_stage(input.connection, input.wait_for_stage)
        new = new_update(
            connection,
            input.id,
            check_name(input.update, "update"),
            input.args,
            input.arg_types,
            input.update_id,
            input.ret_type,
            checked_headers(input.headers),
        )
        told = self._handle(input.id, input.run_id, None)
        if input.connection is None:
            run_id = (await told._send(new.event)).run_id
        else:
            run_id = await told._send_inside(new.event, input.connection)
        handle: WorkflowUpdateHandle[Any] = WorkflowUpdateHandle(
            connection, new.id, input.id, workflow_run_id=run_id, result_type=new.result_type
        )
        if input.wait_for_stage > WorkflowUpdateStage.ADMITTED:
            await handle.reach(input.wait_for_stage, rpc_timeout=input.rpc_timeout)
        return handle

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        target, said = _start_of(input.start_workflow_input)
        update = input.update_workflow_input
        _check_stage(said.connection, update.wait_for_stage)
        new = new_update(
            self._connection,
            said.id or "",  # an operation without one is refused when it is made
            check_name(update.update, "update"),
            update.args,
            update.arg_types,
            update.update_id,
            update.ret_type,
            checked_headers(update.headers),
        )
        handle = await start_with_update(
            self._connection,
            self._starter,
            input.operation,
            (target, said),
            new,
            named=update.update_id is not None,
        )
        if update.wait_for_stage > WorkflowUpdateStage.ADMITTED:
            await handle.reach(update.wait_for_stage, rpc_timeout=input.rpc_timeout)
        return handle

    def _handle(self, id: str, run_id: str | None, first: str | None) -> Handle:
        return WorkflowHandle(self._connection, id, run_id=run_id, first_execution_run_id=first)

    def _meant(
        self, input: DescribeWorkflowInput | FetchWorkflowHistoryEventsInput | QueryWorkflowInput
    ) -> Handle:
        """The handle that was asked, which may know of a chain of runs, or one for what an interceptor made of it."""
        handle: Handle = input.handle
        if (handle.id, handle.run_id) == (input.id, input.run_id):
            return handle
        return self._handle(input.id, input.run_id, None)


def _check_stage(connection: object, stage: WorkflowUpdateStage) -> None:
    if connection is not None and stage is not WorkflowUpdateStage.ADMITTED:
        raise ValueError(
            "an update in your own transaction comes no further than ADMITTED before you commit: start it with "
            "wait_for_stage=WorkflowUpdateStage.ADMITTED, and ask its handle for the result behind the commit"
        )


def _start_of(input: StartWorkflowInput) -> tuple[Target, Start]:
    """Return what an input of a start asks for, checked."""
    target: Target = input.target
    if input.workflow != target.name:
        target = Target.of(check_name(input.workflow, "workflow"), (), {})
    if input.args is not target.args or input.ret_type is not target.result_type:
        target = replace(target, args=tuple(input.args), result_type=input.ret_type)
    said = check(input.options, target.options)
    return target, replace(said, headers=checked_headers(input.headers)) if input.headers else said
