"""An operator goes back in a workflow, stops it for a while, and removes what is no longer needed."""

import asyncio
import sys

from durable import Client, Signal, Worker, activity, workflow

answer = Signal("answer", str)
price = 0


@activity.defn
async def quote(item: str) -> int:
    return price


@workflow.defn
async def offer(item: str) -> str:
    cents = await quote(item)
    said = await answer.receive()
    return f"{item} for {cents}: {said}"


async def main(url: str) -> None:
    global price
    async with Client.connect(url) as client, Worker(client):
        wrong = await client.start_workflow(offer("lamp"), id="offer-1")
        await wrong.signal(answer("yes"))
        print(await wrong.result())

        # The price was wrong. Go back to the start; the answer that came later is sent again.
        price = 2500
        right = await wrong.reset(to="first_task", reason="the price list was empty")
        print(await right.result())

        held = await client.start_workflow(offer("chair"), id="offer-2")
        await held.pause("until the price list is checked")
        await held.signal(answer("no"))
        told = await held.describe()
        print(told.hold, "-", told.reason)
        await held.unpause()
        print(await held.result())

        for handle in (wrong, right):
            await client.get_workflow_handle("offer-1", run_id=handle.result_run_id).delete()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://:memory:"))
