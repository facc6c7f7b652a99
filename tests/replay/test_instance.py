"""One run's code, without storage, worker or clock: inputs in, commands out."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from durable import RetryPolicy, Signal, activity, workflow
from durable._engine._activities import idempotency_key
from durable._replay import _turns
from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.common import ActivityCancellationType
from durable.converter import default
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    NondeterminismError,
    SpinError,
    WorkflowQueryFailedError,
)
from durable.history import (
    IN_FORCE,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ApplicationFailure,
    CommandEvent,
    Event,
    EventData,
    Failure,
    Input,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)

CONVERTER = default()
SECOND = 1_000_000
BEGIN = 1_700_000_000 * SECOND

go = Signal("go", str)


def payloads(*values: Any) -> Any:
    return CONVERTER.to_payloads(values, path="test")


def signal(name: str, *values: Any) -> WorkflowExecutionSignaled:
    return WorkflowExecutionSignaled(name=name, input=payloads(*values))


def done(id: int, value: Any = 0) -> ActivityTaskCompleted:
    return ActivityTaskCompleted(id=id, result=payloads(value)[0])


def failed(id: int, kind: str = "E") -> ActivityTaskFailed:
    return ActivityTaskFailed(id=id, failure=Failure("boom", info=ApplicationFailure(kind)))


CANCEL = WorkflowExecutionCancelRequested()


class Rig:
    """An instance, the log of what it was told and answered, and the notes it made."""

    alive: list[Instance] = []  # noqa: RUF012

    def __init__(
        self, definition: Any, *args: Any, seed: int = 7, run_id: str = "run-1", flags: int = IN_FORCE
    ) -> None:
        self.definition = getattr(definition, "definition", None) or definition.run.definition
        self.run_id = run_id
        self.notes: list[str] = []
        self.log: list[Event] = []
        self.task = 0
        self.now = BEGIN
        self.code = self.fresh()
        self.begin = WorkflowExecutionStarted(
            workflow_id="w",
            workflow_type=self.definition.name,
            task_queue="q",
            input=payloads(*args),
            seed=seed,
            flags=flags,
        )

    def fresh(self, *, trace: bool = False, definition: Any = None) -> Instance:
        found = definition or self.definition
        code = Instance(
            found,
            self.run_id,
            CONVERTER,
            namespace="n",
            note=lambda text, error: self.notes.append(text),
            trace=trace,
        )
        self.alive.append(code)
        return code

    def start(self, *more: Input) -> list[CommandEvent]:
        return self.tell(self.begin, *more)

    def tell(self, *inputs: Input, after: float = 0) -> list[CommandEvent]:
        """Run a task with these inputs; what it asks for goes to the log."""
        self.now += int(after * SECOND)
        self.task += 1
        events = [self._append(data) for data in inputs]
        with Turns() as turns:
            commands = self.code.activate(turns, events, replaying=False)
        for command in commands:
            self._append(command)
        return commands

    def _append(self, data: EventData) -> Event:
        event = Event(len(self.log) + 1, self.task, self.now, data)
        self.log.append(event)
        return event

    def query(self, name: str, *args: Any) -> Any:
        with Turns() as turns:
            return CONVERTER.from_payload(self.code.query(turns, name, payloads(*args)), Any, path="answer")

    def replay(
        self, definition: Any = None, *, strict: bool = True, warn: Any = None
    ) -> list[CommandEvent] | None:
        """The whole log through fresh code, of this definition or another."""
        found = None if definition is None else definition.definition
        code = self.fresh(definition=found)
        with Turns() as turns:
            return replay(
                code,
                turns,
                self.log,
                rebuild=lambda: self.fresh(trace=True, definition=found),
                strict=strict,
                warn=warn or (lambda text: None),
            )


@pytest.fixture(autouse=True)
def _put_away() -> Iterator[None]:
    yield
    while Rig.alive:
        Rig.alive.pop().evict()


def names(commands: list[CommandEvent]) -> list[str]:
    return [type(c).__name__.replace("WorkflowExecution", "").replace("ActivityTask", "") for c in commands]


def result(commands: list[CommandEvent]) -> Any:
    closing = commands[-1]
    assert isinstance(closing, WorkflowExecutionCompleted), closing
    return CONVERTER.from_payload(closing.result, Any, path="result")


@activity.defn(name="instance_act")
async def act(x: int) -> int:
    return x


def cancelled_by(kind: ActivityCancellationType) -> Any:
    return act.options(cancellation_type=kind)


# ---------------------------------------------------------------- the plain way


@workflow.defn(name="instance_plain")
async def plain(x: int) -> int:
    a = await act(x)
    await workflow.sleep(5)
    return a + await act(a)


def test_commands_follow_inputs_and_replay() -> None:
    rig = Rig(plain, 1)
    (asked,) = rig.start()
    assert isinstance(asked, ActivityTaskScheduled)
    assert (asked.id, asked.activity_id, asked.activity_type, asked.task_queue) == (
        1,
        "1",
        "instance_act",
        "q",
    )
    assert rig.tell(done(1, 2)) == [TimerStarted(id=2, duration=5 * SECOND)]
    assert names(rig.tell(TimerFired(id=2), after=5)) == ["Scheduled"]
    assert result(rig.tell(done(3, 20))) == 22
    assert rig.replay() is None


def test_the_same_inputs_give_the_same_bytes_and_keys() -> None:
    one, two = Rig(plain, 1), Rig(plain, 1)
    (a,), (b,) = one.start(), two.start()
    assert a == b
    assert isinstance(a, ActivityTaskScheduled)
    assert isinstance(b, ActivityTaskScheduled)
    assert idempotency_key("r", a) == idempotency_key("r", b)


def test_a_task_that_was_not_answered_is_live_on_replay() -> None:
    rig = Rig(plain, 1)
    rig.start()
    rig.tell(done(1, 2))
    rig.log.pop()
    found = rig.replay()
    assert found is not None
    assert names(found) == ["TimerStarted"]


@workflow.defn(name="instance_clock")
async def clock() -> list[Any]:
    a = workflow.now()
    await workflow.sleep(5)
    b = workflow.now()
    return [a.isoformat(), (b - a).total_seconds(), str(workflow.uuid4()), workflow.random().random()]


def test_time_and_chance_are_the_logs() -> None:
    found = []
    for _ in range(2):
        rig = Rig(clock)
        rig.start()
        found.append(result(rig.tell(TimerFired(id=1), after=6.5)))
    assert found[0] == found[1]
    assert found[0][:2] == ["2023-11-14T22:13:20+00:00", 6.5]
    other = Rig(clock, seed=8)
    other.start()
    assert result(other.tell(TimerFired(id=1), after=6.5))[2:] != found[0][2:]


def test_an_answer_to_what_was_never_asked_is_told() -> None:
    rig = Rig(plain, 1)
    rig.start()
    with pytest.raises(NondeterminismError, match="command 9"):
        rig.tell(done(9))


def test_an_answer_comes_once() -> None:
    rig = Rig(plain, 1)
    rig.start()
    rig.tell(done(1, 1))
    with pytest.raises(NondeterminismError, match="command 1"):
        rig.tell(done(1, 1))


# ---------------------------------------------------------------- asked for and taken back in one task


@workflow.defn(name="instance_elided")
async def elided(what: str) -> str:
    async def wait() -> None:
        if what == "activity":
            await act(1)
        elif what == "waited for":
            await cancelled_by(ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)(1)
        elif what == "sleep":
            await workflow.sleep(5)
        elif what == "loop timer":
            await asyncio.sleep(5)
        else:
            async with asyncio.timeout(5):
                await go.receive()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await act(2)
    return "done"


@pytest.mark.parametrize("what", ["activity", "waited for", "sleep", "loop timer", "timeout"])
def test_what_is_taken_back_in_its_own_task_was_never_asked_for(what: str) -> None:
    rig = Rig(elided, what)
    (only,) = rig.start()
    assert isinstance(only, ActivityTaskScheduled)
    assert only.id == 2  # its number is not given again
    assert result(rig.tell(done(2))) == "done"
    rig.replay()


# ---------------------------------------------------------------- cancelling activities


@workflow.defn(name="instance_cancelling")
async def cancelling(kind: str) -> str:
    task = asyncio.create_task(_call(cancelled_by(ActivityCancellationType[kind])))
    await go.receive()
    task.cancel()
    try:
        return f"returned {await task}"
    except asyncio.CancelledError:
        return "cancelled"
    except ActivityError as error:
        return f"failed {error.cause}"


async def _call(what: Any) -> int:
    answer: int = await what(1)
    return answer


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("TRY_CANCEL", ["CancelRequested", "Completed"]),
        ("ABANDON", ["Completed"]),
        ("WAIT_CANCELLATION_COMPLETED", ["CancelRequested"]),
    ],
)
def test_what_a_cancel_asks_for(kind: str, asked: list[str]) -> None:
    rig = Rig(cancelling, kind)
    rig.start()
    assert names(rig.tell(signal("go", "x"))) == asked


@pytest.mark.parametrize(
    ("answer", "says"),
    [(ActivityTaskCanceled(id=1), "cancelled"), (done(1, 5), "returned 5"), (failed(1), "failed E: boom")],
)
def test_an_activity_that_is_waited_for_tells_how_it_ended(answer: Input, says: str) -> None:
    rig = Rig(cancelling, "WAIT_CANCELLATION_COMPLETED")
    rig.start()
    rig.tell(signal("go", "x"))
    assert says in result(rig.tell(answer))
    rig.replay()


@workflow.defn(name="instance_abandoned")
async def abandoned(kind: str) -> str:
    task = asyncio.create_task(_call(cancelled_by(ActivityCancellationType[kind])))
    await asyncio.wait([task], timeout=5)
    task.cancel()
    await go.receive()
    return "end"


@pytest.mark.parametrize("kind", ["TRY_CANCEL", "ABANDON"])
def test_an_outcome_that_comes_after_its_await_left_is_dropped(kind: str) -> None:
    rig = Rig(abandoned, kind)
    rig.start()
    rig.tell(TimerFired(id=1), after=5)
    assert rig.tell(done(2, 4)) == []
    assert result(rig.tell(signal("go", "x"))) == "end"
    rig.replay()


# ---------------------------------------------------------------- cancelling the run


@workflow.defn(name="instance_catches")
async def catches() -> str:
    try:
        await act(1)
    except asyncio.CancelledError:
        await act(2)
        return "tidied"
    return "missed"


def test_a_cancel_before_the_first_step_meets_the_first_await() -> None:
    rig = Rig(catches)
    asked = rig.start(CANCEL)
    # The first activity was asked for and taken back in this very task.
    assert [c.id for c in asked] == [2]
    assert result(rig.tell(done(2))) == "tidied"
    rig.replay()


def test_a_cancel_meets_the_next_await_behind_a_result_that_is_there() -> None:
    rig = Rig(plain, 1)
    rig.start()
    assert names(rig.tell(done(1, 1))) == ["TimerStarted"]  # the engine gives the cancel a task of its own
    assert names(rig.tell(CANCEL)) == ["TimerCanceled", "Canceled"]
    rig.replay()


@workflow.defn(name="instance_swallows")
async def swallows() -> str:
    for number in range(3):
        with contextlib.suppress(asyncio.CancelledError):
            await act(number)
    return "end"


def test_a_cancel_that_is_swallowed_is_swallowed_and_the_next_is_not_delivered() -> None:
    """One `cancel()` on the main task, however many requests there are."""
    rig = Rig(swallows)
    rig.start()
    assert names(rig.tell(CANCEL)) == ["CancelRequested", "Scheduled"]
    assert rig.tell(CANCEL) == []
    rig.tell(done(2))
    assert result(rig.tell(done(3))) == "end"
    rig.replay()


@workflow.defn(name="instance_uncancels")
async def uncancels() -> list[int]:
    task = asyncio.current_task()
    assert task is not None
    found = []
    try:
        await act(1)
    except asyncio.CancelledError:
        found.append(task.cancelling())
        found.append(task.uncancel())
    async with asyncio.timeout(5):
        await act(2)
    return found


def test_uncancel_is_respected() -> None:
    rig = Rig(uncancels)
    rig.start()
    rig.tell(CANCEL)
    assert result(rig.tell(done(3))) == [1, 0]


def test_a_cancel_that_escapes_closes_as_canceled() -> None:
    rig = Rig(plain, 1)
    rig.start()
    assert names(rig.tell(CANCEL)) == ["CancelRequested", "Canceled"]
    rig.replay()


def test_an_activity_that_was_cancelled_by_others_is_not_a_cancelled_workflow() -> None:
    rig = Rig(plain, 1)
    rig.start()
    assert names(rig.tell(ActivityTaskCanceled(id=1))) == ["Failed"]


# ---------------------------------------------------------------- failing


@workflow.defn(name="instance_raises", failure_exception_types=[LookupError])
async def raises(what: str) -> str:
    errors: dict[str, BaseException] = {
        "application": ApplicationError("no"),
        "timeout": TimeoutError("late"),
        "listed": KeyError("k"),
        "bug": ValueError("bug"),
        "group of failures": BaseExceptionGroup("g", [ApplicationError("a"), KeyError("k")]),
        "group in a group": BaseExceptionGroup(
            "g", [BaseExceptionGroup("h", [TimeoutError()]), ApplicationError("a")]
        ),
        "group with a bug": BaseExceptionGroup(
            "g", [ApplicationError("a"), BaseExceptionGroup("h", [ValueError("bug")])]
        ),
        "exit": SystemExit(3),
    }
    raise errors[what]


@pytest.mark.parametrize(
    "what", ["application", "timeout", "listed", "group of failures", "group in a group"]
)
def test_a_failure_closes_the_run(what: str) -> None:
    (closing,) = Rig(raises, what).start()
    assert isinstance(closing, WorkflowExecutionFailed)


@pytest.mark.parametrize(
    ("what", "kind"), [("bug", ValueError), ("group with a bug", BaseExceptionGroup), ("exit", SystemExit)]
)
def test_anything_else_blocks_the_task(what: str, kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        Rig(raises, what).start()


@workflow.defn(name="instance_closes")
async def closes() -> str:
    asyncio.create_task(_forever())  # noqa: RUF006
    return "end"


async def _forever() -> None:
    while True:
        await act(1)


def test_a_run_closes_once_and_asks_for_nothing_behind_it() -> None:
    rig = Rig(closes)
    assert names(rig.start()) == ["Scheduled", "Completed"]
    again = rig.tell(CANCEL)
    assert names(again) == ["Completed"]
    assert rig.code.closing


def test_a_close_that_was_put_off_over_a_cancel_replays() -> None:
    rig = Rig(closes)
    rig.start()
    rig.log.pop()  # the engine wrote the close behind the cancel
    rig.tell(CANCEL)
    assert [type(event.data).__name__ for event in rig.log[-2:]] == [
        "WorkflowExecutionCancelRequested",
        "WorkflowExecutionCompleted",
    ]
    assert rig.replay() is None


def test_a_close_that_is_not_there_and_no_cancel_behind_it_does_not_replay() -> None:
    rig = Rig(plain, 1)
    rig.start()
    rig.tell(done(1, 1))

    @workflow.defn(name="instance_plain")
    async def shorter(x: int) -> int:
        return await act(x)

    with pytest.raises(NondeterminismError):
        rig.replay(shorter)


# ---------------------------------------------------------------- conditions


@workflow.defn(name="instance_conditions")
async def conditions() -> list[str]:
    order: list[str] = []
    state = {"n": 0}

    async def waiter(name: str, least: int) -> None:
        await workflow.wait_condition(lambda: state["n"] >= least)
        order.append(name)
        state["n"] += 1

    tasks = [
        asyncio.create_task(waiter(name, least)) for name, least in (("c", 3), ("a", 1), ("a2", 1), ("b", 2))
    ]
    await go.receive()
    state["n"] = 1
    await asyncio.gather(*tasks)
    return order


def test_conditions_are_looked_at_in_the_order_they_were_awaited_until_none_holds() -> None:
    rig = Rig(conditions)
    assert rig.start() == []
    assert result(rig.tell(signal("go", "x"))) == ["a", "a2", "c", "b"]
    rig.replay()


@workflow.defn(name="instance_bad_condition")
async def bad_condition() -> None:
    await workflow.wait_condition(lambda: 1 // 0)  # type: ignore[arg-type,return-value]


def test_a_condition_that_raises_blocks_the_task() -> None:
    with pytest.raises(ZeroDivisionError):
        Rig(bad_condition).start()


@workflow.defn(name="instance_condition_holds")
async def condition_holds(timeout: float | None) -> list[str]:
    order: list[str] = []

    async def beside() -> None:
        await asyncio.sleep(0)
        order.append("beside")

    task = asyncio.create_task(beside())
    await workflow.wait_condition(lambda: True, timeout=timeout)
    order.append("behind")
    await task
    await act(1)
    return order


@pytest.mark.parametrize("timeout", [None, 0, 5])
@pytest.mark.parametrize("flags", [0, IN_FORCE])
def test_a_condition_that_holds_lets_what_is_ready_run_first(timeout: float | None, flags: int) -> None:
    """Unless nothing is to be waited for; runs of older releases did not let it."""
    rig = Rig(condition_holds, timeout, flags=flags)
    (asked,) = rig.start()
    assert names([asked]) == ["Scheduled"]
    assert result(rig.tell(done(asked.id))) == (
        ["beside", "behind"] if flags and timeout != 0 else ["behind", "beside"]
    )
    rig.replay()


@workflow.defn(name="instance_condition_for_ever")
async def condition_for_ever() -> None:
    while True:
        await workflow.wait_condition(lambda: True)


def test_waiting_for_ever_for_what_is_true_is_a_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "TURN_PASSES", 1000)
    with pytest.raises(SpinError, match=r"waited 1,000 times for what is true already.*test_instance\.py"):
        Rig(condition_for_ever).start()


@workflow.defn(name="instance_condition_fails")
async def condition_fails() -> str:
    def broken() -> bool:
        raise ApplicationError("on purpose")

    try:
        await workflow.wait_condition(broken)
    except ApplicationError as error:
        return error.message
    return ""


def test_what_a_condition_raises_reaches_whoever_waits_for_it() -> None:
    assert result(Rig(condition_fails).start()) == "on purpose"


# ---------------------------------------------------------------- queries


@workflow.defn(name="instance_asked")
class Asked:
    def __init__(self) -> None:
        self.n = 0

    @workflow.run
    async def run(self) -> int:
        while True:
            self.n += len(await go.receive())

    @workflow.query
    def count(self) -> int:
        return self.n

    @workflow.query
    def add(self, a: int, b: int) -> int:
        return a + b

    @workflow.query
    def wrong(self, what: str) -> Any:
        ways: dict[str, Callable[[], Any]] = {
            "random": lambda: workflow.random().random(),
            "uuid4": workflow.uuid4,
            "activity": lambda: act(1).start(),
            "timer": lambda: asyncio.get_running_loop().call_later(1, print),
            "task": lambda: asyncio.get_running_loop().call_soon(print),
            "set_handler": lambda: workflow.set_query_handler("x", lambda: 1),
            "raise": lambda: 1 // 0,
        }
        return ways[what]()


def test_a_query_sees_the_state_and_changes_nothing() -> None:
    rig = Rig(Asked)
    rig.start()
    rig.tell(signal("go", "abc"))
    assert rig.query("count") == 3
    assert rig.query("add", 1, 2) == 3
    rig.tell(signal("go", "de"))
    assert rig.query("count") == 5
    rig.replay()


@pytest.mark.parametrize("what", ["random", "uuid4", "activity", "timer", "task", "set_handler", "raise"])
def test_a_query_that_would_change_something_fails_alone(what: str) -> None:
    rig = Rig(Asked)
    rig.start()
    with pytest.raises(WorkflowQueryFailedError) as caught:
        rig.query("wrong", what)
    if what in ("random", "uuid4", "activity", "set_handler"):
        assert "ReadOnlyContextError" in str(caught.value)
    # What was to be woken may have been half woken: such an instance is made anew.
    assert rig.code.spoiled is (what == "task")
    if rig.code.spoiled:
        rig.code = rig.fresh()
        with Turns() as turns:
            replay(rig.code, turns, rig.log, rebuild=rig.fresh)
    assert rig.tell(signal("go", "abc")) == []
    assert rig.query("count") == 3


@pytest.mark.parametrize(
    ("name", "args"), [("nosuch", ()), ("count", (1,)), ("add", (1,)), ("add", ("a", "b"))]
)
def test_a_query_that_does_not_fit_is_refused(name: str, args: tuple[Any, ...]) -> None:
    rig = Rig(Asked)
    rig.start()
    with pytest.raises(WorkflowQueryFailedError):
        rig.query(name, *args)


def test_a_closed_run_still_answers() -> None:
    rig = Rig(Asked)
    rig.start()
    assert names(rig.tell(CANCEL)) == ["Canceled"]
    assert rig.query("count") == 0


# ---------------------------------------------------------------- what changed under a running workflow


@activity.defn(name="instance_other", retry_policy=RetryPolicy(maximum_attempts=1))
async def other(x: int) -> int:
    return x


@workflow.defn(name="instance_steps")
async def steps(x: int) -> int:
    a, b = await asyncio.gather(act(x), other(x))
    await workflow.sleep(3)
    return a + b


@workflow.defn(name="instance_steps")
async def swapped(x: int) -> int:
    b, a = await asyncio.gather(other(x), act(x))
    await workflow.sleep(3)
    return a + b


@workflow.defn(name="instance_steps")
async def removed(x: int) -> int:
    a = await act(x)
    await workflow.sleep(3)
    return a


@workflow.defn(name="instance_steps")
async def inserted(x: int) -> int:
    a, b, c = await asyncio.gather(act(x), other(x), act(x))
    await workflow.sleep(3)
    return a + b + c


@activity.defn(name="instance_renamed")
async def renamed_act(x: int) -> int:
    return x


@workflow.defn(name="instance_steps")
async def renamed(x: int) -> int:
    a, b = await asyncio.gather(renamed_act(x), other(x))
    await workflow.sleep(3)
    return a + b


@workflow.defn(name="instance_steps")
async def changed(x: int) -> int:
    a, b = await asyncio.gather(act(x + 1), other(x))
    await workflow.sleep(3)
    return a + b


@workflow.defn(name="instance_steps")
async def shorter_sleep(x: int) -> int:
    a, b = await asyncio.gather(
        act.options(start_to_close_timeout=9, retry_policy=RetryPolicy(maximum_attempts=9))(x), other(x)
    )
    await workflow.sleep(1, summary="shorter")
    return a + b


def recorded() -> Rig:
    rig = Rig(steps, 1)
    rig.start()
    rig.tell(done(1, 1), done(2, 2))
    rig.tell(TimerFired(id=3), after=3)
    return rig


TITLE = "workflow 'instance_steps' (FILE), run run-1: task 1 does not replay\n"
LAST = "\nDeploy code that takes the recorded steps again, and the run goes on from where it is."

REPORTS: dict[str, tuple[Any, str]] = {
    "swapped": (
        swapped,
        """\
  history recorded                        | the code now wants
> 2: ActivityTaskScheduled instance_act   | ActivityTaskScheduled instance_other
                                          |    at FILE
  3: ActivityTaskScheduled instance_other | ActivityTaskScheduled instance_act""",
    ),
    "removed": (
        removed,
        """\
  history recorded                        | the code now wants
  2: ActivityTaskScheduled instance_act   | ActivityTaskScheduled instance_act
> 3: ActivityTaskScheduled instance_other | (nothing)
                                          |    it waits at FILE""",
    ),
    "inserted": (
        inserted,
        """\
  history recorded                        | the code now wants
  2: ActivityTaskScheduled instance_act   | ActivityTaskScheduled instance_act
  3: ActivityTaskScheduled instance_other | ActivityTaskScheduled instance_other
> (nothing)                               | ActivityTaskScheduled instance_act
                                          |    at FILE""",
    ),
    "renamed": (
        renamed,
        """\
  history recorded                        | the code now wants
> 2: ActivityTaskScheduled instance_act   | ActivityTaskScheduled instance_renamed
                                          |    at FILE
  3: ActivityTaskScheduled instance_other | ActivityTaskScheduled instance_other""",
    ),
}


@pytest.mark.parametrize(("mutant", "says"), REPORTS.values(), ids=REPORTS.keys())
def test_the_report_shows_both_sides(mutant: Any, says: str) -> None:
    with pytest.raises(NondeterminismError) as caught:
        recorded().replay(mutant)
    # Where this file lies is the machine's.
    told = re.sub(r"(\(| at )\S*test_instance\.py:\d+", r"\1FILE", str(caught.value))
    assert told == TITLE + says + LAST


def test_changed_arguments_are_an_error_when_strict_and_a_warning_else() -> None:
    says = "event 2: activity 'instance_act' is called with other arguments than were recorded"
    with pytest.raises(NondeterminismError, match=says):
        recorded().replay(changed)
    told: list[str] = []
    recorded().replay(changed, strict=False, warn=told.append)
    assert told == [says]


def test_code_that_follows_chance_is_told_so_although_it_does_something_else_when_asked_again() -> None:
    """What it asks for is explained by running it once more, with lines: it may ask for the recorded then."""
    runs = iter((1, 0))

    @workflow.defn(name="instance_steps")
    async def by_chance(x: int) -> int:
        a, b = await asyncio.gather(act(x + next(runs)), other(x))
        await workflow.sleep(3)
        return a + b

    says = "event 2: activity 'instance_act' is called with other arguments than were recorded"
    with pytest.raises(NondeterminismError, match=says):
        recorded().replay(by_chance)


def test_timeouts_policies_durations_and_summaries_may_change() -> None:
    told: list[str] = []
    recorded().replay(shorter_sleep, warn=told.append)
    assert told == []
