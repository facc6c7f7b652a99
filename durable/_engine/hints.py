"""Hints: what one part of the system tells another so that it looks sooner. Nothing depends on one."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class HintKind(IntEnum):
    """What a hint is about."""

    RUN = 1
    """`key` is a task queue: a run there is ready."""
    ACTIVITY = 2
    """`key` is a task queue: an activity there is due."""
    MESSAGE = 3
    """`key` is a run id: it has a message."""
    CLOSED = 4
    """`key` is a run id: it has closed."""
    UPDATE = 5
    """`key` is a run id: an update of it was accepted, or has its outcome."""
    QUERY = 6
    """`key` is a task queue: somebody asks about a run there."""
    ANSWER = 7
    """`key` is the id of a query: it is answered."""
    SCHEDULE = 8
    """`key` is the id of a schedule: it is due, or something about it has changed."""
    PAUSE = 9
    """`key` is a run id: its owner is to give it up."""


ANY_KEY = "*"
"""The key of a hint from a store that noticed a change but not which: whatever the kind is about may have it."""


class Hint(Struct, frozen=True, gc=False):
    """Something worth looking at. Hints may be lost, repeated or wrong; nothing depends on one.

    A store that sees only that somebody has written something gives one hint of each kind, with the key `ANY_KEY`.
    """

    kind: HintKind
    key: str


class Glance(Struct, frozen=True, gc=False):
    """What one look at all that a worker looks for has shown. What it misses is found by nothing sooner than by chance.

    Attributes:
        ready: A run or an activity is due, or there is an unread message: which may be nobody's here.
        overdue: A run or an attempt is overdue, or there is nobody who would end it.
        asked: There are queries.
        routed: The queue has been served by workers with versions.
        wake_in: In how many microseconds the next run or activity becomes due, as `Store.next_wake` tells.
        schedule_in: In how many microseconds the next schedule is due, or None.
        queue_state: What an operator has said of the queue, as a number of `QueueState`.
    """

    ready: bool
    overdue: bool
    asked: bool
    routed: bool
    wake_in: int | None
    schedule_in: int | None
    queue_state: int = 0
