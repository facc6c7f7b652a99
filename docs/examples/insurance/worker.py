"""A worker process: `billing` runs policies and charges cards, `office` writes letters and answers them.

It works until its standard input ends, which it does when whoever started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from activities import Billing, Office
from customers import answer_letters
from database import Database, open_database
from gateway import Gateway
from policies import BILLING, OFFICE, read_policies
from workflows import insure

from durable import Client, Worker

LEASE = 1.0
"""Seconds after which others take over from a worker that is silent. The library's default is 15."""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["billing", "office"])
    parser.add_argument("name")
    parser.add_argument("url")
    parser.add_argument("--namespace")
    parser.add_argument("--ledger", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {options.name} %(levelname)s %(message)s")
    async with (
        Client.connect(options.url, namespace=options.namespace, identity=options.name) as client,
        open_database(options.url, options.namespace) as database,
    ):
        if options.role == "billing":
            await run_billing(client, database, options.ledger)
        else:
            await run_office(client, database)


async def run_billing(client: Client, database: Database, ledger: Path) -> None:
    billing = Billing(database, Gateway(ledger))
    async with Worker(
        client, task_queue=BILLING, workflows=[insure], activities=[billing], lease_duration=LEASE
    ):
        await end_of_input()


async def run_office(client: Client, database: Database) -> None:
    async with Worker(
        client, task_queue=OFFICE, workflows=[], activities=[Office(database)], lease_duration=LEASE
    ):
        customers = asyncio.create_task(answer_letters(client, database, read_policies()))
        await end_of_input()
        customers.cancel()


async def end_of_input() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
