"""Cancellation through asyncio's and anyio's constructs, and beside what else happens: what is recorded, in both orders."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio
import pytest

from durable import ActivityCancellationType, ApplicationError, Signal, activity, workflow
from durable.exceptions import ApplicationError as Application
from durable.exceptions import CancelledError
from tests.scenarios.rig import PATIENCE, Env, events, fails, held, reached, until

go: Signal[str] = Signal("scn.cs.go", str)
WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED


@activity.defn(name="scn.cs.hangs")
async def hangs() -> str:
    await asyncio.Event().wait()
    return "never"


@activity.defn(name="scn.cs.note")
async def note(what: str) -> str:
    return what


async def cancelled(env: Env, call: Any, *definitions: Any, until_first: tuple[str, ...]) -> list[str]:
    """Start a workflow, wait until its history begins like this, cancel it, and return its history."""
    async with env.worker(*definitions):
        handle = await env.start(call)
        await reached(handle, "Started", *until_first)
        await handle.cancel()
        with contextlib.suppress(AssertionError):
            assert isinstance(await fails(handle), CancelledError)
    return await events(handle)


@pytest.mark.temporal("workflow/uncaught_cancel", "workflow/cancel_activity")
async def test_uncaught_cancel(env: Env) -> None:
    @workflow.defn(name="scn.cs.uncaught")
    async def uncaught() -> str:
        return await workflow.execute_activity(hangs)

    assert await cancelled(env, uncaught(), uncaught, hangs, until_first=("ActivityScheduled",)) == [
        "Started", "ActivityScheduled", "CancelRequested", "ActivityCancelRequested", "Canceled",
    ]  # fmt: skip


@pytest.mark.temporal("workflow/cancel_unsent", "bugs/activity_start_race")
async def test_cancel_unsent(env: Env) -> None:
    """What is asked for and taken back in one task was never asked for, and anything may follow it."""

    @workflow.defn(name="scn.cs.unsent")
    async def unsent() -> list[str]:
        said = []
        for begun in (workflow.start_activity(hangs), asyncio.ensure_future(workflow.sleep(3600))):
            await asyncio.sleep(0)
            begun.cancel()
            try:
                await begun
            except asyncio.CancelledError:
                said.append("cancelled")
        said.append(await note("after"))
        return said

    async with env.worker(unsent, hangs, note):
        handle = await env.start(unsent())
        assert await handle.result(timeout=PATIENCE) == ["cancelled", "cancelled", "after"]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


@pytest.mark.temporal("workflow/sleep_task_cancellation", "timer/timer")
@pytest.mark.parametrize("kind", ["workflow", "asyncio", "anyio"])
async def test_a_timer_whose_task_is_cancelled_is_cancelled(env: Env, kind: str) -> None:
    @workflow.defn(name="scn.cs.timer_task")
    async def timer_task(kind: str) -> str:
        sleeps = {"workflow": workflow.sleep, "asyncio": asyncio.sleep, "anyio": anyio.sleep}[kind]
        task = asyncio.ensure_future(sleeps(3600))
        await note("the timer is recorded")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await note("after")

    async with env.worker(timer_task, note):
        handle = await env.start(timer_task(kind))
        assert await handle.result(timeout=PATIENCE) == "after"
    told = await events(handle)
    assert sorted(told[1:3]) == ["ActivityScheduled", "TimerStarted"]
    assert told[3] == "ActivityCompleted"
    assert sorted(told[4:6]) == ["ActivityScheduled", "TimerCanceled"]
    assert told[6:] == ["ActivityCompleted", "Completed"]


@pytest.mark.temporal("workflow/cancel_signal_and_timer_fired_in_same_task")
@pytest.mark.parametrize("first", ["signal", "timer"])
async def test_cancel_signal_and_timer_fired_in_same_task(env: Env, first: str) -> None:
    """A signal whose handler cancels a timer, and that timer: whichever is recorded first decides, and it replays."""

    @workflow.defn(name="scn.cs.signal_and_timer")
    class SignalAndTimer:
        def __init__(self) -> None:
            self.timer: asyncio.Task[None] | None = None

        @workflow.run
        async def run(self) -> str:
            self.timer = asyncio.create_task(workflow.sleep(1))
            try:
                await self.timer
            except asyncio.CancelledError:
                return "cancelled"
            return "fired"

        @workflow.signal
        def cancel_timer(self) -> None:
            assert self.timer is not None
            self.timer.cancel()

    while True:
        handle = await env.start(SignalAndTimer.run())
        async with env.worker(SignalAndTimer):
            await reached(handle, "Started", "TimerStarted")
        if await events(handle) == ["Started", "TimerStarted"]:
            break  # else the worker was still there when the timer fired
    # Nobody works while both become ready; they wait for the next owner together.
    if first == "signal":
        await handle.signal(SignalAndTimer.cancel_timer())
        await asyncio.sleep(1.05)
        async with env.worker(SignalAndTimer):
            assert await handle.result(timeout=PATIENCE) == "cancelled"
        assert await events(handle) == ["Started", "TimerStarted", "Signaled", "TimerCanceled", "Completed"]
    else:
        await asyncio.sleep(1.05)
        async with env.worker(SignalAndTimer):
            assert await handle.result(timeout=PATIENCE) == "fired"
        assert await events(handle) == ["Started", "TimerStarted", "TimerFired", "Completed"]


@pytest.mark.parametrize("first", ["signal", "cancel"])
async def test_cancel_and_condition_ready_together(env: Env, first: str) -> None:
    """What makes the condition true reaches the code, and the cancel meets its next await; not the other way round."""

    @workflow.defn(name="scn.cs.condition")
    class Condition:
        def __init__(self) -> None:
            self.ready = False

        @workflow.run
        async def run(self) -> list[str]:
            said = []
            try:
                await workflow.wait_condition(lambda: self.ready)
                said.append("ready")
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                said.append("cancelled")
            return said

        @workflow.signal
        def set_ready(self) -> None:
            self.ready = True

    handle = await env.start(Condition.run())
    async with env.worker(Condition):
        await until("it has run", lambda: env.client.get_workflow_handle(handle.id).query("__stack_trace"))
    if first == "cancel":
        await handle.cancel()
        await handle.signal(Condition.set_ready())
    else:
        await handle.signal(Condition.set_ready())
        await handle.cancel()
    async with env.worker(Condition):
        assert await handle.result(timeout=PATIENCE) == ["ready", "cancelled"]
    # Messages go before a cancel that waits beside them, in whichever order they came.
    assert (await events(handle))[:2] == ["Started", "Signaled"]


async def test_nested_task_groups_tidy_up_from_the_inside(env: Env) -> None:
    @workflow.defn(name="scn.cs.nested")
    async def nested() -> str:
        said: list[str] = []

        async def part(name: str) -> None:
            try:
                await workflow.sleep(3600)
            finally:
                said.append(await note(name))

        try:
            async with asyncio.TaskGroup() as outer:
                outer.create_task(part("a"))
                async with asyncio.TaskGroup() as inner:
                    inner.create_task(part("b"))
                    inner.create_task(part("c"))
        except asyncio.CancelledError:
            raise ApplicationError(",".join(said)) from None
        return "never"

    async with env.worker(nested, note):
        handle = await env.start(nested())
        await reached(handle, "Started", "TimerStarted", "TimerStarted", "TimerStarted")
        await handle.cancel()
        cause = await fails(handle)
        assert isinstance(cause, Application)
        assert sorted(cause.message.split(",")) == ["a", "b", "c"]
    told = await events(handle)
    assert told[4:5] == ["CancelRequested"]
    assert told.count("TimerCanceled") == told.count("ActivityCompleted") == 3
    assert told[-1] == "Failed"


async def test_a_shielded_section_is_whole(env: Env) -> None:
    @workflow.defn(name="scn.cs.shielded")
    async def shielded() -> str:
        async def section() -> str:
            return await note(await go.receive())

        inner = asyncio.ensure_future(section())
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            await asyncio.wait([inner])
            raise
        return "never"

    async with env.worker(shielded, note):
        handle = await env.start(shielded())
        await handle.query("__stack_trace")
        await handle.cancel()
        await reached(handle, "Started", "CancelRequested")
        await handle.signal(go("paid"))
        assert isinstance(await fails(handle), CancelledError)
    assert await events(handle) == [
        "Started", "CancelRequested", "Signaled", "ActivityScheduled", "ActivityCompleted", "Canceled"
    ]  # fmt: skip


async def test_anyio_shields_from_its_own_scopes_only(env: Env) -> None:
    """A cancel of the workflow is the task's, as outside of workflows: `asyncio.shield` holds it back, a scope does not."""

    @workflow.defn(name="scn.cs.anyio_shield")
    async def anyio_shield() -> list[str]:
        said = []
        with anyio.move_on_after(0.01):
            with anyio.CancelScope(shield=True):
                said.append(await note("whole"))
                await workflow.sleep(0.05)
                said.append(await note("and whole"))
        with contextlib.suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
            await go.receive()
        said.append(str(workflow.cancellation_reason()))
        return said

    async with env.worker(anyio_shield, note):
        handle = await env.start(anyio_shield())

        async def through() -> bool:
            return (await events(handle)).count("ActivityCompleted") == 2

        await until("the shielded section has ended", through)
        await handle.cancel("of the task")
        assert await handle.result(timeout=PATIENCE) == ["whole", "and whole", "of the task"]


@pytest.mark.parametrize("kind", ["asyncio", "anyio", "wait_for"])
async def test_a_timeout_cancels_what_is_in_it_and_no_more(env: Env, kind: str) -> None:
    @workflow.defn(name="scn.cs.times_out")
    async def times_out(kind: str) -> str:
        running = workflow.start_activity(hangs)
        try:
            if kind == "asyncio":
                async with asyncio.timeout(0.03):
                    await running
            elif kind == "anyio":
                with anyio.fail_after(0.03):
                    await running
            else:
                await asyncio.wait_for(running, 0.03)
        except TimeoutError:
            return await note("timed out")
        return "never"

    async with env.worker(times_out, hangs, note):
        handle = await env.start(times_out(kind))
        assert await handle.result(timeout=PATIENCE) == "timed out"
    told = await events(handle)
    assert sorted(told[1:3]) == ["ActivityScheduled", "TimerStarted"]
    assert told[3] == "TimerFired"
    assert sorted(told[4:6]) == ["ActivityCancelRequested", "ActivityScheduled"]
    # What became of the one that was asked to end is recorded if it comes in time, and is nobody's concern.
    assert [kind for kind in told[6:] if kind != "ActivityCanceled"] == ["ActivityCompleted", "Completed"]


@pytest.mark.temporal("workflow/uncancel_shield")
@pytest.mark.parametrize("uncancels", [True, False])
async def test_uncancel_decides_what_a_timeout_makes_of_a_cancel(env: Env, uncancels: bool) -> None:
    """A cancel that was swallowed and not taken back makes `asyncio.timeout` pass on its own cancel as that one."""

    @workflow.defn(name="scn.cs.uncancels")
    async def swallows(uncancels: bool) -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            await workflow.sleep(3600)
        except asyncio.CancelledError:
            if uncancels:
                task.uncancel()
        try:
            async with asyncio.timeout(0.02):
                await workflow.sleep(3600)
        except TimeoutError:
            return "timed out"
        except asyncio.CancelledError:
            return "cancelled"
        return "never"

    async with env.worker(swallows):
        handle = await env.start(swallows(uncancels))
        await reached(handle, "Started", "TimerStarted")
        await handle.cancel()
        # The timeout remembers how often the task was asked when it was entered, and so is not deceived.
        assert await handle.result(timeout=PATIENCE) == "timed out"


async def test_a_swallowed_cancel_and_a_later_one_of_its_own_is_cancelled(env: Env) -> None:
    """ "Cancelled" is a state of the workflow: an operation that is cancelled much later still closes it as that."""

    @workflow.defn(name="scn.cs.later")
    async def later() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await workflow.sleep(3600)
        await note("went on")
        own = workflow.start_activity(hangs)
        await workflow.sleep(0.01)
        own.cancel()
        return await own

    told = await cancelled(env, later(), later, hangs, note, until_first=("TimerStarted",))
    assert told[:4] == ["Started", "TimerStarted", "CancelRequested", "TimerCanceled"]
    assert told[-1] == "Canceled"


async def test_a_cancel_waits_until_a_blocked_workflow_is_mended(env: Env) -> None:
    @workflow.defn(name="scn.cs.broken")
    async def broken() -> None:
        raise ValueError("a bug")

    @workflow.defn(name="scn.cs.broken")
    async def mended() -> None:
        await workflow.sleep(3600)

    async with env.worker(broken):
        handle = await env.start(broken())
        await held(handle)
        await handle.cancel("while blocked")
    env.handles[-1] = (handle, mended.definition)
    async with env.worker(mended):
        assert isinstance(await fails(handle), CancelledError)
    assert (await events(handle))[-1] == "Canceled"
    assert "CancelRequested" in await events(handle)


async def test_cleanup_may_wait_for_a_person(env: Env) -> None:
    """A cancelled workflow goes on as long as its cleanup does, signals included, and a second request changes nothing."""

    @workflow.defn(name="scn.cs.asks_back")
    async def asks_back() -> str:
        try:
            await workflow.sleep(3600)
        finally:
            answer = await go.receive(timeout=3600)
            await note(answer)
        return "never"

    async with env.worker(asks_back, note):
        handle = await env.start(asks_back())
        await reached(handle, "Started", "TimerStarted")
        await handle.cancel("one")
        await reached(handle, "Started", "TimerStarted", "CancelRequested", "TimerCanceled", "TimerStarted")
        await handle.cancel("two")
        await handle.signal(go("yes"))
        assert isinstance(await fails(handle), CancelledError)
    told = await events(handle)
    assert sorted(told[5:7]) == ["CancelRequested", "Signaled"] or told[5] == "Signaled"
    assert told[-4:-1].count("ActivityCompleted") == 1
    assert told[-1] == "Canceled"


async def test_a_handler_task_is_not_cancelled_with_the_workflow(env: Env) -> None:
    """A cancel goes to the main task: what signals have begun goes on until the workflow has ended."""

    @workflow.defn(name="scn.cs.handlers")
    class Handlers:
        def __init__(self) -> None:
            self.said: list[str] = []

        @workflow.run
        async def run(self) -> list[str]:
            try:
                await workflow.sleep(3600)
            except asyncio.CancelledError:
                self.said.append("main was cancelled")
            await workflow.wait_condition(lambda: "handled" in self.said)
            return self.said

        @workflow.signal
        async def handle(self) -> None:
            await go.receive()
            self.said.append("handled")

    async with env.worker(Handlers):
        handle = await env.start(Handlers.run())
        await reached(handle, "Started", "TimerStarted")
        await handle.signal(Handlers.handle())
        await reached(handle, "Started", "TimerStarted", "Signaled")
        await handle.cancel()
        await reached(handle, "Started", "TimerStarted", "Signaled", "CancelRequested")
        await handle.signal(go("on"))
        assert await handle.result(timeout=PATIENCE) == ["main was cancelled", "handled"]


@pytest.mark.parametrize("wait", [True, False])
async def test_a_cancel_reaches_each_of_many_once(env: Env, wait: bool) -> None:
    began = 0

    @activity.defn(name="scn.cs.one_of_many")
    async def one_of_many() -> None:
        nonlocal began
        began += 1
        await asyncio.Event().wait()

    @workflow.defn(name="scn.cs.many")
    async def many(wait: bool) -> None:
        type = WAIT if wait else ActivityCancellationType.TRY_CANCEL
        async with asyncio.TaskGroup() as group:
            if wait:  # gather ends with the first that was cancelled, and a group with the last
                for _ in range(3):
                    group.create_task(workflow.execute_activity(one_of_many, cancellation_type=type))
                await workflow.sleep(3600)
            await asyncio.gather(
                *[workflow.execute_activity(one_of_many, cancellation_type=type) for _ in range(3)],
                workflow.sleep(3600),
            )

    async with env.worker(many, one_of_many):
        handle = await env.start(many(wait))
        await until("all have begun", lambda: began >= 3)
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    told = await events(handle)
    assert told.count("ActivityCancelRequested") == 3
    assert told.count("TimerCanceled") == 1
    assert told.count("ActivityCanceled") == (3 if wait else 0)
