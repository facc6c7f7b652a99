"""Which line of the user's code asks for something, to be shown when a replay differs."""

from __future__ import annotations

import sys
from types import FrameType

LIBRARY = ("durable.", "asyncio", "anyio", "contextlib")
"""How the names of modules begin that stand between a user's lines."""


def is_users(frame: FrameType) -> bool:
    """Whether a frame is of the user's code."""
    return not frame.f_globals.get("__name__", "").startswith(LIBRARY)


def caller() -> str | None:
    """Return file and line of the innermost frame that is the workflow's; None when a turn has none of its own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != "durable._replay._turns":
        if is_users(frame):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None
