"""What races are made with: a run that lives as a seed has it, what may happen to it, and judges of how it went.

Each race is a workflow, what happens to it, and an oracle: given the log, one outcome is legal. Each seed is one way the
events and the steps of the worker fall between each other. A seed that fails is kept in `KEPT` for ever, and lived first.
`DURABLE_RACES=10000` lives that many of each.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from durable._engine._children import news_for_parent
from durable._engine.records import ChildStart, Message, Transition
from durable.history import (
    Event,
    EventData,
    EventType,
    ParentLink,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionStarted,
    decode_data,
)
from tests.replay.test_update_lives import CONVERTER, RUN, Life

LIVES = int(os.environ.get("DURABLE_RACES", "1000"))
KEPT: dict[str, tuple[int, ...]] = {}


# ---------------------------------------------------------------- what happens


def cancel(life: RaceLife) -> None:
    life.send(WorkflowExecutionCancelRequested(reason="enough"), "cancel")


def result(life: RaceLife) -> None:
    """The activity ends, as soon as it has begun."""
    life.ending = True


def cancel_again(life: RaceLife) -> None:
    life.send(WorkflowExecutionCancelRequested(reason="at once"), "cancel again")


def child_ends(life: RaceLife) -> None:
    """A child ends, as soon as it is there."""
    life.child_ending = True


def time_passes(life: RaceLife) -> None:
    life.now += 5_000_000


def says(*words: str) -> list[Callable[[RaceLife], None]]:
    def one(text: str) -> Callable[[RaceLife], None]:
        def say(life: RaceLife) -> None:
            if life.signal("word", text, id=f"signal {text}"):
                life.acknowledged.append(text)

        return say

    return [one(text) for text in words]


def updates(name: str, *ids: str, args: Sequence[Any] = ()) -> list[Callable[[RaceLife], None]]:
    def one(id: str) -> Callable[[RaceLife], None]:
        def update(life: RaceLife) -> None:
            if life.update(name, *args, id=id):
                life.acknowledged.append(id)

        return update

    return [one(id) for id in ids]


class RaceLife(Life):
    """A life in which a worker's steps and what happens alternate as a seed has it."""

    def __init__(self, race: Race, seed: int) -> None:
        super().__init__(race.workflow, *race.args)
        self.chance = random.Random(f"{race.name} {seed}")
        self.acknowledged: list[str] = []
        """What was sent and taken."""
        self.ending = self.child_ending = False
        self.children: dict[str, int] = {}
        """The commands whose child is open, by its workflow id."""
        self.told_to_cancel: set[str] = set()
        self.crashes = self.chance.random() < 0.7

    def live(self, happens: Sequence[Callable[[RaceLife], None]]) -> None:
        waiting = list(happens)
        self.chance.shuffle(waiting)
        for _ in range(150):
            if not self.open:
                break
            if waiting and self.chance.random() < 0.3:
                waiting.pop()(self)
            else:
                self.work()
            if not waiting and self.chance.random() < 0.1:
                break
        for one in waiting:
            one(self)
        self.rest()

    def work(self) -> None:
        """One step of the worker."""
        dies = self.crashes and self.chance.random() < 0.1
        if self.run is None:
            self.claim()
        elif dies:
            self.crash()
        elif self.ending and (self.started or self.rows) and self.chance.random() < 0.5:
            self.end_activity()
            self.end_row()
        elif self.child_ending and self.children and self.chance.random() < 0.5:
            self.end_child()
        elif self.flying is not None:
            self.commit()
        elif self.chance.random() < 0.1:
            self.evict()
        else:
            self.step()

    def rest(self) -> None:
        """Let all that is under way come to its end; timers are due when nothing else is to be done."""
        for _ in range(40):
            self.settle()
            if not self.open:
                return
            assert self.run is not None
            due = self.run.inputs.next_timer()
            if due is not None:
                self.now = max(self.now, due)
            elif self.children:
                self.end_child()
            else:
                return
        raise AssertionError("it does not come to rest")

    def end_activity(self) -> None:
        """Any of those that run."""
        if self.started:
            id = self.chance.choice(sorted(self.started))
            self.started[id] = self.started.pop(id)  # the last one is taken
        super().end_activity()

    # ---- other workflows

    def write(self, transition: Transition) -> None:
        super().write(transition)
        if transition.close is not None:
            return
        for one in (*transition.starts, *transition.sends):
            there = self.chance.random() < 0.8
            type, data = (
                (one.reply.done_type, one.reply.done) if there else (one.reply.failed_type, one.reply.failed)
            )
            self._put(Message(RUN, one.reply.message_id, type, data, internal=True))
            if not there:
                continue
            if isinstance(one, ChildStart):
                self.children[one.run.workflow_id] = decode_data(type, data).id  # type: ignore[attr-defined]
            elif one.type == EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                self.told_to_cancel.add(one.workflow_id)

    def end_child(self) -> None:
        """A child returns, or is cancelled if it was told to."""
        workflow_id = self.chance.choice(sorted(self.children))
        end: EventData = WorkflowExecutionCompleted(result=CONVERTER.to_payload("child", path="test"))
        if workflow_id in self.told_to_cancel and self.chance.random() < 0.7:
            end = WorkflowExecutionCanceled()
        parent = ParentLink("w", RUN, self.children.pop(workflow_id))
        news = news_for_parent(WorkflowExecutionStarted(parent=parent), end)
        assert news is not None
        self._put(news)

    def _put(self, internal: Message) -> None:
        self.positions += 1
        self.inbox[self.positions] = msgspec.structs.replace(internal, position=self.positions)


@dataclass(frozen=True)
class Race:
    """A race.

    Attributes:
        judge: Given the log up to the close, what the workflow returned, and the life: says which way it went, and asserts
            that it is the legal outcome.
        ways: Ways it can go; each must be seen.
    """

    name: str
    workflow: Any
    happens: Sequence[Callable[[RaceLife], None]]
    judge: Callable[[list[Event], Any, RaceLife], str]
    ways: set[str]
    args: Sequence[Any] = ()


def at(events: Sequence[Event], kind: type[Any]) -> int:
    """The first event of a kind, or one behind all."""
    return next((n for n, event in enumerate(events) if isinstance(event.data, kind)), len(events))


class Races(dict[str, Race]):
    """The races of a module, by the names of their judges."""

    def race(self, workflow: Any, *, happens: Sequence[Any], ways: set[str], args: Sequence[Any] = ()) -> Any:
        """Register a race with its judge."""

        def register(judge: Any) -> Any:
            name = judge.__name__
            self[name] = Race(name, workflow, happens, judge, ways, args)
            return judge

        return register


# ---------------------------------------------------------------- many lives


def live(found: Race) -> None:
    """Live a race under every seed, and see it go every way that it can."""
    ways: Counter[str] = Counter()
    for seed in (*KEPT.get(found.name, ()), *range(LIVES)):
        life = RaceLife(found, seed)
        try:
            life.live(found.happens)
            ways[_judge(found, life)] += 1
        except Exception as error:
            shown = [(one.task, type(one.data).__name__) for one in life.events]
            raise AssertionError(f"seed {seed}: {error!r}; {shown}") from error
        finally:
            for one in life.alive:
                one.evict()
    assert found.ways <= set(ways), ways


def _judge(found: Race, life: RaceLife) -> str:
    events = life.events
    assert not life.open, "it did not close"
    code = life.fresh()
    life._replay(code, events)
    data = events[-1].data
    got = getattr(data, "result", None)
    value = None if got is None else CONVERTER.from_payload(got, Any, path="result")
    return found.judge(events, value, life)
