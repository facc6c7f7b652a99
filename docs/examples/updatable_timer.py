"""A timer whose end can be moved while it runs: the workflow looks again whenever it is told to."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

from durable import Client, Worker, workflow


class UpdatableTimer:
    """Sleeps until a time that others may change meanwhile."""

    def __init__(self, wake_up_time: datetime) -> None:
        self.wake_up_time = wake_up_time
        self.moved = False

    def move_to(self, wake_up_time: datetime) -> None:
        self.wake_up_time = wake_up_time
        self.moved = True

    async def sleep(self) -> None:
        while (left := self.wake_up_time - workflow.now()) > timedelta():
            self.moved = False
            try:
                await workflow.wait_condition(lambda: self.moved, timeout=left)
            except TimeoutError:
                return


@workflow.defn
class Reminder:
    @workflow.init
    def __init__(self, at: datetime) -> None:
        self.timer = UpdatableTimer(at)
        self.changes = 0

    @workflow.run
    async def run(self, at: datetime) -> str:
        await self.timer.sleep()
        early = workflow.now() < self.timer.wake_up_time
        return f"reminded {'too early' if early else 'in time'}, after {self.changes} changes"

    @workflow.signal
    def move_to(self, at: datetime) -> None:
        self.timer.move_to(at)
        self.changes += 1

    @workflow.query
    def at(self) -> datetime:
        return self.timer.wake_up_time


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        next_week = datetime.now(UTC) + timedelta(days=7)
        reminder = await client.start_workflow(Reminder.run(next_week), id="reminder")
        await reminder.signal(Reminder.move_to(next_week + timedelta(days=1)))
        print("moved to", "the day after" if await reminder.query(Reminder.at()) > next_week else "?")
        await reminder.signal(Reminder.move_to(datetime.now(UTC) + timedelta(seconds=0.3)))
        print(await reminder.result())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
