"""The innermost of a client's interceptors, as far as schedules go: what is done with them."""

from __future__ import annotations

from durable.client._connection import Connection
from durable.client._schedule_descriptions import ScheduleAsyncIterator, ScheduleDescription
from durable.client._schedules import ScheduleHandle, create, listed
from durable.interceptor.client import (
    BackfillScheduleInput,
    CreateScheduleInput,
    DeleteScheduleInput,
    DescribeScheduleInput,
    ListSchedulesInput,
    OutboundInterceptor,
    PauseScheduleInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    UpdateScheduleInput,
)


class ScheduleCalls(OutboundInterceptor):
    """See the module."""

    _connection: Connection

    def _schedule(self, id: str) -> ScheduleHandle:
        return ScheduleHandle(self._connection, id)

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        return await create(self._connection, input)

    def list_schedules(self, input: ListSchedulesInput) -> ScheduleAsyncIterator:
        return listed(self._connection, input)

    async def backfill_schedule(self, input: BackfillScheduleInput) -> None:
        await self._schedule(input.id)._backfill(input.backfills)

    async def delete_schedule(self, input: DeleteScheduleInput) -> None:
        await self._schedule(input.id)._delete()

    async def describe_schedule(self, input: DescribeScheduleInput) -> ScheduleDescription:
        return await self._schedule(input.id)._describe()

    async def pause_schedule(self, input: PauseScheduleInput) -> None:
        await self._schedule(input.id)._pause(input.note)

    async def trigger_schedule(self, input: TriggerScheduleInput) -> None:
        await self._schedule(input.id)._trigger(input.overlap)

    async def unpause_schedule(self, input: UnpauseScheduleInput) -> None:
        await self._schedule(input.id)._unpause(input.note)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        await self._schedule(input.id)._update(input.updater)
