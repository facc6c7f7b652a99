"""Tasks that take their first step at once, where they are made.

Most of what a worker starts ends in its first step. A task that takes it at once needs no handle, no pass of the event
loop, and nobody has to remember it meanwhile. It is a task all the same: its code sees itself as the current task, and
goes on by the event loop once it waits.

Python has eager tasks since 3.12. Before, a new task asks its loop once to call it soon, and is called here instead.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def begin(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], name: str, context: Context
) -> asyncio.Task[T]:
    """Return a task that has taken its first step, in a context of its own.

    Inside another task, which it would hold up, and on a loop that makes tasks in its own way, it takes that step soon.
    """
    if asyncio.current_task(loop) is not None or loop.get_task_factory() is not None:
        return loop.create_task(coroutine, name=name, context=context)
    return _begin(loop, coroutine, name, context)


if sys.version_info >= (3, 12):

    def _begin(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], name: str, context: Context
    ) -> asyncio.Task[T]:
        return asyncio.Task(coroutine, loop=loop, name=name, context=context, eager_start=True)

else:

    def _begin(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], name: str, context: Context
    ) -> asyncio.Task[T]:
        asked: list[tuple[Callable[[], object], Context]] = []

        def call_soon(callback: Callable[[], object], *, context: Context) -> None:
            asked.append((callback, context))

        vars(loop)["call_soon"] = call_soon
        try:
            task = asyncio.Task(coroutine, loop=loop, name=name, context=context)
        finally:
            del vars(loop)["call_soon"]
        for callback, entered in asked:
            entered.run(callback)
        return task
