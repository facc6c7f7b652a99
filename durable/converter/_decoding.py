"""JSON bytes to values of the type that was asked for, or an error that names the place, never something else."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePath
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, NoReturn, TypeVar, Union, cast, get_args, get_origin

import msgspec

from durable.converter._encoding import SHORT, is_too_deep, where
from durable.converter._faults import TOO_DEEP, type_name
from durable.converter._models import InvalidModelError, is_model, read_model
from durable.converter._shapes import BYTES
from durable.converter._text import clean
from durable.converter._unions import tell_apart
from durable.exceptions import ConversionError

Decode = Callable[[bytes], Any]

_MAX_CACHED = 4_096
"""Hints remembered; a program that makes types without end starts over now and then, and does not leak."""

MAX_TEXT = 500
"""Characters of what msgspec or a constructor says about a value; some of it quotes the value."""

_ANYTHING = (Any, object)
_PLAIN: tuple[type[Any], ...] = (str, int, float)
_CONTAINERS: tuple[tuple[Any, Any, tuple[Any, ...]], ...] = (
    (deque, list, (Any,)),
    (Counter, dict, (Any, int)),
    (OrderedDict, dict, (Any, Any)),
)
"""Classes of containers that msgspec does not know, what they are read as first, and the types of their parts."""
_AT = re.compile(r"^(?P<text>.*) - at (?P<key>`key(?: in|s in)?` in |`key` in )?`\$(?P<path>.*)`$", re.DOTALL)
_plain: dict[Any, Decode] = {}

UNTOUCHED: Any = object()
"""What a hook for further types answers about a type that it does not know."""


class JsonReader:
    """Reads JSON as values of the types that are asked for, and remembers how.

    Args:
        typed: Returns plain data as a value of a hint that is not known here, or `UNTOUCHED`.
    """

    def __init__(self, typed: Callable[[Any, Any], Any] | None = None) -> None:
        self._typed = typed
        self._known: dict[Any, Decode] = {}

    def read(self, data: bytes, hint: Any, path: str, index: int | None = None) -> Any:
        """Return the value of type `hint` that `data` was made from.

        Raises:
            ConversionError: The text is not strict JSON, is nested too deep, or is not of this type.
        """
        try:
            decode = self._known.get(hint)
        except TypeError:  # a hint with unhashable metadata
            decode = None
        try:
            if decode is None:
                decode = _remember(self._known, hint, self._decoder(hint))
            if len(data) > SHORT and is_too_deep(data):
                raise ConversionError(TOO_DEEP)
            if not data.isascii():
                data.decode()  # msgspec does not look into what it skips
            return decode(data)
        except Exception as error:
            _refuse(error, hint, where(path, index))

    def _decoder(self, hint: Any) -> Decode:
        members = _members(hint)
        others = [member for member in members if not _is_bytes(member)]
        if not others:
            # As a JSON string this would be base64, and "abcd", which was passed by mistake, is valid base64.
            return _mismatch(hint, "JSON")
        if len(others) < len(members):
            hint = Union[tuple(others)]  # noqa: UP007 made from a tuple
        if isinstance(hint, type) and is_model(hint):
            return lambda data: read_model(hint, data)
        try:
            return msgspec.json.Decoder(hint, dec_hook=self._decode_other).decode
        except TypeError:
            decode = tell_apart(others, self._decoder) if len(others) > 1 else None
            if decode is None:
                raise
            return decode

    def _decode_other(self, hint: Any, value: Any) -> Any:
        """msgspec's hook for the types it does not know; `value` is plain data."""
        if self._typed is not None and (made := self._typed(hint, value)) is not UNTOUCHED:
            return made
        kind = get_origin(hint) or hint
        if isinstance(kind, type):
            if kind is object:
                return value
            if is_model(kind):
                return read_model(hint, msgspec.json.encode(value))
            for base in _PLAIN:
                if issubclass(kind, base):
                    return kind(msgspec.convert(value, base))
            if issubclass(kind, PurePath):
                return kind(msgspec.convert(value, str))
            for base, plain, arguments in _CONTAINERS:
                if issubclass(kind, base):
                    make = cast("Callable[[Any], Any]", kind)
                    return make(self._convert(value, plain, get_args(hint), arguments))
            if kind is Iterable:
                return self._convert(value, list, get_args(hint), (Any,))
        raise ValueError(
            f"Expected `{type_name(hint)}`, which cannot be read back; use a dataclass, a msgspec.Struct or plain data"
        )

    def _convert(self, value: Any, plain: type[Any], given: tuple[Any, ...], usual: tuple[Any, ...]) -> Any:
        """Plain data as a list or dict, with parts of the types that were given, or else of the usual ones."""
        hint: Any = GenericAlias(plain, (given + usual[len(given) :])[: len(usual)])
        return msgspec.convert(value, hint, str_keys=True, dec_hook=self._decode_other)


_reader = JsonReader()
decode_json = _reader.read


def decode_bytes(data: bytes, hint: Any, path: str) -> Any:
    """Return `data`, which was stored as bytes, as `hint` wants it.

    Raises:
        ConversionError: Something else than bytes was asked for.
    """
    try:
        convert = _plain.get(hint)
    except TypeError:
        convert = None
    if convert is None:
        convert = _remember(_plain, hint, _bytes_converter(hint))
    try:
        return convert(data)
    except ConversionError as error:
        raise ConversionError(str(error), path=path) from None


def decode_null(hint: Any, path: str) -> Any:
    """Return `None` if `hint` allows it.

    Raises:
        ConversionError: It does not.
    """
    if hint is None or hint is NoneType or hint in _ANYTHING:
        return None
    return decode_json(b"null", hint, path)


def _remember(cache: dict[Any, Decode], hint: Any, decode: Decode) -> Decode:
    if len(cache) >= _MAX_CACHED:
        cache.clear()
    with suppress(TypeError):  # a hint with unhashable metadata is worked out each time
        cache[hint] = decode
    return decode


def _members(hint: Any) -> list[Any]:
    """The types a hint stands for: a union's members, and what `Annotated` and `NewType` only name."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        else:
            break
    if get_origin(hint) in (Union, UnionType):
        return [member for part in get_args(hint) for member in _members(part)]
    return [hint]


def _is_bytes(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, BYTES)


def _bytes_converter(hint: Any) -> Decode:
    for member in _members(hint):
        if member in _ANYTHING or member is bytes or isinstance(member, TypeVar):
            return bytes
        if _is_bytes(member):
            return lambda data: member(data)
    return _mismatch(hint, "bytes")


def _mismatch(hint: Any, found: str) -> Decode:
    def refuse(data: bytes) -> NoReturn:
        raise ConversionError(f"expected {type_name(hint)}, found {'null' if data == b'null' else found}")

    return refuse


def _refuse(error: Exception, hint: Any, path: str) -> NoReturn:
    """Say in our words what is wrong with the text, the value or the hint."""
    if isinstance(error, ConversionError):
        raise ConversionError(str(error), path=path) from None
    if isinstance(error, InvalidModelError):
        raise ConversionError(
            f"not a valid {type_name(hint)}: {error.text}", path=path + error.where
        ) from None
    if isinstance(error, UnicodeDecodeError):
        raise ConversionError(f"what is stored is not UTF-8: {error}", path=path) from None
    if isinstance(error, msgspec.ValidationError):
        text = clean(str(error), MAX_TEXT)
        if found := _AT.match(text):
            text = found["text"] + (" as a key" if found["key"] else "")
            path += found["path"]
        text = text[:1].lower() + text[1:].replace(", got ", ", found ")
        raise ConversionError(text, path=path) from None
    if isinstance(error, msgspec.DecodeError):
        raise ConversionError(f"what is stored is not JSON: {error}", path=path) from None
    remedy = (
        "; JSON cannot tell them apart: use a union of msgspec.Struct with tags"
        if "unions" in str(error)
        else ""
    )
    raise ConversionError(
        f"cannot be read as {type_name(hint)}: {type(error).__name__}: {clean(str(error), MAX_TEXT)}{remedy}",
        path=path,
    ) from error
