"""The part of the port that works inside transactions of callers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from durable._engine.records import Message, NewRun, SendOutcome, StartVerdict


class Delivery(Struct, frozen=True, gc=False):
    """What became of a message to a workflow, and the run that was found, if any.

    NOT_FOUND with a run: that one belongs to another chain than the one that is meant.
    """

    outcome: SendOutcome
    run_id: str = ""


class Inside(Protocol):
    """A caller's open transaction. What is written here is there once the caller commits, and never if he does not.

    Nothing is tried again: an error of the driver passes as it is, since what to do about it is the caller's to decide.
    Whoever waits for work is hinted at the commit, as far as the database can do that.
    """

    async def create_run(self, run: NewRun) -> StartVerdict | None:
        """Create a run as `Store.create_runs` does, without an owner; its time begins when it is first claimed.

        None when the run it is content with takes no message at the moment; nothing was written.
        """
        ...

    async def send(
        self, workflow_id: str, run_id: str | None, first_run_id: str | None, message: Message
    ) -> Delivery:
        """Put a message into the inbox of a workflow's open run, or of the given one; see `Store.send`.

        Args:
            workflow_id: Whose.
            run_id: The run that is meant, or None for whichever is open, wherever that has gone on meanwhile.
            first_run_id: The chain that is meant, or None for any.
            message: The message. Its `run_id` is ignored.
        """
        ...

    async def attribute_types(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """See `Store.attribute_types`."""
        ...
