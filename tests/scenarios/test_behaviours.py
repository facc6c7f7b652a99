"""What the tests of Temporal's Python SDK say of workflow code, activities and updates, said of this library."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from contextvars import ContextVar, copy_context
from datetime import timedelta
from typing import Any

import pytest

from durable import (
    ActivityError,
    ApplicationError,
    RetryPolicy,
    WorkflowIDConflictPolicy,
    activity,
    workflow,
)
from durable.client import WithStartWorkflowOperation, WorkflowUpdateFailedError, WorkflowUpdateStage
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, held, reached

ADMITTED = WorkflowUpdateStage.ADMITTED
ONCE = RetryPolicy(maximum_attempts=1)


# ---------------------------------------------------------------- what a run knows


@workflow.defn(name="beh.info")
class Knows:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        info = workflow.info()
        return {
            "attempt": info.attempt,
            "continued": info.continued_run_id,
            "cron": info.cron_schedule,
            "execution_timeout": info.execution_timeout,
            "first": info.first_execution_run_id,
            "parent": info.parent,
            "root": info.root,
            "attempts": info.retry_policy and info.retry_policy.maximum_attempts,
            "run_id": info.run_id,
            "run_timeout": info.run_timeout,
            "task_queue": info.task_queue,
            "task_timeout": info.task_timeout,
            "id": info.workflow_id,
            "type": info.workflow_type,
            "namespace": info.namespace,
            "start": info.start_time.isoformat(),
            "created": info.workflow_start_time.isoformat(),
            "now": workflow.now().isoformat(),
            "length": info.get_current_history_length(),
        }


@pytest.mark.temporal("workflow/workflow_info")
async def test_workflow_info(env: Env) -> None:
    async with env.worker(Knows, task_queue="info"):
        handle = await env.start(
            Knows.run,
            id="knows",
            task_queue="info",
            execution_timeout=timedelta(hours=3),
            run_timeout=timedelta(hours=2),
            task_timeout=timedelta(seconds=7),
            retry_policy=RetryPolicy(maximum_attempts=2),
        )
        got = await handle.result(timeout=PATIENCE)
    run_id = handle.first_execution_run_id
    begun = (await handle.describe()).start_time.isoformat()
    assert got.pop("start") == got.pop("now")
    assert got.pop("created") == begun
    assert got.pop("attempts") == 2
    assert got.pop("length") == 1
    assert got.pop("namespace") == env.client.namespace
    assert (got.pop("run_id"), got.pop("first"), got.pop("id")) == (run_id, run_id, "knows")
    assert (got.pop("type"), got.pop("task_queue"), got.pop("attempt")) == ("beh.info", "info", 1)
    assert (got.pop("execution_timeout"), got.pop("run_timeout"), got.pop("task_timeout")) == (
        "PT10800S",
        "PT7200S",
        "PT7S",
    )
    assert set(got.values()) == {None}
    assert await events(handle) == ["Started", "Completed"]


# ---------------------------------------------------------------- handlers that are set while it runs


@workflow.defn(name="beh.sets_handlers")
class SetsHandlers:
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.ended = False

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: self.ended)
        workflow.set_signal_handler("late", lambda value: self.heard.append(["late", value]))
        workflow.set_dynamic_signal_handler(lambda name, args: self.heard.append([name, *args]))
        workflow.set_query_handler("named", lambda word: [word, len(self.heard)])
        workflow.set_dynamic_query_handler(lambda name, args: [name, *args])
        assert workflow.get_signal_handler("late") is not None
        assert workflow.get_signal_handler("nobody") is None
        self.ended = False
        await workflow.wait_condition(lambda: self.ended)
        workflow.set_signal_handler("late", None)
        workflow.set_dynamic_query_handler(None)
        self.ended = False
        await workflow.wait_condition(lambda: self.ended)
        return self.heard

    @workflow.signal
    def go(self) -> None:
        self.ended = True


@pytest.mark.temporal("workflow/signal_and_query_handlers")
async def test_handlers_that_are_set_while_it_runs(env: Env) -> None:
    from durable.exceptions import WorkflowQueryFailedError

    async with env.worker(SetsHandlers):
        handle = await env.start(SetsHandlers.run)
        await handle.signal("late", 1)
        await handle.signal("anything", 2)
        with pytest.raises(WorkflowQueryFailedError, match="named"):
            await handle.query("named", "x")
        await handle.signal(SetsHandlers.go)
        await handle.signal("late", 3)
        assert await handle.query("named", "x") == ["x", 3]
        assert await handle.query("whatever", 1) == ["whatever", 1]
        await handle.signal(SetsHandlers.go)
        await handle.signal("late", 4)
        with pytest.raises(WorkflowQueryFailedError, match="whatever"):
            await handle.query("whatever", 1)
        await handle.signal(SetsHandlers.go)
        got = await handle.result(timeout=PATIENCE)
    # What came before its handler was kept until there was one; the dynamic one has what no other takes.
    assert [one for one in got if one[0] == "late"] == [["late", 1], ["late", 3], ["late", 4]]
    assert [one for one in got if one[0] != "late"] == [["anything", 2]]
    assert (await events(handle)).count("Signaled") == 7


# ---------------------------------------------------------------- locks and semaphores


@activity.defn(name="beh.noop")
async def noop(who: int) -> int:
    await asyncio.sleep(0)
    return who


@workflow.defn(name="beh.turns")
class TakesTurns:
    """Many want in; so many are in at a time, in the order they came, and one that gives up lets the next one in."""

    @workflow.run
    async def run(self, places: int, inside: str, impatient: bool) -> dict[str, Any]:
        gate: Any = asyncio.Lock() if places == 1 else asyncio.Semaphore(places)
        order: list[int] = []
        now = most = 0

        async def one(who: int) -> None:
            nonlocal now, most
            async with gate:
                now += 1
                most = max(most, now)
                order.append(who)
                if inside == "activity":
                    await workflow.execute_activity(noop, who, start_to_close_timeout=timedelta(seconds=10))
                else:
                    await asyncio.sleep(0.002)
                now -= 1

        tasks = [asyncio.create_task(one(who)) for who in range(6)]
        if impatient:
            await asyncio.sleep(0)
            tasks[3].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        gave_up = [who for who, end in enumerate(ended) if isinstance(end, BaseException)]
        return {"order": order, "most": most, "gave_up": gave_up, "free": not gate.locked()}


@pytest.mark.temporal("workflow/lock_semaphore")
@pytest.mark.parametrize("impatient", [False, True], ids=["patient", "impatient"])
@pytest.mark.parametrize("inside", ["activity", "timer"])
@pytest.mark.parametrize("places", [1, 2], ids=["lock", "semaphore"])
async def test_locks_and_semaphores(env: Env, places: int, inside: str, impatient: bool) -> None:
    async with env.worker(TakesTurns, noop):
        handle = await env.start(TakesTurns.run(places, inside, impatient))
        got = await handle.result(timeout=PATIENCE)
    entered = [who for who in range(6) if who != 3 or not impatient]
    assert got == {"order": entered, "most": places, "gave_up": [3] if impatient else [], "free": True}
    told = await events(handle)
    began, ended = (
        ("ActivityScheduled", "ActivityCompleted") if inside == "activity" else ("TimerStarted", "TimerFired")
    )
    assert told.count(began) == told.count(ended) == len(entered)
    assert told[: 1 + places] == ["Started", *[began] * places], "no more than there are places"


# ---------------------------------------------------------------- what fails a workflow


class Planned(Exception):
    """One that a workflow may say it fails with."""


class MorePlanned(Planned):
    """A kind of it."""


def fails_with(*types: type[BaseException]) -> Any:
    @workflow.defn(name="beh.fails_with", failure_exception_types=types)
    class FailsWith:
        @workflow.run
        async def run(self, where: str) -> None:
            if where == "run":
                raise MorePlanned("from run")
            await workflow.wait_condition(lambda: False)

        @workflow.signal
        async def signal(self) -> None:
            raise MorePlanned("from a signal")

        @workflow.update
        async def update(self) -> None:
            raise MorePlanned("from an update")

    return FailsWith


@pytest.mark.temporal("workflow/failure_types_configured")
@pytest.mark.parametrize("where", ["run", "signal", "update"])
@pytest.mark.parametrize(
    ("types", "fatal"),
    [((MorePlanned,), True), ((Planned,), True), ((KeyError,), False)],
    ids=["itself", "a superclass", "another"],
)
async def test_failure_types_configured(
    env: Env, types: tuple[type[BaseException], ...], fatal: bool, where: str
) -> None:
    flow = fails_with(*types)
    async with env.worker(flow):
        handle = await env.start(flow.run(where))
        update = None
        if where == "signal":
            await handle.signal("signal")
        elif where == "update":
            update = await handle.start_update("update", wait_for_stage=ADMITTED)
        if not fatal:
            assert "MorePlanned" in await held(handle)
        elif update is not None:
            with pytest.raises(WorkflowUpdateFailedError) as caught:
                await update.result()
            assert isinstance(caught.value.cause, ApplicationError)
            assert caught.value.cause.type == "MorePlanned"
        else:
            cause = await fails(handle)
            assert isinstance(cause, ApplicationError)
            assert (cause.type, cause.message) == (
                "MorePlanned",
                {"run": "from run"}.get(where, "from a signal"),
            )
        told = await events(handle)
        if not (fatal and update is None):
            await handle.terminate()
    first = {"run": [], "signal": ["Signaled"], "update": ["UpdateAccepted", "UpdateCompleted"]}[where]
    if fatal:
        assert told == ["Started", *first, *([] if update else ["Failed"])]
    else:
        assert [one for one in told if one != "Signaled"] == ["Started"], "a bug leaves no event of its own"


# ---------------------------------------------------------------- code that holds the thread


@pytest.mark.temporal("workflow/deadlock_eviction", "workflow/deadlock")
async def test_a_run_whose_turn_was_ended_is_taken_down_and_goes_on_with_mended_code(plain: Env) -> None:
    torn_down: list[str] = []

    @workflow.defn(name="beh.deadlocks")
    async def deadlocks() -> str:
        try:
            await noop(1)
            end = time.monotonic() + 2 * PATIENCE
            while time.monotonic() < end:
                pass
        finally:
            torn_down.append("in its own turn")
        return "never"

    @workflow.defn(name="beh.deadlocks")
    async def mended() -> str:
        return f"done {await noop(1)}"

    handle = await plain.start(deadlocks())
    async with plain.worker(deadlocks, noop, deadlock_timeout=1.0):
        reason = await held(handle)
    assert "held the event loop for more than 1 s" in reason
    assert torn_down
    plain.handles[-1] = (handle, mended.definition)
    async with plain.worker(mended, noop):
        assert await handle.result(timeout=PATIENCE) == "done 1"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


# ---------------------------------------------------------------- updates


@workflow.defn(name="beh.validated")
class Validated:
    seen: list[int] = []  # noqa: RUF012  # of all instances, replays included

    def __init__(self) -> None:
        self.total = 0
        self.ended = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.ended)
        return self.total

    @workflow.update
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @add.validator
    def _check(self, amount: int) -> None:
        Validated.seen.append(amount)
        if amount < 0:
            raise ValueError("it must not be negative")

    @workflow.signal
    def end(self) -> None:
        self.ended = True


@pytest.mark.temporal("update/validation_replay")
async def test_validators_are_asked_once_and_never_by_a_replay(env: Env) -> None:
    Validated.seen.clear()
    handle = await env.start(Validated.run)
    for amount in (1, -1, 2):
        async with env.worker(Validated):
            if amount < 0:
                with pytest.raises(WorkflowUpdateFailedError):
                    await handle.execute_update(Validated.add, amount)
            else:
                await handle.execute_update(Validated.add, amount)
    asked = list(Validated.seen)
    async with env.worker(Validated):
        await handle.signal(Validated.end)
        assert await handle.result(timeout=PATIENCE) == 3
    assert Validated.seen == asked == [1, -1, 2]
    one = ["UpdateAccepted", "UpdateCompleted"]
    assert await events(handle) == ["Started", *one, *one, "Signaled", "Completed"]


@pytest.mark.temporal("update_with_start/rejected_update")
async def test_an_update_that_is_refused_leaves_the_workflow_that_it_started(env: Env) -> None:
    async with env.worker(Validated):
        operation = WithStartWorkflowOperation(
            Validated.run, id="with", id_conflict_policy=WorkflowIDConflictPolicy.FAIL
        )
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await env.client.execute_update_with_start_workflow(
                Validated.add, -5, start_workflow_operation=operation
            )
        assert "must not be negative" in str(caught.value.cause)
        handle = await operation.workflow_handle()
        env.handles.append((handle, Validated.run.definition))
        assert await handle.execute_update(Validated.add, 4) == 4
        await handle.signal(Validated.end)
        assert await handle.result(timeout=PATIENCE) == 4
    assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", "Signaled", "Completed"]


# ---------------------------------------------------------------- activities


VALUE: ContextVar[str] = ContextVar("beh.value", default="unset")


@pytest.mark.temporal("worker_activity/contextvars")
async def test_context_variables(env: Env) -> None:
    """What an activity sets is seen by what it calls, wherever that runs, and by no other attempt.

    It begins with what its worker was started with, whoever's call brings it about.
    """

    @activity.defn(name="beh.async_context")
    async def async_context(value: str) -> list[str]:
        before = VALUE.get()
        VALUE.set(value)

        async def inner() -> str:
            return f"{VALUE.get()} of {activity.info().activity_type}"

        return [before, await inner(), await asyncio.create_task(inner()), await asyncio.to_thread(VALUE.get)]

    @activity.defn(name="beh.thread_context")
    def thread_context(value: str) -> list[str]:
        before = VALUE.get()
        VALUE.set(value)
        found: list[str] = []
        context = copy_context()
        thread = threading.Thread(
            target=lambda: found.append(
                context.run(lambda: f"{VALUE.get()} of {activity.info().activity_type}")
            )
        )
        thread.start()
        thread.join()
        return [before, VALUE.get(), *found]

    @workflow.defn(name="beh.contexts")
    async def contexts() -> Any:
        VALUE.set("workflow")

        async def task(value: str) -> str:
            VALUE.set(value)
            await asyncio.sleep(0)
            return VALUE.get()

        return [
            await async_context("one"),
            await async_context("two"),
            await thread_context("three"),
            await thread_context("four"),
            await asyncio.gather(task("a"), task("b")),
            VALUE.get(),
        ]

    async with env.worker(contexts, async_context, thread_context):
        callers = VALUE.set("caller")
        handle = await env.start(contexts())
        got = await handle.result(timeout=PATIENCE)
        VALUE.reset(callers)
    for found, value in zip(got[:2], ("one", "two"), strict=True):
        assert found == ["unset", *[f"{value} of beh.async_context"] * 2, value]
    for found, value in zip(got[2:4], ("three", "four"), strict=True):
        assert found == ["unset", value, f"{value} of beh.thread_context"]
    assert got[4:] == [["a", "b"], "workflow"]
    assert VALUE.get() == "unset"
    assert (await events(handle)).count("ActivityCompleted") == 4


@pytest.mark.temporal("worker_activity/worker_shutdown_graceful", "activity/shutdown")
@pytest.mark.parametrize("style", ["async", "thread"])
async def test_worker_shutdown_graceful(plain: Env, style: str) -> None:
    """An activity is told that its worker stops; what it returns within the grace counts, and others go on elsewhere."""
    began, stays = threading.Event(), threading.Event()
    stopped: list[str] = []

    @activity.defn(name="beh.tidies_up")
    async def tidies_up() -> str:
        began.set()
        await activity.wait_for_worker_shutdown()
        assert activity.is_worker_shutdown()
        return f"tidy, attempt {activity.info().attempt}"

    @activity.defn(name="beh.tidies_up_in_thread")
    def tidies_up_in_thread() -> str:
        began.set()
        activity.wait_for_worker_shutdown_sync(PATIENCE)
        assert activity.is_worker_shutdown()
        return f"tidy, attempt {activity.info().attempt}"

    @activity.defn(name="beh.overstays")
    async def overstays() -> str:
        if activity.info().attempt > 1:
            return f"attempt {activity.info().attempt}"
        stays.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            stopped.append("by the worker" if details and details.worker_shutdown else "otherwise")
            raise
        return "never"

    tidy: Any = tidies_up if style == "async" else tidies_up_in_thread

    @workflow.defn(name="beh.outlives_worker")
    async def outlives_worker() -> list[str]:
        policy = RetryPolicy(initial_interval=0.01)
        return await asyncio.gather(
            workflow.execute_activity(tidy, retry_policy=policy),
            workflow.execute_activity(overstays, retry_policy=policy),
        )

    activities = (tidies_up, tidies_up_in_thread, overstays)
    # The one that overstays uses all of the grace, and the other one has to be in time on a busy machine as well.
    async with plain.worker(outlives_worker, *activities, graceful_shutdown_timeout=4):
        handle = await plain.start(outlives_worker())
        for event_of_one in (began, stays):
            assert await asyncio.to_thread(event_of_one.wait, PATIENCE)
        await reached(handle, "Started", "ActivityScheduled", "ActivityScheduled")
    assert stopped == ["by the worker"]
    async with plain.worker(outlives_worker, *activities):
        assert await handle.result(timeout=PATIENCE) == ["tidy, attempt 1", "attempt 2"]
    assert await events(handle) == [
        "Started", *["ActivityScheduled"] * 2, *["ActivityCompleted"] * 2, "Completed"
    ]  # fmt: skip
    assert sorted([(await event(handle, "ActivityCompleted", n)).attempt for n in range(2)]) == [1, 2]


# ---------------------------------------------------------------- two at once


@pytest.mark.temporal("bugs/activity_start_race")
async def test_an_activity_that_starts_while_its_workflow_is_cancelled(env: Env) -> None:
    """Many runs, each cancelled at about the time its activity starts: each closes, once, and what it recorded replays."""

    @activity.defn(name="beh.brief")
    async def brief() -> str:
        await asyncio.sleep(0.001)
        return "brief"

    @workflow.defn(name="beh.starts_and_is_cancelled")
    async def starts_and_is_cancelled() -> str:
        try:
            return await workflow.execute_activity(brief, retry_policy=ONCE)
        except (asyncio.CancelledError, ActivityError):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            return "cancelled"

    async with env.worker(starts_and_is_cancelled, brief):
        handles = [await env.start(starts_and_is_cancelled()) for _ in range(12)]
        await asyncio.gather(*[_cancel(handle, n * 0.0005) for n, handle in enumerate(handles)])
        results = [await handle.result(timeout=PATIENCE) for handle in handles]
    assert set(results) <= {"brief", "cancelled"}
    for handle in handles:
        told = await events(handle)
        assert told[-1] == "Completed"
        assert told.count("ActivityScheduled") <= 1
        assert told.count("ActivityCompleted") + told.count("ActivityCanceled") <= 1


async def _cancel(handle: Any, after: float) -> None:
    from durable.exceptions import WorkflowNotFoundError

    await asyncio.sleep(after)
    with contextlib.suppress(WorkflowNotFoundError):
        await handle.cancel()
