"""How soon the writer's thread gets the interpreter lock beside a busy event loop.

A thread that comes back from SQLite, from its wait for work or from the lock on a file asks for the interpreter lock, and
whoever runs Python gives it up after the interpreter's switch interval: 5 ms, unless it stops by itself before. A worker
under load does not stop, so each commit would wait for some 10 ms that nothing is done in. While a store has a worker the
interval is shorter; it is never made longer, and it is given back behind the last of them.
"""

from __future__ import annotations

import sys
import threading

INTERVAL = 0.0005
"""Seconds. A switch costs some 10 µs, so this costs other threads a few percent while they compete, and nothing else."""

_guard = threading.Lock()
_users = 0
_before = INTERVAL


def enter() -> None:
    """Have threads switch sooner until `leave`."""
    global _users, _before
    with _guard:
        if not _users:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(_before, INTERVAL))
        _users += 1


def leave() -> None:
    """Behind the last, what was before holds again, unless somebody has set something else meanwhile."""
    global _users
    with _guard:
        _users -= 1
        if not _users and abs(sys.getswitchinterval() - min(_before, INTERVAL)) < 1e-6:
            sys.setswitchinterval(_before)
