"""What a deterministic loop hands out: handles, timers, futures, operations and tasks.

Theory. Everything here exists once per step of workflow code, so each class is as slim as asyncio lets it be: slots,
no ``__init__`` of its own, and C classes for bases. The numbered hashes are for the sets that users make; numbers are
given by the loop that makes the object.

Invariants. Identity is equality: ``__hash__`` is defined and ``__eq__`` never is, so a number that happens to collide
costs a comparison and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import Any, Protocol, TypeVar

__all__ = ["Handle", "NumberedFuture", "NumberedTask", "Operation", "TimerHandle", "TimerOwner"]

T = TypeVar("T")


class TimerOwner(Protocol):
    """What a timer asks of the loop that made it."""

    def timer_cancelled(self, handle: TimerHandle) -> None:
        """Note that an armed timer was cancelled. Called once."""
        ...


class Handle:
    """One scheduled callback; `callback` is None once cancelled.

    Empty until its maker stores into the slots: that costs two thirds of what a Python ``__init__`` does, and the
    reading side unpacks nothing.
    """

    __slots__ = ("args", "callback", "context")
    callback: Callable[..., object] | None
    args: tuple[Any, ...]
    context: Context

    def cancel(self) -> None:
        """Keep the callback from running, and drop what it refers to."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Return whether ``cancel`` was called."""
        return self.callback is None


class TimerHandle(Handle):
    """One timer. The host hears of its cancellation only while it is armed.

    Attributes:
        loop: the loop that made it.
        when_ms: loop time at which it is due, in whole milliseconds; None if never.
        exact: the same as it was asked for, in seconds.
        armed: whether the host holds a durable timer for it.
        turn: the number of the turn that made it.
    """

    __slots__ = ("armed", "exact", "loop", "turn", "when_ms")

    loop: TimerOwner
    when_ms: int | None
    exact: float
    armed: bool
    turn: int

    def when(self) -> float:
        """Return the loop time at which the timer is due, in seconds."""
        return inf if self.when_ms is None else self.when_ms / 1000

    def cancel(self) -> None:
        """Keep the callback from running. Cancelling a timer that fired, or a second time, tells the host nothing."""
        Handle.cancel(self)
        if self.armed:
            self.armed = False
            self.loop.timer_cancelled(self)


class NumberedFuture(asyncio.Future[T]):
    """A future whose hash is a number of its run, the same at every replay."""

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


class Operation(NumberedFuture[T]):
    """A future for one command, which may stay pending through a cancel.

    Attributes:
        on_cancel: called by ``cancel()`` while the operation is pending. True means that the request is recorded and
            the operation stays pending until the host completes it; False cancels it as any future. It is called for
            each ``cancel()``, anyio's repeated ones included, and so must be idempotent; only the call that changes
            something may count as progress.
    """

    __slots__ = ("on_cancel",)
    on_cancel: Callable[[], bool] | None

    def cancel(self, msg: Any = None) -> bool:
        """Request cancellation; True unless the operation is done.

        A code that swallowed ``CancelledError`` and waited again would keep anyio re-delivering; a future that
        records the request and stays pending leaves the awaiting code where it is.
        """
        on_cancel = self.on_cancel
        if on_cancel is not None and not self.done() and on_cancel():
            # Whoever cancelled may know its own cancel by this text, as anyio's scopes do.
            self._cancel_message = msg
            return True
        return super().cancel(msg)

    def complete_cancelled(self) -> bool:
        """Complete the operation as cancelled, past `on_cancel`: what was awaiting it sees ``CancelledError``."""
        return super().cancel(self._cancel_message)


class NumberedTask(asyncio.Task[T]):
    """A task whose hash is a number of its run.

    Attributes:
        number: the hash.
        context: the context its steps run in; teardown needs it, and ``Task.get_context`` came with 3.12.
        older: the next in the loop's chain of tasks.
    """

    __slots__ = ("context", "number", "older")
    number: int
    context: Context | None
    older: NumberedTask[Any] | None

    def __hash__(self) -> int:
        return self.number
