"""An application whose workers and workflows the tests run from the command line."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.exceptions import ApplicationError


@dataclass
class Order:
    id: str
    cents: int = 100


@activity.defn(name="cli.charge", retry_policy=RetryPolicy(initial_interval=0.01, maximum_attempts=3))
async def charge(order: Order) -> str:
    if order.cents == 13 and activity.info().attempt < 3:
        raise ApplicationError("try again")
    if order.cents < 0:
        raise ApplicationError("no money", non_retryable=True)
    return f"receipt-{order.id}"


@activity.defn(name="cli.for_ever")
async def for_ever() -> None:
    await asyncio.Event().wait()


@workflow.defn(name="cli.checkout")
async def checkout(order: Order) -> str:
    return await charge(order)


@workflow.defn(name="cli.waits")
class Waits:
    def __init__(self) -> None:
        self.names: list[str] = []

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: "end" in self.names)
        return ",".join(self.names)

    @workflow.signal
    def note(self, name: str) -> None:
        self.names.append(name)

    @workflow.query
    def noted(self) -> list[str]:
        return self.names

    @workflow.update
    def rename(self, name: str) -> str:
        if name == "bad":
            raise ApplicationError("bad name")
        self.names.append(name)
        return name.upper()


@workflow.defn(name="cli.stuck")
async def stuck() -> None:
    await for_ever.options(start_to_close_timeout=3600)()


def two_workers(client: Client) -> list[Worker]:
    kinds = {"workflows": [checkout, Waits], "activities": [charge]}
    return [Worker(client, task_queue=queue, **kinds) for queue in ("a", "b")]


def no_worker(client: Client) -> str:
    return "nothing"
