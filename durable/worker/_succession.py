"""Runs that go on where a run of this worker ends: this worker's too, if it serves them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from durable.store import Hint, HintKind, NewRun, StartVerdict, Transition
from durable.worker._home import Home


class Succession:
    """What one incarnation does about successors."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def owned(self, closing: Transition) -> Transition:
        """Return a transition whose successor, if it has one and it may begin at once, is this worker's."""
        close = closing.close
        if close is None or close.successor is None:
            return closing
        new = close.successor
        if new.delay or not self._home.wants(new.task_queue, new.workflow_type):
            return closing
        return replace(closing, close=replace(close, successor=replace(new, owner=self._home.worker_id)))

    def started(self, verdicts: Sequence[StartVerdict]) -> None:
        """Take up runs that were created as this worker's, with what has moved to them."""
        for verdict in verdicts:
            self._home.spawn(self._home.take_up(verdict.run_id, verdict.epoch))

    def announce(self, new: NewRun) -> None:
        """Tell others of a run that goes on where one has ended; one that this worker takes up needs no telling."""
        if new.owner is None:
            self._home.hint([Hint(HintKind.RUN, new.task_queue)])
