"""Why a value cannot be stored, and where in it: the slow way, taken when encoding failed or is not to be trusted."""

from __future__ import annotations

import inspect
import io
import math
import types
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import msgspec

from durable.converter._models import is_model, model_parts
from durable.converter._shapes import (
    BYTES,
    CLOCKS,
    MAPPINGS,
    MAX_DEPTH,
    SEQUENCES,
    SETS,
    Types,
    enum_is_uniform,
    field_names,
    offset_is_whole,
    type_of,
    unreadable,
)
from durable.exceptions import ConversionError

MAX_DIGITS = 4_300
"""Characters of an integer, its sign included: more than that no decoder reads. Python stops there, counting digits, to
keep a quadratic conversion short, and msgspec, counting characters."""

TOO_DEEP = f"nested deeper than {MAX_DEPTH} lists and objects"

_MAX_STEP = 60
"""Characters of one step of a path that are shown."""

_MAX_PATH = 400
"""Characters of a path that are shown."""

_TOO_LARGE = 10**MAX_DIGITS
_TOO_SMALL = -(10 ** (MAX_DIGITS - 1))
_SCALARS: Types = (str, int, float, *BYTES, date, *CLOCKS, timedelta, UUID, Decimal, Enum)
_LEAVES: Types = (*_SCALARS, PurePath, msgspec.UnsetType)
_KEYS: Types = (str, int, float, bytes, UUID, date, *CLOCKS, timedelta, Decimal, Enum)
_FILES: Types = (io.IOBase,)
_CODE: Types = (types.FunctionType, types.BuiltinFunctionType, types.MethodType)
_encode_key = msgspec.json.Encoder().encode

Parts = Iterator[tuple[str, Any]]
Knows = Callable[[Any], bool]


def type_name(kind: Any) -> str:
    """Return the name of a type or type hint, with its module unless that is `builtins`."""
    if not isinstance(kind, type) or isinstance(kind, types.GenericAlias):
        return str(kind)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def find_fault(root: Any, path: str, knows: Knows | None = None) -> None:
    """Return only if every part of `root` can be stored.

    Depth first, with a stack of its own: values may be nested deeper than Python can recurse, or contain themselves.

    Args:
        root: The value.
        path: What the caller calls it.
        knows: Whether a value of a type that is not known here can be stored all the same.

    Raises:
        ConversionError: It names the first part that cannot be stored, and where it is.
    """
    steps: list[str] = []
    frames: list[
        tuple[Parts, Any, bool]
    ] = []  # parts still to come, whose they are, whether pydantic writes them
    active: set[int] = set()
    step, value, foreign = "", root, False
    while True:
        steps.append(step)
        fault = _fault(value, foreign)
        if fault and knows is not None and knows(value):
            fault = None
        parts = None if fault else _parts(value)
        if parts is not None:
            if id(value) in active:
                fault = f"{a_kind(value)} contains itself, and what is stored has an end"
            elif len(frames) >= MAX_DEPTH:
                fault = TOO_DEEP
            elif isinstance(value, MAPPINGS) and not foreign:
                fault = _key_fault(value)
        if fault:
            raise ConversionError(fault, path=_shorten(path + "".join(steps)))
        if parts is None:
            steps.pop()
        else:
            frames.append((parts, value, foreign or is_model(type_of(value))))
            active.add(id(value))
        while frames:
            parts, owner, foreign = frames[-1]
            following = next(parts, None)
            if following is not None:
                step, value = following
                break
            frames.pop()
            active.discard(id(owner))
            steps.pop()
        else:
            return


def a_kind(value: object) -> str:
    """Return the name of the type of `value`, with an article."""
    name = type_name(type(value))
    return f"an {name}" if name[0] in "aeiouAEIO" else f"a {name}"


def _shorten(path: str) -> str:
    half = _MAX_PATH // 2
    return path if len(path) <= _MAX_PATH else f"{path[:half]}...{path[-half:]}"


def _parts(value: Any) -> Parts | None:
    """The parts of a container with the step that leads to each, or `None` if it is none."""
    if isinstance(value, MAPPINGS):
        return ((_key_step(key), part) for key, part in value.items())
    if isinstance(value, SEQUENCES):
        return ((f"[{index}]", part) for index, part in enumerate(value))
    if isinstance(value, SETS):
        return (("{...}", part) for part in value)
    if isinstance(value, (type, *_LEAVES)):
        return None
    if is_model(type_of(value)):
        return ((f".{name}", part) for name, part in model_parts(value).items())
    names = field_names(type_of(value))
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
        if isinstance(key, bool) or not isinstance(key, _KEYS):
            return (
                f"{a_kind(key)} cannot be a key; strings, numbers, enums, UUIDs, dates, times and bytes can"
            )
        if fault := _fault(key, False):
            return f"the key {ascii(key)[:_MAX_STEP]}: {fault}"
    if len(set(map(type, value))) > 1:
        seen: dict[bytes, Any] = {}
        for key in value:
            text = _encode_key({key: 0})
            if text in seen:
                return f"the keys {seen[text]!r} and {key!r} would both be written as {text[1:-3].decode()}"
            seen[text] = key
    return None


def _fault(value: Any, foreign: bool) -> str | None:
    """What is wrong with `value` itself, its parts aside."""
    if isinstance(value, float):
        return (
            None
            if math.isfinite(value)
            else f"the float {value + 0.0!r} has no form in JSON; use None, or a string"
        )
    if foreign or value is None:
        return None
    if isinstance(value, Enum):
        if not enum_is_uniform(type(value)):
            return f"{a_kind(value)} cannot be read back: its values are neither all strings nor all integers"
        return _fault(value.value, foreign)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"the string holds a lone surrogate ({value[error.start]!a} at {error.start}), which is not Unicode"
        return None
    if isinstance(value, int):
        if _TOO_SMALL < value < _TOO_LARGE:
            return None
        return f"the integer has more than {MAX_DIGITS:,} digits, with its sign"
    if isinstance(value, Decimal):
        return None if value.is_finite() else f"the Decimal {value} is not a finite number"
    if isinstance(value, CLOCKS):
        if not offset_is_whole(value):
            return (
                f"the UTC offset {value.utcoffset()} is not a whole number of minutes, and would be rounded"
            )
        return (
            f"{a_kind(value)} with nanoseconds, which would be lost"
            if getattr(value, "nanosecond", 0)
            else None
        )
    if isinstance(value, msgspec.Raw):
        try:
            msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return f"the msgspec.Raw does not hold JSON: {error}"
        return None
    if isinstance(value, (*_LEAVES, *MAPPINGS, *SEQUENCES, *SETS)):
        return None
    kind = type_of(value)
    if not isinstance(value, type) and (field_names(kind) is not None or is_model(kind)):
        reason = unreadable(kind)
        return None if reason is None else f"{a_kind(value)} cannot be read back: {reason}"
    return unsupported(value)


def unsupported(value: object) -> str:
    """Return why an object of no known kind cannot be stored, and what to pass instead."""
    name = a_kind(value)
    if inspect.isawaitable(value):
        return f"{name} cannot be stored: an `await` is missing"
    if isinstance(value, type):
        return f"the class {type_name(value)} cannot be stored; pass an instance, or a name"
    if isinstance(value, _CODE):
        return (
            f"{name} ({getattr(value, '__qualname__', '?')}) cannot be stored: code is not data; pass a name"
        )
    if isinstance(value, _FILES):
        return f"{name} cannot be stored: it lives in this process only; pass the path of the file, or what it holds"
    if inspect.isasyncgen(value) or isinstance(value, Iterator):
        return f"{name} cannot be stored; make a list of it"
    return f"{name} cannot be stored; make it a dataclass, a msgspec.Struct or plain data"
