"""Asking from plain functions: what has to be awaited runs to its end in another thread, on a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that needs nothing of the event loop which may run here."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(asyncio.run(coroutine))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="durable-testing")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
