"""Where the tasks of a run's code stand: their frames, from a coroutine's own to the innermost that it awaits."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Any

from durable._replay._loop import DeterministicLoop, NumberedTask
from durable._replay._sources import is_users


def unfinished(loop: DeterministicLoop) -> list[NumberedTask[Any]]:
    """Return the tasks that have not ended, the oldest first."""
    found: list[NumberedTask[Any]] = []
    task: NumberedTask[Any] | None = loop.newest
    while task is not None:
        if not task.done():
            found.append(task)
        task = task.older
    return found[::-1]


def frames(awaited: Any) -> Iterator[FrameType]:
    """Yield the frames of a suspended coroutine, the outermost first."""
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaited, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                break
        awaited = (
            getattr(awaited, "cr_await", None)
            or getattr(awaited, "gi_yieldfrom", None)
            or getattr(awaited, "ag_await", None)
        )


def place(loop: DeterministicLoop) -> str | None:
    """Return file and line at which the oldest unfinished task stands, the workflow's own as a rule, in the user's code."""
    for task in unfinished(loop):
        for frame in reversed([one for one in frames(task.get_coro()) if is_users(one)]):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
    return None
