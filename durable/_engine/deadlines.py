"""Workflows that are open for longer than they should be: what a store is asked about one type of them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class DeadlineTurn(Struct, frozen=True, gc=False):
    """Up to where open workflows of a type have been told of; microseconds.

    Attributes:
        now: The database's time.
        near: Those that began so early were told of when their deadline was near.
        past: Those that began so early were told of when it had passed.
    """

    now: int
    near: int
    past: int


class LateRun(Struct, frozen=True, gc=False):
    """An open run, and when it began, in microseconds: its start, or the end of its delay."""

    workflow_id: str
    run_id: str
    began_at: int


class LateRuns(Struct, frozen=True, gc=False):
    """Open runs of a type that began in a certain time.

    Attributes:
        number: How many there are, counted up to `MOST_COUNTED`.
        untold: Those of them that nobody was told of, oldest first.
    """

    number: int
    untold: Sequence[LateRun]
