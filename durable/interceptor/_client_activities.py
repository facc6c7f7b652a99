"""What interceptors of clients stand around of activities: those a client starts, and those somebody outside ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from durable.interceptor._headers import Headers


@dataclass
class StartActivityInput:
    """A start of an activity by itself; what was not said is None.

    Attributes:
        activity_type: The name of its type.
        args: Its arguments.
        id: Its id.
        headers: What travels beside the arguments.
        result_type: What its result is decoded as.
        arg_types: What the arguments have to be read back as; None for whatever they are.
        connection: Whose transaction it is part of; None for one of its own.
        defined: The options of its definition, for the library.
    """

    activity_type: str
    args: Sequence[Any]
    id: str
    task_queue: str | None
    result_type: Any
    schedule_to_close_timeout: Any
    schedule_to_start_timeout: Any
    start_to_close_timeout: Any
    heartbeat_timeout: Any
    id_reuse_policy: Any
    id_conflict_policy: Any
    retry_policy: Any
    search_attributes: Any
    summary: str | None
    priority: Any
    start_delay: Any
    headers: Headers
    concurrency: Any = None
    circuit_breaker: Any = None
    arg_types: Sequence[Any] | None = None
    request_id: str | None = None
    connection: Any = None
    defined: Any = field(default=None, repr=False)


@dataclass
class CancelActivityInput:
    """A request to cancel an activity that a client started."""

    activity_id: str
    activity_run_id: str | None
    reason: str = ""


@dataclass
class TerminateActivityInput:
    """An end from outside of an activity that a client started."""

    activity_id: str
    activity_run_id: str | None
    reason: str = ""


@dataclass
class DescribeActivityInput:
    """A look at what is known of an activity that a client started."""

    activity_id: str
    activity_run_id: str | None


@dataclass
class ListActivitiesInput:
    """A list of the activities that a filter finds."""

    query: str | None
    limit: int | None
    page_size: int
    next_page_token: bytes | None


@dataclass
class CountActivitiesInput:
    """A count of the activities that a filter finds."""

    query: str | None


@dataclass
class CompleteAsyncActivityInput:
    """The result of an activity that is ended from outside.

    Attributes:
        id_or_token: Which attempt is meant.
        data_converter_override: How its values are stored, if not as the client has it.
        handle: The handle that is used, for the library.
    """

    id_or_token: Any
    result: Any
    data_converter_override: Any = None
    handle: Any = field(default=None, repr=False)


@dataclass
class FailAsyncActivityInput:
    """The failure of an attempt that is ended from outside; see `CompleteAsyncActivityInput`."""

    id_or_token: Any
    error: Exception
    last_heartbeat_details: Any
    data_converter_override: Any = None
    handle: Any = field(default=None, repr=False)


@dataclass
class HeartbeatAsyncActivityInput:
    """A heartbeat of an attempt that is ended from outside; see `CompleteAsyncActivityInput`."""

    id_or_token: Any
    details: Sequence[Any]
    data_converter_override: Any = None
    handle: Any = field(default=None, repr=False)


@dataclass
class ReportCancellationAsyncActivityInput:
    """The end as cancelled of an attempt that is ended from outside; see `CompleteAsyncActivityInput`."""

    id_or_token: Any
    details: Sequence[Any]
    data_converter_override: Any = None
    handle: Any = field(default=None, repr=False)


class AroundActivities:
    """Around what a client does with activities; each method hands on to `next` unless it is overridden."""

    next: Any

    async def start_activity(self, input: StartActivityInput) -> Any:
        """Called for every start of an activity, each one of many too; returns its handle."""
        return await self.next.start_activity(input)

    async def cancel_activity(self, input: CancelActivityInput) -> None:
        """Called for every `ActivityHandle.cancel`."""
        await self.next.cancel_activity(input)

    async def terminate_activity(self, input: TerminateActivityInput) -> None:
        """Called for every `ActivityHandle.terminate`."""
        await self.next.terminate_activity(input)

    async def describe_activity(self, input: DescribeActivityInput) -> Any:
        """Called for every `ActivityHandle.describe`; returns the description."""
        return await self.next.describe_activity(input)

    def list_activities(self, input: ListActivitiesInput) -> Any:
        """Called for every `Client.list_activities`; returns what is iterated over."""
        return self.next.list_activities(input)

    async def count_activities(self, input: CountActivitiesInput) -> Any:
        """Called for every `Client.count_activities`; returns the count."""
        return await self.next.count_activities(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """Called for every `AsyncActivityHandle.complete`."""
        await self.next.complete_async_activity(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """Called for every `AsyncActivityHandle.fail`."""
        await self.next.fail_async_activity(input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """Called for every `AsyncActivityHandle.heartbeat`."""
        await self.next.heartbeat_async_activity(input)

    async def report_cancellation_async_activity(self, input: ReportCancellationAsyncActivityInput) -> None:
        """Called for every `AsyncActivityHandle.report_cancellation`."""
        await self.next.report_cancellation_async_activity(input)
