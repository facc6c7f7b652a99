"""One name, one type: what a client asks the database before it sets a search attribute."""

from __future__ import annotations

from collections.abc import Mapping

from durable.client._connection import Connection
from durable.common import SearchAttributeIndexedValueType
from durable.history import Payload
from durable.history._search_attributes import decode_search_attributes
from durable.store import Inside


async def check_types(
    connection: Connection, attributes: Mapping[str, Payload], inside: Inside | None = None
) -> None:
    """Return only if each of these attributes is of the type that its name has in this database; a new name gets its type.

    Raises:
        ValueError: One has another type.
        StoreUnavailableError: The database is away.
    """
    wanted = {key.name: int(key.indexed_value_type) for key, _ in decode_search_attributes(attributes)}
    if inside is not None:
        known = await inside.attribute_types(wanted)
    else:
        known = await connection.patiently(lambda: connection.store.attribute_types(wanted))
    for name, kind in wanted.items():
        if known[name] != kind:
            there = SearchAttributeIndexedValueType(known[name]).label
            asked = SearchAttributeIndexedValueType(kind).label
            raise ValueError(
                f"search attribute {name!r} is of type {there} in this database, not {asked}; one name has one type, "
                "so that filters on it mean one thing: choose another name"
            )
