"""Waits that are woken, that are not, and that are over: wake-ups, timeouts, evictions and replays."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections import Counter
from datetime import timedelta
from functools import partial
from random import Random
from types import CoroutineType
from typing import Any

import pytest

from durable import RetryPolicy, Signal, WorkflowFailureError, activity, workflow
from durable.exceptions import TerminatedError
from durable.exceptions import TimeoutError as TimedOutError
from durable.history import TimerStarted
from durable.testing import WorkflowEnvironment
from tests.crash.judge import judge_replay
from tests.incidents import FACTOR
from tests.scenarios.rig import PATIENCE, Env, events, kind, until

say: Signal[str] = Signal("inc.say", str)
ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name="inc.either")
async def either(seconds: float) -> list[str]:
    try:
        return ["told", await asyncio.wait_for(say.receive(), seconds)]
    except TimeoutError:
        return ["timed out", await say.receive()]


async def test_dbos_ts_1205_signal_and_timeout_race_for_one_wait(env: Env) -> None:
    """Exactly one of them wins each wait, the word is never lost, and every replay agrees (the judge replays each)."""
    delays = [0.001 * (number % 40) for number in range(20 * FACTOR)]
    async with env.worker(either), env.worker(either):
        handles = [await env.start(either(0.02)) for _ in delays]

        async def tell(handle: Any, delay: float) -> None:
            await asyncio.sleep(delay)  # before, about and behind the timer: the race itself
            await handle.signal(say("word"))

        await asyncio.gather(*map(tell, handles, delays))
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
    assert all(result in (["told", "word"], ["timed out", "word"]) for result in results)
    for handle, result in zip(handles, results, strict=True):
        told = Counter(await events(handle))
        assert told["Signaled"] == told["TimerStarted"] == 1, told
        assert told["TimerFired"] + told["TimerCanceled"] == 1, told
        assert told["TimerFired"] or result[0] == "told", told


async def test_dbos_ts_1205_both_have_come_when_a_worker_looks(env: Env) -> None:
    async with env.worker(either):
        handle = await env.start(either(0.05))
        await until("it waits", lambda: _has(handle, "TimerStarted"))
    (timer,) = [one for one in (await handle.fetch_history()).events if kind(one) == "TimerStarted"]
    assert isinstance(timer.data, TimerStarted)
    due = timer.time + timer.data.duration
    await handle.signal(say("word"))

    async def passed() -> bool:
        return await env.client.store.now() > due

    await until("the timer is due", passed)
    async with env.worker(either):
        result = await handle.result(timeout=PATIENCE)
    assert result in (["told", "word"], ["timed out", "word"])
    told = Counter(await events(handle))
    assert told["Signaled"] == 1
    assert told["TimerFired"] + told["TimerCanceled"] == 1, told


async def _has(handle: Any, name: str) -> bool:
    return name in await events(handle)


@workflow.defn(name="inc.parks")
async def parks() -> str:
    return await asyncio.wait_for(say.receive(), 3600)


@pytest.mark.parametrize("order", [" ".join(one) for one in itertools.permutations(["park", "emit", "look"])])
async def test_absurd_61_to_wait_to_tell_and_to_look_in_every_order(plain: Env, order: str) -> None:
    """Nothing polls within the test's patience, so that a wake-up lost between a check and its wait is found."""
    held, go, parked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def commit(real: Any, transitions: Any) -> Any:
        held.set()
        await go.wait()
        done = await real(transitions)
        parked.set()
        return done

    plain.store.hooks["commit"] = commit
    async with plain.worker(parks, poll_interval=3600, lease_duration=60):
        handle = await plain.start(parks())
        await asyncio.wait_for(held.wait(), PATIENCE)
        look: asyncio.Task[Any] | None = None
        for step in order.split():
            if step == "park":
                go.set()
                await asyncio.wait_for(parked.wait(), PATIENCE)
            elif step == "emit":
                await handle.signal(say("word"))
            else:
                look = asyncio.create_task(handle.result(timeout=PATIENCE))
                await asyncio.sleep(0)
        assert look is not None
        assert await look == "word"
    told = Counter(await events(handle))
    assert told["Signaled"] == told["Completed"] == 1, told


WAITERS = (asyncio.Future, asyncio.Event, threading.Event, CoroutineType)


def _is_kept(one: object) -> bool:
    kind: type[object] = type(one)  # what a proxy of somebody else's says of itself may be an error
    return issubclass(kind, WAITERS) or f"{kind.__module__}".startswith("durable.")


@workflow.defn(name="inc.expires")
async def expires() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(say.receive(), 0.001)
    await say.receive()


async def test_dbos_py_619_what_timed_out_leaves_nothing_in_memory(plain: Env) -> None:
    """Timers, runs and callers that timed out: the last hundred weigh no more than the first."""
    many = 40 * FACTOR

    async def batch() -> None:
        async def one() -> None:
            handle = await plain.client.start_workflow(expires(), run_timeout=0.3)
            with pytest.raises((TimeoutError, WorkflowFailureError)):  # the latter if we come to it so late
                await handle.result(timeout=0.001)
            with pytest.raises(WorkflowFailureError) as failed:
                await handle.result(timeout=PATIENCE)
            assert isinstance(failed.value.cause, TimedOutError)

        await asyncio.gather(*(one() for _ in range(many)))
        await one()  # the last one alone: a worker remembers the runs of its last commit, up to the next

    async def weight() -> tuple[int, int, int]:
        await until("no task is left of them", lambda: len(asyncio.all_tasks()) <= tasks)
        gc.collect()
        kept = sum(_is_kept(one) for one in gc.get_objects())
        return threading.active_count(), len(asyncio.all_tasks()), kept

    async with plain.worker(expires):
        await batch()
        tasks = len(asyncio.all_tasks()) + 2
        before = await weight()
        for _ in range(2):
            await batch()
        after = await weight()
    assert after[0] <= before[0] + 1, "threads"
    assert after[1] <= before[1] + 2, "tasks"
    assert after[2] - before[2] < many // 2, f"{after[2] - before[2]} objects of {2 * many} runs"


async def test_dbos_py_710_evictions_run_no_finally(plain: Env) -> None:
    """Each signal ends in an eviction; what stands in `finally` happens once, at the end, and in its own run."""
    signals = 10 * FACTOR

    @activity.defn(name="inc.tidies")
    async def tidies(number: int) -> int:
        tidied[number] += 1
        return number

    @workflow.defn(name="inc.untidy")
    async def untidy(number: int) -> list[str]:
        got: list[str] = []
        try:
            while len(got) < signals:
                got.append(await say.receive())
            return got
        finally:
            await workflow.sleep(0.001)
            assert await tidies(number) == number

    tidied: Counter[int] = Counter()
    async with plain.worker(untidy, tidies, max_cached_workflows=0):
        handles = [await plain.start(untidy(number)) for number in range(10)]
        for turn in range(signals):
            assert not tidied
            await asyncio.gather(*[one.signal(say(f"{i} {turn}")) for i, one in enumerate(handles)])
            for one in handles:
                await until("it was heard", partial(_heard, one, turn + 1))
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
    assert results == [[f"{i} {turn}" for turn in range(signals)] for i in range(10)]
    assert tidied == Counter(range(10))
    for handle in handles:
        assert await events(handle) == [
            "Started",
            *["Signaled"] * signals,
            "TimerStarted",
            "TimerFired",
            "ActivityScheduled",
            "ActivityCompleted",
            "Completed",
        ]


async def _heard(handle: Any, count: int) -> bool:
    return (await events(handle)).count("Signaled") == count


async def test_sdk_python_784_code_that_swallows_everything_keeps_no_slot(plain: Env) -> None:
    """One slot, room for one run in memory, and five runs that do not let themselves be evicted: others go on."""

    @workflow.defn(name="inc.clings")
    async def clings() -> None:
        while True:
            try:
                await say.receive()
            except BaseException:
                pass

    @workflow.defn(name="inc.brief")
    async def brief(number: int) -> int:
        await workflow.sleep(0.001)
        return number

    async with plain.worker(clings, brief, max_cached_workflows=1, max_concurrent_workflow_tasks=1) as worker:
        clinging = [await plain.start(clings()) for _ in range(5)]
        for turn in range(2):
            for one in clinging:
                await one.signal(say("wake up"))
                await until("it was heard", partial(_heard, one, turn + 1))
        handles = [await plain.start(brief(number)) for number in range(5)]
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
        assert results == list(range(5))
        for one in clinging:
            assert await events(one) == ["Started", "Signaled", "Signaled"]
            await one.terminate(reason="enough")
            with pytest.raises(WorkflowFailureError) as failed:
                await one.result(timeout=PATIENCE)
            assert isinstance(failed.value.cause, TerminatedError)
        assert worker.is_running


async def test_sdk_python_1573_twenty_local_activities_end_in_any_order(plain: Env) -> None:
    """What the code does behind each depends on the order; a hundred replays ask for the same."""
    order = list(range(20))
    Random(1573).shuffle(order)
    gates = [asyncio.Event() for _ in order]

    @activity.defn(name="inc.numbered")
    async def numbered(number: int) -> int:
        await gates[number].wait()
        return number

    @activity.defn(name="inc.noted")
    async def noted(place: int, number: int) -> str:
        return f"{place} {number}"

    @workflow.defn(name="inc.twenty")
    async def twenty() -> list[str]:
        found: list[str] = []

        async def one(number: int) -> None:
            await workflow.execute_local_activity(numbered, number)
            place = len(found)
            found.append("")
            found[place] = await workflow.execute_local_activity(noted, args=[place, number])

        await asyncio.gather(*(one(number) for number in order))
        return found

    async with plain.worker(twenty, numbered, noted, max_concurrent_local_activities=20):
        handle = await plain.start(twenty())
        for count, number in enumerate(order[::-1], 1):
            gates[number].set()
            await until("it is recorded", partial(_noted, handle, count))
        assert await handle.result(timeout=PATIENCE) == [f"{i} {n}" for i, n in enumerate(order[::-1])]
    history = await handle.fetch_history()
    for _ in range(100 * FACTOR):
        judge_replay(twenty.definition, history.run_id, history.events)


async def _noted(handle: Any, count: int) -> bool:
    history = await handle.fetch_history()
    return sum(kind(one) == "ActivityCompleted" for one in history.events) >= 2 * count


@pytest.mark.sqlite
async def test_hatchet_4128_a_parked_run_is_timed_out_by_nothing() -> None:
    """A year and a day parked, with every timeout far below it: they count while something is at work, and only then."""
    ran: list[int] = []

    @activity.defn(name="inc.short")
    async def short() -> int:
        ran.append(activity.info().attempt)
        return len(ran)

    @workflow.defn(name="inc.long_parked")
    async def long_parked() -> list[Any]:
        options: dict[str, Any] = {"start_to_close_timeout": 60, "schedule_to_close_timeout": 120}
        before = await workflow.execute_activity(short, **options, retry_policy=ONCE)
        word = await say.receive()
        return [before, word, await workflow.execute_activity(short, **options, retry_policy=ONCE)]

    async with await WorkflowEnvironment.start_time_skipping() as env:
        handle = await env.client.start_workflow(long_parked(), task_timeout=60)
        began = env.now()
        for _ in range(366):
            await env.advance(timedelta(days=1))
        assert env.now() - began >= timedelta(days=366)
        assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted"]
        await handle.signal(say("on"))
        assert await handle.result() == [1, "on", 2]
        assert Counter(await events(handle))["ActivityTimedOut"] == 0
    assert ran == [1, 1]
