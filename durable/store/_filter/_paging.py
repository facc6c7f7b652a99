"""Where a page of a list ended, as an opaque token.

A token holds the sort key of the page's last row: the next page begins behind it, whatever has been started or closed in
between. It is not signed, since whoever has it may ask for any row anyhow; it is validated, since it goes into SQL.
"""

from __future__ import annotations

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from uuid import UUID

import msgspec

from durable.store._filter._check import ListQuery
from durable.store._filter._columns import Column, Kind
from durable.store._filter._fault import FilterError
from durable.store._filter._values import Stored

MAX_TOKEN = 256 * 1024
"""Bytes of a token: eight keys of 2 KB each, however they are escaped, fit."""

Position = tuple[Stored | None, ...]
"""A row's values of the keys it is ordered by, None for what is unset; the last is its run id."""


class _Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    fingerprint: str
    position: tuple[str | int | float | None, ...]


def encode_token(query: ListQuery, keys: Sequence[object]) -> bytes:
    """The token of the page that ends with the row of these keys, as the database gave them."""
    position = tuple(str(key) if isinstance(key, UUID) else key for key in keys)
    token = _Token(1, query.fingerprint, msgspec.convert(position, Position))
    return urlsafe_b64encode(msgspec.json.encode(token))


def decode_token(query: ListQuery, token: bytes) -> Position:
    """Where the page ended.

    Raises:
        FilterError: This is no token, or one of another filter, or of another release.
    """
    try:
        if len(token) > MAX_TOKEN:
            raise ValueError
        read = msgspec.json.decode(urlsafe_b64decode(token), type=_Token)
    except (ValueError, TypeError):  # binascii.Error and msgspec's errors are ValueErrors
        raise FilterError(
            0, "this is no page token; pass on the one that came with the page before"
        ) from None
    if read.version != 1:
        raise FilterError(0, f"this page token has version {read.version}, this release reads 1; begin again")
    if read.fingerprint != query.fingerprint:
        raise FilterError(
            0, "this page token is of another filter; keep the filter for all pages, or begin again"
        )
    if len(read.position) != len(query.order) or not all(
        _fits(key.column, value) for key, value in zip(query.order, read.position, strict=False)
    ):
        raise FilterError(0, "this page token is damaged; begin again without one")
    return read.position


def _fits(column: Column, value: Stored | None) -> bool:
    match column.kind, value:
        case _, None:
            return column.nullable
        case Kind.KEYWORD, str():
            return "\0" not in value
        case Kind.RUN_ID, str():
            try:
                return str(UUID(value)) == value
            except ValueError:
                return False
        case Kind.DOUBLE, float():
            return math.isfinite(value)
        case ((Kind.INT | Kind.BOOL | Kind.DATETIME | Kind.DURATION | Kind.STATUS), int()):
            low, high = (0, 255) if column.kind is Kind.STATUS else (-(2**63), 2**63 - 1)
            return low <= value <= high
        case _:
            return False
