"""Child workflows: results, failures, ids, and what the end of a parent means to them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import ApplicationError, RetryPolicy, Signal, WorkflowAlreadyStartedError, activity, workflow
from durable.client import WorkflowHandle
from durable.common import WorkflowIDReusePolicy
from durable.exceptions import (
    CancelledError,
    ChildWorkflowError,
    ConversionError,
    TerminatedError,
    WorkflowNotFoundError,
)
from durable.workflow import ParentClosePolicy
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, reached, until

go: Signal[str] = Signal("chd.go", str)
end: Signal[None] = Signal[None]("chd.end")

TERMINATE, ABANDON, REQUEST_CANCEL = (
    ParentClosePolicy.TERMINATE,
    ParentClosePolicy.ABANDON,
    ParentClosePolicy.REQUEST_CANCEL,
)


@activity.defn(name="chd.double")
async def double(n: int) -> int:
    return 2 * n


@workflow.defn(name="chd.kid")
async def kid(n: int) -> int:
    return await double(n)


@workflow.defn(name="chd.fails")
async def failing(text: str) -> None:
    raise ApplicationError(text, type="Planned")


@workflow.defn(name="chd.waits")
async def waits() -> str:
    return await go.receive()


@workflow.defn(name="chd.awaits")
async def awaits(n: int) -> int:
    return await kid(n) + 1


@workflow.defn(name="chd.gathers")
async def gathers(n: int) -> list[int]:
    return list(await asyncio.gather(*[kid(i) for i in range(n)]))


@workflow.defn(name="chd.tells")
async def tells(what: str, more: list[Any]) -> Any:
    """What a parent sees of a child that ends badly."""
    try:
        return await workflow.execute_child_workflow(what, args=more, id="child")
    except ChildWorkflowError as error:
        said = [type(error.cause).__name__, str(error.cause), error.workflow_id, error.workflow_type]
        said.append(error.retry_state and error.retry_state.name)
        return [*said, error.namespace]


@workflow.defn(name="chd.starts")
async def starts(policy: str) -> str:
    """Start a child, and end in the way a signal says."""
    child = await waits.options(id="child", parent_close_policy=ParentClosePolicy[policy]).start()
    said = await go.receive()
    if said == "fail":
        raise ApplicationError(said)
    return child.first_execution_run_id


def child_of(env: Env, definition: Any = waits, id: str = "child") -> WorkflowHandle[Any, Any]:
    """The handle of a child, which is judged as all others are."""
    handle = env.client.get_workflow_handle(id)
    env.handles.append((handle, definition.definition))
    return handle


# ---------------------------------------------------------------- results


@pytest.mark.temporal("child_workflow/result", "hello/child_workflow")
async def test_a_child_is_awaited_like_an_activity(env: Env) -> None:
    async with env.worker(awaits, kid, double):
        handle = await env.start(awaits(20))
        assert await handle.result(timeout=PATIENCE) == 41
    assert await events(handle) == [
        "Started",
        "StartChildInitiated",
        "ChildStarted",
        "ChildCompleted",
        "Completed",
    ]
    asked = await event(handle, "StartChildInitiated")
    child = child_of(env, kid, asked.workflow_id)
    assert await events(child) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    assert (await event(handle, "ChildStarted")).run_id == asked.run_id


@pytest.mark.temporal(
    "child_workflow/start", "child_workflow/handle", "child_workflow/signal", "signal/child_workflow"
)
async def test_a_handle_signals_its_child_and_has_its_result(env: Env) -> None:
    @workflow.defn(name="chd.handles")
    async def handles() -> list[str]:
        child = await workflow.start_child_workflow(waits, id="child")
        await child.signal(go("hello"))
        return [child.id, child.first_execution_run_id, await child]

    async with env.worker(handles, waits):
        handle = await env.start(handles())
        id, run_id, result = await handle.result(timeout=PATIENCE)
    child = child_of(env)
    assert (id, result) == ("child", "hello")
    assert run_id == (await child.fetch_history()).run_id
    assert await events(child) == ["Started", "Signaled", "Completed"]
    told = await events(handle)
    assert told[:5] == [
        "Started",
        "StartChildInitiated",
        "ChildStarted",
        "SignalExternalInitiated",
        "ExternalSignaled",
    ]
    assert told[5:] == ["ChildCompleted", "Completed"]


async def test_a_child_by_name_with_a_result_type(env: Env) -> None:
    @workflow.defn(name="chd.by_name")
    async def by_name() -> int:
        child = await workflow.start_child_workflow("chd.kid", 4, result_type=int)
        return await child + await workflow.execute_child_workflow("chd.kid", args=[5], result_type=int)

    assert await env.run(by_name(), by_name, kid, double) == 18


@pytest.mark.temporal("child_workflow/throws_on_execute")
async def test_a_child_that_fails(env: Env) -> None:
    async with env.worker(tells, failing):
        handle = await env.start(tells("chd.fails", ["boom"]))
        told = await handle.result(timeout=PATIENCE)
    assert await events(handle) == [
        "Started",
        "StartChildInitiated",
        "ChildStarted",
        "ChildFailed",
        "Completed",
    ]
    assert told == [
        "ApplicationError",
        "Planned: boom",
        "child",
        "chd.fails",
        "RETRY_POLICY_NOT_SET",
        "default",
    ]


async def test_a_failure_that_is_not_caught_fails_the_parent(env: Env) -> None:
    @workflow.defn(name="chd.lets_fail")
    async def lets_fail() -> None:
        await failing("boom")

    async with env.worker(lets_fail, failing):
        handle = await env.start(lets_fail())
        cause = await fails(handle)
    assert isinstance(cause, ChildWorkflowError)
    assert isinstance(cause.cause, ApplicationError)
    assert cause.cause.type == "Planned"
    assert await events(handle) == ["Started", "StartChildInitiated", "ChildStarted", "ChildFailed", "Failed"]


@pytest.mark.temporal("child_workflow/throws_on_timeout")
async def test_a_child_that_outlives_its_timeout(env: Env) -> None:
    @workflow.defn(name="chd.impatient")
    async def impatient(attempts: int, timeout: str) -> list[Any]:
        policy = RetryPolicy(maximum_attempts=attempts, initial_interval=0.001) if attempts else None
        options: Any = {timeout: 0.1, "retry_policy": policy}
        try:
            return [await waits.options(**options)()]
        except ChildWorkflowError as error:
            return [type(error.cause).__name__, error.retry_state and error.retry_state.name]

    async with env.worker(impatient, waits):
        for attempts, timeout, why in (
            (1, "run_timeout", "MAXIMUM_ATTEMPTS_REACHED"),
            (5, "execution_timeout", "TIMEOUT"),
            (0, "execution_timeout", "TIMEOUT"),
            (0, "run_timeout", "RETRY_POLICY_NOT_SET"),
        ):
            handle = await env.start(impatient(attempts, timeout))
            assert await handle.result(timeout=PATIENCE) == ["TimeoutError", why]
    assert await events(handle) == [
        "Started",
        "StartChildInitiated",
        "ChildStarted",
        "ChildTimedOut",
        "Completed",
    ]


@pytest.mark.temporal("child_workflow/throws_on_termination")
async def test_a_child_that_an_operator_ends(env: Env) -> None:
    async with env.worker(tells, waits):
        handle = await env.start(tells("chd.waits", []))
        await reached(handle, "Started", "StartChildInitiated", "ChildStarted")
        await child_of(env).terminate(reason="enough")
        assert await handle.result(timeout=PATIENCE) == [
            "TerminatedError",
            "enough",
            "child",
            "chd.waits",
            "NON_RETRYABLE_FAILURE",
            "default",
        ]
    assert await events(handle) == [
        "Started",
        "StartChildInitiated",
        "ChildStarted",
        "ChildTerminated",
        "Completed",
    ]


async def test_a_child_that_somebody_else_cancels_is_an_error_of_the_child(env: Env) -> None:
    async with env.worker(tells, waits):
        handle = await env.start(tells("chd.waits", []))
        await reached(handle, "Started", "StartChildInitiated", "ChildStarted")
        await child_of(env).cancel()
        told = await handle.result(timeout=PATIENCE)
        assert (told[0], told[4]) == ("CancelledError", "NON_RETRYABLE_FAILURE")
    assert (await events(handle))[-2:] == ["ChildCanceled", "Completed"]


# ---------------------------------------------------------------- ids


@pytest.mark.temporal("child_workflow/throws_on_start", "workflow/already_started_child")
async def test_an_id_that_is_taken(env: Env) -> None:
    @workflow.defn(name="chd.collides")
    async def collides() -> list[str]:
        out: list[str] = []
        try:
            await workflow.start_child_workflow(waits, id="taken")
        except WorkflowAlreadyStartedError as error:
            out.append(f"start {error.workflow_id} {error.workflow_type}")
        try:
            await waits.options(id="taken")()
        except WorkflowAlreadyStartedError as error:
            out.append(f"await {error.workflow_id}")
        return out

    async with env.worker(collides, waits):
        other = await env.start(waits(), id="taken")
        handle = await env.start(collides())
        assert await handle.result(timeout=PATIENCE) == ["start taken chd.waits", "await taken"]
        await other.signal(go("x"))
        await other.result(timeout=PATIENCE)
    assert await events(handle) == [
        "Started", "StartChildInitiated", "StartChildFailed", "StartChildInitiated", "StartChildFailed", "Completed"
    ]  # fmt: skip


async def test_the_ids_of_children_shift_no_other_chance(env: Env) -> None:
    @workflow.defn(name="chd.uuids")
    async def uuids(children: int) -> list[str]:
        first = str(workflow.uuid4())
        ids = [(await kid.start(i)).id for i in range(children)]
        return [first, str(workflow.uuid4()), *ids]

    async with env.worker(uuids, kid, double):
        handle = await env.start(uuids(2))
        first, second, *ids = await handle.result(timeout=PATIENCE)
    assert len({first, second, *ids}) == 4


@pytest.mark.temporal("workflow/root_execution")
async def test_parents_and_roots(env: Env) -> None:
    @workflow.defn(name="chd.family")
    async def family(depth: int) -> list[Any]:
        info = workflow.info()
        told: list[Any] = [
            None if info.parent is None else [info.parent.workflow_id, info.parent.run_id],
            None if info.root is None else [info.root.workflow_id, info.root.run_id],
        ]
        if depth:
            told += await family.options(id=f"depth-{depth}")(depth - 1)
        return told

    async with env.worker(family):
        handle = await env.start(family(2), id="top")
        told = await handle.result(timeout=PATIENCE)
    top = ["top", handle.result_run_id]
    middle = (await env.client.get_workflow_handle("depth-2").fetch_history()).run_id
    assert told == [None, None, top, top, ["depth-2", middle], top]
    shown = await env.client.get_workflow_handle("depth-1").describe()
    assert (shown.parent_id, shown.parent_run_id) == ("depth-2", middle)
    assert [shown.root_id, shown.root_run_id] == top
    shown = await handle.describe()
    assert (shown.parent_id, shown.root_id, shown.root_run_id) == (None, "top", handle.result_run_id)


async def test_options_reach_the_child(env: Env) -> None:
    @workflow.defn(name="chd.opts")
    async def opts() -> None:
        child = await workflow.start_child_workflow(
            waits,
            id="child",
            task_queue="elsewhere",
            execution_timeout=60,
            memo={"why": "test"},
            static_summary="a child",
            static_details="at length",
            retry_policy=RetryPolicy(maximum_attempts=2),
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            parent_close_policy=ABANDON,
        )
        assert not child.done()

    async with env.worker(opts):
        handle = await env.start(opts())
        await handle.result(timeout=PATIENCE)
    child = child_of(env)
    shown = await child.describe()
    assert (shown.task_queue, await shown.memo(), await shown.static_summary()) == (
        "elsewhere",
        {"why": "test"},
        "a child",
    )
    started = await event(child, "Started")
    assert (started.execution_timeout, started.parent_close_policy) == (60_000_000, "abandon")
    assert (started.static_details, started.retry_policy.maximum_attempts) == ("at length", 2)
    asked = await event(handle, "StartChildInitiated")
    assert asked.id_reuse_policy == "reject_duplicate"
    async with env.worker(waits, task_queue="elsewhere"):
        await child.signal(go("late"))
        assert await child.result(timeout=PATIENCE) == "late"


async def test_what_cannot_be_is_refused_where_it_is_asked_for(env: Env) -> None:
    @workflow.defn(name="chd.wrong")
    async def wrong() -> list[str]:
        out: list[str] = []
        for attempt in (
            lambda: workflow.execute_child_workflow(kid, "four"),
            lambda: workflow.execute_child_workflow(kid, 4, colour="red"),
            lambda: workflow.execute_child_workflow(kid, 4, parent_close_policy=1),
            lambda: workflow.execute_child_workflow(kid, 4, run_timeout=-1),
        ):
            try:
                await attempt()  # type: ignore[operator, arg-type, call-arg]
            except (TypeError, ValueError, ConversionError) as error:
                out.append(f"{type(error).__name__}: {error}")
        return out

    told = await env.run(wrong(), wrong, kid, double)
    assert [line.split(":")[0] for line in told] == [
        "ConversionError", "TypeError", "TypeError", "ValueError"
    ]  # fmt: skip
    assert "input[0]" in told[0]
    assert "execute_child_workflow() has no option 'colour'" in told[1]
    assert "parent_close_policy must be a ParentClosePolicy" in told[2]
    assert "run_timeout" in told[3]


# ---------------------------------------------------------------- the end of the parent


@pytest.mark.parametrize("way", ["complete", "fail", "cancel", "terminate", "time out"])
async def test_children_end_with_their_parent(plain: Env, way: str) -> None:
    child = await _end_parent(plain, TERMINATE, way)
    assert isinstance(await fails(child), TerminatedError)
    assert (await events(child))[-1] == "Terminated"
    assert (await event(child, "Terminated")).reason == "by parent close policy"


@pytest.mark.parametrize("way", ["complete", "terminate"])
async def test_children_are_asked_to_end_with_their_parent(plain: Env, way: str) -> None:
    child = await _end_parent(plain, REQUEST_CANCEL, way)
    assert isinstance(await fails(child), CancelledError)
    assert await events(child) == ["Started", "CancelRequested", "Canceled"]


@pytest.mark.parametrize("way", ["complete", "terminate"])
async def test_children_outlive_a_parent_that_abandons_them(plain: Env, way: str) -> None:
    child = await _end_parent(plain, ABANDON, way)
    assert (await child.describe()).status.name == "RUNNING"
    async with plain.worker(waits):
        await child.signal(go("alone"))
        assert await child.result(timeout=PATIENCE) == "alone"


async def _end_parent(env: Env, policy: ParentClosePolicy, way: str) -> WorkflowHandle[Any, Any]:
    """Start a parent with one child, end the parent in some way, and return the child once it has been told."""
    async with env.worker(starts, waits):
        options: dict[str, Any] = {"run_timeout": 4} if way == "time out" else {}
        handle = await env.start(starts(policy.name), **options)
        child = child_of(env)
        await reached(handle, "Started", "StartChildInitiated", "ChildStarted")
        if way == "cancel":
            await handle.cancel()
        elif way == "terminate":
            await handle.terminate()
        elif way != "time out":
            await handle.signal(go(way))
        closed = {"complete": "Completed", "fail": "Failed", "cancel": "Canceled", "terminate": "Terminated"}

        async def over() -> bool:
            return (await events(handle))[-1] == closed.get(way, "TimedOut")

        await until("the parent is closed", over)
        if policy is not ABANDON:

            async def told() -> bool:
                return (await child.describe()).close_time is not None

            await until("the child is closed", told)
        return child


async def test_grandchildren_end_with_their_grandparent(plain: Env) -> None:
    @workflow.defn(name="chd.tower")
    async def tower(depth: int) -> str:
        return await (
            tower.options(id=f"floor-{depth - 1}")(depth - 1) if depth else waits.options(id="child")()
        )

    async with plain.worker(tower, waits):
        handle = await plain.start(tower(3))
        child = child_of(plain)

        async def there() -> bool:
            try:
                return (await events(child)) == ["Started"]
            except WorkflowNotFoundError:
                return False

        await until("the last of them is there", there)
        await handle.terminate()
        assert isinstance(await fails(child), TerminatedError)


async def test_children_that_nobody_owns_end_with_their_parent(plain: Env) -> None:
    """No worker serves their queue; and one is blocked, so no message would wake it."""

    @workflow.defn(name="chd.orphans")
    async def orphans() -> None:
        await waits.options(id="child", task_queue="nobody").start()

    async with plain.worker(orphans):
        handle = await plain.start(orphans())
        await handle.result(timeout=PATIENCE)
        assert isinstance(await fails(child_of(plain)), TerminatedError)


async def test_a_child_asked_for_by_the_last_task_is_never_there(plain: Env) -> None:
    """But for one that is abandoned."""

    @workflow.defn(name="chd.hasty")
    async def hasty() -> str:
        tasks = [
            asyncio.ensure_future(waits.options(id="dropped").start()),
            asyncio.ensure_future(waits.options(id="child", parent_close_policy=ABANDON).start()),
        ]
        await asyncio.sleep(0)
        assert tasks
        return "gone"

    async with plain.worker(hasty, waits):
        handle = await plain.start(hasty())
        assert await handle.result(timeout=PATIENCE) == "gone"
        with pytest.raises(WorkflowNotFoundError):
            await plain.client.get_workflow_handle("dropped").describe()
        child = child_of(plain)
        await child.signal(go("well"))
        assert await child.result(timeout=PATIENCE) == "well"
    assert await events(handle) == ["Started", "StartChildInitiated", "StartChildInitiated", "Completed"]


# ---------------------------------------------------------------- many


async def test_a_thousand_children_each_once(plain: Env) -> None:
    async with plain.worker(gathers, kid, double):
        handle = await plain.start(gathers(1000))
        assert await handle.result(timeout=10 * PATIENCE) == [2 * n for n in range(1000)]
    told = await events(handle)
    assert [told.count(kind) for kind in ("StartChildInitiated", "ChildStarted", "ChildCompleted")] == [
        1000
    ] * 3
    assert len(told) == 3002
