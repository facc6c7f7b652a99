"""Workflows that an operator stops and lets go on, frees, and removes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from durable import Signal, activity, workflow
from durable.common import WorkflowExecutionStatus
from durable.exceptions import TerminatedError, WorkflowFailureError, WorkflowNotFoundError
from tests.scenarios.rig import PATIENCE, Env, events, reached, until

go: Signal[str] = Signal("pau.go", str)
ran: list[str] = []
gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()
    gates.clear()


@activity.defn(name="pau.note")
async def note(text: str) -> str:
    ran.append(text)
    if text in gates:
        await gates[text].wait()
    return text


@workflow.defn(name="pau.steps")
class Steps:
    def __init__(self) -> None:
        self.said: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await note("first")
        await workflow.wait_condition(lambda: bool(self.said))
        await note("second")
        return self.said

    @workflow.signal
    def say(self, text: str) -> None:
        self.said.append(text)

    @workflow.query
    def heard(self) -> int:
        return len(self.said)


async def test_a_paused_workflow_takes_messages_and_does_nothing(env: Env) -> None:
    async with env.worker(Steps, note):
        handle = await env.start(Steps.run, id="p")
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
        await handle.unpause()
        await handle.pause("a look at it")
        await handle.signal(Steps.say, "a")
        told = await handle.describe()
        assert (told.hold, told.owner) == ("paused", None)
        assert told.reason == "a look at it; an operator has paused it, until handle.unpause()"
        assert told.status is WorkflowExecutionStatus.RUNNING
        await handle.pause("again")
        # Answered from the state it is in.
        assert await handle.query(Steps.heard) == 0
        async with env.worker(Steps, note):
            assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted"]
        await handle.unpause("seen")
        assert await handle.result(timeout=PATIENCE) == ["a"]
    assert ran == ["first", "second"]
    with pytest.raises(WorkflowNotFoundError):
        await handle.pause()


async def test_an_attempt_under_way_goes_on(env: Env) -> None:
    gates["first"] = asyncio.Event()
    async with env.worker(Steps, note):
        handle = await env.start(Steps.run, id="p")
        await until("it runs", lambda: ran == ["first"])
        await handle.signal(Steps.say, "a")
        await handle.pause()
        gates["first"].set()

        async def kept() -> bool:
            return any(
                one.type == 22 for one in await env.store.read_messages([(await handle.describe()).run_id])
            )

        await until("its result is in the inbox", kept)
        assert ran == ["first"]
        await handle.unpause()
        assert await handle.result(timeout=PATIENCE) == ["a"]
    assert ran == ["first", "second"]


@workflow.defn(name="pau.sleeps")
async def sleeps(seconds: float = 1.5) -> str:
    await workflow.sleep(timedelta(seconds=seconds))
    await note("awake")
    return "slept"


async def test_timers_fire_when_it_goes_on(env: Env) -> None:
    async with env.worker(sleeps, note):
        handle = await env.start(sleeps(5), id="p")  # it is paused by then, on a busy machine as well
        await reached(handle, "Started", "TimerStarted")
        await handle.pause()
        due = (await handle.describe()).pending_timers[0]

        async def passed() -> bool:
            return await env.store.now() > due.timestamp() * 1_000_000 + 200_000

        await until("it is due", passed)
        assert await events(handle) == ["Started", "TimerStarted"]
        await handle.unpause()
        assert await handle.result(timeout=PATIENCE) == "slept"


async def test_no_attempt_of_an_activity_begins(env: Env) -> None:
    """Its activity waits in the queue of a worker that comes only when the workflow is paused."""
    async with env.worker(Steps):
        handle = await env.start(Steps.run, id="p")
        await reached(handle, "Started", "ActivityScheduled")

        async def queued() -> bool:
            return bool(await env.store.read_activities((await handle.describe()).run_id))

        await until("it is queued", queued)
        await handle.pause()
        async with env.worker(note) as other:
            run_id = (await handle.describe()).run_id
            assert other is not None
            # Another workflow's activity is run by then.
            async with env.worker(sleeps, note):
                assert await env.run(sleeps(), sleeps, note, id="q") == "slept"
            (row,) = await env.store.read_activities(run_id)
            assert row.state.name == "QUEUED"
            assert ran == ["awake"]
            await handle.unpause()
            await until("it runs", lambda: "first" in ran)
            await handle.signal(Steps.say, "a")
            assert await handle.result(timeout=PATIENCE) == ["a"]


async def test_a_paused_workflow_can_be_terminated(env: Env) -> None:
    async with env.worker(Steps, note):
        handle = await env.start(Steps.run, id="p")
        await handle.pause()
        assert (await env.client.count_workflows("ExecutionStatus = 'Paused'")).count == 1
        await handle.terminate("details", reason="enough")
        assert (await env.client.count_workflows("ExecutionStatus = 'Paused'")).count == 0
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result(timeout=PATIENCE)
        assert isinstance(failed.value.cause, TerminatedError)
        assert list(failed.value.cause.details) == ["details"]


async def test_a_paused_workflow_times_out(env: Env) -> None:
    handle = await env.start(Steps.run, id="p", run_timeout=timedelta(milliseconds=500))
    await handle.pause()  # nobody is there yet who would end it before
    async with env.worker(Steps, note):
        with pytest.raises(WorkflowFailureError, match="timed out"):
            await handle.result(timeout=PATIENCE)


async def test_a_workflow_that_nobody_owns_is_paused(env: Env) -> None:
    handle = await env.start(Steps.run, id="p")
    await handle.pause()
    async with env.worker(Steps, sleeps, note):
        assert await env.run(sleeps(), id="q") == "slept"
        assert await events(handle) == ["Started"]
        await handle.unpause()
        await handle.signal(Steps.say, "a")
        assert await handle.result(timeout=PATIENCE) == ["a"]


broken = True


@workflow.defn(name="pau.broken")
async def breaks() -> str:
    if broken:
        raise ValueError("a bug")
    return "mended"


async def test_a_blocked_workflow_is_tried_at_once(env: Env) -> None:
    global broken
    broken = True
    async with env.worker(breaks):
        handle = await env.start(breaks(), id="p")

        async def blocked() -> bool:
            return (await handle.describe()).hold == "blocked"

        await until("it is blocked", blocked)
        broken = False
        await handle.unblock()
        assert await handle.result(timeout=PATIENCE) == "mended"


async def test_a_blocked_workflow_can_be_paused(env: Env) -> None:
    global broken
    broken = True
    async with env.worker(breaks):
        handle = await env.start(breaks(), id="p")

        async def blocked() -> bool:
            return (await handle.describe()).hold == "blocked"

        await until("it is blocked", blocked)
        await handle.pause("wait for the fix")
        await handle.unblock()
        assert (await handle.describe()).hold == "paused"
        broken = False
        await handle.unpause()
        assert await handle.result(timeout=PATIENCE) == "mended"
