"""A value as it is stored: opaque bytes, and what they are."""

from __future__ import annotations

from msgspec import Struct

JSON_PLAIN = "json/plain"
BINARY_NULL = "binary/null"
BINARY_PLAIN = "binary/plain"


class Payload(Struct, frozen=True, gc=False, omit_defaults=True):
    """One value, encoded. The library never looks inside; only a payload converter or a codec does.

    Attributes:
        data: The bytes, kept as they are: no database type reorders, rounds or normalises them.
        encoding: How `data` is to be read, Temporal's `encoding` metadata.
        metadata: Whatever else a converter or a codec wants to find again.
    """

    data: bytes = b""
    encoding: str = JSON_PLAIN
    metadata: dict[str, bytes] = {}


Payloads = tuple[Payload, ...]
