"""Values to JSON bytes: as fast as msgspec where nothing can go wrong, and never silently wrong."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import msgspec

from durable.converter._faults import MAX_DEPTH, MAX_DIGITS, find_fault, type_name
from durable.converter._shapes import field_names, is_model, needs_care
from durable.exceptions import ConversionError

# Two opening and closing brackets per level: shorter texts cannot be too deep, nor hold too long a number.
SHORT = 2 * MAX_DEPTH
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
# The look-behind makes it linear: a run of digits is tried once, from its start.
_LONG_NUMBER = re.compile(rb"(?<![0-9])[0-9]{%d}" % (MAX_DIGITS + 1))
_SIMPLE = frozenset({int, str, bool})


def is_too_deep(data: bytes) -> bool:
    """Whether JSON text nests more than `MAX_DEPTH` lists and objects, without recursion and in linear time.

    Each pass removes the innermost pairs of brackets, so there are as many passes as levels.
    """
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", data).translate(_TO_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            break
        brackets = inner
    # What is left of a well-formed text is too deep. A malformed one is the parser's to refuse, unless it is a tower.
    return b"[]" in brackets or brackets.count(b"[") > MAX_DEPTH


def encode_json(value: Any, path: str, index: int | None = None) -> bytes:
    """Return `value` as JSON that decodes to an equal value, given the right type; equal values give equal bytes.

    Raises:
        ConversionError: A part of it cannot be stored; the text says which, where and why.
    """
    try:
        data = _encode(value)
        if type(value) in _SIMPLE and len(data) <= SHORT:
            return data
        if (
            b"null" in data
            or needs_care(value)
            or (len(data) > SHORT and (is_too_deep(data) or _LONG_NUMBER.search(data)))
        ):
            find_fault(value, _where(path, index))
            data = _encode(_settle(value))
            if is_too_deep(data):
                raise ConversionError(f"nested deeper than {MAX_DEPTH} lists and objects", path=_where(path, index))
        return data
    except ConversionError:
        raise
    except Exception as error:  # noqa: BLE001 whatever an object's own code raised, the caller gets one error type
        return _refuse(value, _where(path, index), error)


def _where(path: str, index: int | None) -> str:
    return path if index is None else f"{path}[{index}]"


def _refuse(value: Any, path: str, error: Exception) -> Any:
    try:
        find_fault(value, path)
    except ConversionError as fault:
        raise fault from None
    except Exception:  # noqa: BLE001, S110 the object's own code again; the first error is the better report
        pass
    raise ConversionError(f"a {type_name(type(value))} cannot be stored: {error}", path=path) from error


def _encode_other(value: Any) -> Any:
    """msgspec's hook for the types it does not know."""
    kind: type[Any] = type(value)
    if is_model(kind):
        return msgspec.Raw(value.model_dump_json(by_alias=True, round_trip=True).encode())
    # Subclasses of plain types (numpy.float64, markupsafe.Markup, freezegun's dates) are stored as the plain type.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, bytes):
        return bytes(memoryview(value))
    if isinstance(value, datetime):
        return datetime.combine(date(value.year, value.month, value.day), value.timetz())
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    if isinstance(value, deque):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    raise TypeError(f"a {type_name(kind)} cannot be stored")


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_encode_other).encode


def _settle(value: Any) -> Any:
    """`value` with each set as a list in an order that is the same in every process; the rest as it is.

    The order of a set of strings depends on the process's hash seed. A replay elsewhere would encode the same arguments
    to other bytes. Only called with what `find_fault` accepts, so the recursion is at most `MAX_DEPTH` deep.
    """
    if isinstance(value, set | frozenset):
        return [msgspec.Raw(data) for data in sorted(_encode(_settle(part)) for part in value)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, dict):
        return {key: _settle(part) for key, part in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, list | tuple | deque):
        return [_settle(part) for part in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    kind: type[Any] = type(value)
    names = field_names(kind)
    if names is None or is_model(kind):
        return value
    changed: dict[str, Any] = {}
    for name in names:
        part = getattr(value, name, msgspec.UNSET)
        settled = _settle(part)
        if settled is not part:
            changed[name] = settled
    return _with_fields(value, kind, names, changed) if changed else value


def _with_fields(value: Any, kind: type[Any], names: tuple[str, ...], changed: dict[str, Any]) -> Any:
    """A copy with some fields replaced, made without the class's own code: it is encoded and thrown away."""
    if isinstance(value, msgspec.Struct):
        copy: Any = value.__copy__()  # pyright: ignore[reportUnknownVariableType, reportAttributeAccessIssue]
        for name, part in changed.items():
            msgspec.structs.force_setattr(copy, name, part)
        return copy
    copy = object.__new__(kind)
    for name in names:
        part = changed.get(name, getattr(value, name, msgspec.UNSET))
        if part is not msgspec.UNSET:
            object.__setattr__(copy, name, part)
    return copy
