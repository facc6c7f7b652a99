"""What a value is made of, as the encoder sees it: which parts it has, and whether writing it would lose something.

msgspec writes some values without a word that no reader can give back: NaN becomes `null`, `{1: .., "1": ..}` an object
with one key twice, an offset of 28 seconds a rounded one; and a set in an order that differs from process to process.
After a value was encoded, `needs_care` looks for exactly these, with as little Python per part as possible; everything
slower lives in `_faults` and `_settle`, and runs for few values.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

NoneType = type(None)
_MINUTE = timedelta(minutes=1)
_UTC = timezone.utc  # noqa: UP017 compared by identity below, and the name says that it is one object

PLAIN = {
    NoneType, bool, int, float, str, bytes, bytearray, memoryview, UUID, date, timedelta, msgspec.UnsetType
}  # fmt: skip
"""Types without parts that are written exactly, or whose exceptions show in the output (NaN, huge integers)."""

KEYS = frozenset({bool, int, str, bytes, UUID, date, timedelta})
"""Key types which, alone in a dict, cannot be written twice. (Floats: two NaN are two keys.)"""

_STR_ONLY = {str}


def offset_is_whole(value: datetime | time) -> bool:
    """Whether the UTC offset can be written: ISO 8601 has no seconds in it, and msgspec rounds."""
    if value.tzinfo is None or value.tzinfo is _UTC:
        return True
    offset = value.utcoffset()
    return offset is None or not offset % _MINUTE


def enum_is_uniform(kind: type[Enum]) -> bool:
    """Whether members can be read back: all their values are `str`, or all are `int`."""
    values = [member.value for member in kind.__members__.values()]
    return all(isinstance(value, str) for value in values) or all(
        isinstance(value, int) and not isinstance(value, bool) for value in values
    )


def pydantic_base() -> type[Any] | None:
    """Return `pydantic.BaseModel` if the program has imported it; this library never does."""
    return getattr(sys.modules.get("pydantic"), "BaseModel", None)


def is_model(kind: type[Any]) -> bool:
    """Whether `kind` is a pydantic model class."""
    base = pydantic_base()
    return base is not None and issubclass(kind, base)


def field_names(kind: type[Any]) -> tuple[str, ...] | None:
    """Return the names of the fields of a dataclass, Struct, attrs class or pydantic model; `None` for others."""
    fields: Any
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if (fields := getattr(kind, "__dataclass_fields__", None)) is not None:
        return tuple(fields)
    if (fields := getattr(kind, "__attrs_attrs__", None)) is not None:
        return tuple(field.name for field in fields)
    if is_model(kind):
        return tuple(getattr(kind, "model_fields", {}))
    return None


Parts = Callable[[Any], Iterable[Any]]

_UNLIKE_FIELDS = (dict, list, tuple, set, frozenset, deque)
_parts: dict[type[Any], Parts | None] = {}
_MAX_CACHED = 4_096
"""Classes remembered. A program that makes classes without end starts over now and then, and does not leak."""


def _parts_of(kind: type[Any]) -> Parts | None:
    """How to get at the parts of an instance of `kind`, or `None` if it has none that matter here."""
    if len(_parts) >= _MAX_CACHED:
        _parts.clear()
    found: Parts | None = None
    if not issubclass(kind, _UNLIKE_FIELDS) and (names := field_names(kind)) is not None:
        if issubclass(kind, msgspec.Struct):
            found = msgspec.structs.astuple
        elif "__slots__" in kind.__dict__ or not kind.__dictoffset__:
            found = lambda value: [getattr(value, name, None) for name in names]  # noqa: E731 a table entry
        else:
            found = lambda value: value.__dict__.values()  # noqa: E731 a table entry
    _parts[kind] = found
    return found


def needs_care(root: Any) -> bool:
    """Whether something in `root`, which has just been encoded, was perhaps not written as it is."""
    stack = [root]
    while stack:
        value = stack.pop()
        kind = type(value)
        parts: Iterable[Any]
        if kind is dict or isinstance(value, dict):
            kinds = set(map(type, value))
            if kinds != _STR_ONLY and (len(kinds) > 1 or not kinds <= KEYS):
                return True
            parts = value.values()
        elif kind is list or isinstance(value, list | tuple | deque):
            parts = value
        elif isinstance(value, set | frozenset):
            if len(value) > 1:
                return True
            parts = value
        elif isinstance(value, datetime | time):
            if not offset_is_whole(value):
                return True
            continue
        elif isinstance(value, Enum):
            if not enum_is_uniform(kind):
                return True
            continue
        elif isinstance(value, Decimal):
            if not value.is_finite():
                return True
            continue
        elif isinstance(value, msgspec.Raw):
            return True
        else:
            get = _parts[kind] if kind in _parts else _parts_of(kind)
            if get is None:
                continue
            parts = get(value)
        if not PLAIN.issuperset(map(type, parts)):
            stack.extend([part for part in parts if type(part) not in PLAIN])
    return False
