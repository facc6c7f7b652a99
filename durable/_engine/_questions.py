"""What is in a query that waits for a worker, and in its answer: bytes to the store, values to both ends."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from durable.exceptions import HistoryCorruptError
from durable.history import Payload, Payloads


class Answered(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a query ended.

    Attributes:
        result: What its handler returned.
        failure: Why there is no result, for people.
    """

    result: Payload | None = None
    failure: str = ""


_encoder = msgspec.json.Encoder()
_input = msgspec.json.Decoder(Payloads)
_answer = msgspec.json.Decoder(Answered)


def encode_input(input: Payloads) -> bytes:
    """Return the arguments of a query as they are stored."""
    return _encoder.encode(input)


def decode_input(data: bytes) -> Payloads:
    """Return the arguments of a query.

    Raises:
        HistoryCorruptError: These are none.
    """
    try:
        return _input.decode(data)
    except msgspec.MsgspecError as error:
        raise HistoryCorruptError(f"the arguments of a query cannot be read: {error}") from error


def encode_answer(answer: Answered) -> bytes:
    """Return an answer as it is stored."""
    return _encoder.encode(answer)


def decode_answer(data: bytes) -> Answered:
    """Return an answer.

    Raises:
        HistoryCorruptError: This is none.
    """
    try:
        return _answer.decode(data)
    except msgspec.MsgspecError as error:
        raise HistoryCorruptError(f"the answer to a query cannot be read: {error}") from error
