"""Programs that live on messages: signals, queries and updates, their locks, their waits and their compensations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from enum import IntEnum
from typing import Any

import pytest

from durable import ApplicationError, WorkflowFailureError, WorkflowIDConflictPolicy, activity, workflow
from durable.client import (
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from durable.exceptions import CancelledError
from tests.scenarios.rig import PATIENCE, Env, chain, events

SHORT = timedelta(seconds=10)
ACCEPTED = WorkflowUpdateStage.ACCEPTED


# ---------------------------------------------------------------- introduction


class Language(IntEnum):
    CHINESE = 1
    ENGLISH = 2
    FRENCH = 3


GREETINGS = {
    Language.CHINESE: "你好，世界",
    Language.ENGLISH: "Hello, world",
    Language.FRENCH: "Bonjour, monde",
}


@activity.defn(name="mp.translate")
async def translate(to: Language) -> str | None:
    return GREETINGS.get(to)


@dataclass
class LanguagesInput:
    include_unsupported: bool


@dataclass
class ApproveInput:
    name: str


@workflow.defn(name="mp.greeting")
class GreetingWorkflow:
    def __init__(self) -> None:
        self.approved = False
        self.approver: str | None = None
        self.greetings = {
            Language.CHINESE: GREETINGS[Language.CHINESE],
            Language.ENGLISH: GREETINGS[Language.ENGLISH],
        }
        self.language = Language.ENGLISH
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.approved and workflow.all_handlers_finished())
        return self.greetings[self.language]

    @workflow.query
    def get_languages(self, input: LanguagesInput) -> list[Language]:
        return sorted(Language if input.include_unsupported else self.greetings)

    @workflow.signal
    def approve(self, input: ApproveInput) -> None:
        self.approved, self.approver = True, input.name

    @workflow.update
    def set_language(self, language: Language) -> Language:
        before, self.language = self.language, language
        return before

    @set_language.validator
    def validate_language(self, language: Language) -> None:
        if language not in self.greetings:
            raise ValueError(f"{language.name} is not supported")

    @workflow.update
    async def set_language_using_activity(self, language: Language) -> Language:
        if language not in self.greetings:
            async with self.lock:
                greeting = await workflow.execute_activity(translate, language, start_to_close_timeout=SHORT)
                if greeting is None:
                    raise ApplicationError(f"nobody translates to {language.name}")
                self.greetings[language] = greeting
        before, self.language = self.language, language
        return before

    @workflow.query
    def get_language(self) -> Language:
        return self.language


@pytest.mark.temporal("message_passing/introduction", "update/activities")
async def test_introduction(env: Env) -> None:
    async with env.worker(GreetingWorkflow, translate):
        handle = await env.start(GreetingWorkflow.run)
        known = await handle.query(GreetingWorkflow.get_languages, LanguagesInput(False))
        assert known == [Language.CHINESE, Language.ENGLISH]
        assert (
            await handle.execute_update(GreetingWorkflow.set_language, Language.CHINESE) is Language.ENGLISH
        )
        assert await handle.query(GreetingWorkflow.get_language) is Language.CHINESE
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(GreetingWorkflow.set_language, Language.FRENCH)
        assert "FRENCH is not supported" in str(caught.value.cause)
        begun = await handle.start_update(
            GreetingWorkflow.set_language_using_activity, Language.FRENCH, wait_for_stage=ACCEPTED
        )
        assert await begun.result() is Language.CHINESE
        await handle.signal(GreetingWorkflow.approve, ApproveInput("ada"))
        assert await handle.result(timeout=PATIENCE) == "Bonjour, monde"
    assert await events(handle) == [
        "Started",
        *["UpdateAccepted", "UpdateCompleted"],
        *["UpdateAccepted", "ActivityScheduled", "ActivityCompleted", "UpdateCompleted"],
        *["Signaled", "Completed"],
    ]


# ---------------------------------------------------------------- safe message handlers


@dataclass
class ClusterState:
    started: bool = False
    shut_down: bool = False
    nodes: dict[str, str | None] = field(default_factory=dict)
    assigned: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class ClusterInput:
    state: ClusterState | None = None
    moves_on_after: int = 0
    """How many assignments a run handles before it continues as new, for this test."""


@dataclass
class Assignment:
    job: str
    nodes: int


@activity.defn(name="mp.assign")
async def assign(job: str, nodes: list[str]) -> None:
    await asyncio.sleep(0.001)


@workflow.defn(name="mp.cluster")
class ClusterManager:
    """Nodes are handed out to jobs: one handler at a time looks at them, and a job asks once however often it asks."""

    @workflow.init
    def __init__(self, input: ClusterInput) -> None:
        self.state = input.state or ClusterState()
        self.lock = asyncio.Lock()
        self.handled = 0
        self.moves_on_after = input.moves_on_after

    @workflow.run
    async def run(self, input: ClusterInput) -> dict[str, list[str]]:
        await workflow.wait_condition(lambda: self.state.started)
        await workflow.wait_condition(lambda: self.state.shut_down or self.should_move_on())
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self.state.shut_down:
            return self.state.assigned
        workflow.continue_as_new(ClusterInput(self.state, self.moves_on_after))

    def should_move_on(self) -> bool:
        return workflow.info().is_continue_as_new_suggested() or (0 < self.moves_on_after <= self.handled)

    @workflow.signal
    def start_cluster(self) -> None:
        self.state.started = True
        self.state.nodes = {f"node-{number}": None for number in range(12)}

    @workflow.signal
    async def shutdown_cluster(self) -> None:
        await workflow.wait_condition(lambda: self.state.started)
        self.state.shut_down = True

    @workflow.update
    async def assign_nodes(self, input: Assignment) -> list[str]:
        await workflow.wait_condition(lambda: self.state.started)
        if self.state.shut_down:
            raise ApplicationError("the cluster is shut down")
        async with self.lock:
            if input.job in self.state.assigned:
                return self.state.assigned[input.job]
            free = [name for name, job in self.state.nodes.items() if job is None]
            if len(free) < input.nodes:
                raise ApplicationError(f"{input.nodes} nodes are wanted, and {len(free)} are free")
            chosen = free[: input.nodes]
            await workflow.execute_activity(assign, args=[input.job, chosen], start_to_close_timeout=SHORT)
            for name in chosen:
                self.state.nodes[name] = input.job
            self.state.assigned[input.job] = chosen
            self.handled += 1
            return chosen


@pytest.mark.temporal("message_passing/safe_message_handlers")
@pytest.mark.parametrize("moves_on_after", [0, 2], ids=["one run", "several runs"])
async def test_safe_message_handlers(env: Env, moves_on_after: int) -> None:
    jobs = [Assignment(f"job-{number}", 2) for number in range(6)]
    async with env.worker(ClusterManager, assign):
        handle = await env.start(
            ClusterManager.run, ClusterInput(moves_on_after=moves_on_after), id="cluster"
        )
        early = [
            asyncio.ensure_future(
                handle.execute_update(ClusterManager.assign_nodes, job, id=f"{job.job}-{n}")
            )
            for job in jobs
            for n in range(2)
        ]
        await handle.signal(ClusterManager.start_cluster)
        got = await asyncio.gather(*early)
        for one, again in zip(got[::2], got[1::2], strict=True):
            assert one == again, "the same job asked twice"
        taken = [node for nodes in got[::2] for node in nodes]
        assert sorted(taken) == sorted(f"node-{number}" for number in range(12)), "each node once"
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(ClusterManager.assign_nodes, Assignment("late", 1))
        assert "0 are free" in str(caught.value.cause)
        await handle.signal(ClusterManager.shutdown_cluster)
        assert await handle.result(timeout=PATIENCE) == {
            job.job: nodes for job, nodes in zip(jobs, got[::2], strict=True)
        }
    runs = await chain(handle)
    assert (len(runs) > 1) == bool(moves_on_after)
    told = [kind for run in runs for kind in await events(run)]
    assert told.count("ActivityScheduled") == len(jobs), "each job was assigned once"
    assert told.count("UpdateAccepted") == told.count("UpdateCompleted") == 13


# ---------------------------------------------------------------- lazy initialization


@dataclass
class Item:
    sku: str
    quantity: int


@activity.defn(name="mp.price")
async def price(item: Item) -> int | None:
    return None if item.sku == "sku-999" else 500 * item.quantity


@workflow.defn(name="mp.cart")
class ShoppingCart:
    def __init__(self) -> None:
        self.items: list[tuple[Item, int]] = []
        self.paid = False
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: workflow.all_handlers_finished() and self.paid)
        return sum(cents for _, cents in self.items)

    @workflow.update
    async def add_item(self, item: Item) -> int:
        async with self.lock:
            cents = await workflow.execute_activity(price, item, start_to_close_timeout=SHORT)
            if cents is None:
                raise ApplicationError(f"there is no {item.sku}", type="ItemUnavailable")
            self.items.append((item, cents))
            return sum(cents for _, cents in self.items)

    @workflow.signal
    def checkout(self) -> None:
        self.paid = True


@pytest.mark.temporal(
    "message_passing/update_with_start_lazy_initialization", "update_with_start/start_and_update"
)
async def test_update_with_start_lazy_initialization(env: Env) -> None:
    """The first item makes the cart; who adds one need not know whether it is there."""

    async def add(item: Item) -> int:
        operation = WithStartWorkflowOperation(
            ShoppingCart.run, id="cart-7", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
        )
        try:
            return await env.client.execute_update_with_start_workflow(
                ShoppingCart.add_item, item, start_workflow_operation=operation
            )
        finally:
            handles.append(await operation.workflow_handle())

    handles: list[Any] = []
    async with env.worker(ShoppingCart, price):
        assert await add(Item("sku-123", 1)) == 500
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await add(Item("sku-999", 1))
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "ItemUnavailable"
        assert await add(Item("sku-456", 2)) == 1500
        assert len({handle.result_run_id for handle in handles}) == 1
        env.handles.append((handles[0], ShoppingCart.run.definition))
        await handles[-1].signal(ShoppingCart.checkout)
        assert await handles[-1].result(timeout=PATIENCE) == 1500
    one = ["UpdateAccepted", "ActivityScheduled", "ActivityCompleted", "UpdateCompleted"]
    assert await events(handles[0]) == ["Started", *one, *one, *one, "Signaled", "Completed"]


# ---------------------------------------------------------------- waiting for handlers


@activity.defn(name="mp.step")
async def step(name: str) -> str:
    await asyncio.sleep(0.002)
    return name


@workflow.defn(name="mp.waits_for_handlers")
class WaitsForHandlers:
    def __init__(self) -> None:
        self.entered = 0

    @workflow.run
    async def run(self, how: str) -> str:
        await workflow.wait_condition(lambda: self.entered == 2)
        try:
            if how == "failure":
                raise ApplicationError("the workflow fails")
            if how == "cancellation":
                await workflow.wait_condition(lambda: False)
            return "the workflow's result"
        finally:
            await workflow.wait_condition(workflow.all_handlers_finished)

    @workflow.update
    async def update(self) -> str:
        self.entered += 1
        await workflow.execute_activity(step, "one", start_to_close_timeout=SHORT)
        return "the update's result"

    @workflow.signal
    async def signal(self) -> None:
        self.entered += 1
        await workflow.execute_activity(step, "two", start_to_close_timeout=SHORT)


@pytest.mark.temporal("message_passing/waiting_for_handlers", "signal/activities")
@pytest.mark.parametrize("how", ["success", "failure", "cancellation"])
async def test_waiting_for_handlers(env: Env, how: str) -> None:
    async with env.worker(WaitsForHandlers, step):
        handle = await env.start(WaitsForHandlers.run, how)
        await handle.signal(WaitsForHandlers.signal)
        update = await handle.start_update(WaitsForHandlers.update, wait_for_stage=ACCEPTED)
        if how == "cancellation":
            await handle.cancel()
        assert await update.result() == "the update's result"
        if how == "success":
            assert await handle.result(timeout=PATIENCE) == "the workflow's result"
        else:
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result(timeout=PATIENCE)
            expected = ApplicationError if how == "failure" else CancelledError
            assert type(caught.value.cause) is expected
    told = await events(handle)
    assert told.count("ActivityScheduled") == told.count("ActivityCompleted") == 2
    assert told.count("UpdateCompleted") == 1
    assert told[-1] == {"success": "Completed", "failure": "Failed", "cancellation": "Canceled"}[how]


@workflow.defn(name="mp.waits_and_compensates")
class WaitsAndCompensates:
    """When the workflow ends, handlers that are under way undo what they did, and tell their callers so."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.Future()
        self.entered = self.undone = 0

    @workflow.run
    async def run(self, how: str) -> str:
        try:
            await workflow.wait_condition(lambda: self.entered == 2)
            if how == "cancellation":
                await workflow.wait_condition(lambda: False)
            if how == "failure":
                raise ApplicationError("the workflow fails")
            return "the workflow's result"
        except (ApplicationError, asyncio.CancelledError) as error:
            self.ended.set_exception(ApplicationError(f"the workflow ended: {type(error).__name__}"))
            raise
        finally:
            await workflow.wait_condition(workflow.all_handlers_finished)
            if self.ended.done():
                self.ended.exception()

    @workflow.update
    async def update(self) -> str:
        self.entered += 1
        work = asyncio.create_task(self.work())
        done, _ = await workflow.wait([work, self.ended], return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            return await work
        await workflow.execute_activity(step, "undo", start_to_close_timeout=SHORT)
        self.undone += 1
        await self.ended
        raise AssertionError

    async def work(self) -> str:
        await workflow.execute_activity(step, "do", start_to_close_timeout=SHORT)
        if workflow.info().workflow_id.endswith("success"):
            return "the update's result"
        await asyncio.sleep(3600)
        return "never"

    @workflow.query
    def compensated(self) -> int:
        return self.undone


@pytest.mark.temporal("message_passing/waiting_for_handlers_and_compensation")
@pytest.mark.parametrize("how", ["success", "failure", "cancellation"])
async def test_waiting_for_handlers_and_compensation(env: Env, how: str) -> None:
    async with env.worker(WaitsAndCompensates, step):
        handle = await env.start(WaitsAndCompensates.run, how, id=f"ends-in-{how}")
        updates = [
            await handle.start_update(WaitsAndCompensates.update, wait_for_stage=ACCEPTED) for _ in range(2)
        ]
        if how == "cancellation":
            await handle.cancel()
        got = await asyncio.gather(*[one.result() for one in updates], return_exceptions=True)
        if how == "success":
            assert got == ["the update's result"] * 2
            assert await handle.result(timeout=PATIENCE) == "the workflow's result"
        else:
            for one in got:
                assert isinstance(one, WorkflowUpdateFailedError)
                assert "the workflow ended" in str(one.cause)
            with pytest.raises(WorkflowFailureError):
                await handle.result(timeout=PATIENCE)
        assert await handle.query(WaitsAndCompensates.compensated) == (0 if how == "success" else 2)
    told = await events(handle)
    assert told.count("UpdateAccepted") == told.count("UpdateCompleted") == 2
    assert told[-1] == {"success": "Completed", "failure": "Failed", "cancellation": "Canceled"}[how]
