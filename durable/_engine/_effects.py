"""What a run hands to its host: how soon it must be written, and what to do once its code has run or a commit is there."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from durable._engine.records import UpdateOutcome
from durable.history import ActivityTaskScheduled, Event


class Urgency(Enum):
    """How soon what waits must be written."""

    NOTHING = 0
    SOON = 1
    """Commands that only have to show: they ride with the next input, or go alone after a moment."""
    NOW = 2


class Effects(Struct, gc=False):
    """What the host does once a turn has ended: activities to start here, and to ask to end."""

    start: Sequence[ActivityTaskScheduled] = ()
    cancel: Sequence[int] = ()


class Written(Struct, gc=False):
    """What follows a committed transition.

    Attributes:
        task: The inputs of a new task, to be applied now, in order; empty when none were written.
        start: Activities that waited for this commit, to be started here.
        queued: Task queues that got an activity row, to be hinted.
        canceled: Activities whose rows say now that they were cancelled: those that wait can be ended at once.
        closed: Whether the run has ended.
        cancel: Activities that a tried task has cancelled, to be asked to end here.
        updated: How far updates have come.
        told: Other runs that have a message from it, to be hinted; `ANY_KEY` when it is not known which run it is.
        replied: Whether its own inbox has the news of what it did to others.
        condemned: Whether its end condemned children, which are to be ended.
        concerns_others: Whether any of `queued`, `updated`, `told`, `replied` and `condemned` may be set.
    """

    task: Sequence[Event] = ()
    start: Sequence[ActivityTaskScheduled] = ()
    queued: Sequence[str] = ()
    canceled: Sequence[int] = ()
    closed: bool = False
    cancel: Sequence[int] = ()
    updated: Sequence[UpdateOutcome] = ()
    told: Sequence[str] = ()
    replied: bool = False
    condemned: bool = False
    concerns_others: bool = False
