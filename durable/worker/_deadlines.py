"""Workflows that are open for longer than their definition says: one worker of those that know it tells people.

What a worker holds in memory and what is parked in the database are one to this: for each type with a deadline the database
is asked every `EVERY` seconds which open runs began so long ago, by an index that has nothing but open runs. Whoever has
looked writes down up to where it has told of runs, so that no other tells of them again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from durable._engine.deadlines import LateRun
from durable._internal.instants import MICROSECOND
from durable.worker._home import Home
from durable.worker._observed import Observer
from durable.worker._surveys import again

logger = logging.getLogger("durable.worker")

NEAR = 0.8
"""Share of a deadline after which it is near: a fifth of it is left to do something."""

MOST_TOLD = 100
"""Runs of a type that one look tells of one by one; a record for each of many thousand would bury the others."""


async def watch(home: Home, observer: Observer | None) -> None:
    """Tell of runs that are late, for as long as the worker lives."""
    deadlines = {
        name: known.deadline for name, known in home.options.workflows.items() if known.deadline is not None
    }
    if not deadlines:
        await asyncio.Event().wait()  # no part of a worker ends by itself
        return

    def tell(found: Mapping[str, tuple[int, int]]) -> None:
        if observer is not None:
            observer.late(found)

    async def look(hold: int) -> None:
        found: dict[str, tuple[int, int]] = {}
        for workflow_type, deadline in deadlines.items():
            if (numbers := await look_at(home, workflow_type, deadline, hold)) is not None:
                found[workflow_type] = numbers
        tell(found)

    await again(home, look, lambda: tell({}), "workflows that are late")


async def look_at(home: Home, workflow_type: str, deadline: int, hold: int) -> tuple[int, int] | None:
    """Tell of the runs of a type that nobody was told of.

    Returns:
        How many are near their deadline, and how many past it; None if another worker looks after this type.
    """
    store, worker_id = home.store, home.worker_id
    turn = await store.take_deadline_turn(workflow_type, worker_id, hold)
    if turn is None:
        return None
    past, near = turn.now - deadline, turn.now - round(NEAR * deadline)
    late = await store.late_runs(workflow_type, since=0, until=past, told=turn.past, limit=MOST_TOLD + 1)
    soon = await store.late_runs(workflow_type, since=past, until=near, told=turn.near, limit=MOST_TOLD + 1)
    for found, level, where in ((late, logging.ERROR, "past"), (soon, logging.WARNING, "near")):
        for run in found.untold[:MOST_TOLD]:
            logger.log(
                level,
                "workflow %s of type %s is %s its deadline: it has been open for %s, and should be for %s at most",
                run.workflow_id,
                workflow_type,
                where,
                _time(turn.now - run.began_at),
                _time(deadline),
                extra={"durable": _fields(home, workflow_type, run)},
            )
        if len(found.untold) > MOST_TOLD:
            logger.log(
                level,
                "more workflows of type %s are %s their deadline, %d in all; durable workflow list --type finds them",
                workflow_type,
                where,
                found.number,
            )
    if late.untold or soon.untold:
        await store.take_deadline_turn(workflow_type, worker_id, hold, near=near, past=past)
    return soon.number, late.number


def _fields(home: Home, workflow_type: str, run: LateRun) -> dict[str, str]:
    return {
        "namespace": home.namespace,
        "workflow_id": run.workflow_id,
        "run_id": run.run_id,
        "workflow_type": workflow_type,
        "worker_id": home.worker_id,
    }


def _time(microseconds: int) -> timedelta:
    """Return a time as people read it; parts of a second only where there are no whole ones."""
    exact = microseconds * MICROSECOND
    return timedelta(seconds=round(exact.total_seconds())) if exact >= timedelta(seconds=10) else exact
