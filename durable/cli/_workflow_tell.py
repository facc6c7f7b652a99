"""`durable workflow start`, `execute`, `result`, `signal`, `query`, `update` and `stack`: what workflows are told and asked."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from durable._replay._queries import STACK_TRACE
from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import add_input, duration, input_of, value, verb
from durable.cli._output import Form, plain
from durable.cli._workflow_look import add_id
from durable.client import Client, WorkflowHandle
from durable.client._query import definition_for
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.converter import DataConverter
from durable.workflow._definition import MessageDefinition, WorkflowDefinition

Handle = WorkflowHandle[Any, Any]

CONFLICT = {
    "fail": WorkflowIDConflictPolicy.FAIL,
    "use-existing": WorkflowIDConflictPolicy.USE_EXISTING,
    "terminate-existing": WorkflowIDConflictPolicy.TERMINATE_EXISTING,
}
REUSE = {
    "allow-duplicate": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    "allow-duplicate-failed-only": WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    "reject-duplicate": WorkflowIDReusePolicy.REJECT_DUPLICATE,
}

OF_STARTS = (
    "task_queue",
    "execution_timeout",
    "run_timeout",
    "start_delay",
    "cron_schedule",
    "static_summary",
)
"""Options of a start that are passed on as they are, where they are given."""


def add(verbs: Any) -> None:
    """Add these verbs."""
    _add_start(verb(verbs, "start", start, "start a workflow, and print its id and run", app=True))
    executing = verb(
        verbs, "execute", execute, "start a workflow, wait for its end, and print its result", app=True
    )
    _add_start(executing)
    _add_timeout(executing, "how long to wait for the result; the workflow goes on")
    waiting = verb(verbs, "result", result, "wait for the end of a workflow, and print its result")
    add_id(waiting)
    _add_timeout(waiting, "how long to wait; the workflow goes on")
    asking = verb(verbs, "query", query, "ask a workflow, open or closed, and print its answer", app=True)
    _add_message(asking, "query")
    _add_timeout(asking, "how long to wait for the answer; 10s by default")
    updating = verb(
        verbs, "update", update, "send an update, wait for its outcome, and print its result", app=True
    )
    _add_message(updating, "update")
    updating.add_argument(
        "--update-id", metavar="ID", help="what makes sending it again return the outcome of the first"
    )
    _add_timeout(updating, "how long to wait for the outcome; the update goes on")
    stacks = verb(verbs, "stack", stack, "show where the code of a workflow stands", app=True, data=False)
    add_id(stacks)
    _add_timeout(stacks, "how long to wait for the answer; 10s by default")


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("type", metavar="TYPE", help="the workflow's type")
    add_input(parser, ". With -A they are held against the workflow's types")
    parser.add_argument(
        "--id", help="the workflow's id, which makes starting it again harmless; a fresh one by default"
    )
    parser.add_argument(
        "-q", "--task-queue", metavar="QUEUE", help="whose workers run it; 'default' by default"
    )
    parser.add_argument(
        "--execution-timeout", type=duration, metavar="TIME", help="the longest that it may take"
    )
    parser.add_argument(
        "--run-timeout", type=duration, metavar="TIME", help="the longest that one run may take"
    )
    parser.add_argument("--start-delay", type=duration, metavar="TIME", help="how long until it begins")
    parser.add_argument(
        "--cron", dest="cron_schedule", metavar="EXPRESSION", help="when it runs, again and again"
    )
    parser.add_argument("--summary", dest="static_summary", metavar="TEXT", help="a line for people")
    parser.add_argument(
        "--memo",
        action="append",
        default=[],
        type=_entry,
        metavar="KEY=JSON",
        help="a value for people; several times",
    )
    parser.add_argument(
        "--id-conflict", choices=[*CONFLICT], help="what to do when the id is open; fail by default"
    )
    parser.add_argument(
        "--id-reuse", choices=[*REUSE], help="whether an id may be used again; it may by default"
    )


def _add_timeout(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--timeout", type=duration, metavar="TIME", help=help)


def _add_message(parser: argparse.ArgumentParser, kind: str) -> None:
    add_id(parser)
    parser.add_argument("name", metavar="NAME", help=f"the name of the {kind}")
    add_input(parser)


def _entry(text: str) -> tuple[str, Any]:
    name, equals, given = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=JSON")
    return name, value(given)


# ---------------------------------------------------------------------- starting, and waiting


async def start(context: Context) -> ExitCode:
    """Start a workflow."""
    async with context.client() as client:
        handle = await _started(context, client)
    record = {"workflow_id": handle.id, "run_id": handle.result_run_id}
    if context.out.form is Form.TEXT:
        context.out.line(f"{handle.id}\t{handle.result_run_id}")
    else:
        context.out.document(record)
    return ExitCode.OK


async def execute(context: Context) -> ExitCode:
    """Start a workflow and print its result."""
    async with context.client() as client:
        handle = await _started(context, client)
        context.out.note(f"started {handle.id}")
        return _print(context, await handle.result(timeout=context.options.timeout))


async def result(context: Context) -> ExitCode:
    """Print the result of a workflow."""
    options = context.options
    async with context.client() as client:
        handle = client.get_workflow_handle(options.id, run_id=options.run_id)
        return _print(context, await handle.result(timeout=options.timeout))


async def _started(context: Context, client: Client) -> Handle:
    options = context.options
    more: dict[str, Any] = {
        name: getattr(options, name) for name in OF_STARTS if getattr(options, name) is not None
    }
    if "task_queue" not in more and (queue := context.settings.get("task_queue")):
        more["task_queue"] = queue
    if options.memo:
        more["memo"] = dict(options.memo)
    if options.id_conflict:
        more["id_conflict_policy"] = CONFLICT[options.id_conflict]
    if options.id_reuse:
        more["id_reuse_policy"] = REUSE[options.id_reuse]
    known = _definition(context, options.type, more.get("task_queue", "default"))
    args: Sequence[Any] = input_of(options)
    if known is not None:
        known.parameters.bind(tuple(args), {})
        args = as_types(client.data_converter, args, known.arg_types, f"workflow {options.type}")
        if "task_queue" not in more and known.options.task_queue:
            more["task_queue"] = known.options.task_queue
    return await client.start_workflow(str(options.type), args=args, id=options.id, **more)


def _definition(context: Context, workflow_type: str, task_queue: str) -> WorkflowDefinition | None:
    """Return the code of a workflow, where the application is named."""
    if context.settings.get("app") is None:
        return None
    known = definition_for(workflow_type, task_queue)
    if known is None:
        raise ValueError(f"{context.settings.get('app')} has no workflow {workflow_type!r}")
    return known


def as_types(
    converter: DataConverter, given: Sequence[Any], types: Sequence[Any] | None, what: str
) -> list[Any]:
    """Return values of JSON as what the code takes.

    Raises:
        ConversionError: One is not of its type.
    """
    if types is None:
        return [*given]
    payloads = converter.to_payloads(given, path=what)
    return converter.from_payloads(payloads, [*types][: len(payloads)], path=what)


def _print(context: Context, found: Any) -> ExitCode:
    """Print a value: a text as it is, unless JSON is asked for."""
    if context.out.form is Form.TEXT and isinstance(found, str):
        context.out.line(found)
    elif context.out.form is Form.TEXT:
        context.out.line(json.dumps(plain(found), ensure_ascii=False))
    else:
        context.out.document({"result": found})
    return ExitCode.OK


# ---------------------------------------------------------------------- messages


async def query(context: Context) -> ExitCode:
    """Ask a workflow."""
    options = context.options
    async with context.client() as client:
        handle, args = await message(context, client, "queries")
        return _print(context, await handle.query(options.name, args=args, rpc_timeout=options.timeout))


async def update(context: Context) -> ExitCode:
    """Send an update and print its result."""
    options = context.options
    async with context.client() as client:
        handle, args = await message(context, client, "updates")
        found = await handle.execute_update(
            options.name, args=args, id=options.update_id, rpc_timeout=options.timeout
        )
        return _print(context, found)


async def message(context: Context, client: Client, kind: str) -> tuple[Handle, list[Any]]:
    """Return the workflow that a message is for, and its arguments, held against the code where that is at hand."""
    options = context.options
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    args = input_of(options)
    if context.settings.get("app") is None:
        return handle, args
    run = await handle.describe()
    known = _definition(context, run.workflow_type, run.task_queue)
    defined: Mapping[str | None, MessageDefinition] = getattr(known, kind)
    if options.name in defined:  # others may be there by `workflow.set_handler`, or as `Signal`
        args = as_types(
            client.data_converter, args, defined[options.name].arg_types, f"{kind} {options.name}"
        )
    return handle, args


async def stack(context: Context) -> ExitCode:
    """Show where the code stands."""
    options = context.options
    async with context.client() as client:
        handle = client.get_workflow_handle(options.id, run_id=options.run_id)
        context.out.line(str(await handle.query(STACK_TRACE, rpc_timeout=options.timeout)).rstrip())
    return ExitCode.OK
