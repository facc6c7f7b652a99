"""`durable queue` and `durable worker list`: who serves which queue, what waits there, and whether it is served at all."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import verb, verbs_of
from durable.cli._output import Output, lasted
from durable.client import Client, TaskQueueDescription, TaskQueueState, WorkerDescription

Record = dict[str, Any]

HELD = ("blocked", "quarantined", "paused")


def add(parser: argparse.ArgumentParser) -> None:
    """Give `durable queue` its verbs."""
    verbs = verbs_of(parser)
    verb(
        verbs,
        "list",
        list_queues,
        "list the task queues: whether they are served, what waits there, what is open and held",
    )
    _of_one(
        verb(
            verbs,
            "describe",
            describe_queue,
            "show one task queue, with its workers, its backlog and its rate",
        )
    )
    for name, help, more in (
        (
            "pause",
            "let workers take nothing of a task queue until it is unpaused",
            "What is started or sent waits. Workflows that workers have are handed back as soon as no code of them runs; "
            "activities that run go on to their end.",
        ),
        (
            "drain",
            "let workers take nothing of a task queue, but bring what they have to where it waits",
            "As pause, but workflows that are under way are handed back only when they wait for a timer, a message or another "
            "worker; `durable queue describe` says when none is left (owned: 0).",
        ),
        ("unpause", "let workers take work of a task queue again", ""),
    ):
        text = f"{help[0].upper()}{help[1:]}. {more}".rstrip()
        saying = verb(verbs, name, partial(say, name), help, data=False, description=text)
        _of_one(saying)
        saying.add_argument("--reason", default="", help="why, for the operators' log")


def _of_one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="QUEUE", help="the task queue")


async def queues(client: Client) -> dict[str, Record]:
    """Return the task queues that have a worker or an open workflow, or are held, by name."""
    found = {one.task_queue: _queue(one) for one in await client.list_task_queues()}
    counts = [("open", "ExecutionStatus = 'Running'"), *((hold, f"Hold = '{hold}'") for hold in HELD)]
    for column, query in counts:
        for group in (await client.count_workflows(f"{query} GROUP BY TaskQueue")).groups:
            name = group.group_values[0]
            if name not in found:
                found[name] = _queue(TaskQueueDescription(name))
            found[name][column] = group.count
    return dict(sorted(found.items()))


def _queue(one: TaskQueueDescription) -> Record:
    ages = [age for age in (one.oldest_workflow, one.oldest_activity) if age is not None]
    record: Record = asdict(one) | {
        "state": one.state.value,
        "oldest_workflow": _seconds(one.oldest_workflow),
        "oldest_activity": _seconds(one.oldest_activity),
        "oldest": _seconds(max(ages, default=None)),
    }
    return record | dict.fromkeys(("open", *HELD), 0)


def _seconds(age: timedelta | None) -> float | None:
    return None if age is None else age.total_seconds()


async def list_queues(context: Context) -> ExitCode:
    """List the task queues."""
    async with context.client() as client:
        found = await queues(client)

    async def records() -> AsyncIterator[Record]:
        for one in found.values():
            yield one

    columns = ("queue", "state", "workers", "waiting", "oldest", "open", *HELD)
    await context.out.records("queues", records(), columns, partial(_cells, context.out))
    return ExitCode.OK


def _cells(out: Output, one: Record) -> Sequence[str]:
    waiting = one["waiting_workflows"] + one["waiting_activities"]
    oldest = one["oldest"]
    return (
        one["task_queue"],
        one["state"],
        str(one["workers"]),
        str(waiting),
        "" if oldest is None else lasted(oldest) if out.terminal else f"{oldest:.3f}",
        *(str(one[name]) for name in ("open", *HELD)),
    )


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
        workers = [_worker(one) for one in await client.list_workers() if name in one.task_queues]
        record = found | {"activities_per_second": await client.task_queue_rate(name), "served_by": workers}
    shown = [
        (
            key.replace("_", " "),
            f"{lasted(one)} ago" if isinstance(one, float) and "oldest" in key else str(one),
        )
        for key, one in record.items()
        if key not in ("served_by", "oldest") and one is not None
    ]
    context.out.fields(record, shown + [("worker", f"{one['identity']} ({one['state']})") for one in workers])
    return ExitCode.OK


async def say(what: str, context: Context) -> ExitCode:
    """Pause a task queue, drain it, or let it go on."""
    options = context.options
    async with context.client() as client:
        told = getattr(client, f"{what}_task_queue")
        changed = await told(options.queue, reason=options.reason)
        state = (await client.describe_task_queue(options.queue)).state
    if not changed:
        already = "is not held" if state is TaskQueueState.OPEN else f"is {state.value} already"
        context.out.note(f"durable: task queue {options.queue!r} {already}")
    return ExitCode.OK


async def list_workers(context: Context) -> ExitCode:
    """List the workers."""
    async with context.client() as client:
        found = await client.list_workers()

    async def records() -> AsyncIterator[Record]:
        for one in found:
            yield _worker(one)

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


def _worker(worker: WorkerDescription) -> Record:
    return {
        "worker_id": worker.worker_id,
        "identity": worker.identity,
        "state": "alive" if worker.alive else "silent",
        "task_queues": [*worker.task_queues],
        "version": worker.version,
        "lease_seconds": worker.lease_duration.total_seconds(),
    }
