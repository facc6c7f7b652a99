"""A report every hour: made up for the last three hours, paused, changed, run by hand, and deleted."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from durable import Client, Worker, workflow
from durable.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

ALLOW_ALL = ScheduleOverlapPolicy.ALLOW_ALL
NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)


@workflow.defn
async def report(title: str) -> str:
    info = workflow.info()
    since, until = info.previous_scheduled_start_time, info.scheduled_start_time
    assert since is not None
    assert until is not None
    if until.microsecond:
        return f"{title}: asked for by hand"
    return f"{title}: from {since:%H:%M} to {until:%H:%M}"


def rename(given: ScheduleUpdateInput) -> ScheduleUpdate:
    schedule = given.description.schedule
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    schedule.action.args = ["orders and returns"]
    return ScheduleUpdate(schedule)


async def results(client: Client, schedule: ScheduleHandle, count: int) -> list[str]:
    """What the last actions of a schedule came to, once it has taken so many."""
    while True:
        told = await schedule.describe()
        if told.info.num_actions >= count:
            break
        await asyncio.sleep(0.02)
    actions = [one.action for one in told.info.recent_actions]
    return [await client.get_workflow_handle(one.workflow_id).result() for one in actions]


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        hourly = await client.create_schedule(
            "hourly-report",
            Schedule(
                action=ScheduleActionStartWorkflow(report("orders"), id="report"),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))]),
                policy=SchedulePolicy(overlap=ALLOW_ALL, catchup_window=timedelta(days=1)),
            ),
            backfill=[ScheduleBackfill(NINE, NINE + timedelta(hours=3))],
        )
        for line in await results(client, hourly, 3):
            print(line)
        await hourly.pause(note="stocktaking")
        async for listed in await client.list_schedules():
            print(listed.id, "is paused:", listed.schedule and listed.schedule.state.note)
        await hourly.update(rename)
        await hourly.trigger()
        print((await results(client, hourly, 4))[-1])
        await hourly.unpause()
        print("next ones known:", len((await hourly.describe()).info.next_action_times))
        await hourly.delete()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
