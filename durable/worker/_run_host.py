"""One owned run in this process: its engine side (`Run`), its code (`Instance`), and the activities it runs here.

The host goes round one way, for ever: what arrives goes to `Run`; `pump` asks how urgent it is and submits the host to
the committer; the committer asks for the transition and answers it; committed inputs are a task, which waits for its
turn; the turn gives commands, commands give effects; and pump again. A host is never in two of these stages at once.

A host may lose its instance and keep its run (eviction): the next task then reads the log and replays it first.
"""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Sequence
from itertools import accumulate

from durable._engine._activities import Outcome
from durable._engine._effects import Effects, Urgency, Written
from durable._engine._run import Run
from durable._engine._state import RunState
from durable._replay._instance import Instance, Tried
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.exceptions import HistoryError, PayloadCodecError, WorkflowTaskError
from durable.history import CommandEvent, Event, decode_data, decode_history
from durable.store import (
    ActivityState,
    ClaimedRun,
    Hint,
    HintKind,
    Hold,
    Message,
    Release,
    Transition,
    Verdict,
)
from durable.worker._attempts import Attempt
from durable.worker._faults import describe_fault
from durable.worker._home import Home
from durable.worker._run_activities import RunActivities
from durable.worker._timers import Timer
from durable.workflow._definition import WorkflowDefinition

logger = logging.getLogger("durable.worker")

SOON, NOW = Urgency.SOON, Urgency.NOW
_LARGE = (
    "workflow %s (run %s): the history has %d events and %d bytes; every replay reads them all. Let the workflow "
    "continue as new when workflow.info().is_continue_as_new_suggested()"
)
WRITTEN = Verdict.WRITTEN

UNFINISHED = (
    "it ended while handlers were under way, and these are abandoned: {}. Wait for them with `await "
    "workflow.wait_condition(workflow.all_handlers_finished)`, or say in the handler's decorator that it need not finish: "
    "unfinished_policy=HandlerUnfinishedPolicy.ABANDON"
)
"""What the log says of handlers that a workflow left behind."""


class RunHost:
    """See the module."""

    __slots__ = (
        "_activities",
        "_busy",
        "_claimed",
        "_commands",
        "_definition",
        "_fault",
        "_fresh",
        "_home",
        "_large",
        "_opened",
        "_paused",
        "_releasing",
        "_reopening",
        "_salvaged",
        "_started_elsewhere",
        "_task",
        "_timer",
        "_tried",
        "_trying",
        "epoch",
        "gone",
        "instance",
        "run",
        "run_id",
        "workflow_id",
    )

    def __init__(
        self, home: Home, claimed: ClaimedRun, definition: WorkflowDefinition, *, fresh: bool = False
    ) -> None:
        self._home = home
        self._claimed: ClaimedRun | None = claimed
        self._definition = definition
        self.run_id = claimed.run.run_id
        self.workflow_id = claimed.run.workflow_id
        self.epoch = claimed.run.epoch
        self.run: Run | None = None
        self.instance: Instance | None = None
        self.gone = False
        self._opened = False
        self._paused = False
        self._large = False
        self._fault: BaseException | None = None
        self._commands: list[CommandEvent] = []
        self._task: list[Event] = []
        self._activities = RunActivities(home, self)
        self._salvaged: tuple[Message, ...] = ()
        self._started_elsewhere: list[str] = []
        self._releasing: Transition | None = None
        self._reopening: Transition | None = None
        self._timer: Timer | None = None
        self._fresh = fresh and claimed.run.epoch == 1 and len(claimed.events) == 1
        self._trying = False
        self._tried: Tried | None = None
        # Whether a stage is under way that will pump when it ends; the first is the turn with the whole history.
        self._busy = True

    @property
    def workflow_type(self) -> str:
        """The name of its definition."""
        return self._definition.name

    # ------------------------------------------------------------------ turns

    def turn(self, turns: Turns) -> None:
        """Run the code: the whole history first if the instance is not there, else the task that was committed.

        Only code is run here; what follows from it waits for `conclude`, when the run's event loop is no longer the
        running one.
        """
        if self.gone:
            return
        try:
            if self._claimed is not None:
                self._commands = self._open(turns, self._claimed)
            elif not self._trying:
                assert self.instance is not None
                assert self.run is not None
                self._commands = self.instance.activate(
                    turns, self._task, replaying=False, size=self.run.state.size
                )
            if self._trying:
                assert self.run is not None
                assert self.run.trial is not None
                assert self.instance is not None
                trial = self.run.trial
                self._tried = self.instance.attempt(turns, trial.events, size=trial.size)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._fault = error

    def broken(self) -> None:
        """Take the news that the turn held the event loop for too long and was ended; nothing of it counts."""
        self._fault = self._home.deadlock()

    def conclude(self) -> None:
        """Take what the turn gave: commands, or a fault of the code."""
        if self.gone:
            return
        first, self._claimed, self._task = self._claimed, None, []
        if self._trying and self._fault is None:
            # Nothing of it counts before it is written.
            self._home.committer.submit(self)
            return
        self._busy = self._trying = False
        if self._fault is not None:
            if self.run is not None:
                self.run.untried()
            self._block(self._fault)
            return
        assert self.run is not None
        if first is not None and not self._opened:
            self._opened = True
            # Messages first: one of them may be the outcome of an attempt that would else count as lost.
            self._receive(first.messages)
            canceled = [
                a.id for a in first.activities if a.cancel_requested and a.state is ActivityState.QUEUED
            ]
            if canceled:
                self._home.spawn(self._activities.end_waiting(canceled))
            self.run.recover(now=self._home.clock.now(), jitter=random.random())
        if self.instance is None:
            self._postpone()
            return
        commands, self._commands = self._commands, []
        if self.instance.closing:
            self.run.untaken = self.instance.signals.untaken()
        effects = self.run.commands(commands, local=self._activities.promise)
        now = self._home.clock.now()
        if effects.start or effects.cancel:
            self._activities.carry_out(effects, now)
        self._activities.keep_promises()
        self._pump(now)

    def _open(self, turns: Turns, claimed: ClaimedRun) -> list[CommandEvent]:
        if claimed.fault is not None:
            raise claimed.fault
        events = decode_history(claimed.events)
        if self.run is None:
            state = RunState.of(self.run_id, events)
            self.run = Run(
                state,
                claimed.run.epoch,
                rowed=[entry.id for entry in claimed.activities],
                deaths=claimed.run.deaths,
                held=claimed.run.hold is not Hold.NONE,
                fresh=self._fresh and bool(claimed.messages),
            )
        sizes = list(accumulate([len(row.data) for row in claimed.events]))
        self.run.state.size = sizes[-1]
        if not self._trying and self.run.waits_to_begin(self._home.clock.now()):
            return []
        self.instance = self._new_instance()
        if self._trying:
            assert self.run.trial is not None
            events = events[: self.run.trial.events[0].seq - 1]
        commands = replay(
            self.instance,
            turns,
            events,
            rebuild=lambda: self._new_instance(trace=True),
            again=self._trying,
            sizes=sizes,
            defined=self._home.defined,
            warn=lambda text: logger.warning("workflow %s: %s", self.workflow_id, text),
        )
        # Before a trial the code is only brought to where it was; what it asked for then is known.
        return [] if self._trying or commands is None else commands

    def _new_instance(self, *, trace: bool = False) -> Instance:
        return Instance(
            self._definition,
            self.run_id,
            self._home.converter,
            namespace=self._home.namespace,
            note=self._note,
            trace=trace,
        )

    def _note(self, message: str, exception: BaseException | None) -> None:
        logger.warning("workflow %s (run %s): %s", self.workflow_id, self.run_id, message, exc_info=exception)

    # ------------------------------------------------------------------ what arrives

    def deliver(self, messages: Sequence[Message]) -> None:
        """Take messages that were read from the inbox."""
        if self.gone:
            return
        if self.run is None:
            self._home.look_again(self.run_id)
            return
        self._receive(messages)
        self.pump()

    def _receive(self, messages: Sequence[Message]) -> None:
        assert self.run is not None
        try:
            for message in messages:
                if message.fault is not None:
                    # Those behind it must not overtake it.
                    self._fault = message.fault
                    return
                self.run.receive(message, decode_data)
        except HistoryError as error:
            self._fault = error
        if self.run.termination is not None:
            self._home.condemned.look()

    def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the end of an attempt that ran here without a row."""
        self._activities.ended(attempt)
        if self.gone or self.run is None:
            return
        now = self._home.clock.now()
        self.run.attempt_ended(
            attempt.scheduled,
            outcome,
            attempt=attempt.number,
            now=now,
            jitter=random.random(),
            identity=self._home.identity,
            progress=attempt.progress,
        )
        self._pump(now)

    def give_row(self, attempt: Attempt) -> None:
        """Write a row for an attempt that sent a heartbeat."""
        if self.gone or self.run is None:
            return
        self.run.add_row(self._activities.row_for(attempt))
        self.pump()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._home.timers.cancel(self._timer)
            self._timer = None

    def timer_due(self) -> None:
        """Look whether a timer is due; called when one should be."""
        self._timer = None
        self.pump()

    # ------------------------------------------------------------------ what is written

    def pump(self) -> None:
        """See to it that what waits is written, as soon as it must be."""
        self._pump(self._home.clock.now())

    def _pump(self, now: int) -> None:
        if self._busy or self.gone or self.run is None:
            return
        if self._fault is not None:
            self._block(self._fault)
            return
        if self._home.leaving or self._paused:
            self.release()
            return
        run = self.run
        urgency = run.urgency(now)
        if urgency is NOW:
            self._home.committer.submit(self)
            return
        due = run.next_timer()
        if due is not None and (self._timer is None or due < self._timer.at):
            self._forget_timer()
            self._timer = self._home.timers.add(due, self)
        if urgency is SOON:
            self._home.committer.submit_soon(self)
        self._home.resting(self)

    @property
    def at_rest(self) -> bool:
        """Whether nothing of it is being written or read."""
        return not self._busy

    @property
    def parked(self) -> bool:
        """Whether nothing is under way: no attempt, nothing unwritten, nothing to run."""
        return (
            self._activities.idle
            and not self._busy
            and self.run is not None
            and self.run.urgency(self._home.clock.now()) is Urgency.NOTHING
        )

    @property
    def settled_instance(self) -> Instance | None:
        """The code, if its state is the log's: no task waits to be applied to it, and none is being written."""
        return None if self._busy or self.gone else self.instance

    def next_transition(self, now: int) -> Transition | None:
        """See `Committed`."""
        if self.gone:
            return None
        if self._busy:
            return self._releasing or self._reopening or self._form_tried()
        assert self.run is not None
        transition = self.run.propose(now)
        if self.run.trial is not None:
            self._try()
        elif transition is None:
            self._pump(now)
        else:
            self._busy = True
            self._activities.rows_proposed()
            if transition.starts or transition.close is not None:
                transition = self._claim_starts(transition)
        return transition

    def _try(self) -> None:
        """Run a task with unread updates before it is written."""
        self._busy = self._trying = True
        if self.instance is None:
            self._fetch()
        else:
            self._home.turns.add(self)

    def _form_tried(self) -> Transition | None:
        """Return the transition of the task that was tried."""
        tried, self._tried = self._tried, None
        if tried is None:
            return None
        assert self.run is not None
        assert self.run.trial is not None
        assert self.instance is not None
        counts = self.run.trial.counts(tried.rejected)
        if self.instance.closing:
            self.run.untaken = self.instance.untaken
        transition = self.run.tried(tried.commands, tried.rejected, local=self._activities.promise)
        self._activities.rows_proposed()
        self._activities.keep_promises()
        if tried.moved and not counts:
            # It stands where no replay would bring it.
            self.evict()
        if transition.starts or transition.close is not None:
            transition = self._claim_starts(transition)
        return transition

    def _claim_starts(self, transition: Transition) -> Transition:
        """Let the runs that a transition creates begin here, as far as that is possible."""
        claimed = self._home.claim_starts(transition)
        new = [start.run for start in claimed.starts]
        if claimed.close is not None and claimed.close.successor is not None:
            new.append(claimed.close.successor)
        self._started_elsewhere = [run.task_queue for run in new if run.owner is None]
        return claimed

    def answered(self, verdict: Verdict, now: int) -> None:
        """See `Committed`."""
        if self.gone:
            return
        if verdict is WRITTEN and self._releasing is None:
            self._written(now)
        elif verdict is Verdict.LOST:
            if self._releasing is None:
                logger.info("run %s is no longer this worker's", self.run_id)
            self.drop()
        elif self._releasing is not None:
            self._released()
        elif verdict is Verdict.REFUSED:
            assert self.run is not None
            self.run.refused()
            self._reopening = None
            if self._trying:
                self._trying = False
                self.evict()
            self._activities.rows_refused()
            self._home.spawn(self._read_refusing())

    def unwritable(self, error: Exception) -> None:
        """See `Committed`. Nothing of the transition is there; what led to it is tried again later, from the log."""
        if self.gone:
            return
        if self._releasing is not None:
            logger.error("run %s cannot even be released: %s", self.run_id, error)
            self.drop()
            return
        self._activities.abandon()
        # Results that have come are kept, in the run's own inbox: their attempts must not count as lost.
        self._salvaged = () if self.run is None else tuple(self.run.salvage())
        self.run = None
        self._reopening = self._tried = None
        self._trying = False
        self._block(error)

    def held_up(self, error: PayloadCodecError) -> bool:
        """See `Committed`. It is blocked, for all to see, unless something would be lost that only this process knows."""
        if self.gone:
            return True
        known_here_only = self.run is None or self.run.knows_more or not self._activities.idle
        if self._releasing is not None or known_here_only:
            logger.error("run %s waits here, with what its activities have done: %s", self.run_id, error)
            return False
        self.unwritable(error)
        return True

    def _written(self, now: int) -> None:
        assert self.run is not None
        written = self.run.written(now)
        self._trying = False
        self._activities.rows_written()
        if written.updated:
            self._home.updated(self.run_id, written.updated)
        if written.queued:
            self._home.hint([Hint(HintKind.ACTIVITY, queue) for queue in dict.fromkeys(written.queued)])
        if written.told or written.replied or written.condemned or self._started_elsewhere:
            self._news_spread(written)
        if written.closed:
            if self.instance is not None and (unfinished := self.instance.unfinished):
                self._note(UNFINISHED.format(unfinished), None)
            self._home.closed(self)
            self.drop()
            return
        if not self._large and self.run.state.large:
            self._large = True
            logger.warning(_LARGE, self.workflow_id, self.run_id, self.run.state.seq, self.run.state.size)
        if written.canceled:
            self._home.spawn(self._activities.end_waiting(written.canceled))
        if written.start or written.cancel:
            effects = Effects(start=written.start, cancel=[*written.cancel])
            self._activities.carry_out(effects, self._home.clock.now())
        if self._reopening is not None:
            self._reopening = None
            self._fetch()
        elif written.task:
            self._task = written.task
            if self.instance is None:
                self._fetch()
            else:
                self._home.turns.add(self)
        elif not self.run.ran:
            # All of what came before the first task was refused.
            self._fetch()
        else:
            self._busy = False
            self.pump()

    def _postpone(self) -> None:
        """Let what has come join the first task of a run, or keep the run from beginning before its time."""
        assert self.run is not None
        now = self._home.clock.now()
        if self.run.urgency(now) is NOW:
            self._pump(now)
        elif self.run.begins_later(now):
            self._give_up(self.run.release())
        else:
            self.run.begin()
            self._busy = True
            self._fetch()

    def _news_spread(self, written: Written) -> None:
        """Tell whoever is concerned of what the commit did to other runs."""
        hints = [Hint(HintKind.MESSAGE, run_id) for run_id in written.told]
        queues, self._started_elsewhere = self._started_elsewhere, []
        hints += [Hint(HintKind.RUN, queue) for queue in dict.fromkeys(queues)]
        self._home.hint(hints)
        if written.replied and not written.closed:
            self._home.read_mail(self.run_id)
        if written.condemned:
            self._home.condemned.look()

    # ------------------------------------------------------------------ a refused close

    async def _read_refusing(self) -> None:
        """Read the message over which a close was refused, and write it into the same task."""
        messages = await self._home.patiently(lambda: self._home.store.read_messages([self.run_id]))
        if self.gone or self.run is None:
            return
        self._receive(messages)
        if self._fault is not None:
            self._block(self._fault)
            return
        if self.run.tries_again:
            # It is tried again with what has come; nothing of it has to be written first.
            self._busy = False
            self.pump()
            return
        self._reopening = self.run.reopen(self._home.clock.now())
        if self._reopening is not None:
            self._activities.rows_proposed()
            self._reopening = self._claim_starts(self._reopening)
        if self.run.closing is None:
            self.evict()
        if self._reopening is not None:
            self._home.committer.submit(self)
        else:
            self._fetch()

    # ------------------------------------------------------------------ eviction and giving up

    def evict(self) -> None:
        """Drop the instance; the run stays. Its code is taken down without running any of it."""
        if self.instance is not None:
            instance, self.instance = self.instance, None
            self._home.take_down(instance)

    def _fetch(self) -> None:
        """Read the log again, since the instance is not there; its turn follows."""
        self._home.spawn(self._reload())

    async def _reload(self) -> None:
        assert self.run is not None
        store, worker_id, epoch = self._home.store, self._home.worker_id, self.run.epoch
        claimed = await self._home.patiently(lambda: store.reload_run(worker_id, self.run_id, epoch))
        if self.gone:
            return
        if claimed is None:
            self.drop()
            return
        self._claimed = claimed
        self._home.turns.add(self)

    def pause(self) -> None:
        """Give the run up as soon as nothing of it is under way: an operator has paused it."""
        self._paused = True
        self.pump()

    def release(self) -> None:
        """Give the run up, with all that waits, so that any worker can claim it."""
        if self.gone or self.run is None or self._busy:
            return
        self._give_up(self.run.release(self._activities.rows_to_release()))

    def _give_up(self, transition: Transition) -> None:
        self._releasing = transition
        self._busy = True
        self._activities.rows_proposed()
        self.evict()
        self._home.committer.submit(self)

    def _released(self) -> None:
        self._activities.rows_written()
        self._activities.forget()
        release = self._releasing.release if self._releasing is not None else None
        self.drop()
        if release is not None and release.hold is Hold.NONE:
            self._home.hint([Hint(HintKind.RUN, self._home.task_queue)])

    def _block(self, error: BaseException) -> None:
        """Keep the run open but off this worker for a while: its code is at fault, and the next deploy may mend it."""
        text = "".join(traceback.format_exception(error)).rstrip()
        reason = describe_fault(error, hide=self._home.converter.failure_converter.hides_messages)
        wait = self._home.blocked(self)
        if isinstance(error, WorkflowTaskError | PayloadCodecError):
            text = reason
        logger.error(
            "workflow %s (run %s) is blocked, its task failed and is tried again in %.0f s; the run stays open:\n%s",
            self.workflow_id,
            self.run_id,
            wait / 1_000_000,
            text,
        )
        self._fault = None
        transition = Transition(
            run_id=self.run_id,
            epoch=self.epoch,
            messages=self._salvaged,
            release=Release(wake_in=wait, hold=Hold.BLOCKED, reason=reason),
        )
        if self.run is not None:
            try:
                transition = self.run.release(
                    self._activities.rows_to_release(), hold=Hold.BLOCKED, reason=reason, wake_in=wait
                )
            except Exception:
                logger.exception("run %s: what waits cannot be written and is left out", self.run_id)
        self._give_up(transition)

    def drop(self) -> None:
        """Forget the run: it has closed, or it is somebody else's. Activities that run here for it are stopped."""
        if self.gone:
            return
        self.gone = True
        self._activities.end()
        self._forget_timer()
        self.evict()
        self._home.forget(self)
