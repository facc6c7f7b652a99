"""`durable debug`: a history told task by task, or run again under a debugger."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from durable.cli._context import Context, load_converter
from durable.cli._exits import ExitCode
from durable.cli._options import finish, whole
from durable.cli._output import Form
from durable.client import WorkflowHistory
from durable.testing import ReplayStep, debug, replay_steps
from durable.worker import Replayer


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Replay a run under pdb, or the debugger of PYTHONBREAKPOINT, stopping in each task where the code goes on; or, with "
        "--print, tell all of it. Nothing is written and no activity runs. The exit code is 7 when it does not replay."
    )
    parser.add_argument(
        "history",
        metavar="HISTORY",
        help="a history that was exported, or the id of a workflow in the database",
    )
    parser.add_argument("--run-id", help="which run of the workflow; the latest by default")
    parser.add_argument(
        "--event", type=whole, default=1, metavar="N", help="begin with the task of this event"
    )
    parser.add_argument("--print", action="store_true", help="tell what each task did, and wait for nobody")
    finish(parser, explore, app=True)


async def explore(context: Context) -> ExitCode:
    """Replay, and say where the code was."""
    options, out = context.options, context.out
    if context.load() is None:
        raise ValueError("say which code to replay: -A MODULE, a module that defines the workflow")
    if out.form is not Form.TEXT and not options.print:
        raise ValueError("--json and --jsonl go with --print")
    history = await _history(context)
    converter = context.settings.get("converter")
    replayer = Replayer(data_converter=None if converter is None else load_converter(converter))
    if not 1 <= options.event <= len(history.events):
        raise ValueError(
            f"there is no event {options.event}: the history has events 1 to {len(history.events)}"
        )
    if not options.print:
        debug(history, event=options.event, replayer=replayer)
        return ExitCode.OK
    steps = [one for one in replay_steps(history, replayer=replayer) if one.last >= options.event]
    if out.form is Form.JSON:
        out.document({"steps": [_record(one) for one in steps]})
    for one in steps:
        if out.form is Form.TEXT:
            out.line(f"{one}\n")
        elif out.form is Form.JSONL:
            out.document(_record(one))
    return ExitCode.NONDETERMINISM if steps[-1].failure is not None else ExitCode.OK


def _from_file(name: str) -> WorkflowHistory | None:
    file = Path(name)
    is_file = file.suffix == ".json" or file.is_file()
    return WorkflowHistory.from_json(file.stem, file.read_bytes()) if is_file else None


async def _history(context: Context) -> WorkflowHistory:
    options = context.options
    if (found := _from_file(options.history)) is not None:
        return found
    async with context.client() as client:
        return await client.get_workflow_handle(options.history, run_id=options.run_id).fetch_history()


def _record(step: ReplayStep) -> dict[str, object]:
    record = asdict(step)
    record["inputs"] = [{"event": event, "text": text} for event, text in step.inputs]
    record["failure"] = None if step.failure is None else f"{type(step.failure).__name__}: {step.failure}"
    return record
