"""Hints: told directly within a process, noticed from outside.

All stores of a process that are open on one file meet in one `Hub`. Another process tells nothing: its commits show in
`PRAGMA data_version`, which costs a few microseconds to read, and a store with listeners looks at it now and then. What
was committed is not seen there, so its listeners are told that anything may have happened (`ANYTHING`).

The hub also keeps the process's clock for that file: no store stamps below what another one has stamped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable

from durable._engine.hints import ANY_KEY, Hint, HintKind

ANYTHING = tuple(Hint(kind, ANY_KEY) for kind in HintKind)

_hubs: dict[str, Hub] = {}
_hubs_guard = threading.Lock()


class Listener:
    """A callback, called on the event loop it was registered on, once for each different hint of a moment."""

    def __init__(self, callback: Callable[[Hint], None], kinds: Collection[HintKind]) -> None:
        self._callback = callback
        self._kinds = frozenset(kinds)
        self._loop = asyncio.get_running_loop()
        self._guard = threading.Lock()
        self._pending: dict[Hint, None] = {}
        self.stopped = False

    def tell(self, hints: Collection[Hint]) -> None:
        """Have the callback called soon for those that it wants to hear of; from any thread."""
        kinds = self._kinds
        for hint in hints:
            if hint.kind in kinds:
                break
        else:
            return
        with self._guard:
            idle = not self._pending
            for hint in hints:
                if hint.kind in kinds:
                    self._pending[hint] = None
            if not idle:
                return
        try:
            self._loop.call_soon_threadsafe(self._call)
        except RuntimeError:
            self.stopped = True  # its loop is closed

    def _call(self) -> None:
        with self._guard:
            pending, self._pending = self._pending, {}
        for hint in pending:
            if not self.stopped:
                self._callback(hint)


class Hub:
    """Where the stores of one process on one database meet."""

    def __init__(self) -> None:
        self.stores = 0
        self._listeners: list[Listener] = []
        self._guard = threading.Lock()
        self._latest = 0

    def add(self, listener: Listener) -> None:
        """Let a listener hear what is told here."""
        with self._guard:
            self._listeners.append(listener)

    def remove(self, listener: Listener) -> None:
        """Let it hear nothing more; again does nothing."""
        listener.stopped = True
        with self._guard:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def tell(self, hints: Iterable[Hint]) -> None:
        """Tell every listener of this process."""
        hints = tuple(hints)
        for listener in tuple(self._listeners):
            listener.tell(hints)

    def stamp(self, clock: Callable[[], int]) -> int:
        """The time, never before one that was stamped here already."""
        with self._guard:
            self._latest = max(self._latest, clock())
            return self._latest


def enter(path: str | None) -> Hub:
    """The hub of a database, one for each file; a database in memory has one of its own."""
    if path is None:
        return Hub()
    with _hubs_guard:
        hub = _hubs.setdefault(path, Hub())
        hub.stores += 1
        return hub


def leave(path: str | None, hub: Hub) -> None:
    """Give up a hub; the last store to leave takes it away."""
    with _hubs_guard:
        hub.stores -= 1
        if path is not None and hub.stores <= 0 and _hubs.get(path) is hub:
            del _hubs[path]
