"""Every write of a process to its database, counted, and one at which the process dies.

On PostgreSQL that is each write to a socket of the server's, whichever connection and thread it is of; on SQLite each
statement that writes, or begins or ends a transaction. (How a commit is written into a file, frame by frame, is for
`tests/chaos/test_power.py`.)
"""

from __future__ import annotations

import itertools
import socket
import sqlite3
from collections.abc import Callable
from typing import Any

READS = ("SELECT", "PRAGMA", "EXPLAIN", "--")
"""What statements begin with that write nothing; SQLite says of its own triggers what they are behind two dashes."""

WIRE = "wire"
"""What a point of these is named by."""


class Wires:
    """Counts writes from here on.

    Attributes:
        written: How many there were.
    """

    def __init__(self) -> None:
        self.written = 0
        self._numbers = itertools.count(1)  # which threads may share
        self._end: tuple[int, str, Callable[[], None]] | None = None
        self._watch_sockets()
        self._watch_statements()

    def end_at(self, number: int, when: str, die: Callable[[], None]) -> None:
        """At the `number`-th call `die`, "before" it, or "amid" it: when half of its bytes are on their way."""
        self._end = (number, when, die)

    def _at_the_end(self) -> tuple[str, Callable[[], None]] | None:
        self.written = max(self.written, number := next(self._numbers))
        return self._end[1:] if self._end is not None and self._end[0] == number else None

    def _watch_sockets(self) -> None:
        for name in ("send", "sendmsg"):
            setattr(socket.socket, name, self._counted(getattr(socket.socket, name)))

    def _counted(self, method: Callable[..., int]) -> Callable[..., int]:
        def write(sock: socket.socket, data: Any, *more: Any) -> int:
            # An event loop wakes itself by a socket as well.
            if sock.family != socket.AF_UNIX and (end := self._at_the_end()):
                when, die = end
                if when == "amid":
                    sent = b"".join(data) if isinstance(data, list) else bytes(data)
                    sock.sendall(sent[: len(sent) // 2])
                die()
            return method(sock, data, *more)

        return write

    def _watch_statements(self) -> None:
        connect = sqlite3.connect

        def connected(*args: Any, **options: Any) -> sqlite3.Connection:
            made = connect(*args, **options)
            made.set_trace_callback(begins)
            return made

        def begins(statement: str) -> None:
            if not statement.lstrip().upper().startswith(READS) and (end := self._at_the_end()):
                end[1]()

        sqlite3.connect = connected  # type: ignore[assignment]
