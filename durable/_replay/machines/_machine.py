"""What the machines have in common.

A machine is the code's side of one command: it issues the command, hears of the events that answer it, and completes
what the code awaits. Its table says which triggers mean something in which state; a trigger that is not in the table is
a history that this code cannot have produced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol

from durable.exceptions import NondeterminismError
from durable.history import Input

State = Literal["issued", "started", "backing off", "cancel requested", "done"]
"""Where a command is in its life."""

Trigger = Literal["start", "back off", "cancel", "close"]
"""What can happen to a command: an event says that it has begun, or that it begins again later; the code no longer wants
it; or an event brings its outcome."""

Table = Mapping[tuple[State, Trigger], State]


class Machine:
    """One command of one run, walking its table."""

    __slots__ = ("id", "state")

    table: ClassVar[Table]

    def __init__(self, id: int) -> None:
        self.id = id
        self.state: State = "issued"

    def step(self, trigger: Trigger) -> None:
        """Follow the table.

        Raises:
            NondeterminismError: The table has no such step.
        """
        after = self.table.get((self.state, trigger))
        if after is None:
            raise NondeterminismError(
                f"history says '{trigger}' for command {self.id}, which is '{self.state}' in the code"
            )
        self.state = after


class Answered(Protocol):
    """A machine that an input event can answer."""

    id: int

    def close(self, event: Input) -> bool | None:
        """Take an event that answers the command; True if there will be another."""
        ...
