"""A store in a few dicts, code in a few lines, and a host between them and a `Run`: all of it decides by what it is told.

`World` does what the worker's run host does, one small step at a time, so that a test can choose the order of steps. The
store answers with whatever the test picked; the code (`Code`) is a pure function of the inputs it has been given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from durable._engine._activities import (
    Completed,
    Failed,
    Outcome,
    Progress,
    conclude_row,
    row,
)
from durable._engine._asked import AttemptEnd
from durable._engine._effects import Effects, Urgency
from durable._engine._messages import message
from durable._engine._retry import Retry
from durable._engine._run import Run
from durable._engine._state import RunState
from durable._engine.records import (
    ActivityRecord,
    ActivityState,
    Close,
    Message,
    NewActivity,
    Transition,
    Unread,
    Verdict,
)
from durable._replay._replay import tasks_of
from durable.history import (
    CLOSING,
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    ApplicationFailure,
    CommandEvent,
    Event,
    EventData,
    EventRow,
    EventType,
    Failure,
    Input,
    OperationInput,
    Payload,
    RetryPolicyData,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    decode_data,
    decode_history,
    encode_data,
)
from tests.engine.model_others import Asked, Others

Script = Callable[["Code", list[Event]], list[CommandEvent]]

RUN = "run"


class Code:
    """Workflow code, as the engine sees it: inputs in, commands out, and always the same commands for the same inputs."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.next_id = 0
        self.activities: set[int] = set()
        self.timers: set[int] = set()
        self.asked_to_end: set[int] = set()
        self.others = Asked()
        self.closing: CommandEvent | None = None
        self.turns = 0
        self.kept: list[WorkflowExecutionSignaled] = []
        """Signals called "keep", which it never looks at."""

    def activate(self, inputs: list[Event]) -> list[CommandEvent]:
        self.turns += 1
        assert inputs
        if self.closing is not None:
            # Only a cancel that came behind the end is put behind it.
            assert all(isinstance(event.data, WorkflowExecutionCancelRequested) for event in inputs)
            return [self.closing]
        for event in inputs:
            if isinstance(event.data, WorkflowExecutionSignaled) and event.data.name == "keep":
                self.kept.append(event.data)
            if isinstance(event.data, TimerFired):
                self.timers.remove(event.data.id)
            elif isinstance(event.data, OperationInput):
                self.others.hear(event.data)
            elif (
                isinstance(event.data, Input) and hasattr(event.data, "attempt") and hasattr(event.data, "id")
            ):
                self.activities.remove(event.data.id)
        commands = self.script(self, inputs)
        for command in commands[:-1]:
            assert not isinstance(command, CLOSING)
        if commands and isinstance(commands[-1], CLOSING):
            self.closing = commands[-1]
        return commands

    # ---- what scripts ask for

    def activity(self, **said: Any) -> ActivityTaskScheduled:
        self.next_id += 1
        self.activities.add(self.next_id)
        return ActivityTaskScheduled(
            id=self.next_id, activity_id=str(self.next_id), activity_type="a", **said
        )

    def timer(self, duration: int) -> TimerStarted:
        self.next_id += 1
        self.timers.add(self.next_id)
        return TimerStarted(id=self.next_id, duration=duration)

    def cancel_timer(self, id: int) -> TimerCanceled:
        self.timers.remove(id)
        return TimerCanceled(id=id)

    def cancel_activity(self, id: int) -> ActivityTaskCancelRequested:
        self.asked_to_end.add(id)
        return ActivityTaskCancelRequested(id=id)


def _asked_for(data: EventData) -> EventData:
    """A command as the code asked for it: without the run that follows, of which it knows nothing."""
    return msgspec.structs.replace(data, new_run_id="") if hasattr(data, "new_run_id") else data


class Row(msgspec.Struct):
    """A row of `activity_tasks`."""

    new: NewActivity
    state: ActivityState
    attempt: int
    worker: str | None
    cancel_requested: bool = False


class ModelStore:
    """One run in a database."""

    def __init__(self, started: WorkflowExecutionStarted) -> None:
        self.now = 1_000_000
        self.log: list[EventRow] = []
        self.inbox: dict[int, Message] = {}
        self.rows: dict[int, Row] = {}
        self.others = Others()
        self.epoch = 1
        self.owner: str | None = None
        self.deaths = 0
        self.open = True
        self.position = 0
        self.released: Any = None
        self.held_back_until = 0
        self.close: Close | None = None
        self.moved: list[str] = []
        """Ids of the messages in the successor's inbox, in order."""
        data = encode_data(started)
        self.log.append(EventRow(1, 1, int(EventType.WORKFLOW_EXECUTION_STARTED), data, self.now))

    def send(self, new: Message) -> bool:
        """False when the run is closed, takes nothing for now, or the message is there already."""
        if (
            not self.open
            or (self.now < self.held_back_until and not new.internal)
            or any(old.message_id == new.message_id for old in self.inbox.values())
        ):
            return False
        self.position += 1
        self.inbox[self.position] = msgspec.structs.replace(new, position=self.position)
        return True

    def judge(self, transition: Transition) -> Verdict:
        if not self.open or self.epoch != transition.epoch or self.owner is None:
            return Verdict.LOST
        if transition.close is not None and transition.close.unread is not Unread.MOVE:
            for position, one in self.inbox.items():
                if position not in transition.consumed and not one.internal:
                    return Verdict.REFUSED
        return Verdict.WRITTEN

    def write(self, transition: Transition) -> None:
        time = max(self.now, transition.not_before)
        for event in transition.events:
            assert event.seq == len(self.log) + 1, "a gap or a second event at one position"
            self.log.append(msgspec.structs.replace(event, time=time))
        for own in transition.messages:
            self.send(own)
        self.others.take(transition, self.send)
        for position in transition.consumed:
            self.inbox.pop(position, None)
        for new in transition.activities:
            state = ActivityState.QUEUED if new.worker is None else ActivityState.RUNNING
            self.rows[new.id] = Row(new, state, new.attempt, new.worker)
        for id in transition.activities_done:
            assert id in self.rows, f"row {id} is deleted and was not there"
            del self.rows[id]
        for id in transition.activities_canceled:
            if id in self.rows:
                self.rows[id].cancel_requested = True
        if transition.proven:
            self.deaths = 0
        if transition.hold_back:
            self.held_back_until = self.now + transition.hold_back
        if transition.release is not None:
            self.owner, self.released = None, transition.release
        if transition.close is not None:
            self.open, self.owner, self.close = False, None, transition.close
            if transition.close.successor is not None:
                moved = [*transition.close.successor.messages]
                moved += [one for _, one in sorted(self.inbox.items()) if not one.internal]
                self.moved = list(dict.fromkeys(one.message_id for one in moved))
            self.inbox.clear()
            self.rows.clear()

    def finish(self, id: int, attempt: int, outcome: Outcome) -> bool:
        """End an attempt that has a row, as a worker anywhere would."""
        found = self.rows.get(id)
        if found is None or found.attempt != attempt or found.state is not ActivityState.RUNNING:
            return False
        ended = conclude_row(
            self._record(found),
            outcome,
            worker=found.worker,
            now=self.now,
            jitter=0.0,
            identity="",
            progress=Progress(),
            cancel_requested=found.cancel_requested,
        )
        if ended.message is not None:
            found.state = ActivityState.DONE
            self.send(ended.message)
        else:
            found.state, found.attempt, found.worker = ActivityState.QUEUED, attempt + 1, None
        return True

    def _record(self, found: Row) -> ActivityRecord:
        new = found.new
        return ActivityRecord(
            RUN, new.id, "w", "t", "a", "", found.state, found.attempt, 0, None, None, new.close_by,
            new.start_to_close, new.heartbeat, found.worker, 0, new.scheduled_at, new.scheduled, b"",
            found.cancel_requested, self.now,
        )  # fmt: skip

    def events(self) -> list[Event]:
        return decode_history(self.log)


class World:
    """A run, its store, its code, and a host that goes a step at a time."""

    def __init__(
        self,
        script: Script,
        *,
        local: Callable[[ActivityTaskScheduled], bool] = lambda one: True,
    ) -> None:
        self.script = script
        self.make: type[Code] = Code
        self.local = local
        self.store = ModelStore(WorkflowExecutionStarted(workflow_id="w"))
        self.run: Run | None = None
        self.code: Code | None = None
        self.attempts: dict[int, ActivityTaskScheduled] = {}
        """Attempts without a row that run here."""
        self.task: list[Event] = []
        self.in_flight: Transition | None = None
        self.reopening = False
        self.releasing = False
        self.accepted: dict[str, Message] = {}
        self.sent = 0
        self.executed: Counter[int] = Counter()
        self.came: set[int] = set()
        """Activities whose eager attempt ended with a result, at a live owner."""
        self.cancelled_here: list[int] = []
        self.refusals = 0

    # ---- owning

    def claim(self) -> None:
        assert self.run is None
        store = self.store
        store.epoch += 1
        store.owner = "me"
        events = store.events()
        state = RunState.of(RUN, events)
        self.run = Run(state, store.epoch, rowed=store.rows, deaths=store.deaths)
        commands = self.replay()
        self.receive()
        waited = {*state.activities} - {*store.rows} - self._answered()
        self.run.asked.recover(now=store.now, jitter=0.0)
        if not store.deaths:
            assert not waited, f"a clean release left activities {waited} with nobody"
        self.take(commands)

    def _answered(self) -> set[int]:
        return {
            decode_data(one.type, one.data).id  # type: ignore[attr-defined]
            for one in self.store.inbox.values()
            if one.internal
        }

    def replay(self) -> list[CommandEvent]:
        """Run the log through fresh code; return the commands of the last task if that is live."""
        self.code = code = self.make(self.script)
        live: list[CommandEvent] = []
        tasks = list(tasks_of(self.store.events()))
        for index, (inputs, recorded) in enumerate(tasks):
            commands = code.activate(inputs)
            if not recorded and index == len(tasks) - 1:
                live = commands
            else:
                if code.closing is not None and index + 1 < len(tasks):
                    following = tasks[index + 1][0]
                    assert all(isinstance(one.data, WorkflowExecutionCancelRequested) for one in following)
                    commands = commands[:-1]
                wanted = [_asked_for(one.data) for one in recorded]
                assert commands == wanted, f"task {inputs[0].task} does not replay"
        return live

    def crash(self) -> None:
        """The worker dies. What it had in memory is gone; rows it ran are found to be without a worker."""
        if self.run is None:
            return
        self.forget()
        store = self.store
        if store.open and store.owner is not None:
            store.owner = None
            store.deaths += 1
        for found in store.rows.values():
            if found.state is ActivityState.RUNNING:
                store.finish(found.new.id, found.attempt, Failed(Failure(info=ApplicationFailure("Lost"))))

    def forget(self) -> None:
        self.run = self.code = self.in_flight = None
        self.attempts.clear()
        self.task = []
        self.reopening = self.releasing = False

    # ---- what arrives

    def signal(self, name: str = "go") -> str:
        return self._send(WorkflowExecutionSignaled(name=name))

    def cancel(self) -> str:
        return self._send(WorkflowExecutionCancelRequested())

    def _send(self, event: Input) -> str:
        self.sent += 1
        new = message(RUN, f"m{self.sent}", event)
        if self.store.send(new):
            self.accepted[new.message_id] = new
        return new.message_id

    def repeat(self, message_id: str) -> None:
        """A sender in doubt sends again: the inbox refuses it, or the message has been read already."""
        self.store.send(self.accepted[message_id])

    def receive(self) -> None:
        assert self.run is not None
        for position in sorted(self.store.inbox):
            self.run.inputs.receive(self.store.inbox[position], decode_data)

    def end_attempt(self, id: int, outcome: Outcome) -> None:
        assert self.run is not None
        scheduled = self.attempts.pop(id)
        if isinstance(outcome, Completed):
            self.came.add(id)
        self.run.asked.attempt_ended(scheduled, outcome, AttemptEnd(1, self.store.now))

    def give_row(self, id: int) -> None:
        """A heartbeat of an attempt without a row. It goes on as a row of this worker."""
        assert self.run is not None
        scheduled = self.attempts.pop(id)
        self.run.asked.add_row(row(scheduled, self.run.asked.scheduled_at(id), worker="me"))

    def claim_row(self, id: int) -> None:
        found = self.store.rows[id]
        assert found.state is ActivityState.QUEUED
        found.state, found.worker = ActivityState.RUNNING, "somebody"
        self.executed[id] += 1

    # ---- turns and writing

    def turn(self) -> None:
        """Run the code over the task that was written."""
        assert self.code is not None
        task, self.task = self.task, []
        self.take(self.code.activate(task))

    def take(self, commands: list[CommandEvent]) -> None:
        assert self.run is not None
        if self.code is not None and self.code.closing is not None:
            self.run.untaken = list(self.code.kept)
        self.apply(self.run.commands(commands, local=self.local))

    def apply(self, effects: Effects) -> None:
        for scheduled in effects.start:
            assert scheduled.id not in self.attempts
            self.executed[scheduled.id] += 1
            self.attempts[scheduled.id] = scheduled
        self.cancelled_here.extend(effects.cancel)

    @property
    def busy(self) -> bool:
        return bool(self.task) or self.in_flight is not None

    def propose(self) -> Transition | None:
        assert self.run is not None
        assert not self.busy
        self.in_flight = self.run.propose(self.store.now)
        if self.in_flight is None:
            assert self.run.urgency(self.store.now) is Urgency.NOTHING, (
                "something waits, and nothing is proposed"
            )
        return self.in_flight

    def commit(self) -> Verdict:
        """Give the transition in flight to the store, and take the verdict."""
        assert self.in_flight is not None
        verdict = self.store.judge(self.in_flight)
        if verdict is Verdict.WRITTEN:
            self.store.write(self.in_flight)
        self.answer(verdict)
        return verdict

    def answer(self, verdict: Verdict) -> None:
        transition, self.in_flight = self.in_flight, None
        assert transition is not None
        run = self.run
        assert run is not None
        if verdict is Verdict.LOST or self.releasing:
            self.forget()
        elif verdict is Verdict.REFUSED:
            self.refusals += 1
            run.refused()
            self.receive()
            self.in_flight = run.reopen(self.store.now)
            if run.closing is None:
                self.code = None
            self.reopening = self.in_flight is not None
            if self.in_flight is None:
                self.take(self.replay())
        else:
            written = run.written(self.store.log[-1].time if transition.events else self.store.now)
            self.apply(Effects(start=written.start))
            if written.closed:
                self.forget()
            elif self.reopening:
                self.reopening = False
                self.take(self.replay())
            else:
                self.task = written.task
                if self.task and self.code is None:
                    self.task = []
                    self.take(self.replay())

    def release(self) -> None:
        assert self.run is not None
        assert not self.busy
        running = [
            row(scheduled, self.run.asked.scheduled_at(id), worker="me")
            for id, scheduled in self.attempts.items()
        ]
        self.in_flight = self.run.release(running)
        self.releasing = True

    # ---- going on by itself

    def settle(self, limit: int = 200) -> None:
        """Deliver, write and run until nothing moves."""
        for _ in range(limit):
            if self.run is None:
                return
            self.receive()
            if self.task:
                self.turn()
            elif self.in_flight is not None:
                self.commit()
            elif self.run.urgency(self.store.now) is Urgency.NOTHING:
                return
            else:
                self.propose()
                if self.in_flight is None:
                    return
        raise AssertionError("it does not come to rest")

    # ---- what is always true

    def check(self) -> None:
        store = self.store
        events = store.events()  # gapless, tasks in order, time forward
        inputs_over = False
        task = 0
        for event in events:
            if event.task != task:
                assert isinstance(event.data, Input), f"task {event.task} begins with a command"
                task, inputs_over = event.task, False
            inputs_over = inputs_over or not isinstance(event.data, Input)
            assert not (inputs_over and isinstance(event.data, Input)), "an input behind its task's commands"
        state = RunState.of(RUN, events)
        # Every accepted message is unread, or one event. (A repeated one is deleted without another.)
        seen = Counter(
            event.data.message for event in events if isinstance(event.data, Input) and event.data.message
        )
        assert not [id for id, count in seen.items() if count > 1], "a message became two events"
        if store.open:
            unread = {one.message_id for one in store.inbox.values()}
            lost = {id for id in self.accepted if id not in unread and id not in seen}
        else:
            lost = {id for id in self.accepted if id not in seen and id not in store.moved}
            self._check_successor(events, seen)
        assert not lost, f"messages {lost} were accepted and are nowhere"
        self._check_activities(state)
        if self.run is not None and not self.busy and store.owner is not None:
            self._check_memory(state)

    def _check_successor(self, events: list[Event], seen: Counter[str]) -> None:
        """What goes on to the successor is what nobody took, then what nobody read, each once and in order."""
        store = self.store
        close = store.close
        assert close is not None
        if close.successor is None:
            assert not store.moved
            return
        kept = [
            one.data.message
            for one in events
            if isinstance(one.data, WorkflowExecutionSignaled) and one.data.name == "keep"
        ]
        assert store.moved[: len(kept)] == kept
        started = decode_data(int(EventType.WORKFLOW_EXECUTION_STARTED), close.successor.started)
        assert isinstance(started, WorkflowExecutionStarted)
        unread = [id for id in store.moved[len(kept) :] if id not in started.known]
        assert not [id for id in unread if id in seen], "it would be read twice"
        assert not [id for id in kept if id in started.known], "it would be dropped"
        assert unread == sorted(unread, key=lambda id: int(id[1:]))

    def _check_activities(self, state: RunState) -> None:
        if not self.store.open or self.run is None or self.in_flight is not None:
            return
        run: Any = self.run
        answered = self._answered() | {*run.inputs.resulted}
        waiting = {one.id for one in run.waiting_for_commit}
        rows = {*self.store.rows, *run.asked.rows}
        if self.task:
            answered |= {event.data.id for event in self.task if hasattr(event.data, "id")}  # type: ignore[attr-defined]
        for id in {*state.activities, *run.asked.unwritten}:
            assert id in self.attempts or id in rows or id in answered or id in waiting, (
                f"activity {id} is open, and nobody will end it"
            )

    def _check_memory(self, state: RunState) -> None:
        """What is in memory is what another worker would read."""
        run = self.run
        assert run is not None
        for name in (
            "seq",
            "task",
            "time",
            "task_time",
            "trailing",
            "timers",
            "messages",
            "cancel_requested",
            "status",
        ):
            assert getattr(run.state, name) == getattr(state, name), name
        assert {*run.state.activities} == {*state.activities}
        assert run.state.children == state.children
        assert run.state.external == state.external
        for id, pending in state.activities.items():
            assert run.state.activities[id].scheduled_at == pending.scheduled_at
            assert run.state.activities[id].cancel_requested == pending.cancel_requested


# ---------------------------------------------------------------- scripts


POLICIES = (
    RetryPolicyData(),
    RetryPolicyData(maximum_attempts=1),
    RetryPolicyData(maximum_attempts=2, initial_interval=10),
)


def random_script(seed: int) -> Script:
    """Code that answers each task with whatever a generator, seeded by what it has seen, comes up with."""

    def script(code: Code, inputs: list[Event]) -> list[CommandEvent]:
        seen = [
            (int(event.type), getattr(event.data, "id", 0), getattr(event.data, "message", ""))
            for event in inputs
        ]
        rng = Random(f"{seed}:{code.turns}:{seen}")
        commands: list[CommandEvent] = []
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            kind = rng.random()
            open_activities = sorted(code.activities - code.asked_to_end)
            if kind < 0.45:
                commands.append(
                    code.activity(
                        retry_policy=rng.choice(POLICIES),
                        eager=rng.random() < 0.8,
                        task_queue=rng.choice("ab"),
                    )
                )
            elif kind < 0.7:
                commands.append(code.timer(rng.choice((10, 10, 20, 50))))
            elif kind < 0.78:
                code.next_id += 1
                commands.append(code.others.something(code.next_id, rng))
            elif kind < 0.9 and (timers := sorted(code.timers)):
                commands.append(code.cancel_timer(rng.choice(timers)))
            elif open_activities:
                commands.append(code.cancel_activity(rng.choice(open_activities)))
        # As the real thing: what is asked for and taken back in one task is never asked for.
        taken_back = {c.id for c in commands if isinstance(c, TimerCanceled | ActivityTaskCancelRequested)}
        new = {c.id for c in commands if isinstance(c, TimerStarted | ActivityTaskScheduled)}
        commands = [c for c in commands if c.id not in taken_back & new]
        code.activities -= taken_back & new
        if rng.random() < 0.2:
            commands.append(
                WorkflowExecutionContinuedAsNew(workflow_type="t")
                if seed % 3 == 0
                else WorkflowExecutionCompleted(result=Payload(str(code.turns).encode()))
            )
        return commands

    return script


def outcome_of(kind: str) -> Outcome:
    if kind == "result":
        return Completed(Payload(b"1"))
    if kind == "failure":
        return Failed(Failure(info=ApplicationFailure("E")))
    return Failed(Failure(info=ApplicationFailure("E", True)))


__all__ = ["RUN", "Code", "ModelStore", "Retry", "Row", "World", "outcome_of", "random_script"]
