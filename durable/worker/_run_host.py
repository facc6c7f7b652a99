"""One owned run in this process: its engine side (`Run`), its code (`Instance`), and the activities it runs here.

The host goes round one way, for ever: what arrives goes to `Run`; `pump` asks how urgent it is and submits the host to
the committer; the committer asks for the transition and answers it; committed inputs are a task, which waits for its
turn; the turn gives commands, commands give effects; and pump again. A host is never in two of these stages at once.

A host may lose its instance and keep its run (eviction): the next task then reads the log and replays it first. The code
and its turns are in `_run_code`, its activities in `_run_activities`, what others are told in `_run_news`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Sequence
from typing import ClassVar

from durable._engine._activities import Completed, Outcome
from durable._engine._asked import AttemptEnd
from durable._engine._effects import Effects, Urgency
from durable._engine._run import Run
from durable._engine._state import RunState
from durable._replay._activities import not_served
from durable._replay._instance import Instance
from durable._replay._turns import Turns
from durable.exceptions import HistoryError, PayloadCodecError
from durable.history import ActivityTaskScheduled, CommandEvent, Event, decode_data, decode_history
from durable.store import (
    ActivityState,
    ClaimedRun,
    Hint,
    HintKind,
    Hold,
    Message,
    Transition,
    Verdict,
)
from durable.worker._attempts import Attempt
from durable.worker._home import Home
from durable.worker._run_activities import RunActivities
from durable.worker._run_block import blocking
from durable.worker._run_code import RunCode, turn_limit
from durable.worker._run_news import UNFINISHED, RunNews
from durable.worker._suppliers import SlotPermit
from durable.worker._timers import Timer
from durable.workflow._definition import WorkflowDefinition

logger = logging.getLogger("durable.worker")

NO_TASK: Sequence[Event] = ()
NO_COMMANDS: Sequence[CommandEvent] = ()

SOON, NOW = Urgency.SOON, Urgency.NOW
WRITTEN = Verdict.WRITTEN


class RunHost:
    """See the module."""

    CODE: ClassVar[type[RunCode]] = RunCode

    __slots__ = (
        "_activities",
        "_busy",
        "_claimed",
        "_code",
        "_fault",
        "_fresh",
        "_home",
        "_opened",
        "_paused",
        "_releasing",
        "_reopening",
        "_salvaged",
        "_task",
        "_timer",
        "_told",
        "epoch",
        "gone",
        "permit",
        "run",
        "run_id",
        "waits_for_slot",
        "workflow_id",
    )

    def __init__(
        self, home: Home, claimed: ClaimedRun, definition: WorkflowDefinition, *, fresh: bool = False
    ) -> None:
        self._home = home
        self._claimed: ClaimedRun | None = claimed
        self.run_id = claimed.run.run_id
        self.workflow_id = claimed.run.workflow_id
        self.epoch = claimed.run.epoch
        self.run: Run | None = None
        self.permit: SlotPermit | None = None
        self.waits_for_slot = False
        self.gone = False
        self._opened = False
        self._paused = False
        self._fault: BaseException | None = None
        self._task: Sequence[Event] = NO_TASK
        self._code = self.CODE(home, definition, self.run_id, self.workflow_id)
        self._activities = RunActivities(home, self.run_id)
        self._told: RunNews | None = None
        self._salvaged: tuple[Message, ...] = ()
        self._releasing: Transition | None = None
        self._reopening: Transition | None = None
        self._timer: Timer | None = None
        self._fresh = fresh and claimed.run.epoch == 1 and len(claimed.events) == 1
        # Whether a stage is under way that will pump when it ends; the first is the turn with the whole history.
        self._busy = True

    @property
    def _news(self) -> RunNews:
        """What others are told; made when there is something to tell, which few steps have."""
        if self._told is None:
            self._told = RunNews(self._home, self.run_id, self.workflow_id)
        return self._told

    @property
    def workflow_type(self) -> str:
        """The name of its definition."""
        return self._code.workflow_type

    @property
    def instance(self) -> Instance | None:
        """Its code, if it is here."""
        return self._code.instance

    @property
    def turn_limit(self) -> float:
        """Seconds that a turn may hold the event loop, by the workflow's task timeout; asked from the watchdog's thread."""
        return turn_limit(self.run, self._claimed)

    # ------------------------------------------------------------------ turns

    def turn(self, turns: Turns) -> None:
        """Run the code: the whole history first if the instance is not there, else the task that was committed.

        Only code is run here; what follows from it waits for `conclude`, when the run's event loop is no longer the
        running one.
        """
        if self.gone:
            return
        try:
            if self._claimed is None and not self._code.trying:
                assert self.run is not None
                self._code.activate(turns, self.run, self._task)
                return
            if self._claimed is not None:
                self._open(turns, self._claimed)
            assert self.run is not None
            if self._code.trying:
                self._code.attempt(turns, self.run)
            if self._claimed is not None:
                # What the code says of versions: a dynamic workflow does when it has its object.
                self.run.served = self._home.versions.served(self._code.definition)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._fault = error

    def broken(self) -> None:
        """Take the news that the turn held the event loop for too long and was ended; nothing of it counts."""
        self._fault = self._home.deadlock()

    def conclude(self, now: int) -> None:
        """Take what the turn gave: commands, or a fault of the code."""
        if self.gone:
            return
        code, run, activities = self._code, self.run, self._activities
        first, self._claimed, self._task = self._claimed, None, NO_TASK
        if code.trying and self._fault is None:
            # Nothing of it counts before it is written.
            self._home.committer.submit(self)
            return
        code.trying = False
        if self._fault is not None:
            if run is not None:
                run.untried()
            self._block(self._fault)
            return
        assert run is not None
        if first is not None and not self._opened and not self._take_claimed(first, run, now):
            return
        instance = code.instance
        if instance is None:
            self._busy = False
            self._postpone()
            return
        commands, code.commands = code.commands, NO_COMMANDS
        if instance.closing is not None:
            run.untaken = instance.untaken
        effects = run.commands(commands, local=activities.promise, live=code.live)
        if effects.start or effects.cancel:
            # First: what it starts may end at once, and its result is a task of its own.
            self._home.task_over(self)
            activities.carry_out(self, effects, now)
        if activities.promised:
            activities.keep_promises(run)
        # Only now: what an activity brings that has ended where it began is written with the rest.
        self._busy = False
        self._pump(now)

    def _take_claimed(self, first: ClaimedRun, run: Run, now: int) -> bool:
        """Take what the claim brought beside the log; False if the run cannot go on here."""
        self._opened = True
        if len(first.events) == 1 and not first.messages:
            # It begins, and nothing has come for it.
            return True
        # Messages first: one of them may be the outcome of an attempt that would else count as lost.
        self._receive(first.messages)
        canceled = [a.id for a in first.activities if a.cancel_requested and a.state is ActivityState.QUEUED]
        if canceled:
            self._home.spawn(self._activities.end_waiting(canceled))
        again = run.asked.recover(now=now, jitter=random.random())
        return not again or self._start_again(again)

    def _start_again(self, local: Sequence[ActivityTaskScheduled]) -> bool:
        """Start local activities that were open at another owner; False if one cannot run here."""
        for scheduled in local:
            if not self._home.activities.serves(scheduled.activity_type):
                self._block(not_served(scheduled.activity_type))
                return False
        self._activities.carry_out(self, Effects(start=local), self._home.clock.now())
        return True

    def _open(self, turns: Turns, claimed: ClaimedRun) -> None:
        if claimed.fault is not None:
            raise claimed.fault
        events = decode_history(claimed.events)
        if self.run is None:
            self.run = Run(
                RunState.of(self.run_id, events),
                claimed.run.epoch,
                rowed=[entry.id for entry in claimed.activities],
                deaths=claimed.run.deaths,
                held=claimed.run.hold is not Hold.NONE,
                fresh=self._fresh and bool(claimed.messages),
            )
            self.watch_target()
        self._code.open(turns, self.run, claimed, events)

    # ------------------------------------------------------------------ what arrives

    def deliver(self, messages: Sequence[Message]) -> None:
        """Take messages that were read from the inbox."""
        if self.gone:
            return
        if self.run is None:
            if not self.waits_for_slot:
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
                self.run.inputs.receive(message, decode_data)
        except HistoryError as error:
            self._fault = error
        if self.run.inputs.termination is not None:
            self._home.condemned.look()

    def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the end of an attempt that ran here without a row."""
        self._activities.ended(attempt)
        if self.gone or self.run is None:
            return
        home = self._home
        if type(outcome) is Completed:
            # What all but a few do: without the facts that only a failure needs.
            self.run.asked.attempt_completed(attempt.scheduled, outcome.result, attempt.number, home.identity)
        else:
            leaving = self._paused or home.leaving
            how = AttemptEnd(
                attempt.number, home.clock.now(), random.random(), home.identity, attempt.progress, leaving
            )
            again = self.run.asked.attempt_ended(attempt.scheduled, outcome, how)
            if again is not None:
                self._activities.follow(self, attempt, again.delay)
        if not self._busy:
            self.pump()

    def give_row(self, attempt: Attempt) -> None:
        """Write a row for an attempt that sent a heartbeat."""
        if self.gone or self.run is None:
            return
        self.run.asked.add_row(self._activities.row_for(attempt))
        self.pump()

    def give_rows(self, ids: Collection[int]) -> None:
        """Write rows for those of these activities that run here without one."""
        for attempt in self._activities.without_row(ids):
            attempt.awaiting_row = True
            self.give_row(attempt)

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
            slots = self._home.run_slots
            if slots is None or slots.enter(self):
                self._home.committer.submit(self)
            return
        due = run.inputs.next_timer()
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
    def at_work(self) -> bool:
        """Whether a task of its code is under way, or what came of it is being written; activities do not count."""
        return (
            self._busy or self.run is None or self.run.urgency(self._home.clock.now()) is not Urgency.NOTHING
        )

    @property
    def unproven(self) -> bool:
        """Whether owners died with it and it has not shown since that it was not the cause; so before it is opened."""
        return self.run is None or self.run.unproven

    @property
    def in_memory(self) -> bool:
        """Whether its code is here, so that no replay is needed."""
        return self._code.instance is not None

    def work(self) -> None:
        """Go to work, as it could not before: for its first turn, or with what has come for it."""
        if self.run is None:
            self._home.turns.add(self, opening=True)
        else:
            self.pump()

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
        if self.waits_for_slot:
            return None
        assert self.run is not None
        transition = self.run.propose(now)
        if self.run.trial is not None:
            self._try()
        elif transition is None:
            self._pump(now)
        else:
            self._busy = True
            if self._activities.awaiting_rows:
                self._activities.rows_proposed()
            if transition.starts or transition.close is not None or transition.upsert is not None:
                transition = self._news.claim_starts(transition)
        return transition

    def _try(self) -> None:
        """Run a task with unread updates before it is written."""
        self._busy = self._code.trying = True
        if self.instance is None:
            self._fetch()
        else:
            self._home.turns.add(self)

    def _form_tried(self) -> Transition | None:
        """Return the transition of the task that was tried."""
        tried = self._code.take_tried()
        if tried is None:
            return None
        assert self.run is not None
        assert self.run.trial is not None
        assert self.instance is not None
        counts = self.run.trial.counts(tried.rejected)
        if self.instance.closing is not None:
            self.run.untaken = self.instance.untaken
        transition = self.run.tried(tried.commands, tried.rejected, local=self._activities.promise)
        self._activities.rows_proposed()
        self._activities.keep_promises(self.run)
        if tried.moved and not counts:
            # It stands where no replay would bring it.
            self.evict()
        return self._news.claim_starts(transition)

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
            if self._code.trying:
                self._code.trying = False
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
        self._reopening = self._code.tried = None
        self._code.trying = False
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
        self._code.trying = False
        if self._activities.rows_in_flight:
            self._activities.rows_written()
        if written.concerns_others:
            self._news.spread(written)
        if written.closed:
            if self.instance is not None and (unfinished := self.instance.unfinished):
                self._code.note(UNFINISHED.format(unfinished), None)
            if self.run.asked.rowed:
                self._home.activities.abandon(self.run_id, self.run.asked.rowed)
            self._home.closed(self)
            self.drop()
            return
        if self.run.state.large:
            self._news.warn_of_size(self.run)
        if written.canceled:
            self._home.spawn(self._activities.end_waiting(written.canceled))
        if written.start or written.cancel:
            effects = Effects(start=written.start, cancel=written.cancel)
            self._activities.carry_out(self, effects, self._home.clock.now())
        if self._reopening is not None:
            self._reopening = None
            self._fetch()
        elif written.task:
            self._task = written.task
            if self._code.instance is None:
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
            self._reopening = self._news.claim_starts(self._reopening)
        if self.run.closing is None:
            self.evict()
        if self._reopening is not None:
            self._home.committer.submit(self)
        else:
            self._fetch()

    # ------------------------------------------------------------------ eviction and giving up

    def evict(self) -> None:
        """Drop the instance; the run stays. Its code is taken down without running any of it."""
        self._code.evict()

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
        self._home.turns.add(self, opening=True)

    def watch_target(self) -> None:
        """Take the news that the run's queue may belong to another version."""
        if self.run is not None:
            self.run.watch_target(changed=self._home.versions.changed(self.workflow_id))

    def pause(self) -> None:
        """Give the run up as soon as nothing of it is under way: an operator has paused it, or it is another version's."""
        self._paused = True
        self.pump()

    def release(self) -> None:
        """Give the run up, with all that waits, so that any worker can claim it."""
        if self.gone or self.run is None or self._busy:
            return
        if self._paused and not self._home.leaving and self._activities.local_at_work:
            # It is given up when that has ended.
            return
        self._give_up(self.run.release(self._activities.rows_to_release(self.run)))

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
        self._fault = None
        transition = blocking(
            error,
            run_id=self.run_id,
            workflow_id=self.workflow_id,
            epoch=self.epoch,
            run=self.run,
            rows=self._activities.rows_to_release,
            salvaged=self._salvaged,
            wait=self._home.blocked(self, error),
            hide=self._home.converter.failure_converter.hides_messages,
        )
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
