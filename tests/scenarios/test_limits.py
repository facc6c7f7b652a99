"""Concurrency keys, circuit breakers and rates of task queues, and what each of them makes wait."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from durable import RetryPolicy, activity, workflow
from durable.client import CircuitState, WorkflowHandle
from durable.common import CircuitBreaker, Concurrency, WorkflowExecutionStatus
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    TimeoutError,
    WorkflowNotFoundError,
)
from durable.store import ActivityState
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, reached, until

TWO = Concurrency("two", limit=2)

running: Counter[str] = Counter()
most: Counter[str] = Counter()
attempts: Counter[str] = Counter()
gate = asyncio.Event()
tried: list[float] = []
failing: list[BaseException] = []
order: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    global gate
    gate = asyncio.Event()
    for counter in (running, most, attempts):
        counter.clear()
    tried.clear()
    failing.clear()
    order.clear()


async def occupy(key: str) -> None:
    running[key] += 1
    most[key] = max(most[key], running[key])
    try:
        await gate.wait()
        await asyncio.sleep(0)
    finally:
        running[key] -= 1


@activity.defn(name="lim.slow", concurrency=TWO)
async def slow(number: int) -> int:
    await occupy("two")
    return number


@activity.defn(name="lim.free")
async def free(number: int) -> int:
    await occupy("free")
    return number


@activity.defn(name="lim.call")
async def call_out(name: str) -> str:
    attempts[name] += 1
    tried.append(time.monotonic())
    if failing:
        raise failing[0]
    return name


@workflow.defn(name="lim.many")
async def many(count: int) -> list[int]:
    return list(await asyncio.gather(*[slow(number) for number in range(count)]))


@workflow.defn(name="lim.tenants")
async def tenants(names: list[str], count: int) -> None:
    calls = [
        workflow.execute_activity(free, number, concurrency=Concurrency(name, 1))
        for number in range(count)
        for name in names
    ]
    await asyncio.gather(*calls)


@workflow.defn(name="lim.patient")
async def patient(seconds: float) -> str:
    first = slow.options(concurrency=Concurrency("two", 1)).start(1)
    try:
        await slow.options(
            schedule_to_start_timeout=timedelta(seconds=seconds), concurrency=Concurrency("two", 1)
        )(2)
    except ActivityError as error:
        first.cancel()
        kind = error.cause.type if isinstance(error.cause, TimeoutError) else None
        return kind.name if kind is not None else repr(error.cause)
    return "it ran"


async def queued(env: Env, handle: WorkflowHandle[Any, Any]) -> int:
    assert handle.result_run_id is not None
    rows = await env.client.store.read_activities(handle.result_run_id)
    return sum(row.state is ActivityState.QUEUED for row in rows)


# ---------------------------------------------------------------------- keys


async def test_at_most_so_many_of_a_key_run_over_all_workers(env: Env) -> None:
    async with env.worker(many, slow), env.worker(many, slow):
        handles = [await env.start(many(4)) for _ in range(2)]
        await until("two run", lambda: running["two"] == 2)

        async def others_wait() -> bool:
            return sum([await queued(env, handle) for handle in handles]) == 6

        await until("the others wait", others_wait)
        described = await env.client.describe_concurrency("two")
        assert (described.limit, described.is_set, described.running, described.waiting) == (2, False, 2, 6)
        gate.set()
        for handle in handles:
            assert await handle.result(timeout=PATIENCE) == [0, 1, 2, 3]
    assert most["two"] == 2
    scheduled = await event(handles[0], "ActivityScheduled")
    assert (scheduled.limits.key, scheduled.limits.limit, scheduled.limits.weight) == ("two", 2, 1)
    assert (await events(handles[0])).count("ActivityCompleted") == 4
    described = await env.client.describe_concurrency("two")
    assert (described.limit, described.running, described.waiting) == (None, 0, 0)


async def test_keys_do_not_wait_for_each_other(plain: Env) -> None:
    env = plain
    async with env.worker(many, tenants, slow, free, max_concurrent_activities=6):
        crowd = await env.start(many(30))
        await until("two run", lambda: running["two"] == 2)
        other = await env.start(tenants(["a", "b"], 1))
        await until("the others run, too", lambda: running["free"] == 2)
        gate.set()
        await other.result(timeout=PATIENCE)
        await crowd.result(timeout=PATIENCE)
    assert most["two"] == 2


async def test_a_limit_can_be_set_while_activities_wait(plain: Env) -> None:
    env = plain
    await env.client.set_concurrency_limit("two", 0)
    async with env.worker(many, slow):
        handle = await env.start(many(6))
        await until("all wait", lambda: _all(queued(env, handle), 6))
        assert running["two"] == 0
        await env.client.set_concurrency_limit("two", 4)
        await until("four run", lambda: running["two"] == 4)
        await env.client.set_concurrency_limit("two", None)
        assert (await env.client.describe_concurrency("two")).limit == 2
        gate.set()
        await handle.result(timeout=PATIENCE)
    assert most["two"] == 4


async def _all(counting: Any, count: int) -> bool:
    return await counting == count


async def test_who_waits_for_a_key_is_told_so(plain: Env) -> None:
    env = plain
    async with env.worker(many, slow):
        handle = await env.start(many(3))
        await until("one waits", lambda: _all(queued(env, handle), 1))

        async def reasons() -> list[str]:
            told = (await handle.describe()).pending_activities
            return [one.reason for one in told if one.state == "queued" and one.reason]

        (reason,) = await until("it is told", reasons)
        assert "waits for its turn under concurrency key 'two': 2 of 2 run" in reason
        gate.set()
        await handle.result(timeout=PATIENCE)


async def test_the_wait_for_a_key_counts_as_a_wait_to_start(env: Env) -> None:
    async with env.worker(patient, slow):
        handle = await env.start(patient(0.2))
        assert await handle.result(timeout=PATIENCE) == "SCHEDULE_TO_START"
        gate.set()


@workflow.defn(name="lim.local")
async def locally() -> str:
    try:
        await workflow.execute_local_activity(slow, 1)
    except ValueError as error:
        return str(error)
    return "it ran"


async def test_a_local_activity_cannot_keep_to_a_limit(plain: Env) -> None:
    told = await plain.run(locally(), locally, slow)
    assert "a local activity cannot keep to concurrency" in told


async def test_an_activity_that_waits_for_a_key_can_be_cancelled(env: Env) -> None:
    async with env.worker(many, slow):
        first = await env.start(many(2))
        await until("two run", lambda: running["two"] == 2)
        second = await env.start(many(2))
        await until("two wait", lambda: _all(queued(env, second), 2))
        await second.cancel()
        await fails(second)
        gate.set()
        await first.result(timeout=PATIENCE)
    assert most["two"] == 2


# ---------------------------------------------------------------------- keys of workflows

ONE = Concurrency("customer", limit=1)


@workflow.defn(name="lim.again")
async def again(round: int) -> str:
    order.append(f"round {round}")
    if round < 3:
        workflow.continue_as_new(round + 1)
    return "done"


@workflow.defn(name="lim.family")
async def family() -> list[str]:
    children = [
        await workflow.start_child_workflow(again, 3, id=f"kid-{n}", concurrency=ONE) for n in range(3)
    ]
    return [await one for one in children]


@workflow.defn(name="lim.signalled")
class Signalled:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, name: str) -> str:
        order.append(name)
        await workflow.wait_condition(lambda: self.go)
        return name

    @workflow.signal
    def release(self) -> None:
        self.go = True


async def test_at_most_so_many_workflows_of_a_key_run(env: Env) -> None:
    async with env.worker(Signalled), env.worker(Signalled):
        handles = [await env.start(Signalled.run, str(n), concurrency=ONE) for n in range(3)]
        await until("the first runs", lambda: "0" in order)
        for number, handle in enumerate(handles):
            await until("it runs", lambda number=number: len(set(order)) == number + 1)
            assert set(order) == {str(n) for n in range(number + 1)}
            for waiting in handles[number + 1 :]:
                told = await waiting.describe()
                assert (told.hold, told.history_length) == ("", 1)
                assert told.reason.startswith(
                    "it waits for its turn under concurrency key 'customer': 1 of 1 run; client.set_concurrency_limit("
                )
            described = await env.client.describe_concurrency("customer", kind="workflow")
            assert (described.limit, described.running, described.waiting) == (1, 1, 2 - number)
            assert (await env.client.describe_concurrency("customer")).running == 0, (
                "of activities there is none"
            )
            await handle.signal(Signalled.release)
            assert await handle.result(timeout=PATIENCE) == str(number)
    started = await event(handles[0], "Started")
    assert (started.limits.key, started.limits.limit) == ("customer", 1)


async def test_a_workflow_that_waits_is_not_woken_by_a_signal(env: Env) -> None:
    async with env.worker(Signalled):
        first = await env.start(Signalled.run, "first", concurrency=ONE)
        await until("the first runs", lambda: "first" in order)
        second = await env.start(Signalled.run, "second", concurrency=ONE)
        await second.signal(Signalled.release)
        assert (await second.describe()).history_length == 1
        await first.signal(Signalled.release)
        assert await second.result(timeout=PATIENCE) == "second"
    assert order.index("second") > 0


async def test_a_workflow_that_waits_can_be_terminated(plain: Env) -> None:
    env = plain
    async with env.worker(Signalled):
        first = await env.start(Signalled.run, "first", concurrency=ONE)
        await until("the first runs", lambda: "first" in order)
        second = await env.start(Signalled.run, "second", concurrency=ONE)
        third = await env.start(Signalled.run, "third", concurrency=ONE)
        await second.terminate()
        await first.terminate()
        await until("the third runs", lambda: "third" in order)
        await third.signal(Signalled.release)
        await third.result(timeout=PATIENCE)
    assert "second" not in order


@workflow.defn(name="lim.parent")
async def parent() -> str:
    child = await workflow.start_child_workflow(Signalled.run("child"), concurrency=ONE)
    child.cancel()
    try:
        return await child
    except asyncio.CancelledError:
        return "cancelled"


@pytest.mark.parametrize("who", ["client", "parent"])
async def test_a_workflow_that_waits_is_cancelled_at_once(env: Env, who: str) -> None:
    """It has not begun, so there is no code that could hear of it."""
    async with env.worker(Signalled, parent):
        first = await env.start(Signalled.run, "first", concurrency=ONE)
        await until("the first runs", lambda: "first" in order)
        if who == "client":
            second = await env.start(Signalled.run, "second", concurrency=ONE)
            await second.cancel("not needed")
            assert isinstance(await fails(second), CancelledError)
            assert await events(second) == ["Started", "Canceled"]
            assert (await second.describe()).status is WorkflowExecutionStatus.CANCELED
            with pytest.raises(WorkflowNotFoundError, match="closed"):
                await second.cancel()
            again = await second.reset(to="last_good_task")
            # The key is still another's, so it waits as it did.
            assert "it waits for its turn" in (await again.describe()).reason
            await again.terminate()
        else:
            assert await (await env.start(parent())).result(timeout=PATIENCE) == "cancelled"
        third = await env.start(Signalled.run, "third", concurrency=ONE)
        await first.signal(Signalled.release)
        await third.signal(Signalled.release)
        assert await third.result(timeout=PATIENCE) == "third"
    assert order.count("second") == order.count("child") == 0


async def test_a_workflow_that_continues_as_new_keeps_its_slot(env: Env) -> None:
    async with env.worker(again, Signalled):
        first = await env.start(Signalled.run, "first", concurrency=ONE)
        await until("the first runs", lambda: "first" in order)
        second = await env.start(again(1), concurrency=ONE)
        third = await env.start(again(3), concurrency=ONE)
        await first.signal(Signalled.release)
        assert await second.result(timeout=PATIENCE) == "done"
        assert await third.result(timeout=PATIENCE) == "done"
    rounds = [one for one in order if one.startswith("round")]
    assert list(dict.fromkeys(rounds)) == ["round 1", "round 2", "round 3"]


async def test_children_have_keys(env: Env) -> None:
    async with env.worker(family, again):
        handle = await env.start(family())
        assert await handle.result(timeout=PATIENCE) == ["done"] * 3
        described = await env.client.describe_concurrency("customer", kind="workflow")
        assert (described.running, described.waiting) == (0, 0)
    initiated = await event(handle, "StartChildInitiated")
    assert (initiated.limits.key, initiated.limits.limit) == ("customer", 1)


async def test_workflows_of_a_key_that_is_set(plain: Env) -> None:
    env = plain
    await env.client.set_concurrency_limit("customer", 0, kind="workflow")
    async with env.worker(again):
        handle = await env.start(again(3), concurrency=ONE)
        await until("it is told", lambda: _told(handle, "0 of 0 run"))
        await env.client.set_concurrency_limit("customer", None, kind="workflow")
        assert await handle.result(timeout=PATIENCE) == "done"


async def _told(handle: Any, reason: str) -> bool:
    return reason in (await handle.describe()).reason


@workflow.defn(name="lim.late")
class Late:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self) -> int:
        started = slow.start(7)
        await workflow.wait_condition(lambda: self.go)
        return await started

    @workflow.signal
    def release(self) -> None:
        self.go = True


async def test_an_activity_of_a_run_that_is_reset_keeps_to_its_key(plain: Env) -> None:
    env = plain
    async with env.worker(many, Late, slow):
        first = await env.start(many(2))
        await until("two run", lambda: running["two"] == 2)
        second = await env.start(Late.run)
        await until("one waits", lambda: _all(queued(env, second), 1))
        await second.signal(Late.release)
        await reached(second, "Started", "ActivityScheduled", "Signaled")
        reset = await second.reset(event_id=3)
        env.handles.append((reset, None))
        await until("it waits again", lambda: _all(_queued_of(env, reset), 1))
        gate.set()
        await first.result(timeout=PATIENCE)
        assert await reset.result(timeout=PATIENCE) == 7
    assert most["two"] == 2


async def _queued_of(env: Env, handle: Any) -> int:
    rows = await env.client.store.read_activities(handle.run_id or handle.result_run_id)
    return sum(row.state is ActivityState.QUEUED for row in rows)


# ---------------------------------------------------------------------- circuit breakers


@workflow.defn(name="lim.calls")
async def calls(names: list[str], fast: bool = False, tries: int = 0) -> list[str]:
    breaker = CircuitBreaker("api", failure_threshold=2, window=60, open_for=0.3, fail_fast=fast)
    policy = RetryPolicy(initial_interval=0.01, backoff_coefficient=1, maximum_attempts=tries)
    return [
        await workflow.execute_activity(call_out, name, circuit_breaker=breaker, retry_policy=policy)
        for name in names
    ]


async def test_failures_open_a_breaker_and_a_success_closes_it(env: Env) -> None:
    failing.append(ValueError("out of order"))
    async with env.worker(calls, call_out):
        handle = await env.start(calls(["a"]))
        await until("it failed twice", lambda: attempts["a"] >= 2)

        async def is_open() -> bool:
            return (await env.client.describe_circuit_breaker("api")).state is not CircuitState.CLOSED

        await until("it is open", is_open)
        other = await env.start(calls(["b"]))
        await until("it is tried once more", lambda: len(tried) >= 3)
        # Each of those that failed has opened it again.
        assert all(later - one > 0.25 for one, later in pairwise(tried[1:])), (
            "nothing was tried while it was open"
        )
        failing.clear()
        assert await handle.result(timeout=PATIENCE) == ["a"]
        assert await other.result(timeout=PATIENCE) == ["b"]
        described = await env.client.describe_circuit_breaker("api")
        assert (described.state, described.is_set, described.failures) == (CircuitState.CLOSED, False, 0)
    completed = await event(handle, "ActivityCompleted")
    assert completed.attempt == attempts["a"], "waiting used up no attempts"


async def test_a_breaker_can_be_kept_open(plain: Env) -> None:
    env = plain
    await env.client.set_circuit_breaker("api", CircuitState.OPEN)
    async with env.worker(calls, call_out):
        handle = await env.start(calls(["a"]))
        await until("it waits", lambda: _all(queued(env, handle), 1))

        async def reason() -> str:
            return (await handle.describe()).pending_activities[0].reason

        assert await until("it is told", reason) == "circuit breaker 'api' is open"
        described = await env.client.describe_circuit_breaker("api")
        assert (described.state, described.is_set, described.open_until) == (CircuitState.OPEN, True, None)
        assert attempts["a"] == 0
        await env.client.set_circuit_breaker("api", None)
        assert await handle.result(timeout=PATIENCE) == ["a"]


async def test_a_breaker_that_is_kept_closed_stays_closed(plain: Env) -> None:
    env = plain
    await env.client.set_circuit_breaker("api", CircuitState.CLOSED)
    failing.append(ValueError("out of order"))
    async with env.worker(calls, call_out):
        handle = await env.start(calls(["a"], False, 5))
        await fails(handle)
    assert attempts["a"] == 5


async def test_what_fails_fast_does_not_wait(env: Env) -> None:
    await env.client.set_circuit_breaker("api", CircuitState.OPEN)
    async with env.worker(calls, call_out):
        handle = await env.start(calls(["a"], True))
        cause: Any = await fails(handle)
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert (cause.cause.type, cause.cause.non_retryable) == ("CircuitOpen", True)
    assert "'api' is open" in str(cause.cause)
    assert attempts["a"] == 0
    failed = await event(handle, "ActivityFailed")
    assert failed.retry_state == "non_retryable_failure"


@pytest.mark.parametrize("error", ["benign", "non-retryable", "counted"])
async def test_which_failures_a_breaker_counts(plain: Env, error: str) -> None:
    env = plain
    raised: dict[str, BaseException] = {
        "benign": ApplicationError("never mind", category=ApplicationErrorCategory.BENIGN),
        "non-retryable": ApplicationError("no such customer", non_retryable=True),
        "counted": ApplicationError("busy"),
    }
    failing.append(raised[error])
    async with env.worker(calls, call_out):
        handle = await env.start(calls(["a"], False, 1))
        await fails(handle)
        described = await env.client.describe_circuit_breaker("api")
        assert described.failures == (1 if error == "counted" else 0)


@workflow.defn(name="lim.strict")
async def strict() -> None:
    await workflow.execute_activity(
        call_out, "a", circuit_breaker=CircuitBreaker("api", count_non_retryable=True, half_open_max=3)
    )


async def test_a_breaker_counts_non_retryable_failures_if_asked_to(plain: Env) -> None:
    env = plain
    failing.append(ApplicationError("no such customer", non_retryable=True))
    async with env.worker(strict, call_out):
        handle = await env.start(strict())
        await fails(handle)
        assert (await env.client.describe_circuit_breaker("api")).failures == 1
    breaker = (await event(handle, "ActivityScheduled")).limits.breaker
    assert (breaker.key, breaker.failures, breaker.trials, breaker.non_retryable) == ("api", 5, 3, True)
    assert (breaker.window, breaker.open_for, breaker.fail_fast) == (60_000_000, 30_000_000, False)


# ---------------------------------------------------------------------- rates


@workflow.defn(name="lim.fast")
async def fast(count: int) -> list[str]:
    return list(await asyncio.gather(*[call_out(str(number)) for number in range(count)]))


async def test_a_rate_holds_for_all_workers_of_a_queue(plain: Env) -> None:
    env = plain
    options = {"max_task_queue_activities_per_second": 10}
    async with env.worker(fast, call_out, **options), env.worker(fast, call_out):
        assert await env.client.task_queue_rate("default") == 10
        begun = time.monotonic()
        handle = await env.start(fast(16))
        await handle.result(timeout=PATIENCE)
        took = time.monotonic() - begun
    assert took > 0.5, f"ten at once, and six more one by one: {took}"
    assert set(attempts.values()) == {1}


async def test_the_last_worker_that_says_a_rate_decides(plain: Env) -> None:
    env = plain
    async with (
        env.worker(fast, call_out, max_task_queue_activities_per_second=1),
        env.worker(fast, call_out, max_task_queue_activities_per_second=5.5),
        env.worker(fast, call_out),
    ):
        assert await env.client.task_queue_rate("default") == 5.5
    assert await env.client.task_queue_rate("default") == 5.5
    await env.client.set_task_queue_rate("default", None)
    assert await env.client.task_queue_rate("default") is None


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Concurrency("", 1), ValueError, "key must not be empty"),
        (lambda: Concurrency("k", 0), ValueError, "limit must be from 1"),
        (lambda: Concurrency("k", True), TypeError, "limit must be a whole number"),
        (lambda: Concurrency("k", 1, 0), ValueError, "weight must be from 1"),
        (lambda: Concurrency("k", 1, 1.5), TypeError, "weight must be a whole number"),  # type: ignore[arg-type]
        (lambda: CircuitBreaker("k", failure_threshold=0), ValueError, "failure_threshold must be from 1"),
        (lambda: CircuitBreaker("k", failure_threshold=1001), ValueError, "at most 1000"),
        (lambda: CircuitBreaker("k", window=0), ValueError, "window"),
        (lambda: CircuitBreaker("k", open_for=-1), ValueError, "open_for"),
        (lambda: CircuitBreaker("k", half_open_max=0), ValueError, "half_open_max"),
        (lambda: CircuitBreaker("k", fail_fast=1), TypeError, "fail_fast must be True or False"),  # type: ignore[arg-type]
        (lambda: slow.options(concurrency="two"), TypeError, "concurrency must be a Concurrency"),  # type: ignore[arg-type]
        (lambda: slow.options(circuit_breaker="two"), TypeError, "circuit_breaker must be a CircuitBreaker"),  # type: ignore[arg-type]
        (lambda: slow.options(priority=1), TypeError, "priority must be a Priority"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_a_limit(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


async def test_what_a_client_cannot_set(plain: Env) -> None:
    client: Any = plain.client
    for wrong, error in ((-1, ValueError), (True, TypeError), ("2", TypeError)):
        with pytest.raises(error, match="limit must be"):
            await client.set_concurrency_limit("k", wrong)
    with pytest.raises(ValueError, match="kind must be"):
        await client.set_concurrency_limit("k", 1, kind="both")
    with pytest.raises(ValueError, match="can be kept OPEN or CLOSED"):
        await client.set_circuit_breaker("k", CircuitState.HALF_OPEN)
    with pytest.raises(TypeError, match="CircuitState"):
        await client.set_circuit_breaker("k", "open")
    for wrong, error in ((0, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="per_second must be"):
            await client.set_task_queue_rate("q", wrong)
