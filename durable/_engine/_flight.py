"""What is on its way to the database, of one run."""

from __future__ import annotations

import msgspec

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
    """

    commands: list[CommandEvent]
    inputs: list[Input]
    task: int
    closing: EventData | None
    start: list[ActivityTaskScheduled]
    outgoing: list[CommandEvent]
    transition: Transition
