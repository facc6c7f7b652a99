"""Activities that are ended from outside: by token, by ids, under the timeouts and retries of any other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from durable import ActivityError, ApplicationError, Client, RetryPolicy, activity, workflow
from durable.client import AsyncActivityCancelledError, AsyncActivityHandle
from durable.exceptions import ActivityNotFoundError, TimeoutError
from tests.scenarios.rig import PATIENCE, Env, event, events, reached, until

FAST = RetryPolicy(initial_interval=0.02, maximum_interval=0.05)


class Outside:
    """What is outside: it is told tokens, by the attempt."""

    def __init__(self) -> None:
        self.infos: asyncio.Queue[activity.Info] = asyncio.Queue()
        outside = self

        @activity.defn(name="scn.outside")
        async def ended_outside(beats: bool = False) -> str:
            if beats:
                activity.heartbeat("begun")
            outside.infos.put_nowait(activity.info())
            activity.raise_complete_async()

        @activity.defn(name="scn.outside_thread")
        def ended_outside_in_thread() -> str:
            info = activity.info()
            loop.call_soon_threadsafe(outside.infos.put_nowait, info)
            activity.raise_complete_async()

        loop = asyncio.get_running_loop()
        self.activity = ended_outside
        self.in_thread = ended_outside_in_thread

    async def told(self) -> activity.Info:
        async with asyncio.timeout(PATIENCE):
            return await self.infos.get()


@workflow.defn(name="scn.waits_outside")
async def waits(name: str, args: list[Any], options: dict[str, Any]) -> Any:
    try:
        return await workflow.execute_activity(name, args=args, retry_policy=FAST, **options)
    except ActivityError as error:
        cause = error.cause
        kind = cause.type.name if isinstance(cause, TimeoutError) and cause.type else ""
        return [type(cause).__name__, kind, str(getattr(cause, "message", cause))]


@pytest.mark.temporal("hello/async_activity_completion")
@pytest.mark.temporal("worker_activity/async_complete")
@pytest.mark.parametrize("beats", [False, True], ids=["silent", "heartbeat"])
async def test_a_token_completes_an_activity(env: Env, beats: bool) -> None:
    outside = Outside()
    async with env.worker(waits, outside.activity):
        handle = await env.start(waits("scn.outside", [beats], {}))
        info = await outside.told()
        await env.client.get_async_activity_handle(task_token=info.task_token).complete("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    ended = await event(handle, "ActivityCompleted")
    assert (ended.attempt, ended.identity) == (1, env.client.identity)


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
async def test_a_result_that_is_said_again_is_taken_as_said_once(env: Env, closed: bool) -> None:
    """Its answer was lost, for example. Another result, or the end of another attempt, is refused as ever."""
    outside = Outside()

    @workflow.defn(name="scn.outside_then_waits")
    async def then_waits() -> str:
        told: str = await workflow.execute_activity("scn.outside")
        if not closed:
            await workflow.wait_condition(lambda: False)
        return told

    async with env.worker(then_waits, outside.activity):
        handle = await env.start(then_waits())
        found = env.client.get_async_activity_handle(task_token=(await outside.told()).task_token)
        for _ in range(2):
            await found.complete("done")
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted", *["Completed"] * closed)
        await found.complete("done")
        with pytest.raises(ActivityNotFoundError):
            await found.complete("another")
        with pytest.raises(ActivityNotFoundError):
            await found.fail(ValueError("done"))
        named = env.client.get_async_activity_handle(workflow_id=handle.id, activity_id="1")
        with pytest.raises(ActivityNotFoundError):
            await named.complete("done")
        if not closed:
            await handle.terminate(reason="over")
            assert (await handle.describe()).reason == "over"
    assert (await events(handle)).count("ActivityCompleted") == 1


async def test_a_result_is_said_again_while_the_first_one_is_taken(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither unread any more when the inbox is read, nor was it in the log a moment before."""
    outside = Outside()
    store = env.client.store
    real = store.read_messages

    async with env.worker(waits, outside.activity):
        handle = await env.start(waits("scn.outside", [False], {}))
        found = env.client.get_async_activity_handle(task_token=(await outside.told()).task_token)
    await found.complete("done")

    async def taken_meanwhile(run_ids: Sequence[str]) -> Any:
        monkeypatch.undo()
        async with env.worker(waits, outside.activity):
            assert await handle.result() == "done"
        return await real(run_ids)

    monkeypatch.setattr(store, "read_messages", taken_meanwhile)
    await found.complete("done")
    assert store.read_messages == real, "it looked"


async def test_a_sole_activity_is_completed_twice(env: Env) -> None:
    outside = Outside()
    async with env.worker(waits, outside.activity):
        handle = await env.client.start_activity(outside.activity(), id="sole", start_to_close_timeout=60)
        found = env.client.get_async_activity_handle(task_token=(await outside.told()).task_token)
        await found.complete("done")
        await found.complete("done")
        assert await handle.result(timeout=PATIENCE) == "done"
        with pytest.raises(ActivityNotFoundError):
            await found.complete("another")


async def test_ids_complete_an_activity_of_a_thread(env: Env) -> None:
    outside = Outside()
    async with env.worker(waits, outside.in_thread):
        handle = await env.start(waits("scn.outside_thread", [], {"activity_id": "named"}))
        info = await outside.told()
        assert info.activity_id == "named"
        found = env.client.get_async_activity_handle(
            workflow_id=info.workflow_id, run_id=info.workflow_run_id, activity_id="named"
        )
        await found.complete("done")
        assert await handle.result(timeout=PATIENCE) == "done"


@pytest.mark.session
@pytest.mark.parametrize("how", ["token", "ids", "elsewhere"])
async def test_one_is_ended_whose_function_goes_on_beside_its_workflow(
    env: Env, store_url: str, how: str
) -> None:
    """It has no row, and whoever ends it wants one: there and then, and not when the function says so."""
    infos: asyncio.Queue[activity.Info] = asyncio.Queue()
    over = asyncio.Event()

    @activity.defn(name="scn.outside_goes_on")
    async def goes_on() -> str:
        infos.put_nowait(activity.info())
        await over.wait()
        return "its own"

    async with env.worker(waits, goes_on, poll_interval=60.0), Client.connect(store_url) as other:
        handle = await env.start(waits("scn.outside_goes_on", [], {"activity_id": "x"}))
        async with asyncio.timeout(PATIENCE):
            info = await infos.get()
        client = other if how == "elsewhere" else env.client
        named = (
            {"task_token": info.task_token}
            if how == "token"
            else {"workflow_id": handle.id, "activity_id": "x"}
        )
        found = client.get_async_activity_handle(**named)
        async with asyncio.timeout(PATIENCE):
            await found.heartbeat("half")
            await found.complete("from outside")
        assert await handle.result(timeout=PATIENCE) == "from outside"
        over.set()
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


@workflow.defn(name="scn.waits_twice_outside")
async def waits_twice() -> list[str]:
    return [await workflow.execute_activity("scn.outside", activity_id="x") for _ in range(2)]


async def test_an_id_that_was_used_before_means_the_one_that_is_open(env: Env) -> None:
    outside = Outside()
    async with env.worker(waits_twice, outside.activity):
        handle = await env.start(waits_twice())
        for said in ("a", "b"):
            await outside.told()
            found = env.client.get_async_activity_handle(workflow_id=handle.id, activity_id="x")
            await found.complete(said)
        assert await handle.result(timeout=PATIENCE) == ["a", "b"]
    assert await events(handle) == ["Started", *["ActivityScheduled", "ActivityCompleted"] * 2, "Completed"]


async def test_it_is_completed_without_its_worker(env: Env) -> None:
    outside = Outside()
    async with env.worker(waits, outside.activity):
        handle = await env.start(waits("scn.outside", [], {}))
        info = await outside.told()
    async with env.worker(waits, outside.activity):
        pass
    found = env.client.get_async_activity_handle(workflow_id=handle.id, activity_id=info.activity_id)
    (pending,) = (await handle.describe()).pending_activities
    assert pending.state == "outside"
    await found.complete("done")
    async with env.worker(waits, outside.activity):
        assert await handle.result(timeout=PATIENCE) == "done"
    assert outside.infos.empty()


@pytest.mark.temporal("worker_activity/async_fail")
async def test_a_failure_is_tried_again_with_what_it_told(env: Env) -> None:
    outside = Outside()
    async with env.worker(waits, outside.activity):
        handle = await env.start(waits("scn.outside", [], {}))
        first = await outside.told()
        found = env.client.get_async_activity_handle(task_token=first.task_token)
        await found.fail(RuntimeError("not yet"), last_heartbeat_details=["half"])
        second = await outside.told()
        assert (second.attempt, second.heartbeat_details) == (2, ["half"])
        assert second.task_token != first.task_token
        with pytest.raises(ActivityNotFoundError, match="another attempt has taken its place"):
            await found.complete("late")
        again = env.client.get_async_activity_handle(task_token=second.task_token)
        await again.fail(ApplicationError("never", type="Never", non_retryable=True))
        assert (await handle.result(timeout=PATIENCE))[::2] == ["ApplicationError", "never"]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Completed"]
    assert (await event(handle, "ActivityFailed")).attempt == 2


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"start_to_close_timeout": 0.3}, "START_TO_CLOSE"),
        ({"heartbeat_timeout": 0.3}, "HEARTBEAT"),
        ({"schedule_to_close_timeout": 3.0}, "SCHEDULE_TO_CLOSE"),  # it has to begin in that time
    ],
)
async def test_the_timeouts_of_an_attempt_hold_outside(env: Env, options: dict[str, Any], kind: str) -> None:
    outside = Outside()
    retries = kind != "SCHEDULE_TO_CLOSE"
    async with env.worker(waits, outside.activity):
        handle = await env.start(waits("scn.outside", [], options))
        first = await outside.told()
        late = env.client.get_async_activity_handle(task_token=first.task_token)
        if retries:
            second = await outside.told()
            assert second.attempt > first.attempt
            with pytest.raises(ActivityNotFoundError, match="another attempt"):
                await late.complete("late")
            await complete_in_time(env, outside, second)
            assert await handle.result(timeout=PATIENCE) == "in time"
        else:
            assert (await handle.result(timeout=PATIENCE))[:2] == ["TimeoutError", kind]
            with pytest.raises(ActivityNotFoundError, match="it has ended"):
                await late.complete("late")


async def complete_in_time(env: Env, outside: Outside, info: activity.Info) -> None:
    """Complete it; by a later attempt than this one, if that is over already."""
    while True:
        try:
            await env.client.get_async_activity_handle(task_token=info.task_token).complete("in time")
        except ActivityNotFoundError:
            info = await outside.told()
        else:
            return


async def test_heartbeats_keep_it_up_and_tell_the_next_attempt(env: Env) -> None:
    outside = Outside()
    async with env.worker(waits, outside.activity):
        handle = await env.start(waits("scn.outside", [], {"heartbeat_timeout": 4.0}))
        info = await outside.told()
        found = env.client.get_async_activity_handle(task_token=info.task_token)
        begun = await env.client.store.now()

        async def has_outlived_its_timeout() -> bool:
            await found.heartbeat("progress", True)
            return bool(await env.client.store.now() > begun + 4_500_000)

        await until("it outlived its heartbeat timeout", has_outlived_its_timeout)
        (row,) = await env.client.store.read_activities(handle.result_run_id or "")
        assert row.attempt == 1
        await found.fail(RuntimeError("once more"))
        second = await outside.told()
        assert (second.attempt, second.heartbeat_details) == (2, ["progress", True])
        await env.client.get_async_activity_handle(task_token=second.task_token).complete("done")
        assert await handle.result(timeout=PATIENCE) == "done"


@workflow.defn(name="scn.cancels_outside")
async def cancels() -> str:
    task = workflow.start_activity(
        "scn.outside", cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    )
    await workflow.wait_condition(lambda: workflow.info().get_current_history_length() > 1)
    go = asyncio.Event()
    workflow.set_signal_handler("cancel", go.set)
    await go.wait()
    task.cancel()
    try:
        return str(await task)
    except (ActivityError, asyncio.CancelledError) as error:
        return type(error).__name__


async def _is_cancelled(found: AsyncActivityHandle) -> bool:
    try:
        await found.heartbeat()
    except AsyncActivityCancelledError as error:
        return bool(error.details.cancel_requested)
    return False


@pytest.mark.temporal("worker_activity/async_cancel")
@pytest.mark.parametrize("ends", ["cancelled", "completed"])
async def test_a_cancel_is_told_by_its_heartbeat_and_left_to_it(env: Env, ends: str) -> None:
    outside = Outside()
    async with env.worker(cancels, outside.activity):
        handle = await env.start(cancels())
        info = await outside.told()
        found = env.client.get_async_activity_handle(task_token=info.task_token)
        with pytest.raises(ValueError, match="was not asked to end"):
            await found.report_cancellation()
        assert not await _is_cancelled(found)
        await handle.signal("cancel")
        await until("the heartbeat tells of the cancel", lambda: _is_cancelled(found))
        if ends == "cancelled":
            await found.report_cancellation("cleaned up")
            assert await handle.result(timeout=PATIENCE) == "CancelledError"
            assert [p.data for p in (await event(handle, "ActivityCanceled")).details] == [b'"cleaned up"']
        else:
            await found.complete("after all")
            assert await handle.result(timeout=PATIENCE) == "after all"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a row that does not come waits for so long that it is no wait of a busy machine."""
    monkeypatch.setattr("durable.client._async_activity.ROW_PATIENCE", 600.0)


@pytest.mark.usefixtures("patient")
async def test_what_is_not_there_is_told_at_once(plain: Env) -> None:
    outside = Outside()
    client = plain.client
    async with plain.worker(waits, outside.activity):
        handle = await plain.start(waits("scn.outside", [], {}))
        info = await outside.told()
        await client.get_async_activity_handle(task_token=info.task_token).complete("done")
        await handle.result(timeout=PATIENCE)
    late = [
        client.get_async_activity_handle(task_token=info.task_token),
        client.get_async_activity_handle(workflow_id=handle.id, activity_id=info.activity_id),
        client.get_async_activity_handle(workflow_id="nobody", activity_id="1"),
    ]
    async with asyncio.timeout(PATIENCE):
        for found in late:
            for ended in (found.complete(1), found.fail(ValueError()), found.heartbeat()):
                with pytest.raises(ActivityNotFoundError):
                    await ended
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


@pytest.mark.usefixtures("patient")
async def test_what_cannot_be_reached_is_told_soon(plain: Env) -> None:
    infos: asyncio.Queue[activity.Info] = asyncio.Queue()

    @activity.defn(name="scn.outside_local")
    async def local() -> None:
        infos.put_nowait(activity.info())
        await asyncio.Event().wait()

    @workflow.defn(name="scn.waits_for_local")
    async def waits_for_local() -> None:
        await workflow.execute_local_activity(local, activity_id="x", start_to_close_timeout=60)

    async with plain.worker(waits_for_local, local):
        handle = await plain.start(waits_for_local())
        info = await infos.get()
        await reached(handle, "Started", "ActivityScheduled")
        async with asyncio.timeout(PATIENCE):
            for named in ({"task_token": info.task_token}, {"workflow_id": handle.id, "activity_id": "x"}):
                with pytest.raises(ActivityNotFoundError, match="it is a local one"):
                    await plain.client.get_async_activity_handle(**named).complete()
            with pytest.raises(ActivityNotFoundError, match="its workflow has not asked for it"):
                await plain.client.get_async_activity_handle(
                    workflow_id=handle.id, activity_id="y"
                ).complete()
        await handle.terminate()


async def test_a_handle_takes_a_token_or_ids(plain: Env) -> None:
    with pytest.raises(ValueError, match="not both"):
        plain.client.get_async_activity_handle(task_token=b"x", workflow_id="w")
    with pytest.raises(ValueError, match="or task_token="):
        plain.client.get_async_activity_handle(workflow_id="w")
    with pytest.raises(ValueError, match="is not what activity"):
        plain.client.get_async_activity_handle(task_token=b"x")
