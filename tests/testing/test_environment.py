"""`WorkflowEnvironment`: a private database, workers, and a clock that jumps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from durable import Client, Worker, WorkflowFailureError, activity, workflow
from durable.common import RetryPolicy
from durable.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType
from durable.testing import NothingToComeError, WorkflowEnvironment
from durable.testing import _time as time_module
from durable.testing._time import Time
from tests.testing.programs import (
    Counter,
    Payments,
    broken,
    charge,
    child,
    flaky,
    parent,
    plain,
    refunds,
    retried,
    stop,
    subscription,
    waits,
)

START = datetime(2026, 1, 31, 9, tzinfo=UTC)


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
async def env(request: pytest.FixtureRequest) -> AsyncIterator[WorkflowEnvironment]:
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    async with await WorkflowEnvironment.start_time_skipping(start=START, postgres=server) as made:
        yield made


async def test_ten_years_pass_at_once(env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    mock = env.mock_activity(charge).returns("paid")
    moves: list[int] = []
    move_to = Time._move_to

    async def counted(self: Time, instant: int) -> None:
        moves.append(instant)
        await move_to(self, instant)

    monkeypatch.setattr(Time, "_move_to", counted)
    assert await env.run(subscription("ada", 120)) == "ended"
    assert len(mock.calls) == 120
    # Seconds of the machine pass too while it starts, or while an activity runs; another month does not.
    assert timedelta(days=3600) <= env.now() - START < timedelta(days=3601)
    assert 120 <= len(moves) < 1000, "it jumps from one month to the next, and does not go there in steps"


async def test_time_passes_only_when_asked_or_waited_for(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_workflow(subscription("ada", 12), id="s-1")
    await env.advance(timedelta(days=65))
    assert env.now() - START >= timedelta(days=65)
    assert [kind for kind in await kinds(env, "s-1") if kind == "TimerFired"] == ["TimerFired"] * 2
    await handle.signal(stop("enough"))
    with env.time_frozen():
        assert await handle.result() == "stopped: enough"
    assert env.now() - START < timedelta(days=66), "seconds of the machine, and not the rest of the month"


async def test_what_is_due_happens_in_order(env: WorkflowEnvironment) -> None:
    handles = [
        await env.client.start_workflow(parent(number), id=f"p-{number}", start_delay=timedelta(hours=number))
        for number in (3, 1, 2)
    ]
    assert [await handle.result() for handle in handles] == [10, 4, 7]
    closed = [(await handle.describe()).close_time for handle in handles]
    assert [
        at - START > timedelta(hours=hours) for at, hours in zip(closed, (28, 26, 27), strict=True) if at
    ] == [True] * 3
    assert closed[1] < closed[2] < closed[0]  # type: ignore[operator]


async def test_retries_wait_in_the_clock_of_the_environment(env: WorkflowEnvironment) -> None:
    mock = env.mock_activity(flaky).raises(ConnectionError("down"), times=3).returns("at last")
    assert await env.run(retried("ada")) == "at last"
    assert mock.calls == [("ada",)] * 4
    assert env.now() - START > timedelta(minutes=30)  # 5, 10 and 20, less their jitter


@activity.defn(name="testing.hangs", retry_policy=RetryPolicy(maximum_attempts=1))
async def hangs() -> None:
    await asyncio.Event().wait()


@workflow.defn(name="testing.hanging")
async def hanging(timeout: float) -> None:
    await hangs.options(start_to_close_timeout=timeout)()


async def test_time_passes_second_by_second_over_an_activity(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_module, "TICK", 0.02)
    with pytest.raises(WorkflowFailureError) as failed:
        await env.run(hanging(20))
    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, TimeoutError)
    assert failed.value.cause.cause.type is TimeoutType.START_TO_CLOSE


async def test_advancing_passes_over_an_activity(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_workflow(hanging(3600), id="h")
    await env.advance(timedelta(minutes=59))
    assert (await handle.describe()).close_time is None
    await env.advance(timedelta(minutes=2))
    assert "ActivityTaskTimedOut" in await kinds(env, "h")


async def test_timeouts_of_runs(env: WorkflowEnvironment) -> None:
    with pytest.raises(WorkflowFailureError) as failed:
        await env.run(waits(), run_timeout=timedelta(days=300))
    assert isinstance(failed.value.cause, TimeoutError)
    assert env.now() - START >= timedelta(days=300)


async def test_updates_are_waited_for_too(env: WorkflowEnvironment) -> None:
    handle = await env.client.start_workflow(Counter.run, id="c")
    assert await handle.execute_update(Counter.add, 2) == 2
    assert await handle.execute_update(Counter.add, 2) == 4
    assert await handle.result() == 4
    assert env.now() - START >= timedelta(hours=2)


async def test_a_fault_of_the_code_is_raised_at_once(env: WorkflowEnvironment) -> None:
    with pytest.raises(KeyError, match="ada") as raised:
        await env.run(broken("ada"), id="b-1")
    assert raised.traceback[-1].path.name == "programs.py"
    assert "in workflow 'b-1'" in raised.value.__notes__[0]


async def test_a_fault_is_raised_by_advance(env: WorkflowEnvironment) -> None:
    await env.client.start_workflow(broken("ada"), id="b-1")
    with pytest.raises(KeyError, match="ada"):
        await env.advance(0)


async def test_a_fault_may_be_looked_at_as_in_production() -> None:
    async with await WorkflowEnvironment.start_time_skipping(raise_task_failures=False) as env:
        handle = await env.client.start_workflow(broken("ada"), id="b-1")
        await env.advance(5)
        assert "KeyError" in (await handle.describe()).reason


async def test_what_nothing_will_bring_is_an_error(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_module, "STUCK_AFTER", 0.1)
    with pytest.raises(NothingToComeError, match=r"'w-1' \(testing.waits, task queue 'default'\)"):
        await env.run(waits(), id="w-1")


async def test_what_is_tried_for_ever_is_an_error(env: WorkflowEnvironment) -> None:
    env.mock_activity(flaky).raises(ConnectionError("down"))
    with pytest.raises(
        NothingToComeError, match=r"activity 'testing.flaky' of workflow 'r-1' has failed 5. times"
    ):
        await env.run(retried("ada"), id="r-1")


async def test_definitions_that_nobody_has_chosen(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_module, "STUCK_AFTER", 0.1)

    @workflow.defn(name="testing.waits")
    async def another() -> None: ...

    assert another.definition
    handle = await env.client.start_workflow("testing.waits", id="w-1")
    with pytest.raises(
        NothingToComeError, match=r"several definitions of workflow 'testing.waits', at .*programs.py:"
    ):
        await handle.result()


async def test_workers_of_the_test_itself(env: WorkflowEnvironment) -> None:
    @activity.defn(name="testing.charge")
    async def mocked(customer: str) -> str:
        return "mocked"

    async with Worker(env.client, task_queue="mine", workflows=[subscription], activities=[mocked]):
        handle = await env.client.start_workflow(subscription("ada", 1), id="s", task_queue="mine")
        assert await handle.result() == "ended"
    events = (await env.client.get_workflow_handle("s").fetch_history()).events
    assert any(b"mocked" in event.data.result.data for event in events[:3] if hasattr(event.data, "result"))


async def test_a_method_needs_no_instance_when_it_is_mocked(env: WorkflowEnvironment) -> None:
    env.mock_activity(Payments.refund).side_effect(lambda customer: len(customer))
    assert await env.run(refunds("ada")) == 3


async def test_definitions_of_a_test_hide_those_of_others(env: WorkflowEnvironment) -> None:
    @workflow.defn(name="testing.child")
    async def another(number: int) -> str:
        return "another"

    assert await env.run(another(1)) == "another"
    assert await env.run(child(1)) == 2


async def test_evicting_after_every_task() -> None:
    async with await WorkflowEnvironment.start_time_skipping(evict=True) as env:
        assert await env.run(subscription("ada", 3)) == "ended"
        assert await env.run(parent(2)) == 7


async def test_many_at_once_in_one_process() -> None:
    async def one(number: int) -> str:
        async with await WorkflowEnvironment.start_time_skipping(start=START) as env:
            env.mock_activity(charge).returns(str(number))
            result = await env.run(subscription(f"customer-{number}", number), id="the same")
            # Seconds of the machine pass too while nothing is awaited, as in the start of the eight; no other's months do.
            assert env.now() - START < timedelta(days=30 * number + 1)
            return result

    assert await asyncio.gather(*map(one, range(1, 9))) == ["ended"] * 8


async def test_the_clock_of_the_machine() -> None:
    async with await WorkflowEnvironment.start_local() as env:
        assert not env.supports_time_skipping
        before, told, behind = datetime.now(UTC), env.now(), datetime.now(UTC)
        assert before - timedelta(seconds=1) < told < behind + timedelta(seconds=1)
        began = time.monotonic()
        await env.sleep(0.02)
        assert time.monotonic() - began > 0.015
        env.mock_activity(charge).returns("x")
        with pytest.raises(KeyError):
            await env.run(broken("ada"))


async def test_on_a_client(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        env = WorkflowEnvironment.from_client(client)
        with pytest.raises(KeyError):
            await env.run(broken("ada"))
        assert abs(await env.get_current_time() - datetime.now(UTC)) < timedelta(minutes=1)
        await env.shutdown()
        assert [run.id async for run in client.list_workflows()]


async def test_activities_that_fail_for_good(env: WorkflowEnvironment) -> None:
    env.mock_activity(charge).raises(ApplicationError("no money", non_retryable=True))
    with pytest.raises(WorkflowFailureError) as failed:
        await env.run(subscription("ada", 1))
    assert "no money" in str(failed.value.cause.cause)  # type: ignore[union-attr]


async def test_wrong_calls(env: WorkflowEnvironment) -> None:
    with pytest.raises(TypeError, match=r"returns int, and 'one' is none"):
        env.mock_activity(plain).returns("one")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"is called with \(number\)"):
        env.mock_activity(plain).side_effect(lambda: 1)  # type: ignore[arg-type, misc]
    with pytest.raises(TypeError, match="a function under @activity"):
        env.mock_activity(plain.fn)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an exception or a class"):
        env.mock_activity(plain).raises("no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing comes after it"):
        env.mock_activity(plain).returns(1).returns(2)
    with pytest.raises(TypeError, match=r"run\(\) takes a call"):
        await env.run(child)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no option 'port': nothing is downloaded"):
        await WorkflowEnvironment.start_time_skipping(port=1)  # type: ignore[arg-type]
    env.mock_activity(charge)
    with pytest.raises(WorkflowFailureError) as failed:
        await env.run(subscription("ada", 1))
    assert "has nothing to say" in str(failed.value.cause.cause)  # type: ignore[union-attr]


async def test_again_and_out_of_order() -> None:
    env = WorkflowEnvironment()
    with pytest.raises(RuntimeError, match="not open yet"):
        env.client.store.hint([])
    await env.shutdown()
    await env.shutdown()
    with pytest.raises(RuntimeError, match="is closed"):
        await env.run(child(1))


async def kinds(env: WorkflowEnvironment, workflow_id: str) -> list[str]:
    history = await env.client.get_workflow_handle(workflow_id).fetch_history()
    return [type(event.data).__name__ for event in history.events]
