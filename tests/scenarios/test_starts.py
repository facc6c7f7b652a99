"""Starting, identity, ending from outside, and what a run looks like from there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from durable import (
    Signal,
    WorkflowAlreadyStartedError,
    WorkflowFailureError,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    activity,
    workflow,
)
from durable.exceptions import (
    ApplicationError,
    TerminatedError,
    TimeoutError,
    WorkflowNotFoundError,
)
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, reached, until

end: Signal[Any] = Signal[Any]("scn.starts.end")


twice: Signal[str] = Signal("scn.starts.twice", str)


@workflow.defn(name="scn.starts.waits")
async def waits(value: str = "x") -> Any:
    got = await end.receive()
    if got == "fail":
        raise ApplicationError("asked to fail")
    return f"{value} {got}"


Conflict, Reuse = WorkflowIDConflictPolicy, WorkflowIDReusePolicy


@pytest.mark.temporal("workflow/id_conflict", "workflow/already_started")
async def test_one_open_run_of_an_id(env: Env) -> None:
    first = await env.start(waits("a"), id="one")
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await env.start(waits("b"), id="one")
    assert (caught.value.workflow_id, caught.value.run_id) == ("one", first.result_run_id)
    same = await env.start(waits("c"), id="one", id_conflict_policy=Conflict.USE_EXISTING)
    assert same.result_run_id == first.result_run_id
    async with env.worker(waits):
        await first.signal(end("done"))
        assert await same.result(timeout=PATIENCE) == "a done"
    assert await events(first) == ["Started", "Signaled", "Completed"]


async def test_terminate_existing(env: Env) -> None:
    async with env.worker(waits):
        first = await env.start(waits("a"), id="one")
        second = await env.start(waits("b"), id="one", id_conflict_policy=Conflict.TERMINATE_EXISTING)
        third = await env.start(waits("c"), id="one", id_reuse_policy=Reuse.TERMINATE_IF_RUNNING)
        for ended in (first, second):
            assert isinstance(await fails(ended), TerminatedError)
            assert (await events(ended))[-1] == "Terminated"
        assert len({first.result_run_id, second.result_run_id, third.result_run_id}) == 3
        await third.signal(end("done"))
        assert await third.result(timeout=PATIENCE) == "c done"


async def test_a_typed_handle_may_mean_one_chain(plain: Env) -> None:
    async with plain.worker(waits):
        first = await plain.start(waits("a"), id="chain")
        await first.terminate()
        await plain.start(waits("b"), id="chain", start_delay=60)
    run_id = first.first_execution_run_id
    own = plain.client.get_workflow_handle_for(waits, "chain", first_execution_run_id=run_id)
    with pytest.raises(WorkflowNotFoundError, match="its id has been used again"):
        await own.terminate()
    await plain.client.get_workflow_handle_for(waits, "chain").terminate()


@pytest.mark.temporal("client_api/id_reuse")
@pytest.mark.parametrize(
    ("policy", "after_success", "after_failure"),
    [
        (Reuse.ALLOW_DUPLICATE, True, True),
        (Reuse.ALLOW_DUPLICATE_FAILED_ONLY, False, True),
        (Reuse.REJECT_DUPLICATE, False, False),
    ],
)
async def test_reuse_of_an_id(env: Env, policy: Reuse, after_success: bool, after_failure: bool) -> None:
    async with env.worker(waits):
        for outcome, allowed in (("well", after_success), ("fail", after_failure)):
            first = await env.start(waits(), id=outcome)
            await first.signal(end(outcome))
            await asyncio.wait([asyncio.ensure_future(_ended(first))])
            if allowed:
                again = await env.start(waits("again"), id=outcome, id_reuse_policy=policy)
                assert again.result_run_id != first.result_run_id
                await again.terminate()
                assert (await events(again))[-1] == "Terminated"
            else:
                with pytest.raises(WorkflowAlreadyStartedError):
                    await env.start(waits(), id=outcome, id_reuse_policy=policy)
            ended = "Completed" if outcome == "well" else "Failed"
            assert await events(first) == ["Started", "Signaled", ended]


async def _ended(handle: Any) -> None:
    with contextlib.suppress(WorkflowFailureError):
        await handle.result(timeout=PATIENCE)


async def test_many_starts_of_one_id_make_one_run(env: Env) -> None:
    tries = await asyncio.gather(
        *[env.start(waits(str(i)), id="race") for i in range(20)], return_exceptions=True
    )
    won = [one for one in tries if not isinstance(one, BaseException)]
    assert len(won) == 1
    lost = [one for one in tries if isinstance(one, WorkflowAlreadyStartedError)]
    assert len(lost) == 19
    assert {one.run_id for one in lost} == {won[0].result_run_id}
    joined = await asyncio.gather(
        *[env.start(waits(), id="race", id_conflict_policy=Conflict.USE_EXISTING) for _ in range(5)]
    )
    assert {one.result_run_id for one in joined} == {won[0].result_run_id}


async def test_a_start_whose_answer_was_lost_is_one_start(env: Env) -> None:
    """The row is there, the answer is not: asked again with the same run id, it is the same start."""
    from durable.exceptions import StoreUnavailableError

    lost = []

    async def unlucky(create: Any, runs: Any) -> Any:
        made = await create(runs)
        if not lost:
            lost.append(runs[0].run_id)
            raise StoreUnavailableError("the answer was lost")
        return made

    env.store.hooks["create_runs"] = unlucky
    async with env.worker(waits):
        handle = await env.start(waits("a"), id="one")
        assert handle.result_run_id == lost[0]
        await handle.signal(end("done"))
        assert await handle.result(timeout=PATIENCE) == "a done"
    assert (await events(handle)).count("Started") == 1


async def test_a_signal_whose_answer_was_lost_is_one_signal(env: Env) -> None:
    from durable.exceptions import StoreUnavailableError

    lost = []

    async def unlucky(send: Any, messages: Any) -> Any:
        answer = await send(messages)
        if not lost:
            lost.append(1)
            # Long enough for the run to read it, so that the repeat finds it in the history only.
            await reached(handle, "Started", "Signaled")
            raise StoreUnavailableError("the answer was lost")
        return answer

    @workflow.defn(name="scn.starts.counts")
    async def counts() -> list[Any]:
        found = []
        while (got := await end.receive()) != "stop":
            found.append(got)
        return found

    async with env.worker(counts):
        handle = await env.start(counts())
        env.store.hooks["send"] = unlucky
        await handle.signal(end("once"))
        await handle.signal(end("stop"))
        assert await handle.result(timeout=PATIENCE) == ["once"]
    assert (await events(handle)).count("Signaled") == 2


async def test_a_cancelled_start_may_have_happened_and_is_found(env: Env) -> None:
    entered, answered = asyncio.Event(), asyncio.Event()

    async def slow(create: Any, runs: Any) -> Any:
        made = await create(runs)
        entered.set()
        await answered.wait()
        return made

    async with env.worker(waits):
        env.store.hooks["create_runs"] = slow
        starting = asyncio.ensure_future(env.client.start_workflow(waits("a"), id="one"))
        await asyncio.wait_for(entered.wait(), PATIENCE)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        answered.set()
        env.store.hooks.clear()
        handle = await env.start(waits("b"), id="one", id_conflict_policy=Conflict.USE_EXISTING)
        await handle.signal(end("found"))
        # It was created as the worker's own, who was never told: the worker must find it by itself.
        assert await handle.result(timeout=PATIENCE) == "a found"


@pytest.mark.temporal("client_api/terminate")
async def test_terminate(env: Env) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    @activity.defn(name="scn.starts.endless")
    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    @workflow.defn(name="scn.starts.busy")
    async def busy() -> None:
        try:
            await endless()
        finally:
            await asyncio.sleep(3600)

    async with env.worker(busy, endless):
        handle = await env.start(busy())
        await reached(handle, "Started", "ActivityScheduled")
        await asyncio.wait_for(began.wait(), PATIENCE)  # what has not begun is not cancelled either
        await handle.signal("unread at its end")
        await handle.terminate("detail", 7, reason="enough")
        cause = await fails(handle)
        assert isinstance(cause, TerminatedError)
        assert (str(cause), list(cause.details)) == ("enough", ["detail", 7])
        await asyncio.wait_for(cancelled.wait(), PATIENCE)
        with pytest.raises(WorkflowNotFoundError, match="closed"):
            await handle.terminate()
    told = await events(handle)
    assert told[-1] == "Terminated"
    assert (await event(handle, "Terminated")).reason == "enough"
    assert (await handle.describe()).status.name == "TERMINATED"


async def test_terminate_without_workers(env: Env) -> None:
    handle = await env.start(waits())
    await handle.terminate(reason="nobody came")
    assert isinstance(await fails(handle), TerminatedError)
    assert await events(handle) == ["Started", "Terminated"]


@pytest.mark.parametrize("option", ["run_timeout", "execution_timeout"])
async def test_run_timeout(env: Env, option: str) -> None:
    async with env.worker(waits):
        began = time.monotonic()
        handle = await env.start(waits(), **{option: 0.3})
        cause = await fails(handle)
        assert isinstance(cause, TimeoutError)
        assert time.monotonic() - began >= 0.3
    assert await events(handle) == ["Started", "TimedOut"]
    assert (await handle.describe()).status.name == "TIMED_OUT"


async def test_run_timeout_of_a_run_that_nobody_serves(env: Env) -> None:
    handle = await env.start(waits(), run_timeout=0.2, task_queue="desert")
    async with env.worker(waits):
        assert isinstance(await fails(handle), TimeoutError)
    assert await events(handle) == ["Started", "TimedOut"]


async def test_start_delay(env: Env) -> None:
    @workflow.defn(name="scn.starts.quick")
    async def quick() -> float:
        return workflow.time()

    async with env.worker(quick):
        before = time.time()
        handle = await env.start(quick(), start_delay=0.4)
        await handle.result(timeout=PATIENCE)
        assert time.time() - before >= 0.4
    # Its first event is the start's; nothing of it ran before the delay was over.
    assert await events(handle) == ["Started", "Completed"]


@pytest.mark.temporal("client_api/describe")
async def test_describe_and_memo(env: Env) -> None:
    @activity.defn(name="scn.starts.failing")
    async def failing() -> None:
        raise ValueError("not today")

    @workflow.defn(name="scn.starts.described")
    async def described() -> None:
        from durable import RetryPolicy

        one = workflow.start_activity(failing, retry_policy=RetryPolicy(initial_interval=60))
        two = workflow.start_activity("scn.nobody", task_queue="desert")
        await asyncio.sleep(3600)
        await asyncio.gather(one, two)

    async with env.worker(described, failing):
        handle = await env.start(
            described(),
            id="described",
            memo={"customer": {"name": "ada"}, "n": 3},
            static_summary="a line",
            static_details="more\nlines",
        )

        async def backs_off() -> bool:
            return any(one.attempt == 2 for one in (await handle.describe()).pending_activities)

        await until("the first attempt failed", backs_off)
        told = await handle.describe()
    assert (told.id, told.workflow_type, told.task_queue) == ("described", "scn.starts.described", "default")
    assert (told.status.name, told.hold, told.close_time) == ("RUNNING", "", None)
    assert await told.memo() == {"customer": {"name": "ada"}, "n": 3}
    assert (await told.static_summary(), await told.static_details()) == ("a line", "more\nlines")
    assert told.history_length == len(await events(handle))
    assert told.history_size > 0
    assert len(told.pending_timers) == 1
    by_type = {one.activity_type: one for one in told.pending_activities}
    backing, queued = by_type["scn.starts.failing"], by_type["scn.nobody"]
    assert (backing.state, backing.attempt) == ("queued", 2)
    assert "not today" in str(backing.last_failure)
    assert backing.next_attempt_time is not None
    assert (queued.state, queued.attempt, queued.task_queue) == ("queued", 1, "desert")
    await handle.terminate()
    told = await handle.describe()
    assert told.close_time is not None
    assert not told.pending_activities
    assert not told.pending_timers
    with pytest.raises(WorkflowNotFoundError):
        await env.client.get_workflow_handle("nobody").describe()


async def test_results_reach_other_processes(env: Env, store_url: str) -> None:
    from durable import Client

    async with Client.connect(store_url) as other, env.worker(waits):
        handle = await other.start_workflow(waits("far"), id="far")
        waiting = asyncio.ensure_future(handle.result(timeout=PATIENCE))
        await handle.signal(end("away"))
        assert await waiting == "far away"
        assert await env.client.get_workflow_handle("far").result(timeout=PATIENCE) == "far away"
        assert await other.get_workflow_handle_for(waits, "far").result() == "far away"
        with pytest.raises(WorkflowNotFoundError):
            await other.get_workflow_handle("nobody").result()


async def test_waiting_for_a_result_may_time_out_and_goes_on(env: Env) -> None:
    import builtins

    async with env.worker(waits):
        handle = await env.start(waits())
        with pytest.raises(builtins.TimeoutError):
            async with asyncio.timeout(PATIENCE) as patience:
                await handle.result(timeout=0.05)
        assert not patience.expired(), "its own timeout, and not the test's"
        await handle.signal(end("later"))
        assert await handle.result(timeout=PATIENCE) == "x later"


async def test_a_worker_started_later_finds_what_waits(env: Env) -> None:
    handles = [await env.start(waits(str(i))) for i in range(20)]
    await asyncio.gather(*[handle.signal(end("now")) for handle in handles])
    async with env.worker(waits):
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
    assert results == [f"{i} now" for i in range(20)]


async def test_by_name_and_in_temporals_spelling(env: Env) -> None:
    async with env.worker(waits):
        for call, more in (("scn.starts.waits", ("n",)), (waits, ("n",))):
            handle = await env.start(call, *more)
            await handle.signal(end("ok"))
            assert await handle.result(timeout=PATIENCE) == "n ok"
        handle = await env.start("scn.starts.waits", args=["n"])
        await handle.signal(end("ok"))
        assert await handle.result(timeout=PATIENCE) == "n ok"


@workflow.defn(name="scn.starts.twice")
async def says_twice() -> list[str]:
    return [await twice.receive(), await twice.receive()]


async def test_a_start_of_one_request_is_one(env: Env) -> None:
    async def ask(number: str, **options: Any) -> Any:
        return await env.start(says_twice(), id="r", request_id=number, start_signal=twice("a"), **options)

    async with env.worker(says_twice):
        first = await ask("one")
        for _ in range(2):
            again = await ask("one")
            assert again.first_execution_run_id == first.first_execution_run_id
            await reached(first, "Started", "Signaled")
        with pytest.raises(WorkflowAlreadyStartedError):
            await ask("two", id_conflict_policy=WorkflowIDConflictPolicy.FAIL)
        assert (await events(first)).count("Signaled") == 1
        await first.signal(twice("b"))
        assert await first.result(timeout=PATIENCE) == ["a", "b"]
        # Closed, it is still what the request has started, whatever the policies say.
        again = await ask("one", id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE)
        assert await again.result(timeout=PATIENCE) == ["a", "b"]
        other = await ask("two")
        assert other.first_execution_run_id != first.first_execution_run_id
        for _ in range(2):
            newest = await ask("three", id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING)
        await newest.signal(twice("b"))
        assert await newest.result(timeout=PATIENCE) == ["a", "b"]
        assert (await env.client.count_workflows("WorkflowId = 'r'")).count == 3
    with pytest.raises(ValueError, match="a request_id needs an id"):
        await env.client.start_workflow(says_twice(), request_id="one")
