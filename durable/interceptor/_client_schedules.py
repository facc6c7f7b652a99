"""What interceptors of clients stand around of schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class CreateScheduleInput:
    """A schedule to be created; see `Client.create_schedule`."""

    id: str
    schedule: Any
    trigger_immediately: bool
    backfill: Sequence[Any]
    memo: Mapping[str, Any] | None
    search_attributes: Any


@dataclass
class ListSchedulesInput:
    """A list of schedules; see `Client.list_schedules`."""

    query: str | None
    page_size: int
    next_page_token: bytes | None


@dataclass
class BackfillScheduleInput:
    """Periods to be made up for; see `ScheduleHandle.backfill`."""

    id: str
    backfills: Sequence[Any]


@dataclass
class DeleteScheduleInput:
    """A schedule to be deleted."""

    id: str


@dataclass
class DescribeScheduleInput:
    """A schedule to be described."""

    id: str


@dataclass
class PauseScheduleInput:
    """A schedule to be paused; see `ScheduleHandle.pause`."""

    id: str
    note: str | None


@dataclass
class TriggerScheduleInput:
    """An action to be taken now; see `ScheduleHandle.trigger`."""

    id: str
    overlap: Any


@dataclass
class UnpauseScheduleInput:
    """A schedule to be unpaused; see `ScheduleHandle.unpause`."""

    id: str
    note: str | None


@dataclass
class UpdateScheduleInput:
    """A schedule to be changed; see `ScheduleHandle.update`."""

    id: str
    updater: Any


class AroundSchedules:
    """Around what a client does with schedules; each method hands on to `next` unless it is overridden."""

    next: Any

    async def create_schedule(self, input: CreateScheduleInput) -> Any:
        """Called for every `Client.create_schedule`; returns the schedule's handle."""
        return await self.next.create_schedule(input)

    def list_schedules(self, input: ListSchedulesInput) -> Any:
        """Called for every `Client.list_schedules`; returns what is iterated over."""
        return self.next.list_schedules(input)

    async def backfill_schedule(self, input: BackfillScheduleInput) -> None:
        """Called for every `ScheduleHandle.backfill`."""
        await self.next.backfill_schedule(input)

    async def delete_schedule(self, input: DeleteScheduleInput) -> None:
        """Called for every `ScheduleHandle.delete`."""
        await self.next.delete_schedule(input)

    async def describe_schedule(self, input: DescribeScheduleInput) -> Any:
        """Called for every `ScheduleHandle.describe`; returns the description."""
        return await self.next.describe_schedule(input)

    async def pause_schedule(self, input: PauseScheduleInput) -> None:
        """Called for every `ScheduleHandle.pause`."""
        await self.next.pause_schedule(input)

    async def trigger_schedule(self, input: TriggerScheduleInput) -> None:
        """Called for every `ScheduleHandle.trigger`."""
        await self.next.trigger_schedule(input)

    async def unpause_schedule(self, input: UnpauseScheduleInput) -> None:
        """Called for every `ScheduleHandle.unpause`."""
        await self.next.unpause_schedule(input)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        """Called for every `ScheduleHandle.update`."""
        await self.next.update_schedule(input)
