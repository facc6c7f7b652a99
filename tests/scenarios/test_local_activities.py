"""Local activities: where they run, in which order they are recorded, how they are tried again, cancelled, and handed over."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from durable import ActivityCancellationType, ApplicationError, RetryPolicy, activity, worker, workflow
from durable.exceptions import ActivityError, ActivityNotFoundError, TimeoutError
from durable.history import decode_data
from tests.crash.judge import judge_replay
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, held, reached, until

TRY, WAIT, ABANDON = (
    ActivityCancellationType.TRY_CANCEL,
    ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    ActivityCancellationType.ABANDON,
)
ONCE = RetryPolicy(maximum_attempts=1)
FAST = RetryPolicy(initial_interval=0.01, backoff_coefficient=1.0)


class Gate:
    """What an activity and its test say to each other."""

    def __init__(self) -> None:
        self.begun = 0
        self.open = asyncio.Event()
        self.notes: list[Any] = []

    async def passed(self) -> None:
        self.begun += 1
        await self.open.wait()


@workflow.defn(name="scn.la.calls")
async def calls(name: str, type: int = TRY) -> str:
    try:
        return await workflow.execute_local_activity(
            name, cancellation_type=ActivityCancellationType(type), retry_policy=FAST, result_type=str
        )
    except asyncio.CancelledError:
        if type == TRY:
            await workflow.sleep(0.02)  # what it asked for is done before it ends
        return "cancelled"


@activity.defn(name="scn.la.greet")
async def greet(greeting: str, name: str) -> str:
    assert activity.info().is_local
    activity.heartbeat("nobody hears this")
    return f"{greeting}, {name}!"


@workflow.defn(name="scn.la.hello")
async def hello(name: str) -> str:
    return await workflow.execute_local_activity(greet, "Hello", name, summary="says hello")


@pytest.mark.temporal("hello/local_activity", "local_activity/complete_immediately")
async def test_a_local_activity_is_two_events_and_no_row(env: Env) -> None:
    rows: list[Any] = []

    async def commit(method: Any, transitions: Any, *rest: Any) -> Any:
        rows.extend(row for one in transitions for row in one.activities)
        return await method(transitions, *rest)

    env.store.hooks["commit"] = commit
    async with env.worker(hello, greet):
        handle = await env.start(hello("Ada"))
        assert await handle.result(timeout=PATIENCE) == "Hello, Ada!"
    assert not rows
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    asked = await event(handle, "ActivityScheduled")
    assert asked.local is not None
    assert (asked.summary, asked.start_to_close) == ("says hello", 300_000_000)


@workflow.defn(name="scn.la.serial")
async def serial() -> str:
    first = await workflow.execute_local_activity(greet, args=["a", "b"])
    second = await workflow.start_local_activity(greet, first, "c")
    return await workflow.execute_local_activity("scn.la.greet", second, "d", result_type=str)


@pytest.mark.temporal("local_activity/serial")
async def test_one_after_the_other(env: Env) -> None:
    async with env.worker(serial, greet):
        handle = await env.start(serial())
        assert await handle.result(timeout=PATIENCE) == "a, b!, c!, d!"
    told = await events(handle)
    assert told == [
        "Started",
        *["ActivityScheduled", "ActivityCompleted"] * (len(told) // 2 - 1),
        "Completed",
    ]


@workflow.defn(name="scn.la.order")
async def order(count: int) -> list[int]:
    found: list[int] = []

    async def one(number: int) -> None:
        await workflow.execute_local_activity("scn.la.numbered", number)
        found.append(number)
        await workflow.execute_local_activity("scn.la.noted", number)

    await asyncio.gather(*(one(number) for number in range(count)))
    return found


@pytest.mark.temporal("local_activity/concurrent")
async def test_the_order_in_which_they_end_is_the_order_of_a_replay(env: Env) -> None:
    """What the code does after each of them depends on it, and the judge replays that strictly."""
    gates = [asyncio.Event() for _ in range(5)]
    ended = [3, 1, 4, 0, 2]

    @activity.defn(name="scn.la.numbered")
    async def numbered(number: int) -> None:
        await gates[number].wait()

    noted: list[int] = []

    @activity.defn(name="scn.la.noted")
    async def note(number: int) -> None:
        noted.append(number)

    async with env.worker(order, numbered, note):
        handle = await env.start(order(5))
        await reached(handle, "Started", *["ActivityScheduled"] * 5)
        for count, number in enumerate(ended, 1):
            gates[number].set()
            await until("it is noted", lambda count=count: len(noted) == count)
        assert await handle.result(timeout=PATIENCE) == ended
    history = await handle.fetch_history()
    completed = [one.data.id for one in history.events if type(one.data).__name__ == "ActivityTaskCompleted"]
    assert [id - 1 for id in completed if id <= 5] == ended
    judge_replay(order.definition, history.run_id, history.events)


@workflow.defn(name="scn.la.both")
async def both() -> list[str]:
    found = await asyncio.gather(
        workflow.execute_local_activity(greet, "Hello", "Ada"),
        workflow.execute_local_activity("scn.la.fails", retry_policy=ONCE),
        return_exceptions=True,
    )
    return [one if isinstance(one, str) else f"{type(one).__name__}: {one.__cause__}" for one in found]


@pytest.mark.temporal("local_activity/one_success_one_fail")
async def test_one_fails_beside_one_that_does_not(env: Env) -> None:
    @activity.defn(name="scn.la.fails")
    async def failing() -> None:
        raise ApplicationError("no")

    async with env.worker(both, greet, failing):
        handle = await env.start(both())
        assert await handle.result(timeout=PATIENCE) == ["Hello, Ada!", "ActivityError: no"]
    told = await events(handle)
    assert told[:3] == ["Started", "ActivityScheduled", "ActivityScheduled"]
    assert sorted(told[3:]) == ["ActivityCompleted", "ActivityFailed", "Completed"]


@workflow.defn(name="scn.la.tries")
async def tries(policy: dict[str, Any], options: dict[str, Any]) -> Any:
    return await workflow.execute_local_activity(
        "scn.la.flaky", retry_policy=RetryPolicy(**policy), **options
    )


def flaky(succeeds: int, error: Any = None) -> Any:
    """An activity whose attempts fail until the one of this number."""

    @activity.defn(name="scn.la.flaky")
    async def flaky() -> list[Any]:
        about = activity.info()
        if about.attempt < succeeds:
            raise error or ValueError(f"attempt {about.attempt}")
        return [about.attempt, about.activity_id, about.is_local]

    return flaky


@pytest.mark.temporal("local_activity/retry_on_error")
async def test_a_failure_is_tried_again_in_memory(env: Env) -> None:
    async with env.worker(tries, flaky(4)):
        handle = await env.start(tries({"initial_interval": 0.01}, {}))
        assert await handle.result(timeout=PATIENCE) == [4, "1", True]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == 4


@pytest.mark.parametrize("limited", [{"maximum_attempts": 3}, {"non_retryable_error_types": ["ValueError"]}])
@pytest.mark.temporal("local_activity/non_retryable_error_in_options")
async def test_what_a_policy_does_not_allow_is_not_tried_again(env: Env, limited: dict[str, Any]) -> None:
    attempts = limited.get("maximum_attempts", 1)
    async with env.worker(tries, flaky(9)):
        handle = await env.start(tries({"initial_interval": 0.01, **limited}, {}))
        error = await fails(handle)
    assert isinstance(error, ActivityError)
    assert str(error.cause) == f"ValueError: attempt {attempts}" or str(error.cause).endswith(
        f"attempt {attempts}"
    )
    assert (await event(handle, "ActivityFailed")).attempt == attempts


@pytest.mark.temporal("local_activity/non_retryable_error_from_activity")
async def test_a_failure_that_is_not_retryable(env: Env) -> None:
    error = ApplicationError("never", type="Never", non_retryable=True)
    async with env.worker(tries, flaky(9, error)):
        handle = await env.start(tries({"initial_interval": 0.01}, {}))
        failure = await fails(handle)
    assert isinstance(failure, ActivityError)
    assert (failure.activity_type, failure.retry_state.name) == ("scn.la.flaky", "NON_RETRYABLE_FAILURE")  # type: ignore[union-attr]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Failed"]
    assert (await event(handle, "ActivityFailed")).attempt == 1


BACKED_OFF = ["ActivityFailed", "TimerStarted", "TimerFired", "ActivityScheduled"]


@pytest.mark.temporal("local_activity/backoff_with_persistent_timer")
async def test_a_wait_longer_than_the_threshold_is_a_timer(env: Env) -> None:
    """The number of the attempt goes on behind it, and so does everything that names the activity."""
    policy = {"initial_interval": 0.02, "backoff_coefficient": 3.0}
    async with env.worker(tries, flaky(4)):
        handle = await env.start(tries(policy, {"local_retry_threshold": 0.03, "activity_id": "mine"}))
        assert await handle.result(timeout=PATIENCE) == [4, "mine", True]
    assert await events(handle) == [
        "Started", "ActivityScheduled", *BACKED_OFF, *BACKED_OFF, "ActivityCompleted", "Completed",
    ]  # fmt: skip
    first, second = [await event(handle, "ActivityFailed", number) for number in (0, 1)]
    assert (first.attempt, second.attempt) == (2, 3)
    assert first.retry_in == (await event(handle, "TimerStarted")).duration
    asked = [await event(handle, "ActivityScheduled", number) for number in range(3)]
    assert [one.local.attempt for one in asked] == [1, 3, 4]
    assert len({one.id for one in asked}) == 3
    assert {one.activity_id for one in asked} == {"mine"}


async def test_a_threshold_of_zero_waits_in_no_memory(env: Env) -> None:
    async with env.worker(tries, flaky(2)):
        handle = await env.start(tries({"initial_interval": 0.01}, {"local_retry_threshold": 0}))
        assert (await handle.result(timeout=PATIENCE))[0] == 2
    assert await events(handle) == [
        "Started",
        "ActivityScheduled",
        *BACKED_OFF,
        "ActivityCompleted",
        "Completed",
    ]


async def test_schedule_to_close_counts_through_timers(env: Env) -> None:
    """Each attempt is quick; together they may not take longer than this, and the next one would."""
    policy = {"initial_interval": 1, "backoff_coefficient": 1.0}
    options = {"local_retry_threshold": 0, "schedule_to_close_timeout": 3.6}
    async with env.worker(tries, flaky(99)):
        handle = await env.start(tries(policy, options))
        error = await fails(handle)
    assert isinstance(error, ActivityError)
    assert error.retry_state is not None
    assert error.retry_state.name == "TIMEOUT"
    assert 1 < (await event(handle, "ActivityFailed", -1)).attempt <= 4


@pytest.mark.temporal("local_activity/complete_eventually")
async def test_other_inputs_are_taken_while_one_runs(env: Env) -> None:
    """It lasts longer than a lease, and a signal, a query, a timer and an update do not wait for it."""
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return "at last"

    async with env.worker(Busy, long, lease_duration=0.5) as serving:
        incarnation = serving.worker_id
        handle = await env.start(Busy.run())
        await until("it runs", lambda: gate.begun)
        await handle.signal(Busy.note, "signal")
        assert await handle.execute_update(Busy.add, "update") == 2
        await until("the timer fired", lambda: seen(handle, "timer"))
        await asyncio.sleep(0.6)
        assert serving.worker_id == incarnation
        gate.open.set()
        assert await handle.result(timeout=PATIENCE) == ["signal", "update", "timer", "at last"]
    assert gate.begun == 1
    told = await events(handle)
    assert {*told[told.index("ActivityScheduled") : told.index("ActivityCompleted")]} >= {
        "Signaled", "UpdateAccepted", "UpdateCompleted", "TimerFired"
    }  # fmt: skip


async def seen(handle: Any, what: str) -> bool:
    return what in await handle.query(Busy.notes_so_far)


@workflow.defn(name="scn.la.busy")
class Busy:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        async def timer() -> None:
            await workflow.wait_condition(lambda: len(self.notes) == 2)
            await workflow.sleep(0.01)
            self.notes.append("timer")

        _, result = await asyncio.gather(
            timer(), workflow.execute_local_activity("scn.la.long", result_type=str)
        )
        return [*self.notes, result]

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.update
    def add(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)

    @workflow.query
    def notes_so_far(self) -> list[str]:
        return self.notes


# ---------------------------------------------------------------------- cancelling


@pytest.mark.temporal("local_activity/cancel_try_cancel", "workflow/cancel_activity_local")
async def test_try_cancel(env: Env) -> None:
    """The code goes on at once; the function hears of it without any heartbeat."""
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> None:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            gate.notes.append(details is not None and details.cancel_requested)
            raise

    async with env.worker(calls, long):
        handle = await env.start(calls("scn.la.long", TRY))
        await until("it runs", lambda: gate.begun)
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "cancelled"
        await until("it heard", lambda: gate.notes)
    assert gate.notes == [True]
    assert "ActivityCancelRequested" in await events(handle)


@pytest.mark.temporal("local_activity/cancel_wait_completed")
async def test_wait_cancellation_completed(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            gate.notes.append("tidied up")
            raise
        return "never"

    async with env.worker(calls, long):
        handle = await env.start(calls("scn.la.long", WAIT))
        await until("it runs", lambda: gate.begun)
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "cancelled"
        assert gate.notes == ["tidied up"]
    assert await events(handle) == [
        "Started", "ActivityScheduled", "CancelRequested", "ActivityCancelRequested", "ActivityCanceled",
        "Completed",
    ]  # fmt: skip


@pytest.mark.temporal("local_activity/cancel_abandon")
async def test_abandon(env: Env) -> None:
    """The code goes on at once, and the function is told nothing."""
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> None:
        await gate.passed()
        gate.notes.append(activity.is_cancelled())

    @workflow.defn(name="scn.la.abandons")
    async def abandons() -> str:
        try:
            await workflow.execute_local_activity("scn.la.long", cancellation_type=ABANDON)
        except asyncio.CancelledError:
            pass
        return await workflow.execute_local_activity(greet, "left", "it")

    async with env.worker(abandons, long, greet):
        handle = await env.start(abandons())
        await until("it runs", lambda: gate.begun)

        async def commit(method: Any, transitions: Any, *rest: Any) -> Any:
            if any(one.close is not None for one in transitions):
                gate.open.set()
                await until("it has ended", lambda: gate.notes)
            return await method(transitions, *rest)

        env.store.hooks["commit"] = commit
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "left, it!"
    assert gate.notes == [False]
    assert "ActivityCancelRequested" not in await events(handle)


@pytest.mark.parametrize("threshold", [60.0, 0.0], ids=["memory", "timer"])
@pytest.mark.parametrize("kind", [TRY, WAIT])
@pytest.mark.temporal("local_activity/cancel_failing")
async def test_cancelled_while_it_backs_off(env: Env, threshold: float, kind: int) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.flaky")
    async def failing() -> None:
        gate.begun += 1
        raise ApplicationError("again", next_retry_delay=timedelta(seconds=30))

    async with env.worker(backs_off, failing):
        handle = await env.start(backs_off(threshold, kind))
        await until("it failed", lambda: gate.begun)
        if not threshold:
            await reached(handle, "Started", "ActivityScheduled", "ActivityFailed", "TimerStarted")
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == "cancelled"
    found = await events(handle)
    if threshold:
        assert found[3] == "ActivityCancelRequested"
    else:
        assert found[5:] == ["TimerCanceled", "Completed"]
    assert gate.begun == 1


@workflow.defn(name="scn.la.backs_off")
async def backs_off(threshold: float, kind: int) -> str:
    try:
        await workflow.execute_local_activity(
            "scn.la.flaky",
            local_retry_threshold=threshold,
            cancellation_type=ActivityCancellationType(kind),
        )
    except asyncio.CancelledError:
        return "cancelled"
    return "never"


async def test_cancelled_in_the_task_that_asked_for_it(env: Env) -> None:
    """It never was: nothing of it is in the history."""

    @workflow.defn(name="scn.la.takes_back")
    async def takes_back() -> str:
        future = workflow.start_local_activity(greet, "a", "b")
        future.cancel()
        return "done"

    async with env.worker(takes_back, greet):
        handle = await env.start(takes_back())
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await events(handle) == ["Started", "Completed"]


async def test_cancelled_while_it_waits_for_a_slot(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return "ran"

    async with env.worker(calls, long, max_concurrent_local_activities=1):
        first = await env.start(calls("scn.la.long"))
        await until("it runs", lambda: gate.begun)
        second = await env.start(calls("scn.la.long", WAIT))
        await reached(second, "Started", "ActivityScheduled")
        await second.cancel()
        assert await second.result(timeout=PATIENCE) == "cancelled"
        third = await env.start(calls("scn.la.long"))
        await reached(third, "Started", "ActivityScheduled")
        assert gate.begun == 1
        gate.open.set()
        assert await first.result(timeout=PATIENCE) == await third.result(timeout=PATIENCE) == "ran"
    assert gate.begun == 2


# ---------------------------------------------------------------------- timeouts


@pytest.mark.parametrize(
    "option", ["start_to_close_timeout", "schedule_to_close_timeout", "schedule_to_start_timeout"]
)
async def test_timeouts(env: Env, option: str) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.flaky")
    async def slow() -> None:
        await gate.passed()

    async with env.worker(tries, slow, max_concurrent_local_activities=1):
        if option == "schedule_to_start_timeout":
            await env.start(tries({}, {}))
            await until("the slot is taken", lambda: gate.begun)
        handle = await env.start(tries({"maximum_attempts": 1}, {option: 0.1}))
        error = await fails(handle)
        gate.open.set()
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type is not None
    assert error.cause.type.name.lower() == option.removesuffix("_timeout")


# ---------------------------------------------------------------------- workers come and go


@pytest.mark.temporal("local_activity/complete_after_shutdown")
async def test_a_result_within_the_grace_of_a_shutdown_counts(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return "in time"

    serving = env.worker(calls, long, graceful_shutdown_timeout=PATIENCE)
    async with serving:
        handle = await env.start(calls("scn.la.long"))
        await until("it runs", lambda: gate.begun)
        leaving = asyncio.create_task(serving.shutdown())
        await asyncio.sleep(0)
        gate.open.set()
        await leaving
    async with env.worker(calls, long):
        assert await handle.result(timeout=PATIENCE) == "in time"
    assert gate.begun == 1
    assert (await events(handle)).count("ActivityScheduled") == 1


@pytest.mark.temporal("local_activity/shutdown_sends_cancellation")
@pytest.mark.parametrize("thread", [False, True], ids=["loop", "thread"])
async def test_a_shutdown_cancels_it_and_the_next_worker_runs_it_again(env: Env, thread: bool) -> None:
    """It stays without an outcome, and is somebody else's at once."""
    gate = Gate()
    go = threading.Event()

    def why() -> None:
        details = activity.cancellation_details()
        gate.notes.append(details is not None and details.worker_shutdown)

    @activity.defn(name="scn.la.long")
    async def on_loop() -> str:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            why()
            raise
        return f"attempt {activity.info().attempt}"

    @activity.defn(name="scn.la.long")
    def in_thread() -> str:
        gate.begun += 1
        try:
            while not go.wait(0.001):
                pass
        except BaseException:
            why()
            raise
        return f"attempt {activity.info().attempt}"

    long: Any = in_thread if thread else on_loop
    async with env.worker(calls, long):
        handle = await env.start(calls("scn.la.long"))
        await until("it runs", lambda: gate.begun)
    assert gate.notes == [True]
    assert await events(handle) == ["Started", "ActivityScheduled"]
    gate.open.set()
    go.set()
    async with env.worker(calls, long):
        assert await handle.result(timeout=PATIENCE) == "attempt 1"
    assert gate.begun == 2
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_a_worker_that_dies_leaves_it_to_the_next(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return f"attempt {activity.info().attempt}"

    dying = env.worker(calls, long)
    async with dying:
        handle = await env.start(calls("scn.la.long"))
        await reached(handle, "Started", "ActivityScheduled")
        await until("it runs", lambda: gate.begun)
        assert dying._incarnation is not None
        dying._stopping = True
        dying._incarnation.defect(RuntimeError("as if it had died"))
    gate.open.set()
    async with env.worker(calls, long):
        assert await handle.result(timeout=PATIENCE) == "attempt 1"
    assert gate.begun == 2


async def test_a_pause_waits_for_what_runs(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return "done"

    async with env.worker(calls, long):
        handle = await env.start(calls("scn.la.long"))
        await until("it runs", lambda: gate.begun)
        pausing = asyncio.create_task(handle.pause("wait"))
        await held(handle, "paused")
        gate.open.set()
        await pausing
        assert await events(handle) == ["Started", "ActivityScheduled"]
        await handle.unpause()
        assert await handle.result(timeout=PATIENCE) == "done"
    assert gate.begun == 1


async def test_a_reset_begins_it_again(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return "done"

    async with env.worker(calls, long):
        handle = await env.start(calls("scn.la.long"))
        await reached(handle, "Started", "ActivityScheduled")
        await until("it runs", lambda: gate.begun)
        await handle.signal("anything")
        await reached(handle, "Started", "ActivityScheduled", "Signaled")
        again = await handle.reset(event_id=3, reason="once more")
        env.handles.append((again, calls.definition))
        await until("it runs again", lambda: gate.begun == 2)
        gate.open.set()
        assert await again.result(timeout=PATIENCE) == "done"
    assert await events(again) == [
        "Started", "ActivityScheduled", "Signaled", "Reset", "ActivityCompleted", "Completed",
    ]  # fmt: skip
    assert not await env.client.store.read_activities(again.run_id or "")


async def test_continuing_as_new_drops_what_runs(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> None:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            gate.notes.append(details is not None and details.not_found)
            raise

    @workflow.defn(name="scn.la.goes_on")
    async def goes_on(last: bool) -> str:
        if last:
            return "the next run"
        workflow.start_local_activity("scn.la.long")
        await workflow.sleep(0.05)
        workflow.continue_as_new(True)

    async with env.worker(goes_on, long):
        handle = await env.start(goes_on(False))
        assert await handle.result(timeout=PATIENCE) == "the next run"
        await until("it was told", lambda: gate.notes)
    assert gate.notes == [True]


async def test_a_worker_without_remote_activities_runs_local_ones(env: Env) -> None:
    async with env.worker(hello, greet, no_remote_activities=True):
        handle = await env.start(hello("Ada"))
        assert await handle.result(timeout=PATIENCE) == "Hello, Ada!"


# ---------------------------------------------------------------------- what is refused


async def test_an_activity_that_the_worker_does_not_have(env: Env) -> None:
    async with env.worker(calls):
        handle = await env.start(calls("scn.la.greet_all"))
        reason = await held(handle)
    assert "local activity 'scn.la.greet_all' is not registered on the worker" in reason
    assert await events(handle) == ["Started"]

    @activity.defn(name="scn.la.greet_all")
    async def greet_all() -> str:
        return "hello, all"

    async with env.worker(calls, greet_all):
        assert await handle.result(timeout=PATIENCE) == "hello, all"


async def test_code_that_catches_the_refusal_is_blocked_all_the_same(env: Env) -> None:
    @workflow.defn(name="scn.la.catches")
    async def catches() -> str:
        try:
            await workflow.execute_local_activity("scn.la.nowhere")
        except Exception:
            return "went on"
        return "never"

    async with env.worker(catches):
        handle = await env.start(catches())
        assert "scn.la.nowhere" in await held(handle)
        await handle.terminate()


async def test_an_open_one_that_the_next_worker_does_not_have(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return "done"

    async with env.worker(calls, long):
        handle = await env.start(calls("scn.la.long"))
        await until("it runs", lambda: gate.begun)
    async with env.worker(calls):
        assert "is not registered on the worker" in await held(handle)
    gate.open.set()
    async with env.worker(calls, long):
        assert await handle.result(timeout=PATIENCE) == "done"


async def test_it_cannot_be_completed_from_outside(env: Env) -> None:
    @activity.defn(name="scn.la.flaky")
    async def handed_out() -> None:
        activity.raise_complete_async()

    async with env.worker(tries, handed_out):
        error = await fails(await env.start(tries({}, {})))
    assert "a local activity cannot be completed from outside" in str(error.__cause__)


@pytest.mark.parametrize("becomes", ["local", "ordinary"])
async def test_replacing_one_kind_by_the_other_is_noticed(plain: Env, becomes: str) -> None:
    gate = Gate()
    plain.replays = False

    @workflow.defn(name="scn.la.changes")
    async def asks_locally() -> str:
        result: str = await workflow.execute_local_activity("scn.la.greet", "a", "b")
        await workflow.wait_condition(lambda: gate.open.is_set())
        return result

    local = asks_locally

    @workflow.defn(name="scn.la.changes")
    async def asks() -> str:
        result: str = await workflow.execute_activity("scn.la.greet", "a", "b")
        await workflow.wait_condition(lambda: gate.open.is_set())
        return result

    @activity.defn(name="scn.la.greet")
    async def any_greet(greeting: str, name: str) -> str:
        return "hello"

    before, after = (asks, local) if becomes == "local" else (local, asks)
    async with plain.worker(before, any_greet):
        handle = await plain.start(before())
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
    async with plain.worker(after, any_greet):
        async with asyncio.timeout(PATIENCE):
            await handle.signal("wake")
            reason = await held(handle)
        await handle.terminate()
    assert "(local)" in reason


@workflow.defn(name="scn.la.same_id")
async def same_id(first: bool, second: bool) -> list[str]:
    """Two activities with one id, each local or not."""
    run = {True: workflow.start_local_activity, False: workflow.start_activity}
    one = run[first]("scn.la.numbered", 1, activity_id="twin", result_type=str)
    other = run[second]("scn.la.numbered", 2, activity_id="twin", result_type=str)
    return [await one, await other]


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (True, True)])
async def test_two_open_activities_of_one_id_are_refused(env: Env, first: bool, second: bool) -> None:
    @activity.defn(name="scn.la.numbered")
    async def numbered(number: int) -> None:
        raise AssertionError("never")

    async with env.worker(same_id, numbered):
        handle = await env.start(same_id(first, second))
        reason = await held(handle)
        await handle.terminate()
    assert "has the activity_id 'twin', which activity 'scn.la.numbered' of the same run has too" in reason
    assert await events(handle) == ["Started", "Terminated"]


async def test_an_id_may_come_again_when_the_activity_is_over(env: Env) -> None:
    @workflow.defn(name="scn.la.again")
    async def again() -> list[str]:
        found: list[str] = []
        for number in range(3):
            run = workflow.execute_local_activity if number % 2 else workflow.execute_activity
            found.append(await run(greet_any, str(number), activity_id="same"))
        return found

    @activity.defn(name="scn.la.greet_any")
    async def greet_any(name: str) -> str:
        return f"hello, {name}"

    assert await env.run(again(), again, greet_any) == ["hello, 0", "hello, 1", "hello, 2"]


@pytest.mark.parametrize("option", ["task_queue", "heartbeat_timeout", "eager"])
async def test_options_that_a_local_activity_does_not_have(env: Env, option: str) -> None:
    @workflow.defn(name="scn.la.wrong")
    async def wrong() -> str:
        try:
            await workflow.execute_local_activity(greet, "a", "b", **{option: 1})  # type: ignore[call-overload]
        except TypeError as error:
            return str(error)
        return "never"

    assert f"has no option '{option}'" in await env.run(wrong(), wrong, greet)


class Greeter:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @activity.method(name="scn.la.greeter", heartbeat_timeout=0.05, task_queue="elsewhere")
    async def greet(self, name: str) -> str:
        about = activity.info()
        assert about.task_queue == "default"
        assert about.heartbeat_timeout is None
        await asyncio.sleep(0.1)
        return f"{self.greeting}, {name}"


async def test_a_method_whose_definition_is_for_other_times(env: Env) -> None:
    """What the definition says about queues and heartbeats is not for a local activity."""

    @workflow.defn(name="scn.la.method")
    async def method() -> str:
        first = workflow.start_local_activity_method(Greeter.greet, "Ada")
        return await first + await workflow.execute_local_activity_method(Greeter.greet("Bob"))

    assert await env.run(method(), method, Greeter("hi")) == "hi, Adahi, Bob"


class Changing(worker.Interceptor):
    """Changes what a workflow says about its local activities, and puts a header on each."""

    def __init__(self, seen: list[Any]) -> None:
        class Outbound(worker.WorkflowOutboundInterceptor):
            def start_local_activity(self, input: worker.StartLocalActivityInput) -> Any:
                assert input.schedule_to_close_timeout == timedelta(seconds=20)
                assert (input.local_retry_threshold, input.args) == (None, ("Hello", "Ada"))
                input.args = ["Goodbye", "Ada"]
                input.activity_id = "mine"
                input.start_to_close_timeout = timedelta(seconds=3)
                input.schedule_to_start_timeout = timedelta(seconds=4)
                input.schedule_to_close_timeout = timedelta(seconds=5)
                input.retry_policy = RetryPolicy(initial_interval=0.01)
                input.local_retry_threshold = timedelta(0)
                input.cancellation_type = ABANDON
                input.summary = "a line"
                input.headers = {"who": workflow.payload_converter().to_payload("me")}
                return super().start_local_activity(input)

        class Inbound(worker.WorkflowInboundInterceptor):
            def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        class OfActivity(worker.ActivityInboundInterceptor):
            async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
                seen.append([activity.info().attempt, activity.info().is_local, *sorted(input.headers)])
                return await super().execute_activity(input)

        self._inbound = Inbound
        self._of_activity = OfActivity

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor]:
        return self._inbound

    def intercept_activity(
        self, next: worker.ActivityInboundInterceptor
    ) -> worker.ActivityInboundInterceptor:
        return self._of_activity(next)


async def test_interceptors(env: Env) -> None:
    """What one changes is what is stored; headers come along to every attempt, behind a timer too."""

    @workflow.defn(name="scn.la.intercepted")
    async def intercepted() -> str:
        return await workflow.execute_local_activity(
            unsteady_greet, "Hello", "Ada", schedule_to_close_timeout=20
        )

    @activity.defn(name="scn.la.unsteady_greet")
    async def unsteady_greet(greeting: str, name: str) -> str:
        if activity.info().attempt == 1:
            raise ApplicationError("once")
        return f"{greeting}, {name}!"

    seen: list[Any] = []
    env.replays = False  # the judge has no interceptors
    async with env.worker(intercepted, unsteady_greet, interceptors=[Changing(seen)]):
        handle = await env.start(intercepted())
        assert await handle.result(timeout=PATIENCE) == "Goodbye, Ada!"
    assert seen == [[1, True, "who"], [2, True, "who"]]
    for number in (0, 1):
        asked = await event(handle, "ActivityScheduled", number)
        assert asked.activity_id == "mine"
        assert (asked.start_to_close, asked.schedule_to_start, asked.schedule_to_close) == (
            3_000_000,
            4_000_000,
            5_000_000,
        )
        assert (asked.cancellation_type, asked.summary) == ("abandon", "a line")
        assert asked.retry_policy.initial_interval == 10_000
        assert asked.local.retry_threshold == 0


async def test_what_does_not_fit_is_said_at_once(env: Env) -> None:
    @workflow.defn(name="scn.la.mistakes")
    async def mistakes() -> list[str]:
        said: list[str] = []
        for arguments, options in (
            (("a",), {}),
            (("a", "b"), {"args": ["a", "b"]}),
            (("a", "b"), {"local_retry_threshold": -1}),
            (("a", 1), {}),
        ):
            try:
                workflow.start_local_activity(greet, *arguments, **options)  # type: ignore[call-overload]
            except (TypeError, ValueError) as error:
                said.append(type(error).__name__)
        return said

    assert await env.run(mistakes(), mistakes, greet) == [
        "TypeError", "TypeError", "ValueError", "ConversionError",
    ]  # fmt: skip


def test_the_stored_form_is_the_newest() -> None:
    """A release that knows no local activities must refuse one, not take it for an ordinary one."""
    data = decode_data(20, b'{"v":2,"id":1,"local":{}}')
    assert data.v == 2


async def test_a_number_is_an_id_as_well(env: Env) -> None:
    """An id that the code gives may be one that the library gives to another activity."""

    @workflow.defn(name="scn.la.takes_2")
    async def takes_2() -> None:
        workflow.start_activity("scn.la.numbered", 1, activity_id="2")
        await workflow.execute_activity("scn.la.numbered", 2)

    async with env.worker(takes_2):
        handle = await env.start(takes_2())
        assert "has the activity_id '2'" in await held(handle)
        await handle.terminate()


async def test_an_operator_cannot_reach_it(env: Env) -> None:
    gate = Gate()

    @activity.defn(name="scn.la.long")
    async def long() -> str:
        await gate.passed()
        return "done"

    async with env.worker(calls, long):
        handle = await env.start(calls("scn.la.long"))
        await reached(handle, "Started", "ActivityScheduled")
        with pytest.raises(ActivityNotFoundError, match="local"):
            await handle.pause_activity(id="1")
        gate.open.set()
        assert await handle.result(timeout=PATIENCE) == "done"
