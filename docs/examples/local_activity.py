"""What is loaded in the workflow's own process is used by local activities; what others can do as well is not."""

import asyncio
import sys
from datetime import timedelta

from durable import Client, RetryPolicy, Worker, activity, workflow


class Prices:
    """A table that is loaded once, when the process starts."""

    def __init__(self) -> None:
        self.table = {"lamp": 25, "chair": 40}
        self.busy = True

    @activity.method
    async def price(self, item: str) -> int:
        if self.busy:
            self.busy = False
            raise RuntimeError("the table is being loaded")
        return self.table[item]


@activity.defn
async def charge(customer: str, amount: int) -> str:
    return f"{customer} paid {amount}"


@workflow.defn
async def order(customer: str, items: list[str]) -> str:
    prices = await asyncio.gather(
        *(
            workflow.execute_local_activity_method(
                Prices.price,
                item,
                start_to_close_timeout=timedelta(seconds=5),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
                local_retry_threshold=timedelta(minutes=1),
                summary=f"the price of a {item}",
            )
            for item in items
        )
    )
    return await charge(customer, sum(prices))


async def main(url: str) -> None:
    async with (
        Client.connect(url) as client,
        Worker(client, workflows=[order], activities=[Prices(), charge]),
    ):
        print(await client.execute_workflow(order("ada", ["lamp", "chair"]), id="order-1"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://:memory:"))
