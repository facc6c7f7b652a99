"""Functions of activities that are not `async`, in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from durable.activity._definition import ActivityDefinition
from durable.worker._attempts import Attempt
from durable.worker._interrupts import Interrupt


def run_in_thread(
    attempt: Attempt, definition: ActivityDefinition, function: Callable[[], Any], executor: Executor
) -> asyncio.Future[Any]:
    """Run a plain function in a thread; a cancel interrupts it there, if it has not said that it looks for itself."""
    attempt.in_thread = True
    if not definition.no_thread_cancel_exception:
        attempt.interrupt = Interrupt()
        function = partial(attempt.interrupt.call, function)
    in_context: Callable[[], Any] = partial(_call, contextvars.copy_context(), function)
    return asyncio.get_running_loop().run_in_executor(executor, in_context)


def _call(context: contextvars.Context, function: Callable[[], Any]) -> Any:
    try:
        return context.run(function)
    except (StopIteration, GeneratorExit) as error:
        # asyncio cannot carry these out of a thread: with the one it would hang, and the other closes whoever waits.
        raise RuntimeError(f"an activity raised {type(error).__name__}") from error
