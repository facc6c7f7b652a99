"""Engine and code together, without a database: random lives of a run with updates, and each race in both orders."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from durable import ApplicationError, activity, workflow
from durable._engine._activities import Completed, message_of
from durable._engine._asked import AttemptEnd
from durable._engine._messages import message
from durable._engine._run import Run
from durable._engine._state import RunState
from durable._engine._updates import decode_result, message_id_of
from durable._engine.records import Message, Transition, Unread, UpdateOutcome, UpdateStage
from durable._replay._instance import Instance, Tried
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.converter import default
from durable.history import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    CommandEvent,
    Event,
    EventRow,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    decode_data,
    decode_history,
    encode_data,
)
from durable.workflow._workflow import definition_of

RUN = "run-1"
CONVERTER = default()


@activity.defn(name="lives.fee")
async def fee(amount: int) -> int:
    return 0


@workflow.defn(name="lives.account")
class Account:
    def __init__(self) -> None:
        self.balance = 100
        self.taken: list[int] = []
        self.closed = False

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: self.closed)
        return [self.balance, workflow.now().timestamp(), workflow.info().get_current_history_length()]

    @workflow.update
    def withdraw(self, amount: int) -> int:
        self.balance -= amount
        self.taken.append(amount)
        return self.balance

    @withdraw.validator
    def _enough(self, amount: int) -> None:
        if amount > self.balance:
            raise ApplicationError("not enough")

    @workflow.update
    async def slowly(self, amount: int) -> int:
        await fee(amount)
        if amount > self.balance:
            raise ApplicationError("not enough any more")
        self.balance -= amount
        self.taken.append(amount)
        return self.balance

    @workflow.update
    async def never(self) -> None:
        await asyncio.sleep(3600)

    @workflow.signal
    def deposit(self, amount: int) -> None:
        self.balance += amount

    @workflow.signal
    def close(self) -> None:
        self.closed = True


class Life:
    """A run, its log, its inbox and its updates' outcomes; a worker that may lose its memory at any moment."""

    def __init__(self, workflow: Any = Account, *args: Any) -> None:
        self.definition = definition_of(workflow)
        self.now = 1_000_000
        started = WorkflowExecutionStarted(
            workflow_id="w",
            workflow_type=self.definition.name,
            task_queue="q",
            seed=3,
            input=CONVERTER.to_payloads(args, path="test"),
        )
        self.log: list[EventRow] = [EventRow(1, 1, int(started.type), encode_data(started), self.now)]
        self.inbox: dict[int, Message] = {}
        self.outcomes: dict[str, UpdateOutcome] = {}
        self.positions = 0
        self.epoch = 0
        self.open = True
        self.run: Run | None = None
        self.code: Instance | None = None
        self.started: dict[int, ActivityTaskScheduled] = {}
        self.flying: Transition | None = None
        self.alive: list[Instance] = []
        self.rows: dict[int, int] = {}
        """Activities that any worker may run, with their attempt: those whose owner died."""
        self.moved: list[Message] = []
        """What the run that follows has in its inbox."""

    # ---- from outside

    def send(self, event: Any, message_id: str) -> bool:
        """Send a message; False when the run is closed, or has had it."""
        if not self.open or message_id in self.outcomes:
            return False
        if any(one.message_id == message_id for one in self.inbox.values()):
            return False
        if any(message_id == getattr(one.data, "message", "") for one in self.events):
            return False
        self.positions += 1
        new = message(RUN, message_id, event)
        self.inbox[self.positions] = msgspec.structs.replace(new, position=self.positions)
        return True

    def update(self, name: str, *args: Any, id: str) -> bool:
        payloads = CONVERTER.to_payloads(args, path="test")
        return self.send(WorkflowExecutionUpdateAccepted(name=name, input=payloads), message_id_of(id))

    def signal(self, name: str, *args: Any, id: str) -> bool:
        payloads = CONVERTER.to_payloads(args, path="test")
        return self.send(WorkflowExecutionSignaled(name=name, input=payloads), id)

    @property
    def events(self) -> list[Event]:
        return decode_history(self.log)

    # ---- the worker

    def fresh(self) -> Instance:
        code = Instance(self.definition, RUN, CONVERTER, namespace="n", note=lambda text, error: None)
        self.alive.append(code)
        return code

    def _replay(
        self, code: Instance, events: list[Event], pending: Sequence[CommandEvent] | None = None
    ) -> list[Any]:
        with Turns() as turns:
            return replay(code, turns, events, rebuild=self.fresh, strict=True, pending=pending) or []

    def claim(self) -> None:
        self.epoch += 1
        fresh = self.epoch == 1 and len(self.log) == 1 and bool(self.inbox)
        self.run = Run(
            RunState.of(RUN, self.events),
            self.epoch,
            rowed=self.rows,
            deaths=0 if self.epoch == 1 else 1,
            fresh=fresh,
        )
        self.run.state.size = sum(len(row.data) for row in self.log)
        commands: list[Any] | None = None
        if not fresh:
            self.code = self.fresh()
            commands = self._replay(self.code, self.events)
        self.receive()
        for again in self.run.asked.recover(now=self.now, jitter=0.0):
            self.started[again.id] = again
        if commands is not None:
            self._take(commands)

    def crash(self) -> None:
        self.run = self.code = self.flying = None
        self.started.clear()

    def evict(self) -> None:
        if self.run is not None and self.flying is None:
            self.code = None

    def receive(self) -> None:
        assert self.run is not None
        for position in sorted(self.inbox):
            self.run.inputs.receive(self.inbox[position], decode_data)

    def _take(self, commands: list[Any]) -> None:
        assert self.run is not None
        assert self.code is not None
        if self.code.closing:
            self.run.untaken = self.code.untaken
        for one in self.run.commands(commands, local=lambda scheduled: True).start:
            self.started[one.id] = one

    def step(self) -> bool:
        """Propose, or try, or do nothing; whether something is in flight now."""
        run = self.run
        assert run is not None
        self.receive()
        transition = run.propose(self.now)
        if run.trial is not None:
            transition = self._try(run)
        self.flying = transition
        return transition is not None

    def _try(self, run: Run) -> Transition:
        trial = run.trial
        assert trial is not None
        if self.code is None:
            self.code = self.fresh()
            self._replay(self.code, self.events[: trial.events[0].seq - 1], run.asked.commands)
        with Turns() as turns:
            tried: Tried = self.code.attempt(turns, trial.events, size=trial.size)
        counts = trial.counts(tried.rejected)
        before = dict(self.started)
        transition = run.tried(tried.commands, tried.rejected, local=lambda scheduled: True)
        assert self.started == before, "nothing is released before it is written"
        if tried.moved and not counts:
            self.code = None
        return transition

    def commit(self) -> None:
        run, transition = self.run, self.flying
        assert run is not None
        assert transition is not None
        self.flying = None
        close = transition.close
        if close is not None and close.unread is not Unread.MOVE:
            unread = [one for position, one in self.inbox.items() if position not in transition.consumed]
            if close.unread is Unread.REFUSE_SIGNALS:
                unread = [one for one in unread if not one.message_id.startswith("update:")]
            if any(not one.internal for one in unread):
                self._refused(run)
                return
        self.write(transition)
        written = run.written(self.now)
        for one in written.start:
            assert any(event.data == one for event in self.events)
            self.started[one.id] = one
        if written.closed:
            self.open = False
            self.run = None
        elif written.task:
            if self.code is None:
                self.code = self.fresh()
                self._take(self._replay(self.code, self.events))
            else:
                with Turns() as turns:
                    commands = self.code.activate(turns, written.task, replaying=False, size=run.state.size)
                self._take(commands)
        elif not run.ran:
            self.code = self.fresh()
            self._take(self._replay(self.code, self.events))

    def write(self, transition: Transition) -> None:
        self.now += 7
        at = max(self.now, transition.not_before) if transition.time is None else transition.time
        assert self.log[-1].time <= at <= self.now
        self.log += [msgspec.structs.replace(row, time=at) for row in transition.events]
        for position in transition.consumed:
            self.inbox.pop(position, None)
        for new in transition.activities:
            self.rows[new.id] = new.attempt
        for id in transition.activities_done:
            del self.rows[id]
        for outcome in transition.outcomes:
            known = self.outcomes.get(outcome.message_id)
            if known is None or known.stage < UpdateStage.COMPLETED:
                self.outcomes[outcome.message_id] = outcome
        if transition.close is not None:
            if transition.close.successor is not None:
                unread = [one for _, one in sorted(self.inbox.items()) if not one.internal]
                self.moved = [*transition.close.successor.messages, *unread]
            for message_id in [
                *(one.message_id for one in self.inbox.values()),
                *(one.message_id for one in self.outcomes.values() if one.stage is UpdateStage.ACCEPTED),
            ]:
                if message_id.startswith("update:"):
                    lost = UpdateOutcome(message_id, UpdateStage.COMPLETED, transition.close.update_lost)
                    self.outcomes[message_id] = lost
            self.inbox.clear()

    def _refused(self, run: Run) -> None:
        run.refused()
        self.receive()
        if run.tries_again:
            self.code = None
            return
        transition = run.reopen(self.now)
        if run.closing is None:
            self.code = None
        if transition is None:
            self.code = self.fresh()
            self._take(self._replay(self.code, self.events))
            return
        self.flying = transition
        if transition.close is not None:
            self.commit()
            return
        self.flying = None
        self.write(transition)
        run.written(self.now)
        self.code = self.fresh()
        self._take(self._replay(self.code, self.events))

    def end_activity(self) -> None:
        assert self.run is not None
        if self.started and self.flying is None:
            _, scheduled = self.started.popitem()
            result = Completed(CONVERTER.to_payload(0, path="test"))
            self.run.asked.attempt_ended(scheduled, result, AttemptEnd(1, self.now))

    def end_row(self) -> None:
        """Another worker runs what has a row, and says so."""
        for id, attempt in self.rows.items():
            value = CONVERTER.to_payload(0, path="test")
            done = message_of(RUN, ActivityTaskCompleted(id=id, attempt=attempt, result=value))
            if all(one.message_id != done.message_id for one in self.inbox.values()):
                self.positions += 1
                self.inbox[self.positions] = msgspec.structs.replace(done, position=self.positions)

    def settle(self) -> None:
        for _ in range(200):
            if not self.open:
                return
            if self.run is None:
                self.claim()
            if self.flying is not None:
                self.commit()
            elif not self.step():
                if not self.started and not self.rows:
                    return
                self.end_activity()
                self.end_row()
        raise AssertionError("it does not come to rest")

    # ---- what is always true

    def judge(self) -> list[int]:
        events = self.events
        code = self.fresh()
        self._replay(code, events)
        accepted = [
            one.data.message for one in events if isinstance(one.data, WorkflowExecutionUpdateAccepted)
        ]
        assert len(accepted) == len(set(accepted))
        for message_id, outcome in self.outcomes.items():
            if outcome.stage is UpdateStage.COMPLETED:
                told = decode_result(outcome.data)
                assert (told.result is None) != (told.failure is None)
                if told.rejected:
                    assert message_id not in accepted
                elif not told.lost:
                    assert message_id in accepted
        balance = code._object.balance
        taken = sum(code._object.taken)
        assert balance >= 0
        deposits = [
            CONVERTER.from_payloads(one.data.input, [int])[0]
            for one in events
            if isinstance(one.data, WorkflowExecutionSignaled) and one.data.name == "deposit"
        ]
        assert balance == 100 + sum(deposits) - taken
        for one in self.alive:
            one.evict()
        return code._object.taken


@pytest.mark.parametrize("seed", range(300))
def test_random_lives(seed: int) -> None:
    chance = random.Random(seed)
    life = Life()
    sent: list[str] = []
    for number in range(chance.randrange(4, 40)):
        for _ in range(chance.randrange(3)):
            match chance.randrange(9):
                case 0 | 1 | 2:
                    id = chance.choice([f"u{number}", *sent[-2:]])
                    life.update(
                        chance.choice(["withdraw", "withdraw", "slowly"]),
                        chance.choice([10, 40, 60, 200]),
                        id=id,
                    )
                    sent.append(id)
                case 3:
                    life.update(chance.choice(["nobody", "never"]), id=f"u{number}")
                case 4 | 5:
                    life.signal("deposit", 30, id=f"s{number}")
                case 6 if number > 10:
                    life.signal("close", id="close")
                case 7 if chance.random() < 0.3:
                    life.send(WorkflowExecutionCancelRequested(), "cancel")
                case _:
                    life.now += chance.randrange(1_000_000)
        if not life.open:
            break
        if life.run is None:
            life.claim()
        elif life.flying is not None:
            if chance.random() < 0.1:
                life.crash()
            else:
                life.commit()
        else:
            match chance.randrange(8):
                case 0:
                    life.crash()
                case 1:
                    life.evict()
                case 2:
                    life.end_activity()
                case _:
                    life.step()
    life.settle()
    life.judge()
    if life.open:
        assert not life.inbox


@pytest.mark.parametrize("seed", range(40))
def test_of_twenty_withdrawals_one_is_accepted_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    life = Life()
    waiting = [f"u{number}" for number in range(20)]
    chance.shuffle(waiting)
    while waiting:
        for id in [waiting.pop() for _ in range(min(len(waiting), chance.randrange(1, 6)))]:
            life.update("withdraw", 60, id=id)
        if life.run is None:
            life.claim()
        for _ in range(chance.randrange(4)):
            if life.run is None:
                life.claim()
            elif chance.random() < 0.2:
                life.crash()
            elif life.flying is not None:
                life.commit()
            else:
                life.step()
    life.settle()
    assert life.judge() == [60]
    told = [decode_result(one.data) for one in life.outcomes.values()]
    assert len(told) == 20
    assert sum(one.rejected for one in told) == 19
    kinds = [type(one.data).__name__ for one in life.events]
    assert kinds == [
        "WorkflowExecutionStarted",
        "WorkflowExecutionUpdateAccepted",
        "WorkflowExecutionUpdateCompleted",
    ]


def test_a_task_whose_updates_are_all_refused_is_the_task_without_them() -> None:
    life = Life()
    life.claim()
    life.settle()
    life.signal("deposit", 5, id="s")
    life.update("withdraw", 500, id="u")
    assert life.step()
    assert life.flying is not None
    assert life.flying.time is None
    assert [row.type for row in life.flying.events] == [2]
    assert [one.stage for one in life.flying.outcomes] == [UpdateStage.COMPLETED]
    life.settle()
    assert life.judge() == []


def test_results_that_have_come_are_salvaged_from_a_trial() -> None:
    life = Life()
    life.update("slowly", 10, id="a")
    life.claim()
    assert life.step()
    life.commit()
    assert life.started
    life.end_activity()
    life.update("withdraw", 1, id="b")
    assert life.run is not None
    life.receive()
    assert life.run.propose(life.now) is None
    assert life.run.trial is not None
    (kept,) = life.run.salvage()
    assert kept == message_of(RUN, next(iter(life.run.trial.results.values())))
    life.run.untried()
    assert life.run.trial is None
    life.settle()
    assert sorted(life.judge()) == [1, 10]
