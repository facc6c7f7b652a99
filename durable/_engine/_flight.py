"""What is on its way to the database, of one run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable._engine._trial import Trial
from durable._engine.records import Transition
from durable.history import ActivityTaskScheduled, CommandEvent, EventData, Input


class Flight(msgspec.Struct, gc=False):
    """A transition that is on its way, with what it was made of.

    Attributes:
        commands: What the task before asked for, but for what closes the run.
        inputs: Those of the next task, or none.
        task: The number of the inputs' task; without inputs, of the task before.
        start: Activities that wait for this commit.
        outgoing: Those of the commands that reach other workflows.
        answers: What a tried task asked for, behind its inputs.
        cancel: Activities that a tried task cancelled.
        trial: The task that was tried, if one was.
        counted: Whether it is written as it was tried, since an update was accepted.
    """

    commands: list[CommandEvent]
    inputs: list[Input]
    task: int
    closing: EventData | None
    start: list[ActivityTaskScheduled]
    outgoing: list[CommandEvent]
    transition: Transition
    answers: Sequence[CommandEvent] = ()
    cancel: Sequence[int] = ()
    trial: Trial | None = None
    counted: bool = False
