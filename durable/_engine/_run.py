"""One owned run: what it waits for, what its next task is, and what it must write.

Between two turns of its code a run collects inputs: outcomes of its own activities, messages, timers that are due. `Run`
forms them into tasks and into transitions, under rules that are the heart of the semantics:

* One transition is in flight at a time. What arrives meanwhile waits, and opens the next task behind this task's
  commands; so a task is contiguous in the log.
* An input is applied only after it is committed. A command may be acted on before; its event rides with the next
  input, or alone a little later, or at once when something durable depends on it.
* Which inputs make the next task, and in which order, is said in `_inputs`.
* Whatever closes the run is written with its last task, releasing nothing; if a message was unread then, the message
  joins that task, and the task is run again from the log.
* A task with updates is tried first and written then, see `_trial`.

`Run` is pure: it is told the time, and returns transitions and effects. The worker's run host does what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from durable._engine._activities import (
    ACTIVITY_INPUTS,
    message_of,
)
from durable._engine._asked import Asked
from durable._engine._chain import Ending, end
from durable._engine._children import condemns, told_by
from durable._engine._effects import Effects, Urgency, Written
from durable._engine._flight import Flight, beside_events, holding_back
from durable._engine._inputs import Inputs
from durable._engine._release import release, unwritten_results
from durable._engine._run_info import changes_what_is_found
from durable._engine._state import CLOSING_STATUS, RunState
from durable._engine._trial import Trial, Tried, begin, take_back
from durable._engine._updates import rejections
from durable._engine.records import (
    Hold,
    Message,
    NewActivity,
    NewRun,
    Release,
    Transition,
    Unread,
)
from durable._engine.versioning import NO_VERSION, queue_of
from durable.history import (
    TARGET_CHANGED,
    ActivityTaskScheduled,
    CommandEvent,
    EventData,
    EventRow,
    Failure,
    Input,
    TimerFired,
    WorkflowExecutionSignaled,
    encode_rows,
)

NO_EFFECTS = Effects()

NOTHING, SOON, NOW = Urgency.NOTHING, Urgency.SOON, Urgency.NOW

HOLD_BACK = 1_000_000
"""Microseconds for which a run that could not close twice takes no new messages: enough to run its last task again, and
no longer than a sender waits anyway."""


class Run:
    """The engine's side of one run that this worker owns.

    Attributes:
        inputs: What has come for it and is in no task yet.
        asked: What its code has asked for and is not written yet, and its activities.
        end: The event that ended it, once that is committed.
        ran: Whether the code has run as far as the log goes.
        successor: The run that goes on where it ended, likewise.
        untaken: Signals that the code was given, and that nobody had received when it came to its end.
    """

    __slots__ = (
        "_closing",
        "_deaths",
        "_fresh",
        "_holding",
        "_in_flight",
        "_moves",
        "_recovering",
        "_refusals",
        "_unproven",
        "asked",
        "end",
        "epoch",
        "inputs",
        "ran",
        "served",
        "state",
        "successor",
        "trial",
        "untaken",
    )

    def __init__(
        self,
        state: RunState,
        epoch: int,
        *,
        rowed: Iterable[int] = (),
        deaths: int = 0,
        held: bool = False,
        fresh: bool = False,
    ) -> None:
        """Take a run over as its log, and the ids of its activities that have rows, show it.

        Args:
            state: The fold of the log.
            epoch: The fence of this ownership.
            rowed: Ids of activities with a row.
            deaths: How many owners in a row died with it.
            held: Whether it was blocked before.
            fresh: Whether nobody has run its first task: what waits when it is first owned joins that task.
        """
        # Which version its owner is of, and what its workflow says of versions there.
        self.served = NO_VERSION
        self.state = state
        self.epoch = epoch
        self._deaths = deaths
        self._recovering = deaths > 0
        self._unproven = deaths > 0 or held
        self.ran = False
        self.inputs = Inputs(state)
        self.asked = Asked(state, self.inputs, rowed)
        self._closing: CommandEvent | None = None
        self._refusals = 0
        self._moves = False
        self.end: EventData | None = None
        self.successor: NewRun | None = None
        self.untaken: Sequence[WorkflowExecutionSignaled] = ()
        self._in_flight: Flight | None = None
        self._fresh = fresh
        self._holding = False
        self.trial: Trial | None = None

    # ------------------------------------------------------------------ what the code asked for

    def commands(
        self,
        commands: Sequence[CommandEvent],
        *,
        local: Callable[[ActivityTaskScheduled], bool],
        live: bool = True,
    ) -> Effects:
        """Take the commands of the newest task, and return what to do about them now.

        Args:
            commands: In order; at most one closes the run, and then it is the last.
            local: Whether this worker can run an activity now, and will; asked once for each.
            live: Whether the task was run now, and not before.
        """
        self._fresh = False
        asked = self.asked
        recovering, self._recovering = self._recovering, False
        self.ran = True
        if live and self.state.completed is not self.served and self.state.completed != self.served:
            commands = self._told(commands)
        if commands and type(commands[-1]) in CLOSING_STATUS:
            # Nothing of a closing task is released: a refused close runs the task again.
            *others, self._closing = commands
            asked.commands = [*asked.commands, *others]
            if others:
                asked.close_with(others)
            return NO_EFFECTS
        if not commands:
            return NO_EFFECTS
        asked.commands = [*asked.commands, *commands] if asked.commands else commands
        return asked.take_in(commands, local, self.state.task_time, recovering=recovering)

    def _told(self, commands: Sequence[CommandEvent]) -> Sequence[CommandEvent]:
        """Return the commands of a task that has run, behind which version ran it, which is news to the log."""
        self.asked.completed = self.served
        return [self.served, *commands]

    def watch_target(self, *, changed: bool) -> None:
        """Take the news whether it would be another version's by now, were it not pinned; its next tasks are told."""
        flags = self.inputs.flags & ~TARGET_CHANGED
        self.inputs.flags = flags | TARGET_CHANGED if changed else flags

    # ------------------------------------------------------------------ what is written

    @property
    def unproven(self) -> bool:
        """Whether owners died with it and it has not shown since that it was not the cause."""
        return self._unproven and self._deaths > 0

    @property
    def waiting_for_commit(self) -> Sequence[ActivityTaskScheduled]:
        """Activities that start here once their events are committed."""
        return (
            self.asked.after_commit
            if self._in_flight is None
            else [*self._in_flight.start, *self.asked.after_commit]
        )

    @property
    def closing(self) -> CommandEvent | None:
        """The command that closes the run, once its code has come to an end."""
        return self._closing

    def begins_later(self, now: int) -> bool:
        """Whether its start was delayed, and neither that time nor a message that ends the delay has come."""
        return self._begins is not None and self._begins > now

    @property
    def _begins(self) -> int | None:
        """When the run begins, as long as its code has not run."""
        state = self.state
        waits = state.task == 1 and state.trailing and not self.ran and state.started.delay > 0
        return state.task_time if waits else None

    def urgency(self, now: int) -> Urgency:
        """Return how soon `propose` should be called."""
        if self._in_flight is not None:
            return NOTHING
        asked, inputs = self.asked, self.inputs
        if (
            self._closing is not None
            or inputs.results
            or inputs.messages
            or asked.rows
            or asked.after_commit
            or asked.canceled_rows
            or asked.urgent
            or asked.outgoing
            or inputs.cancels
            or (inputs.timers and inputs.is_due(now))
        ):
            return NOW
        if self._unproven and self.ran:
            return NOW if self._deaths > 1 else SOON
        if asked.commands or inputs.consumed:
            return SOON
        return NOTHING

    def propose(self, now: int) -> Transition | None:
        """Return the next transition, or None when nothing waits, or when `trial` says what must be tried first.

        It holds the commands of the task before, then the inputs of the next task, if there are any and the run is not
        closing. Answer it with `written` or `refused`, and a trial with `tried` or `untried`.
        """
        assert self._in_flight is None
        assert self.trial is None
        if self._holding:
            self._holding = False
            self._in_flight = holding_back(self.state, self.epoch, HOLD_BACK)
            return self._in_flight.transition
        if self.inputs.updates:
            inputs = self._try(now)
            if self.trial is not None:
                return None
        else:
            inputs = [] if self._closing is not None else self.inputs.next_task(now)
        if not (
            self.asked.commands
            or self._closing is not None
            or inputs
            or self.asked.rows
            or self.asked.canceled_rows
            or self.inputs.consumed
            or (self._unproven and self.ran)
        ):
            return None
        # What waits for a fresh run is part of its first task.
        new = bool(inputs) and not self._fresh
        return self._fly(inputs, self.state.task + 1 if new else self.state.task, now)

    def _try(self, now: int) -> list[Input]:
        """Return the inputs of the next task, or make it a trial if there are updates among them."""
        closing = self._closing
        if closing is not None and end(self.state, closing, now=now).close.successor is not None:
            # They go on to the successor.
            return []
        found = begin(
            self.inputs,
            self.state,
            self.state.task if self._fresh else self.state.task + 1,
            now,
            commands=self.asked.commands,
            fresh=self._fresh,
            closing=closing,
        )
        if isinstance(found, Trial):
            self.trial = found
            return []
        return found

    def tried(
        self,
        commands: Sequence[CommandEvent],
        rejected: Mapping[str, Failure],
        *,
        local: Callable[[ActivityTaskScheduled], bool],
    ) -> Transition:
        """Return the transition of a task that was tried; what it asks for is released when that is written.

        Args:
            commands: As for `commands`. They do not count if all of the task's updates were rejected.
            rejected: The updates that the code refused, by message id, and why.
            local: As for `commands`.
        """
        trial = self.trial
        assert trial is not None
        consumed = self.inputs.consumed
        self.inputs.consumed = [*trial.consumed, *consumed]
        accepted = [one for one in trial.inputs if one.message not in rejected]
        counted = trial.counts(rejected)
        effects = NO_EFFECTS
        if counted and self.state.completed != self.served:
            commands = self._told(commands)
        if not counted:
            commands = ()
        elif commands and type(commands[-1]) in CLOSING_STATUS:
            *commands, self._closing = commands
            self.asked.close_with(commands)
        else:
            effects = self.asked.take_in(commands, local, trial.time, recovering=False)
            self.asked.after_commit = [*self.asked.after_commit, *effects.start]
        tried = Tried(trial, counted, commands, effects.cancel, rejections(rejected))
        transition = self._fly(accepted, trial.task if accepted else self.state.task, trial.time, tried)
        self.trial = None
        return transition

    def untried(self) -> None:
        """Take the news that a task cannot be tried now: its inputs wait as before."""
        trial, self.trial = self.trial, None
        if trial is not None:
            self.inputs.consumed = [*trial.consumed, *self.inputs.consumed]
            take_back(self.inputs, trial)

    @property
    def tries_again(self) -> bool:
        """Whether a refused close is answered by a trial, with nothing to be written before."""
        return self._closing is None or self.inputs.only_late

    def waits_to_begin(self, now: int) -> bool:
        """Whether its first task is not to be run yet: what has come joins it before, or its time has not come."""
        if self.begins_later(now):
            self._fresh = True
        return self._fresh

    def begin(self) -> None:
        """Take the news that its first task is run now, as the log has it."""
        self._fresh = False

    def _fly(self, inputs: list[Input], task: int, now: int, tried: Tried | None = None) -> Transition:
        """Make a transition of the commands that wait, and of `inputs` as part of `task`; it is in flight from now.

        Of a task that was tried it holds the rest too: what the code asked for, and what it refused.
        """
        state, asked, closing = self.state, self.asked, self._closing
        commands = asked.commands
        # What belongs to `task`; the commands belong to the one before.
        facts: Sequence[EventData] = inputs if tried is None else [*inputs, *tried.answers]
        ending: Ending | None = None
        if closing is not None:
            unread = Unread.MOVE if self._refusals else Unread.REFUSE_SIGNALS
            changes = [*commands, *facts] if asked.upserts else ()
            ending = end(
                state,
                closing,
                now=now,
                untaken=self.untaken,
                unread=unread,
                commands=changes,
                pinned_to=asked.pinned_to,
            )
            facts = [*facts, ending.event]
        # A task of a run that was started with a delay is not before the delay's end.
        not_before = state.time if task == 1 else max(state.time, state.task_time)
        rows_done: Sequence[int] = ()
        if asked.rowed:
            rows_done = [
                data.id for data in inputs if isinstance(data, ACTIVITY_INPUTS) and data.id in asked.rowed
            ]
        if self.inputs.timers:
            for data in inputs:
                if isinstance(data, TimerFired):
                    not_before = max(not_before, self.inputs.timers.pop(data.id))
        proven = self._unproven and self.ran
        more = beside_events(state, asked, facts, ending, tried)
        if self.inputs.consumed:
            more["consumed"] = tuple(self.inputs.consumed)
        if asked.rows or rows_done or asked.canceled_rows:
            more["activities"] = tuple(asked.rows.values())
            more["activities_done"] = tuple(rows_done)
            more["activities_canceled"] = tuple(asked.canceled_rows)
        if self._refusals > 1 and ending is None:
            more["hold_back"] = HOLD_BACK
        if proven:
            more["proven"] = True
        rows: list[EventRow] = []
        size = encode_rows(rows, state.task, commands, state.seq)
        size += encode_rows(rows, task, facts, state.seq + len(commands))
        transition = Transition(state.run_id, self.epoch, tuple(rows), not_before, **more)
        self._in_flight = Flight(
            commands,
            inputs,
            task,
            None if ending is None else ending.event,
            asked.after_commit,
            asked.outgoing,
            transition,
            size,
            tried,
        )
        self._fresh = self._holding = False
        asked.urgent = asked.upserts = False
        asked.commands = asked.outgoing = asked.after_commit = ()
        asked.rows, asked.canceled_rows, self.inputs.consumed = {}, (), ()
        if proven:
            self._unproven = False
        return transition

    def written(self, now: int) -> Written:
        """Take the news that the proposed transition is committed; `now` is the commit's time of the database."""
        assert self._in_flight is not None
        flight, self._in_flight = self._in_flight, None
        transition, tried, state = flight.transition, flight.tried, self.state
        before = state.task
        inputs = flight.land(state, now)
        asked = self.asked
        if asked.unwritten and (flight.commands or tried is not None):
            # A flight takes all commands that wait.
            asked.unwritten.clear()
        for data in flight.inputs:
            if isinstance(data, ACTIVITY_INPUTS):
                self.inputs.resulted.pop(data.id, None)
                if asked.canceled:
                    asked.canceled.pop(data.id, None)
        if inputs:
            self.ran = False
            if flight.task != before:
                self._refusals = 0
        elif tried is not None and tried.counted:
            self.ran = True
        if flight.closing is not None:
            self.end = flight.closing
            self.successor = None if transition.close is None else transition.close.successor
        if transition.consumed:
            self.inputs.forget(transition.consumed)
        for id in transition.activities_done:
            asked.rowed.pop(id, None)
        written = Written(inputs, flight.start, closed=flight.closing is not None)
        if transition.activities or transition.activities_canceled:
            written.concerns_others = True
            written.queued = [queue_of(row.task_queue) for row in transition.activities if row.worker is None]
            written.canceled = transition.activities_canceled
        if transition.outcomes or tried is not None:
            written.concerns_others = True
            written.cancel = () if tried is None else tried.cancel
            written.updated = transition.outcomes
        if flight.outgoing or written.closed:
            written.concerns_others = True
            written.told = told_by(transition, state)
            written.replied = bool(flight.outgoing)
            written.condemned = written.closed and condemns(state)
        return written

    def refused(self) -> None:
        """Take the news that a close was refused over an unread message, and take the closing task back.

        What has happened is kept: rows, consumed messages and proofs were in the same transition by chance. The host
        adds the messages (`receive`) and writes what `reopen` returns.
        """
        assert self._in_flight is not None
        flight, self._in_flight = self._in_flight, None
        transition = flight.transition
        self.asked.commands, self.asked.outgoing = flight.commands, flight.outgoing
        self.asked.upserts = transition.upsert is not None
        self.asked.rows = {new.id: new for new in transition.activities} | self.asked.rows
        waiting = self.inputs
        waiting.consumed = [
            *(position for position in transition.consumed if position not in waiting.cancels),
            *waiting.consumed,
        ]
        self.asked.canceled_rows = [*transition.activities_canceled, *self.asked.canceled_rows]
        self._unproven = self._unproven or transition.proven
        self._refusals += 1
        self._moves = transition.close is not None and transition.close.successor is not None
        if flight.tried is not None:
            # All of it is tried again, with what has come.
            trial = flight.tried.trial
            self.asked.outgoing = [command for command in flight.outgoing if command in flight.commands]
            self.asked.upserts = changes_what_is_found(flight.commands)
            self._closing = trial.closing
            self._fresh = self._closing is None and flight.task == self.state.task
            take_back(self.inputs, trial)
            self._holding = self._refusals > 1

    def reopen(self, now: int) -> Transition | None:
        """Return what brings the unread messages into the log of a run whose close was refused.

        Signals join the closing task, of which nothing was released: it is forgotten, and runs again from the log. A
        cancel request alone changes nothing any more, since the code has returned: it goes on to the run's successor,
        and without one it gets a task of its own behind the closing one, and the close is written with that (a replay
        knows this case, see `_replay`). So do updates, by a trial (`tries_again`), once no signal is left.

        A close that was refused twice lets no new message in for a moment: however busy the senders are, it gets
        through. One with a successor is refused only once, since the successor can read what comes then.

        Returns:
            A transition, or None when there is nothing to write and the task just runs again. `closing` tells whether
            it closes the run.
        """
        waiting = self.inputs
        if waiting.cancels and not waiting.has_signals:
            if self._moves:
                return self._fly([], self.state.task, now)
            return self._fly(waiting.take(waiting.cancels), self.state.task + 1, now)
        self.asked.forget()
        self._closing, self.ran = None, False
        joining = waiting.take_joining()
        return self._fly(joining, self.state.task, now) if waiting.consumed else None

    # ------------------------------------------------------------------ giving it up

    @property
    def knows_more(self) -> bool:
        """Whether it knows of attempts or outcomes of activities what neither the log tells nor its code could."""
        flight = self._in_flight
        rows = [*self.asked.rows.values(), *(() if flight is None else flight.transition.activities)]
        return any(row.attempt > 1 or row.worker is not None for row in rows) or bool(
            unwritten_results(self.inputs, self.trial, flight)
        )

    def salvage(self) -> list[Message]:
        """Return the results that have come and are not in the log, as messages to the run itself."""
        return [
            message_of(self.state.run_id, result)
            for result in unwritten_results(self.inputs, self.trial, self._in_flight)
            if result.id in self.state.activities
        ]

    @property
    def _needs_an_owner(self) -> bool:
        """Whether something of it waits that no timer and no message brings about."""
        return self.inputs.any_but_timers or not self.ran or self.asked.has_local

    def release(
        self,
        running: Iterable[NewActivity] = (),
        *,
        hold: Hold = Hold.NONE,
        reason: str = "",
        wake_in: int | None = None,
    ) -> Transition:
        """Return the transition that gives the run up: all that waits to be written, and when it must be claimed again.

        Args:
            running: Rows of activities that run here, leased to this worker.
            hold: Why messages shall not wake it.
            reason: The same for people.
            wake_in: When it is to be claimed, if not at its next timer.
        """
        assert self._in_flight is None
        for new in running:
            self.asked.add_row(new)
        if self._closing is not None:
            # Nothing of the closing task has been released; the next owner runs it again.
            self.asked.forget()
            self.ran = False
        begins = self._begins
        if begins is None and wake_in is None and self._needs_an_owner:
            wake_in = 0
        wake_at = (begins or self.inputs.next_timer()) if wake_in is None else None
        return release(
            self.state,
            self.epoch,
            self.asked,
            self.inputs,
            Release(wake_at=wake_at, wake_in=wake_in, hold=hold, reason=reason),
            proven=self._unproven and self.ran,
        )
