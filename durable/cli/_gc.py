"""`durable gc`: old histories are removed."""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime
from typing import Any

from durable._engine.records import RunStatus
from durable._engine.retention import OverdueRun
from durable._internal.instants import from_datetime
from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import confirm, duration, finish
from durable.cli._output import Form, iso
from durable.cli._workflow_operate import add_batch, carry_out
from durable.client import BatchProgress, Client, HistoryFiles
from durable.client._retention import BATCH, EVENTS, Sweeper, at_once


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Remove workflows that closed long ago for good, with their histories, some at a time, so that nobody waits for it: those "
        "that have been kept for as long as `durable retention` says, or those that --older-than or --before says. --export keeps "
        "their histories in files before."
    )
    parser.add_argument(
        "--older-than", type=duration, metavar="TIME", help="those that closed so long ago: 30d, 12h"
    )
    parser.add_argument("--before", metavar="TIME", help="those that closed before this instant, in ISO 8601")
    parser.add_argument("-q", "--query", metavar="FILTER", help="of these only what a list filter finds")
    parser.add_argument(
        "--export",
        metavar="DIRECTORY",
        help="write the histories there before, in files of JSON lines, compressed",
    )
    parser.add_argument("--plain", action="store_true", help="do not compress these files")
    add_batch(parser)
    finish(parser, gc)


async def gc(context: Context) -> ExitCode:
    """Remove them."""
    options = context.options
    if options.older_than is not None and options.before is not None:
        raise ValueError("say how old: either --older-than, such as 30d, or --before")
    if options.plain and options.export is None:
        raise ValueError("--plain goes with --export")
    archive = None if options.export is None else HistoryFiles(options.export, compress=not options.plain)
    before: str | None = options.before
    if options.older_than is not None:
        before = iso(datetime.now(UTC) - options.older_than)
    if before is None:
        for option in ("query", "dry_run", "per_second", "batch_id"):
            if getattr(options, option):
                raise ValueError(f"--{option.replace('_', '-')} goes with --older-than or --before")
        return await _as_set(context, archive)
    query = f"CloseTime < '{before}'" + (f" AND ({options.query})" if options.query else "")
    if archive is None:
        return await carry_out(context, "delete", _delete, query)
    return await _exported(context, archive, query)


async def _delete(context: Context, client: Client, query: str, how: Any) -> BatchProgress:
    return await client.delete_workflows(query, reason="gc", **how)


async def _as_set(context: Context, archive: HistoryFiles | None) -> ExitCode:
    """Remove what has been kept for long enough, as a worker would whose turn it is."""
    removed = 0
    async with context.client() as client:
        if not await client.retention():
            raise ValueError(
                "nothing is set: say how long workflows are kept, durable retention set 30d; or say --older-than"
            )
        sweeper = Sweeper(client.store, client.namespace, archive)
        with context.out.progress("remove") as progress:
            while (found := await sweeper.sweep(0)) is not None:
                removed += max(found, 0)
                progress.at(removed, None)
    return _told(context, removed)


async def _exported(context: Context, archive: HistoryFiles, query: str) -> ExitCode:
    """Remove what a filter finds, each batch once its histories are in a file."""
    options, out = context.options, context.out
    if options.batch_id is not None:
        raise ValueError("--batch-id does not go with --export: called again, it goes on with what is left")
    removed = 0
    async with context.client() as client:
        total = (await client.count_workflows(query)).count
        if options.dry_run:
            return _told(context, total)
        confirm(context, f"export and delete {total} workflows?")
        sweeper = Sweeper(client.store, client.namespace, archive)
        with out.progress("remove") as progress:
            while runs := await _some(client, query):
                begun = time.monotonic()
                await archive([await sweeper.line(run) for run in runs])
                while await client.store.retire([run.run_id for run in runs], events=EVENTS, pause=None):
                    pass
                removed += len(runs)
                progress.at(removed, total)
                if options.per_second:
                    await asyncio.sleep(max(0.0, len(runs) / options.per_second - time.monotonic() + begun))
    return _told(context, removed)


async def _some(client: Client, query: str) -> list[OverdueRun]:
    """Return runs that a filter finds, as many as make one batch."""
    found = [
        OverdueRun(
            run.run_id,
            run.id,
            run.workflow_type,
            RunStatus[run.status.name],
            from_datetime(run.close_time, "close_time"),
            run.history_length,
        )
        async for run in client.list_workflows(query, limit=BATCH)
        if run.close_time is not None
    ]
    return at_once(found)


def _told(context: Context, number: int) -> ExitCode:
    if context.out.form is Form.TEXT:
        context.out.line(str(number))
    else:
        context.out.document({"total": number})
    return ExitCode.OK
