"""What operators did, as it is written down with what they did, and what they do to many runs at once."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class Deed(Struct, frozen=True, gc=False):
    """What an operator does, for the log: written in the transaction that does it, if that changes anything.

    Attributes:
        operation: What: "terminate", "pause", ...
        workflow_id: To which workflow; "" for a batch.
        identity: Who.
        reason: Why, for people.
        detail: What else is to be known: where a reset goes, which activity is meant.
        batch_id: The batch it is part of; "" if it is of none.
    """

    operation: str
    workflow_id: str
    identity: str
    reason: str = ""
    detail: str = ""
    batch_id: str = ""


class DeedRow(Struct, frozen=True, gc=False):
    """A deed as it stands in the log.

    Attributes:
        number: Its place in the log.
        at: When it was done, by the database's clock.
        run_id: To which run; "" for a batch.
    """

    number: int
    at: int
    run_id: str
    deed: Deed


class NewBatch(Struct, frozen=True, gc=False):
    """An operation on all runs that a filter finds.

    Attributes:
        batch_id: Its id.
        digest: Tells what it does from what another one does.
        deed: What the log says of it.
    """

    batch_id: str
    digest: str
    deed: Deed


class BatchRow(Struct, frozen=True, gc=False):
    """A batch as it is stored.

    Attributes:
        position: Where the list of its runs has come to, opaque; empty at its beginning.
        gathered: Whether its list is complete: nothing is done before.
        pending: How many of its runs are to be dealt with.
        done: With how many the operation was done.
        skipped: For how many there was nothing to do.
        failed: With how many it cannot be done.
        errors: Of the first of these, why: each encoded.
    """

    batch_id: str
    digest: str
    position: bytes
    gathered: bool
    pending: int
    done: int
    skipped: int
    failed: int
    errors: tuple[str, ...]


class BatchRun(Struct, frozen=True, gc=False):
    """A run that a batch is to deal with.

    Attributes:
        number: Its place in the batch.
        key: Of runs with one key there is one in a batch.
    """

    number: int
    key: str
    workflow_id: str
    run_id: str


class Dealt(IntEnum):
    """What became of a run in a batch."""

    DONE = 1
    SKIPPED = 2
    FAILED = 3


class BatchNews(Struct, frozen=True, gc=False):
    """That a run of a batch has been dealt with; `error` is why that failed, encoded."""

    number: int
    dealt: Dealt
    error: str = ""


MAX_ERRORS = 10
"""Errors that are kept of a batch: the first ones. What fails a thousand times mostly fails for one reason."""
