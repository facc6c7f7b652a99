"""A worker process, and a store in it that kills the process at the n-th call of one of its methods."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import durable.client._client as client_module
import durable.store.postgres
import durable.store.sqlite  # noqa: F401 - loaded once, in the process that all others are forked from
from durable import Client, Worker
from tests.crash.programs import ACTIVITIES, SCENARIOS, WORKFLOWS, note, open_ledger
from tests.crash.scheduled import SCHEDULED
from tests.crash.wires import WIRE, Wires

WRITES = (
    "create_runs",
    "commit",
    "send",
    "terminate",
    "claim_runs",
    "claim_probationer",
    "claim_activities",
    "finish_attempts",
    "heartbeat",
    "register_worker",
    "unregister_worker",
    "bury_worker",
    "take_over",
    "write_schedule",
    "claim_schedules",
)
"""Methods of a store that write."""

LEASE = 0.5


@dataclass(frozen=True)
class Point:
    """Where a process dies: at the `number`-th call of `method`, "before" it, "after" it, or some way "into" it.

    The method `WIRE` is any write to the database, see `wires`: it dies "before" it or "amid" it.
    """

    method: str
    number: int
    when: str

    def __str__(self) -> str:
        return f"{self.when} {self.method} {self.number}"


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        drive: A scenario to start, push and await as a client of the same process; None serves until SIGTERM.
        crash_at: Where to die.
        break_after: The watchdog's patience, when not the library's.
    """

    url: str
    ledger: str
    queue: str
    log: str
    drive: str | None = None
    workflow_id: str = ""
    crash_at: Point | None = None
    serve: tuple[str, ...] | None = None
    side: bool = True
    lease: float = LEASE
    grace: float = 0.0
    break_after: float | None = None
    cached: int = 1000
    slots: int = 100
    namespace: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


class _Lost(logging.Handler):
    """Notes in the ledger that a worker was taken for dead: on a busy machine that explains what was begun again."""

    def emit(self, record: logging.LogRecord) -> None:
        if "starting over as a new one" in record.getMessage():
            note(phase="lost")


class CrashingStore:
    """A store that counts its writes, and at one of them is a process that was killed."""

    def __init__(self, store: Any, at: Point | None) -> None:
        self._store = store
        self._at = at
        self.counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return self._counted(name, method) if name in WRITES else method

    def _counted(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.counts[name] += 1
            at = self._at
            here = at is not None and (at.method, at.number) == (name, self.counts[name])
            if not here or at is None:
                return await method(*args, **kwargs)
            if at.when == "before":
                die(at)
            if at.when == "into":
                # The call's own task goes on for a few steps of the event loop; then nothing more does.
                task = asyncio.ensure_future(method(*args, **kwargs))
                for _ in range(3):
                    await asyncio.sleep(0)
                await asyncio.wait([task], timeout=0.0002)
                die(at)
            await method(*args, **kwargs)
            die(at)

        return call


def die(at: Point) -> None:
    """SIGKILL, and a line in the ledger to explain what follows."""
    note(phase="kill", point=str(at))
    os.kill(os.getpid(), signal.SIGKILL)


def main(job: Job) -> None:
    """What a process runs; it never returns to the one it was forked from."""
    log = os.open(job.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(job.environment)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    open_ledger(job.ledger)
    logging.getLogger("durable.worker").addHandler(_Lost())
    gc.unfreeze()
    wires = Wires()
    if (at := job.crash_at) is not None and at.method == WIRE:
        wires.end_at(at.number, at.when, lambda: die(at))
    try:
        asyncio.run(_main(job, wires))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    # What threads an activity left behind must not keep a process of the tests alive.
    os._exit(0)


async def _main(job: Job, wires: Wires) -> None:
    stores: list[CrashingStore] = []
    open_store: Any = client_module.open_store

    async def opened(*args: Any, **kwargs: Any) -> Any:
        stores.append(CrashingStore(await open_store(*args, **kwargs), job.crash_at))
        return stores[-1]

    client_module.open_store = opened  # type: ignore[attr-defined]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, _show_tasks)
    converter = SCENARIOS[job.drive].converter if job.drive in SCENARIOS else None
    async with (
        Client.connect(job.url, namespace=job.namespace, data_converter=converter) as client,
        contextlib.AsyncExitStack() as workers,
    ):
        if job.drive != "insurance":
            await workers.enter_async_context(_worker(client, job, job.queue, workflows=True))
        if job.side and job.drive != "insurance":
            await workers.enter_async_context(_worker(client, job, f"{job.queue}-side", workflows=False))
        note(phase="ready")
        if job.drive is None:
            await stop.wait()
        elif job.drive == "insurance":
            from tests.crash import insurance

            ends = await insurance.drive(client, job.url, job.namespace, Path(job.workflow_id), job.lease)
            note(phase="result", result=ends)
        elif job.drive in SCHEDULED:
            result = await SCHEDULED[job.drive](client, job.workflow_id, job.queue)
            note(phase="result", result=result)
        else:
            result = await SCENARIOS[job.drive].drive(client, job.workflow_id, job.queue)
            stores[0].counts[WIRE] = wires.written
            note(phase="result", result=result, workflow=job.workflow_id)
            if job.crash_at is not None and job.crash_at.method in (
                "claim_runs",
                "take_over",
                "claim_activities",
            ):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1.0)  # these go on while the worker idles
    note(phase="counts", counts=dict(stores[0].counts))


def _show_tasks() -> None:
    """Write into the log where every task stands: for a process that did not end in time."""
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
    sys.stderr.flush()


def _worker(client: Client, job: Job, queue: str, *, workflows: bool) -> Worker:
    served = [one for one in ACTIVITIES if job.serve is None or one.name in job.serve]
    worker = Worker(
        client,
        task_queue=queue,
        workflows=WORKFLOWS if workflows and job.serve is None else [],
        activities=served,
        lease_duration=job.lease,
        poll_interval=0.1,
        graceful_shutdown_timeout=job.grace,
        max_cached_workflows=job.cached,
        max_concurrent_activities=job.slots,
    )
    if job.break_after is not None:
        options: Any = worker._options
        changed = dataclasses.replace(options, break_after=job.break_after, warn_after=job.break_after / 2)
        worker._options = changed
    return worker
