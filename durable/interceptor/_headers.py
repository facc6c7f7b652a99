"""Headers: payloads that travel beside the arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from durable._internal.shown import shown
from durable.history import Payload

Headers = Mapping[str, Payload]


def checked_headers(headers: Mapping[Any, object]) -> dict[str, Payload]:
    """Return headers that can be stored.

    Raises:
        TypeError: They are not payloads by name.
    """
    name: object
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, Payload):
            raise TypeError(
                f"headers hold payloads by name, not {shown(value)} as {name!r}; make one with "
                "payload_converter.to_payload(value)"
            )
    return cast("dict[str, Payload]", dict(headers))
