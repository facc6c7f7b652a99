"""What a value is made of, as the encoder sees it: which parts it has, and whether writing it would lose something.

msgspec writes some values without a word that no reader can give back: NaN becomes `null`, `{1: .., "1": ..}` an object
with one key twice, an offset of 28 seconds a rounded one; and a set in an order that differs from process to process.
After a value was encoded, `look_over` looks for exactly these, with as little Python per part as can be; everything
slower lives in `_faults` and `_settle`, and runs for few values.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from types import NoneType
from typing import Any
from uuid import UUID

import msgspec

from durable.converter._models import is_model, model_parts

MAX_DEPTH = 128
"""Lists and objects inside each other. Python's own limit differs between releases and machines, and what one worker
writes every other has to read."""

# As tuples of `type[Any]`, so that an `isinstance` leaves `Any` alone instead of making it half unknown.
Types = tuple[type[Any], ...]
MAPPINGS: Types = (dict,)
SEQUENCES: Types = (list, tuple, deque)
SETS: Types = (set, frozenset)
CLOCKS: Types = (datetime, time)
BYTES: Types = (bytes, bytearray, memoryview)

type_of: Callable[[Any], type[Any]] = type
"""`type`, for a value of which nothing is known: checkers take `type(Any)` for a type that is half unknown."""

_EXACT = frozenset({
    NoneType, bool, int, str, bytes, bytearray, memoryview, UUID, date, timedelta, msgspec.UnsetType
})  # fmt: skip
_EXACT_OR_FLOAT = _EXACT | {float}
"""Types without parts, written exactly, or whose exceptions show in the output (NaN, huge integers)."""

_KEYS = frozenset({int, str, bytes, UUID, date, timedelta})
"""Key types which, alone in a dict, cannot be written twice. (Floats can: two NaN are two keys.)"""

_MINUTE = timedelta(minutes=1)

_MAX_CACHED = 4_096
"""Classes remembered. A program that makes classes without end starts over now and then, and does not leak."""


def offset_is_whole(value: Any) -> bool:
    """Whether the UTC offset of a datetime or time can be written: msgspec rounds it to minutes, as ISO 8601 does."""
    if value.tzinfo is None or value.tzinfo is UTC:
        return True
    offset = value.utcoffset()
    return offset is None or not offset % _MINUTE


def enum_is_uniform(kind: type[Any]) -> bool:
    """Whether members can be read back: all their values are `str`, or all are `int`."""
    values = [member.value for member in kind.__members__.values()]
    return all(isinstance(value, str) for value in values) or all(
        isinstance(value, int) and not isinstance(value, bool) for value in values
    )


def field_names(kind: type[Any]) -> tuple[str, ...] | None:
    """Return the names of the fields of a dataclass, Struct or attrs class; `None` for others."""
    fields: Any
    if (fields := getattr(kind, "__struct_fields__", None)) is not None:
        return tuple(fields)
    if (fields := getattr(kind, "__dataclass_fields__", None)) is not None:
        return tuple(fields)
    if (fields := getattr(kind, "__attrs_attrs__", None)) is not None:
        return tuple(field.name for field in fields)
    return None


def unreadable(kind: type[Any]) -> str | None:
    """Return why no instance of `kind`, a class with fields, can be read back; `None` if they can."""
    if kind not in _reasons:
        if len(_reasons) >= _MAX_CACHED:
            _reasons.clear()
        _reasons[kind] = None
        if not is_model(kind):
            try:
                msgspec.json.Decoder(kind, dec_hook=lambda hint, value: value)
            except Exception as error:
                _reasons[kind] = str(error)
    return _reasons.get(kind)


_reasons: dict[type[Any], str | None] = {}


class Finding(IntEnum):
    """What was found in a value."""

    GOOD = 0
    UNORDERED = 1  # it holds a set: to be written in a settled order
    SUSPECT = 2  # it has to be looked through, part by part


# How instances of a type are looked over; plain integers, since looking up a member of an enum costs as much as the look.
_NOTHING, _ITEMS, _FIELDS, _KEYED, _UNORDERED, _PARTS, _TEST, _BAD = range(8)
_ways: dict[type[Any], tuple[int, Callable[[Any], Any]]] = {}
_LONG = 16
"""Parts from which a set of their types costs less than a look at each."""


def _slotted(names: tuple[str, ...]) -> Callable[[Any], list[Any]]:
    return lambda value: [getattr(value, name, None) for name in names]


def _way_of(kind: type[Any]) -> tuple[int, Callable[[Any], Any]]:
    if len(_ways) >= _MAX_CACHED:
        _ways.clear()
    _ways[kind] = way = _find_way(kind)
    return way


def _find_way(kind: type[Any]) -> tuple[int, Callable[[Any], Any]]:
    if issubclass(kind, Enum):
        return (_NOTHING if enum_is_uniform(kind) else _BAD), bool
    for types, code in ((SEQUENCES, _ITEMS), (MAPPINGS, _KEYED), (SETS, _UNORDERED), ((msgspec.Raw,), _BAD)):
        if issubclass(kind, types):
            return code, bool
    if issubclass(kind, CLOCKS):
        return _TEST, offset_is_whole
    if issubclass(kind, Decimal):
        return _TEST, Decimal.is_finite
    if issubclass(kind, float):
        return _TEST, math.isfinite
    if issubclass(kind, msgspec.Struct):
        return (_BAD, bool) if unreadable(kind) else (_PARTS, msgspec.structs.astuple)
    if is_model(kind):
        return _PARTS, lambda value: model_parts(value).values()
    names = field_names(kind)
    if names is None:
        return _NOTHING, bool
    if unreadable(kind):
        return _BAD, bool
    has_slots = any("__slots__" in base.__dict__ for base in kind.__mro__[:-1])
    return (_PARTS, _slotted(names)) if has_slots else (_FIELDS, bool)


def look_over(root: Any, *, floats: bool) -> int:
    """Return a `Finding` about `root`, which has just been encoded.

    Level by level, so that the depth is known without counting.

    Args:
        root: Any value.
        floats: Whether floats may be infinite or NaN; there is a `null` in the output then.
    """
    exact = _EXACT if floats else _EXACT_OR_FLOAT
    finding = 0
    level = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            kind = type_of(value)
            code, get = _ways.get(kind) or _way_of(kind)
            parts: Iterable[Any]
            if code == _FIELDS:
                parts = value.__dict__.values()
            elif code == _ITEMS:
                parts = value
                if len(value) >= _LONG and exact.issuperset(map(type, value)):
                    continue
            elif code == _KEYED:
                if not _keys_are_safe(value):
                    return Finding.SUSPECT
                parts = value.values()
            elif code == _UNORDERED:
                if len(value) > 1:
                    finding = Finding.UNORDERED
                parts = value
            elif code == _PARTS:
                parts = get(value)
            elif code == _NOTHING:
                continue
            elif code == _BAD or not get(value):
                return Finding.SUSPECT
            else:
                continue
            for part in parts:
                if type(part) not in exact:
                    below.append(part)  # noqa: PERF401 a comprehension costs more than it saves for a few parts
        if not below:
            return finding
        level = below
    return Finding.SUSPECT


def _keys_are_safe(value: dict[Any, Any]) -> bool:
    for key in value:
        if type(key) is not str:
            kinds = set(map(type, value))
            return len(kinds) == 1 and kinds <= _KEYS
    return True
