"""Arguments that are checked before anything is stored: they must read back as what their receiver takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable.converter import DataConverter
from durable.history import Payloads


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
        converter.from_payloads(payloads, types[: len(payloads)], path=path)
    return payloads
