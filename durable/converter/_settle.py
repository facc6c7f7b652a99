"""One order for every set, in every process.

The order of a set of strings depends on the process's hash seed: a replay elsewhere would encode the same arguments to
other bytes, and what is derived from these bytes would differ.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec

from durable.converter._shapes import MAPPINGS, SEQUENCES, SETS, field_names, type_of


def settle(value: Any, encode: Callable[[Any], bytes]) -> Any:
    """Return `value` with each set as a list ordered by its members' bytes, and each `msgspec.Raw` as what it holds.

    What holds neither is returned as it is. The recursion is as deep as the value, which was found to be not too deep.
    """
    if isinstance(value, SETS):
        return [msgspec.Raw(data) for data in sorted([encode(settle(part, encode)) for part in value])]
    if isinstance(value, MAPPINGS):
        return {key: settle(part, encode) for key, part in value.items()}
    if isinstance(value, SEQUENCES):
        return [settle(part, encode) for part in value]
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    names = field_names(type_of(value))
    if names is None:
        return value
    changed: dict[str, Any] = {}
    for name in names:
        part = getattr(value, name, msgspec.UNSET)
        settled = settle(part, encode)
        if settled is not part:
            changed[name] = settled
    return _replace(value, names, changed) if changed else value


def _replace(value: Any, names: tuple[str, ...], changed: dict[str, Any]) -> Any:
    """A copy with some fields replaced, made without the class's own code: it is encoded and thrown away."""
    if issubclass(type_of(value), msgspec.Struct):
        struct = copy.copy(value)
        for name, part in changed.items():
            msgspec.structs.force_setattr(struct, name, part)
        return struct
    made = object.__new__(type_of(value))
    for name in names:
        part = changed.get(name, getattr(value, name, msgspec.UNSET))
        if part is not msgspec.UNSET:
            object.__setattr__(made, name, part)
    return made
