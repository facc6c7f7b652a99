"""Going back in a workflow: a new run that begins with a copy of the history up to a point, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import ApplicationError, RetryPolicy, Signal, activity, workflow
from durable.client import WorkflowHandle, WorkflowUpdateStage
from durable.common import WorkflowExecutionStatus
from durable.exceptions import (
    ChildWorkflowError,
    NotInWorkflowError,
    TerminatedError,
    WorkflowFailureError,
    WorkflowNotFoundError,
    WorkflowStillOpenError,
    WorkflowUpdateFailedError,
)
from durable.workflow import ParentClosePolicy
from durable.workflow._workflow import definition_of
from tests.crash.judge import judge_replay
from tests.scenarios.rig import PATIENCE, Env, event, events, reached, until

go: Signal[str] = Signal("rst.go", str)
ran: list[str] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def judged(env: Env, handle: WorkflowHandle[Any, Any], definition: Any) -> None:
    """Have the run that a workflow was reset to judged, too."""
    own = WorkflowHandle[Any, Any](handle._connection, handle.id, run_id=handle.result_run_id)
    env.handles.append((own, definition_of(definition)))


@activity.defn(name="rst.note")
async def note(text: str) -> str:
    ran.append(text)
    return text


@workflow.defn(name="rst.steps")
async def steps() -> list[str]:
    """Two steps, a word from outside, and a third one; with numbers drawn before and after."""
    first = await note(f"one {workflow.uuid4()}")
    second = await note(f"two {workflow.uuid4()}")
    said = await go.receive()
    third = await note(f"three {workflow.uuid4()}")
    return [first, second, said, third]


@pytest.mark.owner
@pytest.mark.temporal("reset/reset_and_delete")
async def test_reset_and_delete(env: Env) -> None:
    async with env.worker(steps, note):
        old = await env.start(steps(), id="r")
        await old.signal(go("on"))
        before = await old.result(timeout=PATIENCE)
        new = await old.reset(event_id=3, reason="a bad second step")
        after = await new.result(timeout=PATIENCE)
    # The signal came after the point, and is sent again; the first step is not done again, the others are.
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert after[3] != before[3]
    assert after[2] == "on"
    assert [text.split()[0] for text in ran] == ["one", "two", "three", "two", "three"]
    reset = await event(new, "Reset")
    assert (reset.base_run_id, reset.event_id, reset.reason) == (old.result_run_id, 3, "a bad second step")
    assert (await events(new))[:4] == ["Started", "ActivityScheduled", "ActivityCompleted", "Reset"]
    started = await event(new, "Started")
    assert started.first_run_id == started.original_run_id == old.result_run_id
    history = await new.fetch_history()
    assert history.run_id == new.result_run_id
    judge_replay(definition_of(steps), history.run_id, history.events)
    first = WorkflowHandle[Any, Any](old._connection, "r", run_id=old.result_run_id)
    await first.delete()
    with pytest.raises(WorkflowNotFoundError):
        await first.describe()
    assert await new.result(timeout=PATIENCE) == after
    env.handles.clear()
    judged(env, new, steps)


async def test_an_open_run_is_terminated_with_it(env: Env) -> None:
    async with env.worker(steps, note):
        old = await env.start(steps(), id="r")
        await until("it waits", lambda: len(ran) == 2)
        new = await old.reset(to="first_task", reason="again")
        with pytest.raises(WorkflowFailureError) as failed:
            await old.result(timeout=PATIENCE)
        assert isinstance(failed.value.cause, TerminatedError)
        assert str(failed.value.cause) == "again"
        ended = await event(
            WorkflowHandle[Any, Any](old._connection, "r", run_id=old.result_run_id), "Terminated"
        )
        assert ended.reset_run_id == new.result_run_id
        await new.signal(go("on"))
        assert (await new.result(timeout=PATIENCE))[2] == "on"
    assert (await new.describe()).first_execution_run_id == old.result_run_id
    assert [text.split()[0] for text in ran] == ["one", "two", "one", "two", "three"]


async def test_the_last_good_task_runs_again(env: Env) -> None:
    async with env.worker(steps, note):
        old = await env.start(steps(), id="r")
        await old.signal(go("on"))
        before = await old.result(timeout=PATIENCE)
        new = await old.reset(to="last_good_task")
        # The task that returned: nothing but its return is done again.
        assert await new.result(timeout=PATIENCE) == before
        assert len(ran) == 3
        again = await new.reset(to="last_good_task")
        assert await again.result(timeout=PATIENCE) == before
    assert (await events(again)).count("Reset") == 2


async def test_a_repeated_request_is_one_reset(env: Env) -> None:
    async with env.worker(steps, note):
        old = await env.start(steps(), id="r")
        old = WorkflowHandle[Any, Any](old._connection, "r", run_id=old.result_run_id)
        await reached(
            old, "Started", "ActivityScheduled", "ActivityCompleted", "ActivityScheduled", "ActivityCompleted"
        )
        one = await old.reset(event_id=5, request_id="mine")
        two = await old.reset(event_id=5, request_id="mine")
        assert one.result_run_id == two.result_run_id
        await one.signal(go("on"))
        await one.result(timeout=PATIENCE)


async def test_what_is_excluded_is_not_sent_again(env: Env) -> None:
    async with env.worker(steps, note):
        old = await env.start(steps(), id="r")
        await old.signal(go("old"))
        await old.result(timeout=PATIENCE)
        new = await old.reset(event_id=1, exclude_signals=True)
        await until("it waits", lambda: len(ran) == 5)
        await new.signal(go("new"))
        assert (await new.result(timeout=PATIENCE))[2] == "new"


async def test_unread_signals_go_over(env: Env) -> None:
    """Nobody serves the workflow: the signal is unread when the run ends, and acknowledged."""
    old = await env.start(steps(), id="r")
    await old.signal(go("kept"))
    new = await old.reset(to="first_task")
    async with env.worker(steps, note):
        assert (await new.result(timeout=PATIENCE))[2] == "kept"


@pytest.mark.owner
async def test_a_point_that_is_not_there(env: Env) -> None:
    handle = await env.start(steps(), id="r")
    for wrong in (
        {},
        {"event_id": 1, "to": "first_task"},
        {"event_id": 7},
        {"event_id": 0},
        {"to": "nowhere"},
    ):
        with pytest.raises(ValueError, match=r"event|to"):
            await handle.reset(**wrong)  # type: ignore[arg-type]
    with pytest.raises(WorkflowNotFoundError):
        await env.client.get_workflow_handle("nobody").reset(to="first_task")
    with pytest.raises(WorkflowStillOpenError):
        await handle.delete()


mended = False


@workflow.defn(name="rst.broken")
async def broken() -> str:
    done = await note("step")
    if not mended:
        raise ApplicationError("a bug")
    return done


async def test_a_failed_run_goes_on_with_mended_code(env: Env) -> None:
    global mended
    mended = False
    env.replays = False
    async with env.worker(broken, note):
        old = await env.start(broken(), id="r")
        with pytest.raises(WorkflowFailureError):
            await old.result(timeout=PATIENCE)
        mended = True
        new = await old.reset(to="last_good_task")
        assert await new.result(timeout=PATIENCE) == "step"
    assert ran == ["step"]


gate = asyncio.Event()


@activity.defn(name="rst.once", retry_policy=RetryPolicy(maximum_attempts=1))
async def once(text: str) -> str:
    ran.append(f"once {activity.info().attempt}")
    await gate.wait()
    return text


@workflow.defn(name="rst.pending")
async def pending() -> str:
    handle = workflow.start_activity(once, "a")
    await go.receive()
    return await handle


async def test_open_activities_start_again_with_their_first_attempt(env: Env) -> None:
    global gate
    gate = asyncio.Event()
    async with env.worker(pending, once):
        old = await env.start(pending(), id="r")
        await until("it runs", lambda: len(ran) == 1)
        await old.signal(go("x"))
        await reached(old, "Started", "ActivityScheduled", "Signaled")
        new = await old.reset(event_id=3, exclude_signals=True)
        await until("it runs again", lambda: len(ran) == 2)
        gate.set()
        assert await new.result(timeout=PATIENCE) == "a"
    assert ran == ["once 1", "once 1"]
    assert await events(new) == [
        "Started",
        "ActivityScheduled",
        "Signaled",
        "Reset",
        "ActivityCompleted",
        "Completed",
    ]


@workflow.defn(name="rst.kid")
async def kid() -> str:
    return await go.receive()


@workflow.defn(name="rst.parent")
async def parent(policy: str) -> list[str]:
    child = await kid.options(id="kid", parent_close_policy=ParentClosePolicy[policy]).start()
    await note("child started")
    return [child.first_execution_run_id or "", await child]


@pytest.mark.parametrize("policy", ["TERMINATE", "ABANDON"])
async def test_children_of_the_prefix_reconnect(env: Env, policy: str) -> None:
    async with env.worker(parent, kid, note):
        old = await env.start(parent(policy), id="r")
        await until("the step", lambda: len(ran) == 1)
        history = (await old.fetch_history()).events
        at = next(one.seq for one in history if type(one.data).__name__ == "ChildWorkflowExecutionStarted")
        new = await old.reset(event_id=at)
        await until("the step again", lambda: len(ran) == 2)
        child = env.client.get_workflow_handle("kid")
        assert (await child.describe()).status is WorkflowExecutionStatus.RUNNING
        await child.signal(go("home"))
        told = await new.result(timeout=PATIENCE)
    assert told[1] == "home"
    assert told[0] == (await child.describe()).run_id


async def test_a_child_that_ended_meanwhile_is_told_of(env: Env) -> None:
    async with env.worker(parent, kid, note):
        old = await env.start(parent("ABANDON"), id="r")
        await until("the step", lambda: len(ran) == 1)
        await old.terminate()
        await env.client.get_workflow_handle("kid").signal(go("home"))
        assert await env.client.get_workflow_handle("kid").result(timeout=PATIENCE) == "home"
        history = (await old.fetch_history()).events
        at = next(one.seq for one in history if type(one.data).__name__ == "ChildWorkflowExecutionStarted")
        new = await old.reset(event_id=at)
        assert (await new.result(timeout=PATIENCE))[1] == "home"


@workflow.defn(name="rst.seeds")
async def seeds() -> list[int]:
    """A generator of another kind, made from the seed, and made anew when that is another one."""
    found = [workflow.random_seed()]
    workflow.register_random_seed_callback(found.append)
    await note("seeded")
    await go.receive()
    return [*found, workflow.random_seed()]


async def test_a_reset_tells_of_its_new_seed(env: Env) -> None:
    async with env.worker(seeds, note):
        old = await env.start(seeds(), id="r")
        await reached(old, "Started", "ActivityScheduled", "ActivityCompleted")
        new = await old.reset(event_id=3)
        await new.signal(go("on"))
        told = await new.result(timeout=PATIENCE)
        assert len(told) == 3
        assert told[0] != told[1] == told[2]
        again = await new.reset(to="first_task")
        told = await again.result(timeout=PATIENCE)  # it is told again what the other was told
    assert len(told) == 2, "nothing was registered when the first task began"
    with pytest.raises(NotInWorkflowError):
        workflow.register_random_seed_callback(print)
    judged(env, new, seeds)


@workflow.defn(name="rst.catches")
async def catches() -> list[str]:
    child = await kid.options(id="kid", parent_close_policy=ParentClosePolicy.ABANDON).start()
    await note("child started")
    try:
        return ["came home", await child]
    except ChildWorkflowError as error:
        return [type(error.cause).__name__, str(error.cause)]


@pytest.mark.owner
async def test_a_child_that_was_deleted_was_there(env: Env) -> None:
    async with env.worker(catches, kid, note):
        old = await env.start(catches(), id="r")
        await until("the step", lambda: len(ran) == 1)
        await old.terminate()
        child = env.client.get_workflow_handle("kid")
        await child.signal(go("home"))
        await child.result(timeout=PATIENCE)
        await child.delete()
        history = (await old.fetch_history()).events
        at = next(one.seq for one in history if type(one.data).__name__ == "ChildWorkflowExecutionStarted")
        new = await old.reset(event_id=at)
        told = await new.result(timeout=PATIENCE)
        assert told == ["TerminatedError", "the child workflow was deleted, and with it how it ended"]
    judged(env, new, catches)


async def test_a_child_behind_the_point_ends_with_the_old_run(env: Env) -> None:
    async with env.worker(parent, kid, note):
        old = await env.start(parent("TERMINATE"), id="r")
        await until("the step", lambda: len(ran) == 1)
        first = (await env.client.get_workflow_handle("kid").describe()).run_id
        new = await old.reset(to="first_task")
        gone = env.client.get_workflow_handle("kid", run_id=first)

        async def ended() -> bool:
            return (await gone.describe()).status is WorkflowExecutionStatus.TERMINATED

        await until("the old child ends", ended)
        await until("the step again", lambda: len(ran) == 2)
        await env.client.get_workflow_handle("kid").signal(go("home"))
        told = await new.result(timeout=PATIENCE)
        assert told[0] != first
        assert told[1] == "home"


@workflow.defn
class Ledger:
    def __init__(self) -> None:
        self.total = 0
        self.over = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.over)
        return self.total

    @workflow.update
    async def add(self, n: int) -> int:
        await note("adding")
        self.total += n
        return self.total

    @workflow.signal
    def end(self) -> None:
        self.over = True

    @workflow.query
    def read(self) -> int:
        return self.total


@pytest.mark.parametrize("excluded", [False, True])
async def test_updates_are_sent_again_unless_excluded(env: Env, excluded: bool) -> None:
    async with env.worker(Ledger, note):
        old = await env.start(Ledger.run, id="r")
        assert await old.execute_update(Ledger.add, 5, id="u1") == 5
        new = await old.reset(to="first_task", exclude_updates=excluded)
        if excluded:
            assert await new.query(Ledger.read) == 0
        else:

            async def read() -> bool:
                return await new.query(Ledger.read) == 5

            await until("the update is there again", read)
            # Its id is known: it is not handled twice.
            assert await new.execute_update(Ledger.add, 5, id="u1") == 5
        assert await new.query(Ledger.read) == (0 if excluded else 5)
        await new.signal(Ledger.end)
        assert await new.result(timeout=PATIENCE) == (0 if excluded else 5)


async def test_an_update_of_the_prefix_keeps_its_outcome(env: Env) -> None:
    async with env.worker(Ledger, note):
        old = await env.start(Ledger.run, id="r")
        assert await old.execute_update(Ledger.add, 5, id="u1") == 5
        await old.signal(Ledger.end)
        await old.result(timeout=PATIENCE)
        history = (await old.fetch_history()).events
        at = next(one.seq for one in history if type(one.data).__name__ == "WorkflowExecutionSignaled")
        new = await old.reset(event_id=at)
        assert await new.result(timeout=PATIENCE) == 5
        assert await new.execute_update(Ledger.add, 5, id="u1") == 5
        assert await new.query(Ledger.read) == 5
    assert ran == ["adding"]


@workflow.defn(name="rst.stuck")
class Stuck:
    def __init__(self) -> None:
        self.free = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.free)
        return "free"

    @workflow.update
    async def work(self) -> str:
        await workflow.wait_condition(lambda: self.free)
        return "done"

    @workflow.signal
    def release(self) -> None:
        self.free = True


async def test_who_waits_for_an_update_is_answered_by_the_new_run(env: Env) -> None:
    async with env.worker(Stuck):
        old = await env.start(Stuck.run, id="r")
        update = await old.start_update(Stuck.work, id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        new = await old.reset(to="first_task")
        await reached(new, "Started", "Reset", "UpdateAccepted")
        await new.signal(Stuck.release)
        assert await update.result(rpc_timeout=PATIENCE) == "done"
        assert await new.result(timeout=PATIENCE) == "free"


async def test_an_excluded_update_ends_with_the_old_run(env: Env) -> None:
    async with env.worker(Stuck):
        old = await env.start(Stuck.run, id="r")
        update = await old.start_update(Stuck.work, id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        new = await old.reset(to="first_task", exclude_updates=True)
        with pytest.raises(WorkflowUpdateFailedError):
            await update.result(rpc_timeout=PATIENCE)
        await new.signal(Stuck.release)
        assert await new.result(timeout=PATIENCE) == "free"


@workflow.defn(name="rst.chain")
async def links(n: int) -> str:
    said = await go.receive()
    if n:
        workflow.continue_as_new(n - 1)
    return said


async def test_signals_to_the_runs_that_followed_are_sent_again(env: Env) -> None:
    async with env.worker(links):
        old = await env.start(links(1), id="r")
        await old.signal(go("a"))
        first = old.result_run_id

        async def followed() -> bool:
            found = await env.store.find_run("r")
            return found.run_id != first

        await until("it goes on", followed)
        base = WorkflowHandle[Any, Any](old._connection, "r", run_id=first)
        second = (await env.store.find_run("r")).run_id
        await old.signal(go("b"))
        new = await base.reset(to="first_task")
        assert await new.result(timeout=PATIENCE) == "b"
    found = await env.store.find_run("r", second)
    assert found.first_run_id == first
    assert (await new.describe()).first_execution_run_id == first
    judged(env, new, links)
