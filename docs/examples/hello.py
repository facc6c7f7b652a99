"""One workflow, one activity with retries."""

import asyncio
import sys

from durable import Client, RetryPolicy, Worker, activity, workflow


@activity.defn(retry_policy=RetryPolicy(maximum_attempts=5))
async def greet(greeting: str, name: str) -> str:
    return f"{greeting}, {name}!"


@workflow.defn
async def hello(name: str) -> str:
    return await greet("Hello", name)


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        print(await client.execute_workflow(hello("Ada"), id="hello-1"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
