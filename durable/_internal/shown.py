"""What an error says of a value that somebody passed: enough to know it again, and never more than a line."""

from __future__ import annotations

MAX_SHOWN = 200
"""Characters of a value that an error shows."""


def shown(value: object) -> str:
    """Return the `repr` of `value`, shortened; or, since this is where an error is made, what stands for it if it has none."""
    try:
        # Cut before, where that is possible: the `repr` of a large text is another large text.
        text = repr(value[: MAX_SHOWN + 1] if type(value) in (str, bytes) else value)  # type: ignore[index]
    except Exception:
        return f"<{type(value).__name__}, which cannot be shown>"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
