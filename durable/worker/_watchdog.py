"""The watchdog: it notices when the event loop stands still, and ends a turn of workflow code that holds it.

A thread asks the event loop for a sign of life, often. Silence means that something holds the thread: after
`WARN_AFTER` it is named in the log with its stack; after `BREAK_AFTER`, or the workflow's own task timeout if that is shorter,
and if it is a turn of workflow code, an exception is raised inside it, so that the run is blocked and everything else goes on; if even that is swallowed, the process
ends, since its leases must not be kept by a worker that does nothing. While the loop is silent for longer than that,
the lease is not renewed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

from durable._internal import machine, threads
from durable._internal.thrown import has_arrived, let_arrive, raise_in_thread

logger = logging.getLogger("durable.worker")

T = TypeVar("T")

WARN_AFTER = 2.0
"""Seconds of silence after which the log says who holds the event loop (Temporal's deadlock limit)."""

BREAK_AFTER = 10.0
"""Seconds of silence after which a turn is broken, and a lease is no longer renewed."""

EXIT_AFTER = 5.0
"""Further seconds after which a turn that resisted costs the process."""

EXIT_CODE = 70
"""The exit code of such a process (EX_SOFTWARE)."""

INTERVAL = 0.25
"""Seconds between two looks."""


class TurnBroken(BaseException):
    """Raised inside a turn that held the event loop for too long. Code cannot catch it as an `Exception`."""


class Watchdog:
    """See the module. One per worker incarnation; it watches the thread it was started from."""

    def __init__(self, *, warn_after: float = WARN_AFTER, break_after: float = BREAK_AFTER) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._warn_after = warn_after
        self._break_after = break_after
        self._ended = False
        self._asked = self._answered = 0
        self._silent_since: float | None = None
        self._warned = False
        self._last_sign = machine.monotonic()
        self.current: object | None = None
        self._turn_since = 0.0
        self.broken_after = break_after
        self._broken: object | None = None
        self.broken_stack = ""
        self._broken_at = 0.0
        self._lock = threading.Lock()
        self.exit: Callable[[int], None] = os._exit
        self._thread = threads.Stepping("durable-watchdog", self._look)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start(INTERVAL)

    async def stop(self) -> None:
        """Stop watching; again does nothing."""
        self.end()

    def end(self) -> None:
        """Stop watching."""
        self._ended = True
        self._thread.ring()

    def during(self, run: object, turn: Callable[[T], object], given: T) -> bool:
        """Call `turn` with what it is given, for `run`, and return whether it had to be broken; then nothing that it did counts.

        A broken turn may look like any other: asyncio keeps the exception in the task it was raised in.
        """
        self._turn_since = machine.monotonic()
        self.current = run
        try:
            try:
                turn(given)
            finally:
                # Under the lock: a turn is either broken before this, or not at all.
                with self._lock:
                    self.current = None
        except TurnBroken:
            pass
        self.current = None  # Once more: the exception may have come in the middle of the line above.
        if self._broken is None:
            return False
        self._swallow()
        return True

    @property
    def alive(self) -> bool:
        """Whether the event loop has given a sign of life lately. Asked from other threads."""
        return machine.monotonic() - self._last_sign < self._break_after

    def _swallow(self) -> None:
        """Let an exception that was meant for a turn arrive, if it came too late for it."""
        with contextlib.suppress(TurnBroken):
            with self._lock:
                self._broken = None
            let_arrive()
        has_arrived(self._thread_id)

    def _sign(self, number: int) -> None:
        self._answered = number
        self._last_sign = machine.monotonic()

    def _look(self) -> float | None:
        if self._ended:
            return None
        now = machine.monotonic()
        if self._answered == self._asked:
            self._asked += 1
            self._silent_since, self._warned = now, False
            try:
                self._loop.call_soon_threadsafe(self._sign, self._asked)
            except RuntimeError:
                return None  # The loop is closed.
            return INTERVAL
        assert self._silent_since is not None
        if _debugged(self._thread_id):
            # The time that somebody takes to look counts for nothing, neither now nor when they go on.
            self._silent_since = self._turn_since = self._last_sign = now
            return INTERVAL
        silent = now - self._silent_since
        if silent >= self._warn_after and not self._warned:
            self._warned = True
            logger.warning("the event loop has stood still for %.1f s: %s", silent, self._who())
        self._break()
        return INTERVAL

    def _who(self) -> str:
        current = self.current
        stack = self._stack()
        if current is None or machine.monotonic() - self._turn_since < self._warn_after / 2:
            return f"something outside of workflow code holds it, perhaps a blocking call in an async activity:\n{stack}"
        return f"the code of workflow {getattr(current, 'workflow_id', current)!r} holds it:\n{stack}"

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)
        return "" if frame is None else "".join(traceback.format_stack(frame)[-12:])

    def _break(self) -> None:
        with self._lock:
            current = self.current
            limit = min(self._break_after, getattr(current, "turn_limit", self._break_after))
            # The silence may be somebody else's, from before this turn.
            if current is None or machine.monotonic() - self._turn_since < limit:
                return
            if self._broken is None:
                self.broken_after = limit
                self._broken, self._broken_at = current, machine.monotonic()
                self.broken_stack = self._stack()
                raise_in_thread(self._thread_id, TurnBroken)
                return
            resisted = self._broken is current and machine.monotonic() - self._broken_at > EXIT_AFTER
        if resisted:
            logger.critical(
                "workflow code swallows every attempt to end its turn; the process exits:\n%s", self._who()
            )
            logging.shutdown()
            self.exit(EXIT_CODE)


def _debugged(thread_id: int) -> bool:
    """Whether somebody steps through the code of a thread: then time means nothing. Asked from another thread."""
    if sys.gettrace() is not None:
        return True  # a debugger of all threads
    if sys.version_info >= (3, 12) and sys.monitoring.get_tool(sys.monitoring.DEBUGGER_ID) is not None:
        return True
    frame = sys._current_frames().get(thread_id)
    # pdb traces the frames of its own thread, and forgets the outermost one when it has the program go on.
    while frame is not None and frame.f_back is not None:
        if frame.f_trace is not None:
            return True
        frame = frame.f_back
    return False
