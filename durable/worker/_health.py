"""Whether a worker is alive and takes work.

*Live* is about this process: its event loop makes progress and its lease is looked after. A database that is away makes no
worker dead, since a restart would not bring it back; it makes it not *ready*, which is to hold its lease, to be known to the
database and not to be on its way out.
"""

from __future__ import annotations

from typing import NamedTuple

from durable.worker._incarnation import Incarnation


class WorkerHealth(NamedTuple):
    """How a worker is.

    Attributes:
        live: Whether it can do its work, now or once the database is there again. One that cannot must be started anew.
        ready: Whether it takes work: it has started, holds its lease and is not on its way out.
        reason: What keeps it from being ready, in a sentence; "" when nothing does.
    """

    live: bool
    ready: bool
    reason: str


def health_of(incarnation: Incarnation | None, *, started: bool, ended: bool, stopping: bool) -> WorkerHealth:
    """Return how a worker is whose present incarnation this is."""
    if ended:
        return WorkerHealth(False, False, "it has ended")
    if not started:
        return WorkerHealth(True, False, "it has not been started yet")
    if incarnation is None or not incarnation.started.is_set():
        return WorkerHealth(True, False, "it is stopping" if stopping else "it is starting")
    if incarnation.lease.ended:
        return WorkerHealth(True, False, "others took it for dead; it is starting over")
    if not incarnation.watchdog.alive:
        return WorkerHealth(False, False, "its event loop stands still")
    if not incarnation.lease.at_work:
        return WorkerHealth(False, False, "nothing renews its lease any more")
    if stopping:
        return WorkerHealth(True, False, "it is stopping: it takes no more work and hands back what it has")
    if not incarnation.lease.held:
        return WorkerHealth(
            True, False, "its lease could not be renewed in time: the database does not answer"
        )
    return WorkerHealth(True, True, "")
