"""One activity of a run, operated from outside: paused, let go on, sent back, given other options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from durable import ActivityError, ApplicationError, RetryPolicy, activity, workflow
from durable.client import PendingActivity, WorkflowHandle
from durable.exceptions import (
    ActivityNotFoundError,
    AsyncActivityCancelledError,
    CancelledError,
    TimeoutError,
    WorkflowNotFoundError,
)
from durable.worker import _reports
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, until

FAST = RetryPolicy(initial_interval=0.02, maximum_interval=0.05)
DONE = ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


class Step:
    """An activity that does what the test says: each attempt waits for a word, and heartbeats meanwhile if it is to."""

    def __init__(self) -> None:
        self.began: asyncio.Queue[activity.Info] = asyncio.Queue()
        self.words: asyncio.Queue[Any] = asyncio.Queue()
        self.details: list[activity.ActivityCancellationDetails | None] = []
        step = self

        @activity.defn(name="scn.step")
        async def run(beats: bool = False, told: str | None = None) -> str:
            if told is not None:
                activity.heartbeat(told)
            step.began.put_nowait(activity.info())
            try:
                while beats and step.words.empty():
                    activity.heartbeat(*([told] if told else []))
                    await asyncio.sleep(0.005)
                word = await step.words.get()
            except asyncio.CancelledError:
                step.details.append(activity.cancellation_details())
                raise
            if isinstance(word, BaseException):
                raise word
            return str(word)

        self.activity = run

    async def begun(self) -> activity.Info:
        async with asyncio.timeout(PATIENCE):
            return await self.began.get()

    def say(self, word: Any) -> None:
        self.words.put_nowait(word)


@workflow.defn(name="scn.steps")
async def steps(args: list[Any], options: dict[str, Any]) -> Any:
    retry, waits = options.pop("retry", None), options.pop("waits", False)
    policy = FAST if retry is None else RetryPolicy(**retry)
    kind = workflow.ActivityCancellationType
    how = kind.WAIT_CANCELLATION_COMPLETED if waits else kind.TRY_CANCEL
    try:
        return await workflow.execute_activity(
            "scn.step", args=args, retry_policy=policy, cancellation_type=how, **options
        )
    except ActivityError as error:
        cause = error.cause
        timeout = cause.type.name if isinstance(cause, TimeoutError) and cause.type else ""
        return [type(cause).__name__, timeout or str(getattr(cause, "message", cause))]


async def pending(handle: WorkflowHandle[Any, Any]) -> PendingActivity:
    (found,) = (await handle.describe()).pending_activities
    return found


async def comes(
    handle: WorkflowHandle[Any, Any], wanted: Callable[[PendingActivity], bool]
) -> PendingActivity:
    """Wait until the run's one activity looks so."""

    async def look() -> PendingActivity | None:
        found = (await handle.describe()).pending_activities
        return found[0] if found and wanted(found[0]) else None

    told: PendingActivity = await until("the activity looks as it should", look)
    return told


def said(told: PendingActivity) -> str:
    """What the attempt before failed with."""
    return str(getattr(told.last_failure, "message", told.last_failure))


async def queued(handle: WorkflowHandle[Any, Any]) -> PendingActivity:
    return await comes(handle, lambda one: one.state == "queued")


BEATS: dict[str, Any] = {"heartbeat_timeout": 60, "start_to_close_timeout": 300, "activity_id": "a"}
SILENT: dict[str, Any] = {"activity_id": "a"}


@pytest.fixture(autouse=True)
def eager_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats are passed on at once, however long their timeout is: a busy machine is late for short ones."""
    monkeypatch.setattr(_reports, "HEARTBEAT_LONGEST", 0.02)


# ---------------------------------------------------------------------- pause


async def test_a_paused_activity_makes_no_new_attempt(env: Env) -> None:
    step = Step()
    async with env.worker(steps, step.activity):
        handle = await env.start(steps([], SILENT | {"retry": {"initial_interval": 3600}}))
        await step.begun()
        step.say(RuntimeError("first"))
        await queued(handle)
        await handle.pause_activity(id="a", reason="being looked into")
        told = await pending(handle)
        assert (told.state, told.paused, told.pause_reason) == ("paused", True, "being looked into")
        assert told.pause_time is not None
        assert (told.attempt, told.next_attempt_time) == (2, None)
        assert said(told) == "first"
        await handle.pause_activity(id="a", reason="again")
        assert (await pending(handle)).pause_reason == "being looked into"
        # The back-off of an hour is gone.
        await handle.unpause_activity(id="a")
        assert (await step.begun()).attempt == 2
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await events(handle) == DONE
    assert (await event(handle, "ActivityCompleted")).attempt == 2


@pytest.mark.parametrize("eager", [True, False], ids=["eager", "queued"])
async def test_an_attempt_that_heartbeats_is_told_and_uses_none_up(env: Env, eager: bool) -> None:
    step = Step()
    options = BEATS | {"eager": eager, "retry": {"maximum_attempts": 1}}
    async with env.worker(steps, step.activity):
        handle = await env.start(steps([True, "half"], options))
        assert (await step.begun()).attempt == 1
        await handle.pause_activity(type="scn.step")
        told = await comes(handle, lambda one: one.state == "paused")
        assert (told.attempt, list(told.heartbeat_details)) == (1, ["half"])
        assert step.details == [activity.ActivityCancellationDetails(paused=True)]
        assert step.began.empty()
        await handle.unpause_activity(type=step.activity)
        again = await step.begun()
        assert (again.attempt, again.heartbeat_details) == (1, ["half"])
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await events(handle) == DONE
    assert (await event(handle, "ActivityCompleted")).attempt == 1


async def test_a_silent_attempt_ends_and_the_next_waits(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT))
        await step.begun()
        await handle.pause_activity(id="a")
        assert (await pending(handle)).state == "running"
        step.say(RuntimeError("own fault"))
        told = await comes(handle, lambda one: one.state == "paused")
        assert (told.attempt, said(told)) == (2, "own fault")
        await handle.unpause_activity(id="a")
        assert (await step.begun()).attempt == 2
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await events(handle) == DONE


async def test_one_that_completes_while_paused_has_completed(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT))
        await step.begun()
        await handle.pause_activity(id="a")
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
        with pytest.raises(WorkflowNotFoundError, match="closed"):
            await handle.unpause_activity(id="a")
    assert await events(handle) == DONE


async def test_one_that_must_not_be_tried_again_fails_while_paused(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT))
        await step.begun()
        await handle.pause_activity(id="a")
        step.say(ApplicationError("never", non_retryable=True))
        assert await handle.result(timeout=PATIENCE) == ["ApplicationError", "never"]


async def test_schedule_to_close_runs_on_while_paused(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps):
        handle = await plain.start(steps([], SILENT | {"schedule_to_close_timeout": 4}))
        await queued(handle)
        await handle.pause_activity(id="a")
        assert await handle.result(timeout=PATIENCE) == ["TimeoutError", "SCHEDULE_TO_CLOSE"]
    assert step.began.empty()
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityTimedOut", "Completed"]


async def test_a_pause_does_not_count_for_schedule_to_start(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps):
        handle = await plain.start(steps([], SILENT | {"schedule_to_start_timeout": 4}))
        await queued(handle)
        await handle.pause_activity(id="a")
        (row,) = await plain.client.store.read_activities(handle.result_run_id or "")
        assert row.deadline is None
        await handle.unpause_activity(id="a")
        (again,) = await plain.client.store.read_activities(handle.result_run_id or "")
        assert again.start_by is not None
        assert row.start_by is not None
        assert again.start_by > row.start_by
        assert again.deadline == again.start_by
        assert await handle.result(timeout=PATIENCE) == ["TimeoutError", "SCHEDULE_TO_START"]
    assert step.began.empty()


async def test_a_cancel_ends_a_paused_activity(env: Env) -> None:
    step = Step()
    waits = SILENT | {"waits": True}
    async with env.worker(steps):
        handle = await env.start(steps([], waits))
        await queued(handle)
        await handle.pause_activity(id="a")
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    assert (await events(handle))[-2:] == ["ActivityCanceled", "Canceled"]
    assert step.began.empty()


async def test_a_cancel_meets_an_attempt_that_was_told_to_pause(plain: Env) -> None:
    step = Step()
    waits = BEATS | {"waits": True}
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([True], waits))
        await step.begun()
        await handle.pause_activity(id="a")
        await comes(handle, lambda one: one.state == "paused")
        await handle.cancel()
        assert isinstance(await fails(handle), CancelledError)
    assert (await events(handle))[-2:] == ["ActivityCanceled", "Canceled"]


async def test_a_paused_activity_outlives_its_worker(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT))
        await step.begun()
        await handle.pause_activity(id="a", reason="for long")
    async with plain.worker(steps, step.activity):
        told = await comes(handle, lambda one: one.state == "paused")
        assert told.pause_reason == "for long"
        assert step.began.empty()
        await handle.unpause_activity(id="a", jitter=0.01)
        await step.begun()
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"


async def test_an_attempt_outside_is_told_of_pause_and_reset(plain: Env) -> None:
    infos: asyncio.Queue[activity.Info] = asyncio.Queue()

    @activity.defn(name="scn.step")
    async def outside() -> str:
        infos.put_nowait(activity.info())
        activity.raise_complete_async()

    async with plain.worker(steps, outside):
        handle = await plain.start(steps([], SILENT))
        info = await infos.get()
        token = plain.client.get_async_activity_handle(task_token=info.task_token)
        await token.heartbeat("half")
        await handle.pause_activity(id="a")
        with pytest.raises(AsyncActivityCancelledError) as paused:
            await token.heartbeat("more")
        assert paused.value.details == activity.ActivityCancellationDetails(paused=True)
        await handle.reset_activity(id="a", reset_heartbeats=True)
        with pytest.raises(AsyncActivityCancelledError) as reset:
            await token.heartbeat("more")
        assert reset.value.details == activity.ActivityCancellationDetails(reset=True)
        await token.fail(RuntimeError("stopped"))
        again = await infos.get()
        assert (again.attempt, again.heartbeat_details) == (1, [])
        with pytest.raises(ActivityNotFoundError):
            await token.complete("of an attempt that is over")
        await plain.client.get_async_activity_handle(task_token=again.task_token).complete("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await events(handle) == DONE


# ---------------------------------------------------------------------- unpause and reset


async def test_unpause_counts_attempts_again_and_forgets_heartbeats(plain: Env) -> None:
    step = Step()
    options = SILENT | {"retry": {"initial_interval": 3600, "maximum_attempts": 2}}
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([False, "half"], options))
        await step.begun()
        step.say(RuntimeError("first"))
        await queued(handle)
        await handle.pause_activity(id="a")
        await handle.unpause_activity(id="a", reset_attempts=True, reset_heartbeats=True)
        again = await step.begun()
        assert (again.attempt, again.heartbeat_details) == (1, [])
        step.say(RuntimeError("first again"))
        told = await queued(handle)
        assert (told.attempt, said(told)) == (2, "first again")
        await handle.reset_activity(id="a")
        third = await step.begun()
        assert (third.attempt, third.heartbeat_details) == (1, ["half"])
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert (await event(handle, "ActivityCompleted")).attempt == 1


@pytest.mark.temporal("worker_activity/reset")
@pytest.mark.parametrize("eager", [True, False], ids=["eager", "queued"])
@pytest.mark.parametrize("forget", [True, False], ids=["forget", "keep"])
async def test_an_attempt_is_told_of_a_reset_and_the_first_follows(
    env: Env, eager: bool, forget: bool
) -> None:
    step = Step()
    options = BEATS | {"eager": eager, "retry": {"initial_interval": 0.01, "maximum_attempts": 2}}
    async with env.worker(steps, step.activity):
        handle = await env.start(steps([True, "half"], options))
        await step.begun()
        step.say(RuntimeError("first"))
        assert (await step.begun()).attempt == 2
        await handle.reset_activity(id="a", reset_heartbeats=forget)
        again = await step.begun()
        assert (again.attempt, again.heartbeat_details) == (1, [] if forget else ["half"])
        assert step.details == [activity.ActivityCancellationDetails(reset=True)]
        step.say(RuntimeError("first again"))
        assert (await step.begun()).attempt == 2
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
    assert await events(handle) == DONE
    assert (await event(handle, "ActivityCompleted")).attempt == 2


async def test_the_last_attempt_that_fails_after_a_reset_is_followed_by_the_first(plain: Env) -> None:
    """It sends no heartbeat, so that its worker does not know; the row tells, when its end is not taken."""
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT | {"retry": {"maximum_attempts": 1}}))
        await step.begun()
        await handle.reset_activity(id="a")
        step.say(RuntimeError("first"))
        assert (await step.begun()).attempt == 1
        step.say(RuntimeError("last"))
        assert await handle.result(timeout=PATIENCE) == ["ApplicationError", "last"]
    assert (await event(handle, "ActivityFailed")).attempt == 1


async def test_a_reset_may_leave_it_paused(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT | {"retry": {"initial_interval": 3600}}))
        await step.begun()
        step.say(RuntimeError("first"))
        await queued(handle)
        await handle.pause_activity(id="a")
        await handle.reset_activity(id="a", keep_paused=True)
        told = await pending(handle)
        assert (told.state, told.attempt) == ("paused", 1)
        await handle.reset_activity(id="a", jitter=0.01)
        assert (await step.begun()).attempt == 1
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"


# ---------------------------------------------------------------------- options


async def test_new_options_hold_from_the_next_attempt_on(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT | {"retry": {"maximum_attempts": 1}}))
        await step.begun()
        # The attempt under way began when it was the last; its failure is judged by the policy of now.
        await handle.update_activity_options(
            id="a",
            retry_policy=RetryPolicy(initial_interval=0.01, maximum_attempts=2),
            start_to_close_timeout=77,
        )
        step.say(RuntimeError("first"))
        second = await step.begun()
        assert second.attempt == 2
        assert second.start_to_close_timeout is not None
        assert second.start_to_close_timeout.total_seconds() == 77
        assert second.retry_policy is not None
        assert second.retry_policy.maximum_attempts == 2
        step.say(RuntimeError("last"))
        assert await handle.result(timeout=PATIENCE) == ["ApplicationError", "last"]
    assert (await event(handle, "ActivityScheduled")).retry_policy.maximum_attempts == 1


async def test_options_move_an_activity_to_another_queue_and_back(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps):
        handle = await plain.start(steps([], SILENT | {"heartbeat_timeout": 30, "task_queue": "nobody"}))
        await queued(handle)
        await handle.update_activity_options(
            id="a",
            task_queue="other",
            heartbeat_timeout=0,
            schedule_to_close_timeout=60,
            schedule_to_start_timeout=30,
        )
        told = await pending(handle)
        async with plain.worker(step.activity, task_queue="other"):
            info = await step.begun()
            assert (info.task_queue, info.heartbeat_timeout) == ("other", None)
            assert info.schedule_to_close_timeout is not None
            await handle.update_activity_options(id="a", restore_original=True)
            step.say(RuntimeError("elsewhere"))
            await queued(handle)
        async with plain.worker(step.activity, task_queue="nobody"):
            info = await step.begun()
            assert (info.task_queue, info.schedule_to_close_timeout) == ("nobody", None)
            assert info.heartbeat_timeout is not None
            step.say("done")
            assert await handle.result(timeout=PATIENCE) == "done"
    assert told.state == "queued"


async def test_a_shorter_limit_ends_what_waits(plain: Env) -> None:
    async with plain.worker(steps):
        handle = await plain.start(steps([], SILENT))
        await queued(handle)
        await handle.update_activity_options(id="a", schedule_to_start_timeout=0.05)
        assert await handle.result(timeout=PATIENCE) == ["TimeoutError", "SCHEDULE_TO_START"]


async def test_a_reset_restores_the_original_options(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps):
        handle = await plain.start(steps([], SILENT))
        await queued(handle)
        await handle.update_activity_options(type=step.activity, task_queue="nobody")
        await handle.reset_activity(type="scn.step", restore_original_options=True)
        async with plain.worker(step.activity):
            assert (await step.begun()).task_queue == "default"
            step.say("done")
            assert await handle.result(timeout=PATIENCE) == "done"


async def test_what_goes_on_may_be_spread_over_a_while(plain: Env) -> None:
    async with plain.worker(steps):
        handle = await plain.start(steps([], SILENT))
        began = (await queued(handle)).scheduled_time
        await handle.reset_activity(id="a", jitter=timedelta(days=1000))
        first = (await pending(handle)).next_attempt_time
        assert first is not None
        assert first - began > timedelta(minutes=1)
        await handle.pause_activity(id="a")
        await handle.unpause_activity(id="a", jitter=timedelta(days=1000))
        second = (await pending(handle)).next_attempt_time
        assert second is not None
        assert second - began > timedelta(minutes=1)
        assert second != first
        await handle.terminate()


# ---------------------------------------------------------------------- what cannot be


async def test_what_is_not_meant_is_refused(plain: Env) -> None:
    step = Step()
    async with plain.worker(steps, step.activity):
        handle = await plain.start(steps([], SILENT))
        await step.begun()
        with pytest.raises(ActivityNotFoundError, match="no open activity 'b'") as missing:
            await handle.pause_activity(id="b")
        assert missing.value.workflow_id == handle.id
        with pytest.raises(ActivityNotFoundError, match="of type 'other'"):
            await handle.reset_activity(type="other")
        with pytest.raises(ValueError, match="id= or a type="):
            await handle.unpause_activity()
        with pytest.raises(ValueError, match="id= or a type="):
            await handle.unpause_activity(id="a", type="scn.step")
        with pytest.raises(ValueError, match="option to change"):
            await handle.update_activity_options(id="a")
        with pytest.raises(ValueError, match="needs a start_to_close_timeout"):
            await handle.update_activity_options(id="a", start_to_close_timeout=0)
        with pytest.raises(TypeError, match="RetryPolicy"):
            await handle.update_activity_options(id="a", retry_policy=3)  # type: ignore[arg-type]
        step.say("done")
        assert await handle.result(timeout=PATIENCE) == "done"
        with pytest.raises(WorkflowNotFoundError, match="no such workflow"):
            await plain.client.get_workflow_handle("nobody").pause_activity(id="a")
