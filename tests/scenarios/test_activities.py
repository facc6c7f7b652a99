"""Activities: every timeout, retries and their policy, heartbeats, threads, and what of it is recorded."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from durable import ActivityError, ApplicationError, Client, RetryPolicy, Signal, activity, workflow
from durable.exceptions import RetryState, TimeoutError
from durable.worker import _reports
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, until

FAST = RetryPolicy(initial_interval=0.02, maximum_interval=0.05)
TWICE = RetryPolicy(initial_interval=0.02, maximum_attempts=2)
ONCE = RetryPolicy(maximum_attempts=1)

stop = Signal[None]("scn.act.stop")


@workflow.defn(name="scn.call")
async def call(name: str, options: dict[str, Any]) -> Any:
    """Runs one activity and tells how it ended."""
    if "retry" in options:
        options["retry_policy"] = {"once": ONCE, "twice": TWICE, "fast": FAST}[options.pop("retry")]
    try:
        return await workflow.execute_activity(name, **options)
    except ActivityError as error:
        cause = error.cause
        return {
            "state": error.retry_state.name if error.retry_state else None,
            "cause": type(cause).__name__,
            "timeout": cause.type.name if isinstance(cause, TimeoutError) and cause.type else None,
            "type": getattr(cause, "type", None) if isinstance(cause, ApplicationError) else None,
            "details": list(getattr(cause, "last_heartbeat_details", ())),
            "text": str(cause),
        }


# --- the four timeouts ---


async def test_start_to_close_ends_an_attempt_and_the_next_may_succeed(env: Env) -> None:
    attempts = []

    @activity.defn(name="scn.slow_once")
    async def slow_once() -> str:
        attempts.append(activity.info().attempt)
        if activity.info().attempt == 1:
            await asyncio.Event().wait()
        return "done"

    async with env.worker(call, slow_once):
        handle = await env.start(call("scn.slow_once", {"start_to_close_timeout": 0.1, "retry": "fast"}))
        assert await handle.result(timeout=PATIENCE) == "done"
    # On a busy machine the second may be too late as well, and the one behind it succeeds.
    assert attempts[0] == 1
    assert len(attempts) > 1
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == attempts[-1] > 1


@pytest.mark.temporal("workflow/activity_timeout")
async def test_start_to_close_of_the_last_attempt_is_recorded(env: Env) -> None:
    @activity.defn(name="scn.slow")
    async def slow() -> None:
        await asyncio.Event().wait()

    async with env.worker(call, slow):
        handle = await env.start(call("scn.slow", {"start_to_close_timeout": 0.1, "retry": "twice"}))
        told = await handle.result(timeout=PATIENCE)
    assert (told["cause"], told["timeout"], told["state"]) == (
        "TimeoutError",
        "START_TO_CLOSE",
        "MAXIMUM_ATTEMPTS_REACHED",
    )
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityTimedOut", "Completed"]
    ended = await event(handle, "ActivityTimedOut")
    assert (ended.attempt, ended.retry_state) == (2, "maximum_attempts_reached")


@pytest.mark.temporal("workflow/activity_timeout")
async def test_schedule_to_start_passes_when_nobody_serves_the_queue(env: Env) -> None:
    async with env.worker(call):
        handle = await env.start(
            call("scn.nobody", {"task_queue": "desert", "schedule_to_start_timeout": 0.2, "retry": "fast"})
        )
        told = await handle.result(timeout=PATIENCE)
    assert (told["timeout"], told["state"]) == ("SCHEDULE_TO_START", "NON_RETRYABLE_FAILURE")
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityTimedOut", "Completed"]


async def test_schedule_to_close_bounds_all_attempts(env: Env) -> None:
    @activity.defn(name="scn.failing")
    async def failing() -> None:
        raise ValueError(f"attempt {activity.info().attempt}")

    async with env.worker(call, failing):
        handle = await env.start(call("scn.failing", {"schedule_to_close_timeout": 0.3, "retry": "fast"}))
        told = await handle.result(timeout=PATIENCE)
    # Either the next attempt would begin too late, and the last failure is told, or the time passed between two.
    ended = {"ApplicationError": ("TIMEOUT", None, "ActivityFailed")}.get(
        told["cause"], ("NON_RETRYABLE_FAILURE", "SCHEDULE_TO_CLOSE", "ActivityTimedOut")
    )
    assert (told["state"], told["timeout"]) == ended[:2]
    assert await events(handle) == ["Started", "ActivityScheduled", ended[2], "Completed"]


@pytest.mark.temporal("workflow/activity_timeout")
async def test_schedule_to_close_ends_a_running_attempt(env: Env) -> None:
    began: list[int] = []
    cancelled: list[int] = []

    @activity.defn(name="scn.endless")
    async def endless() -> None:
        began.append(activity.info().attempt)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(activity.info().attempt)

    async with env.worker(call, endless):
        handle = await env.start(call("scn.endless", {"schedule_to_close_timeout": 0.5}))
        told = await handle.result(timeout=PATIENCE)
        # The time may be over before it has begun, if the machine is very busy.
        await until("its function was cancelled", lambda: cancelled == began)
    assert told["timeout"] == "SCHEDULE_TO_CLOSE"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityTimedOut", "Completed"]


@pytest.mark.temporal("worker_activity/heartbeat_timeout")
@pytest.mark.parametrize("queue", ["default", "side"])
async def test_a_silent_attempt_is_ended_by_its_heartbeat_timeout(env: Env, queue: str) -> None:
    began: list[int] = []
    cancelled: list[int] = []

    @activity.defn(name="scn.silent")
    async def silent() -> None:
        began.append(activity.info().attempt)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(activity.info().attempt)

    async with env.worker(call, silent), env.worker(silent, task_queue="side"):
        options = {"task_queue": queue, "heartbeat_timeout": 0.5, "retry": "twice"}
        handle = await env.start(call("scn.silent", options))
        told = await handle.result(timeout=PATIENCE)
        # The time of an attempt may be over before its function has begun, if the machine is very busy.
        await until("both functions were cancelled", lambda: sorted(cancelled) == began)
    assert set(began) <= {1, 2}
    assert (told["timeout"], told["state"]) == ("HEARTBEAT", "MAXIMUM_ATTEMPTS_REACHED")
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityTimedOut", "Completed"]
    assert (await event(handle, "ActivityTimedOut")).attempt == 2


@pytest.mark.temporal(
    "worker_activity/heartbeat_timeout", "worker_activity/heartbeat_details", "activity/heartbeating"
)
async def test_an_attempt_that_falls_silent_is_ended_and_the_next_is_told_its_details(env: Env) -> None:
    seen: list[list[Any]] = []

    @activity.defn(name="scn.falls_silent")
    async def falls_silent() -> list[Any]:
        details = list(activity.info().heartbeat_details)
        seen.append(details)
        if not details:
            # The first; and on a very busy machine one behind it, if that was over before it could tell.
            activity.heartbeat("half", {"way": 50})
            await asyncio.Event().wait()
        return details

    async with env.worker(call, falls_silent):
        handle = await env.start(call("scn.falls_silent", {"heartbeat_timeout": 0.3, "retry": "fast"}))
        assert await handle.result(timeout=PATIENCE) == ["half", {"way": 50}]
    assert (seen[0], seen[-1]) == ([], ["half", {"way": 50}])
    assert (await event(handle, "ActivityCompleted")).attempt > 1


@pytest.mark.temporal("activity/heartbeating")
async def test_heartbeats_keep_an_attempt_alive_beyond_its_heartbeat_timeout(env: Env) -> None:
    """One that is late with them, on a machine that stands still, is ended; without them none would ever get to its end."""

    @activity.defn(name="scn.lively")
    async def lively() -> str:
        for i in range(30):
            activity.heartbeat(i)
            await asyncio.sleep(0.05)
        return "outlived it three times"

    async with env.worker(call, lively):
        handle = await env.start(call("scn.lively", {"heartbeat_timeout": 0.5, "retry": "fast"}))
        assert await handle.result(timeout=PATIENCE) == "outlived it three times"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


@pytest.mark.temporal("worker_activity/heartbeat_details")
async def test_details_of_a_failed_attempt_reach_the_next(env: Env) -> None:
    @activity.defn(name="scn.fails_after_beating")
    async def fails_after_beating() -> list[Any]:
        if activity.info().attempt == 1:
            activity.heartbeat(7)
            raise ValueError("after the beat")
        return list(activity.info().heartbeat_details)

    async with env.worker(call, fails_after_beating):
        handle = await env.start(call("scn.fails_after_beating", {"retry": "fast"}))
        assert await handle.result(timeout=PATIENCE) == [7]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == 2


# --- retries ---


@pytest.mark.temporal("activity/retry_on_error")
async def test_retries_follow_the_policy_and_leave_one_event(env: Env) -> None:
    at: list[float] = []
    due: list[datetime] = []
    keys = set()

    @activity.defn(name="scn.third_time")
    async def third_time() -> int:
        at.append(time.monotonic())
        due.append(activity.info().current_attempt_scheduled_time)
        keys.add(activity.info().idempotency_key)
        if len(at) < 3:
            raise ValueError("not yet")
        return activity.info().attempt

    policy = RetryPolicy(initial_interval=0.1, backoff_coefficient=2)

    @workflow.defn(name="scn.policy")
    async def patient() -> int:
        return await workflow.execute_activity(third_time, retry_policy=policy)

    async with env.worker(patient, third_time):
        handle = await env.start(patient())
        assert await handle.result(timeout=PATIENCE) == 3
    assert at[1] - at[0] >= 0.1
    assert at[2] - at[1] >= 0.2
    # When they became due, and not when the machine got to it.
    assert all(later - one < timedelta(seconds=10) for one, later in pairwise(due))
    assert len(keys) == 1
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_maximum_attempts(env: Env) -> None:
    attempts = []

    @activity.defn(name="scn.always_fails")
    async def always_fails() -> None:
        attempts.append(activity.info().attempt)
        raise ValueError("no")

    async with env.worker(call, always_fails):
        handle = await env.start(call("scn.always_fails", {"retry": "twice"}))
        told = await handle.result(timeout=PATIENCE)
    assert attempts == [1, 2]
    assert (told["state"], told["type"]) == ("MAXIMUM_ATTEMPTS_REACHED", "ValueError")
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Completed"]
    assert (await event(handle, "ActivityFailed")).attempt == 2


async def test_what_is_not_retryable_is_not_retried(env: Env) -> None:
    attempts = []

    @activity.defn(name="scn.refuses")
    async def refuses() -> None:
        attempts.append(1)
        raise ApplicationError("no", 1, {"a": 2}, type="Refusal", non_retryable=True)

    @workflow.defn(name="scn.refused")
    async def refused() -> Any:
        try:
            await workflow.execute_activity(refuses)
        except ActivityError as error:
            assert isinstance(error.cause, ApplicationError)  # noqa: PT017 - workflow code
            return [error.cause.type, error.cause.non_retryable, *error.cause.details]

    async with env.worker(refused, refuses):
        handle = await env.start(refused())
        assert await handle.result(timeout=PATIENCE) == ["Refusal", True, 1, {"a": 2}]
    assert attempts == [1]
    assert (await event(handle, "ActivityFailed")).retry_state == "non_retryable_failure"


@pytest.mark.parametrize("by", ["class", "name"])
async def test_error_types_that_a_policy_excludes(env: Env, by: str) -> None:
    attempts = []

    @activity.defn(name="scn.key_error")
    async def key_error() -> None:
        attempts.append(1)
        raise KeyError("k")

    policy = RetryPolicy(
        initial_interval=0.02, non_retryable_error_types=[KeyError if by == "class" else "KeyError"]
    )

    @workflow.defn(name="scn.excludes")
    async def excludes() -> str:
        try:
            await workflow.execute_activity(key_error, retry_policy=policy)
        except ActivityError as error:
            return str(error.retry_state and error.retry_state.name)
        return ""

    assert await env.run(excludes(), excludes, key_error) == "NON_RETRYABLE_FAILURE"
    assert attempts == [1]


async def test_a_failure_may_ask_for_its_own_delay(env: Env) -> None:
    at: list[float] = []

    @activity.defn(name="scn.delays", retry_policy=RetryPolicy(initial_interval=60))
    async def delays() -> int:
        at.append(time.monotonic())
        if len(at) == 1:
            raise ApplicationError("later", next_retry_delay=timedelta(seconds=0.1))
        return len(at)

    async with env.worker(call, delays):
        handle = await env.start(call("scn.delays", {}))
        assert await handle.result(timeout=PATIENCE) == 2
    assert 0.1 <= at[1] - at[0] < 60


async def test_an_activity_that_escapes_fails_the_workflow_with_its_cause(env: Env) -> None:
    @activity.defn(name="scn.escapes", retry_policy=ONCE)
    async def escapes() -> None:
        raise ValueError("inner") from KeyError("innermost")

    @workflow.defn(name="scn.lets_escape")
    async def lets_escape() -> None:
        await workflow.execute_activity(escapes)

    async with env.worker(lets_escape, escapes):
        handle = await env.start(lets_escape())
        cause = await fails(handle)
    assert isinstance(cause, ActivityError)
    assert cause.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert isinstance(cause.cause, ApplicationError)
    assert (cause.cause.type, cause.cause.message) == ("ValueError", "inner")
    assert isinstance(cause.cause.cause, ApplicationError)
    assert cause.cause.cause.type == "KeyError"
    assert "escapes" in (cause.cause.stack_trace or "")
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Failed"]


# --- where they run ---


@pytest.mark.temporal("activity/running_concurrently")
async def test_plain_functions_run_in_threads_side_by_side(env: Env) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    @activity.defn(name="scn.in_thread")
    def in_thread(i: int) -> list[Any]:
        together.wait()
        assert activity.in_activity()
        return [i, threading.current_thread() is not threading.main_thread(), activity.info().activity_type]

    @workflow.defn(name="scn.three_threads")
    async def three_threads() -> list[Any]:
        return await asyncio.gather(*[workflow.execute_activity(in_thread, i) for i in range(3)])

    assert await env.run(three_threads(), three_threads, in_thread) == [
        [i, True, "scn.in_thread"] for i in range(3)
    ]
    told = await events(env.handles[-1][0])
    assert told[:4] == ["Started", *["ActivityScheduled"] * 3]
    assert told[4:] == [*["ActivityCompleted"] * 3, "Completed"]


@pytest.mark.parametrize("kind", [StopIteration, GeneratorExit, SystemExit, KeyboardInterrupt])
async def test_whatever_a_function_raises_in_its_thread_is_a_failure(
    env: Env, kind: type[BaseException]
) -> None:
    @activity.defn(name="scn.leaves_its_thread")
    def leaves_its_thread() -> None:
        raise kind("c")

    @workflow.defn(name="scn.leaver")
    async def leaver() -> str:
        try:
            await leaves_its_thread.options(retry_policy=RetryPolicy(maximum_attempts=1))()
        except ActivityError as error:
            return f"{getattr(error.cause, 'type', None)}: {error}"
        return "nothing"

    async with env.worker(leaver, leaves_its_thread):
        # At once, and not by its timeout.
        assert kind.__name__ in await (await env.start(leaver())).result(timeout=PATIENCE)


async def test_a_thread_may_heartbeat_and_be_told_to_stop(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    # Heartbeats are passed on at once, and none is late for a timeout.
    monkeypatch.setattr(_reports, "HEARTBEAT_LONGEST", 0.02)
    began = threading.Event()
    stopped = threading.Event()

    @activity.defn(name="scn.thread_beats", no_thread_cancel_exception=True)
    def thread_beats() -> str:
        began.set()
        while not activity.is_cancelled():
            activity.heartbeat("on")
            activity.wait_for_cancelled_sync(0.01)
        stopped.set()
        return "too late"

    @workflow.defn(name="scn.cancels_thread")
    async def cancels_thread() -> str:
        running = workflow.start_activity(thread_beats, heartbeat_timeout=PATIENCE)
        await stop.receive()
        running.cancel()
        try:
            return await running
        except (asyncio.CancelledError, ActivityError) as error:
            return type(error).__name__

    async with env.worker(cancels_thread, thread_beats):
        handle = await env.start(cancels_thread())
        assert await asyncio.to_thread(began.wait, PATIENCE)
        await handle.signal(stop())
        assert await handle.result(timeout=PATIENCE) in ("CancelledError", "ActivityError")
        await asyncio.to_thread(stopped.wait, PATIENCE)
    assert stopped.is_set()
    assert "ActivityCancelRequested" in await events(handle)


async def test_an_activity_on_another_queue_is_run_by_who_serves_it(env: Env) -> None:
    @activity.defn(name="scn.remote")
    async def remote(x: int) -> list[Any]:
        info = activity.info()
        return [x, info.task_queue, info.is_local, info.attempt, info.workflow_type]

    @workflow.defn(name="scn.calls_remote")
    async def calls_remote() -> Any:
        return await workflow.execute_activity(remote, 5, task_queue="side")

    async with env.worker(calls_remote), env.worker(remote, task_queue="side"):
        handle = await env.start(calls_remote())
        assert await handle.result(timeout=PATIENCE) == [5, "side", False, 1, "scn.calls_remote"]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_at_most_once_begins_after_its_event_is_recorded(env: Env) -> None:
    found: list[list[str]] = []
    handles: list[Any] = []

    @activity.defn(name="scn.once", retry_policy=ONCE)
    async def once() -> None:
        found.append(await events(handles[0]))

    async with env.worker(call, once):
        handles.append(env.client.get_workflow_handle("once"))
        handle = await env.start(call("scn.once", {"retry": "once"}), id="once")
        assert await handle.result(timeout=PATIENCE) is None
    assert found == [["Started", "ActivityScheduled"]]


@pytest.mark.temporal("activity/running_concurrently")
async def test_an_activity_has_its_workers_client_and_converter(env: Env) -> None:
    @workflow.defn(name="scn.act.other")
    async def other(text: str) -> str:
        return text

    @activity.defn(name="scn.act.starts_other")
    async def starts_other(text: str) -> str:
        client: Client = activity.client()
        (payload,) = activity.payload_converter().to_payloads([text])
        return f"{await client.execute_workflow(other(text), id='other')} {payload.data.decode()}"

    @activity.defn(name="scn.act.in_thread")
    def in_thread() -> str:
        try:
            return str(activity.client())
        except RuntimeError as error:
            return str(error)

    @workflow.defn(name="scn.act.both")
    async def both() -> list[str]:
        return [await starts_other("x"), await in_thread()]

    found = await env.run(both(), both, other, starts_other, in_thread)
    assert found[0] == 'x "x"'
    assert "written `async def`" in found[1]
    assert await events(env.handles[-1][0]) == [
        "Started",
        *["ActivityScheduled", "ActivityCompleted"] * 2,
        "Completed",
    ]


async def test_one_that_is_not_eager_is_recorded_before_it_runs(env: Env) -> None:
    @activity.defn(name="scn.act.looks")
    async def looks() -> list[str]:
        return await events(activity.client().get_workflow_handle(activity.info().workflow_id))

    @workflow.defn(name="scn.act.records_first")
    async def records_first() -> list[str]:
        return await workflow.execute_activity(looks, eager=False)

    async with env.worker(records_first, looks):
        handle = await env.start(records_first())
        assert await handle.result(timeout=PATIENCE) == ["Started", "ActivityScheduled"]
    assert (await event(handle, "ActivityScheduled")).eager is False


async def test_more_activities_than_slots(env: Env) -> None:
    running = most = 0

    @activity.defn(name="scn.crowd")
    async def crowd(i: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return i

    @workflow.defn(name="scn.crowded")
    async def crowded() -> list[int]:
        return await asyncio.gather(*[workflow.execute_activity(crowd, i) for i in range(30)])

    async with env.worker(crowded, crowd, max_concurrent_activities=4):
        handle = await env.start(crowded())
        assert await handle.result(timeout=PATIENCE) == list(range(30))
    assert most <= 4


async def test_system_exit_in_an_activity_is_a_failure(env: Env) -> None:
    @activity.defn(name="scn.exits", retry_policy=ONCE)
    async def exits() -> None:
        raise SystemExit(3)

    @activity.defn(name="scn.thread_exits", retry_policy=ONCE)
    def thread_exits() -> None:
        raise KeyboardInterrupt

    async with env.worker(call, exits, thread_exits):
        for name, expected in (("scn.exits", "SystemExit"), ("scn.thread_exits", "KeyboardInterrupt")):
            handle = await env.start(call(name, {"retry": "once"}))
            assert (await handle.result(timeout=PATIENCE))["type"] == expected
