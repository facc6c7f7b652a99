"""`durable workflow signal`, `cancel`, `terminate`, `reset`, `pause`, `unpause`, `unblock` and `delete`: of one, or of many."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, NamedTuple

from durable._internal.ids import uuid7
from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._filters import add_filter, filter_of
from durable.cli._options import add_inputs, ask_before, confirm, input_of, value, verb, whole
from durable.cli._output import Form
from durable.cli._workflow_tell import Handle, message
from durable.client import BatchProgress, Client

One = Callable[[Context, Client, Handle], Awaitable[Any]]
Many = Callable[[Context, Client, str, Any], Awaitable[BatchProgress]]

FOR_GOOD = ("terminate", "delete")
"""What cannot be undone, and is asked about for one workflow, too."""


def add(verbs: Any) -> None:
    """Add these verbs."""
    for name, operation in OPERATIONS.items():
        parser = verb(verbs, name, _runner(name, operation), operation.help, app=name == "signal")
        if name == "signal":
            parser.usage = "durable workflow signal (ID | --query FILTER) NAME [JSON ...] [options]"
            parser.add_argument(
                "words", nargs="+", metavar="ID NAME JSON", help="which workflow, the signal, its arguments"
            )
            add_inputs(parser)
        else:
            parser.add_argument(
                "id", nargs="?", metavar="ID", help="the workflow's id; or say which with --query"
            )
            parser.add_argument("--reason", default="", help="why, for people")
        parser.add_argument(
            "--run-id", metavar="RUN", help="the run that is meant; the open or last one by default"
        )
        if name == "reset":
            _add_reset(parser)
        many = parser.add_argument_group("many at once")
        add_filter(many)
        add_batch(many)


def add_batch(parser: argparse._ActionsContainer) -> None:
    """Give a command the options of what is done to many."""
    parser.add_argument("--dry-run", action="store_true", help="only say how many there are")
    ask_before(parser)
    parser.add_argument("--per-second", type=whole, metavar="N", help="at most so many in a second")
    parser.add_argument("--batch-id", metavar="ID", help="go on with a batch that was interrupted")


def _add_reset(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--event", type=whole, metavar="N", help="the last event that is kept; for one workflow only"
    )
    where.add_argument(
        "--to",
        choices=["last_good_task", "first_task"],
        help="the task that runs again: the last one that was completed (the default), or the first",
    )
    parser.add_argument("--exclude-signals", action="store_true", help="do not send later signals again")
    parser.add_argument("--exclude-updates", action="store_true", help="do not send later updates again")


def _runner(name: str, operation: Operation) -> Callable[[Context], Awaitable[ExitCode]]:
    async def run(context: Context) -> ExitCode:
        options = context.options
        query = filter_of(options)
        if name == "signal":
            _take_apart(options, query)
        if (options.id is None) == (query is None):
            raise ValueError("say which: either an ID, or --query (or --type, --status, --since) for many")
        if query is not None:
            if options.run_id is not None:
                raise ValueError("--run-id goes with an ID")
            return await carry_out(context, name, operation.many, query)
        for option in ("dry_run", "per_second", "batch_id"):
            if getattr(options, option):
                raise ValueError(f"--{option.replace('_', '-')} goes with --query")
        if name in FOR_GOOD:
            confirm(context, f"{name} workflow {options.id!r}?")
        async with context.client() as client:
            found = await operation.one(
                context, client, client.get_workflow_handle(options.id, run_id=options.run_id)
            )
        if found is not None:
            _say(context, found)
        return ExitCode.OK

    return run


def _take_apart(options: Any, query: str | None) -> None:
    """Tell the words of a signal apart: which workflow it is for is the first, unless a filter says so."""
    words: list[str] = [*options.words]
    options.id = words.pop(0) if query is None else None
    if not words:
        raise ValueError("say which signal: durable workflow signal ID NAME [JSON ...]")
    if query is not None and options.app is not None:
        raise ValueError("-A goes with an ID: the workflows of a filter may be of several types")
    options.name = words.pop(0)
    try:
        options.input = [value(one) for one in words]
    except argparse.ArgumentTypeError as error:
        raise ValueError(str(error)) from None


def _say(context: Context, found: dict[str, Any]) -> None:
    if context.out.form is Form.TEXT:
        context.out.line("\t".join(map(str, found.values())))
    else:
        context.out.document(found)


async def carry_out(context: Context, name: str, many: Many, query: str) -> ExitCode:
    """Do something to all workflows that a filter finds, or count them."""
    options, out = context.options, context.out
    batch_id = options.batch_id or uuid7()
    async with context.client() as client:
        counted = await many(context, client, query, {"dry_run": True})
        if options.dry_run:
            _say(context, {"total": counted.total})
            return ExitCode.OK
        confirm(context, f"{name} {counted.total} workflows?")
        with out.progress(name) as progress:
            try:
                done = await many(
                    context,
                    client,
                    query,
                    {"batch_id": batch_id, "per_second": options.per_second, "on_progress": progress.batch},
                )
            except BaseException:
                out.note(
                    f"interrupted; it goes on with the same options and --query {query!r} --batch-id {batch_id}"
                )
                raise
    if out.form is Form.TEXT:
        out.line(f"{done.done} done, {done.skipped} skipped, {done.failed} failed (batch {batch_id})")
        for error in done.errors:
            out.note(f"{error.id}: {error.message}")
    else:
        out.document(asdict(done))
    return ExitCode.FAILED if done.failed else ExitCode.OK


# ---------------------------------------------------------------------- what is done, to one and to many


async def _signal(context: Context, client: Client, handle: Handle) -> None:
    _, args = await message(context, client, "signals")
    await handle.signal(context.options.name, args=args)


async def _signal_many(context: Context, client: Client, query: str, how: Any) -> BatchProgress:
    return await client.signal_workflows(query, context.options.name, args=input_of(context.options), **how)


async def _reset(context: Context, client: Client, handle: Handle) -> dict[str, Any]:
    options = context.options
    made = await handle.reset(
        event_id=options.event,
        to=None if options.event is not None else options.to or "last_good_task",
        reason=options.reason,
        exclude_signals=options.exclude_signals,
        exclude_updates=options.exclude_updates,
    )
    return {"workflow_id": handle.id, "run_id": made.result_run_id}


async def _reset_many(context: Context, client: Client, query: str, how: Any) -> BatchProgress:
    options = context.options
    if options.event is not None:
        raise ValueError("--event is for one workflow; say --to for many")
    return await client.reset_workflows(
        query,
        to=options.to or "last_good_task",
        reason=options.reason,
        exclude_signals=options.exclude_signals,
        exclude_updates=options.exclude_updates,
        **how,
    )


class Operation(NamedTuple):
    """What can be done to workflows.

    Attributes:
        help: What it is, in a line.
        one: Does it to one, and returns what is to be told.
        many: Does it to all that a filter finds.
    """

    help: str
    one: One
    many: Many


def _plain(name: str, help: str) -> Operation:
    """Return an operation whose only option is a reason."""

    async def one(context: Context, client: Client, handle: Handle) -> None:
        await getattr(handle, name)(reason=context.options.reason)

    async def many(context: Context, client: Client, query: str, how: Any) -> BatchProgress:
        done: BatchProgress = await getattr(client, f"{name}_workflows")(
            query, reason=context.options.reason, **how
        )
        return done

    return Operation(help, one, many)


OPERATIONS = {
    "signal": Operation("send a signal", _signal, _signal_many),
    "cancel": _plain("cancel", "ask workflows to cancel themselves"),
    "terminate": _plain("terminate", "end workflows at once, without asking their code"),
    "reset": Operation("let workflows go on from an earlier point, as another run", _reset, _reset_many),
    "pause": _plain("pause", "stop workflows where they are, until unpause"),
    "unpause": _plain("unpause", "let paused workflows go on"),
    "unblock": _plain("unblock", "try blocked or quarantined workflows again at once, after a deploy"),
    "delete": _plain("delete", "remove closed workflows for good, with their histories"),
}
"""The verbs of this module."""
