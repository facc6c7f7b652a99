"""What is done amid chaos: orders that are shipped (at least once), paid by a signal, and booked in the bank (exactly once)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal as signals
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from durable import Client, RetryPolicy, Signal, Worker, activity, workflow
from durable.converter import default
from durable.exceptions import StoreUnavailableError
from durable.store import open_store
from tests.scenarios.bank import transfer_by_asyncpg

LEASE = 0.5
paid: Signal[int] = Signal("chaos.paid", int)
_ledger = -1


class Job(Struct, frozen=True):
    """What a worker process is to do.

    Attributes:
        ledger: The file that its activities write to.
        limits: Options of its store.
        lease: Seconds of its lease.
        grace: Seconds that it has to end behind SIGTERM.
    """

    url: str
    ledger: str
    grace: float = 0.0
    lease: float = LEASE
    limits: dict[str, Any] = {}
    environment: dict[str, str] = {}


def open_ledger(path: str) -> None:
    """Name the file that activities of this process write to."""
    global _ledger
    _ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@activity.defn(name="chaos.ship", retry_policy=RetryPolicy(initial_interval=0.02, maximum_interval=0.2))
async def ship(number: int) -> int:
    """Leaves one line for each time that it begins: a write that survives a SIGKILL."""
    info = activity.info()
    line = {"key": info.idempotency_key, "number": number, "attempt": info.attempt, "pid": os.getpid()}
    os.write(_ledger, json.dumps(line).encode() + b"\n")
    await asyncio.sleep(0.005)
    return number


@workflow.defn(name="chaos.order")
async def order(number: int, source: str, target: str, cents: int) -> list[int]:
    shipped = await ship(number)
    await workflow.sleep(0.02)
    price = await paid.receive()
    await workflow.execute_activity(
        "bank.transfer",
        args=[number, source, target, cents],
        retry_policy=RetryPolicy(initial_interval=0.02, maximum_interval=0.2),
    )
    return [shipped, price]


def main(job: Job) -> None:
    """Work until SIGTERM."""
    os.environ.update(job.environment)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    os.dup2(os.open(f"{job.ledger}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    open_ledger(job.ledger)

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signals.SIGTERM, stop.set)
        loop.add_signal_handler(signals.SIGUSR2, tell_tasks, job)
        store = await open_store(job.url, **job.limits)
        async with (
            Client(store, namespace="default", identity="chaos", data_converter=default()) as client,
            Worker(
                client,
                workflows=[order],
                activities=[ship, transfer_by_asyncpg],
                lease_duration=job.lease,
                poll_interval=0.1,
                graceful_shutdown_timeout=job.grace,
            ),
        ):
            await stop.wait()

    while True:
        try:
            asyncio.run(work())
        except StoreUnavailableError:
            time.sleep(0.1)  # it could not begin: whoever supervises it starts it again
        else:
            os._exit(0)


def tell_tasks(job: Job) -> None:
    """Leave a note of how many tasks this process has."""
    tasks_file(job, os.getpid()).write_text(str(len(asyncio.all_tasks())))


def tasks_file(job: Job, pid: int) -> Path:
    """Where a process leaves that note when it gets SIGUSR2."""
    return Path(f"{job.ledger}.tasks-{pid}")


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """What activities did, in the order they began."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Job))
