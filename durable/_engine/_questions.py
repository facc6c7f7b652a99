"""What is in a query that waits for a worker, and in its answer: bytes to the store, values to both ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec
from msgspec import Struct

from durable.exceptions import HistoryCorruptError
from durable.history import Payload, Payloads

S = TypeVar("S", bound=Struct)


class Asked(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a query is asked with."""

    input: Payloads = ()
    headers: dict[str, Payload] = {}


class Answered(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a query ended; it has one of the two.

    Attributes:
        result: What its handler returned.
        failure: Why there is no result, a text for people; it is a payload because it may quote what others may not read.
    """

    result: Payload | None = None
    failure: Payload | None = None


def encode(facts: Struct) -> bytes:
    """Return one of these as it is stored."""
    return msgspec.json.encode(facts)


def decode(data: bytes, kind: type[S]) -> S:
    """Return what was stored.

    Raises:
        HistoryCorruptError: It is not of that kind.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise HistoryCorruptError(f"a query cannot be read: {error}") from error


_WANTED_ROWS = "__durable_rows:"
"""The name of a question that no workflow is asked: give these activities of yours rows, since they have none."""


def rows_wanted(ids: Iterable[int]) -> str:
    """Return the name of the question for rows of these activities."""
    return _WANTED_ROWS + ",".join(map(str, ids))


def wanted_rows(name: str) -> set[int] | None:
    """Return the activities that a question wants rows for, None if it is a query."""
    if not name.startswith(_WANTED_ROWS):
        return None
    return {int(number) for number in name.removeprefix(_WANTED_ROWS).split(",") if number.isdecimal()}
