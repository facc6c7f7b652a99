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

    __slots__ = ("_asks_at_once", "_loop", "awaited")

    def __init__(self, loop: DeterministicLoop, *, asks_at_once: bool) -> None:
        """Look at what the code of one run waits for.

        Args:
            loop: Its event loop.
            asks_at_once: Whether one that holds already is not waited for. It was so once: then code went on before others
                that were ready, handlers for example whose end it would wait for.
        """
        self._loop = loop
        self._asks_at_once = asks_at_once
        self.awaited: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def wait(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """See `Runtime.wait_condition`."""
        future = self._loop.create_future()
        if self._asks_at_once and condition():
            future.set_result(None)
        else:
            self.awaited.append((condition, future))
        return future

    def drained(self) -> bool:
        """Complete every one that holds now; whether there was one. Callers look first whether any is awaited."""
        held = [
            (future, answer)
            for fn, future in self.awaited
            if not future.done() and (answer := _ask(fn)) is not False
        ]
        if held:
            for future, answer in held:
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(None)
            self._loop.progress += 1
        self.awaited = [(fn, future) for fn, future in self.awaited if not future.done()]
        return bool(held)


def _ask(condition: Callable[[], bool]) -> bool | Exception:
    """Return whether a condition holds, or what it raised, which is for the code that waits."""
    try:
        return bool(condition())
    except Exception as error:
        return error
