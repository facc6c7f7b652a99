"""What the code of a run has asked for and is not written yet, and its activities that run or wait here.

Commands are acted on before they are written: an activity starts here at once, waits for the commit of its own event, or
gets a row with that. A result that comes is an input; an attempt that fails becomes a row for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from durable._engine._activities import (
    Canceled,
    Completed,
    Dispatch,
    Outcome,
    Progress,
    asked_at,
    backed_off,
    conclude,
    dispatch,
    lost,
    row,
)
from durable._engine._children import OUTGOING
from durable._engine._effects import Effects
from durable._engine._inputs import Inputs
from durable._engine._retry import Retry
from durable._engine._run_info import UPSERTS, changes_what_is_found
from durable._engine._state import RunState
from durable._engine.lanes import is_gated
from durable._engine.records import NewActivity
from durable._engine.versioning import pinned_to, place, queue_of
from durable.history import (
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    CommandEvent,
    Payload,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionUpdateCompleted,
)

T = TypeVar("T")

FEW = 10
"""Open activities of a run up to which it has few: those of it that have to wait go before those of runs with many."""

HEAD_START = 60_000_000
"""Microseconds that these count as having waited already. So a step of one run does not wait behind thousands of activities that
another asked for at once, and what has waited for so long gets its turn."""


class AttemptEnd(Struct, frozen=True, gc=False):
    """How an attempt ended, beside its outcome.

    Attributes:
        attempt: Which it was.
        now: The database's time, at most.
        jitter: A random number from 0 to 1, for the wait before another attempt.
        identity: Who ran it.
        progress: What its last heartbeat told.
        leaving: Whether the run is about to be given up, so that nothing of it may wait in memory.
    """

    attempt: int
    now: int
    jitter: float = 0.0
    identity: str = ""
    progress: Progress = Progress()
    leaving: bool = False


class Asked:
    """See the module.

    Attributes:
        commands: What waits to be written, but for what closes the run.
        unwritten: When the activities among these were asked for, by id.
        outgoing: Those of them that reach other workflows.
        upserts: Whether one of them changes what the run is found by.
        urgent: Whether one of them answers an update, which somebody waits for.
        after_commit: Activities that start here once their events are committed.
        rows: Rows of activities that wait to be written, by id.
        rowed: Activities with a row, written or not.
        canceled: Open activities that the code has cancelled.
        canceled_rows: Those whose rows are to say so.
        completed: Which version runs what is not written yet, and what its workflow says of versions there.
    """

    __slots__ = (
        "_inputs",
        "_state",
        "after_commit",
        "canceled",
        "canceled_rows",
        "commands",
        "completed",
        "outgoing",
        "rowed",
        "rows",
        "unwritten",
        "upserts",
        "urgent",
    )

    def __init__(self, state: RunState, inputs: Inputs, rowed: Iterable[int]) -> None:
        self._state = state
        self._inputs = inputs
        # As in `Inputs`, sets are dicts, and lists that mostly stay empty begin as tuples, see `_with`.
        self.commands: Sequence[CommandEvent] = ()
        self.unwritten: dict[int, int] = {}
        self.outgoing: Sequence[CommandEvent] = ()
        self.upserts = self.urgent = False
        self.after_commit: Sequence[ActivityTaskScheduled] = ()
        self.rows: dict[int, NewActivity] = {}
        self.rowed: dict[int, None] = dict.fromkeys(rowed)
        self.canceled: dict[int, None] = {
            id: None for id, pending in state.activities.items() if pending.cancel_requested
        }
        self.canceled_rows: Sequence[int] = ()
        self.completed = state.completed

    # ------------------------------------------------------------------ activities

    def attempt_completed(
        self, scheduled: ActivityTaskScheduled, result: Payload, attempt: int, identity: str
    ) -> None:
        """Take the result of an attempt that ran here without a row, if it is still waited for."""
        id, waiting = scheduled.id, self._inputs
        open = id in self._state.activities or id in self.unwritten
        if open and id not in self.rowed and id not in waiting.resulted:
            waiting.add(ActivityTaskCompleted(id=id, attempt=attempt, identity=identity, result=result))

    def attempt_ended(
        self, scheduled: ActivityTaskScheduled, outcome: Outcome, how: AttemptEnd
    ) -> Retry | None:
        """Take the end of an attempt that ran here without a row: a result, or a row for the next attempt.

        Returns:
            When the next attempt of a local activity starts here; it gets no row.
        """
        if isinstance(outcome, Completed):
            self.attempt_completed(scheduled, outcome.result, how.attempt, how.identity)
            return None
        id = scheduled.id
        pending = self._state.activities.get(id)
        scheduled_at = self.unwritten.get(id) if pending is None else pending.scheduled_at
        if scheduled_at is None or id in self.rowed or id in self._inputs.resulted:
            return None
        result = conclude(
            scheduled,
            outcome,
            attempt=how.attempt,
            scheduled_at=scheduled_at if scheduled.local is None else asked_at(scheduled, scheduled_at),
            now=how.now,
            jitter=how.jitter,
            identity=how.identity,
            cancel_requested=id in self.canceled,
        )
        if isinstance(result, Retry):
            failure = getattr(outcome, "failure", None)
            if scheduled.local is not None and failure is not None:
                if result.delay <= scheduled.local.retry_threshold and not how.leaving:
                    return result
                self._inputs.add(
                    backed_off(scheduled, failure, result.delay, attempt=how.attempt, identity=how.identity)
                )
                return None
            self.add_row(
                row(
                    scheduled,
                    scheduled_at,
                    attempt=how.attempt + 1,
                    due_in=result.delay,
                    progress=Progress(how.progress.heartbeat, failure),
                )
            )
        else:
            self._inputs.add(result)
        return None

    @property
    def pinned_to(self) -> str:
        """The version that the run belongs to behind this task, "" when it follows its queue."""
        return pinned_to(self._state.override, self.completed)

    def add_row(self, new: NewActivity) -> None:
        """Give an activity a row with the next transition; from now on the row decides what becomes of it."""
        if pinned := self.pinned_to:
            new = msgspec.structs.replace(new, task_queue=place(queue_of(new.task_queue), pinned))
        self.rows[new.id] = new
        self.rowed[new.id] = None

    def scheduled_at(self, id: int) -> int:
        """Return the time from which an activity's deadlines count."""
        pending = self._state.activities.get(id)
        return self.unwritten.get(id, self._state.task_time) if pending is None else pending.scheduled_at

    @property
    def has_local(self) -> bool:
        """Whether a local activity is open, which only an owner of the run can run."""
        return any(
            pending.scheduled.local is not None and id not in self._inputs.resulted
            for id, pending in self._state.activities.items()
        ) or any(
            isinstance(command, ActivityTaskScheduled) and command.local is not None
            for command in self.commands
        )

    def recover(self, *, now: int, jitter: float) -> list[ActivityTaskScheduled]:
        """Count the lost attempt of every activity that ran at a dead owner: it has neither a row nor an outcome.

        Returns:
            Local activities, whose attempts nobody counts: they begin again, here.
        """
        local: list[ActivityTaskScheduled] = []
        for id, pending in list(self._state.activities.items()):
            if id not in self.rowed and id not in self._inputs.resulted:
                how = AttemptEnd(1, now, jitter)
                if pending.scheduled.local is None:
                    self.attempt_ended(pending.scheduled, lost(pending.scheduled), how)
                elif id in self.canceled:
                    self.attempt_ended(pending.scheduled, Canceled(), how)
                else:
                    local.append(pending.scheduled)
        return local

    # ------------------------------------------------------------------ commands

    def close_with(self, commands: Sequence[CommandEvent]) -> None:
        """Note what the commands of a task mean that closes the run: nothing here, and what reaches others."""
        self.outgoing = [*self.outgoing, *(command for command in commands if isinstance(command, OUTGOING))]
        self.upserts = self.upserts or changes_what_is_found(commands)

    def take_in(
        self,
        commands: Sequence[CommandEvent],
        local: Callable[[ActivityTaskScheduled], bool],
        time: int,
        *,
        recovering: bool,
    ) -> Effects:
        """Note what the commands of a task mean that happened at `time`, and return what is to be done about them now."""
        start: list[ActivityTaskScheduled] = []
        cancel: Sequence[int] = ()
        for command in commands:
            if type(command) is ActivityTaskScheduled:
                self.unwritten[command.id] = time
                if self._starts(command, local, recovering=recovering):
                    start.append(command)
            elif isinstance(command, ActivityTaskCancelRequested):
                self.canceled[command.id] = None
                cancel = _with(cancel, command.id)
                if command.id in self.rowed:
                    self.canceled_rows = _with(self.canceled_rows, command.id)
            elif isinstance(command, TimerStarted):
                self._inputs.start_timer(command.id, time + command.duration)
            elif isinstance(command, TimerCanceled):
                self._inputs.timers.pop(command.id, None)
            elif isinstance(command, OUTGOING):
                self.outgoing = _with(self.outgoing, command)
            elif isinstance(command, WorkflowExecutionUpdateCompleted):
                self.urgent = True
            elif isinstance(command, UPSERTS):
                self.upserts = True
        return Effects(start, cancel)

    def _starts(
        self,
        scheduled: ActivityTaskScheduled,
        local: Callable[[ActivityTaskScheduled], bool],
        *,
        recovering: bool,
    ) -> bool:
        """Whether an activity starts here, now; if not, see to it that it starts elsewhere, or later."""
        if scheduled.local is not None:
            # Started again by an owner that finds it open: it is only as good as that.
            return True
        # What is limited starts where the database says so: an eager start would pass all that wait for it.
        free = scheduled.limits is None or not is_gated(scheduled.limits)
        how = dispatch(scheduled, local=free and local(scheduled))
        if how is Dispatch.NOW:
            if not recovering:
                return True
            # The owner before may have started it before it died. A lost attempt is an attempt.
            self.attempt_ended(scheduled, lost(scheduled), AttemptEnd(1, self.unwritten[scheduled.id]))
        elif how is Dispatch.AFTER_COMMIT:
            self.after_commit = _with(self.after_commit, scheduled)
        else:
            open = len(self._state.activities) + len(self.unwritten)
            first = open <= FEW and scheduled.limits is None
            self.add_row(row(scheduled, self.unwritten[scheduled.id], due_in=-HEAD_START if first else 0))
        return False

    def forget(self) -> None:
        """Drop the commands of a task that runs again; nothing of it was done."""
        self.commands, self.outgoing, self.upserts, self.urgent = (), (), False, False


def _with(items: Sequence[T], item: T) -> Sequence[T]:
    """Return a list with one more item; it is the same one, but for the first."""
    if isinstance(items, list):
        items.append(item)
        return items
    return [*items, item]
