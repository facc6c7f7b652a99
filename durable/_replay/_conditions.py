"""The conditions that code waits for: looked at whenever nothing else is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durable._replay._loop import DeterministicLoop


class Conditions:
    """Conditions in the order in which they were awaited, with what each completes.

    Attributes:
        awaited: Those that have not held yet.
    """

    __slots__ = ("_loop", "awaited")

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop
        self.awaited: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def wait(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """See `Runtime.wait_condition`."""
        future = self._loop.create_future()
        if condition():
            future.set_result(None)
        else:
            self.awaited.append((condition, future))
        return future

    def drained(self) -> bool:
        """Complete every one that holds now; whether there was one. Callers look first whether any is awaited."""
        held = [(fn, future) for fn, future in self.awaited if not future.done() and fn()]
        if held:
            for _, future in held:
                if not future.done():
                    future.set_result(None)
            self._loop.progress += 1
        self.awaited = [(fn, future) for fn, future in self.awaited if not future.done()]
        return bool(held)
