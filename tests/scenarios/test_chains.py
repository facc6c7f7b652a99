"""Runs that follow each other: attempts of a retry policy, runs of a cron schedule, delayed beginnings, and timeouts."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from durable import RetryPolicy, Signal, WorkflowFailureError, activity, workflow
from durable.common import Priority
from durable.exceptions import ApplicationError, CancelledError, TimeoutError, TimeoutType
from tests.scenarios.rig import PATIENCE, Env, chain, event, events, fails, kind, until

go = Signal("chains.go", str)
FAST = RetryPolicy(initial_interval=0.02, maximum_attempts=3)


@activity.defn(name="chains.note")
async def note(x: int) -> int:
    return x


@workflow.defn(name="chains.flaky")
async def flaky(good: int, how: str = "plain") -> list[Any]:
    info = workflow.info()
    await note(info.attempt)
    failure = workflow.get_last_failure()
    if info.attempt < good:
        if how == "final":
            raise ApplicationError("no", non_retryable=True)
        if how == "typed":
            raise ApplicationError("no", type="Final")
        if how == "late":
            raise ApplicationError("no", next_retry_delay=timedelta(milliseconds=300))
        raise ApplicationError(f"attempt {info.attempt}", info.attempt, type="Flaky")
    return [info.attempt, None if failure is None else str(failure), workflow.has_last_failure()]


@pytest.mark.temporal("workflow/previous_run_failure")
async def test_a_workflow_is_tried_again_and_knows_why(env: Env) -> None:
    async with env.worker(flaky, note):
        handle = await env.start(flaky(3), retry_policy=FAST)
        assert await handle.result(timeout=PATIENCE) == [3, "Flaky: attempt 2", True]
    runs = await chain(handle)
    assert len(runs) == 3
    for number, run in enumerate(runs, 1):
        history = (await run.fetch_history()).events
        started: Any = history[0].data
        assert (started.attempt, started.first_run_id) == (number, runs[0].run_id)
        end = "Failed" if number < 3 else "Completed"
        assert [kind(one) for one in history] == ["Started", "ActivityScheduled", "ActivityCompleted", end]
        told = await run.describe()
        assert told.status.name == ("FAILED" if number < 3 else "COMPLETED")
    failed = await event(runs[0], "Failed")
    assert (failed.new_run_id, failed.retry_state) == (runs[1].run_id, None)


async def test_who_does_not_follow_sees_the_first_attempt(env: Env) -> None:
    async with env.worker(flaky, note):
        handle = await env.start(flaky(3), retry_policy=FAST)
        await handle.result(timeout=PATIENCE)
        with pytest.raises(WorkflowFailureError, match="attempt 1"):
            await handle.result(follow_runs=False)


@pytest.mark.parametrize(
    ("how", "policy", "attempts", "why"),
    [
        ("plain", FAST, 3, "maximum_attempts_reached"),
        ("final", FAST, 1, "non_retryable_failure"),
        (
            "typed",
            RetryPolicy(initial_interval=0.02, non_retryable_error_types=["Final"]),
            1,
            "non_retryable_failure",
        ),
    ],
)
async def test_when_it_is_not_tried_again(
    env: Env, how: str, policy: RetryPolicy, attempts: int, why: str
) -> None:
    async with env.worker(flaky, note):
        handle = await env.start(flaky(9, how), retry_policy=policy)
        assert isinstance(await fails(handle), ApplicationError)
    runs = await chain(handle)
    assert len(runs) == attempts
    assert (await event(runs[-1], "Failed")).retry_state == why


@pytest.mark.temporal("workflow/retry_delay")
async def test_a_failure_says_when_it_is_tried_again(env: Env) -> None:
    async with env.worker(flaky, note):
        handle = await env.start(flaky(2, "late"), retry_policy=FAST)
        await handle.result(timeout=PATIENCE)
    first, second = [(await run.fetch_history()).events for run in await chain(handle)]
    assert second[1].time - first[-1].time >= 300_000


@workflow.defn(name="chains.cancelled")
async def cancelled() -> None:
    try:
        await workflow.sleep(60)
    except BaseException:
        raise ApplicationError("the cleanup failed") from None


async def test_a_cancelled_run_that_fails_is_not_tried_again(env: Env) -> None:
    async with env.worker(cancelled):
        handle = await env.start(cancelled(), retry_policy=FAST)
        await until("it sleeps", lambda: _has(handle, "TimerStarted"))
        await handle.cancel()
        assert str(await fails(handle)) == "the cleanup failed"
    assert (await event(handle, "Failed")).retry_state == "cancel_requested"


async def _has(handle: Any, name: str) -> bool:
    return name in await events(handle)


@workflow.defn(name="chains.signalled")
async def signalled() -> str:
    if workflow.info().attempt == 1:
        raise ApplicationError("first")
    return await go.receive()


async def test_a_signal_before_the_next_attempt_waits_for_it(env: Env) -> None:
    """It does not make the attempt come sooner."""
    policy = RetryPolicy(initial_interval=0.5)
    async with env.worker(signalled):
        handle = await env.start(signalled(), retry_policy=policy)

        async def second() -> bool:
            return len(await chain(handle)) == 2

        await until("there is a second run", second)
        await handle.signal(go("hello"))
        assert await handle.result(timeout=PATIENCE) == "hello"
    last = (await chain(handle))[-1]
    history = (await last.fetch_history()).events
    assert history[-1].time - history[0].time >= 500_000
    assert [kind(one) for one in history] == ["Started", "Signaled", "Completed"]


@workflow.defn(name="chains.parent")
async def parent(how: str) -> list[Any]:
    if how == "retry":
        return await workflow.execute_child_workflow(flaky(3), retry_policy=FAST)
    if how == "continue":
        return await workflow.execute_child_workflow(child_that_goes_on(2))
    child = await workflow.start_child_workflow(child_that_goes_on(2, "signals"))
    await workflow.sleep(0.2)
    await child.signal(go, "to the chain")
    return await child


@workflow.defn(name="chains.child")
async def child_that_goes_on(n: int, how: str = "") -> list[Any]:
    if n:
        workflow.continue_as_new(n - 1, how)
    info = workflow.info()
    assert info.parent is not None
    assert info.root is not None
    heard = await go.receive() if how == "signals" else ""
    return [info.parent.workflow_id == info.root.workflow_id, info.attempt, heard]


@pytest.mark.temporal("child_workflow/retry")
@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("retry", [3, "Flaky: attempt 2", True]),
        ("continue", [True, 1, ""]),
        ("signal", [True, 1, "to the chain"]),
    ],
)
async def test_a_parent_hears_of_the_end_of_its_childs_last_run(
    env: Env, how: str, result: list[Any]
) -> None:
    async with env.worker(parent, flaky, child_that_goes_on, note):
        handle = await env.start(parent(how))
        assert await handle.result(timeout=PATIENCE) == result
    closes = [one for one in await events(handle) if one.startswith("ChildWorkflow")]
    assert len([one for one in await events(handle) if "ChildCompleted" in one]) == 1, closes


@workflow.defn(name="chains.cron_parent")
async def cron_parent() -> str:
    child = await workflow.start_child_workflow(
        child_that_goes_on(0, "signals"), cron_schedule="* * * * *", id="chains-cron-child"
    )
    await child.signal(go, "tick")
    await workflow.sleep(1.5)
    return child.id


async def test_a_child_with_a_cron_schedule_waits_for_its_tick(plain: Env) -> None:
    async with plain.worker(cron_parent, child_that_goes_on):
        handle = await plain.start(cron_parent())
        await handle.result(timeout=PATIENCE)
    child = plain.client.get_workflow_handle("chains-cron-child")
    run = plain.client.get_workflow_handle(child.id, run_id=(await child.describe()).first_execution_run_id)
    first: Any = (await run.fetch_history()).events[0]
    assert 0 < first.data.delay <= 60_000_000
    # Not before the tick; behind it by what lies between the task and its commit.
    assert (first.time + first.data.delay) % 60_000_000 < 30_000_000


# ---------------------------------------------------------------- cron


@workflow.defn(name="chains.ticks")
async def ticks(limit: int) -> int:
    last: int = workflow.get_last_completion_result(int) or 0
    if last == 1 and not workflow.has_last_failure():
        raise ApplicationError("this one fails")
    if last >= limit:
        await workflow.sleep(60)
    return last + 1


@pytest.mark.temporal("hello/cron")
async def test_a_cron_schedule_runs_at_its_ticks(env: Env) -> None:
    async with env.worker(ticks):
        handle = await env.start(ticks(2), cron_schedule="* * * * * * *")
        runs: list[Any] = []

        async def four() -> bool:
            runs[:] = await chain(handle)
            return len(runs) >= 4 and await _has(runs[3], "TimerStarted")

        await until("four runs have begun", four)
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    histories = [(await run.fetch_history()).events for run in await chain(handle)]
    ends = [kind(history[-1]) for history in histories]
    assert ends == ["Completed", "Failed", "Completed", "Canceled"]
    began = [history[0].time + history[0].data.delay for history in histories]  # type: ignore[attr-defined]
    # The first is the client's, the others are the workers'. A machine that stands still makes one late, and not each.
    behind = [one % 1_000_000 for one in began]
    assert min(behind[1:]) < 500_000, "shortly behind the tick, never before it"
    assert all(one // 1_000_000 < later // 1_000_000 for one, later in pairwise(began)), (
        "each has its own tick"
    )
    starts = [history[0].data for history in histories]
    assert [one.last_result is None for one in starts] == [True, False, False, False]  # type: ignore[attr-defined]
    assert [one.last_failure is None for one in starts] == [True, True, False, True]  # type: ignore[attr-defined]
    assert [one.attempt for one in starts] == [1, 1, 1, 1]  # type: ignore[attr-defined]


async def test_a_waiting_cron_run_can_be_cancelled_and_signalled(env: Env) -> None:
    async with env.worker(ticks):
        handle = await env.start(ticks(5), cron_schedule="0 0 1 1 *")
        await handle.signal("anything", 1)
        await until("the signal is in the log", lambda: _has(handle, "Signaled"))
        told = await handle.describe()
        assert (told.hold, told.reason) == ("", "")
        assert await events(handle) == ["Started", "Signaled"]
        await handle.cancel()
        # A cancel request does not wait for new year.
        await handle.result(timeout=PATIENCE, follow_runs=False)
        await handle.terminate()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cron_schedule": "every day"}, "cron_schedule"),
        ({"cron_schedule": "0 0 30 2 *"}, "never comes"),
        ({"cron_schedule": "* * * * *", "start_delay": 5}, "start_delay and cron_schedule"),
        ({"cron_schedule": 5}, "cron_schedule must be a string"),
        ({"retry_policy": 5}, "retry_policy must be a RetryPolicy"),
        ({"priority": 5}, "priority must be a Priority"),
    ],
)
async def test_what_makes_no_chain_is_refused(plain: Env, options: dict[str, Any], text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        await plain.start(ticks(1), **options)


# ---------------------------------------------------------------- delayed starts


@workflow.defn(name="chains.late")
class Late:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> list[Any]:
        began = workflow.time()
        at_first = list(self.words)
        await workflow.sleep(0.05)
        info = workflow.info()
        waited = (info.start_time - info.workflow_start_time).total_seconds()
        return [at_first, waited, workflow.time() - began]

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)


@pytest.mark.temporal("client_api/start_delay")
async def test_a_delayed_start_begins_then_and_its_timers_count_from_then(env: Env) -> None:
    async with env.worker(Late):
        handle = await env.start(Late.run(), start_delay=0.4, memo={"k": 1}, static_details="long")
        at_first, waited, slept = await handle.result(timeout=PATIENCE)
        told = await handle.describe()
    assert (at_first, waited) == ([], 0.4)
    assert slept >= 0.05
    history = (await handle.fetch_history()).events
    assert history[-1].time - history[0].time >= 450_000
    assert (await told.memo(), await told.static_details()) == ({"k": 1}, "long")


async def test_a_message_ends_the_delay_of_a_start(env: Env) -> None:
    async with env.worker(Late):
        handle = await env.start(Late.run(), start_delay=60)
        await handle.signal(Late.say("now"))
        at_first, waited, slept = await handle.result(timeout=PATIENCE)
    assert at_first == ["now"], "its handler ran before the first line"
    assert waited < 60
    assert slept >= 0.05


@pytest.mark.temporal("workflow/priorities")
async def test_priorities_are_inherited_along_the_chain(plain: Env) -> None:
    @workflow.defn(name="chains.important")
    async def important(n: int) -> int | None:
        if n:
            workflow.continue_as_new(n - 1)
        return workflow.info().priority.priority_key

    handle = await plain.start(important(1), priority=Priority(priority_key=1))
    async with plain.worker(important):
        assert await handle.result(timeout=PATIENCE) == 1
    for run, end in zip(await chain(handle), ("ContinuedAsNew", "Completed"), strict=True):
        assert await events(run) == ["Started", end]
        assert (await event(run, "Started")).priority == 1


# ---------------------------------------------------------------- timeouts


@workflow.defn(name="chains.slow")
async def slow(seconds: float) -> str:
    await workflow.sleep(seconds)
    return "done"


@workflow.defn(name="chains.goes_on")
async def goes_on() -> None:
    await workflow.sleep(0.1)
    workflow.continue_as_new()


@pytest.mark.parametrize(
    ("options", "which"),
    [({"run_timeout": 0.2}, "run"), ({"execution_timeout": 0.2}, "execution")],
    ids=["run", "execution"],
)
async def test_a_timeout_says_which_one_it_was(env: Env, options: dict[str, Any], which: str) -> None:
    async with env.worker(slow):
        handle = await env.start(slow(60), **options)
        error = await fails(handle)
    assert isinstance(error, TimeoutError)
    assert error.type is TimeoutType.START_TO_CLOSE
    assert which in str(error)
    last = await event(handle, "TimedOut")
    assert (last.timeout_type, last.new_run_id) == (which, "")


async def test_a_run_that_times_out_is_tried_again(env: Env) -> None:
    async with env.worker(slow):
        handle = await env.start(
            slow(60), run_timeout=0.2, retry_policy=RetryPolicy(initial_interval=0.01, maximum_attempts=2)
        )
        assert isinstance(await fails(handle), TimeoutError)
    first, second = await chain(handle)
    assert (await event(first, "TimedOut")).new_run_id == second.run_id
    started = await event(second, "Started")
    assert started.attempt == 2
    assert started.last_failure.message == "workflow timed out: its run_timeout of 0.2 s is over"


async def test_the_execution_timeout_bounds_the_whole_chain(env: Env) -> None:
    async with env.worker(goes_on):
        handle = await env.start(goes_on(), execution_timeout=4, run_timeout=30)
        error = await fails(handle)
    assert isinstance(error, TimeoutError)
    assert "execution" in str(error)
    runs = await chain(handle)
    assert len(runs) > 2
    assert (await event(runs[-1], "TimedOut")).timeout_type == "execution"
    ends = {(await event(run, "Started")).expires_at for run in runs[1:]}
    assert len(ends) == 1


async def test_unread_messages_go_on_when_a_run_times_out(plain: Env) -> None:
    """Nobody serves it: the signal waits, the run times out, and the next attempt that is served in time reads it."""
    policy = RetryPolicy(initial_interval=0.02, maximum_interval=0.1)
    handle = await plain.start(signalled(), run_timeout=0.5, retry_policy=policy, task_queue="nobody")
    await handle.signal(go("still there"))
    async with plain.worker(slow):

        async def second() -> bool:
            return len(await chain(handle)) > 1

        await until("it has timed out", second)
    async with plain.worker(signalled, task_queue="nobody"):
        assert await handle.result(timeout=PATIENCE) == "still there"
