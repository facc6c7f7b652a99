"""Replay of what is in a database through the code as it is now: the check before a deploy.

The command `durable replay` is the same for a shell. Nothing is written to the database and no activity runs.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from durable.client import Client, WorkflowHistory
from durable.exceptions import HistoryCorruptError, UnknownEventError, WorkflowNotFoundError
from durable.history import WorkflowExecutionStarted
from durable.worker import Replayer

__all__ = ["Mismatch", "ReplayReport", "replay_all", "replay_open_runs"]

OPEN = "ExecutionStatus = 'Running'"
"""The runs that go on under the new code."""

AHEAD = 20
"""Histories that are read while others are replayed."""

SHOWN = 5
"""Workflows that a report names for each cause."""


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
        many = "1 history" if self.replayed == 1 else f"{self.replayed} histories"
        replay = f"{bad} of them do not replay" if bad else "all replay"
        lines = [f"{many} with {self.events} events: {replay}"]
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
    unreadable: list[Mismatch] = []
    histories = _histories(client, query, sample, seed, unreadable)
    report = await replay_all(histories, replayer, progress=progress)
    report.replayed += len(unreadable)
    report.mismatches += unreadable
    return report


async def replay_all(
    histories: AsyncIterator[WorkflowHistory],
    replayer: Replayer,
    *,
    progress: Callable[[ReplayReport], None] = lambda report: None,
) -> ReplayReport:
    """Replay histories from wherever they come, and tell which do not replay, by cause.

    Args:
        histories: They.
        replayer: With the workflows, the data converter and the interceptors of the workers.
        progress: Called behind every history with the report so far.
    """
    report, causes = ReplayReport(), dict[tuple[str, str], Mismatch]()
    async with replayer.workflow_replay_iterator(histories) as results:
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
    client: Client, query: str, sample: int | None, seed: int | None, unreadable: list[Mismatch]
) -> AsyncIterator[WorkflowHistory]:
    runs = [(run.id, run.run_id, run.workflow_type) async for run in client.list_workflows(query)]
    if sample is not None and sample < len(runs):
        runs = random.Random(seed).sample(runs, sample)
    for start in range(0, len(runs), AHEAD):
        batch = runs[start : start + AHEAD]
        handles = [client.get_workflow_handle(id, run_id=run_id) for id, run_id, _ in batch]
        found = await asyncio.gather(*[one.fetch_history() for one in handles], return_exceptions=True)
        for (id, _, name), history in zip(batch, found, strict=True):
            if isinstance(history, WorkflowHistory):
                yield history
            elif isinstance(history, HistoryCorruptError | UnknownEventError):
                unreadable.append(Mismatch(name, history, [id]))
            elif not isinstance(history, WorkflowNotFoundError):  # that was deleted meanwhile
                raise history


def _type_of(history: WorkflowHistory) -> str:
    first = history.events[0].data
    return first.workflow_type if isinstance(first, WorkflowExecutionStarted) else "?"


def _cause(error: Exception) -> str:
    """What errors of one cause have in common: their text without numbers, which count events, and ids of runs."""
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "#", str(error))
    return f"{type(error).__name__} {re.sub(r'[0-9]+', '#', text)}"
