"""What stands around a workflow's code: around what comes to it, and around what it asks for.

All of this is workflow code: it runs in every replay, and has to do the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn

from durable.common import (
    ActivityCancellationType,
    ChildWorkflowCancellationType,
    ParentClosePolicy,
    Priority,
    RetryPolicy,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from durable.interceptor._headers import Headers
from durable.workflow._child_handle import ChildWorkflowHandle
from durable.workflow._continue import ContinueAsNewVersioningBehavior
from durable.workflow._info import Info


@dataclass
class ExecuteWorkflowInput:
    """A run, as its function begins.

    Attributes:
        type: The class of a class-style workflow; None for a function.
        run_fn: The function; of a class it takes the object first.
        args: Its arguments, decoded, without the object.
        headers: What came with the start.
    """

    type: type[Any] | None
    run_fn: Callable[..., Awaitable[Any]]
    args: Sequence[Any]
    headers: Headers


@dataclass
class HandleSignalInput:
    """A signal that has a handler. `args` are decoded."""

    signal: str
    args: Sequence[Any]
    headers: Headers
    handler: Any = field(default=None, repr=False)
    """The handler, for the library."""


@dataclass
class HandleQueryInput:
    """A query. `args` are decoded; `id` is unique to this time of asking."""

    id: str
    query: str
    args: Sequence[Any]
    headers: Headers
    handler: Any = field(default=None, repr=False)
    """The handler, for the library."""


@dataclass
class HandleUpdateInput:
    """An update. `args` are decoded, for the validator and for the handler each."""

    id: str
    update: str
    args: Sequence[Any]
    headers: Headers
    handler: Any = field(default=None, repr=False)
    """The handler or the validator, for the library."""


@dataclass
class ContinueAsNewInput:
    """What the run goes on as. None leaves a thing as it is; so do empty headers."""

    workflow: str | None
    args: Sequence[Any]
    task_queue: str | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | None
    headers: Headers
    arg_types: Sequence[Any] | None
    backoff_start_interval: timedelta | None = None
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None
    call: Any = field(default=None, repr=False)
    """What the code wrote, for the library."""


@dataclass
class SignalChildWorkflowInput:
    """A signal to a child."""

    signal: str
    args: Sequence[Any]
    child_workflow_id: str
    headers: Headers
    call: Any = field(default=None, repr=False)
    """What the code wrote, for the library."""


@dataclass
class SignalExternalWorkflowInput:
    """A signal to a workflow that is no child."""

    signal: str
    args: Sequence[Any]
    namespace: str
    workflow_id: str
    workflow_run_id: str | None
    headers: Headers
    call: Any = field(default=None, repr=False)
    """What the code wrote, for the library."""


@dataclass
class StartActivityInput:
    """An activity that is asked for. None leaves an option to the defaults."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    headers: Headers
    disable_eager_execution: bool
    summary: str | None
    arg_types: Sequence[Any] | None
    ret_type: Any
    priority: Priority | None = None
    call: Any = field(default=None, repr=False)
    """What the code wrote, for the library."""


@dataclass
class StartLocalActivityInput:
    """A local activity that is asked for. None leaves an option to the defaults."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    cancellation_type: ActivityCancellationType
    headers: Headers
    summary: str | None
    arg_types: Sequence[Any] | None
    ret_type: Any
    call: Any = field(default=None, repr=False)
    """What the code wrote, for the library."""


@dataclass
class StartChildWorkflowInput:
    """A child workflow that is asked for. None leaves an option to the defaults."""

    workflow: str
    args: Sequence[Any]
    id: str | None
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | None
    headers: Headers
    static_summary: str | None
    static_details: str | None
    arg_types: Sequence[Any] | None
    ret_type: Any
    priority: Priority | None = None
    call: Any = field(default=None, repr=False)
    """What the code wrote, for the library."""


class WorkflowInboundInterceptor:
    """Around what comes to a workflow; each method hands on to `next` unless it is overridden.

    Made for each run, as `Interceptor.workflow_interceptor_class` says. An override must call the next one's method of
    the same name, and no other.
    """

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Take what stands around the workflow's own calls; override it to hand one's own on to `next.init`."""
        self.next.init(outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Run the workflow and return its result."""
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Called for every signal that has a handler; one that the code takes by `receive()` has none."""
        await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """Called for every query, and may await nothing but the next one."""
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """Called for every update that has a validator, before it is let in."""
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Called for every update that was let in."""
        return await self.next.handle_update_handler(input)


class WorkflowOutboundInterceptor:
    """Around what a workflow asks for; each method hands on to `next` unless it is overridden.

    An override must call the next one's method of the same name, and no other.
    """

    def __init__(self, next: WorkflowOutboundInterceptor) -> None:
        self.next = next

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """Called for every `workflow.continue_as_new()`; it never returns."""
        self.next.continue_as_new(input)

    def info(self) -> Info:
        """Called for every `workflow.info()`."""
        return self.next.info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        """Called for every signal to a child."""
        await self.next.signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        """Called for every signal to a workflow that is no child."""
        await self.next.signal_external_workflow(input)

    def start_activity(self, input: StartActivityInput) -> asyncio.Future[Any]:
        """Called for every activity, awaited or started."""
        return self.next.start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        """Called for every child workflow, awaited or started; it returns once the child is there."""
        return await self.next.start_child_workflow(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> asyncio.Future[Any]:
        """Called for every local activity, awaited or started."""
        return self.next.start_local_activity(input)
