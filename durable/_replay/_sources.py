"""Which line of the user's code asks for something, to be shown when a replay differs."""

from __future__ import annotations

import sys
from types import FrameType


def caller() -> str | None:
    """Return file and line of the innermost frame that is the user's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("durable.", "asyncio", "anyio", "contextlib")):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None
