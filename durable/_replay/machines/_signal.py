"""Signals: to a handler, else to whoever receives, else kept until one of them comes.

Nothing is dropped and no order is lost: signals of one name reach handlers and receivers in the order of the log, and
one that comes before its handler waits for it. A signal whose arguments cannot be decoded is logged and dropped, as
Temporal does it: the sender is at fault, and must not be able to block the run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from durable.converter import DataConverter
from durable.exceptions import ConversionError
from durable.history import Payload, WorkflowExecutionSignaled


class SignalBuffer:
    """Signals of one run that no handler has taken, and the receivers that wait for them, by name."""

    __slots__ = ("_given", "_kept", "_receivers", "converter")

    def __init__(self, converter: DataConverter) -> None:
        self.converter = converter
        self._kept: dict[str, deque[WorkflowExecutionSignaled]] = {}
        self._receivers: dict[str, deque[tuple[asyncio.Future[Any], Any]]] = {}
        self._given: dict[asyncio.Future[Any], WorkflowExecutionSignaled] = {}

    def begin_turn(self) -> None:
        """Forget which receiver got which signal in the turn before: those have it now for good."""
        self._given.clear()

    def deliver(self, signal: WorkflowExecutionSignaled) -> None:
        """Give a signal to the first receiver that still waits, or keep it.

        Raises:
            ConversionError: Its argument is not what the receiver expects; it is gone.
        """
        waiting = self._receivers.get(signal.name)
        while waiting:
            future, type_hint = waiting.popleft()
            if not future.done():
                try:
                    future.set_result(self._decode(signal, type_hint))
                except BaseException:
                    waiting.appendleft((future, type_hint))
                    raise
                self._given[future] = signal
                return
        self._kept.setdefault(signal.name, deque()).append(signal)

    def receive(self, name: str, type_hint: Any, future: asyncio.Future[Any]) -> None:
        """Complete `future` with the next signal of that name, now or when it comes.

        Raises:
            ConversionError: The next one is not what is expected; it is gone.
        """
        kept = self._kept.get(name)
        if kept:
            first = kept.popleft()
            future.set_result(self._decode(first, type_hint))
            self._given[future] = first
        else:
            waiting = self._receivers.setdefault(name, deque())
            while waiting and waiting[0][0].done():
                waiting.popleft()
            waiting.append((future, type_hint))

    def give_back(self, name: str, future: asyncio.Future[Any]) -> None:
        """Put the signal a receiver got in this turn back as the next one: the receiver was cancelled meanwhile."""
        signal = self._given.pop(future, None)
        if signal is None:
            return
        waiting = self._receivers.get(name)
        while waiting:
            other, type_hint = waiting.popleft()
            if not other.done():
                other.set_result(self._decode(signal, type_hint))
                self._given[other] = signal
                return
        self._kept.setdefault(name, deque()).appendleft(signal)

    def take(self, name: str | None) -> Iterator[WorkflowExecutionSignaled]:
        """Yield and forget the kept signals of a name (of all names for None), for a handler that was set late."""
        for key in [key for key in self._kept if name is None or key == name]:
            yield from self._kept.pop(key)

    def untaken(self) -> list[WorkflowExecutionSignaled]:
        """Return the signals that nobody took, those of one name in order."""
        return [signal for kept in self._kept.values() for signal in kept]

    def _decode(self, signal: WorkflowExecutionSignaled, type_hint: Any) -> Any:
        name = f"signal {signal.name}"
        if not signal.input:
            return self.converter.from_payload(_NOTHING, type_hint, path=name)
        first, *more = signal.input
        if more:
            raise ConversionError(f"{len(signal.input)} arguments were sent, one is received", path=name)
        return self.converter.from_payload(first, type_hint, path=name)


_NOTHING = Payload(encoding="binary/null")
