"""Starts that come with a message: update-with-start, and signal-with-start."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Any

import pytest

from durable import (
    ApplicationError,
    Signal,
    WorkflowAlreadyStartedError,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    activity,
    workflow,
)
from durable.client import (
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from durable.workflow._workflow import definition_of
from tests.scenarios.rig import PATIENCE, Env, events

ADMITTED, ACCEPTED, COMPLETED = (
    WorkflowUpdateStage.ADMITTED,
    WorkflowUpdateStage.ACCEPTED,
    WorkflowUpdateStage.COMPLETED,
)
FAIL, USE_EXISTING = WorkflowIDConflictPolicy.FAIL, WorkflowIDConflictPolicy.USE_EXISTING


@activity.defn(name="uws.called")
async def called() -> None: ...


@workflow.defn(name="uws.workflow")
class WithUpdates:
    def __init__(self) -> None:
        self.finished = False

    @workflow.run
    async def run(self, i: int) -> str:
        await workflow.wait_condition(lambda: self.finished)
        return f"workflow-result-{i}"

    @workflow.update
    def non_blocking(self, s: str) -> str:
        if s == "fail-after-acceptance":
            raise ApplicationError("Workflow deliberate failed update")
        return f"update-result-{s}"

    @workflow.update
    async def blocking(self, s: str) -> str:
        await called()
        return f"update-result-{s}"

    @workflow.signal
    def done(self) -> None:
        self.finished = True


def operation(env: Env, i: int, id: str, policy: WorkflowIDConflictPolicy = FAIL) -> Any:
    return WithStartWorkflowOperation(WithUpdates.run(i), id=id, id_conflict_policy=policy)


async def kept(env: Env, op: WithStartWorkflowOperation[Any, Any], definition: Any = None) -> Any:
    """The workflow's handle, for the judge too."""
    handle = await op.workflow_handle()
    env.handles.append((handle, None if definition is None else definition_of(definition)))
    return handle


@pytest.mark.temporal("update_with_start/handle_reuse")
async def test_with_start_workflow_operation_cannot_be_reused(env: Env) -> None:
    async with env.worker(WithUpdates):
        op = operation(env, 0, "w")
        again = lambda: env.client.start_update_with_start_workflow(  # noqa: E731
            WithUpdates.non_blocking, "1", wait_for_stage=COMPLETED, start_workflow_operation=op
        )
        await again()
        with pytest.raises(RuntimeError, match="WithStartWorkflowOperation cannot be reused"):
            await again()
        handle = await kept(env, op)
        await handle.terminate()
        assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", "Terminated"]


@pytest.mark.temporal(
    "update_with_start/start_and_update",
    "update_with_start/existing_workflow",
    "update_with_start/conflict_policy",
    "update_with_start/start_fails",
)
@pytest.mark.parametrize("update", [WithUpdates.non_blocking, WithUpdates.blocking], ids=["sync", "async"])
async def test_get_or_create_and_must_create_semantics(env: Env, update: Any) -> None:
    client = env.client
    async with env.worker(WithUpdates, called):
        one = operation(env, 1, "w", USE_EXISTING)
        assert (
            await client.execute_update_with_start_workflow(update, "1", start_workflow_operation=one)
            == "update-result-1"
        )
        first = await kept(env, one, WithUpdates)
        two = operation(env, 2, "w", USE_EXISTING)
        assert (
            await client.execute_update_with_start_workflow(update("21"), start_workflow_operation=two)
            == "update-result-21"
        )
        assert (await two.workflow_handle()).first_execution_run_id == first.first_execution_run_id
        three = operation(env, 3, "w", FAIL)
        for waiting in (
            client.execute_update_with_start_workflow(update, "31", start_workflow_operation=three),
            three.workflow_handle(),
        ):
            with pytest.raises(WorkflowAlreadyStartedError):
                await waiting
        await first.signal(WithUpdates.done)
        assert await first.result(timeout=PATIENCE) == "workflow-result-1"
    told = await events(first)
    assert told[:2] == ["Started", "UpdateAccepted"]
    assert told.count("UpdateAccepted") == 2


@pytest.mark.temporal("update_with_start/start_and_update")
@pytest.mark.parametrize("stage", [ADMITTED, ACCEPTED, COMPLETED])
async def test_start_update_with_start_at_every_stage(env: Env, stage: WorkflowUpdateStage) -> None:
    async with env.worker(WithUpdates, called):
        op = operation(env, 1, "w")
        update = await env.client.start_update_with_start_workflow(
            WithUpdates.blocking, "1", wait_for_stage=stage, start_workflow_operation=op
        )
        assert isinstance(update, WorkflowUpdateHandle)
        assert await update.result() == "update-result-1"
        handle = await kept(env, op)
        await handle.terminate()
        assert (await events(handle))[:2] == ["Started", "UpdateAccepted"]
        assert (await events(handle))[-2:] == ["UpdateCompleted", "Terminated"]


@pytest.mark.temporal("update_with_start/update_fails")
async def test_update_with_start_failure_keeps_the_workflow(env: Env) -> None:
    async with env.worker(WithUpdates):
        op = operation(env, 3, "w")
        with pytest.raises(WorkflowUpdateFailedError, match="deliberate"):
            await env.client.execute_update_with_start_workflow(
                WithUpdates.non_blocking, "fail-after-acceptance", start_workflow_operation=op
            )
        handle = await kept(env, op, WithUpdates)
        assert handle.first_execution_run_id is not None
        await handle.signal(WithUpdates.done)
        assert await handle.result(timeout=PATIENCE) == "workflow-result-3"
    assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", "Signaled", "Completed"]


@pytest.mark.temporal("update_with_start/conflict_policy")
def test_with_start_workflow_operation_requires_conflict_policy() -> None:
    with pytest.raises(ValueError, match="id_conflict_policy"):
        WithStartWorkflowOperation(
            WithUpdates.run(0), id="w", id_conflict_policy=WorkflowIDConflictPolicy.UNSPECIFIED
        )
    with pytest.raises(TypeError, match="id_conflict_policy"):
        WithStartWorkflowOperation(WithUpdates.run(0), id="w")
    with pytest.raises(TypeError, match="needs id="):
        WithStartWorkflowOperation(WithUpdates.run(0), id_conflict_policy=FAIL)
    with pytest.raises(TypeError, match="no option 'idd'"):
        WithStartWorkflowOperation("w", id="w", id_conflict_policy=FAIL, idd=3)  # type: ignore[call-overload]


async def test_by_name_and_with_several_arguments(env: Env) -> None:
    @workflow.defn(name="uws.two")
    class Two:
        def __init__(self) -> None:
            self.updated = False

        @workflow.run
        async def run(self, a: str, b: str) -> str:
            await workflow.wait_condition(lambda: self.updated)
            return f"{a}-{b}"

        @workflow.update(name="my_update")
        def update(self, a: str, b: str) -> str:
            self.updated = True
            return f"{a}+{b}"

    async with env.worker(Two):
        typed = WithStartWorkflowOperation(Two.run, "w1", "w2", id="typed", id_conflict_policy=FAIL)
        assert (
            await env.client.execute_update_with_start_workflow(
                Two.update, args=["u1", "u2"], start_workflow_operation=typed
            )
            == "u1+u2"
        )
        named = WithStartWorkflowOperation(
            "uws.two", args=["w1", "w2"], id="named", id_conflict_policy=FAIL, result_type=str
        )
        assert (
            await env.client.execute_update_with_start_workflow(
                "my_update", args=["u1", "u2"], start_workflow_operation=named, result_type=str
            )
            == "u1+u2"
        )
        for op in (typed, named):
            assert await (await kept(env, op, Two)).result(timeout=PATIENCE) == "w1-w2"


class Behavior(IntEnum):
    COMPLETES = 0
    BLOCKS = 1


@workflow.defn(name="uws.behaves")
class Behaves:
    def __init__(self) -> None:
        self.unblocked = asyncio.Event()
        self.update_unblocked = asyncio.Event()

    @workflow.run
    async def run(self, behavior: Behavior) -> str:
        if behavior is Behavior.BLOCKS:
            await self.unblocked.wait()
        return str(workflow.uuid4())

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def update(self, behavior: Behavior) -> str:
        if behavior is Behavior.BLOCKS:
            await self.update_unblocked.wait()
        return str(workflow.uuid4())

    @workflow.signal
    def unblock_update(self) -> None:
        self.update_unblocked.set()


def behaving(
    behavior: Behavior, conflict: WorkflowIDConflictPolicy, reuse: WorkflowIDReusePolicy
) -> WithStartWorkflowOperation[Behaves, str]:
    return WithStartWorkflowOperation(
        Behaves.run(behavior), id="shared", id_conflict_policy=conflict, id_reuse_policy=reuse
    )


POLICIES = pytest.mark.parametrize(
    ("conflict", "reuse"),
    [
        (conflict, reuse)
        for conflict in (USE_EXISTING, FAIL)
        for reuse in (WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDReusePolicy.REJECT_DUPLICATE)
    ],
    ids=lambda policy: policy.name,
)


@pytest.mark.temporal("update_with_start/not_sent_twice")
@POLICIES
@pytest.mark.parametrize("behavior", list(Behavior))
async def test_update_with_start_always_attaches_to_completed_update(
    plain: Env, behavior: Behavior, conflict: Any, reuse: Any
) -> None:
    async with plain.worker(Behaves):
        seen: list[Any] = []
        for _ in range(2):
            op = behaving(behavior, conflict, reuse)
            got = await plain.client.execute_update_with_start_workflow(
                Behaves.update(Behavior.COMPLETES), id="same", start_workflow_operation=op
            )
            seen.append((got, (await op.workflow_handle()).first_execution_run_id))
        assert seen[0] == seen[1]
        handle = await op.workflow_handle()
        if behavior is Behavior.BLOCKS:
            await handle.terminate()
        end = "Terminated" if behavior is Behavior.BLOCKS else "Completed"
        assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", end]


@pytest.mark.temporal("update_with_start/not_sent_twice", "update_with_start/existing_workflow")
@POLICIES
async def test_update_with_start_attaches_to_non_completed_update_in_running_workflow(
    plain: Env, conflict: Any, reuse: Any
) -> None:
    async with plain.worker(Behaves):
        updates: list[WorkflowUpdateHandle[str]] = []
        for behavior in (Behavior.BLOCKS, Behavior.COMPLETES):
            op = behaving(Behavior.BLOCKS, conflict, reuse)
            updates.append(
                await plain.client.start_update_with_start_workflow(
                    Behaves.update(behavior), id="same", wait_for_stage=ACCEPTED, start_workflow_operation=op
                )
            )
        handle = await op.workflow_handle()
        await handle.signal(Behaves.unblock_update())
        assert await updates[0].result() == await updates[1].result()
        await handle.terminate()
    told = ["UpdateAccepted", "Signaled", "UpdateCompleted", "Terminated"]
    assert await events(handle) == ["Started", *told], "the second one is the first"


@pytest.mark.temporal("update_with_start/workflow_closed")
@POLICIES
async def test_update_with_start_does_not_attach_to_non_completed_update_in_closed_workflow(
    plain: Env, conflict: Any, reuse: Any
) -> None:
    async with plain.worker(Behaves):
        one = behaving(Behavior.COMPLETES, conflict, reuse)
        await plain.client.start_update_with_start_workflow(
            Behaves.update(Behavior.BLOCKS), id="same", wait_for_stage=ACCEPTED, start_workflow_operation=one
        )
        first = await one.workflow_handle()
        await first.result(timeout=PATIENCE)
        two = behaving(Behavior.COMPLETES, conflict, reuse)
        update = plain.client.execute_update_with_start_workflow(
            Behaves.update(Behavior.COMPLETES), id="same", start_workflow_operation=two
        )
        if reuse is WorkflowIDReusePolicy.REJECT_DUPLICATE:
            with pytest.raises(WorkflowAlreadyStartedError):
                await update
        else:
            await update
            second = await two.workflow_handle()
            assert second.first_execution_run_id != first.first_execution_run_id
            assert await events(second) == ["Started", "UpdateAccepted", "UpdateCompleted", "Completed"]
    assert await events(first) == ["Started", "UpdateAccepted", "Completed"]


# ---------------------------------------------------------------- signal-with-start

number = Signal("uws.number", int)


@workflow.defn(name="uws.sums")
class Sums:
    def __init__(self) -> None:
        self.seen: list[int] = []

    @workflow.run
    async def run(self, wanted: int) -> list[int]:
        self.seen.append(0)
        await workflow.wait_condition(lambda: len(self.seen) >= wanted)
        return self.seen

    @workflow.signal
    def add(self, value: int) -> None:
        self.seen.append(value)


@pytest.mark.temporal("signal/signal_with_start")
@pytest.mark.parametrize("worker", ["before", "behind"])
async def test_signal_with_start(env: Env, worker: str) -> None:
    """The signal is handled before the first line; a workflow that is there is signalled and not started."""

    async def go() -> Any:
        first = await env.start(Sums.run(4), id="s", start_signal=Sums.add(1))
        second = await env.client.start_workflow(
            Sums.run(4), id="s", start_signal="add", start_signal_args=[2]
        )
        assert second.result_run_id == first.result_run_id
        with pytest.raises(WorkflowAlreadyStartedError):
            await env.client.start_workflow(
                Sums.run(4), id="s", start_signal=Sums.add(9), id_conflict_policy=FAIL
            )
        await first.signal(Sums.add(3))
        return first

    if worker == "before":
        handle = await go()
        async with env.worker(Sums):
            assert await handle.result(timeout=PATIENCE) == [1, 2, 3, 0]
    else:
        async with env.worker(Sums):
            handle = await go()
            got = await handle.result(timeout=PATIENCE)
            assert got[0] == 1
            assert sorted(got) == [0, 1, 2, 3]
    assert (await events(handle))[:2] == ["Started", "Signaled"]


async def test_signal_with_start_is_refused_at_the_caller(env: Env) -> None:
    for options in (
        {"start_signal": 3},
        {"start_signal": ""},
        {"start_signal_args": [1]},
        {"start_signal": number(1), "start_signal_args": [1]},
        {"start_signal": "x", "start_signal_args": "abc"},
    ):
        with pytest.raises((TypeError, ValueError)):
            await env.client.start_workflow(Sums.run(1), id="s", **options)
    assert await env.client.store.find_run("s") is None
