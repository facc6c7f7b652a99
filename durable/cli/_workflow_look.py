"""`durable workflow list`, `count`, `show`, `describe` and `export`: what is known of workflows."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from durable._internal.instants import to_datetime
from durable.cli import _records
from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._filters import add_filter, filter_of
from durable.cli._options import duration, verb, whole
from durable.cli._output import Form, Output, iso, lasted, visible
from durable.cli._records import Record, status_of
from durable.cli._story import Line, Story
from durable.client import Client, WorkflowExecutionDescription
from durable.history import CLOSING, Event, export_history

AT_MOST = 100
"""Workflows that are listed when nobody says how many."""

LONGEST_NOTE = 100
"""Characters of a reason in a list on a terminal; `describe` and `show` have all of it."""

CLEAR = "\x1b[H\x1b[2J"
"""What empties a terminal."""

QUIET = 0.3
"""Seconds without a new event after which `show --follow` tells what has begun and not ended."""

PAGE = 1000
"""Events that are read at once."""


def add(verbs: Any) -> None:
    """Add these verbs."""
    listing = verb(verbs, "list", list_, "list workflows, the one started last first")
    add_filter(listing)
    listing.add_argument(
        "--limit",
        type=whole,
        default=AT_MOST,
        metavar="N",
        help=f"at most so many; {AT_MOST} by default, 0 for all",
    )
    listing.add_argument(
        "--watch",
        nargs="?",
        type=duration,
        const=timedelta(seconds=2),
        metavar="TIME",
        help="list them again and again, with so long between; 2s by default",
    )
    counting = verb(verbs, "count", count, "count workflows")
    add_filter(counting)
    counting.add_argument("--by", choices=["status", "type", "queue"], help="how many of each")
    show = verb(
        verbs,
        "show",
        show_,
        "tell what a workflow has done, and what it waits for",
        description="Tell what a workflow has done, and what it waits for: what it began, in that order, with what became of it. "
        "--json and --jsonl write the events as they are stored, in the form that `durable replay` reads.",
    )
    add_id(show)
    show.add_argument(
        "-f", "--follow", action="store_true", help="go on as things happen, until it has closed"
    )
    add_id(
        verb(
            verbs,
            "describe",
            describe,
            "show the state of a workflow: what holds it, what it waits for, and why",
        )
    )
    add_id(
        verb(
            verbs,
            "export",
            export,
            "write the history of a workflow as a file that `durable replay` reads",
            data=False,
        )
    )


def add_id(parser: argparse.ArgumentParser) -> None:
    """Give a command the workflow that it is about."""
    parser.add_argument("id", metavar="ID", help="the workflow's id")
    parser.add_argument(
        "--run-id", metavar="RUN", help="the run that is meant; the open or last one by default"
    )


# ---------------------------------------------------------------------- many


async def list_(context: Context) -> ExitCode:
    """List workflows, once or until interrupted."""
    options, out = context.options, context.out
    if options.watch is not None and out.form is Form.JSON:
        raise ValueError("--watch has no end to close a document with; it goes with --jsonl")
    if options.watch is not None and not options.watch:
        raise ValueError("--watch needs some time between two lists, such as 2s")
    async with context.client() as client:
        while True:
            if out.terminal and options.watch is not None:
                out.line(CLEAR)
            await _list_once(context, client)
            if options.watch is None:
                return ExitCode.OK
            out.flush()
            await asyncio.sleep(options.watch.total_seconds())


async def _list_once(context: Context, client: Client) -> None:
    options, out = context.options, context.out
    more = False

    async def records(client: Client) -> AsyncIterator[Record]:
        nonlocal more
        number = 0
        async for run in client.list_workflows(
            filter_of(options), limit=options.limit + 1 if options.limit else None
        ):
            number += 1
            if options.limit and number > options.limit:
                more = True
                return
            yield await _records.execution(run)

    columns = ("status", "id", "type", "started", "took", "note")
    count = await out.records("workflows", records(client), columns, partial(_cells, out))
    if more:
        out.note(f"only the first {options.limit} are shown; --limit 0 shows all")
    elif out.terminal:
        out.note(f"{count} workflow{'' if count == 1 else 's'} in namespace {client.namespace}")


def _cells(out: Output, run: Record) -> Sequence[str]:
    note = run["reason"].partition("\n")[0]
    took = ((run["close_time"] or datetime.now(UTC)) - run["start_time"]).total_seconds()
    return (
        run["hold"].title() or run["status"],
        run["workflow_id"],
        run["workflow_type"],
        out.when(run["start_time"]),
        lasted(took) if out.terminal else f"{took:.3f}",
        note if len(note) <= LONGEST_NOTE or not out.terminal else f"{note[:LONGEST_NOTE]}...",
    )


async def count(context: Context) -> ExitCode:
    """Count workflows."""
    options, out = context.options, context.out
    names = {"status": "ExecutionStatus", "type": "WorkflowType", "queue": "TaskQueue"}
    query = filter_of(options) or ""
    if options.by:
        query = f"{query} GROUP BY {names[options.by]}"
    async with context.client() as client:
        found = await client.count_workflows(query)
    groups = [{"value": one.group_values[0], "count": one.count} for one in found.groups]
    if out.form is not Form.TEXT:
        out.document({"count": found.count, "groups": groups})
        return ExitCode.OK
    for group in groups:
        out.line(f"{group['count']}\t{group['value']}")
    if not options.by:
        out.line(str(found.count))
    return ExitCode.OK


# ---------------------------------------------------------------------- one


async def describe(context: Context) -> ExitCode:
    """Show the state of a workflow."""
    options, out = context.options, context.out
    async with context.client() as client:
        found = await client.get_workflow_handle(options.id, run_id=options.run_id).describe()
        record = await _records.description(found)
    out.fields(record, _described(out, found, record))
    return ExitCode.OK


def _described(out: Output, run: WorkflowExecutionDescription, record: Record) -> list[tuple[str, str]]:
    attributes = {
        **record["search_attributes"],
        **{f"memo {key}": one for key, one in record["memo"].items()},
    }
    return [
        ("id", run.id),
        ("run", run.run_id),
        ("type", run.workflow_type),
        ("queue", run.task_queue),
        ("status", status_of(run)),
        ("reason", run.reason),
        ("summary", record["static_summary"] or ""),
        ("started", out.when(run.start_time)),
        ("closed", out.when(run.close_time)),
        ("owner", run.owner or ""),
        ("events", f"{run.history_length} ({run.history_size} bytes)"),
        ("parent", run.parent_id or ""),
        *((key, str(value)) for key, value in attributes.items()),
        *waits_for(out, run),
    ]


def waits_for(out: Output, run: WorkflowExecutionDescription) -> list[tuple[str, str]]:
    """Return what an open workflow waits for."""
    found: list[tuple[str, str]] = []
    for one in run.pending_activities:
        parts = [f"{one.activity_type} ({one.activity_id}): {one.state}, attempt {one.attempt}"]
        if one.next_attempt_time is not None:
            parts.append(f"due {out.when(one.next_attempt_time)}")
        if one.last_failure is not None:
            parts.append(f"last failure: {one.last_failure}")
        found.append(("activity", "; ".join([*parts, *filter(None, [one.reason, one.pause_reason])])))
    return found + [("timer", f"due {out.when(at)}") for at in run.pending_timers]


async def show_(context: Context) -> ExitCode:
    """Tell what a workflow has done."""
    options, out = context.options, context.out
    if options.follow and out.form is Form.JSON:
        raise ValueError("--follow has no end to close a document with; it goes with --jsonl")
    async with context.client() as client:
        # Not by `describe`, which reads the whole history before the first line could be told.
        run = await client.get_workflow_handle(options.id, run_id=options.run_id)._find_own()
        run_id: str | None = run.run_id
        if out.terminal:
            out.line(f"{run.workflow_id}  {out.styled(run.workflow_type, 'bold')}  run {run.run_id}")
        handle = client.get_workflow_handle(options.id, run_id=run_id)
        while run_id:
            handle = client.get_workflow_handle(options.id, run_id=run_id)
            events = handle.fetch_history_events(page_size=PAGE, wait_new_event=options.follow)
            if out.form is Form.TEXT:
                last = await _tell(out, events, options.follow)
            else:
                last = await _write(out, events, options.id, run_id, client.namespace, options.follow)
            run_id = getattr(last, "new_run_id", None) if options.follow else None
        if out.form is Form.TEXT and run.closed_at is None and not options.follow:
            if out.terminal:
                out.line("")
            out.fields({}, _now(out, await handle.describe()))
    return ExitCode.OK


def _now(out: Output, run: WorkflowExecutionDescription) -> list[tuple[str, str]]:
    shown = [
        ("now", f"{status_of(run).lower()}{': ' if run.reason else ''}{run.reason}"),
        *waits_for(out, run),
    ]
    if run.hold == "blocked":
        shown.append(
            (
                "next",
                f"deploy code that fits; then: durable workflow unblock {run.id} (or: durable workflow reset {run.id})",
            )
        )
    return shown


async def _tell(out: Output, events: AsyncIterator[Event], follow: bool) -> Any:
    """Tell a history while it is read, and return how it ended so far."""
    story = Story()
    last: Event | None = None
    first: int | None = None
    while True:
        coming = asyncio.ensure_future(_next(events))
        if follow and not (await asyncio.wait([coming], timeout=QUIET))[0]:
            for line in story.rest():
                _line(out, line, first or line.begun)
            out.flush()
        event = await coming
        if event is None:
            break
        last = event
        first = event.time if first is None else first
        for line in story.tell(event):
            _line(out, line, first)
    for line in story.rest():
        _line(out, line, first or line.begun)
    return last.data if last is not None and isinstance(last.data, CLOSING) else None


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


def _line(out: Output, line: Line, first: int) -> None:
    if not out.terminal:
        instant = iso(to_datetime(line.begun))
        out.cells((instant, line.kind, line.name, line.outcome, line.value))
        return
    at = f"+{lasted((line.begun - first) / 1_000_000)}"
    what = visible(f"{line.kind:<10} {line.name}".rstrip())
    # The outcomes stand under each other, as far as the names are short.
    outcome = out.styled(visible(line.outcome), line.style)
    value = f"-> {visible(line.value)}" if line.value else ""
    out.line("  ".join(filter(None, [f"{at:>8}  {what:<36}", outcome, value])).rstrip())


async def _write(
    out: Output, events: AsyncIterator[Event], id: str, run_id: str, namespace: str, follow: bool
) -> Any:
    """Write the events as they are stored, one document each or all in one, while they are read."""
    last: Event | None = None
    whole = out.form is Form.JSON
    if whole:
        head = json.dumps(export_history(id, run_id, namespace, [])).removesuffix("]}")
        out.line(head)
    async for event in events:
        (record,) = export_history(id, run_id, namespace, [event])["events"]
        text = json.dumps(record, ensure_ascii=False)
        out.line(f"{',' if whole and last is not None else ''}{text}")
        last = event
        if follow:
            out.flush()
    if whole:
        out.line("]}")
    return last.data if last is not None else None


async def export(context: Context) -> ExitCode:
    """Write a history as a file."""
    options = context.options
    async with context.client() as client:
        history = await client.get_workflow_handle(options.id, run_id=options.run_id).fetch_history()
    context.out.line(history.to_json())
    return ExitCode.OK
