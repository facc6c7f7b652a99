"""`explore`: all orders in which things may come, and the shortest that breaks a workflow."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from typing import Any

import pytest

from durable import ActivityCancellationType, RetryPolicy, Signal, activity, workflow
from durable.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from durable.testing import Outcome, WorkflowEnvironment, explore
from durable.testing._mocks import Mocks

ORDINARY = 1000 if os.environ.get("DURABLE_SWEEP") == "full" else 100
"""Ordinary runs of a workflow with a hidden bug, none of which shows it."""

stop = Signal[None]("explore_stop")


@activity.defn(name="explore_number")
async def number(n: int) -> int:
    return n


@activity.defn(name="explore_thread")
def threaded(n: int) -> int:
    return n * 10


@workflow.defn(name="explore_fan")
async def fan(width: int) -> list[int]:
    done: list[int] = []

    async def one(n: int) -> None:
        done.append(await number(n))

    await asyncio.gather(*(one(n) for n in range(width)))
    return done


def partitions(left: frozenset[int]) -> set[tuple[tuple[int, ...], ...]]:
    """All ways to take things in groups, one group after the other; brute force."""
    if not left:
        return {()}
    return {
        (group, *rest)
        for size in range(1, len(left) + 1)
        for group in itertools.combinations(sorted(left), size)
        for rest in partitions(left - set(group))
    }


@pytest.mark.parametrize("width", range(1, 7))
async def test_all_orders_of_completions(width: int) -> None:
    report = await explore(fan(width), together=False)
    assert report.exhaustive
    orders = list(itertools.permutations(range(width)))
    assert report.schedules == len(orders)
    assert sorted(tuple(one.value) for one in report.outcomes) == orders
    assert {one.count for one in report.outcomes} == {1}


@pytest.mark.parametrize("width", [2, 3, 4])
async def test_all_ways_to_come_together(width: int) -> None:
    seen: list[tuple[tuple[int, ...], ...]] = []

    def note(outcome: Outcome) -> None:
        groups: list[list[int]] = []
        for step in outcome.steps[1:]:
            found = re.fullmatch(r"activity explore_number\((\d)\) returns \d", step.what)
            assert found is not None
            if not step.joins:
                groups.append([])
            groups[-1].append(int(found[1]))
        seen.append(tuple(map(tuple, groups)))

    report = await explore(fan(width), check=note)
    assert report.exhaustive
    assert len(seen) == report.schedules
    assert set(seen) == partitions(frozenset(range(width)))
    assert len(set(seen)) == len(seen)


# ---- a bug that only some orders show


class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = False

    @workflow.signal(name="add")
    def add(self, item: str) -> None:
        self.items.append(item)

    @workflow.signal(name="close")
    def close(self) -> None:
        self.closed = True


@activity.defn(name="explore_charge")
async def charge(items: list[str]) -> int:
    return len(items)


@workflow.defn(name="explore_hasty")
class Hasty(Basket):
    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.closed)
        items = list(self.items)
        await charge(items)
        return items  # and what came while it was charged?


@workflow.defn(name="explore_careful")
class Careful(Basket):
    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.closed)
        paid = 0
        while paid < len(self.items):
            paid += await charge(self.items[paid:])
        return self.items


SENT = [Hasty.add("apple"), Hasty.add("pear"), Hasty.close()]


def nothing_is_lost(outcome: Outcome) -> None:
    added = {one.args[0] for one in outcome.arrived if one.name == "add"}
    lost = added - set(outcome.result)
    assert not lost, f"lost: {', '.join(sorted(lost))}"


SHORTEST = """\
The shortest that breaks:
   1. the workflow starts
   2. signal close() arrives
        asks for activity explore_charge([]), at FILE:LINE
   3. signal add('apple') arrives
   4. activity explore_charge([]) returns 0
  = completed with []

AssertionError: lost: apple
"""


async def test_a_hidden_race_is_found_and_shown() -> None:
    with pytest.raises(AssertionError) as found:
        await explore(Hasty.run(), signals=SENT, check=nothing_is_lost)
    text = str(found.value)
    assert text.startswith("workflow 'explore_hasty' breaks: ")
    assert "all there are:" in text
    where = re.escape(__file__) + r":\d+"
    shortest = re.sub(where, "FILE:LINE", text[text.index("The shortest") :])
    assert f"{shortest}\n".startswith(SHORTEST)
    assert isinstance(found.value.__cause__, AssertionError)


async def test_the_mended_workflow_has_none() -> None:
    signals = [Careful.add("apple"), Careful.add("pear"), Careful.close()]
    report = await explore(Careful.run(), signals=signals, check=nothing_is_lost)
    assert report.exhaustive
    assert report.broken is None
    assert report.schedules == 38


async def test_ordinary_runs_do_not_show_it() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        for n in range(ORDINARY):
            handle = await env.client.start_workflow(Hasty.run(), id=f"basket-{n}")
            for one in SENT:
                await handle.signal(one)
            assert await handle.result() == ["apple", "pear"]


# ---- what may come


@workflow.defn(name="explore_race")
async def race() -> str:
    try:
        return f"got {await asyncio.wait_for(number(1), 10)}"
    except TimeoutError:
        return "too late"


async def test_a_timer_before_behind_and_never_with_a_result() -> None:
    report = await explore(race())
    assert report.results == {"got 1", "too late"}
    assert report.schedules == 2


@workflow.defn(name="explore_timers")
async def timers() -> list[int]:
    done: list[int] = []

    async def one(n: int) -> None:
        await workflow.sleep(n)
        done.append(n)

    await asyncio.gather(one(3), one(1), one(2))
    return done


async def test_timers_fire_as_they_are_due() -> None:
    report = await explore(timers())
    assert [one.value for one in report.outcomes] == [[1, 2, 3]]
    assert report.schedules == 1


@workflow.defn(name="explore_first")
async def first() -> list[int]:
    tasks = {asyncio.ensure_future(number(n)) for n in (1, 2)}  # type: ignore[arg-type]
    got: list[int] = []
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        got.append(done.pop().result())  # the other one, if both have come
    return got


def both(outcome: Outcome) -> None:
    assert len(outcome.result) == 2


async def test_what_only_two_at_once_show() -> None:
    await explore(first(), check=both, together=False)
    with pytest.raises(AssertionError, match="and together with it activity explore_number"):
        await explore(first(), check=both)


@workflow.defn(name="explore_cancelled")
async def cancelled(kind: str) -> str:
    call = number.options(cancellation_type=ActivityCancellationType[kind])
    try:
        return f"returned {await call(1)}"
    except asyncio.CancelledError:
        return "cancelled"


@pytest.mark.parametrize("kind", ["TRY_CANCEL", "ABANDON", "WAIT_CANCELLATION_COMPLETED"])
async def test_a_cancel_at_any_time(kind: str) -> None:
    report = await explore(cancelled(kind), cancel=True)
    assert report.results == {"returned 1", "cancelled"}
    whats = [step.what for one in report.outcomes for step in one.steps]
    assert "the workflow is asked to cancel" in whats
    if kind == "WAIT_CANCELLATION_COMPLETED":
        assert "activity explore_number(1) is cancelled" in whats


@workflow.defn(name="explore_parent")
async def parent() -> list[Any]:
    try:
        return list(await asyncio.gather(fan(2), workflow.execute_local_activity(threaded, 4)))
    except ChildWorkflowError as error:
        return [type(error.cause).__name__]


async def test_children_return_what_the_test_says() -> None:
    calls: list[int] = []

    def answer(width: int) -> list[int]:
        calls.append(width)
        return [7]

    report = await explore(parent(), children={fan: answer})
    assert [one.value for one in report.outcomes] == [[[7], 40]]
    assert calls == [2]
    assert report.schedules > 3
    failing = await explore(parent(), children={fan: ApplicationError("no")})
    assert [one.value for one in failing.outcomes] == [["ApplicationError"]]
    with pytest.raises(ValueError, match=r"nobody says what that returns: explore\(..., children="):
        await explore(parent())


@workflow.defn(name="explore_retried")
async def retried() -> str:
    try:
        return str(await number.options(retry_policy=RetryPolicy(maximum_attempts=3))(1))
    except ActivityError as error:
        return f"failed: {error.cause}"


async def test_activities_are_retried_as_their_policy_says() -> None:
    mocks = Mocks()
    mock = mocks.mock(number).raises(ConnectionError("down"), times=2).returns(5)
    assert (await explore(retried(), mocks=mocks)).results == {"5"}
    assert len(mock.calls) == 3
    mocks.mock(number).raises(ConnectionError("down"))
    (failed,) = (await explore(retried(), mocks=mocks)).results
    assert failed.startswith("failed: ")
    assert "down" in failed


@workflow.defn(name="explore_tried_for_ever")
async def tried_for_ever() -> int:
    return await number(1)


async def test_an_activity_without_an_end_says_so() -> None:
    mocks = Mocks()
    mocks.mock(number).raises(ConnectionError)
    with pytest.raises(ValueError, match="tried for ever"):
        await explore(tried_for_ever(), mocks=mocks)


# ---- faults


@workflow.defn(name="explore_stuck")
class Stuck:
    def __init__(self) -> None:
        self.event = asyncio.Event()

    @workflow.run
    async def run(self) -> str:
        await number(1)
        self.event.clear()  # what was set meanwhile is forgotten
        await self.event.wait()
        return "woken"

    @workflow.signal
    def wake(self) -> None:
        self.event.set()


async def test_a_lost_wake_up_is_a_workflow_that_waits_for_nothing() -> None:
    with pytest.raises(AssertionError) as found:
        await explore(Stuck.run(), signals=[Stuck.wake()])
    assert "stuck: AssertionError: nothing comes any more; it waits in workflow at " in str(found.value)
    assert f"{__file__}:" in str(found.value)
    assert "completed with 'woken'" in str(found.value)


@workflow.defn(name="explore_faulty")
async def faulty() -> float:
    done, _ = await asyncio.wait(
        [asyncio.ensure_future(number(1)), asyncio.ensure_future(workflow.sleep(1))],  # type: ignore[arg-type]
        return_when=asyncio.FIRST_COMPLETED,
    )
    if done.pop().result() is None:
        raise KeyError("nobody has thought of this")
    return 1.0


@workflow.defn(name="explore_clock")
async def clock() -> float:
    return time.time()


async def test_errors_in_the_code_and_forbidden_calls_break() -> None:
    with pytest.raises(AssertionError, match="blocked: KeyError: 'nobody has thought of this'  BREAKS"):
        await explore(faulty())
    with pytest.raises(AssertionError, match=r"time.time\(\) in workflow code"):
        await explore(clock())


@workflow.defn(name="explore_polls")
async def polls() -> None:
    while True:
        await workflow.sleep(1)


@workflow.defn(name="explore_goes_on")
async def goes_on(n: int) -> None:
    await number(n)
    if n < 5:
        workflow.continue_as_new(n + 1)
    raise ApplicationError("enough")


async def test_other_ends() -> None:
    (unfinished,) = (await explore(polls(), steps=20)).outcomes
    assert unfinished.kind == "unfinished"
    assert len(unfinished.steps) == 20
    (continued,) = (await explore(goes_on(1))).outcomes
    assert (continued.kind, continued.result) == ("continued", [2])
    (failed,) = (await explore(goes_on(5))).outcomes
    assert failed.kind == "failed"
    with pytest.raises(ApplicationError, match="enough"):
        _ = failed.result


# ---- too many of them


def never_last_before_first(outcome: Outcome) -> None:
    assert outcome.result.index(8) > 0, "the last one came first"


async def test_chance_finds_what_is_too_much_to_go_through_and_shortens_it() -> None:
    def breaks(seed: int) -> Any:
        return explore(fan(9), check=never_last_before_first, limit=150, seed=seed)

    with pytest.raises(AssertionError) as found:
        await breaks(1)
    text = str(found.value)
    assert "not all there are, drawn with seed 1:" in text
    steps = re.findall(r"^ +\d+\. (.*)$", text, re.MULTILINE)
    assert len(steps) == 10
    assert steps[1] == "activity explore_number(8) returns 8"
    assert [one for one in steps if "together" in one] == []
    assert steps[2:] == [f"activity explore_number({n}) returns {n}" for n in range(8)]
    with pytest.raises(AssertionError) as again:
        await breaks(1)
    assert re.findall(r"^ +\d+\. (.*)$", str(again.value), re.MULTILINE) == steps, (
        "a seed does the same again"
    )


# ---- wrong arguments


async def test_what_is_wrong_is_said_at_once() -> None:
    wrong: Any = explore
    with pytest.raises(TypeError, match="explore\\(\\) takes a call"):
        await wrong(fan)
    with pytest.raises(TypeError, match="signals takes calls of signals"):
        await wrong(fan(1), signals=[stop])
    with pytest.raises(ValueError, match="limit and steps must be at least 1"):
        await wrong(fan(1), limit=0)
    with pytest.raises(TypeError, match="children takes workflows"):
        await wrong(fan(1), children={"fan": 1})


@workflow.defn(name="explore_unknown")
async def unknown() -> None:
    await workflow.execute_activity("explore_nobody")


async def test_an_activity_that_nobody_defines() -> None:
    with pytest.raises(ValueError, match="no activity 'explore_nobody' is defined here"):
        await explore(unknown())
