"""Every order in which things may come: a workflow under all schedules, or many of them, and the shortest that breaks it.

Theory. A workflow's code is deterministic, so all it does is decided by the order in which its inputs come. A schedule is
a list of numbers: which of the things that may come next does. All of them are gone through as a tree, each from the
beginning again, the last number that can grow first; where there are too many, the rest are drawn by a seed. What breaks
is then made shorter: a number that is 0, what one would expect, is simpler than any other.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from durable._engine._retry import RetryState, decide
from durable._replay._guard import new_guard
from durable.activity._activity import Activity
from durable.converter import DataConverter, default
from durable.history import (
    IN_FORCE,
    ActivityTaskScheduled,
    Event,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)
from durable.testing._activity import ActivityEnvironment
from durable.testing._mocks import Mocks
from durable.testing._play import Answer, Asked, Choose, Ended, Plan, Play, Step, Unanswered, key_of
from durable.testing._serving import activities_for
from durable.workflow._calls import SignalCall, WorkflowCall
from durable.workflow._workflow import Workflow

LIMIT = 5000
"""Schedules at most: about a second of work for a small workflow."""

STEPS = 200
"""Things that come in one schedule at most: a workflow that polls for ever has no end of its own."""

BREATH = 50
"""Schedules between two looks at the event loop of the test."""

GUARDED = 100
"""Schedules in which the determinism guard watches; later ones run no other lines but rarely, and are faster without."""

SHRINKING = 1000
"""Attempts at a shorter schedule, at most."""

ATTEMPTS = 50
"""Attempts of an activity that would be tried for ever, at most."""

SHOWN = 20
"""Outcomes in a report at most, the most frequent ones."""

Check = Callable[["Outcome"], object]


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a workflow has ended under a schedule.

    Attributes:
        kind: "completed"; "failed"; "cancelled"; "continued" as new; "blocked" by an error in its code; "stuck", when it waits
            for what nothing brings; or "unfinished" after so many steps.
        error: Why it is not completed, if there is an error.
        arrived: The signals that came before its end, in their order. One that comes later is an error of its sender.
        steps: The schedule.
        events: The history.
        broken: What the check raised, if anything.
        count: How many schedules end this way.
    """

    kind: str
    error: BaseException | None
    arrived: tuple[SignalCall[Any], ...]
    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    value: Any = None
    broken: BaseException | None = None
    count: int = 1

    @property
    def result(self) -> Any:
        """What it returned; the arguments with which it goes on, of one that continues as new.

        Raises:
            BaseException: Its error, if there is one.
        """
        if self.error is not None:
            raise self.error
        return self.value

    def __str__(self) -> str:
        if self.error is None:
            return f"{self.kind} with {self.value!r}"
        return f"{self.kind}: {type(self.error).__name__}: {self.error}"


@dataclass
class ExploreReport:
    """What came of a workflow under many schedules.

    Attributes:
        schedules: How many different ones were run.
        exhaustive: Whether these are all there are.
        seed: With which the others were drawn.
        outcomes: The different ways in which it has ended, the most frequent first, each with its shortest schedule.
        results: What it returned in those that have completed; a list, of what cannot be in a set.
        broken: Of the outcomes that the check refuses, the one with the shortest schedule.
    """

    schedules: int = 0
    exhaustive: bool = False
    seed: int | str = 0
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    broken: Outcome | None = None

    @property
    def results(self) -> Any:
        """See the class."""
        found = [one.value for one in self.outcomes if one.kind == "completed"]
        try:
            return set(found)
        except TypeError:
            return found

    def __str__(self) -> str:
        many = "all there are" if self.exhaustive else f"not all there are, drawn with seed {self.seed}"
        lines = [f"{self.schedules} schedules, {many}:"]
        shown = self.outcomes[:SHOWN]
        lines += [f"{one.count:>7}  {one}{_broken(one)}" for one in shown]
        if more := self.outcomes[SHOWN:]:
            lines.append(f"{sum(one.count for one in more):>7}  in {len(more)} other ways")
        if self.broken is not None:
            lines += ["", "The shortest that breaks:", *_listed(self.broken.steps), f"  = {self.broken}"]
            lines += ["", f"{type(self.broken.broken).__name__}: {self.broken.broken}".rstrip(": ")]
        return "\n".join(lines)


def _broken(outcome: Outcome) -> str:
    if outcome.broken is None:
        return ""
    if outcome.broken is outcome.error:
        return "  BREAKS"
    first, _, _ = str(outcome.broken).partition("\n")
    return f"  BREAKS: {first}"


def _listed(steps: Sequence[Step]) -> list[str]:
    lines: list[str] = []
    for number, step in enumerate(steps, 1):
        lines.append(f"  {number:>2}. {'and together with it ' if step.joins else ''}{step.what}")
        lines += [f"        asks for {one}" for one in step.asked]
    return lines


async def explore(
    call: WorkflowCall[Any, Any],
    /,
    *,
    signals: Sequence[SignalCall[Any]] = (),
    cancel: bool = False,
    children: Mapping[Workflow[Any, ..., Any], Any] | None = None,
    check: Check | None = None,
    together: bool = True,
    limit: int = LIMIT,
    steps: int = STEPS,
    seed: int | str = 0,
    data_converter: DataConverter | None = None,
    mocks: Mocks | None = None,
) -> ExploreReport:
    """Run a workflow under all schedules if there are no more than `limit`, else under so many, and as many drawn by `seed`.

    A schedule is an order in which activities end, timers fire, signals come and the cancellation does. An activity may take
    any time, so it may end before or behind any timer; timers fire in the order in which they are due. An activity is run,
    or its mock asked, once for the same arguments, with the retries of its policy but without their waits. Nothing
    is written anywhere.

        report = await explore(basket("b-1"), signals=[add("pear")], check=nothing_is_lost)

    Args:
        call: The workflow with its arguments.
        signals: What is sent to it, each once and at any time.
        cancel: Whether it is asked to cancel, at any time.
        children: What children return, by their workflow: a value, an exception, or a function of their arguments.
        check: Called with each `Outcome`; what it raises is what breaks. Without it an error in the workflow's code breaks,
            and a workflow that waits for what nothing brings.
        together: Whether several things may come at once, in one workflow task.
        limit: Schedules at most.
        steps: Things that come in one schedule at most.
        seed: What draws schedules if there are too many.
        data_converter: As the workers have it.
        mocks: Mocks that answer for activities.

    Raises:
        AssertionError: Something breaks; the text shows the shortest schedule that does, as a list.
        TypeError: Something is not what it has to be.
        ValueError: A limit is not positive, or nobody says what a child returns.
    """
    __tracebackhide__ = True
    if not isinstance(call, WorkflowCall):
        raise TypeError(f"explore() takes a call, such as checkout(order), and not {call!r}")
    if limit < 1 or steps < 1:
        raise ValueError(f"limit and steps must be at least 1, not {limit} and {steps}")
    for one in children or {}:
        if not isinstance(one, Workflow):
            raise TypeError(f"children takes workflows and what they return, not {one!r}")
    exploration = _Exploration(
        _plan(call, signals, cancel, together, steps, data_converter or default()),
        _Answers(call, mocks or Mocks(), children or {}, data_converter or default()),
        check or _no_fault,
        limit,
        seed,
    )
    report = await exploration.run()
    if report.broken is not None:
        raise AssertionError(f"workflow {call.name!r} breaks: {report}") from report.broken.broken
    return report


def _plan(
    call: WorkflowCall[Any, Any],
    signals: Sequence[SignalCall[Any]],
    cancel: bool,
    together: bool,
    steps: int,
    converter: DataConverter,
) -> Plan:
    sent: list[tuple[SignalCall[Any], WorkflowExecutionSignaled]] = []
    for one in signals:
        if not isinstance(one, SignalCall):
            raise TypeError(f"signals takes calls of signals, such as decide(yes), and not {one!r}")
        input = converter.to_payloads(one.args, path=f"signal {one.name}")
        sent.append((one, WorkflowExecutionSignaled(name=one.name, input=input)))
    started = WorkflowExecutionStarted(
        workflow_id="explored",
        workflow_type=call.name,
        task_queue=call.options.task_queue or "default",
        input=converter.to_payloads(call.args, path=f"{call.name} input"),
        seed=1,
        flags=IN_FORCE,
    )
    return Plan(call.definition, started, converter, sent, cancel, together, steps, {}, None)


def _no_fault(outcome: Outcome) -> None:
    if outcome.kind in ("blocked", "stuck"):
        assert outcome.error is not None
        raise outcome.error


# ---------------------------------------------------------------------- what activities and children answer


class _Answers:
    """What comes of what a workflow asks for, found out once for the same arguments."""

    def __init__(
        self,
        call: WorkflowCall[Any, Any],
        mocks: Mocks,
        children: Mapping[Workflow[Any, ..., Any], Any],
        converter: DataConverter,
    ) -> None:
        self.known: dict[Any, Answer] = {}
        self._call = call
        self._mocks = mocks
        self._children = {one.definition.name: answer for one, answer in children.items()}
        self._converter = converter

    async def find(self, asked: Asked) -> None:
        """Find one out."""
        if isinstance(asked, ActivityTaskScheduled):
            self.known[key_of(asked)] = await self._activity(asked)
        else:
            self.known[key_of(asked)] = await self._child(asked.workflow_type, asked.input)

    async def _child(self, name: str, input: Any) -> Answer:
        if name not in self._children:
            raise ValueError(
                f"the workflow starts child {name!r}, and nobody says what that returns: "
                f"explore(..., children={{{name}: value}})"
            )
        answer = self._children[name]
        if isinstance(answer, BaseException):
            return self._failed(answer, None)
        if callable(answer):
            try:
                answer = answer(*self._converter.from_payloads(input))
            except Exception as error:
                return self._failed(error, None)
        return self._returned(await answer if inspect.isawaitable(answer) else answer)

    async def _activity(self, asked: ActivityTaskScheduled) -> Answer:
        served = {one.name: one for one in activities_for(asked.task_queue, self._call.definition, ())}
        served |= {one.name: one for one in self._mocks.activities}
        found = served.get(asked.activity_type)
        if found is None:
            raise ValueError(
                f"no activity {asked.activity_type!r} is defined here; mock it, or import its module"
            )
        for attempt in range(1, ATTEMPTS + 1):
            types = found.definition.parameters.types[: len(asked.input)]
            args = self._converter.from_payloads(asked.input, types)
            try:
                return self._returned(await self._attempt(found, args))
            except Exception as error:
                failure = self._converter.to_failure(error)
                decided = decide(asked.retry_policy, attempt, failure, now=0, close_by=None, jitter=0)
                if isinstance(decided, RetryState):
                    return self._failed(error, decided.value)
        raise ValueError(
            f"activity {asked.activity_type!r} would be tried for ever; give it a retry policy with an end, or a mock"
        )

    async def _attempt(self, found: Activity[..., Any], args: Sequence[Any]) -> Any:
        mock = self._mocks.of(found.name)
        if mock is not None:
            return await mock.call(tuple(args))
        result = ActivityEnvironment().run(found, *args)
        return await result if inspect.isawaitable(result) else result

    def _returned(self, value: Any) -> Answer:
        return Answer(self._converter.to_payload(value), shown=f"returns {value!r}")

    def _failed(self, error: BaseException, state: str | None) -> Answer:
        failure = self._converter.to_failure(error)
        return Answer(None, failure, state, f"fails with {type(error).__name__}: {error}".rstrip(": "))


# ---------------------------------------------------------------------- schedules


class _Chosen:
    """Chooses as it is told, and behind that by `further`; remembers what it chose, and of how many."""

    def __init__(self, told: Sequence[int], further: Choose) -> None:
        self._told = told
        self._further = further
        self.made: list[tuple[int, int]] = []

    def __call__(self, count: int, joins: bool, /) -> int:
        at = len(self.made)
        # Told numbers may be of another schedule, which had more to choose from here.
        chosen = min(self._told[at], count - 1) if at < len(self._told) else self._further(count, joins)
        self.made.append((chosen, count))
        return chosen

    def rewind(self) -> None:
        """Begin again, and choose the same as far as it came."""
        self._told, self.made = self.numbers, []

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(chosen for chosen, _ in self.made)


def _expected(_count: int, _joins: bool, /) -> int:
    return 0


class _Exploration:
    """All schedules of one workflow that are run."""

    def __init__(self, plan: Plan, answers: _Answers, check: Check, limit: int, seed: int | str) -> None:
        self._answers = answers
        self._plan = replace(plan, answers=answers.known, guard=new_guard("error"))
        self._check = check
        self._limit = limit
        self._chance = Random(seed)
        self._played = 0
        self._counts: Counter[str] = Counter()
        self._best: dict[str, tuple[tuple[Any, ...], tuple[int, ...], Outcome]] = {}
        self._seen: set[tuple[int, ...]] = set()
        self._report = ExploreReport(seed=seed)

    async def run(self) -> ExploreReport:
        """Run them, all or some."""
        report = self._report
        report.exhaustive = await self._all()
        if not report.exhaustive:
            await self._some()
        report.schedules = len(self._seen)
        report.outcomes = [replace(one, count=self._counts[key]) for key, (_, _, one) in self._best.items()]
        report.outcomes.sort(key=lambda one: -one.count)
        broken = [one for one in self._best.values() if one[2].broken is not None]
        if broken:
            _, numbers, outcome = min(broken, key=lambda one: one[0])
            if not report.exhaustive:
                numbers = await self._shrunk(numbers, outcome)
            report.broken = await self._play(_Chosen(numbers, _expected), trace=True)
        return report

    async def _all(self) -> bool:
        """Go through the tree, as far as there is room; whether that was all of it."""
        told: list[int] = []
        while len(self._seen) < self._limit:
            made = await self._try(told, _expected)
            while made and made[-1][0] + 1 >= made[-1][1]:
                made.pop()
            if not made:
                return True
            told = [chosen for chosen, _ in made]
            told[-1] += 1
        return False

    async def _some(self) -> None:
        """Draw schedules; some are drawn twice."""

        def draw(count: int, joins: bool, /) -> int:
            # Most things come by themselves.
            return 0 if joins and self._chance.random() < 0.7 else self._chance.randrange(count)

        for _ in range(self._limit):
            await self._try((), draw)

    async def _try(self, told: Sequence[int], further: Choose) -> list[tuple[int, int]]:
        """Run a schedule, and keep what is new about it; return its choices."""
        choose = _Chosen(told, further)
        outcome = await self._play(choose)
        numbers = choose.numbers
        if numbers not in self._seen:
            self._seen.add(numbers)
            key = f"{outcome}{outcome.broken!r}"
            self._counts[key] += 1
            size = _size(outcome, numbers)
            if key not in self._best or size < self._best[key][0]:
                self._best[key] = size, numbers, outcome
        return choose.made

    async def _play(self, choose: _Chosen, *, trace: bool = False) -> Outcome:
        self._played += 1
        if self._played % BREATH == 0:
            await asyncio.sleep(0)
        if self._played == GUARDED:
            self._plan = replace(self._plan, guard=None)
        while True:
            ended = Play(self._plan, choose, trace=trace).run()
            if not isinstance(ended, Unanswered):
                return self._checked(ended)
            await self._answers.find(ended.asked)
            choose.rewind()

    def _checked(self, ended: Ended) -> Outcome:
        outcome = Outcome(ended.kind, ended.error, ended.arrived, ended.steps, ended.events, ended.value)
        try:
            self._check(outcome)
        except Exception as broken:
            return replace(outcome, broken=broken)
        return outcome

    async def _shrunk(self, numbers: tuple[int, ...], outcome: Outcome) -> tuple[int, ...]:
        """Return a schedule that breaks in the same way, and is as short as can be found by leaving out and expecting."""
        kind = type(outcome.broken)
        left, again = SHRINKING, True
        while again and left > 0:
            again = False
            for candidate in _simpler(numbers):
                left -= 1
                if left <= 0:
                    break
                choose = _Chosen(candidate, _expected)
                found = await self._play(choose)
                if type(found.broken) is kind and _size(found, choose.numbers) < _size(outcome, numbers):
                    numbers, outcome, again = choose.numbers, found, True
                    break
        return numbers


def _simpler(numbers: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield what may be a simpler schedule: a choice less, one that is as expected, one that is less unexpected."""
    for at in range(len(numbers)):
        yield (*numbers[:at], *numbers[at + 1 :])
    for at, number in enumerate(numbers):
        for simpler in sorted({0, number - 1}) if number else ():
            yield (*numbers[:at], simpler, *numbers[at + 1 :])


def _size(outcome: Outcome, numbers: tuple[int, ...]) -> tuple[Any, ...]:
    return len(outcome.steps), sum(1 for one in numbers if one), numbers
