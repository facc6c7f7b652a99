"""Identifiers: how they are made, and which ones, and which texts and switches, are accepted from outside."""

from __future__ import annotations

import unicodedata
from hashlib import sha256

from durable._internal import machine
from durable._internal.shown import shown

MAX_NAME_BYTES = 255
"""The longest id, type, queue or message name, in UTF-8 bytes: it fits every index of every database in use."""


def uuid7() -> str:
    """Return a fresh UUID of version 7, so that rows written together lie together in an index (RFC 9562)."""
    millis = machine.wall() // 1000
    value = (millis & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(machine.random_bytes(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derived_uuid(*parts: str) -> str:
    """Return the UUID that stands for these texts, always the same: version 8, a digest (RFC 9562)."""
    value = int.from_bytes(sha256("\0".join(parts).encode()).digest()[:16])
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def child_run_id(parent_run_id: str, id: int) -> str:
    """Return the first run id of the child that command `id` of a run starts: the same at every replay of the run."""
    return derived_uuid("durable child", parent_run_id, str(id))


def check_name(value: object, field: str) -> str:
    """Return `value` when it can name something for ever: 1 to 255 bytes of UTF-8 without control characters.

    Names are compared byte by byte: no folding, no normalisation.

    Raises:
        ValueError: It breaks one of these rules; the text names the field, the rule and the start of the value.
        TypeError: It is not a string.
    """
    if not isinstance(value, str):
        raise TypeError(f"{field} must be a string, not {type(value).__name__}")
    shown = ascii(value[:40])
    if not value.strip():
        raise ValueError(f"{field} must not be empty or blank: {shown}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{field} must be valid Unicode, without lone surrogates: {shown}") from None
    if size > MAX_NAME_BYTES:
        raise ValueError(f"{field} must be at most {MAX_NAME_BYTES} bytes, not {size}: {shown}...")
    # What can be printed is the common case, and none of these.
    if not value.isprintable() and any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in value):
        raise ValueError(f"{field} must not contain control characters or line breaks: {shown}")
    return value


MAX_TEXT_BYTES = 64 * 1024
"""The longest reason or note, in UTF-8 bytes: a text for people, which is stored beside what it is about."""


def check_text(value: object, field: str, *, most: int | None = None) -> str:
    """Return `value` when it can be stored: valid Unicode, with any line breaks.

    Raises:
        ValueError: It holds a lone surrogate, or takes more than `most` bytes; the text names the field.
        TypeError: It is not a string.
    """
    if not isinstance(value, str):
        raise TypeError(f"{field} must be a string, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{field} must be valid Unicode, without lone surrogates: {value[:40]!a}") from None
    if most is not None and size > most:
        raise ValueError(f"{field} must be at most {most:,} bytes, not {size:,}: {value[:40]!a}...")
    return value


def check_note(value: object, field: str) -> str:
    """Return `value` when it can be a text for people: as `check_text`, and no longer than `MAX_TEXT_BYTES`.

    Raises:
        ValueError: It holds a lone surrogate, or is longer; the text names the field.
        TypeError: It is not a string.
    """
    return check_text(value, field, most=MAX_TEXT_BYTES)


def check_optional_name(value: object, field: str) -> str | None:
    """Return `value` when it is None, or `check_name` takes it.

    Raises:
        ValueError: See `check_name`.
        TypeError: It is neither.
    """
    return None if value is None else check_name(value, field)


def check_flag(value: object, field: str) -> bool:
    """Return `value` when it is True or False, and nothing else: "no" is a string, and true.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{field} must be True or False, not {shown(value)}")
    return value
