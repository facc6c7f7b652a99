"""One schedule: a workflow's code run by itself, where somebody chooses what comes next.

Between two tasks a run waits for some things: outcomes of activities, timers, messages. Which of them comes first nobody
knows, so it is asked (`Choose`). Here no worker runs, no database and no clock: tasks are formed as the engine forms them,
signals first, then results, and a cancel or a timer by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias

from durable._internal.instants import SECOND
from durable._replay._guard import Guard
from durable._replay._instance import Instance
from durable._replay._turns import Turns, suspended
from durable._replay.machines._activity import ActivityMachine
from durable._replay.machines._child import ChildMachine
from durable._replay.machines._timer import TimerMachine
from durable.converter import DataConverter
from durable.exceptions import CancelledError
from durable.history import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    CommandEvent,
    Event,
    ExternalCommand,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    Failure,
    Input,
    Payload,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)
from durable.workflow._calls import SignalCall
from durable.workflow._definition import WorkflowDefinition

BEGIN = 1_767_225_600 * SECOND
"""When every schedule begins: 2026-01-01, in microseconds."""

RUN = "01a00000-0000-7000-8000-000000000000"
"""The id of every run: what is derived from it is the same in each schedule."""

Asked: TypeAlias = ActivityTaskScheduled | StartChildWorkflowExecutionInitiated
Key: TypeAlias = tuple[str, tuple[tuple[str, bytes], ...]]
"""What is asked for: its type and its arguments."""


class Choose(Protocol):
    """Chooses one of `count` possibilities; the first is what one would expect. `joins` if it is about a common task."""

    def __call__(self, count: int, joins: bool, /) -> int: ...


class Unanswered(Exception):
    """Nobody has said yet what comes of an activity or a child. Returned, once it has left the turn."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes of an activity, or of a child: a value, or a failure."""

    value: Payload | None = None
    failure: Failure = field(default_factory=Failure)
    retry_state: str | None = None
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all schedules of an exploration have in common."""

    definition: WorkflowDefinition
    started: WorkflowExecutionStarted
    converter: DataConverter
    signals: Sequence[tuple[SignalCall[Any], WorkflowExecutionSignaled]]
    cancel: bool
    together: bool
    steps: int
    answers: Mapping[Key, Answer]
    guard: Guard | None


@dataclass(frozen=True, slots=True)
class Step:
    """What came, and what the code then asked for.

    Attributes:
        what: What came, for people.
        joins: Whether it came together with the one before.
        asked: What the code asked for, each with its source line if that is known.
    """

    what: str
    joins: bool = False
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a schedule has ended."""

    kind: str
    value: Any = None
    error: BaseException | None = None
    arrived: tuple[SignalCall[Any], ...] = ()
    steps: tuple[Step, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Something that may come next. `order` is its place in a task that several things make, as the engine has it."""

    order: tuple[int, int]
    alone: bool
    make: Callable[[], tuple[Input, str]]


_START, _SENT, _RESULT, _CANCEL, _TIMER = range(5)


class Play:
    """One schedule, while it runs."""

    def __init__(self, plan: Plan, choose: Choose, *, trace: bool = False) -> None:
        self._plan = plan
        self._choose = choose
        # Every method of an event loop is there: those that are refused are set when the class is made.
        self._code = Instance(
            plan.definition,
            RUN,
            plan.converter,
            namespace="default",
            note=lambda text, error: None,
            trace=trace,
            silent=True,
        )
        self._code.guard = plan.guard
        self._now = BEGIN
        self._task = 0
        self._asked: dict[int, CommandEvent] = {}
        self._due: dict[int, int] = {}
        self._there: set[int] = set()
        self._unsent = dict(enumerate(plan.signals))
        self._cancels = plan.cancel
        self._arrived: list[SignalCall[Any]] = []
        self._steps: list[Step] = []
        self._events: list[Event] = []

    def run(self) -> Ended | Unanswered:
        """Run it to its end, or to something that was chosen to come and of which nobody has said what it is."""
        code = self._code
        try:
            with Turns() as turns:
                first = _Arrival((_START, 0), False, lambda: (self._plan.started, "the workflow starts"))
                arrivals = self._task_with(first, self._sendable())
                while True:
                    if (ended := self._run_task(turns, arrivals)) is not None:
                        return ended
                    if len(self._steps) >= self._plan.steps:
                        return self._ended("unfinished", error=self._stands("it has not ended"))
                    possible = self._possible()
                    if not possible:
                        return self._ended("stuck", error=self._stands("nothing comes any more"))
                    chosen = possible.pop(self._pick(len(possible), joins=False))
                    arrivals = self._task_with(chosen, possible)
        except Unanswered as unanswered:
            return unanswered
        finally:
            code.evict()

    def _pick(self, count: int, *, joins: bool) -> int:
        return 0 if count == 1 else self._choose(count, joins)

    def _task_with(self, first: _Arrival, others: Sequence[_Arrival]) -> list[_Arrival]:
        """Return what comes in one task, in order, beginning with what was chosen."""
        chosen = [first]
        while self._plan.together and not chosen[-1].alone:
            more = [one for one in others if one.order > chosen[-1].order and not one.alone]
            number = self._pick(len(more) + 1, joins=True)
            if number == 0:
                break
            chosen.append(more[number - 1])
        return chosen

    def _run_task(self, turns: Turns, arrivals: Sequence[_Arrival]) -> Ended | None:
        self._task += 1
        made = [one.make() for one in arrivals]
        inputs = [self._append(input) for input, _ in made]
        joins = False
        for _, what in made:
            self._steps.append(Step(what, joins))
            joins = True
        try:
            commands = self._code.activate(turns, inputs, replaying=False)
        except Exception as error:
            return self._ended("blocked", error=error)
        for command in commands:
            self._append(command)
            self._take(command)
        if sources := self._code.sources:
            asked = [
                _shown(one, self._plan.converter) + _at(sources.get(one.id)) for one in commands if one.id
            ]
            self._steps[-1] = Step(self._steps[-1].what, self._steps[-1].joins, tuple(filter(None, asked)))
        return self._closed() if self._code.closing is not None else None

    def _append(self, data: Input | CommandEvent) -> Event:
        event = Event(len(self._events) + 1, self._task, self._now, data)
        self._events.append(event)
        return event

    def _take(self, command: CommandEvent) -> None:
        if isinstance(command, TimerStarted):
            self._due[command.id] = self._now + command.duration
        if isinstance(command, Asked | ExternalCommand):
            self._asked[command.id] = command

    # ------------------------------------------------------------------ what may come

    def _sendable(self) -> list[_Arrival]:
        return [_Arrival((_SENT, number), False, partial(self._send, number)) for number in self._unsent]

    def _send(self, number: int) -> tuple[Input, str]:
        call, event = self._unsent.pop(number)
        self._arrived.append(call)
        return event, f"signal {call.name}({_values(call.args)}) arrives"

    def _possible(self) -> list[_Arrival]:
        """Return what may come next, what one would expect first in front."""
        found: list[_Arrival] = []
        timers: list[tuple[int, int]] = []
        for id, machine in self._code.open_operations.items():
            if isinstance(machine, TimerMachine):
                timers.append((self._due[id], id))
            else:
                found.extend(self._outcomes(id, machine))
        found.extend(self._sendable())
        if self._cancels:
            found.append(_Arrival((_CANCEL, 0), True, self._cancel))
        if timers:
            # They are due in their order, however long everything else takes.
            at, id = min(timers)
            found.append(_Arrival((_TIMER, 0), True, lambda: self._fire(at, id)))
        return found

    def _cancel(self) -> tuple[Input, str]:
        self._cancels = False
        return WorkflowExecutionCancelRequested(), "the workflow is asked to cancel"

    def _fire(self, at: int, id: int) -> tuple[Input, str]:
        passed = (at - self._now) / SECOND
        self._now = max(self._now, at)
        return TimerFired(id=id), f"timer {id} fires, {passed:g} s later"

    def _outcomes(self, id: int, machine: object) -> list[_Arrival]:
        """Return what may come of an operation; nothing if its outcome reaches nobody."""
        order = (_RESULT, id)
        asked = self._asked[id]
        if isinstance(machine, ActivityMachine) and isinstance(asked, ActivityTaskScheduled):
            if machine.operation.done():
                return []
            found = [_Arrival(order, False, lambda: self._activity(asked))]
            if machine.state == "cancel requested":
                what = f"activity {_call(asked, self._plan.converter)} is cancelled"
                found.append(_Arrival(order, False, lambda: (ActivityTaskCanceled(id=id), what)))
            return found
        if isinstance(machine, ChildMachine) and isinstance(asked, StartChildWorkflowExecutionInitiated):
            name = f"child {_call(asked, self._plan.converter)}"
            if id not in self._there:
                return [_Arrival(order, False, lambda: self._begin(asked, name))]
            found = [_Arrival(order, False, lambda: self._child(asked, name))]
            if machine.state == "cancel requested":
                cancelled = ChildWorkflowExecutionCanceled(id=id)
                found.append(_Arrival(order, False, lambda: (cancelled, f"{name} is cancelled")))
            return found
        assert isinstance(asked, ExternalCommand)
        if isinstance(asked, SignalExternalWorkflowExecutionInitiated):
            told: Input = ExternalWorkflowExecutionSignaled(id=id)
            return [
                _Arrival(order, False, lambda: (told, f"{asked.workflow_id} has got signal {asked.name}"))
            ]
        told = ExternalWorkflowExecutionCancelRequested(id=id)
        return [_Arrival(order, False, lambda: (told, f"{asked.workflow_id} has got the cancel request"))]

    def _answer(self, asked: Asked) -> Answer:
        known = self._plan.answers.get(key_of(asked))
        if known is None:
            raise Unanswered(asked)
        return known

    def _activity(self, asked: ActivityTaskScheduled) -> tuple[Input, str]:
        answer = self._answer(asked)
        what = f"activity {_call(asked, self._plan.converter)} {answer.shown}"
        if answer.value is not None:
            return ActivityTaskCompleted(id=asked.id, result=answer.value), what
        failed = ActivityTaskFailed(id=asked.id, failure=answer.failure, retry_state=answer.retry_state)
        return failed, what

    def _begin(self, asked: StartChildWorkflowExecutionInitiated, name: str) -> tuple[Input, str]:
        self._there.add(asked.id)
        return ChildWorkflowExecutionStarted(id=asked.id, run_id=asked.run_id), f"{name} begins"

    def _child(self, asked: StartChildWorkflowExecutionInitiated, name: str) -> tuple[Input, str]:
        answer = self._answer(asked)
        if answer.value is not None:
            return ChildWorkflowExecutionCompleted(id=asked.id, result=answer.value), f"{name} {answer.shown}"
        return ChildWorkflowExecutionFailed(id=asked.id, failure=answer.failure), f"{name} {answer.shown}"

    # ------------------------------------------------------------------ how it ends

    def _closed(self) -> Ended:
        convert, closing = self._plan.converter, self._code.closing
        match closing:
            case WorkflowExecutionCompleted():
                kind = self._plan.definition.ret_type
                return self._ended("completed", value=convert.from_payload(closing.result, kind))
            case WorkflowExecutionFailed():
                return self._ended("failed", error=convert.from_failure(closing.failure))
            case WorkflowExecutionCanceled():
                return self._ended("cancelled", error=CancelledError("the workflow was cancelled"))
            case WorkflowExecutionContinuedAsNew():
                return self._ended("continued", value=convert.from_payloads(closing.input))
            case _:
                raise AssertionError(closing)

    def _ended(self, kind: str, *, value: Any = None, error: BaseException | None = None) -> Ended:
        return Ended(kind, value, error, tuple(self._arrived), tuple(self._steps), tuple(self._events))

    def _stands(self, why: str) -> AssertionError:
        return AssertionError(f"{why}; it waits in {suspended(self._code.loop)}")


def key_of(asked: Asked) -> Key:
    """Return what is asked for."""
    arguments = tuple((one.encoding, one.data) for one in asked.input)
    if isinstance(asked, ActivityTaskScheduled):
        return f"activity {asked.activity_type}", arguments
    return f"child {asked.workflow_type}", arguments


def _values(values: Sequence[Any]) -> str:
    text = ", ".join(map(repr, values))
    return text if len(text) <= 60 else f"{text[:59]}…"


def _call(asked: Asked, converter: DataConverter) -> str:
    name = asked.activity_type if isinstance(asked, ActivityTaskScheduled) else asked.workflow_type
    return f"{name}({_values(converter.from_payloads(asked.input))})"


def _shown(command: CommandEvent, converter: DataConverter) -> str:
    match command:
        case ActivityTaskScheduled():
            return f"activity {_call(command, converter)}"
        case StartChildWorkflowExecutionInitiated():
            return f"child {_call(command, converter)}"
        case TimerStarted():
            return f"timer {command.id} of {command.duration / SECOND:g} s"
        case _:
            return f"{type(command).__name__} {command.id}"


def _at(where: str | None) -> str:
    return "" if where is None else f", at {where}"
