"""What a run's end tells the children that it does not abandon: one message of the library's own each."""

from __future__ import annotations

from durable.history import (
    EventRow,
    EventType,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionTerminated,
    encode_data,
)

PARENT_CLOSED = "parent-closed"
"""The id of that message: it is told once, and goes on to the runs that follow."""

_REASON = "by parent close policy"

TERMINATION = encode_data(WorkflowExecutionTerminated(message=PARENT_CLOSED, reason=_REASON))
CANCEL_REQUEST = encode_data(WorkflowExecutionCancelRequested(message=PARENT_CLOSED, reason=_REASON))


def termination(seq: int) -> EventRow:
    """Return the event at position `seq` that ends a run with its parent."""
    return EventRow(seq, seq, int(EventType.WORKFLOW_EXECUTION_TERMINATED), TERMINATION)
