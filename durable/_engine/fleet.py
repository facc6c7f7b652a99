"""What there is to know of a whole namespace at one moment: its task queues, who serves them, and what waits there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from durable._engine.lanes import LANES
from durable._engine.records import Hold
from durable._engine.versioning import queue_of

MOST_COUNTED = 10_000
"""Things of one kind that are counted; beyond it a count says "so many or more", so that no look reads a whole table."""


class QueueState(IntEnum):
    """What an operator has said of a task queue."""

    OPEN = 0
    """Its workers take work."""
    PAUSED = 1
    """They take none, and hand back the runs they have as soon as no code of them is running."""
    DRAINING = 2
    """They take none, and hand back the runs they have when these wait for something."""


class QueueSurvey(Struct, frozen=True, gc=False):
    """A task queue. No count goes beyond `MOST_COUNTED`; times are microseconds.

    Attributes:
        task_queue: Its name.
        state: What an operator has said of it.
        workers: How many workers are alive that serve it.
        owned: How many runs they have.
        workflows: How many runs are due that nobody has.
        activities: How many activities are due that nobody has.
        messages: How many messages nobody has read.
        workflow_age: For how long the oldest of these runs has been due; None if there is none.
        activity_age: For how long the oldest of these activities has been due; None if there is none.
    """

    task_queue: str
    state: QueueState = QueueState.OPEN
    workers: int = 0
    owned: int = 0
    workflows: int = 0
    activities: int = 0
    messages: int = 0
    workflow_age: int | None = None
    activity_age: int | None = None


class Survey(Struct, frozen=True, gc=False):
    """A namespace. No count goes beyond `MOST_COUNTED`.

    Attributes:
        queues: Its task queues: those with a worker or anything that waits, and those that are held.
        open: How many runs are open.
        held: How many of them are blocked, quarantined or paused.
        retrying: How many activities wait for another attempt.
    """

    queues: tuple[QueueSurvey, ...]
    open: int
    held: Mapping[Hold, int]
    retrying: int


def survey_of(rows: Iterable[tuple[str, str, int, int | None]]) -> Survey:
    """Return what a store has counted.

    Args:
        rows: A kind each, of what (a place, or the number of a hold), how many, and for how long the oldest.
    """
    queues: dict[str, QueueSurvey] = {}
    totals = {"open": 0, "retrying": 0}
    held: dict[Hold, int] = {}
    for kind, what, number, age in rows:
        if kind in totals:
            totals[kind] = number
        elif kind == "held":
            held[Hold(int(what))] = number
        else:
            name = queue_of(what.removeprefix(LANES))
            queues[name] = _with(queues.get(name, QueueSurvey(name)), kind, number, age)
    return Survey(tuple(queues[name] for name in sorted(queues)), totals["open"], held, totals["retrying"])


def _with(queue: QueueSurvey, kind: str, number: int, age: int | None) -> QueueSurvey:
    """Return a queue with what was counted at one of its places."""
    match kind:
        case "state":
            return replace(queue, state=QueueState(number))
        case "workers":
            return replace(queue, workers=number)
        case "owned":
            return replace(queue, owned=queue.owned + number)
        case "messages":
            return replace(queue, messages=_sum(queue.messages, number))
        case "workflows":
            oldest = max(queue.workflow_age or 0, age or 0)
            return replace(queue, workflows=_sum(queue.workflows, number), workflow_age=oldest)
        case "activities":
            oldest = max(queue.activity_age or 0, age or 0)
            return replace(queue, activities=_sum(queue.activities, number), activity_age=oldest)
        case _:
            raise ValueError(f"nothing of a queue is called {kind!r}")


def _sum(one: int, other: int) -> int:
    return min(one + other, MOST_COUNTED)
