"""What the machines have in common.

A machine is the code's side of one command: it issues the command, hears of the events that answer it, and completes
what the code awaits. Its table says which triggers mean something in which state; a trigger that is not in the table is
a history that this code cannot have produced.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar, Protocol

from durable.exceptions import NondeterminismError
from durable.history import Input


class State(Enum):
    """Where a command is in its life."""

    # By identity and in C; that of Enum is a Python call, and a table is looked up at every step.
    __hash__ = object.__hash__

    ISSUED = "issued"
    CANCEL_REQUESTED = "cancel requested"
    DONE = "done"


class Trigger(Enum):
    """What can happen to a command."""

    __hash__ = object.__hash__

    CANCEL = "cancel"
    """The code no longer wants it."""
    CLOSE = "close"
    """An event brings its outcome."""


Table = Mapping[tuple[State, Trigger], State]


class Machine:
    """One command of one run, walking its table."""

    __slots__ = ("id", "state")

    table: ClassVar[Table]

    def __init__(self, id: int) -> None:
        self.id = id
        self.state = State.ISSUED

    def step(self, trigger: Trigger) -> None:
        """Follow the table.

        Raises:
            NondeterminismError: The table has no such step.
        """
        after = self.table.get((self.state, trigger))
        if after is None:
            raise NondeterminismError(
                f"history says '{trigger.value}' for command {self.id}, which is '{self.state.value}' in the code"
            )
        self.state = after


class Answered(Protocol):
    """A machine that an input event can answer."""

    id: int

    def close(self, event: Input) -> None:
        """Take the event that brings the command's outcome."""
        ...
