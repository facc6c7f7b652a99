"""Arguments that are checked before anything is stored: they must read back as what their receiver takes; types of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable._internal.shown import shown
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


_OF_TYPES = ("__origin__", "__args__", "__supertype__", "__value__", "__constraints__")
"""What a type has that is no class: `list[int]`, `int | str`, a `NewType`, an alias, a `TypeVar`."""


def check_result_type(given: Any) -> Any:
    """Return what a result is to be decoded as; None stands for whatever is known.

    Raises:
        TypeError: It is no type, which would be found out when there is a result.
    """
    if (
        given is None
        or given is Any
        or isinstance(given, type)
        or any(hasattr(given, one) for one in _OF_TYPES)
    ):
        return given
    raise TypeError(f"result_type must be a type, not {type(given).__name__}: {shown(given)}")
