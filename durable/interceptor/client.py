"""Interceptors of clients, and what they are called with. `durable.client` has the same names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from durable.common import QueryRejectCondition
from durable.interceptor._client_activities import (
    AroundActivities,
    CancelActivityInput,
    CompleteAsyncActivityInput,
    CountActivitiesInput,
    DescribeActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ListActivitiesInput,
    ReportCancellationAsyncActivityInput,
    StartActivityInput,
    TerminateActivityInput,
)
from durable.interceptor._client_schedules import (
    AroundSchedules,
    BackfillScheduleInput,
    CreateScheduleInput,
    DeleteScheduleInput,
    DescribeScheduleInput,
    ListSchedulesInput,
    PauseScheduleInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    UpdateScheduleInput,
)
from durable.interceptor._headers import Headers

__all__ = [
    "BackfillScheduleInput",
    "CancelActivityInput",
    "CancelCorrelatedInput",
    "CancelWorkflowInput",
    "CompleteAsyncActivityInput",
    "CountActivitiesInput",
    "CountWorkflowsInput",
    "CreateScheduleInput",
    "DeleteScheduleInput",
    "DescribeActivityInput",
    "DescribeScheduleInput",
    "DescribeWorkflowInput",
    "FailAsyncActivityInput",
    "FetchWorkflowHistoryEventsInput",
    "HeartbeatAsyncActivityInput",
    "Interceptor",
    "ListActivitiesInput",
    "ListSchedulesInput",
    "ListWorkflowsInput",
    "OutboundInterceptor",
    "PauseScheduleInput",
    "QueryWorkflowInput",
    "ReportCancellationAsyncActivityInput",
    "SignalCorrelatedInput",
    "SignalWorkflowInput",
    "StartActivityInput",
    "StartWorkflowInput",
    "StartWorkflowUpdateInput",
    "StartWorkflowUpdateWithStartInput",
    "TerminateActivityInput",
    "TerminateWorkflowInput",
    "TriggerScheduleInput",
    "UnpauseScheduleInput",
    "UpdateScheduleInput",
    "UpdateWithStartStartWorkflowInput",
    "UpdateWithStartUpdateWorkflowInput",
]


class _Said:
    """The options of a start, as attributes; what was not said is None."""

    id: str | None
    task_queue: str | None
    execution_timeout: Any
    run_timeout: Any
    task_timeout: Any
    id_reuse_policy: Any
    id_conflict_policy: Any
    retry_policy: Any
    cron_schedule: str | None
    memo: Mapping[str, Any] | None
    search_attributes: Any
    start_delay: Any
    start_signal: Any
    start_signal_args: Any
    request_id: str | None
    static_summary: str | None
    static_details: str | None
    request_eager_start: bool | None
    priority: Any
    versioning_override: Any
    connection: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "options":
            raise AttributeError(name)
        return self.options.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OF_A_START:
            object.__setattr__(self, name, value)
        else:
            self.options[name] = value


@dataclass
class StartWorkflowInput(_Said):
    """A start.

    Attributes:
        workflow: The name of the workflow's type.
        args: Its arguments.
        options: The options as the caller wrote them (`id`, `task_queue`, `memo`, ...), with the names of `StartOptions`;
            each can also be read and set as an attribute, and is None where nothing was said.
        headers: What travels beside the arguments.
        ret_type: What the result is decoded as.
        target: What the caller wrote, for the library.
    """

    workflow: str
    args: Sequence[Any]
    options: dict[str, Any]
    headers: Headers
    ret_type: Any
    target: Any = field(default=None, repr=False)

    def __init__(
        self,
        workflow: str,
        args: Sequence[Any],
        options: dict[str, Any],
        headers: Headers,
        ret_type: Any,
        target: Any = None,
    ) -> None:
        # Every start makes one: its own attributes need no look at their names.
        vars(self).update(
            workflow=workflow, args=args, options=options, headers=headers, ret_type=ret_type, target=target
        )


_OF_A_START = frozenset({"workflow", "args", "options", "headers", "ret_type", "target"})


class UpdateWithStartStartWorkflowInput(StartWorkflowInput):
    """The start of an update-with-start."""


@dataclass
class CancelWorkflowInput:
    """A request to cancel.

    Attributes:
        request_id: What makes asking again harmless; None for a fresh one.
        connection: What has the transaction that it is to be part of, if any.
    """

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    reason: str = ""
    request_id: str | None = None
    connection: Any = field(default=None, repr=False)


@dataclass
class TerminateWorkflowInput:
    """An end from outside. `args` are its details; `batch_id` is the batch it is part of, "" for none."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    args: Sequence[Any]
    reason: str | None
    batch_id: str = ""


@dataclass
class DescribeWorkflowInput:
    """A look at what is known of a workflow."""

    id: str
    run_id: str | None
    handle: Any = field(default=None, repr=False)
    """The handle that is asked, for the library."""


@dataclass
class ListWorkflowsInput:
    """A list of what a filter finds."""

    query: str | None
    limit: int | None
    page_size: int
    next_page_token: bytes | None


@dataclass
class CountWorkflowsInput:
    """A count of what a filter finds."""

    query: str | None


@dataclass
class FetchWorkflowHistoryEventsInput:
    """A look at a workflow's log.

    Attributes:
        page_size: How many events are read at once.
        next_page_token: Where an earlier look was.
        wait_new_event: Whether to go on as new events come.
        event_filter_type: Which of them; a `durable.client.WorkflowHistoryEventFilterType`.
    """

    id: str
    run_id: str | None
    page_size: int = 1000
    next_page_token: bytes | None = None
    wait_new_event: bool = False
    event_filter_type: int = 1
    handle: Any = field(default=None, repr=False)
    """The handle that is asked, for the library."""


@dataclass
class QueryWorkflowInput:
    """A query.

    Attributes:
        ret_type: What the answer is decoded as.
        reject_condition: In which states not to ask; None for the client's default.
        rpc_timeout: How long to wait.
        arg_types: What the arguments have to be read back as; None for whatever they are.
        handle: The handle that is asked, for the library.
    """

    id: str
    run_id: str | None
    query: str
    args: Sequence[Any]
    reject_condition: QueryRejectCondition | None
    headers: Headers
    ret_type: Any
    rpc_timeout: Any = None
    arg_types: Sequence[Any] | None = None
    handle: Any = field(default=None, repr=False)


@dataclass
class SignalWorkflowInput:
    """A signal.

    Attributes:
        arg_types: What the arguments have to be read back as; None for whatever they are.
        request_id: What makes sending it again harmless; None for a fresh one.
        connection: What has the transaction that it is to be part of, if any.
    """

    id: str
    run_id: str | None
    signal: str
    args: Sequence[Any]
    headers: Headers
    arg_types: Sequence[Any] | None = None
    request_id: str | None = None
    connection: Any = field(default=None, repr=False)


@dataclass
class SignalCorrelatedInput:
    """A signal by a search attribute.

    Attributes:
        correlated: The workflows that it is for, a `durable.client.CorrelatedWorkflows`.
        many: Whether there may be several of them.
        arg_types: What the arguments have to be read back as; None for whatever they are.
        request_id: What makes sending it again harmless; None for a fresh one.
    """

    correlated: Any
    signal: str
    args: Sequence[Any]
    headers: Headers
    arg_types: Sequence[Any] | None
    many: bool
    request_id: str | None


@dataclass
class CancelCorrelatedInput:
    """A request to cancel, by a search attribute; see `SignalCorrelatedInput`."""

    correlated: Any
    reason: str
    many: bool
    request_id: str | None


@dataclass
class StartWorkflowUpdateInput:
    """An update.

    Attributes:
        update_id: The id that makes it one and the same; None for a fresh one.
        wait_for_stage: How far it has to come; a `WorkflowUpdateStage`.
        ret_type: What its result is decoded as; None for what its definition says.
        rpc_timeout: How long to wait.
        arg_types: What the arguments have to be read back as; None for whatever they are.
        handle: The handle that it is sent by, for the library.
        connection: What has the transaction that it is to be part of, if any.
    """

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: Any
    headers: Headers
    ret_type: Any
    rpc_timeout: Any = None
    arg_types: Sequence[Any] | None = None
    handle: Any = field(default=None, repr=False)
    connection: Any = field(default=None, repr=False)


@dataclass
class UpdateWithStartUpdateWorkflowInput:
    """The update of an update-with-start; see `StartWorkflowUpdateInput`."""

    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: Any
    headers: Headers
    ret_type: Any
    arg_types: Sequence[Any] | None = None


@dataclass
class StartWorkflowUpdateWithStartInput:
    """A start with an update.

    Attributes:
        start_workflow_input: The start.
        update_workflow_input: The update.
        rpc_timeout: How long to wait for the update.
        operation: The operation that the caller made, for the library.
    """

    start_workflow_input: UpdateWithStartStartWorkflowInput
    update_workflow_input: UpdateWithStartUpdateWorkflowInput
    rpc_timeout: Any = None
    operation: Any = field(default=None, repr=False)


class Interceptor:
    """Stands around what a client does; pass it to `Client.connect(interceptors=[...])`. The first one is the outermost.

    One that is a `durable.worker.Interceptor` too serves the workers of the client as well.
    """

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Return what stands around the client's calls; called once, when the client is made."""
        return next


class OutboundInterceptor(AroundSchedules, AroundActivities):
    """Around what a client does; each method hands on to `next` unless it is overridden."""

    next: OutboundInterceptor

    def __init__(self, next: OutboundInterceptor) -> None:
        self.next = next

    async def start_workflow(self, input: StartWorkflowInput) -> Any:
        """Called for every start but those with an update; returns the workflow's handle."""
        return await self.next.start_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """Called for every `WorkflowHandle.cancel`."""
        await self.next.cancel_workflow(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> Any:
        """Called for every `WorkflowHandle.describe`; returns the description."""
        return await self.next.describe_workflow(input)

    def list_workflows(self, input: ListWorkflowsInput) -> Any:
        """Called for every `Client.list_workflows`; returns what is iterated over."""
        return self.next.list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> Any:
        """Called for every `Client.count_workflows`; returns the count."""
        return await self.next.count_workflows(input)

    def fetch_workflow_history_events(self, input: FetchWorkflowHistoryEventsInput) -> AsyncIterator[Any]:
        """Called for every `fetch_history` and `fetch_history_events`; returns the events."""
        return self.next.fetch_workflow_history_events(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Called for every `WorkflowHandle.query`; returns the answer."""
        return await self.next.query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """Called for every `WorkflowHandle.signal`."""
        await self.next.signal_workflow(input)

    async def signal_correlated(self, input: SignalCorrelatedInput) -> Any:
        """Called for every `CorrelatedWorkflows.signal`; returns the handles of those that got it."""
        return await self.next.signal_correlated(input)

    async def cancel_correlated(self, input: CancelCorrelatedInput) -> Any:
        """Called for every `CorrelatedWorkflows.cancel`; returns the handles of those that were asked."""
        return await self.next.cancel_correlated(input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        """Called for every `WorkflowHandle.terminate`."""
        await self.next.terminate_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> Any:
        """Called for every update; returns its handle."""
        return await self.next.start_workflow_update(input)

    async def start_update_with_start_workflow(self, input: StartWorkflowUpdateWithStartInput) -> Any:
        """Called for every update-with-start; returns the update's handle."""
        return await self.next.start_update_with_start_workflow(input)
