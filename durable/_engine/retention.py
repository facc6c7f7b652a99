"""How long closed runs are kept, as it is stored."""

from __future__ import annotations

from msgspec import Struct

from durable._engine.records import RunStatus


class RetentionRow(Struct, frozen=True, gc=False):
    """What holds for the closed runs of a type.

    Attributes:
        workflow_type: The type; "" for all that have no row of their own.
        keep: Microseconds that they are kept; None for ever.
        export: Whether they are exported before they are removed.
    """

    workflow_type: str
    keep: int | None
    export: bool = False


class OverdueRun(Struct, frozen=True, gc=False):
    """A closed run that has been kept for long enough.

    Attributes:
        run_id: Its id.
        workflow_id: Its workflow's.
        workflow_type: Its type.
        status: How it closed.
        closed_at: When.
        length: The events of its history.
    """

    run_id: str
    workflow_id: str
    workflow_type: str
    status: RunStatus
    closed_at: int
    length: int
