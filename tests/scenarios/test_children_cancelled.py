"""Cancelling children, by the ways in which a parent may wait for that, and in each order with what else may happen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Signal, activity, workflow
from durable.client import WorkflowHandle
from durable.exceptions import CancelledError, ChildWorkflowError
from durable.workflow import ChildWorkflowCancellationType as Type
from durable.workflow import ParentClosePolicy
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, reached, until
from tests.scenarios.test_children import child_of, waits

go: Signal[str] = Signal("chc.go", str)

BEGUN = ["Started", "StartChildInitiated", "ChildStarted"]


@activity.defn(name="chc.tidy")
async def tidy() -> str:
    return "tidy"


@workflow.defn(name="chc.tidies")
async def tidies() -> str:
    try:
        return await go.receive()
    finally:
        await tidy()


@workflow.defn(name="chc.refuses")
async def refuses() -> str:
    try:
        return await go.receive()
    except asyncio.CancelledError:
        return "not me"


@workflow.defn(name="chc.cancels")
async def cancels(how: str, what: str) -> list[str]:
    """Cancel a child once a signal says so, and tell what its await ended with."""
    child = await workflow.start_child_workflow(
        what,
        id="child",
        cancellation_type=Type[how],
        parent_close_policy=ParentClosePolicy.ABANDON,
        result_type=str,
    )

    async def wait() -> str:
        return await child

    waiting = asyncio.ensure_future(wait())
    await go.receive()
    waiting.cancel()
    try:
        return ["result", await waiting]
    except asyncio.CancelledError:
        return ["cancelled"]
    except ChildWorkflowError as error:
        return ["error", type(error.cause).__name__]


async def over(handle: WorkflowHandle[Any, Any]) -> None:
    async def look() -> bool:
        return (await handle.describe()).close_time is not None

    await until("the run is closed", look)


async def _cancelled(env: Env, how: str, child: Any) -> list[Any]:
    """What the parent says, its events behind the start of the child, and the child's own."""
    async with env.worker(cancels, child, tidy):
        handle = await env.start(cancels(how, child.name))
        await reached(handle, *BEGUN)
        await handle.signal(go("cancel"))
        said = await handle.result(timeout=PATIENCE)
        other = child_of(env, child)
        if how == "ABANDON":
            await other.signal(go("leave"))
        if child is tidies and how != "ABANDON":
            assert isinstance(await fails(other), CancelledError)
        await over(other)
    return [said, (await events(handle))[3:], await events(other)]


@pytest.mark.temporal("child_workflow/cancel_abandon")
async def test_abandoned(env: Env) -> None:
    said, parent, child = await _cancelled(env, "ABANDON", tidies)
    assert (said, parent) == (["cancelled"], ["Signaled", "Completed"])
    assert child == ["Started", "Signaled", "ActivityScheduled", "ActivityCompleted", "Completed"]


@pytest.mark.temporal("child_workflow/cancel_try_cancel")
async def test_tried(env: Env) -> None:
    said, parent, child = await _cancelled(env, "TRY_CANCEL", tidies)
    assert (said, parent) == (["cancelled"], ["Signaled", "RequestCancelExternalInitiated", "Completed"])
    assert child == ["Started", "CancelRequested", "ActivityScheduled", "ActivityCompleted", "Canceled"]


@pytest.mark.temporal("child_workflow/cancel_wait_requested")
async def test_waited_for_the_request(env: Env) -> None:
    said, parent, child = await _cancelled(env, "WAIT_CANCELLATION_REQUESTED", tidies)
    assert said == ["cancelled"]
    assert parent[:3] == ["Signaled", "RequestCancelExternalInitiated", "ExternalCancelRequested"]
    assert parent[-1] == "Completed"
    assert child[-1] == "Canceled"


@pytest.mark.temporal("child_workflow/cancel_wait_completed", "workflow/cancel_child_started")
async def test_waited_for_the_end(env: Env) -> None:
    said, parent, child = await _cancelled(env, "WAIT_CANCELLATION_COMPLETED", tidies)
    assert said == ["cancelled"]
    assert parent == [
        "Signaled", "RequestCancelExternalInitiated", "ExternalCancelRequested", "ChildCanceled", "Completed"
    ]  # fmt: skip
    assert child == ["Started", "CancelRequested", "ActivityScheduled", "ActivityCompleted", "Canceled"]


async def test_a_child_that_does_not_let_itself_be_cancelled_has_a_result(env: Env) -> None:
    said, parent, child = await _cancelled(env, "WAIT_CANCELLATION_COMPLETED", refuses)
    assert said == ["result", "not me"]
    assert parent[-2:] == ["ChildCompleted", "Completed"]
    assert child == ["Started", "CancelRequested", "Completed"]


@pytest.mark.temporal("workflow/cancel_child_unstarted")
async def test_a_child_that_was_asked_for_in_the_same_task_never_was(env: Env) -> None:
    @workflow.defn(name="chc.unstarted")
    async def unstarted() -> str:
        task = asyncio.ensure_future(waits.options(id="child")())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"
        return "no"

    async with env.worker(unstarted, waits):
        handle = await env.start(unstarted())
        assert await handle.result(timeout=PATIENCE) == "cancelled"
    assert await events(handle) == ["Started", "Completed"]


async def test_the_cancel_of_a_parent_cancels_the_child_it_awaits(env: Env) -> None:
    @workflow.defn(name="chc.awaits")
    async def awaits() -> str:
        return await workflow.execute_child_workflow(tidies, id="child")

    async with env.worker(awaits, tidies, tidy):
        handle = await env.start(awaits())
        await reached(handle, *BEGUN)
        await handle.cancel("enough")
        assert isinstance(await fails(handle), CancelledError)
        child = child_of(env, tidies)
    assert (await events(handle))[3:] == [
        "CancelRequested", "RequestCancelExternalInitiated", "ExternalCancelRequested", "ChildCanceled", "Canceled"
    ]  # fmt: skip
    assert (await event(child, "CancelRequested")).identity == f"workflow {handle.id}"
    assert (await events(child))[-1] == "Canceled"


async def test_a_timeout_around_a_child_asks_it_to_end(env: Env) -> None:
    @workflow.defn(name="chc.impatient")
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.05):
                return await workflow.execute_child_workflow(tidies, id="child")
        except TimeoutError:
            return "timeout"

    async with env.worker(impatient, tidies, tidy):
        handle = await env.start(impatient())
        assert await handle.result(timeout=PATIENCE) == "timeout"
        child = child_of(env, tidies)
    assert (await events(handle))[-2:] == ["ChildCanceled", "Completed"]
    assert (await events(child))[-1] == "Canceled"


@pytest.mark.temporal("bugs/child_workflow_cancel_panic")
async def test_a_start_that_is_cancelled_before_the_child_is_there(env: Env) -> None:
    """The request is written behind the start, and meets the child."""

    @workflow.defn(name="chc.second_thoughts")
    async def second_thoughts() -> str:
        start = asyncio.ensure_future(workflow.start_child_workflow(tidies, id="child"))
        try:
            async with asyncio.timeout(0.001):
                await start
        except TimeoutError:
            return "timeout"
        return "there"

    async with env.worker(second_thoughts, tidies, tidy):
        handle = await env.start(second_thoughts())
        said = await handle.result(timeout=PATIENCE)
        told = await events(handle)
        assert said == ("there" if "RequestCancelExternalInitiated" not in told else "timeout")
        await over(child_of(env, tidies))
