"""The timers of one run: those that `workflow.sleep` starts, and those that asyncio and anyio ask the loop for."""

from __future__ import annotations

import asyncio
import builtins

from durable._replay._awaitables import TimerHandle
from durable._replay._commands import Commands
from durable._replay._loop import DeterministicLoop
from durable._replay.machines._timer import TimerMachine, wake


class Timers:
    """See the module."""

    __slots__ = ("_armed", "_commands", "_loop")

    def __init__(self, loop: DeterministicLoop, commands: Commands) -> None:
        self._loop = loop
        self._commands = commands
        self._armed: dict[int, TimerMachine] = {}

    def arm(self, when_ms: int, handle: TimerHandle) -> None:
        """Start the timer of a handle of the loop's."""
        id = self._commands.new_id()
        machine = TimerMachine(id, lambda: self._fire(handle))
        self._armed[builtins.id(handle)] = machine
        self._commands.operations[id] = machine
        self._commands.issue(machine.start((when_ms - self._loop.now_ms) * 1000))

    def _fire(self, handle: TimerHandle) -> None:
        self._armed.pop(builtins.id(handle), None)
        self._loop.fire(handle)

    def disarm(self, handle: TimerHandle) -> None:
        """Forget the timer of a handle that nobody needs any more."""
        machine = self._armed.pop(builtins.id(handle))
        self._commands.forget(machine.id, machine.cancel())

    def sleep(self, duration: int, summary: str) -> asyncio.Future[None]:
        """See `Runtime.sleep`."""
        commands = self._commands
        id = commands.new_id()
        operation = self._loop.operation(id, None)
        machine = TimerMachine(id, wake(operation))

        def on_cancel() -> bool:
            commands.forget(id, machine.cancel())
            self._loop.progress += 1
            return False

        operation.on_cancel = on_cancel
        commands.operations[id] = machine
        commands.issue(machine.start(duration, summary))
        return operation
