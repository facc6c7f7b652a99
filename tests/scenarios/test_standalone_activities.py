"""Activities that a client starts by itself, without a workflow."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from durable import ApplicationError, Client, RetryPolicy, Worker, activity, workflow
from durable._engine._activities import Progress, conclude_row, timeout
from durable.client import (
    ActivityExecutionStatus,
    ActivityFailureError,
    ActivityHandle,
    ActivityStart,
    Interceptor,
    OutboundInterceptor,
    PendingActivityState,
)
from durable.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    CircuitBreaker,
    Concurrency,
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from durable.converter import (
    DataConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.exceptions import (
    ActivityAlreadyStartedError,
    ActivityNotFoundError,
    AsyncActivityCancelledError,
    CancelledError,
    ConversionError,
    FilterError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
)
from durable.history import Payload, decode_history
from durable.store import beneath
from durable.worker import _reports
from tests.crash.judge import judge_history
from tests.scenarios.rig import PATIENCE, Env, kind, until
from tests.scenarios.test_operated_activities import Step

FAST = RetryPolicy(initial_interval=0.01, maximum_interval=0.02)
DONE = ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


@activity.defn(name="alone.add")
async def add(a: int, b: int = 1) -> int:
    return a + b


@activity.defn(name="alone.upper", start_to_close_timeout=timedelta(seconds=77), summary="said once")
def upper(text: str) -> str:
    return text.upper()


@activity.defn(name="alone.fails")
async def fails(kind: str) -> None:
    raise ApplicationError("it failed", type=kind, non_retryable=kind == "Final")


@pytest.fixture
def told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats are passed on soon, and with them an attempt is told what is wanted of it, without a short timeout."""
    monkeypatch.setattr(_reports, "HEARTBEAT_LONGEST", 0.2)


async def events(env: Env, handle: ActivityHandle[Any]) -> list[Any]:
    """The run's events, which are what every history is."""
    rows = await env.client.store.read_events(handle.run_id)
    found = decode_history(rows)
    judge_history(found, closed=len(found) > 2)
    return found


async def kinds(env: Env, handle: ActivityHandle[Any]) -> list[str]:
    return [kind(event) for event in await events(env, handle)]


async def cause(handle: ActivityHandle[Any]) -> BaseException:
    with pytest.raises(ActivityFailureError) as failed:
        await handle.result(timeout=PATIENCE)
    assert failed.value.cause is not None
    return failed.value.cause


@pytest.mark.temporal("patterns/hello_standalone_activity")
async def test_a_client_runs_an_activity(plain: Env) -> None:
    async with plain.worker(add, upper):
        assert await plain.client.execute_activity(add, 1, 2, id="one") == 3
        handle = await plain.client.start_activity(add(5), id="call")
        assert await handle.result(timeout=PATIENCE) == 6
        threaded = await plain.client.start_activity(upper, "a", id="thread")
        assert await threaded.result(timeout=PATIENCE) == "A"
        named = await plain.client.start_activity("alone.add", args=[1, 1], id="named", result_type=int)
        assert await named.result(timeout=PATIENCE) == 2
        again = plain.client.get_activity_handle("one", result_type=int)
        assert await again.result(timeout=PATIENCE) == 3
    assert await kinds(plain, handle) == DONE
    started, scheduled, completed, closed = [event.data for event in await events(plain, handle)]
    assert (scheduled.activity_id, scheduled.activity_type, scheduled.id) == ("call", "alone.add", 1)
    assert (completed.attempt, completed.identity) == (1, plain.client.identity)
    assert completed.result == closed.result
    assert started.identity == plain.client.identity
    assert (await events(plain, threaded))[1].data.start_to_close == 77_000_000


async def test_it_knows_that_it_is_alone(plain: Env) -> None:
    infos: list[activity.Info] = []

    @activity.defn(name="alone.infos")
    async def informed() -> None:
        infos.append(activity.info())

    async with plain.worker(informed):
        handle = await plain.client.start_activity(
            informed, id="me", heartbeat_timeout=9, schedule_to_close_timeout=60, retry_policy=FAST
        )
        await handle.result(timeout=PATIENCE)
    (info,) = infos
    assert not info.in_workflow
    assert (info.workflow_id, info.workflow_run_id, info.workflow_type, info.workflow_namespace) == (
        None,
    ) * 4
    assert (info.activity_id, info.activity_type, info.activity_run_id) == (
        "me",
        "alone.infos",
        handle.run_id,
    )
    assert (info.namespace, info.attempt, info.is_local, info.task_queue) == ("default", 1, False, "default")
    assert info.heartbeat_timeout == timedelta(seconds=9)
    assert info.schedule_to_close_timeout == timedelta(seconds=60)
    assert info.start_to_close_timeout is None
    assert info.retry_policy == RetryPolicy(
        initial_interval=timedelta(seconds=0.01), maximum_interval=timedelta(seconds=0.02)
    )
    assert info.idempotency_key


async def test_failures_reach_whoever_waits(plain: Env) -> None:
    async with plain.worker(fails):
        final = await plain.client.start_activity(fails, "Final", id="final")
        error = await cause(final)
        assert isinstance(error, ApplicationError)
        assert (error.type, error.message) == ("Final", "it failed")
        assert (await final.describe()).status is ActivityExecutionStatus.FAILED
        twice = await plain.client.start_activity(
            fails, "Again", id="twice", retry_policy=RetryPolicy(initial_interval=0.01, maximum_attempts=2)
        )
        await cause(twice)
        told = await twice.describe()
        assert (told.attempt, told.run_state, told.close_time is None) == (2, None, False)
        assert isinstance(told.last_failure, ApplicationError)
    assert await kinds(plain, twice) == ["Started", "ActivityScheduled", "ActivityFailed", "Failed"]


async def test_timeouts_of_all_kinds(plain: Env) -> None:
    step = Step()
    async with plain.worker(step.activity):
        lonely = await plain.client.start_activity(
            "nobody", id="lonely", task_queue="other", schedule_to_start_timeout=0.05
        )
        slow = await plain.client.start_activity(
            step.activity,
            id="slow",
            start_to_close_timeout=0.05,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        late = await plain.client.start_activity(
            step.activity, id="late", schedule_to_close_timeout=0.1, retry_policy=FAST
        )
        silent = await plain.client.start_activity(
            step.activity, id="silent", heartbeat_timeout=0.05, retry_policy=RetryPolicy(maximum_attempts=1)
        )
        for handle, which in (
            (lonely, TimeoutType.SCHEDULE_TO_START),
            (slow, TimeoutType.START_TO_CLOSE),
            (late, TimeoutType.SCHEDULE_TO_CLOSE),
            (silent, TimeoutType.HEARTBEAT),
        ):
            error = await cause(handle)
            assert isinstance(error, TimeoutError), handle
            assert error.type is which
            assert (await handle.describe()).status is ActivityExecutionStatus.TIMED_OUT
    assert await kinds(plain, slow) == ["Started", "ActivityScheduled", "ActivityTimedOut", "TimedOut"]


async def test_a_delay_comes_before_everything(plain: Env) -> None:
    async with plain.worker(add):
        # One whose delay is over before nothing here, and one that is waited for.
        handle = await plain.client.start_activity(
            add, 1, id="far", start_delay=3600, schedule_to_start_timeout=5, schedule_to_close_timeout=10
        )
        told = await handle.describe()
        assert told.run_state is PendingActivityState.SCHEDULED
        assert told.next_attempt_schedule_time == told.scheduled_time + timedelta(seconds=3600)
        assert told.expiration_time == told.scheduled_time + timedelta(seconds=3610)
        after = f"ExecutionTime > '{(told.scheduled_time + timedelta(seconds=3599)).isoformat()}'"
        (listed,) = [one async for one in plain.client.list_activities(after)]
        assert listed.status is ActivityExecutionStatus.RUNNING
        with pytest.raises(asyncio.TimeoutError):
            await handle.result(timeout=0.05)
        await handle.terminate()
        handle = await plain.client.start_activity(add, 1, id="later", start_delay=0.3)
        assert await handle.result(timeout=PATIENCE) == 2
    first, *_, last = await events(plain, handle)
    assert last.time - first.time >= 300_000


async def test_ids_are_used_as_policies_say(plain: Env) -> None:
    client = plain.client
    first = await client.start_activity(add, 1, id="same")
    with pytest.raises(ActivityAlreadyStartedError) as taken:
        await client.start_activity(fails, "x", id="same")
    assert (taken.value.activity_id, taken.value.activity_type) == ("same", "alone.add")
    assert taken.value.run_id == first.run_id
    used = await client.start_activity(
        add, 9, id="same", id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING
    )
    assert used.run_id == first.run_id
    async with plain.worker(add, fails):
        assert await used.result(timeout=PATIENCE) == 2
        for policy in (
            ActivityIDReusePolicy.REJECT_DUPLICATE,
            ActivityIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        ):
            with pytest.raises(ActivityAlreadyStartedError):
                await client.start_activity(add, 1, id="same", id_reuse_policy=policy)
        again = await client.start_activity(fails, "Final", id="same")
        await cause(again)
        assert again.run_id != first.run_id
        third = await client.start_activity(
            add, 2, id="same", id_reuse_policy=ActivityIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        )
        assert await third.result(timeout=PATIENCE) == 3
        assert await client.get_activity_handle("same", run_id=first.run_id).result(timeout=PATIENCE) == 2


@workflow.defn(name="alone.workflow")
async def other() -> str:
    return "workflow"


async def test_ids_of_workflows_are_others(plain: Env) -> None:
    async with plain.worker(other, add):
        handle = await plain.start(other(), id="shared")
        alone = await plain.client.start_activity(add, 1, id="shared")
        assert await handle.result(timeout=PATIENCE) == "workflow"
        assert await alone.result(timeout=PATIENCE) == 2
        assert [run.id async for run in plain.client.list_workflows()] == ["shared"]
        assert [one.activity_id async for one in plain.client.list_activities()] == ["shared"]
        assert (await plain.client.count_workflows()).count == 1
        assert (await plain.client.count_activities()).count == 1


# ---------------------------------------------------------------------- cancel and terminate


async def test_one_that_waits_is_cancelled_at_once(plain: Env) -> None:
    handle = await plain.client.start_activity(add, 1, id="waits", start_delay=3600)
    await handle.cancel("no longer wanted")
    assert isinstance(await cause(handle), CancelledError)
    assert (await handle.describe()).status is ActivityExecutionStatus.CANCELED
    with pytest.raises(ActivityNotFoundError, match="is closed"):
        await handle.cancel()
    assert await kinds(plain, handle) == ["Started", "ActivityScheduled", "ActivityCanceled", "Canceled"]


@pytest.mark.usefixtures("told_soon")
async def test_one_that_runs_is_told(plain: Env) -> None:
    step = Step()
    async with plain.worker(step.activity):
        handle = await plain.client.start_activity(step.activity, True, id="runs", heartbeat_timeout=60)
        await step.begun()
        await handle.cancel("no longer wanted")
        await handle.cancel("again")
        told = await handle.describe()
        if told.run_state is not None:
            assert told.run_state is PendingActivityState.CANCEL_REQUESTED
            assert told.canceled_reason == "no longer wanted"
        assert isinstance(await cause(handle), CancelledError)
        assert step.details == [activity.ActivityCancellationDetails(cancel_requested=True)]


async def test_one_that_does_not_listen_has_its_result(plain: Env) -> None:
    step = Step()
    async with plain.worker(step.activity):
        handle = await plain.client.start_activity(step.activity, id="deaf")
        await step.begun()
        await handle.cancel("stop")
        told = await handle.describe()
        assert (told.run_state, told.canceled_reason) == (PendingActivityState.CANCEL_REQUESTED, "stop")
        step.say("done all the same")
        assert await handle.result(timeout=PATIENCE) == "done all the same"
        failing = await plain.client.start_activity(step.activity, id="fails", retry_policy=FAST)
        await step.begun()
        await failing.cancel()
        step.say(RuntimeError("its last"))
        assert getattr(await cause(failing), "message", "") == "its last"
        assert step.began.empty()


@pytest.mark.usefixtures("told_soon")
async def test_a_terminated_one_is_over(plain: Env) -> None:
    step = Step()
    async with plain.worker(step.activity):
        handle = await plain.client.start_activity(step.activity, True, id="ends", heartbeat_timeout=60)
        await step.begun()
        await handle.terminate("enough")
        error = await cause(handle)
        assert isinstance(error, TerminatedError)
        assert "enough" in str(error)
        await until("the attempt is told", lambda: step.details)
        assert step.details == [activity.ActivityCancellationDetails(not_found=True)]
        with pytest.raises(ActivityNotFoundError):
            await handle.terminate()
    assert (await handle.describe()).status is ActivityExecutionStatus.TERMINATED
    assert await kinds(plain, handle) == ["Started", "ActivityScheduled", "Terminated"]


# ---------------------------------------------------------------------- operating


@pytest.mark.usefixtures("told_soon")
async def test_it_is_paused_reset_and_given_other_options(plain: Env) -> None:
    step = Step()
    async with plain.worker(step.activity):
        handle = await plain.client.start_activity(
            step.activity, True, "half", id="operated", heartbeat_timeout=60, start_to_close_timeout=60
        )
        await step.begun()
        await handle.pause("why")

        async def paused() -> bool:
            return (await handle.describe()).run_state is PendingActivityState.PAUSED

        await until("it is paused", paused)
        told = await handle.describe()
        assert (told.paused, told.pause_reason, told.attempt) == (True, "why", 1)
        assert list(told.heartbeat_details) == ["half"]
        await handle.update_options(start_to_close_timeout=33, retry_policy=RetryPolicy(maximum_attempts=1))
        await handle.unpause(reset_attempts=True, reset_heartbeats=True, jitter=0.001)
        info = await step.begun()
        assert (info.attempt, info.heartbeat_details) == (1, [])
        assert info.start_to_close_timeout == timedelta(seconds=33)
        await handle.reset(reset_heartbeats=True, restore_original_options=True)
        again = await step.begun()
        assert (again.attempt, again.start_to_close_timeout) == (1, timedelta(seconds=60))
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
        with pytest.raises(ActivityNotFoundError):
            await handle.pause()
    assert await kinds(plain, handle) == DONE


async def test_it_is_completed_from_outside(plain: Env) -> None:
    infos: asyncio.Queue[activity.Info] = asyncio.Queue()

    @activity.defn(name="alone.outside")
    async def outside() -> str:
        infos.put_nowait(activity.info())
        activity.raise_complete_async()

    async with plain.worker(outside):
        first = await plain.client.start_activity(outside, id="token")
        token = plain.client.get_async_activity_handle(task_token=(await infos.get()).task_token)
        await token.heartbeat("half")
        await token.complete("by token")
        assert await first.result(timeout=PATIENCE) == "by token"
        second = await plain.client.start_activity(outside, id="ids")
        await infos.get()
        by_id = plain.client.get_async_activity_handle(activity_id="ids", run_id=second.run_id)
        await second.cancel()
        with pytest.raises(AsyncActivityCancelledError):
            await by_id.heartbeat()
        await by_id.report_cancellation("gone")
        error = await cause(second)
        assert isinstance(error, CancelledError)
        assert error.details == ("gone",)
        third = await plain.client.start_activity(outside, id="fails")
        await infos.get()
        await plain.client.get_async_activity_handle(activity_id="fails").fail(
            ApplicationError("never", non_retryable=True)
        )
        assert isinstance(await cause(third), ApplicationError)
        with pytest.raises(ActivityNotFoundError, match="it has ended"):
            await plain.client.get_async_activity_handle(activity_id="fails").complete()
        with pytest.raises(ActivityNotFoundError, match="no client has started it"):
            await plain.client.get_async_activity_handle(activity_id="unknown").complete()


# ---------------------------------------------------------------------- many, lists, interceptors


async def test_many_are_started_at_once(plain: Env) -> None:
    client = plain.client
    await client.start_activity(add, 1, id="n-7")
    many = [ActivityStart(add, n, id=f"n-{n}") for n in range(50)]
    with pytest.raises(ExceptionGroup, match="1 of 50 activities were not started") as refused:
        await client.start_activities(many)
    (error,) = refused.value.exceptions
    assert isinstance(error, ActivityAlreadyStartedError)
    assert (await client.count_activities()).count == 50
    more = [
        ActivityStart(add(n), id=f"m-{n}", task_queue="default", priority=Priority(priority_key=1))
        for n in range(5)
    ]
    more.append(ActivityStart("alone.add", 1, 2, id="m-5", result_type=int))
    async with plain.worker(add):
        handles = await client.start_activities(more)
        assert [handle.id for handle in handles] == [f"m-{n}" for n in range(6)]
        assert [await handle.result(timeout=PATIENCE) for handle in handles] == [1, 2, 3, 4, 5, 3]
        by_id = client.get_activity_handle("n-49")
        assert await by_id.result(timeout=PATIENCE) == 50
    assert await client.start_activities([]) == []
    with pytest.raises(TypeError, match=r"ActivityStart\(\.\.\.\) objects"):
        await client.start_activities(["n"])  # type: ignore[list-item]


async def test_priority_decides_which_is_taken_first(plain: Env) -> None:
    taken: list[str] = []

    @activity.defn(name="alone.taken")
    async def take() -> None:
        taken.append(activity.info().activity_id)

    starts = [ActivityStart(take, id=f"p{key}", priority=Priority(priority_key=key)) for key in (5, 1, 3)]
    handles = await plain.client.start_activities(starts)
    async with plain.worker(take, max_concurrent_activities=1):
        for handle in handles:
            await handle.result(timeout=PATIENCE)
    assert taken == ["p1", "p3", "p5"]


async def test_keys_and_breakers_hold_for_them(plain: Env) -> None:
    running: list[int] = []
    most = 0

    @activity.defn(name="alone.keyed")
    async def keyed(n: int) -> None:
        nonlocal most
        running.append(n)
        most = max(most, len(running))
        await asyncio.sleep(0.01)
        running.remove(n)

    only = Concurrency("k", 1)
    starts = [ActivityStart(keyed, n, id=f"k{n}", concurrency=only) for n in range(5)]
    handles = await plain.client.start_activities(starts)
    async with plain.worker(keyed, fails):
        for handle in handles:
            await handle.result(timeout=PATIENCE)
        breaker = CircuitBreaker("b", failure_threshold=1, open_for=3600, fail_fast=True)
        once = RetryPolicy(maximum_attempts=1)
        broken = await plain.client.start_activity(
            fails, "Again", id="b", circuit_breaker=breaker, retry_policy=once
        )
        await cause(broken)
        fast = await plain.client.start_activity(fails, "Again", id="fast", circuit_breaker=breaker)
        assert "is open" in str(await cause(fast))
    assert most == 1


async def test_lists_and_counts_find_them(plain: Env) -> None:
    client = plain.client
    region = SearchAttributeKey.for_keyword("Region")
    attributes = TypedSearchAttributes([SearchAttributePair(region, "EU")])
    eu = await client.start_activity(
        add, 1, id="a-1", search_attributes=attributes, summary="shown", task_queue="other"
    )
    await client.start_activities([ActivityStart(add, 1, id=f"a-{n}") for n in (2, 3)])
    await client.start_activity(upper, "x", id="b-1")

    async def found(query: str | None, **options: Any) -> list[str]:
        return [one.activity_id async for one in client.list_activities(query, **options)]

    assert await found("Region = 'EU'") == ["a-1"]
    assert await found("ActivityType = 'alone.add' AND ActivityId != 'a-2' ORDER BY ActivityId") == [
        "a-1",
        "a-3",
    ]
    assert await found("ActivityId STARTS_WITH 'b'") == ["b-1"]
    assert await found("NOT ActivityId IN ('a-1', 'a-2') ORDER BY ActivityId DESC") == ["b-1", "a-3"]
    assert await found(
        "TaskQueue = 'other' OR ActivityType BETWEEN 'alone.b' AND 'z' ORDER BY ActivityId"
    ) == ["a-1", "b-1"]
    assert await found("ORDER BY ActivityId", page_size=1, limit=3) == ["a-1", "a-2", "a-3"]
    pages = client.list_activities("ORDER BY ActivityId", page_size=3)
    await pages.fetch_next_page()
    assert await found("ORDER BY ActivityId", next_page_token=pages.next_page_token) == ["b-1"]
    for wrong in ("WorkflowId = 'a-1'", "ORDER BY WorkflowType", "ParentWorkflowId IS NULL"):
        with pytest.raises(FilterError, match="activities have ActivityId and ActivityType"):
            await found(wrong)
    counted = await client.count_activities("GROUP BY ActivityType")
    assert [(group.group_values, group.count) for group in counted.groups] == [
        (["alone.add"], 3),
        (["alone.upper"], 1),
    ]
    assert (await client.count_activities("ExecutionStatus = 'Running'")).count == 4
    assert (await client.count_workflows()).count == 0
    told = await eu.describe()
    assert (told.summary, told.typed_search_attributes.get(region), told.task_queue) == (
        "shown",
        "EU",
        "other",
    )
    assert (await plain.client.get_activity_handle("b-1").describe()).summary == "said once"


class Recording(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, calls: list[str]) -> None:
        super().__init__(next)
        self.calls = calls

    def __getattribute__(self, name: str) -> Any:
        if "activit" in name:
            self.calls.append(name)
        return super().__getattribute__(name)

    async def start_activity(self, input: Any) -> Any:
        input.args = (
            [input.args[0] + 100, *input.args[1:]] if input.activity_type == "alone.add" else input.args
        )
        return await super().start_activity(input)


class Recorder(Interceptor):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return Recording(next, self.calls)


async def test_interceptors_stand_around_every_call(store_url: str) -> None:
    infos: asyncio.Queue[activity.Info] = asyncio.Queue()

    @activity.defn(name="alone.outside")
    async def outside() -> str:
        infos.put_nowait(activity.info())
        activity.raise_complete_async()

    recorder = Recorder()
    async with (
        Client.connect(store_url, interceptors=[recorder]) as client,
        Worker(client, workflows=[], activities=[add, outside], poll_interval=0.1),
    ):
        assert await client.execute_activity(add, 1, id="a") == 102
        assert await (await client.start_activities([ActivityStart(add, 2, id="b")]))[0].result() == 103
        handle = await client.start_activity(outside, id="c")
        token = client.get_async_activity_handle(task_token=(await infos.get()).task_token)
        await token.heartbeat()
        await handle.cancel()
        await token.report_cancellation()
        ended = await client.start_activity(outside, id="d")
        token = client.get_async_activity_handle(task_token=(await infos.get()).task_token)
        await token.fail(ApplicationError("x", non_retryable=True))
        await cause(ended)
        third = await client.start_activity(outside, id="e")
        token = client.get_async_activity_handle(task_token=(await infos.get()).task_token)
        await token.complete("x")
        await third.describe()
        delayed = await client.start_activity(add, 1, id="f", start_delay=60)
        await delayed.terminate()
        assert (await client.count_activities()).count == 6
        assert len([one async for one in client.list_activities()]) == 6
    assert set(recorder.calls) == {
        "start_activity", "cancel_activity", "terminate_activity", "describe_activity", "list_activities",
        "count_activities", "complete_async_activity", "fail_async_activity", "heartbeat_async_activity",
        "report_cancellation_async_activity",
    }  # fmt: skip


async def test_what_is_wrong_is_refused_before_anything_is_stored(plain: Env) -> None:
    client = plain.client
    start: Any = client.start_activity
    for error, options, text in (
        (TypeError, {}, "needs id="),
        (TypeError, {"id": "x", "eager": True}, "no option 'eager'"),
        (ValueError, {"id": ""}, "id must not be empty"),
        (ValueError, {"id": "x" * 250}, "at most 246 bytes"),
        (ValueError, {"id": "x", "start_to_close_timeout": 0}, "start_to_close_timeout"),
        (ValueError, {"id": "x", "start_delay": -1}, "start_delay"),
        (TypeError, {"id": "x", "priority": 3}, "priority"),
        (TypeError, {"id": "x", "id_reuse_policy": 7}, "id_reuse_policy"),
        (TypeError, {"id": "x", "id_conflict_policy": "FAIL"}, "id_conflict_policy"),
        (TypeError, {"id": "x", "search_attributes": {"a": 1}}, "search_attributes"),
        (TypeError, {"id": "x", "retry_policy": 3}, "retry_policy"),
    ):
        with pytest.raises(error, match=text):
            await start(add, 1, **options)
    with pytest.raises(ConversionError):
        await start(add, "one", id="x")
    with pytest.raises(TypeError):
        await start(add, 1, 2, 3, id="x")
    with pytest.raises(TypeError, match="either one by one or as args"):
        await start(add, 1, args=[1], id="x")
    with pytest.raises(TypeError, match="has its arguments already"):
        await start(add(1), 2, id="x")
    with pytest.raises(ActivityNotFoundError, match="no client has started it"):
        await client.get_activity_handle("x").result()
    assert (await client.count_activities()).count == 0


# ---------------------------------------------------------------------- lives


async def test_it_outlives_its_worker(plain: Env) -> None:
    step = Step()
    async with plain.worker(step.activity):
        handle = await plain.client.start_activity(
            step.activity, True, "half", id="lives", heartbeat_timeout=60
        )
        await step.begun()
    async with plain.worker(step.activity):
        again = await step.begun()
        assert (again.attempt, again.heartbeat_details) == (2, ["half"])
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await kinds(plain, handle) == DONE


async def test_whoever_ends_it_first_does(plain: Env) -> None:
    """The result of an attempt, a cancel and a termination at the same time: one end, whole, and nothing left."""
    ends: set[str] = set()
    async with plain.worker(add):
        for n in range(40):
            handle = await plain.client.start_activity(add, n, id=f"race-{n}")
            await asyncio.gather(handle.cancel(), handle.terminate(), return_exceptions=True)
            try:
                await handle.result(timeout=PATIENCE)
            except ActivityFailureError:
                pass
            ends.add((await kinds(plain, handle))[-1])
            assert await plain.client.store.read_activities(handle.run_id) == []
    assert ends <= {"Completed", "Canceled", "Terminated"}


async def test_what_an_older_release_has_ended_is_closed(plain: Env) -> None:
    """It knows of no such runs, and leaves the outcome of what it ends in an inbox that nobody reads."""
    handle = await plain.client.start_activity(add, 1, id="stray", task_queue="nobody")
    (row,) = await plain.client.store.read_activities(handle.run_id)
    outcome = conclude_row(
        structs.replace(row, workflow_type="plain"),
        timeout("schedule_to_close"),
        worker=None, now=row.now, jitter=0.0, identity="older", progress=Progress(), cancel_requested=False,
    )  # fmt: skip
    assert outcome.message is not None
    assert await plain.client.store.finish_attempts([outcome]) == [True]
    async with plain.worker(add):
        assert isinstance(await cause(handle), TimeoutError)
    assert await kinds(plain, handle) == ["Started", "ActivityScheduled", "ActivityTimedOut", "TimedOut"]


async def test_a_closed_client_tells_who_waits(store_url: str) -> None:
    client = await Client.connect(store_url)
    handle = await client.start_activity(add, 1, id="open", start_delay=3600)
    waiting = [asyncio.create_task(handle.result()) for _ in range(3)]
    await until("they wait", lambda: len(client._connection.waiting._waiters) == 1)
    await client.aclose()
    for task in waiting:
        with pytest.raises(RuntimeError, match="the client was closed"):
            await task


class Hiding(PayloadCodec, WithSerializationContext):
    """What was hidden for one run is shown to no other."""

    def __init__(self, whose: str = "") -> None:
        self.whose = whose

    def with_context(self, context: SerializationContext) -> Hiding:
        assert isinstance(context, WorkflowSerializationContext)
        return Hiding(context.workflow_id)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        of = self.whose.encode()
        return [
            Payload(
                base64.b85encode(payload.data), "binary/hidden", {"of": of, "as": payload.encoding.encode()}
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        assert all(payload.metadata["of"] == self.whose.encode() for payload in payloads)
        return [
            Payload(base64.b85decode(payload.data), payload.metadata["as"].decode()) for payload in payloads
        ]


@pytest.mark.usefixtures("told_soon")
async def test_a_codec_hides_what_is_stored(store_url: str) -> None:
    step = Step()
    converter = DataConverter(payload_codec=Hiding())
    async with Client.connect(store_url, data_converter=converter) as client:
        handle = await client.start_activity(
            step.activity, True, "secret-1", id="hidden", heartbeat_timeout=60, start_delay=0.2
        )
        await handle.update_options(start_to_close_timeout=44)
        (row,) = await beneath(client.store).read_activities(handle.run_id or "")
        assert b"secret" not in row.scheduled
        async with Worker(client, workflows=[], activities=[step.activity], poll_interval=0.1):
            info = await step.begun()
            assert info.start_to_close_timeout == timedelta(seconds=44)
            await handle.pause()
            await until("it is told", lambda: step.details)
            await handle.unpause()
            assert (await step.begun()).heartbeat_details == ["secret-1"]
            step.say("secret-2")
            assert await handle.result(timeout=PATIENCE) == "secret-2"
            failing = await client.start_activity(fails, "Final", id="fails", start_delay=60)
            await failing.cancel()
            assert isinstance(await cause(failing), CancelledError)
        stored = await beneath(client.store).read_events(handle.run_id or "")
        assert all(b"secret" not in event.data for event in stored)
