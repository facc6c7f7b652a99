"""What others say to a run: an event in waiting, addressed and numbered."""

from __future__ import annotations

import msgspec

from durable._engine.records import Message
from durable.history import (
    EventData,
    EventRow,
    Input,
    encode_data,
    encode_row,
)


def message(run_id: str, message_id: str, event: Input) -> Message:
    """Return the message that becomes `event` when the run's owner reads it."""
    return Message(
        run_id=run_id,
        message_id=message_id,
        type=int(event.type),
        data=encode_data(msgspec.structs.replace(event, message=message_id)),
    )


def end(seq: int, data: EventData) -> EventRow:
    """Return the event at position `seq` with which a run is ended from outside.

    It belongs to no task of the workflow; the number of its task is its position, which is never below the newest's.
    """
    return encode_row(seq, seq, data)


def named(message_id: str) -> bytes:
    """Return what is in the data of every event that was a message, or a request, of this id."""
    return f'"message":"{message_id}"'.encode()
