"""A letter every thirty days until somebody says stop: a workflow that sleeps for most of its life."""

import asyncio
import sys
from datetime import timedelta

from durable import Client, Signal, Worker, activity, workflow

stop = Signal[None]("stop")


@activity.defn
async def send_letter(to: str, number: int) -> None:
    print(f"letter {number} to {to}")


@workflow.defn
async def letters(to: str, every: timedelta, most: int) -> int:
    for number in range(1, most):
        await send_letter(to, number)
        try:
            await stop.receive(timeout=every)  # a timer in the database: nothing runs meanwhile
        except TimeoutError:
            continue
        return number
    await send_letter(to, most)
    return most


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        monthly = await client.start_workflow(letters("ada", timedelta(days=30), 12), id="letters-ada")
        while not (timers := (await monthly.describe()).pending_timers):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        started = (await monthly.describe()).start_time
        print("the next letter to ada in", round((timers[0] - started) / timedelta(days=1)), "days")
        print(
            "bob got",
            await client.execute_workflow(letters("bob", timedelta(seconds=0.1), 2), id="letters-bob"),
        )
        await monthly.signal(stop())
        print("ada got", await monthly.result())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
