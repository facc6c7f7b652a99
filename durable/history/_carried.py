"""The payloads that facts carry, wherever they stand in them: what a codec is given, and where its answers go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from durable.history._failures import Failure
from durable.history._payloads import Payload

Change = Callable[[Payload], Payload]
ChangeOf = Callable[[Payload, str], Payload]
"""Is also told in which field the payload stands."""

S = TypeVar("S", bound=msgspec.Struct)

OPEN = frozenset({"search_attributes"})
"""Fields whose payloads the database itself reads, so that nothing may make them unreadable."""

_NO_VALUE = Payload()
"""What stands in a field that nobody has set; no value is written like this."""

# As tuples of `type[Any]`, so that an `isinstance` leaves `Any` alone instead of making it half unknown.
_LISTS: tuple[type[Any], ...] = (tuple,)
_TABLES: tuple[type[Any], ...] = (dict,)


def with_payloads(facts: S, change: Change) -> S:
    """Return `facts` with `change(payload)` in the place of each payload, always asked for in the same order.

    Facts without payloads are returned as they are.
    """
    return with_fields(facts, lambda payload, _: change(payload))


def with_fields(facts: S, change: ChangeOf) -> S:
    """Return `facts` with `change(payload, field)` in the place of each payload, as `with_payloads` does.

    What belongs to a failure is told the field that the failure stands in.
    """
    changed: dict[str, Any] = {}
    for name in facts.__struct_fields__:
        if name not in OPEN:
            value = getattr(facts, name)
            new = _changed(value, name, change)
            if new is not value:
                changed[name] = new
    return msgspec.structs.replace(facts, **changed) if changed else facts


def _changed(value: Any, name: str, change: ChangeOf) -> Any:
    if isinstance(value, Payload):
        return value if value == _NO_VALUE else change(value, name)
    if isinstance(value, Failure):
        return _changed_failure(value, name, change)
    if isinstance(value, _LISTS):
        if value and isinstance(value[0], Payload):
            return tuple([change(item, name) for item in value])
    elif isinstance(value, _TABLES) and any(isinstance(entry, Payload) for entry in value.values()):
        return {key: change(entry, name) for key, entry in value.items()}
    return value


def _changed_failure(failure: Failure, name: str, change: ChangeOf) -> Failure:
    """The failure and its causes, from the outermost; a stored chain may be longer than Python can recurse."""
    chain: list[Failure] = []
    following: Failure | None = failure
    while following is not None:
        encoded = None if following.encoded is None else change(following.encoded, name)
        info = with_fields(following.info, lambda payload, _: change(payload, name))
        chain.append(Failure(following.message, following.stack_trace, info, None, encoded))
        following = following.cause
    made: Failure | None = None
    for one in reversed(chain):
        made = msgspec.structs.replace(one, cause=made)
    assert made is not None
    return made
