"""The commands of one run: their numbers, those of the present task, and what waits for an answer.

Made with the instance, asked at every step. What may change nothing (a query, a validator) is stopped here: nothing
can be asked for without a number.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import NoReturn

from durable._replay._loop import POISONED, DeterministicLoop, Handle
from durable._replay._sources import caller
from durable._replay._stacks import place
from durable._replay.machines._machine import Answered
from durable.exceptions import NondeterminismError, ReadOnlyContextError
from durable.history import CommandEvent, Input

READ_ONLY = (
    "a query or an update's validator must not change the workflow: no activities, timers or waiting here, and nobody "
    "is woken up"
)


class Commands:
    """See the module.

    Attributes:
        wanted: Those of the present task by their number, in order; the cancel of one is under the negative, a
            patch under its id.
        operations: What waits for an answer, by the number of its command.
        sources: The source line that asked for each command, when they are to be remembered.
        read_only: Whether nothing may be asked for.
        swallowed: What a validator was refused; its task fails, whether it lets that pass or not.
        validating: Whether a validator runs.
    """

    __slots__ = (
        "_loop",
        "_next_id",
        "operations",
        "read_only",
        "sources",
        "swallowed",
        "validating",
        "wanted",
    )

    def __init__(self, loop: DeterministicLoop, *, trace: bool) -> None:
        self._loop = loop
        self._next_id = 0
        self.wanted: dict[int | str, CommandEvent] = {}
        self.operations: dict[int, Answered] = {}
        self.sources: dict[int | str, str] | None = {} if trace else None
        self.read_only = False
        self.validating = False
        self.swallowed: BaseException | None = None

    def new_id(self) -> int:
        """Return the next number of a command.

        Raises:
            ReadOnlyContextError: Nothing may be asked for.
        """
        if self.read_only:
            self.refuse(READ_ONLY)
        self._next_id += 1
        return self._next_id

    def issue(self, command: CommandEvent) -> None:
        """Take a command of the present task."""
        self._loop.progress += 1
        self.wanted[command.id] = command
        # A call that asyncio makes in a task of its own has no line: then that at which the workflow stands, `gather` for example.
        if self.sources is not None and (where := caller() or place(self._loop)):
            self.sources[command.id] = where

    def mark(self, patch: str, marker: CommandEvent) -> None:
        """Take a marker, which has no number."""
        self._loop.progress += 1
        self.wanted[patch] = marker
        if self.sources is not None and (where := caller()):
            self.sources[patch] = where

    def issue_new(self, make: Callable[[int], CommandEvent]) -> None:
        """Take a command that is made for its number."""
        self.issue(make(self.new_id()))

    def withdraw(self, id: int, command: CommandEvent | None) -> bool:
        """Write down that a command is no longer wanted; one of this very task simply never was, which is told."""
        if self.read_only:
            self._loop.state = POISONED
            raise ReadOnlyContextError("a query must not change the workflow: nothing can be cancelled here")
        if self.wanted.pop(id, None) is not None:
            del self.operations[id]
            return True
        if command is not None:
            # Commands are unique by number; the cancel of one is kept beside it under the negative.
            self.wanted[-id] = command
        return False

    def forget(self, id: int, command: CommandEvent) -> None:
        """Withdraw a command that nothing will answer any more."""
        unwritten = id in self.wanted
        self.withdraw(id, command)
        if not unwritten:
            self.operations.pop(id, None)

    def answer(self, id: int, event: Input) -> None:
        """Give an event to the command that it answers.

        Raises:
            NondeterminismError: The code asked for no such command, or for one of another kind.
        """
        machine = self.operations.pop(id, None)
        if machine is None:
            raise NondeterminismError(
                f"history has {type(event).__name__} for command {id}, which the code never asked for"
            )
        self._loop.progress += 1
        if machine.close(event):
            self.operations[id] = machine

    @contextmanager
    def nothing_changes(self) -> Generator[None, None, None]:
        """Let code run that must not change the run: what it tries raises, and what it draws is put back."""
        loop, before = self._loop, self.read_only
        numbers, newest, progress, append = loop.numbers, loop.newest, loop.progress, loop.append
        loop.append = self._refuse_to_wake
        self.read_only = True
        try:
            yield
        finally:
            self.read_only = before
            loop.numbers, loop.newest, loop.progress, loop.append = numbers, newest, progress, append

    @contextmanager
    def validation(self, fault: Callable[[BaseException], None]) -> Generator[None, None, None]:
        """Let a validator run, as `nothing_changes`; if it lets a refusal pass, `fault` hears of that."""
        self.validating = True
        try:
            with self.nothing_changes():
                yield
        finally:
            self.validating = False
            if self.swallowed is not None:
                fault(self.swallowed)
                self.swallowed = None

    def _refuse_to_wake(self, _handle: Handle) -> None:
        self.refuse(READ_ONLY)

    def refuse(self, text: str) -> NoReturn:
        """Refuse a change where none may be made; a validator that swallows this has failed its task all the same.

        Raises:
            ReadOnlyContextError: Always.
        """
        error = ReadOnlyContextError(text)
        if self.validating:
            self.swallowed = self.swallowed or error
        raise error
