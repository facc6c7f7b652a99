"""Why a value cannot be stored, and where in it: the slow way, taken when encoding failed or is not to be trusted."""

from __future__ import annotations

import inspect
import io
import math
import types
from collections import deque
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from durable.converter._shapes import enum_is_uniform, field_names, is_model, offset_is_whole
from durable.exceptions import ConversionError

MAX_DEPTH = 128
"""Lists and objects inside each other. Python's own limit differs between releases and machines, and what one worker
writes every other has to read."""

MAX_DIGITS = 4_300
"""Digits of an integer; beyond it Python's and msgspec's decoders refuse to read it."""

_MAX_STEP = 60
"""Characters of one step of a path that are shown."""

_TOO_LARGE = 10**MAX_DIGITS
_LEAVES = (str, int, float, bytes, bytearray, memoryview, date, time, timedelta, UUID, Decimal, Enum)
_KEYS = (str, int, float, bytes, UUID, date, time, timedelta, Decimal, Enum)
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_encode_key = msgspec.json.Encoder().encode


def type_name(kind: Any) -> str:
    """Return the name of a type, with its module unless that is `builtins`."""
    name = getattr(kind, "__qualname__", None)
    if name is None or not isinstance(kind, type):
        return str(kind)
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def find_fault(root: Any, path: str) -> None:
    """Return only if every part of `root` can be stored.

    Depth first, with a stack of its own: values may be nested deeper than Python can recurse, or contain themselves.

    Raises:
        ConversionError: It names the first part that cannot be stored, and where it is.
    """
    steps: list[str] = []
    frames: list[Iterator[tuple[str, Any]]] = []
    owners: list[int] = []
    active: set[int] = set()
    step, value = "", root
    while True:
        steps.append(step)
        parts = None
        fault = _fault(value)
        if fault is None and (parts := _parts(value)) is not None:
            if id(value) in active:
                fault = f"a {type_name(type(value))} contains itself, and what is stored has an end"
            elif len(frames) >= MAX_DEPTH:
                fault = f"nested deeper than {MAX_DEPTH} lists and objects"
            elif isinstance(value, dict):
                fault = _key_fault(value)  # pyright: ignore[reportUnknownArgumentType]
        if fault is not None:
            raise ConversionError(fault, path=_shorten(path + "".join(steps)))
        if parts is None:
            steps.pop()
        else:
            frames.append(parts)
            owners.append(id(value))
            active.add(id(value))
        while frames:
            following = next(frames[-1], None)
            if following is not None:
                step, value = following
                break
            frames.pop()
            active.discard(owners.pop())
            steps.pop()
        else:
            return


def _shorten(path: str) -> str:
    return path if len(path) <= 1_000 else f"{path[:500]}...{path[-500:]}"


def _parts(value: Any) -> Iterator[tuple[str, Any]] | None:
    """The parts of a container with the step that leads to each, or `None` if it is none."""
    if isinstance(value, dict):
        return ((_key_step(key), part) for key, part in value.items())  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple | deque):
        return ((f"[{index}]", part) for index, part in enumerate(value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, set | frozenset):
        return (("{...}", part) for part in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, type) or isinstance(value, _LEAVES):
        return None
    names = field_names(type(value))
    if names is None:
        return None
    return ((f".{name}", getattr(value, name, None)) for name in names)


def _key_step(key: object) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f".{key}" if len(key) <= _MAX_STEP else f".{key[:_MAX_STEP]}..."
    shown = ascii(key)
    return f"[{shown}]" if len(shown) <= _MAX_STEP else f"[{shown[:_MAX_STEP]}...]"


def _key_fault(value: dict[Any, Any]) -> str | None:
    """What is wrong with the keys; JSON's are strings, so others have to become strings without two becoming one."""
    for key in value:
        if not isinstance(key, _KEYS) or isinstance(key, bool):
            return (
                f"a key is a {type_name(type(key))}; keys may be strings, numbers, enums, UUIDs, dates, times or bytes"
            )
        fault = _fault(key)
        if fault is not None:
            return f"the key {ascii(key)[:_MAX_STEP]}: {fault}"
    if len(set(map(type, value))) > 1:
        seen: dict[bytes, Any] = {}
        for key in value:
            text = _encode_key({key: 0})
            if text in seen:
                return f"the keys {seen[text]!r} and {key!r} would both be written as {text[1:-3].decode()}"
            seen[text] = key
    return None


def _fault(value: Any) -> str | None:  # noqa: C901 one answer per kind of value
    """What is wrong with `value` itself, its parts aside."""
    if isinstance(value, Enum):
        if not enum_is_uniform(type(value)):
            return f"{type_name(type(value))} has values other than all strings or all integers, which cannot be read back"
        return _fault(value.value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"a string holds a lone surrogate ({ascii(value[error.start])} at {error.start}), which is not Unicode"
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"the float {float(value)!r} has no form in JSON; use None, or a string"
    if isinstance(value, int):
        return f"an integer has more than {MAX_DIGITS:,} digits" if abs(value) >= _TOO_LARGE else None
    if isinstance(value, Decimal):
        return None if value.is_finite() else f"the Decimal {value} is not a finite number"
    if isinstance(value, datetime | time):
        if not offset_is_whole(value):
            return f"the UTC offset {value.utcoffset()} is not a whole number of minutes, and would be rounded"
        nanosecond = getattr(value, "nanosecond", 0)
        return f"a {type_name(type(value))} with nanoseconds, which would be lost" if nanosecond else None
    if isinstance(value, msgspec.Raw):
        try:
            msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return f"a msgspec.Raw does not hold JSON: {error}"
        return None
    if value is None or value is msgspec.UNSET or isinstance(value, _LEAVES + _CONTAINERS):
        return None
    if not isinstance(value, type) and (field_names(type(value)) is not None or is_model(type(value))):
        return None
    return _unsupported(value)


def _unsupported(value: object) -> str:
    name = type_name(type(value))
    if inspect.isawaitable(value):
        return f"a {name} cannot be stored: an `await` is missing"
    if isinstance(value, type):
        return f"the class {type_name(value)} cannot be stored; pass an instance, or a name"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
        return f"a {name} ({value.__qualname__}) cannot be stored: code is not data; pass a name"
    if inspect.isgenerator(value) or inspect.isasyncgen(value) or isinstance(value, Iterator):
        return f"a {name} cannot be stored; make a list of it"
    if isinstance(value, io.IOBase):
        return f"a {name} cannot be stored: it lives in this process only; pass the path of the file, or what it holds"
    return f"a {name} cannot be stored; make it a dataclass, a msgspec.Struct or plain data"
