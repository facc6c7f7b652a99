"""Cancellation inside a thread: an exception raised in the middle of a plain function, once, and only there.

A thread cannot be cancelled from outside as a task can, so `CancelledError` is raised in it at its next bytecode, as
Temporal's SDK does. What must never happen is that it comes late, when the function has returned and the thread, which
belongs to a pool, does something else. Hence the order of things:

* It is sent under a lock, once at most, and only while the function runs and is not shielded.
* At the end of the function, under the same lock, what was sent and has not arrived is let arrive and swallowed. Should
  it arrive just before, this is done again, and the function counts as cancelled.
* A shield begins by letting arrive what was sent before it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from durable._internal.thrown import has_arrived, let_arrive, raise_in_thread
from durable.exceptions import CancelledError

T = TypeVar("T")


class Interrupt:
    """What a cancel does to one call of a plain function in a thread."""

    __slots__ = ("_due", "_lock", "_requested", "_sent", "_shields", "_thread")

    def __init__(self) -> None:
        # Reentrant: should the exception arrive while its own thread holds it, that thread still comes to an end, and
        # nobody else asks for the lock behind a request.
        self._lock = threading.RLock()
        self._thread: int | None = None
        self._shields = 0
        self._requested = False
        self._due = False
        self._sent = False

    def request(self) -> None:
        """Interrupt the function: now, at the end of its shield, or before its first line. Again does nothing."""
        if self._requested:
            return
        self._requested = True
        with self._lock:
            if self._thread is None or self._shields:
                self._due = True
            else:
                self._sent = True
                raise_in_thread(self._thread, CancelledError)

    def call(self, function: Callable[[], T]) -> T:
        """Call `function`, in the thread it is to run in.

        Raises:
            CancelledError: It was interrupted.
        """
        try:
            try:
                self._enter()
                return function()
            finally:
                self._leave()
        except CancelledError:
            # It may have come in the middle of the line above.
            self._leave()
            raise

    def _enter(self) -> None:
        with self._lock:
            self._thread = threading.get_ident()
            due, self._due = self._due, False
        if due:
            raise CancelledError

    def _leave(self) -> None:
        with self._lock:
            self._thread = None
            if self._sent:
                with contextlib.suppress(CancelledError):
                    let_arrive()
                has_arrived(threading.get_ident())

    @contextlib.contextmanager
    def shielded(self) -> Generator[None]:
        """Hold the interruption back until the end of the block, where it takes the place of whatever ends that.

        Raises:
            CancelledError: It came meanwhile, and this is the outermost shield.
        """
        with self._lock:
            self._shields += 1
        try:
            if self._sent:
                let_arrive()
            yield
        finally:
            with self._lock:
                self._shields -= 1
                due = self._due and not self._shields
                if due:
                    self._due = False
            if due:
                raise CancelledError
