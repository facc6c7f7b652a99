"""Cancellation: where it arrives, what it may be answered with, and what wins beside it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from durable import ActivityCancellationType, ActivityError, RetryPolicy, Signal, activity, workflow
from durable.exceptions import CancelledError, WorkflowNotFoundError
from durable.history import ActivityTaskCompleted, WorkflowExecutionCancelRequested
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, reached, until

go: Signal[str] = Signal("scn.go", str)


@activity.defn(name="scn.cleanup")
async def cleanup(what: str) -> str:
    return f"cleaned {what}"


@workflow.defn(name="scn.sleeps")
async def sleeps() -> str:
    await asyncio.sleep(3600)
    return "never"


@workflow.defn(name="scn.receives")
async def receives() -> str:
    return await go.receive()


@workflow.defn(name="scn.cleans_up")
async def cleans_up() -> str:
    try:
        await asyncio.sleep(3600)
    finally:
        await cleanup("the table")
    return "never"


@workflow.defn(name="scn.swallows")
async def swallows() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(0.01)
    return "went on"


@pytest.mark.temporal("workflow/cancel_before_run")
async def test_before_the_first_run(env: Env) -> None:
    handle = await env.start(sleeps())
    await handle.cancel("not needed")
    async with env.worker(sleeps):
        assert isinstance(await fails(handle), CancelledError)
    told = await events(handle)
    assert told[0] == "Started"
    assert told[-2:] in (["CancelRequested", "Canceled"], ["TimerCanceled", "Canceled"])
    assert (await event(handle, "CancelRequested")).reason == "not needed"
    assert (await handle.describe()).status.name == "CANCELED"


@pytest.mark.temporal("client_api/cancel")
async def test_while_a_timer_runs(env: Env) -> None:
    async with env.worker(sleeps):
        handle = await env.start(sleeps())
        await reached(handle, "Started", "TimerStarted")
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    assert await events(handle) == [
        "Started", "TimerStarted", "CancelRequested", "TimerCanceled", "Canceled"
    ]  # fmt: skip


async def test_while_a_signal_is_awaited(env: Env) -> None:
    async with env.worker(receives):
        handle = await env.start(receives())
        await until("it is owned and at rest, or let go", lambda: _settled(env, handle))
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    assert await events(handle) == ["Started", "CancelRequested", "Canceled"]


async def _settled(env: Env, handle: Any) -> bool:
    told = await handle.describe()
    return told.history_length >= 1


@pytest.mark.parametrize("kind", list(ActivityCancellationType))
async def test_while_an_activity_runs(env: Env, kind: ActivityCancellationType) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    @activity.defn(name="scn.stubborn")
    async def stubborn() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            ended.set()
            raise
        return "never"

    @workflow.defn(name="scn.cancelled_in_activity")
    async def cancelled_in_activity() -> str:
        return await workflow.execute_activity(stubborn, cancellation_type=kind)

    async with env.worker(cancelled_in_activity, stubborn):
        handle = await env.start(cancelled_in_activity())
        await asyncio.wait_for(began.wait(), PATIENCE)
        await handle.cancel()
        cause = await fails(handle)
        assert isinstance(cause, CancelledError) or (
            isinstance(cause, ActivityError) and isinstance(cause.cause, CancelledError)
        )
        if kind is ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
            assert ended.is_set()
        await asyncio.wait_for(ended.wait(), PATIENCE)  # whoever asked or not: nobody waits for it any more
    told = await events(handle)
    assert told[:2] == ["Started", "ActivityScheduled"]
    assert told[-1] == "Canceled"
    assert ("ActivityCancelRequested" in told) is (kind is not ActivityCancellationType.ABANDON)
    assert ("ActivityCanceled" in told) is (kind is ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)


@pytest.mark.temporal("hello/cancellation")
async def test_cleanup_runs_to_its_end(env: Env) -> None:
    async with env.worker(cleans_up, cleanup):
        handle = await env.start(cleans_up())
        await reached(handle, "Started", "TimerStarted")
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    told = await events(handle)
    assert told[:3] == ["Started", "TimerStarted", "CancelRequested"]
    assert sorted(told[3:5]) == ["ActivityScheduled", "TimerCanceled"]
    assert told[5:] == ["ActivityCompleted", "Canceled"]


async def test_it_may_be_swallowed(env: Env) -> None:
    async with env.worker(swallows):
        handle = await env.start(swallows())
        await reached(handle, "Started", "TimerStarted")
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "went on"
    told = await events(handle)
    assert "CancelRequested" in told
    assert told[-1] == "Completed"


@pytest.mark.temporal("workflow/cancel_multi")
async def test_twice_is_once(env: Env) -> None:
    gate = asyncio.Event()

    @activity.defn(name="scn.slow_cleanup")
    async def slow_cleanup() -> str:
        await gate.wait()
        return "cleaned"

    @workflow.defn(name="scn.cleans_up_slowly")
    async def cleans_up_slowly() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await slow_cleanup()

    async with env.worker(cleans_up_slowly, slow_cleanup):
        handle = await env.start(cleans_up_slowly())
        await reached(handle, "Started", "TimerStarted")
        await handle.cancel("one")
        await handle.cancel("two")

        async def both() -> bool:
            return (await events(handle)).count("CancelRequested") == 2

        await until("both are recorded", both)
        gate.set()
        assert isinstance(await fails(handle), CancelledError)
    assert (await events(handle))[-2:] == ["ActivityCompleted", "Canceled"]


@pytest.mark.temporal("client_api/cancel")
async def test_of_a_closed_workflow_is_an_error(env: Env) -> None:
    async with env.worker(swallows):
        handle = await env.start(swallows())
        await handle.cancel()
        await handle.result(timeout=PATIENCE)
    recorded = await events(handle)
    with pytest.raises(WorkflowNotFoundError, match="closed"):
        await handle.cancel()
    assert await events(handle) == recorded
    assert recorded.count("CancelRequested") == 1
    with pytest.raises(WorkflowNotFoundError, match="no such workflow"):
        await env.client.get_workflow_handle("nobody").cancel()


@pytest.mark.parametrize("first", ["result", "cancel"])
async def test_beside_a_result(env: Env, first: str) -> None:
    """A result that is committed reaches the code even when a cancel waits already; the cancel meets the next await."""
    open_gate = asyncio.Event()
    began = asyncio.Event()

    @activity.defn(name="scn.gated", retry_policy=RetryPolicy(maximum_attempts=1))
    async def gated() -> str:
        began.set()
        await open_gate.wait()
        return "paid"

    @workflow.defn(name="scn.raced")
    async def raced() -> list[str]:
        seen = []
        try:
            seen.append(await gated())
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
        return seen

    async with env.worker(raced, gated):
        handle = await env.start(raced())
        await asyncio.wait_for(began.wait(), PATIENCE)
        # Both wait while a commit is under way, so that the worker meets them together.
        both = asyncio.Event()

        async def slow(commit: Any, transitions: Any) -> Any:
            await both.wait()
            return await commit(transitions)

        if first == "result":
            env.store.hooks["commit"] = slow
            open_gate.set()
            await asyncio.sleep(0)
            await handle.cancel()
            both.set()
            assert await handle.result(timeout=PATIENCE) == ["paid", "cancelled"]
            told = await events(handle)
            assert told.index("ActivityCompleted") < told.index("CancelRequested")
        else:
            both.set()
            await handle.cancel()
            assert await handle.result(timeout=PATIENCE) == ["cancelled"]
            open_gate.set()
            assert "ActivityCompleted" not in await events(handle)


async def test_a_result_that_is_there_beats_a_cancel_that_is_there(env: Env) -> None:
    """Message and result both unread at the claim: one of them from another queue, so that both are in the inbox."""

    @activity.defn(name="scn.far")
    async def far() -> str:
        return "paid"

    @workflow.defn(name="scn.raced_far")
    async def raced_far() -> list[str]:
        seen = []
        try:
            seen.append(await workflow.execute_activity(far, task_queue="side"))
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            seen.append("cancelled")
        return seen

    handle = await env.start(raced_far())
    async with env.worker(raced_far):
        await reached(handle, "Started", "ActivityScheduled")
    await handle.cancel()
    async with env.worker(far, task_queue="side"):
        await until("the result is in the inbox", lambda: _two_messages(env, handle))
    async with env.worker(raced_far):
        assert await handle.result(timeout=PATIENCE) == ["paid", "cancelled"]
    history = (await handle.fetch_history()).events
    kinds = [type(one.data) for one in history]
    assert kinds.index(ActivityTaskCompleted) < kinds.index(WorkflowExecutionCancelRequested)


async def _two_messages(env: Env, handle: Any) -> bool:
    return len(await env.client.store.read_messages([handle.result_run_id])) == 2


async def test_a_queued_activity_that_was_cancelled_never_runs(env: Env) -> None:
    ran = []

    @activity.defn(name="scn.too_late")
    async def too_late() -> None:
        ran.append(1)

    @workflow.defn(name="scn.gives_up")
    async def gives_up() -> str:
        try:
            async with asyncio.timeout(0.05):
                await workflow.execute_activity(
                    too_late,
                    task_queue="side",
                    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                )
        except (TimeoutError, ActivityError) as error:
            return type(error).__name__
        return "?"

    async with env.worker(gives_up):
        handle = await env.start(gives_up())
        await reached(handle, "Started", "TimerStarted", "ActivityScheduled")

        async def asked() -> bool:
            return "ActivityCancelRequested" in await events(handle)

        await until("the cancel is recorded", asked)
        async with env.worker(too_late, task_queue="side"):
            assert await handle.result(timeout=PATIENCE) in ("TimeoutError", "ActivityError")
    assert ran == []
    assert "ActivityCanceled" in await events(handle)


@pytest.mark.temporal("workflow/uncancel_shield")
async def test_shield_and_uncancel(env: Env) -> None:
    @workflow.defn(name="scn.shields")
    async def shields() -> list[Any]:
        seen: list[Any] = []
        inner = asyncio.ensure_future(_slowly())
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            seen.append(("cancelling", asyncio.current_task().cancelling()))  # type: ignore[union-attr]
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        seen.append(await inner)
        return seen

    async def _slowly() -> str:
        return await go.receive()

    async with env.worker(shields):
        handle = await env.start(shields())
        await reached(handle, "Started")
        await handle.cancel()
        await reached(handle, "Started", "CancelRequested")
        await handle.signal(go, "inner")
        assert await handle.result(timeout=PATIENCE) == [["cancelling", 1], "inner"]
