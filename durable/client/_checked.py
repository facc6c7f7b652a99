"""Types of results, as callers give them."""

from __future__ import annotations

from typing import Any

from durable._internal.shown import shown

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
