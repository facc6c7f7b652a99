"""`durable queue` and `durable worker list`, as far as a client can tell: who serves which queue, and what is open there."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import verb, verbs_of
from durable.client import Client
from durable.store import WorkerRecord

Record = dict[str, Any]


def add(parser: argparse.ArgumentParser) -> None:
    """Give `durable queue` its verbs."""
    verbs = verbs_of(parser)
    verb(verbs, "list", list_queues, "list the task queues: their workers, and what is open and held there")
    describing = verb(verbs, "describe", describe_queue, "show one task queue, with its workers and its rate")
    describing.add_argument("queue", metavar="QUEUE", help="the task queue")


async def queues(client: Client) -> dict[str, Record]:
    """Return the task queues that have a worker or an open workflow, by name."""
    found: dict[str, Record] = {}

    def of(name: str) -> Record:
        return found.setdefault(
            name, {"task_queue": name, "workers": 0, "open": 0, "blocked": 0, "quarantined": 0, "paused": 0}
        )

    for worker in await client.store.list_workers():
        for name in worker.task_queues if alive(worker) else ():
            of(name)["workers"] += 1
    for column, query in (
        ("open", "ExecutionStatus = 'Running'"),
        ("blocked", "Hold = 'blocked'"),
        ("quarantined", "Hold = 'quarantined'"),
        ("paused", "Hold = 'paused'"),
    ):
        for group in (await client.count_workflows(f"{query} GROUP BY TaskQueue")).groups:
            of(group.group_values[0])[column] = group.count
    return dict(sorted(found.items()))


def alive(worker: WorkerRecord) -> bool:
    """Whether a worker is at work, as the database sees it."""
    return not (worker.dead or worker.dead_for_sure or worker.expired)


async def list_queues(context: Context) -> ExitCode:
    """List the task queues."""
    columns = ("task_queue", "workers", "open", "blocked", "quarantined", "paused")
    async with context.client() as client:
        found = await queues(client)

    async def records() -> AsyncIterator[Record]:
        for one in found.values():
            yield one

    def cells(one: Record) -> Sequence[str]:
        return [str(one[name]) for name in columns]

    await context.out.records("queues", records(), ("queue", *columns[1:]), cells)
    return ExitCode.OK


async def describe_queue(context: Context) -> ExitCode:
    """Show one task queue."""
    name = context.options.queue
    async with context.client() as client:
        found = (await queues(client)).get(name)
        if found is None:
            context.out.note(
                f"durable: no worker serves task queue {name!r}, and no open workflow belongs to it"
            )
            return ExitCode.NOT_FOUND
        workers = [_record(one) for one in await client.store.list_workers() if name in one.task_queues]
        record = found | {"activities_per_second": await client.task_queue_rate(name), "served_by": workers}
    shown = [
        (key.replace("_", " "), str(one))
        for key, one in record.items()
        if key != "served_by" and one is not None
    ]
    context.out.fields(record, shown + [("worker", f"{one['identity']} ({one['state']})") for one in workers])
    return ExitCode.OK


async def list_workers(context: Context) -> ExitCode:
    """List the workers."""
    async with context.client() as client:
        found = await client.store.list_workers()

    async def records() -> AsyncIterator[Record]:
        for one in found:
            yield _record(one)

    def cells(one: Record) -> Sequence[str]:
        return (
            one["state"],
            one["identity"],
            ",".join(one["task_queues"]),
            one["version"] or "",
            one["worker_id"],
        )

    await context.out.records("workers", records(), ("state", "identity", "queues", "version", "id"), cells)
    return ExitCode.OK


def _record(worker: WorkerRecord) -> Record:
    return {
        "worker_id": worker.worker_id,
        "identity": worker.identity,
        "state": "alive" if alive(worker) else "silent",
        "task_queues": [*worker.task_queues],
        "version": worker.version or None,
        "lease_seconds": worker.lease / 1_000_000,
    }
