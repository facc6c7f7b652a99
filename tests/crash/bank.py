"""A worker of the bank, in a process that is killed at random."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import timedelta
from typing import Any

from durable import Client, RetryPolicy, Worker, workflow
from tests.scenarios.bank import transfer_by_asyncpg, transfer_by_sqlite3, trouble


@workflow.defn(name="bank.move")
async def move(number: int, source: str, target: str, cents: int, attempts: int) -> int:
    left: int = await workflow.execute_activity(
        "bank.transfer",
        args=[number, source, target, cents],
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=20), maximum_attempts=attempts),
    )
    return left


def worker(client: Client) -> Worker:
    transfer: Any = transfer_by_asyncpg if client.store.url.startswith("postgres") else transfer_by_sqlite3
    return Worker(client, workflows=[move], activities=[transfer], lease_duration=1, poll_interval=0.1)


def main(url: str, hold_until: str = "") -> None:
    """Work; when a file is named, each transfer waits for it with its transaction open."""
    logging.disable()

    def there() -> bool:
        return os.path.exists(hold_until)

    async def held(tx: Any) -> None:
        while not there():
            await asyncio.sleep(0.005)

    if hold_until:
        trouble.behind = held

    async def work() -> None:
        async with Client.connect(url) as client:
            await worker(client).run()

    asyncio.run(work())
