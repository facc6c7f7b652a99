"""Where the tasks of a run's code stand: their frames, from a coroutine's own to the innermost that it awaits."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Any

from durable._replay._loop import DeterministicLoop, NumberedTask


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
