"""Arguments that are checked before anything is stored: they must read back as what their receiver takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable.converter._data import DataConverter
from durable.history import Payloads

_PLAIN = frozenset({int, str, bool, float, bytes})
"""Types of which a value of just that type needs no further look."""


def to_checked_payloads(
    converter: DataConverter, values: Sequence[Any], types: Sequence[Any] | None, path: str
) -> Payloads:
    """Return values as payloads that can be decoded as `types`, so that the receiver is not the one to find out.

    Raises:
        ConversionError: A value cannot be stored, or is not of its type; the text names the place in it.
        PayloadTooLargeError: They are larger than the limit.
    """
    payloads = converter.to_payloads(values, path=path)
    if types is not None:
        for index, value in enumerate(values):
            kind = types[index] if index < len(types) else None
            if type(value) is not kind or kind not in _PLAIN:
                converter.from_payloads(payloads, types[: len(payloads)], path=path)
                break
    return payloads
