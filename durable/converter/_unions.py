"""Unions of classes with fields, which JSON alone does not tell apart: told apart by the names of the fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast, get_origin

import msgspec

from durable.converter._faults import type_name
from durable.converter._models import is_model, model_fields
from durable.converter._shapes import MAPPINGS
from durable.exceptions import ConversionError

Decode = Callable[[bytes], Any]


def tell_apart(members: list[Any], make: Callable[[Any], Decode]) -> Decode | None:
    """Return a decoder for a union of `members`, or `None` if an object could be none or several of these by design.

    An object is read as the member whose fields it has: all required ones and no others. If it fits several, as the one
    that has exactly its fields. An instance is written with all its fields, so only classes with the same names clash.

    Args:
        members: What the union consists of, `None` aside or included.
        make: How to get a decoder for one type, or a union that msgspec accepts.
    """
    objects = [(member, names) for member in members if (names := _names(member)) is not None]
    others = [member for member in members if _names(member) is None]
    if len(objects) < 2 or any(_is_mapping(member) for member in others):
        return None
    by_name = [(required, allowed, make(member)) for member, (required, allowed) in objects]
    shown = " | ".join(type_name(member) for member in members)
    rest: Any = None
    for member in others:
        rest = member if rest is None else rest | member
    decode_rest = make(rest) if others else None

    def decode(data: bytes) -> Any:
        plain = msgspec.json.decode(data)
        if not isinstance(plain, MAPPINGS):
            if decode_rest is None:
                raise ConversionError(f"expected {shown}, found {type_name(type(plain))}")
            return decode_rest(data)
        keys = frozenset(plain)
        fits = [entry for entry in by_name if entry[0] <= keys <= entry[1]]
        if len(fits) > 1:
            fits = [entry for entry in fits if entry[1] == keys]
        if len(fits) != 1:
            raise ConversionError(
                f"expected {shown}, found an object that cannot be told to be one of them by its "
                f"fields ({', '.join(sorted(keys)[:10])}); use msgspec.Struct with tags"
            )
        return fits[0][2](data)

    return decode


def _is_mapping(member: Any) -> bool:
    kind = get_origin(member) or member
    return kind is Any or kind is object or (isinstance(kind, type) and issubclass(kind, MAPPINGS))


def _names(member: Any) -> tuple[frozenset[str], frozenset[str]] | None:
    """The names that an object must have and may have to be an instance; `None` if instances are no objects."""
    origin: Any = get_origin(member) or member
    if not isinstance(origin, type):
        return None
    kind = cast("Any", origin)
    fields: list[tuple[str, bool]]
    if issubclass(kind, msgspec.Struct):
        if kind.__struct_config__.omit_defaults or kind.__struct_config__.array_like:
            raise TypeError(
                f"{type_name(kind)} in a union needs a tag: it is not written with all its fields"
            )
        fields = [(field.encode_name, field.required) for field in msgspec.structs.fields(kind)]
    elif dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        if not all(field.init for field in dataclasses.fields(kind)):
            raise TypeError(
                f"{type_name(kind)} in a union needs all its fields in __init__, to be told by them"
            )
        fields = [
            (field.name, field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(kind)
        ]
    elif is_model(kind):
        fields = model_fields(kind)
    else:
        return None
    return frozenset(name for name, required in fields if required), frozenset(name for name, _ in fields)
