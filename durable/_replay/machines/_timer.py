"""Timers: those that `workflow.sleep` starts, and those that asyncio and anyio ask the event loop for.

issued --cancel--> done        the code no longer waits: TimerCanceled, or nothing if it was never written
issued --close---> done        TimerFired
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from durable._replay._awaitables import Operation
from durable._replay.machines._machine import Machine, Table
from durable.exceptions import NondeterminismError
from durable.history import Input, TimerCanceled, TimerFired, TimerStarted


class TimerMachine(Machine):
    """One durable timer."""

    __slots__ = ("_fire",)

    table: ClassVar[Table] = {
        ("issued", "cancel"): "done",
        ("issued", "close"): "done",
    }

    def __init__(self, id: int, fire: Callable[[], object]) -> None:
        super().__init__(id)
        self._fire = fire

    def start(self, duration: int, summary: str = "") -> TimerStarted:
        """Return the command that starts it."""
        return TimerStarted(id=self.id, duration=duration, summary=summary)

    def cancel(self) -> TimerCanceled:
        """Return the command that cancels it."""
        self.step("cancel")
        return TimerCanceled(id=self.id)

    def close(self, event: Input) -> None:
        """Wake whoever waits.

        Raises:
            NondeterminismError: The event answers something else than a timer.
        """
        if not isinstance(event, TimerFired):
            raise NondeterminismError(
                f"history has {type(event).__name__} for command {self.id}, which is a timer in the code"
            )
        self.step("close")
        self._fire()


def wake(operation: Operation[Any]) -> Callable[[], None]:
    """Return what completes an operation that nobody has cancelled."""

    def fire() -> None:
        operation.on_cancel = None  # It leads back to the timer, and only the collector opens circles.
        if not operation.done():
            operation.set_result(None)

    return fire
