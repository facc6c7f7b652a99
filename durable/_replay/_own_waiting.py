"""What a run's code waits for by itself: timers and conditions. Most runs have neither, and nothing is made for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durable._replay._awaitables import TimerHandle
from durable._replay._commands import READ_ONLY
from durable._replay._conditions import Conditions
from durable._replay._loop import DeterministicLoop
from durable._replay._own_messages import OwnMessages
from durable._replay._timers import Timers
from durable.history import CONDITIONS_LAST


class OwnWaiting(OwnMessages):
    """A part of `Instance`; all that it knows is the instance's."""

    __slots__ = ("_conditions", "_timers")

    loop: DeterministicLoop
    _conditions: Conditions | None
    _timers: Timers | None

    def _own_timers(self) -> Timers:
        if self._timers is None:
            self._timers = Timers(self.loop, self._commands)
        return self._timers

    def start_timer(self, when_ms: int, handle: TimerHandle) -> None:
        """Arm a timer that asyncio or anyio asked for."""
        self._own_timers().arm(when_ms, handle)

    def cancel_timer(self, handle: TimerHandle) -> None:
        """Forget a timer that asyncio or anyio no longer needs."""
        self._own_timers().disarm(handle)

    def sleep(self, duration: int, summary: str) -> asyncio.Future[None]:
        """See `Runtime.sleep`."""
        return self._own_timers().sleep(duration, summary)

    def wait_condition(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """See `Runtime.wait_condition`."""
        if self._commands.read_only:
            self._commands.refuse(READ_ONLY)
        if self._conditions is None:
            self._conditions = Conditions(self.loop, asks_at_once=not self._started.flags & CONDITIONS_LAST)
        return self._conditions.wait(condition)

    def drained(self) -> bool:
        """Complete every wait condition that holds now; whether there was one."""
        conditions = self._conditions
        return conditions is not None and bool(conditions.awaited) and conditions.drained()

    def waiting(self) -> bool:
        """Whether something is under way that will bring another task by itself."""
        return bool(self._commands.operations)
