"""Text that every database, log and terminal takes: what failures are written in.

Nothing here raises, whatever it is given: this is the last thing that runs before a failure is stored, and a failure
that cannot be stored blocks its run.
"""

from __future__ import annotations

import re

# Newline and tab are layout. Every other control character either ends a string early (NUL, in PostgreSQL and in C),
# or drives the terminal of whoever reads the message (ESC, CR, the C1 range).
_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

MAX_REPR = 1_000
"""Characters kept of the repr that stands in for a value which cannot be stored."""


def clean(text: str, limit: int) -> str:
    """Return `text` as printable, valid Unicode of at most `limit` characters; what it returns it leaves alone.

    Lone surrogates and control characters are written as escapes. A cut at the end says how much is missing.
    """
    size = len(text)
    text = escape(text[: limit + 1])
    if len(text) <= limit:
        return text
    mark = f"... ({size:,} characters)"
    return text[: limit - len(mark)] + mark


def clean_middle(text: str, limit: int) -> str:
    """Return `text` as `clean` does, but keep both ends when it is too long."""
    if len(text) > 2 * limit:
        text = text[:limit] + text[-limit:]
    text = escape(text)
    if len(text) <= limit:
        return text
    mark = "\n... (cut here) ...\n"
    half = (limit - len(mark)) // 2
    return text[:half] + mark + text[len(text) - half :]


def escape(text: str) -> str:
    """Return `text` without lone surrogates and control characters other than newline and tab."""
    return text.encode("utf-8", "backslashreplace").decode().translate(_CONTROLS)


def class_name(value: object) -> str:
    """Return the name of the class of `value`."""
    try:
        return str.__str__(type(value).__name__)
    except BaseException:
        return "object"


def safe_str(error: BaseException) -> str:
    """Return `str(error)`, or a text that says why there is none."""
    try:
        # A subclass of `str` is copied into a real one: its methods are its author's.
        return str.__str__(str(error))
    except BaseException as failed:
        return f"<{class_name(error)}, whose text cannot be had: __str__ raised {class_name(failed)}>"


def safe_repr(value: object) -> str:
    """Return the repr of `value` in ASCII, at most `MAX_REPR` characters, without memory addresses."""
    try:
        # Addresses differ from process to process, and what is stored should not.
        return clean(_ADDRESS.sub("", ascii(value)[: 2 * MAX_REPR]), MAX_REPR)
    except BaseException as failed:
        return f"<{class_name(value)}, whose repr raised {class_name(failed)}>"
