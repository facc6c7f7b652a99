"""Something is done to all workflows that a filter finds, once, and the log tells who did it."""

import asyncio
import sys

from durable import Client, Signal, Worker, workflow

answer = Signal("answer", str)


@workflow.defn
async def inquiry(item: str) -> str:
    return f"{item}: {await answer.receive()}"


async def main(url: str) -> None:
    async with Client.connect(url, identity="ada") as client, Worker(client):
        inquiries = [
            await client.start_workflow(inquiry(item), id=item) for item in ("lamp", "chair", "table")
        ]
        print((await client.cancel_workflows("WorkflowType = 'inquiry'", dry_run=True)).total, "inquiries")

        # Asked twice, as after a crash: each workflow takes the signal once.
        for _ in range(2):
            told = await client.signal_workflows(
                "WorkflowId IN ('lamp', 'chair')", answer("sold out"), batch_id="sold-out"
            )
            print(told.done, "of", told.total, "told")
        print(await inquiries[0].result())
        print(await inquiries[1].result())

        ended = await client.terminate_workflows("WorkflowType = 'inquiry'", reason="the shop is closed")
        print(ended.done, "ended")
        async for entry in client.operator_log("table"):
            print(entry.operation, "by", entry.identity, "because", entry.reason)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://:memory:"))
