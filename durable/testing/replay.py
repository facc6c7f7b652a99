"""Replay of what is in a database through the code as it is now: the check before a deploy.

As a function, `replay_open_runs`, and as a command:

    python -m durable.testing.replay postgresql://... --import shop.workflows [--sample 1000] [--strict]

Nothing is written to the database and no activity runs. The command exits with 0 when every history replays, with 7 when one
does not, with 2 when it was called wrongly and with 6 when the database cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TextIO

from durable.client import Client, WorkflowHistory
from durable.exceptions import (
    DurableError,
    SchemaError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from durable.history import WorkflowExecutionStarted
from durable.worker import Replayer

__all__ = ["Mismatch", "ReplayReport", "main", "replay_open_runs"]

OPEN = "ExecutionStatus = 'Running'"
"""The runs that go on under the new code."""

AHEAD = 20
"""Histories that are read while others are replayed."""

SHOWN = 5
"""Workflows that a report names for each cause."""

OK, USAGE, UNREACHABLE, MISMATCH = 0, 2, 6, 7


@dataclass
class Mismatch:
    """Histories that do not replay for the same reason.

    Attributes:
        workflow_type: Their workflow.
        error: Why the first of them does not replay.
        workflow_ids: All of them.
    """

    workflow_type: str
    error: Exception
    workflow_ids: list[str] = field(default_factory=list[str])


@dataclass
class ReplayReport:
    """What came of replaying many histories. Its text is for people.

    Attributes:
        replayed: How many histories were replayed.
        events: How many events they have together.
        mismatches: Those that do not replay, by cause, the most frequent first.
    """

    replayed: int = 0
    events: int = 0
    mismatches: list[Mismatch] = field(default_factory=list[Mismatch])

    @property
    def ok(self) -> bool:
        """Whether all of them replay."""
        return not self.mismatches

    def __str__(self) -> str:
        bad = sum(len(one.workflow_ids) for one in self.mismatches)
        lines = [f"{self.replayed} histories with {self.events} events: {bad or 'none'} do not replay"]
        for one in self.mismatches:
            more = f" and {len(one.workflow_ids) - SHOWN} more" if len(one.workflow_ids) > SHOWN else ""
            lines += [
                "",
                f"{len(one.workflow_ids)} of {one.workflow_type}: {', '.join(one.workflow_ids[:SHOWN])}{more}",
                *(f"    {line}" for line in f"{type(one.error).__name__}: {one.error}".splitlines()),
            ]
        return "\n".join(lines)


async def replay_open_runs(
    client: Client,
    query: str = OPEN,
    *,
    replayer: Replayer | None = None,
    sample: int | None = None,
    seed: int | None = None,
    progress: Callable[[ReplayReport], None] = lambda report: None,
) -> ReplayReport:
    """Replay the runs that a filter finds through the code as it is now, and tell which do not replay, by cause.

    Args:
        client: Whose database; nothing is written to it.
        query: Which runs, in the language of list filters; all that are open by default.
        replayer: With the workflows, the data converter and the interceptors of the workers; with the client's converter and
            all workflows that are defined in this process by default.
        sample: How many of them are chosen by chance; all by default.
        seed: What chance begins with, to choose the same again.
        progress: Called behind every history with the report so far.

    Raises:
        FilterError: The filter is none.
        StoreUnavailableError: The database is away.
    """
    replayer = replayer or Replayer(data_converter=client.data_converter)
    report, causes = ReplayReport(), dict[tuple[str, str], Mismatch]()
    async with replayer.workflow_replay_iterator(_histories(client, query, sample, seed)) as results:
        async for result in results:
            report.replayed += 1
            report.events += len(result.history.events)
            if (error := result.replay_failure) is not None:
                name = _type_of(result.history)
                cause = causes.setdefault((name, _cause(error)), Mismatch(name, error))
                cause.workflow_ids.append(result.history.workflow_id)
                report.mismatches = sorted(causes.values(), key=lambda one: -len(one.workflow_ids))
            progress(report)
    return report


async def _histories(
    client: Client, query: str, sample: int | None, seed: int | None
) -> AsyncIterator[WorkflowHistory]:
    runs = [(run.id, run.run_id) async for run in client.list_workflows(query)]
    if sample is not None and sample < len(runs):
        runs = random.Random(seed).sample(runs, sample)
    for start in range(0, len(runs), AHEAD):
        handles = [
            client.get_workflow_handle(id, run_id=run_id) for id, run_id in runs[start : start + AHEAD]
        ]
        for found in await asyncio.gather(*[one.fetch_history() for one in handles], return_exceptions=True):
            if isinstance(found, StoreUnavailableError) or not isinstance(
                found, BaseException | WorkflowHistory
            ):
                raise found
            if isinstance(found, WorkflowHistory):
                yield found  # one that cannot be found was deleted meanwhile


def _type_of(history: WorkflowHistory) -> str:
    first = history.events[0].data
    return first.workflow_type if isinstance(first, WorkflowExecutionStarted) else "?"


def _cause(error: Exception) -> str:
    """What errors of one cause have in common: their text without numbers, which count events, and ids of runs."""
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "#", str(error))
    return f"{type(error).__name__} {re.sub(r'[0-9]+', '#', text)}"


# --- the command ---


def main(
    arguments: Sequence[str] | None = None, *, out: TextIO = sys.stdout, err: TextIO = sys.stderr
) -> int:
    """Run the command and return its exit code; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m durable.testing.replay",
        description="Replay the open runs of a database through the code as it is now; nothing is written.",
    )
    parser.add_argument("url", help="the database")
    parser.add_argument("--namespace")
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        required=True,
        metavar="MODULE",
        help="a module that defines workflows; several times for several",
    )
    parser.add_argument("--query", default=OPEN, help=f"which runs, a list filter; {OPEN!r} by default")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of them, by chance; all by default")
    parser.add_argument("--seed", type=int, help="what chance begins with")
    parser.add_argument(
        "--strict", action="store_true", help="an argument of an activity that changed is a mismatch, too"
    )
    parser.add_argument(
        "--converter",
        metavar="MODULE:NAME",
        help="the data converter of the workers; the default one by default",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    options = parser.parse_args(arguments)
    try:
        report = asyncio.run(_replay(options, err))
    except (ImportError, AttributeError, StoreConfigurationError, SchemaError, ValueError) as error:
        print(error, file=err)
        return USAGE
    except StoreUnavailableError as error:
        print(error, file=err)
        return UNREACHABLE
    except DurableError as error:
        print(error, file=err)
        return MISMATCH
    print(report, file=out)
    return OK if report.ok else MISMATCH


async def _replay(options: argparse.Namespace, err: TextIO) -> ReplayReport:
    sys.path.insert(0, "")
    for name in options.modules:
        import_module(name)
    converter: Any = None
    if options.converter is not None:
        module, _, name = options.converter.partition(":")
        converter = getattr(import_module(module), name)
    async with Client.connect(
        options.url, namespace=options.namespace, data_converter=converter, migrate=False
    ) as client:
        return await replay_open_runs(
            client,
            options.query,
            replayer=Replayer(data_converter=client.data_converter, strict=options.strict),
            sample=options.sample,
            seed=options.seed,
            progress=(lambda report: None) if options.quiet else lambda report: _show(report, err),
        )


def _show(report: ReplayReport, err: TextIO) -> None:
    if err.isatty():
        bad = sum(len(one.workflow_ids) for one in report.mismatches)
        print(f"\r{report.replayed} histories, {bad} do not replay", end="", file=err, flush=True)


if __name__ == "__main__":
    sys.exit(main())
