"""The innermost of a client's interceptors, as far as activities go: what is done with them."""

from __future__ import annotations

from typing import Any

from durable.client._activity_executions import (
    ActivityExecutionAsyncIterator,
    ActivityExecutionCount,
    count_activities,
)
from durable.client._activity_handle import ActivityExecutionDescription, ActivityHandle
from durable.client._activity_starts import start
from durable.client._connection import Connection
from durable.client._starter import Starter
from durable.interceptor.client import (
    CancelActivityInput,
    CompleteAsyncActivityInput,
    CountActivitiesInput,
    DescribeActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    ListActivitiesInput,
    OutboundInterceptor,
    ReportCancellationAsyncActivityInput,
    StartActivityInput,
    TerminateActivityInput,
)


class ActivityCalls(OutboundInterceptor):
    """See the module."""

    _connection: Connection
    _starter: Starter

    def _activity(self, id: str, run_id: str | None) -> ActivityHandle[Any]:
        return ActivityHandle(self._connection, id, run_id=run_id)

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        run_id = await start(self._connection, self._starter.starts, input)
        return ActivityHandle(
            self._connection,
            input.id,
            run_id=run_id,
            result_type=input.result_type,
            tentative=input.connection is not None,
        )

    async def cancel_activity(self, input: CancelActivityInput) -> None:
        await self._activity(input.activity_id, input.activity_run_id)._cancel(input.reason)

    async def terminate_activity(self, input: TerminateActivityInput) -> None:
        await self._activity(input.activity_id, input.activity_run_id)._terminate(input.reason)

    async def describe_activity(self, input: DescribeActivityInput) -> ActivityExecutionDescription:
        return await self._activity(input.activity_id, input.activity_run_id)._describe()

    def list_activities(self, input: ListActivitiesInput) -> ActivityExecutionAsyncIterator:
        return ActivityExecutionAsyncIterator(
            self._connection,
            input.query,
            limit=input.limit,
            page_size=input.page_size,
            next_page_token=input.next_page_token,
        )

    async def count_activities(self, input: CountActivitiesInput) -> ActivityExecutionCount:
        return await count_activities(self._connection, input.query)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        await input.handle._complete(input.result)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        await input.handle._fail(input.error, input.last_heartbeat_details)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        await input.handle._heartbeat(input.details)

    async def report_cancellation_async_activity(self, input: ReportCancellationAsyncActivityInput) -> None:
        await input.handle._report_cancellation(input.details)
