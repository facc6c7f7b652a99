"""What runs beside the event loop, in threads of its own, so that a simulation can run it step by step.

Both kinds are made by the module's name, `threads.Stepping(...)`, and never imported from here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

FOR_EVER = -1.0
"""What a lock takes for no timeout."""


class Stepping:
    """A thread that makes a step whenever it is rung for, or has slept long enough.

    Args:
        name: Its name.
        step: Makes a step, and returns how many seconds to sleep behind it, `FOR_EVER` for as long as nobody rings; None
            ends the thread.
    """

    def __init__(self, name: str, step: Callable[[], float | None]) -> None:
        self._step = step
        # Locked while there is nothing to do. (A `Condition` does the same in some 40 lines of Python for each side.)
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self, wait: float = FOR_EVER) -> None:
        """Start the thread; its first step comes after so long a sleep."""
        self._wait = wait
        self._thread.start()

    def ring(self) -> None:
        """Have it make a step soon. One at a time: whoever rings holds a lock of its own."""
        if self._bell.locked():
            self._bell.release()

    def join(self, timeout: float) -> None:
        """Wait until it has ended, at most that long."""
        self._thread.join(timeout)

    def _main(self) -> None:
        wait: float | None = self._wait
        while wait is not None:
            self._bell.acquire(timeout=wait)
            wait = self._step()


class Looping:
    """A coroutine with a thread and an event loop of its own.

    Args:
        name: Its name.
        main: What to run.
    """

    def __init__(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(main()), name=name, daemon=True)

    def start(self) -> None:
        """Begin to run it."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether it has begun, and has not ended."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End its pauses, and have it told so."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    async def pause(self, seconds: float) -> bool:
        """Sleep, and return whether it shall end instead of going on; for what runs in it."""
        return await asyncio.to_thread(self._stop.wait, seconds)

    async def join(self, timeout: float) -> None:
        """Wait until it has ended, at most that long."""
        await asyncio.to_thread(self._thread.join, timeout)
