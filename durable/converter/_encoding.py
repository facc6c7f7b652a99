"""Values to JSON bytes: as fast as msgspec where nothing can go wrong, and never silently wrong."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from datetime import date, datetime
from pathlib import PurePath
from typing import Any, NoReturn

import msgspec

from durable.converter._faults import MAX_DIGITS, TOO_DEEP, Knows, a_kind, find_fault, unsupported
from durable.converter._models import is_model, write_model
from durable.converter._settle import settle
from durable.converter._shapes import MAX_DEPTH, Finding, look_over, type_of
from durable.exceptions import ConversionError

SHORT = 2 * MAX_DEPTH
"""Bytes. A level takes an opening and a closing bracket: text up to this length cannot be too deep."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_DIGIT_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * MAX_DIGITS
SIMPLE = frozenset({int, str, bool})
"""Types without parts that are always written exactly."""


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


class JsonWriter:
    """Writes values as JSON, those of further types too.

    Args:
        plain: Returns a value of a type that is not known here as one that is, or as it was.
    """

    def __init__(self, plain: Callable[[Any], Any]) -> None:
        self._plain = plain
        self.write: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=self._encode_other).encode

    def knows(self, value: Any) -> bool:
        """Whether a value of a type that is not known here can be written."""
        return self._plain(value) is not value

    def _encode_other(self, value: Any) -> Any:
        plain = self._plain(value)
        return _encode_other(value) if plain is value else plain


def encode_json(value: Any, path: str, index: int | None = None, writer: JsonWriter | None = None) -> bytes:
    """Return `value` as JSON that decodes to an equal value, given the right type; equal values give equal bytes.

    Raises:
        ConversionError: A part of it cannot be stored; the text says which, where and why.
    """
    encode: Callable[[Any], bytes] = _encode
    knows: Knows | None = None
    if writer is not None:
        encode, knows = writer.write, writer.knows
    try:
        data = encode(value)
        size = len(data)
        if size <= SHORT and type(value) in SIMPLE:
            return data
        finding = look_over(value, floats=data.find(b"null") >= 0)  # `in` costs twice as much
        # Python refuses to write such a number itself, unless its limit was raised in this process.
        if size > MAX_DIGITS and _LONG_NUMBER in data.translate(_DIGIT_TO_ZERO):
            finding = Finding.SUSPECT
        if finding:
            if finding == Finding.SUSPECT:
                find_fault(value, where(path, index), knows)
            data = encode(settle(value, encode))
            if finding == Finding.SUSPECT and is_too_deep(data):
                raise ConversionError(TOO_DEEP, path=where(path, index))
        return data
    except ConversionError:
        raise
    except Exception as error:
        refuse(value, where(path, index), error, knows)


def where(path: str, index: int | None) -> str:
    """Return what a value is called that is the `index`th of several, or the only one."""
    return path if index is None else f"{path}[{index}]"


def refuse(value: Any, path: str, error: Exception, knows: Knows | None = None) -> NoReturn:
    """Say which part of `value` made encoding fail with `error`.

    Raises:
        ConversionError: Always.
    """
    try:
        find_fault(value, path, knows)
    except ConversionError as fault:
        raise fault from None
    except Exception:
        pass
    raise ConversionError(f"{a_kind(value)} cannot be stored: {error}", path=path) from error


def _encode_other(value: Any) -> Any:
    """msgspec's hook for the types it does not know."""
    if is_model(type_of(value)):
        return _encode_model(value)
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
        if getattr(value, "nanosecond", 0):
            raise TypeError("nanoseconds would be lost")
        return datetime.combine(date(value.year, value.month, value.day), value.timetz())
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    if isinstance(value, _DEQUES):
        return list(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(unsupported(value))


_DEQUES: tuple[type[Any], ...] = (deque,)


def _encode_model(value: Any) -> msgspec.Raw:
    """A pydantic model as pydantic writes it. NaN shows as `null`, as elsewhere, unless the model is set otherwise."""
    data = write_model(value)
    if b"NaN" in data or b"Infinity" in data:
        msgspec.json.decode(data)  # it refuses the bare words; as strings they are the model's own choice
    if len(data) > SHORT and is_too_deep(data):
        raise ValueError(TOO_DEEP)
    return msgspec.Raw(data)


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_encode_other).encode
