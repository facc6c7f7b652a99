"""Schedules that the processes which are killed run; a driver that comes back finds what the one before has made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from durable import Client
from durable.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
)
from tests.crash.programs import parked, sequence

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INSTANTS = tuple(f"2026-03-01T{hour}:00:00Z" for hour in (13, 14, 15))


async def _made(client: Client, id: str, schedule: Schedule, **options: Any) -> ScheduleHandle:
    try:
        return await client.create_schedule(id, schedule, **options)
    except ScheduleAlreadyRunningError:
        return client.get_schedule_handle(id)


async def _until(handle: ScheduleHandle, look: Callable[[ScheduleDescription], bool]) -> ScheduleDescription:
    while not look(told := await handle.describe()):
        await asyncio.sleep(0.01)
    return told


async def one_by_one(client: Client, id: str, queue: str) -> Any:
    """Three instants, each behind the end of the one before."""
    schedule = Schedule(
        ScheduleActionStartWorkflow(sequence(1), id=id, task_queue=queue),
        ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))]),
        SchedulePolicy(ScheduleOverlapPolicy.BUFFER_ALL),
        ScheduleState(paused=True),
    )
    handle = await _made(client, id, schedule, backfill=[ScheduleBackfill(NOON, NOON + timedelta(hours=3))])
    told = await _until(handle, lambda told: told.info.num_actions == 3 and not told.info.running_actions)
    assert not told.info.buffer_size
    return told.info.num_actions


async def in_the_place_of_another(client: Client, id: str, queue: str, policy: ScheduleOverlapPolicy) -> Any:
    """An action that ends the one before."""
    schedule = Schedule(
        ScheduleActionStartWorkflow(parked(), id=id, task_queue=queue),
        ScheduleSpec(calendars=[ScheduleCalendarSpec(year=[ScheduleRange(2099)])]),
        SchedulePolicy(policy),
    )
    handle = await _made(client, id, schedule, trigger_immediately=True)
    await _until(handle, lambda told: told.info.num_actions > 0)
    await handle.trigger()
    await _until(handle, lambda told: told.info.num_actions > 1 and not told.info.buffer_size)
    return True


async def _terminating(client: Client, id: str, queue: str) -> Any:
    return await in_the_place_of_another(client, id, queue, ScheduleOverlapPolicy.TERMINATE_OTHER)


async def _cancelling(client: Client, id: str, queue: str) -> Any:
    return await in_the_place_of_another(client, id, queue, ScheduleOverlapPolicy.CANCEL_OTHER)


SCHEDULED: dict[str, Callable[[Client, str, str], Awaitable[Any]]] = {
    "one_by_one": one_by_one,
    "terminating": _terminating,
    "cancelling": _cancelling,
}
