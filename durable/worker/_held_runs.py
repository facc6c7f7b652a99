"""The runs that one incarnation of a worker holds: how many there may be, and which of them can be given up for others.

A run that rests is parked: it may go, the longest parked first, when there are more than the cache is to hold. Its
release takes a commit, and until then the run is here; but as far as the limit is concerned it is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from durable._internal.instants import SECOND
from durable.store import ClaimedRun
from durable.worker._run_slots import RunSlots

MINIMUM_RUNS = 100
"""Runs a worker holds even without a cache: those that are under way."""

BLOCKED_FIRST, BLOCKED_LONGEST = 1 * SECOND, 60 * SECOND
"""Microseconds until a blocked run is tried again: doubled each time, but a fixed deploy is never far."""


class Owned(Protocol):
    """A run that the incarnation owns."""

    run_id: str
    epoch: int
    gone: bool

    @property
    def in_memory(self) -> bool:
        """Whether its code is here, so that no replay is needed."""
        ...

    @property
    def at_rest(self) -> bool:
        """Whether nothing of it is being written or read."""
        ...

    @property
    def parked(self) -> bool:
        """Whether nothing is under way: no attempt, nothing unwritten, nothing to run."""
        ...

    @property
    def unproven(self) -> bool:
        """Whether owners died with it and it has not shown since that it was not the cause; so before it is opened."""
        ...

    def deliver(self, messages: Sequence[Any]) -> None:
        """Take messages that were read from the inbox."""
        ...

    def watch_target(self) -> None:
        """Take the news that the run's queue may belong to another version."""
        ...

    def pause(self) -> None:
        """Give the run up as soon as nothing of it is under way."""
        ...

    def release(self) -> None:
        """Give the run up, with all that waits, so that any worker can claim it."""
        ...

    def drop(self) -> None:
        """Forget the run."""
        ...


R = TypeVar("R", bound=Owned)


class HeldRuns(Generic[R]):
    """See the module.

    Attributes:
        hosts: All of them, by run id.
    """

    def __init__(self, most: int, slots: RunSlots | None) -> None:
        """Hold at most so many that are parked; those at work need one of the slots, if there are any."""
        self._most = most
        self._slots = slots
        self.hosts: dict[str, R] = {}
        self._parked: OrderedDict[str, R] = OrderedDict()
        self._going: set[str] = set()
        self._suspects: set[str] = set()
        self._failures: dict[str, int] = {}

    def displace(self, claimed: ClaimedRun) -> bool:
        """Make way for a run that is now held, where it was held before; False if that is the same ownership."""
        old = self.hosts.get(claimed.run.run_id)
        if old is not None and old.epoch == claimed.run.epoch:
            # Told twice: the host that is at work stays.
            return False
        if old is not None:
            old.drop()
        return True

    def add(self, host: R, *, deaths: int) -> None:
        """Hold a run whose last owners, so many in a row, have died with it."""
        self.hosts[host.run_id] = host
        if deaths:
            self._suspects.add(host.run_id)

    def remove(self, host: R) -> None:
        """Take the news that a run is held no longer."""
        if self.hosts.get(host.run_id) is host:
            del self.hosts[host.run_id]
            self._suspects.discard(host.run_id)
        self._parked.pop(host.run_id, None)
        self._going.discard(host.run_id)

    def park(self, host: R) -> None:
        """Take the news that a run has nothing urgent to do: if it rests it may be given up, as soon as there are too many."""
        run_id = host.run_id
        if not host.parked:
            self._parked.pop(run_id, None)
            return
        if not host.unproven:
            self._failures.pop(run_id, None)
            self._suspects.discard(run_id)
        self._parked[run_id] = host
        self._parked.move_to_end(run_id)
        while len(self.hosts) - len(self._going) > self._most and self._parked:
            run_id, oldest = self._parked.popitem(last=False)
            if oldest.parked:
                self._going.add(run_id)
                oldest.release()

    def failed(self, run_id: str) -> int:
        """Count a failed workflow task; return the microseconds until the next try."""
        failures = self._failures[run_id] = self._failures.get(run_id, 0) + 1
        return min(BLOCKED_FIRST << min(failures - 1, 20), BLOCKED_LONGEST)

    def closed(self, run_id: str) -> None:
        """Take the news that a run has closed: its failures are history."""
        self._failures.pop(run_id, None)

    @property
    def space(self) -> int:
        """How many more runs may be held: what the cache holds, less what cannot be given up."""
        return max(self._most, MINIMUM_RUNS) - (len(self.hosts) - len(self._parked))

    @property
    def room(self) -> int:
        """How many more runs may be held, and go to work at once."""
        return self.space if self._slots is None else min(self.space, self._slots.free)

    @property
    def has_unproven(self) -> bool:
        """Whether a run is held whose owners died with it."""
        return any(self.hosts[run_id].unproven for run_id in self._suspects)
