"""A subscription: charged month by month until the customer cancels, and each year in a history of its own."""

import asyncio
import sys

from durable import Client, Signal, Worker, activity, workflow

MONTHS = 3  # of a year in this example
MONTH = 0.3  # seconds

cancel = Signal("cancel", str)
charges: asyncio.Queue[str] = asyncio.Queue()


@activity.defn
async def charge(customer: str, year: int, month: int) -> None:
    charges.put_nowait(f"{customer}: charged for month {month} of year {year}")


@workflow.defn
async def subscription(customer: str, year: int = 1) -> str:
    for month in range(1, MONTHS + 1):
        await charge(customer, year, month)
        try:
            return await cancel.receive(timeout=MONTH)
        except TimeoutError:
            pass
    workflow.continue_as_new(customer, year + 1)


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        handle = await client.start_workflow(subscription("ada"), id="subscription-ada")
        for _ in range(MONTHS + 1):
            print(await charges.get())
        await handle.signal(cancel("moved to another town"))  # reaches whichever run is open now
        print("ada:", await handle.result())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
