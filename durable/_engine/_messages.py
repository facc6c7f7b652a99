"""What others say to a run: an event in waiting, addressed and numbered."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from durable._engine.records import Message
from durable.history import (
    EventData,
    EventRow,
    EventType,
    Input,
    Payloads,
    WorkflowExecutionTerminated,
    encode_data,
)


def message(run_id: str, message_id: str, event: Input) -> Message:
    """Return the message that becomes `event` when the run's owner reads it."""
    return Message(
        run_id=run_id,
        message_id=message_id,
        type=int(event.type),
        data=encode_data(msgspec.structs.replace(event, message=message_id)),
    )


def from_outside(event: EventData) -> Callable[[int], EventRow]:
    """Return what makes the event at a position with which a run is ended from outside.

    It belongs to no task of the workflow; the number of its task is its position, which is never below the newest's.
    """
    data = encode_data(event)
    return lambda seq: EventRow(seq, seq, int(event.type), data)


def terminated(seq: int, *, reason: str, details: Payloads, identity: str) -> EventRow:
    """Return the event at position `seq` with which an operator ends a run.

    It belongs to no task of the workflow; the number of its task is its position, which is never below the newest's.
    """
    data = WorkflowExecutionTerminated(reason=reason, details=details, identity=identity)
    return EventRow(seq, seq, int(EventType.WORKFLOW_EXECUTION_TERMINATED), encode_data(data))
