"""Priorities: who goes first, who gets its share, and what children and activities inherit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import activity, workflow
from durable._engine._asked import FEW
from durable.common import Priority
from durable.exceptions import ActivityError, TimeoutError
from tests.scenarios.rig import PATIENCE, Env, event, events, until

order: list[str] = []
gate = asyncio.Event()
busy = asyncio.Event()


@pytest.fixture(autouse=True)
def fresh() -> None:
    global gate, busy
    gate, busy = asyncio.Event(), asyncio.Event()
    order.clear()


@activity.defn(name="pri.hold")
async def hold() -> None:
    busy.set()
    await gate.wait()


@activity.defn(name="pri.note")
async def note(name: str) -> Priority:
    order.append(name)
    return activity.info().priority


@workflow.defn(name="pri.holds")
async def holds() -> None:
    await hold()


@workflow.defn(name="pri.notes")
async def notes(name: str, count: int) -> None:
    await asyncio.gather(*[note(name) for _ in range(count)])


@workflow.defn(name="pri.steps")
async def steps(name: str, count: int) -> None:
    for _ in range(count):
        await note(name)


@workflow.defn(name="pri.child")
async def child() -> list[Priority]:
    return [workflow.info().priority, await note("child")]


@workflow.defn(name="pri.parent")
async def parent() -> list[Any]:
    own = await note("own")
    said = await note.options(priority=Priority(priority_key=1))("said")
    fair = await note.options(priority=Priority(fairness_key="other", fairness_weight=4))("fair")
    other = await workflow.execute_child_workflow(child, priority=Priority(fairness_key="kid"))
    return [workflow.info().priority, own, said, fair, await child(), other]


def shown(priority: Any) -> tuple[Any, ...]:
    if isinstance(priority, dict):
        return priority["priority_key"], priority["fairness_key"], priority["fairness_weight"]
    return priority.priority_key, priority.fairness_key, priority.fairness_weight


@pytest.mark.temporal("workflow/priorities")
async def test_what_is_inherited(env: Env) -> None:
    async with env.worker(parent, child, note):
        given = Priority(priority_key=2, fairness_key="tenant", fairness_weight=2.5)
        handle = await env.start(parent(), priority=given)
        mine, own, said, fair, kid, other = await handle.result(timeout=PATIENCE)
    assert shown(mine) == shown(own) == (2, "tenant", 2.5)
    assert shown(said) == (1, "tenant", 2.5)
    assert shown(fair) == (2, "other", 4.0)
    assert [shown(one) for one in kid] == [(2, "tenant", 2.5)] * 2
    assert [shown(one) for one in other] == [(2, "kid", 2.5)] * 2
    started = await event(handle, "Started")
    assert (started.priority, started.limits.fairness_key, started.limits.fairness_weight) == (
        2,
        "tenant",
        2.5,
    )
    scheduled = await event(handle, "ActivityScheduled", 1)
    assert (scheduled.priority, scheduled.limits.fairness_key) == (1, "tenant")


@pytest.mark.temporal("workflow/priorities")
async def test_activities_that_wait_go_by_priority(env: Env) -> None:
    async with env.worker(holds, notes, hold, note, max_concurrent_activities=1):
        await env.start(holds())
        await busy.wait()
        handles = [
            await env.start(notes(name, 3), priority=Priority(priority_key=key))
            for name, key in (("last", 5), ("first", 1), ("middle", None))
        ]
        await until("all wait", lambda: _rows(env, handles, 9))
        gate.set()
        for handle in handles:
            await handle.result(timeout=PATIENCE)
    assert order == ["first"] * 3 + ["middle"] * 3 + ["last"] * 3
    for handle, key in zip(handles, (5, 1, 3), strict=True):
        assert (await events(handle))[-2:] == ["ActivityCompleted", "Completed"]
        assert (await event(handle, "Started")).priority == key


async def _rows(env: Env, handles: list[Any], count: int) -> bool:
    rows = [await env.client.store.read_activities(handle.result_run_id) for handle in handles]
    return sum(map(len, rows)) == count


async def test_the_highest_keeps_its_latency_under_overload(plain: Env) -> None:
    """Workflows of the lowest priority keep a worker full; one of the highest goes ahead at each of its steps."""
    env = plain
    async with env.worker(steps, note, max_concurrent_activities=2):
        crowd = [await env.start(steps("low", 40), priority=Priority(priority_key=5)) for _ in range(20)]
        await until("the crowd is at work", lambda: len(order) > 40)
        urgent = await env.start(steps("high", 5), priority=Priority(priority_key=1))
        await urgent.result(timeout=PATIENCE)
        first = order.index("high")
        last = len(order) - order[::-1].index("high")
        between = order[first:last].count("low")
        done = order[:last].count("low")
        assert done < 800, "the crowd was still at work"
        assert between < 400, f"{between} of the crowd's went ahead of five"
        for handle in crowd:
            await handle.result(timeout=PATIENCE)
    assert order.count("low") == 800


@workflow.defn(name="pri.impatient")
async def impatient() -> str:
    try:
        await note.options(schedule_to_start_timeout=0.1)("late")
    except ActivityError as error:
        kind = error.cause.type if isinstance(error.cause, TimeoutError) else None
        return kind.name if kind is not None else repr(error.cause)
    return "it ran"


async def test_what_waits_too_long_for_a_full_worker_is_dropped(env: Env) -> None:
    async with env.worker(holds, impatient, hold, note, max_concurrent_activities=1):
        await env.start(holds())
        await busy.wait()
        handle = await env.start(impatient())
        assert await handle.result(timeout=PATIENCE) == "SCHEDULE_TO_START"
        gate.set()
    assert order == [], "it was never begun"


async def test_a_fairness_key_is_not_kept_waiting_by_another(env: Env) -> None:
    async with env.worker(holds, notes, hold, note, max_concurrent_activities=1):
        await env.start(holds())
        await busy.wait()
        crowd = await env.start(notes("crowd", 60), priority=Priority(fairness_key="crowd"))
        await until("the crowd waits", lambda: _rows(env, [crowd], 60))
        few = await env.start(notes("few", 3), priority=Priority(fairness_key="few"))
        await until("the few wait", lambda: _rows(env, [few], 3))
        gate.set()
        await few.result(timeout=PATIENCE)
        await crowd.result(timeout=PATIENCE)
    # By age the few would be the last three of 63; with lots they are drawn one time in two.
    last = max(place for place, name in enumerate(order) if name == "few")
    assert last < 50, order


async def test_a_step_does_not_wait_behind_all_that_another_run_asked_for(env: Env) -> None:
    async with env.worker(holds, notes, steps, hold, note, max_concurrent_activities=1):
        await env.start(holds())
        await busy.wait()
        crowd = await env.start(notes("crowd", 60))
        await until("the crowd waits", lambda: _rows(env, [crowd], 60))
        few = await env.start(steps("few", 3))
        await until("its first step waits", lambda: _rows(env, [few], 1))
        gate.set()
        await few.result(timeout=PATIENCE)
        await crowd.result(timeout=PATIENCE)
    # By age the first of the few would come behind all; so it comes behind those with which the crowd had few itself.
    assert order.index("few") == FEW, order
    assert order[-1] == "crowd", order


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"priority_key": 0}, ValueError, "priority_key must be from 1"),
        ({"priority_key": 6}, ValueError, "priority_key must be from 1"),
        ({"priority_key": "1"}, TypeError, "priority_key must be a whole number"),
        ({"fairness_key": 1}, TypeError, "fairness_key must be a string"),
        ({"fairness_key": "x" * 65}, ValueError, "at most 64 bytes"),
        ({"fairness_key": "\u00e4" * 33}, ValueError, "at most 64 bytes"),
        ({"fairness_key": "a\nb"}, ValueError, "fairness_key must not contain control characters"),
        ({"fairness_weight": 0}, ValueError, "fairness_weight must be from 0.001 to 1000"),
        ({"fairness_weight": 1001}, ValueError, "fairness_weight must be from 0.001 to 1000"),
        ({"fairness_weight": float("nan")}, ValueError, "fairness_weight must be from 0.001 to 1000"),
        ({"fairness_weight": "1"}, TypeError, "fairness_weight must be a number"),
    ],
)
def test_what_cannot_be_a_priority(given: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Priority(**given)


def test_a_priority_says_nothing_by_default() -> None:
    assert Priority.default == Priority() == Priority(None, None, None)
    assert Priority(1, "a", 2) == Priority(priority_key=1, fairness_key="a", fairness_weight=2)
