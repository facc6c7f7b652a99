"""Search attributes as payloads: the form in which histories and rows carry them.

A payload's metadata `type` names the attribute's type, as Temporal's does, so that a value can be read without the key it
was set with. Data converters and codecs have no part in it: the database must be able to read what it is to find.
An unset attribute is a payload without a value: an update has to say what it removes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from durable._search_attributes import check_settable
from durable.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)
from durable.exceptions import HistoryCorruptError
from durable.history._payloads import BINARY_NULL, Payload

MAX_ATTRIBUTES = 100
"""Search attributes of one workflow. Temporal's limit."""

MAX_TOTAL = 40 * 1024
"""Bytes of all names and values of one workflow. Temporal's limit."""

_TYPE = "type"
_LABELS = {kind.label.encode(): kind for kind in SearchAttributeIndexedValueType}


def encode_search_attributes(
    attributes: TypedSearchAttributes, *, reserved: bool = False
) -> dict[str, Payload]:
    """Return the attributes as they are stored; equal attributes give equal bytes.

    Args:
        attributes: What to store.
        reserved: Whether names of the library's own are allowed; only the library itself may say so.

    Raises:
        ValueError: A name is reserved, or there are too many, or they are too large together.
    """
    if not reserved:
        for pair in attributes:
            check_settable(pair.key)
    return _checked({pair.key.name: _encode(pair.key, pair.value) for pair in attributes})


def encode_search_attribute_updates(updates: Iterable[SearchAttributeUpdate[Any]]) -> dict[str, Payload]:
    """Return the updates as they are stored. Of two updates of one name the later one stands, as if one were made after
    the other.

    Raises:
        ValueError: There are too many, or they are too large together.
    """
    return _checked({update.key.name: _encode(update.key, update.value) for update in updates})


def merge_search_attributes(
    stored: Mapping[str, Payload], updates: Mapping[str, Payload]
) -> dict[str, Payload]:
    """Return `stored` after `updates`, without what they unset.

    Raises:
        ValueError: There are too many now, or they are too large together.
    """
    return _checked(
        {name: payload for name, payload in {**stored, **updates}.items() if payload.encoding != BINARY_NULL}
    )


def decode_search_attributes(stored: Mapping[str, Payload]) -> TypedSearchAttributes:
    """Return the attributes that are set. Datetimes come back in UTC.

    Raises:
        HistoryCorruptError: This is not what `encode_search_attributes` wrote.
    """
    try:
        return TypedSearchAttributes(
            tuple(
                _decode(name, payload) for name, payload in stored.items() if payload.encoding != BINARY_NULL
            )
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HistoryCorruptError(f"search attributes cannot be read: {error}") from error


def _encode(key: SearchAttributeKey[Any], value: object) -> Payload:
    metadata = {_TYPE: key.indexed_value_type.label.encode()}
    if value is None:
        return Payload(encoding=BINARY_NULL, metadata=metadata)
    if isinstance(value, datetime):
        value = value.astimezone(UTC).isoformat()
    return Payload(msgspec.json.encode(value), metadata=metadata)


def _decode(name: str, payload: Payload) -> SearchAttributePair[Any]:
    kind = _LABELS[payload.metadata[_TYPE]]
    value: Any = msgspec.json.decode(payload.data)
    if kind is SearchAttributeIndexedValueType.DATETIME:
        value = datetime.fromisoformat(value)
    return SearchAttributePair(SearchAttributeKey[Any](name, kind), value)


def _checked(payloads: dict[str, Payload]) -> dict[str, Payload]:
    if len(payloads) > MAX_ATTRIBUTES:
        raise ValueError(f"a workflow has at most {MAX_ATTRIBUTES} search attributes, not {len(payloads)}")
    total = sum(len(name.encode()) + len(payload.data) for name, payload in payloads.items())
    if total > MAX_TOTAL:
        largest = max(payloads, key=lambda name: len(payloads[name].data))
        raise ValueError(
            f"a workflow's search attributes are at most {MAX_TOTAL} bytes together, not {total}; "
            f"the largest is {largest!r}. Keep what is not searched for in the memo"
        )
    return payloads
