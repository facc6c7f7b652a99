"""Cancelled activities: the three types, threads, shields, details, heartbeats, and what comes too late."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from durable import ActivityCancellationType, RetryPolicy, Signal, activity, workflow
from durable.exceptions import CancelledError
from durable.history import EventType
from durable.worker import _reports
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, reached, until

TRY, WAIT, ABANDON = (
    ActivityCancellationType.TRY_CANCEL,
    ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    ActivityCancellationType.ABANDON,
)
SIGNALED = int(EventType.WORKFLOW_EXECUTION_SIGNALED)
ONCE = RetryPolicy(maximum_attempts=1)


class Seen:
    """What a function in a thread tells its test."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.go = threading.Event()
        self.notes: list[Any] = []


def works() -> None:
    """Be busy in Python, for longer than any test: where an exception can arrive."""
    for _ in range(100_000):
        time.sleep(0.001)


@workflow.defn(name="scn.ca.calls")
async def calls(name: str, type: int) -> str:
    try:
        return await workflow.execute_activity(
            name,
            cancellation_type=ActivityCancellationType(type),
            retry_policy=ONCE,
            result_type=str,
        )
    except asyncio.CancelledError:
        return f"cancelled: {workflow.cancellation_reason()}"


@pytest.mark.temporal("worker_activity/thread_cancel", "activity/cancel_wait_cancel")
async def test_thread_cancel(env: Env) -> None:
    """The function is interrupted where it is, tidies up, and the workflow hears of it when it has ended."""
    seen = Seen()

    @activity.defn(name="scn.ca.thread")
    def in_thread() -> str:
        seen.began.set()
        try:
            works()
        except CancelledError:
            details = activity.cancellation_details()
            assert details is not None
            seen.notes += [details.cancel_requested, activity.is_cancelled()]
            time.sleep(0.05)
            seen.ended.set()
            raise
        return "never"

    async with env.worker(calls, in_thread):
        handle = await env.start(calls("scn.ca.thread", WAIT))
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
        await handle.cancel("enough")
        assert await handle.result(timeout=PATIENCE) == "cancelled: enough"
        assert seen.ended.is_set(), "WAIT_CANCELLATION_COMPLETED waits for the function"
    assert seen.notes == [True, True]
    assert await events(handle) == [
        "Started", "ActivityScheduled", "CancelRequested", "ActivityCancelRequested", "ActivityCanceled",
        "Completed",
    ]  # fmt: skip


async def test_a_thread_that_has_swallowed_its_cancel_has_a_result(env: Env) -> None:
    seen = Seen()

    @activity.defn(name="scn.ca.swallows")
    def swallows() -> str:
        seen.began.set()
        try:
            works()
        except CancelledError:
            return "made it anyway"
        return "never"

    async with env.worker(calls, swallows):
        handle = await env.start(calls("scn.ca.swallows", WAIT))
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "made it anyway"
    assert "ActivityCompleted" in await events(handle)


@pytest.mark.temporal("worker_activity/thread_cancel")
async def test_no_thread_cancel_exception(env: Env) -> None:
    seen = Seen()

    @activity.defn(name="scn.ca.looks", no_thread_cancel_exception=True)
    def looks() -> str:
        seen.began.set()
        works_until(activity.is_cancelled)
        seen.notes.append("was not interrupted")
        raise CancelledError("of my own accord")

    def works_until(done: Any) -> None:
        while not done():
            time.sleep(0.001)

    async with env.worker(calls, looks):
        handle = await env.start(calls("scn.ca.looks", WAIT))
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "cancelled: "
    assert seen.notes == ["was not interrupted"]
    assert (await events(handle))[-2:] == ["ActivityCanceled", "Completed"]


@pytest.mark.temporal("worker_activity/thread_cancel")
async def test_a_shield_holds_the_cancel_back(env: Env) -> None:
    seen = Seen()

    @activity.defn(name="scn.ca.shields")
    def shields() -> str:
        with activity.shield_thread_cancel_exception():
            seen.began.set()
            activity.wait_for_cancelled_sync(PATIENCE)
            for _ in range(20):
                time.sleep(0.001)
            seen.notes.append("whole")
        seen.notes.append("never")
        return "never"

    async with env.worker(calls, shields):
        handle = await env.start(calls("scn.ca.shields", WAIT))
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "cancelled: "
    assert seen.notes == ["whole"]
    assert (await events(handle))[-2:] == ["ActivityCanceled", "Completed"]


@pytest.mark.temporal("worker_activity/cancel_after_return")
async def test_cancel_after_return(env: Env) -> None:
    """A cancel beside the end of a function hits the function or nothing; the thread of the pool lives on."""

    @activity.defn(name="scn.ca.brief", retry_policy=ONCE)
    def brief(i: int) -> int:
        time.sleep(0.002)
        return i

    @workflow.defn(name="scn.ca.many_brief")
    async def many_brief(count: int) -> int:
        done = 0
        for i in range(count):
            running = brief.start(i)
            await asyncio.sleep(0.002)
            running.cancel()
            try:
                await running
                done += 1
            except asyncio.CancelledError:
                pass
        return done

    @activity.defn(name="scn.ca.in_the_pool")
    def in_the_pool() -> int:
        return threading.active_count()

    @workflow.defn(name="scn.ca.asks_the_pool")
    async def asks_the_pool() -> int:
        return await in_the_pool()

    async with env.worker(many_brief, brief, asks_the_pool, in_the_pool, max_concurrent_activities=2):
        handle = await env.start(many_brief(20))
        done = await handle.result(timeout=PATIENCE)
        told = Counter(await events(handle))
        # One that has ended beside its cancel is recorded as it ended.
        assert told["ActivityScheduled"] == 20
        assert done <= told["ActivityCompleted"] <= 20 - told["ActivityCanceled"]
        for _ in range(4):
            asked = await env.start(asks_the_pool())
            assert await asked.result(timeout=PATIENCE) > 0


@pytest.mark.parametrize("style", ["async", "thread"])
async def test_a_cancel_is_heard_of_with_a_heartbeat(
    env: Env, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another worker a cancel comes as the answer to a heartbeat; what was said with it is not lost."""
    # They are passed on at once, and none is late for a timeout.
    monkeypatch.setattr(_reports, "HEARTBEAT_LONGEST", 0.02)
    seen = Seen()

    @activity.defn(name="scn.ca.far_async")
    async def far_async() -> str:
        seen.began.set()
        try:
            while True:
                activity.heartbeat("so far")
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            seen.notes.append(activity.cancellation_details())
            raise

    @activity.defn(name="scn.ca.far_thread")
    def far_thread() -> str:
        seen.began.set()
        try:
            while True:
                activity.heartbeat("so far")
                time.sleep(0.01)
        except CancelledError:
            seen.notes.append(activity.cancellation_details())
            raise

    far = far_async if style == "async" else far_thread

    @workflow.defn(name="scn.ca.calls_far")
    async def calls_far() -> str:
        await workflow.execute_activity(
            far, task_queue="side", heartbeat_timeout=PATIENCE, cancellation_type=WAIT, retry_policy=ONCE
        )
        return "never"

    async with env.worker(calls_far), env.worker(far, task_queue="side"):
        handle = await env.start(calls_far())
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    assert [details.cancel_requested for details in seen.notes] == [True]
    assert await events(handle) == [
        "Started", "ActivityScheduled", "CancelRequested", "ActivityCancelRequested", "ActivityCanceled",
        "Canceled",
    ]  # fmt: skip


@pytest.mark.parametrize("style", ["async", "thread"])
async def test_one_with_a_row_is_told_when_its_workflow_ends_beside_it(env: Env, style: str) -> None:
    """At once, and not by the next heartbeat that is passed on, in a minute."""
    seen = Seen()

    @activity.defn(name="scn.ca.beats_async")
    async def beats_async() -> None:
        try:
            while True:
                activity.heartbeat()
                seen.began.set()
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            seen.notes.append(activity.cancellation_details())
            seen.ended.set()
            raise

    @activity.defn(name="scn.ca.beats_thread")
    def beats_thread() -> None:
        try:
            while True:
                activity.heartbeat()
                seen.began.set()
                time.sleep(0.01)
        except CancelledError:
            seen.notes.append(activity.cancellation_details())
            seen.ended.set()
            raise

    beats = beats_async if style == "async" else beats_thread

    @workflow.defn(name="scn.ca.ends_first")
    async def ends_first() -> None:
        await workflow.execute_activity(beats, heartbeat_timeout=3600)

    async with env.worker(ends_first, beats):
        handle = await env.start(ends_first())
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
        await until("its row is there", lambda: env.client.store.read_activities(handle.result_run_id or ""))
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
        assert await asyncio.to_thread(seen.ended.wait, PATIENCE)
    assert [details.not_found for details in seen.notes] == [True]


async def test_a_timeout_interrupts_a_thread_too(env: Env) -> None:
    """An attempt that is over time has ended, for the workflow; its thread is told, and why."""
    seen = Seen()

    @activity.defn(name="scn.ca.over_time")
    def over_time() -> str:
        try:
            works()
        except CancelledError:
            details = activity.cancellation_details()
            seen.notes.append(details is not None and details.timed_out)
            seen.ended.set()
            raise
        return "never"

    @workflow.defn(name="scn.ca.gives_little_time")
    async def gives_little_time() -> None:
        # Enough for its thread to begin, on a busy machine as well.
        await workflow.execute_activity(over_time, start_to_close_timeout=2, retry_policy=ONCE)

    async with env.worker(gives_little_time, over_time):
        handle = await env.start(gives_little_time())
        await fails(handle)
        assert await asyncio.to_thread(seen.ended.wait, PATIENCE)
    assert seen.notes == [True]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityTimedOut", "Failed"]


@pytest.mark.temporal("activity/shutdown")
async def test_a_worker_that_stops_interrupts_threads(plain: Env) -> None:
    seen = Seen()

    @activity.defn(name="scn.ca.at_the_end")
    def at_the_end() -> str:
        if activity.info().attempt > 1:
            return "another worker"
        seen.began.set()
        try:
            works()
        except CancelledError:
            details = activity.cancellation_details()
            seen.notes.append(
                (details is not None and details.worker_shutdown, activity.is_worker_shutdown())
            )
            raise
        return "never"

    @workflow.defn(name="scn.ca.outlives")
    async def outlives() -> str:
        return await workflow.execute_activity(at_the_end, retry_policy=RetryPolicy(initial_interval=0.01))

    async with plain.worker(outlives, at_the_end):
        handle = await plain.start(outlives())
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
    assert seen.notes == [(True, True)]
    async with plain.worker(outlives, at_the_end):
        assert await handle.result(timeout=PATIENCE) == "another worker"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == 2


async def test_a_thread_that_hears_nothing_keeps_its_slot_and_nobody_waiting(plain: Env) -> None:
    """TRY_CANCEL reports at once; the slot is free again when the function has ended."""
    seen = Seen()
    begun = Signal[None]("begun")

    @activity.defn(name="scn.ca.deaf", no_thread_cancel_exception=True)
    def deaf() -> str:
        seen.began.set()
        seen.go.wait(PATIENCE)
        seen.ended.set()
        return "late"

    @activity.defn(name="scn.ca.next")
    def next_one() -> str:
        return "after it" if seen.ended.is_set() else "before it"

    @workflow.defn(name="scn.ca.one_slot")
    async def one_slot() -> list[str]:
        running = workflow.start_activity(deaf, retry_policy=ONCE)
        await begun.receive()
        running.cancel()
        said = []
        try:
            await running
        except asyncio.CancelledError:
            said.append("cancelled")
        said.append(await workflow.execute_activity(next_one))
        return said

    async with plain.worker(one_slot, deaf, next_one, max_concurrent_activities=1):
        handle = await plain.start(one_slot())
        assert await asyncio.to_thread(seen.began.wait, PATIENCE)
        await handle.signal(begun())

        async def asked() -> bool:
            return (await events(handle)).count("ActivityScheduled") == 2

        await until("the cancel was reported, and the next one is asked for", asked)
        seen.go.set()
        assert await handle.result(timeout=PATIENCE) == ["cancelled", "after it"]


@pytest.mark.temporal("activity/cancel_try_cancel", "activity/cancel_abandon")
@pytest.mark.parametrize("type", [TRY, ABANDON])
async def test_a_cancel_that_is_not_waited_for_is_reported_at_once(
    env: Env, type: ActivityCancellationType
) -> None:
    """What the activity answers later is dropped, and nothing of it is recorded."""
    began, go = asyncio.Event(), asyncio.Event()

    @activity.defn(name="scn.ca.late")
    async def late() -> str:
        began.set()
        try:
            await go.wait()
        except asyncio.CancelledError:
            await go.wait()
            raise
        return "late"

    async with env.worker(calls, late):
        handle = await env.start(calls("scn.ca.late", type))
        await asyncio.wait_for(began.wait(), PATIENCE)
        await handle.cancel("now")
        assert await handle.result(timeout=PATIENCE) == "cancelled: now"
        go.set()
    asked = ["ActivityCancelRequested"] if type is TRY else []
    assert await events(handle) == ["Started", "ActivityScheduled", "CancelRequested", *asked, "Completed"]


async def test_the_reason_is_recorded(env: Env) -> None:
    @workflow.defn(name="scn.ca.sleeps")
    async def sleeps() -> None:
        await workflow.sleep(3600)

    async with env.worker(sleeps):
        handle = await env.start(sleeps())
        await reached(handle, "Started", "TimerStarted")
        await handle.cancel("the reason")
        assert isinstance(await fails(handle), CancelledError)
    assert (await event(handle, "CancelRequested")).reason == "the reason"


stop_it: Signal[None] = Signal("scn.ca.stop_it", type(None))


@workflow.defn(name="scn.ca.between_attempts")
async def cancels_between_attempts() -> str:
    asked = asyncio.ensure_future(
        workflow.execute_activity(
            "scn.ca.fails", cancellation_type=WAIT, retry_policy=RetryPolicy(initial_interval=3600)
        )
    )
    await stop_it.receive()
    asked.cancel()
    try:
        await asked
    except asyncio.CancelledError:
        return "cancelled"
    return "done"


async def test_an_attempt_that_fails_beside_the_cancel_is_not_made_again(env: Env) -> None:
    """The row for the next attempt and its cancel come in one transition."""
    began, fail, failed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @activity.defn(name="scn.ca.fails")
    async def fails_when_told() -> None:
        began.set()
        await fail.wait()
        failed.set()
        raise ValueError("for now")

    written: list[tuple[Any, Any]] = []

    async def commit(method: Any, transitions: Any) -> Any:
        written.extend((one.activities, one.activities_canceled) for one in transitions)
        if any(row.type == SIGNALED for one in transitions for row in one.events):
            # The attempt fails while the signal, behind which it is cancelled, is being written.
            fail.set()
            await failed.wait()
            for _ in range(20):
                await asyncio.sleep(0)
        return await method(transitions)

    async with env.worker(cancels_between_attempts, fails_when_told):
        env.store.hooks["commit"] = commit
        handle = await env.start(cancels_between_attempts())
        await asyncio.wait_for(began.wait(), PATIENCE)
        await handle.signal(stop_it(None))
        assert await handle.result(timeout=PATIENCE) == "cancelled"
    assert [canceled for rows, canceled in written if rows] == [(1,)]
