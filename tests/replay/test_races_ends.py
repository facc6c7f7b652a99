"""Cancels, children, timeouts and results at the same moment, in each order; see `race_rig`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Signal, activity, workflow
from durable._engine._updates import decode_result
from durable._engine.records import UpdateStage
from durable.exceptions import ApplicationError, ChildWorkflowError, WorkflowAlreadyStartedError
from durable.history import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionStarted,
    Event,
    ExternalWorkflowExecutionSignaled,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionSignaled,
    WorkflowExecutionUpdateAccepted,
)
from durable.workflow import ChildWorkflowCancellationType
from tests.replay.race_rig import (
    CONVERTER,
    RaceLife,
    Races,
    at,
    cancel,
    cancel_again,
    child_ends,
    live,
    result,
    says,
    time_passes,
    updates,
)

RACES = Races()
word: Signal[str] = Signal("word", str)
CANCELLED = WorkflowExecutionCancelRequested


@activity.defn(name="races.number")
async def number(x: int) -> int: ...


@workflow.defn(name="races.child")
async def child() -> str: ...


def kinds(events: list[Event], *wanted: type[Any]) -> list[type[Any]]:
    """Those events, in the order in which they came; of the cancel requests the first."""
    found = [type(one.data) for one in events if isinstance(one.data, wanted)]
    first = found.index(CANCELLED) if CANCELLED in found else len(found)
    return [one for n, one in enumerate(found) if one is not CANCELLED or n == first]


# ---------------------------------------------------------------- a cancel, and what was awaited


@workflow.defn(name="races.sleeps")
async def sleeps() -> list[str]:
    said: list[str] = []
    while len(said) < 3:
        try:
            await asyncio.sleep(5)
            said.append("slept")
        except asyncio.CancelledError:
            said.append("cancelled")
    return said


@RACES.race(
    sleeps,
    happens=[cancel, cancel_again, time_passes, time_passes],
    ways={"before", "between"},
)
def a_cancel_meets_one_await_whatever_was_asked_again(events: list[Event], got: Any, life: RaceLife) -> str:
    names = {TimerFired: "slept", CANCELLED: "cancelled"}
    assert got == [names[one] for one in kinds(events, TimerFired, CANCELLED)][:3]
    return "before" if got[0] == "cancelled" else "between"


@workflow.defn(name="races.listens")
class Listens:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        said: list[str] = []
        while len(said) < 3:
            try:
                await workflow.wait_condition(lambda: bool(self.heard))
                said.append(self.heard.pop(0))
            except asyncio.CancelledError:
                said.append("cancelled")
        return said

    @workflow.signal(name="word")
    def word(self, text: str) -> None:
        self.heard.append(text)


@RACES.race(Listens, happens=[cancel, *says("a", "b", "c")], ways={"first", "behind", "never"})
def a_condition_that_is_true_lets_the_code_go_on_and_the_cancel_meets_its_next_await(
    events: list[Event], got: Any, life: RaceLife
) -> str:
    order = kinds(events, WorkflowExecutionSignaled, CANCELLED)
    texts = iter(life.acknowledged)
    assert got == ["cancelled" if one is CANCELLED else next(texts) for one in order][:3]
    if "cancelled" not in got:
        return "never"
    return "first" if got[0] == "cancelled" else "behind"


@workflow.defn(name="races.child_or_cancel")
async def child_or_cancel(kind: str) -> list[str]:
    """A child is awaited from its start to its end, and something else behind it."""
    said: list[str] = []
    try:
        handle = await child.options(cancellation_type=ChildWorkflowCancellationType[kind]).start()
        said.append("started")
        said.append(await handle)
    except WorkflowAlreadyStartedError:
        said.append("taken")
    except (asyncio.CancelledError, ChildWorkflowError):
        said.append("cancelled")
    try:
        await asyncio.sleep(3)
    except asyncio.CancelledError:
        said.append("cancelled")
    return said


NEWS = {
    ChildWorkflowExecutionStarted: "started",
    ChildWorkflowExecutionCompleted: "child",
    ChildWorkflowExecutionCanceled: "cancelled",
    StartChildWorkflowExecutionFailed: "taken",
    CANCELLED: "cancelled",
}


def _tried_child(events: list[Event]) -> list[str]:
    """What the code sees: news in their order until the child has ended or the cancel has come, then perhaps the cancel."""
    said: list[str] = []
    over = False
    for one in events:
        news = NEWS.get(type(one.data))
        if isinstance(one.data, TimerFired):
            break
        if news is None or (over and not isinstance(one.data, CANCELLED)):
            continue
        said.append(news)
        over = over or news != "started"
    return said


@RACES.race(
    child_or_cancel,
    args=["TRY_CANCEL"],
    happens=[cancel, child_ends, time_passes],
    ways={"taken", "before its start", "before its end", "behind its end", "never"},
)
def a_childs_start_and_end_beside_a_cancel(events: list[Event], got: Any, life: RaceLife) -> str:
    assert got == _tried_child(events)
    return _how(events, got)


def _how(events: list[Event], got: list[str]) -> str:
    if "taken" in got:
        return "taken"
    if at(events, CANCELLED) == len(events) or "cancelled" not in got:
        return "never"
    if got[0] == "cancelled":
        return "before its start"
    return "before its end" if "child" not in got else "behind its end"


@RACES.race(
    child_or_cancel,
    args=["ABANDON"],
    happens=[cancel, child_ends, time_passes],
    ways={"taken", "before its start", "before its end", "behind its end", "never"},
)
def a_child_that_is_abandoned_when_a_cancel_comes(events: list[Event], got: Any, life: RaceLife) -> str:
    assert not life.told_to_cancel
    assert got == _tried_child(events)
    return _how(events, got)


@RACES.race(
    child_or_cancel,
    args=["WAIT_CANCELLATION_COMPLETED"],
    happens=[cancel, child_ends, time_passes],
    ways={"it was cancelled", "it returned", "no cancel"},
)
def a_child_whose_end_is_waited_for_beside_a_cancel(events: list[Event], got: Any, life: RaceLife) -> str:
    """Who has it hears how it ended, whatever it was told; who waits for its start no longer has it."""
    asked, fired = at(events, CANCELLED), at(events, TimerFired)
    started, taken = at(events, ChildWorkflowExecutionStarted), at(events, StartChildWorkflowExecutionFailed)
    returned = at(events, ChildWorkflowExecutionCompleted)
    over = min(returned, at(events, ChildWorkflowExecutionCanceled))
    if taken < len(events):
        expected, over = ["taken"], taken
    elif started < asked:
        expected = ["started", "child" if returned < len(events) else "cancelled"]
    else:
        expected, over = ["cancelled"], len(events)
    assert got == [*expected, *(["cancelled"] if over < asked < fired else [])]
    if over < asked or expected == ["taken"]:
        return "no cancel"
    return "it returned" if returned < len(events) else "it was cancelled"


@workflow.defn(name="races.tells_another")
async def tells_another() -> list[str]:
    said: list[str] = []
    other = workflow.get_external_workflow_handle("other")
    for _ in range(2):
        try:
            await other.signal(word("hello"))
            said.append("told")
        except ApplicationError:
            said.append("gone")
        except asyncio.CancelledError:
            said.append("cancelled")
    return said


@RACES.race(tells_another, happens=[cancel], ways={"told", "gone", "cancelled"})
def a_signal_to_another_workflow_beside_a_cancel(events: list[Event], got: Any, life: RaceLife) -> str:
    said: list[str] = []
    awaited = 0
    for one in events:
        match one.data:
            case SignalExternalWorkflowExecutionInitiated(id=awaited):
                pass
            case ExternalWorkflowExecutionSignaled(id=id) if id == awaited:
                said.append("told")
            case SignalExternalWorkflowExecutionFailed(id=id) if id == awaited:
                said.append("gone")
            case WorkflowExecutionCancelRequested():
                said.append("cancelled")
                awaited = 0
            case _:
                pass
    assert got == said[:2]
    return "cancelled" if "cancelled" in got else str(got[0])


# ---------------------------------------------------------------- results


@workflow.defn(name="races.timeout_of_activity")
async def timeout_of_activity() -> Any:
    try:
        async with asyncio.timeout(5):
            return await workflow.execute_activity(number, 0)
    except TimeoutError:
        await asyncio.sleep(1)
        return "timeout"


@RACES.race(timeout_of_activity, happens=[result, time_passes], ways={"result", "timeout"})
def an_activitys_result_beside_the_timeout_around_it(events: list[Event], got: Any, life: RaceLife) -> str:
    """Whichever was written first; a result that comes behind it is dropped, or is written beside the cancel."""
    done, fired = at(events, ActivityTaskCompleted), at(events, TimerFired)
    assert got == (0 if done < fired else "timeout")
    ends = [one for one in events if isinstance(one.data, ActivityTaskCompleted | ActivityTaskCanceled)]
    assert len(ends) <= 1
    return "result" if done < fired else "timeout"


async def in_order(calls: list[Any]) -> list[int]:
    """Which of these ended when."""
    order: list[int] = []

    async def one(n: int, call: Any) -> None:
        await call
        order.append(n)

    await asyncio.gather(*[one(n, call) for n, call in enumerate(calls)])
    return order


@workflow.defn(name="races.order_of_results")
async def order_of_results() -> list[int]:
    return await in_order([workflow.execute_activity(number, n) for n in range(4)])


@workflow.defn(name="races.order_of_local_results")
async def order_of_local_results() -> list[int]:
    return await in_order([workflow.execute_local_activity(number, n) for n in range(4)])


def _order(events: list[Event]) -> list[int]:
    asked = [one.data.id for one in events if isinstance(one.data, ActivityTaskScheduled)]
    ended = [one.data.id for one in events if isinstance(one.data, ActivityTaskCompleted)]
    return [asked.index(id) for id in ended]


@RACES.race(order_of_results, happens=[result], ways={"as asked for", "in another order"})
def results_reach_the_code_in_the_order_of_the_log(events: list[Event], got: Any, life: RaceLife) -> str:
    assert got == _order(events)
    return "as asked for" if got == [0, 1, 2, 3] else "in another order"


@RACES.race(order_of_local_results, happens=[result], ways={"as asked for", "in another order"})
def results_of_local_activities_reach_the_code_in_the_order_of_the_log(
    events: list[Event], got: Any, life: RaceLife
) -> str:
    assert got == _order(events)
    assert not life.rows, "they have no rows, whoever dies"
    return "as asked for" if got == [0, 1, 2, 3] else "in another order"


# ---------------------------------------------------------------- updates and the first line, updates and the next run


@workflow.defn(name="races.first_line")
class FirstLine:
    """What came in the first task was handled before the first line."""

    @workflow.init
    def __init__(self, name: str) -> None:
        self.seen = [name]

    @workflow.run
    async def run(self, name: str) -> list[str]:
        self.seen.append("first line")
        await workflow.wait_condition(lambda: len(self.seen) >= 6)
        return self.seen

    @workflow.signal(name="word")
    def word(self, text: str) -> None:
        self.seen.append(text)

    @workflow.update
    def update(self) -> int:
        self.seen.append("updated")
        return len(self.seen)


@RACES.race(
    FirstLine,
    args=["init"],
    happens=[*says("a", "b"), *updates("update", "u1", "u2")],
    ways={"all before", "some before", "none before"},
)
def handlers_of_the_first_task_run_before_the_first_line(
    events: list[Event], got: Any, life: RaceLife
) -> str:
    came = [
        (one.task, "updated" if isinstance(one.data, WorkflowExecutionUpdateAccepted) else _text(one))
        for one in events
        if isinstance(one.data, WorkflowExecutionUpdateAccepted | WorkflowExecutionSignaled)
    ]
    early = [text for task, text in came if task == 1]
    assert got == ["init", *early, "first line", *(text for task, text in came if task > 1)]
    assert sorted(got) == ["a", "b", "first line", "init", "updated", "updated"]
    return "all before" if len(early) == 4 else "some before" if early else "none before"


def _text(event: Event) -> str:
    (found,) = CONVERTER.from_payloads(event.data.input, [str])  # type: ignore[attr-defined]
    return str(found)


@workflow.defn(name="races.renews")
class Renews:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(number, 0)
        workflow.continue_as_new()

    @workflow.update
    def quick(self) -> str:
        return "answer"

    @workflow.update
    async def slow(self) -> str:
        await asyncio.sleep(3600)
        return "late"


@RACES.race(
    Renews,
    happens=[result, *updates("quick", "q1", "q2"), *updates("slow", "s1", "s2")],
    ways={"all here", "some move", "refused"},
)
def each_update_beside_a_continue_as_new_has_one_outcome_or_moves(
    events: list[Event], got: Any, life: RaceLife
) -> str:
    assert isinstance(events[-1].data, WorkflowExecutionContinuedAsNew)
    accepted = {
        one.data.message.removeprefix("update:")
        for one in events
        if isinstance(one.data, WorkflowExecutionUpdateAccepted)
    }
    moved = {one.message_id.removeprefix("update:") for one in life.moved}
    assert not accepted & moved
    assert accepted | moved == {*life.acknowledged}, "none is lost, and none is refused: they hold up nothing"
    for message_id, outcome in life.outcomes.items():
        id = message_id.removeprefix("update:")
        if id in moved:
            continue
        assert outcome.stage is UpdateStage.COMPLETED
        told = decode_result(outcome.data)
        assert (told.failure is None) == id.startswith("q"), "an accepted one that had not ended is told so"
    if len(life.acknowledged) < 4:
        return "refused"
    return "some move" if moved else "all here"


# ---------------------------------------------------------------- all of them


@pytest.mark.temporal("workflow/completion_order")
@pytest.mark.parametrize("name", RACES)
def test_any_interleaving_has_one_legal_outcome_and_replays(name: str) -> None:
    live(RACES[name])
