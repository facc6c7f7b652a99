"""A program that the release before and this one run side by side: each step says which of the two took it.

Copied into a directory of its own, beside one of the two, and so free of whatever else belongs to the tests.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

import durable
from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.exceptions import ApplicationError

SIDE = "new" if (Path(durable.__file__).parents[1] / "tests" / "deployment").exists() else "old"


@activity.defn(
    name="relay.step",
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=10),
)
async def step(number: int) -> str:
    if number == 1 and activity.info().attempt < 2:
        raise ApplicationError("once more")
    return SIDE


@activity.defn(
    name="relay.hang",
    start_to_close_timeout=timedelta(hours=1),
    retry_policy=RetryPolicy(initial_interval=timedelta(minutes=10)),
)
async def hang(ledger: str) -> str:
    """Begin, and never end, unless another process has begun before."""
    if only_mine(Path(ledger)):
        await asyncio.Event().wait()
    return str(os.getpid())


def only_mine(ledger: Path) -> bool:
    """Write into a ledger that this process was here, and return whether it is the only one."""
    with ledger.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len({*ledger.read_text().split()}) == 1


@workflow.defn(name="relay.leaf")
async def leaf(number: int) -> int:
    await workflow.sleep(timedelta(milliseconds=5))
    return number


@workflow.defn(name="relay.hanging")
async def hanging(ledger: str) -> str:
    return await hang(ledger)


@workflow.defn(name="relay.relay")
class Relay:
    def __init__(self) -> None:
        self.allowed = 0
        self.sides: list[str] = []
        self.notes: list[str] = []

    @workflow.run
    async def run(self, rounds: int) -> list[str]:
        for number in range(rounds):
            await workflow.wait_condition(lambda number=number: self.allowed > number)
            side = await step(number)
            assert await leaf(number) == number
            self.sides.append(side)
        return self.sides

    @workflow.signal
    def go(self, rounds: int) -> None:
        self.allowed = rounds

    @workflow.query
    def seen(self) -> list[str]:
        return self.sides

    @workflow.update
    def note(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)


def make(client: Client) -> Worker:
    return Worker(
        client,
        workflows=[Relay, leaf, hanging],
        activities=[step, hang],
        lease_duration=float(os.environ.get("RELAY_LEASE", "2")),
        graceful_shutdown_timeout=0,
    )


async def start(url: str, *ids: str) -> None:
    """Start runs, with whichever release this is."""
    async with Client.connect(url) as client:
        for id in ids:
            await client.start_workflow("relay.relay", 5, id=id)


if __name__ == "__main__":
    asyncio.run(start(*sys.argv[1:]))
