"""What a worker tells of itself: the parts that record metrics, in place of those that do not.

A worker in whose process nobody collects metrics is made of `Committer`, `Activities` and `RunHost`, and pays nothing.
One that is observed is made of the classes here, each of which does what the plain one does and tells of it. What
happens once for a run, or seldom, is told to the `Observer` from where it happens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable._engine._activities import Canceled, Completed, HandedOut, Outcome
from durable._engine._run import Run
from durable._engine._state import CLOSING_STATUS
from durable._internal.instants import SECOND
from durable._replay._turns import Turns
from durable.exceptions import DeadlockError, NondeterminismError
from durable.history import (
    ApplicationFailure,
    Event,
    EventData,
    Failure,
    Input,
    TimeoutFailure,
    TimerFired,
    TimerStarted,
    WorkflowExecutionFailed,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
)
from durable.interceptor.worker import workflow_interceptors
from durable.store import (
    ActivityRecord,
    ClaimedRun,
    Hold,
    QueueState,
    RunStatus,
    Survey,
    Transition,
    Verdict,
)
from durable.telemetry import Metrics, Tracing
from durable.telemetry._catalogue import named
from durable.telemetry._recorder import Sample
from durable.worker._activities import Activities
from durable.worker._attempts import Attempt
from durable.worker._committer import Committed, Committer
from durable.worker._home import Home
from durable.worker._options import WorkerOptions
from durable.worker._run_code import RunCode
from durable.worker._run_host import RunHost
from durable.worker._slots import Slots
from durable.worker._suppliers import SlotPermit

if TYPE_CHECKING:
    from durable.telemetry._spans import RunSpans, Spans

logger = logging.getLogger("durable.worker")

SCHEDULE_TO_START = named("durable.task.schedule_to_start")
TASK_DURATION = named("durable.workflow.task.duration")
TASK_FAILED = named("durable.workflow.task.failed")
CLOSED = named("durable.workflow.closed")
DURATION = named("durable.workflow.duration")
HISTORY_SIZE = named("durable.history.size")
ATTEMPTS = named("durable.activity.attempts")
ATTEMPT_DURATION = named("durable.activity.duration")
LATENESS = named("durable.timer.lateness")
HINT_LAG = named("durable.hint.lag")
LOOKUPS = named("durable.cache.lookups")
LEASE_LOST = named("durable.lease.lost")
FENCED = named("durable.fence.rejected")
COMMIT_SIZE = named("durable.commit.size")
COMMIT_DURATION = named("durable.commit.duration")
COMMIT_FAILED = named("durable.commit.failed")
ACTIVE = named("durable.workflow.active")
CACHED = named("durable.cache.size")
SLOTS_USED = named("durable.worker.slots_used")
SLOTS_AVAILABLE = named("durable.worker.slots_available")
HEARTBEAT_AGE = named("durable.worker.heartbeat_age")
BACKLOG = named("durable.queue.backlog")
OLDEST = named("durable.queue.oldest_age")
WORKERS = named("durable.queue.workers")
QUEUE_HELD = named("durable.queue.held")
OPEN = named("durable.workflow.open")
HELD = named("durable.workflow.held")
LATE = named("durable.workflow.late")
RETRYING = named("durable.activity.retrying")


def traced(options: WorkerOptions, tracing: Tracing) -> WorkerOptions:
    """Return the options of a worker whose activities and workflows are in traces, the outermost of what stands around."""
    around = workflow_interceptors([tracing])
    return replace(
        options,
        interceptors=(tracing, *options.interceptors),
        workflow_interceptors=(*around, *options.workflow_interceptors),
    )


class Observer:
    """Records what happens in one incarnation, and tells its gauges."""

    def __init__(
        self, home: Home, metrics: Metrics | None, spans: Spans | None, slots: Mapping[str, Slots]
    ) -> None:
        """Observe one incarnation.

        Args:
            home: The incarnation.
            metrics: Where values go; None for nowhere.
            spans: What makes spans; None for none.
            slots: The worker's slots, by kind.
        """
        self._home = home
        self._slots = slots
        self._metrics = metrics
        self._spans = spans
        self._detach: Callable[[], None] = lambda: None
        self._surveyed: list[Sample] = []
        self._late: list[Sample] = []
        self.record: Callable[..., None] = _forget if metrics is None else metrics.record

    @property
    def measures(self) -> bool:
        """Whether anybody wants values."""
        return self._metrics is not None

    def begin(self) -> None:
        """Tell the gauges from now on."""
        if self._metrics is not None:
            self._detach = self._metrics.attach(self._gauges)

    def end(self) -> None:
        """Tell them no more."""
        self._detach()

    def _gauges(self) -> list[Sample]:
        """Called from any thread, while the worker goes on: what it reads are numbers, or copied at once."""
        home = self._home
        hosts = list(home.hosts.values())
        found: list[Sample] = [
            (ACTIVE, (), float(len(hosts))),
            (CACHED, (), float(sum(host.in_memory for host in hosts))),
            (HEARTBEAT_AGE, (), home.lease.age / SECOND),
        ]
        for kind, slots in self._slots.items():
            if (used := slots.used) is not None:
                found.append((SLOTS_USED, (kind,), float(used)))
                found.append((SLOTS_AVAILABLE, (kind,), float(slots.free)))
        return found + self._surveyed + self._late

    def surveyed(self, survey: Survey | None) -> None:
        """Take the news of what there is in the whole database; None while that is another worker's to tell."""
        self._surveyed = [] if survey is None else samples_of(survey)

    def late(self, found: Mapping[str, tuple[int, int]]) -> None:
        """Take how many runs of each type are near their deadline and past it, where this worker is the one that tells."""
        self._late = late_samples_of(found)

    # ------------------------------------------------------------------ what happens seldom

    def blocked(self, workflow_type: str, error: BaseException) -> None:
        """Take the news that a workflow task failed."""
        reason = "panic"
        if isinstance(error, NondeterminismError):
            reason = "nondeterminism"
        elif isinstance(error, DeadlockError):
            reason = "timeout"
        self.record(TASK_FAILED, 1, reason, workflow_type)

    def closed(self, host: RunHost, end: EventData, at: int) -> None:
        """Take the news that a run of this worker has closed, by its code or from outside."""
        assert host.run is not None
        state = host.run.state
        workflow_type, status = state.started.workflow_type, status_name(CLOSING_STATUS[type(end)])
        self.record(CLOSED, 1, workflow_type, status)
        self.record(DURATION, max(0, at - state.created_at) / SECOND, workflow_type, status)
        self.record(HISTORY_SIZE, state.size, workflow_type)
        if isinstance(host, ObservedRunHost) and (spans := host.spans()) is not None:
            error = failure_type(end)
            try:
                spans.closed(status, at, error=error, expected=error == BENIGN)
            except Exception:
                logger.exception("the span of a run could not be made")

    def ended(self, workflow_type: str, end: EventData) -> None:
        """Take the news that a run of nobody here was ended from outside its code."""
        self.record(CLOSED, 1, workflow_type, status_name(CLOSING_STATUS[type(end)]))

    def spans_of(self, run: Run) -> RunSpans | None:
        """Return what makes the spans of a run; None where none are made."""
        if self._spans is None:
            return None
        from durable.telemetry._spans import RunSpans  # noqa: PLC0415 - OpenTelemetry is there, and slow to import

        home, state = self._home, run.state
        worker = {
            "durable.namespace": home.namespace,
            "durable.task_queue": home.task_queue,
            "durable.worker.id": home.worker_id,
        }
        return RunSpans(self._spans, run.state.run_id, state.started, state.created_at, worker)

    def lease_lost(self) -> None:
        """Take the news that others declared this incarnation dead."""
        self.record(LEASE_LOST, 1)

    # ------------------------------------------------------------------ tasks

    def now(self) -> int:
        """Return the database's time, in microseconds."""
        return self._home.clock.now()

    def task_ran(self, run: Run, task: Sequence[Event], where: str, seconds: float) -> None:
        """Take the news that a task of workflow code ran for the first time.

        Args:
            run: Whose.
            task: Its inputs.
            where: Where the code was: `hit`, `miss` or `new`.
            seconds: How long it ran.
        """
        record, last = self.record, task[-1]
        waited = (self._home.clock.now() - last.time) / SECOND - seconds
        record(SCHEDULE_TO_START, max(0.0, waited), "workflow", self._home.task_queue)
        record(TASK_DURATION, seconds, run.state.started.workflow_type)
        record(LOOKUPS, 1, where)

    def timer_fired(self, lateness: int) -> None:
        """Take by how many microseconds a timer was late."""
        self.record(LATENESS, max(0, lateness) / SECOND)

    def claimed_new(self, claimed: ClaimedRun) -> None:
        """Take the news that a claim found a run that nobody had run before."""
        waited = self._home.clock.now() - claimed.events[0].time
        self.record(HINT_LAG, max(0, waited) / SECOND, "workflow")


def _forget(*_: object) -> None:
    """Record nothing."""


BENIGN = "benign"
"""What stands for the type of a failure that is no error to whoever looks at traces."""


def failure_type(end: EventData) -> str:
    """Return what a run failed with, "" if it did not."""
    if isinstance(end, WorkflowExecutionTimedOut):
        return "TimeoutError"
    if not isinstance(end, WorkflowExecutionFailed):
        return ""
    info = end.failure.info
    if isinstance(info, ApplicationFailure):
        return BENIGN if info.category else info.type or "ApplicationError"
    return type(info).__name__.replace("Failure", "Error")


def status_name(status: RunStatus) -> str:
    """Return a status as it is called in metrics: as in lists, in lower case."""
    return status.name.lower()


class ObservedRunCode(RunCode):
    """The code of a run, whose tasks are told of."""

    __slots__ = ("_began", "_observer", "_spans", "_timers")

    def __init__(self, home: Any, *args: Any) -> None:
        super().__init__(home, *args)
        self._observer: Observer = home.observer
        self._timers: dict[int, tuple[int, int]] = {}
        self._spans: RunSpans | None = None
        self._began: tuple[float, int] = (0.0, 0)

    def spans(self, run: Run) -> RunSpans | None:
        """Return what makes the spans of the run."""
        if self._spans is None:
            self._spans = self._observer.spans_of(run)
        return self._spans

    def open(self, turns: Turns, run: Run, claimed: ClaimedRun, events: list[Event]) -> None:
        """See `RunCode`."""
        self._begin()
        task = trailing(events)
        self._timers = timers_of(events[: len(events) - len(task)])
        super().open(turns, run, claimed, events)
        if self.live and len(events) > 1 and task:
            self._ran(run, task, "miss")

    def activate(self, turns: Turns, run: Run, task: Sequence[Event]) -> None:
        """See `RunCode`."""
        self._begin()
        super().activate(turns, run, task)
        self._ran(run, task, "new" if isinstance(task[0].data, WorkflowExecutionStarted) else "hit")

    def attempt(self, turns: Turns, run: Run) -> None:
        """See `RunCode`."""
        self._begin()
        super().attempt(turns, run)
        assert run.trial is not None
        assert self.tried is not None
        if run.trial.counts(self.tried.rejected):
            self._ran(run, run.trial.events, "hit")

    def _begin(self) -> None:
        self._began = time.perf_counter(), self._observer.now()

    def _ran(self, run: Run, task: Sequence[Event], where: str) -> None:
        (clock, began), tried, observer, timers = self._began, self.tried, self._observer, self._timers
        observer.task_ran(run, task, where, time.perf_counter() - clock)
        fired: dict[int, tuple[int, int]] = {}
        for event in task:
            if isinstance(event.data, TimerFired) and (times := timers.pop(event.data.id, None)) is not None:
                fired[event.data.id] = times
                observer.timer_fired(event.time - times[1])
        commands = self.commands if tried is None else tried.commands
        for command in commands:
            if isinstance(command, TimerStarted):
                timers[command.id] = task[-1].time, task[-1].time + command.duration
        if (spans := self.spans(run)) is None:
            return
        rejected: Mapping[str, Failure] = {} if tried is None else tried.rejected
        try:
            carried = spans.task_ran(task, commands, rejected, began, observer.now(), fired)
        except Exception:
            # What somebody's span processor raises must not block a run: its commands go without a context then.
            logger.exception("the spans of a task could not be made")
            return
        if tried is None:
            self.commands = carried
        else:
            self.tried = replace(tried, commands=carried)


def trailing(events: Sequence[Event]) -> Sequence[Event]:
    """Return the inputs at the end of a log that no command follows: a task that has yet to run."""
    count = 0
    for event in reversed(events):
        if not isinstance(event.data, Input) or event.task != events[-1].task:
            break
        count += 1
    return events[len(events) - count :]


def timers_of(events: Sequence[Event]) -> dict[int, tuple[int, int]]:
    """Return when the timers that run at the end of a log began, and when they are due."""
    found: dict[int, tuple[int, int]] = {}
    time = 0
    for event in events:
        data = event.data
        if isinstance(data, Input):
            time = event.time
            if isinstance(data, TimerFired):
                found.pop(data.id, None)
        elif isinstance(data, TimerStarted):
            found[data.id] = time, time + data.duration
    return found


class ObservedRunHost(RunHost):
    """An owned run that is told of."""

    __slots__ = ()

    CODE = ObservedRunCode

    def __init__(self, home: Any, claimed: ClaimedRun, *args: Any, **options: Any) -> None:
        super().__init__(home, claimed, *args, **options)
        if self._fresh:
            home.observer.claimed_new(claimed)

    def spans(self) -> RunSpans | None:
        """Return what makes its spans."""
        code: Any = self._code
        found: RunSpans | None = None if self.run is None else code.spans(self.run)
        return found

    def answered(self, verdict: Verdict, now: int) -> None:
        """See `RunHost`."""
        if verdict is Verdict.LOST and not self.gone:
            home: Any = self._home
            home.observer.record(FENCED, 1)
        super().answered(verdict, now)


class ObservedCommitter(Committer):
    """A committer whose commits are counted and timed."""

    def __init__(self, observer: Observer, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._observer = observer

    async def _commit(self, batch: Sequence[tuple[Committed, Transition]]) -> None:
        began, failures = time.perf_counter(), self._failures
        await super()._commit(batch)
        record = self._observer.record
        if self._failures > failures:
            record(COMMIT_FAILED, 1)
            return
        record(COMMIT_SIZE, len(batch))
        record(COMMIT_DURATION, time.perf_counter() - began)


class ObservedActivities(Activities):
    """Activities whose attempts are told of."""

    def __init__(self, observer: Observer, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._observer = observer

    def _take(self, record: ActivityRecord, permits: list[SlotPermit]) -> int:
        self._observer.record(HINT_LAG, max(0, record.now - record.due_at) / SECOND, "activity")
        return super()._take(record, permits)

    def _launch(self, attempt: Attempt) -> None:
        record = attempt.claimed
        due = (attempt.due_at or attempt.scheduled_at) if record is None else record.due_at
        waited = max(0, self._clock.now() - due) / SECOND
        self._observer.record(SCHEDULE_TO_START, waited, "activity", attempt.scheduled.task_queue)
        super()._launch(attempt)

    def _conclude(self, attempt: Attempt, outcome: Outcome) -> None:
        before = attempt.ended
        super()._conclude(attempt, outcome)
        if attempt.ended and not before:
            activity_type, how = attempt.scheduled.activity_type, outcome_name(outcome)
            self._observer.record(ATTEMPTS, 1, activity_type, how)
            took = max(0, self._clock.now() - attempt.started_at) / SECOND
            self._observer.record(ATTEMPT_DURATION, took, activity_type, how)


def samples_of(survey: Survey) -> list[Sample]:
    """Return what gauges tell of a survey."""
    found: list[Sample] = [(OPEN, (), float(survey.open)), (RETRYING, (), float(survey.retrying))]
    holds = (Hold.BLOCKED, Hold.QUARANTINED, Hold.PAUSED)
    found += [(HELD, (hold.name.lower(),), float(survey.held.get(hold, 0))) for hold in holds]
    for queue in survey.queues:
        name = queue.task_queue
        found.append((WORKERS, (name,), float(queue.workers)))
        found.append((QUEUE_HELD, (name,), float(queue.state is not QueueState.OPEN)))
        for kind, waiting, age in (
            ("workflow", queue.workflows, queue.workflow_age),
            ("activity", queue.activities, queue.activity_age),
        ):
            found.append((BACKLOG, (kind, name), float(waiting)))
            found.append((OLDEST, (kind, name), (age or 0) / SECOND))
        found.append((BACKLOG, ("message", name), float(queue.messages)))
    return found


def late_samples_of(found: Mapping[str, tuple[int, int]]) -> list[Sample]:
    """Return what gauges tell of deadlines."""
    return [
        (LATE, (workflow_type, name), float(number))
        for workflow_type, numbers in found.items()
        for name, number in zip(("near", "past"), numbers, strict=True)
    ]


def outcome_name(outcome: Outcome) -> str:
    """Return how metrics call an end of an attempt."""
    if isinstance(outcome, Completed):
        return "completed"
    if isinstance(outcome, Canceled):
        return "canceled"
    if isinstance(outcome, HandedOut):
        return "outside"
    return "timed_out" if isinstance(outcome.failure.info, TimeoutFailure) else "failed"
