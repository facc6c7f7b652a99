"""`durable replay`: whether what is under way would go on under the code as it is now."""

from __future__ import annotations

import argparse
import gzip
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from durable.cli._context import Context, load_converter
from durable.cli._exits import ExitCode
from durable.cli._options import finish, whole
from durable.cli._output import Form
from durable.client import WorkflowHistory
from durable.testing.replay import OPEN, ReplayReport, replay_all, replay_open_runs
from durable.worker import Replayer


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Replay the open runs of a database, or histories in files, through the code as it is now. Nothing is written and "
        "no activity runs. The exit code is 7 when one does not replay."
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="histories that were exported")
    parser.add_argument("-q", "--query", help=f"which runs of the database, a list filter; {OPEN} by default")
    parser.add_argument(
        "--sample", type=whole, metavar="N", help="so many of them, by chance; all by default"
    )
    parser.add_argument("--seed", type=whole, help="what chance begins with, to choose the same again")
    parser.add_argument(
        "--strict", action="store_true", help="an argument of an activity that has changed counts, too"
    )
    finish(parser, replay, app=True)


async def replay(context: Context) -> ExitCode:
    """Replay, and say what does not."""
    options, out = context.options, context.out
    if context.load() is None:
        raise ValueError("say which code to replay: -A MODULE, a module that defines the workflows")
    with out.progress("replayed") as progress:

        def shown(report: ReplayReport) -> None:
            progress.at(report.replayed, None)

        if options.files:
            if options.query is not None or options.sample is not None or options.seed is not None:
                raise ValueError(
                    "--query, --sample and --seed choose from a database; files are replayed all"
                )
            converter = context.settings.get("converter")
            replayer = Replayer(
                data_converter=None if converter is None else load_converter(converter),
                strict=options.strict,
            )
            report = await replay_all(_read(options.files), replayer, progress=shown)
        else:
            async with context.client() as client:
                report = await replay_open_runs(
                    client,
                    options.query or OPEN,
                    replayer=Replayer(data_converter=client.data_converter, strict=options.strict),
                    sample=options.sample,
                    seed=options.seed,
                    progress=shown,
                )
    if out.form is Form.TEXT:
        out.line(str(report))
    else:
        out.document(_record(report))
    return ExitCode.OK if report.ok else ExitCode.NONDETERMINISM


async def _read(files: Sequence[Path]) -> AsyncIterator[WorkflowHistory]:
    for file in files:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
        # A file that `durable gc --export` wrote has a history on each line.
        for text in data.splitlines() if ".jsonl" in file.suffixes else [data]:
            yield WorkflowHistory.from_json(file.stem, text)


def _record(report: ReplayReport) -> dict[str, object]:
    mismatches = [
        {
            "workflow_type": one.workflow_type,
            "error": type(one.error).__name__,
            "message": str(one.error),
            "workflow_ids": one.workflow_ids,
        }
        for one in report.mismatches
    ]
    return {"replayed": report.replayed, "events": report.events, "mismatches": mismatches}
