"""The code of one owned run: its instance, brought to where the log is, and the turns that it gets.

A run may lose its instance and be kept (eviction): then the log is read and replayed before its next turn.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import accumulate

from durable._engine._run import Run
from durable._internal.instants import SECOND
from durable._replay._instance import Instance, Tried
from durable._replay._intercepted import new_instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.history import CommandEvent, Event
from durable.store import ClaimedRun
from durable.worker._home import Home
from durable.workflow._definition import WorkflowDefinition

logger = logging.getLogger("durable.worker")


def turn_limit(run: Run | None, claimed: ClaimedRun | None) -> float:
    """Return for how many seconds a turn may hold the event loop, as far as the workflow's task timeout says.

    Args:
        run: Whose turn it is; None before its log has been looked at.
        claimed: The whole log, if all of it is run in the turn: then each task has its time.
    """
    timeout = None if run is None else run.state.started.task_timeout
    tasks = 1 if claimed is None else claimed.events[-1].task
    return math.inf if timeout is None else tasks * timeout / SECOND


class RunCode:
    """See the module.

    Attributes:
        instance: The code as it stands, if it is here.
        commands: What the last turn asked for.
        live: Whether the last turn ran a task that had not been run before, as far as the log tells.
        trying: Whether the task under way is tried before it is written.
        tried: What that trial gave.
    """

    __slots__ = (
        "_definition",
        "_home",
        "_run_id",
        "_workflow_id",
        "commands",
        "instance",
        "live",
        "tried",
        "trying",
    )

    def __init__(self, home: Home, definition: WorkflowDefinition, run_id: str, workflow_id: str) -> None:
        self._home = home
        self._definition = definition
        self._run_id = run_id
        self._workflow_id = workflow_id
        self.instance: Instance | None = None
        self.commands: Sequence[CommandEvent] = ()
        self.live = self.trying = False
        self.tried: Tried | None = None

    @property
    def workflow_type(self) -> str:
        """The name of its definition."""
        return self._definition.name

    @property
    def definition(self) -> WorkflowDefinition:
        """Its definition; that of a dynamic one as it is configured, once it has its object."""
        return self._definition if self.instance is None else self.instance.definition

    def open(self, turns: Turns, run: Run, claimed: ClaimedRun, events: list[Event]) -> None:
        """Bring the code to where its log is, unless its first turn waits for the run to begin."""
        run.state.size = sum([len(row.data) for row in claimed.events])
        if not self.trying and run.waits_to_begin(self._home.clock.now()):
            self.commands = []
            return
        self.instance = self._new_instance()
        if len(events) == 1 and not self.trying:
            # It begins: there is nothing to replay.
            self.activate(turns, run, events)
            return
        if self.trying:
            assert run.trial is not None
            events = events[: run.trial.events[0].seq - 1]
        commands = replay(
            self.instance,
            turns,
            events,
            rebuild=lambda: self._new_instance(trace=True),
            pending=run.asked.commands if self.trying else None,
            sizes=list(accumulate(len(row.data) for row in claimed.events)),
            defined=self._home.defined,
            warn=lambda text: logger.warning("workflow %s: %s", self._workflow_id, text),
        )
        # Before a trial the code is only brought to where it was; what it asked for then is known.
        self.live = not self.trying and commands is not None
        self.commands = [] if self.trying or commands is None else commands

    def activate(self, turns: Turns, run: Run, task: Sequence[Event]) -> None:
        """Run a task that is committed."""
        assert self.instance is not None
        self.live = True
        self.commands = self.instance.activate(turns, task, replaying=False, size=run.state.size)

    def attempt(self, turns: Turns, run: Run) -> None:
        """Run the task that the run tries before it is written."""
        assert self.instance is not None
        assert run.trial is not None
        self.tried = self.instance.attempt(turns, run.trial.events, size=run.trial.size)

    def _new_instance(self, *, trace: bool = False) -> Instance:
        made = new_instance(
            self._definition,
            self._run_id,
            self._home.converter,
            namespace=self._home.namespace,
            note=self.note,
            trace=trace,
            activates=self._home.options.activates,
            serves=self._home.activities.serves,
            interceptors=self._home.options.workflow_interceptors,
        )
        made.surroundings = self._home
        made.own_version = self._home.options.version
        made.guard = self._home.options.guard
        return made

    def note(self, message: str, exception: BaseException | None) -> None:
        """Log what the code should hear of."""
        logger.warning(
            "workflow %s (run %s): %s", self._workflow_id, self._run_id, message, exc_info=exception
        )

    def take_tried(self) -> Tried | None:
        """Return what the trial gave, once."""
        tried, self.tried = self.tried, None
        return tried

    def evict(self) -> None:
        """Drop the instance. The code is taken down without running any of it; what resists is kept, unreachable, and reported."""
        if self.instance is None:
            return
        instance, self.instance = self.instance, None
        if survivors := instance.evict():
            logger.error(
                "workflow code of run %s swallows every exception: %d of its tasks could not be taken down and stay "
                "in memory until the process ends",
                instance.run_id,
                survivors,
            )
