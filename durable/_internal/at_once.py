"""Coroutines that wait for nothing: called by programs without an event loop, and in threads."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def at_once(call: Coroutine[Any, Any, T], waits: str) -> T:
    """Return what a coroutine returns that waits for nothing but the calls it makes, right here.

    Raises:
        TypeError: It waits for something; the text is `waits`.
    """
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise TypeError(waits)
