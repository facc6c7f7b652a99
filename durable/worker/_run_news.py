"""What others hear of a commit of one owned run: hints to workers, answers to waiters, warnings to the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from durable._engine._effects import Written
from durable._engine._run import Run
from durable.history import Payload
from durable.store import Hint, HintKind, Transition
from durable.worker._clashes import warn_of_clashes
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

LARGE = (
    "workflow %s (run %s): the history has %d events and %d bytes; every replay reads them all. Let the workflow "
    "continue as new when workflow.info().is_continue_as_new_suggested()"
)
"""What the log says, once, of a run whose history has grown large."""

UNFINISHED = (
    "it ended while handlers were under way, and these are abandoned: {}. Wait for them with `await "
    "workflow.wait_condition(workflow.all_handlers_finished)`, or say in the handler's decorator that it need not finish: "
    "unfinished_policy=HandlerUnfinishedPolicy.ABANDON"
)
"""What the log says of handlers that a workflow left behind."""


class RunNews:
    """See the module."""

    __slots__ = ("_clashes", "_home", "_large", "_run_id", "_started_elsewhere", "_workflow_id")

    def __init__(self, home: Home, run_id: str, workflow_id: str) -> None:
        self._home = home
        self._run_id = run_id
        self._workflow_id = workflow_id
        self._large = False
        self._clashes: set[str] | None = None
        self._started_elsewhere: list[str] = []

    def claim_starts(self, transition: Transition) -> Transition:
        """Let the runs that a transition creates begin here, as far as that is possible."""
        if transition.upsert is not None:
            self._look_for_clashes([transition.upsert.search_attributes])
        if not transition.starts and (transition.close is None or transition.close.successor is None):
            self._started_elsewhere = []
            return transition
        claimed = self._home.claim_starts(transition)
        new = [start.run for start in claimed.starts]
        if claimed.close is not None and claimed.close.successor is not None:
            new.append(claimed.close.successor)
        self._started_elsewhere = [run.task_queue for run in new if run.owner is None]
        if attributes := [run.search_attributes for run in new if run.search_attributes]:
            self._look_for_clashes(attributes)
        return claimed

    def _look_for_clashes(self, changes: Sequence[Mapping[str, Payload]]) -> None:
        if self._clashes is None:
            self._clashes = set()
        self._home.spawn(warn_of_clashes(self._home, self._workflow_id, changes, self._clashes))

    def spread(self, written: Written) -> None:
        """Tell whoever is concerned of what a commit did."""
        if written.updated:
            self._home.updated(self._run_id, written.updated)
        if written.queued:
            self._home.hint([Hint(HintKind.ACTIVITY, queue) for queue in dict.fromkeys(written.queued)])
        if written.told or written.replied or written.condemned or self._started_elsewhere:
            self._spread_to_runs(written)

    def _spread_to_runs(self, written: Written) -> None:
        hints = [Hint(HintKind.MESSAGE, run_id) for run_id in written.told]
        queues, self._started_elsewhere = self._started_elsewhere, []
        hints += [Hint(HintKind.RUN, queue) for queue in dict.fromkeys(queues)]
        self._home.hint(hints)
        if written.replied and not written.closed:
            self._home.read_mail(self._run_id)
        if written.condemned:
            self._home.condemned.look()

    def warn_of_size(self, run: Run) -> None:
        """Warn, once, of a history that has grown large."""
        if not self._large:
            self._large = True
            logger.warning(LARGE, self._workflow_id, self._run_id, run.state.seq, run.state.size)
