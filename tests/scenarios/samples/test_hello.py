"""First steps, one program each, in the spelling of Temporal's SDK."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from durable import ActivityError, ApplicationError, RetryPolicy, WorkflowFailureError, activity, workflow
from tests.scenarios.rig import PATIENCE, Env, chain, event, events, held, reached

SHORT = timedelta(seconds=10)
ACTIVITY = ["ActivityScheduled", "ActivityCompleted"]


@dataclass
class Letter:
    greeting: str
    name: str


@activity.defn(name="hello.compose")
def compose(letter: Letter) -> str:
    return f"{letter.greeting}, {letter.name}!"


@activity.defn(name="hello.compose_async")
async def compose_async(letter: Letter) -> str:
    await asyncio.sleep(0)
    return f"{letter.greeting}, {letter.name}!"


# ---------------------------------------------------------------- activities


@workflow.defn(name="hello.thread")
class GreetsFromThread:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(compose, Letter("Hello", name), start_to_close_timeout=SHORT)


@workflow.defn(name="hello.async")
class GreetsFromLoop:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            compose_async, Letter("Hello", name), schedule_to_close_timeout=SHORT
        )


@pytest.mark.temporal("hello/activity", "activity/basic_no_workflow_timeout")
async def test_activity(env: Env) -> None:
    async with env.worker(GreetsFromThread, compose, task_queue="greetings"):
        handle = await env.start(GreetsFromThread.run, "World", id="hello-activity", task_queue="greetings")
        assert await handle.result(timeout=PATIENCE) == "Hello, World!"
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"]
    asked = await event(handle, "ActivityScheduled")
    assert (asked.activity_type, asked.start_to_close) == ("hello.compose", 10_000_000)
    begun = await event(handle, "Started")
    assert (begun.workflow_type, begun.execution_timeout, begun.run_timeout) == ("hello.thread", None, None)


@pytest.mark.temporal("hello/activity_async")
async def test_activity_async(env: Env) -> None:
    async with env.worker(GreetsFromLoop, compose_async):
        handle = await env.start(GreetsFromLoop.run, "World")
        assert await handle.result(timeout=PATIENCE) == "Hello, World!"
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"]
    assert (await event(handle, "ActivityScheduled")).schedule_to_close == 10_000_000


@activity.defn(name="hello.order_apples")
def order_apples(kilos: float) -> str:
    return f"{kilos:g} kg of apples"


@activity.defn(name="hello.order_bread")
def order_bread(loaves: int) -> str:
    return f"{loaves} loaves"


@dataclass
class Wish:
    what: str
    amount: float


@workflow.defn(name="hello.shopping")
class Shopping:
    """Which activity runs is decided by the input, item by item."""

    @workflow.run
    async def run(self, wishes: list[Wish]) -> list[str]:
        bought: list[str] = []
        for wish in wishes:
            if wish.what == "apples":
                bought.append(
                    await workflow.execute_activity(order_apples, wish.amount, start_to_close_timeout=SHORT)
                )
            elif wish.what == "bread":
                bought.append(
                    await workflow.execute_activity(
                        order_bread, int(wish.amount), start_to_close_timeout=SHORT
                    )
                )
            else:
                raise ApplicationError(f"nobody sells {wish.what}", non_retryable=True)
        return bought


@pytest.mark.temporal("hello/activity_choice")
async def test_activity_choice(env: Env) -> None:
    async with env.worker(Shopping, order_apples, order_bread):
        handle = await env.start(Shopping.run, [Wish("bread", 2), Wish("apples", 1.5)])
        assert await handle.result(timeout=PATIENCE) == ["2 loaves", "1.5 kg of apples"]
        other = await env.start(Shopping.run, [Wish("moon", 1)])
        with pytest.raises(WorkflowFailureError) as caught:
            await other.result(timeout=PATIENCE)
    assert "nobody sells moon" in str(caught.value.cause)
    assert await events(handle) == ["Started", *ACTIVITY, *ACTIVITY, "Completed"]
    asked = [(await event(handle, "ActivityScheduled", i)).activity_type for i in range(2)]
    assert asked == ["hello.order_bread", "hello.order_apples"]
    assert await events(other) == ["Started", "Failed"]


class Greeter:
    """Activities that share what an object has, as those of a connection pool do."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    @activity.defn(name="hello.greet_by_object")
    async def greet(self, name: str) -> str:
        return f"Hello, {name}{self.mark}"


@workflow.defn(name="hello.by_object")
class GreetsByObject:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity_method(Greeter.greet, name, start_to_close_timeout=SHORT)


@pytest.mark.temporal("hello/activity_method")
async def test_activity_method(env: Env) -> None:
    async with env.worker(GreetsByObject, Greeter("!!").greet):
        handle = await env.start(GreetsByObject.run, "World")
        assert await handle.result(timeout=PATIENCE) == "Hello, World!!"
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"]
    assert (await event(handle, "ActivityScheduled")).activity_type == "hello.greet_by_object"


@activity.defn(name="hello.beats")
async def beats(pages: int) -> list[Any]:
    """Goes on where an earlier attempt came to, as its last heartbeat says."""
    done = activity.info().heartbeat_details[0] if activity.info().heartbeat_details else 0
    begun_at = done
    for page in range(done, pages):
        if page == pages // 2 and activity.info().attempt == 1:
            raise ApplicationError("the printer is out of paper")
        activity.heartbeat(page + 1)
        await asyncio.sleep(0.001)
    return [begun_at, pages, activity.info().attempt]


@workflow.defn(name="hello.prints")
class Prints:
    @workflow.run
    async def run(self, pages: int) -> list[Any]:
        return await workflow.execute_activity(
            beats,
            pages,
            start_to_close_timeout=SHORT,
            heartbeat_timeout=timedelta(seconds=2),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=20)),
        )


@pytest.mark.temporal("hello/activity_heartbeat", "activity/heartbeating")
async def test_activity_heartbeat(env: Env) -> None:
    async with env.worker(Prints, beats):
        handle = await env.start(Prints.run, 10)
        assert await handle.result(timeout=PATIENCE) == [5, 10, 2]
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == 2


@activity.defn(name="hello.flaky")
def flaky(letter: Letter) -> str:
    if activity.info().attempt < 4:
        raise RuntimeError(f"attempt {activity.info().attempt} is no good")
    return f"{letter.greeting}, {letter.name}!"


@workflow.defn(name="hello.persists")
class Persists:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            flaky,
            Letter("Hello", name),
            start_to_close_timeout=SHORT,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=20),
                backoff_coefficient=1.5,
                maximum_interval=timedelta(milliseconds=50),
            ),
        )


@pytest.mark.temporal("hello/activity_retry", "activity/retry_on_error")
async def test_activity_retry(env: Env) -> None:
    async with env.worker(Persists, flaky):
        handle = await env.start(Persists.run, "World")
        assert await handle.result(timeout=PATIENCE) == "Hello, World!"
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"], "attempts leave no events"
    assert (await event(handle, "ActivityCompleted")).attempt == 4
    policy = (await event(handle, "ActivityScheduled")).retry_policy
    assert (policy.initial_interval, policy.backoff_coefficient) == (20_000, 1.5)
    assert policy.maximum_interval == 50_000


@workflow.defn(name="hello.greets_many")
class GreetsMany:
    @workflow.run
    async def run(self, names: list[str]) -> list[str]:
        return sorted(
            await asyncio.gather(
                *[
                    workflow.execute_activity(compose, Letter("Hello", name), start_to_close_timeout=SHORT)
                    for name in names
                ]
            )
        )


@pytest.mark.temporal("hello/parallel_activity", "activity/running_concurrently")
async def test_parallel_activity(env: Env) -> None:
    names = ["user5", "user4", "user3", "user2", "user1"]
    async with env.worker(GreetsMany, compose):
        handle = await env.start(GreetsMany.run, names)
        assert await handle.result(timeout=PATIENCE) == [f"Hello, user{i}!" for i in range(1, 6)]
    told = await events(handle)
    assert told[:6] == ["Started", *["ActivityScheduled"] * 5], "all were asked for at once"
    assert told[6:] == [*["ActivityCompleted"] * 5, "Completed"]
    assert len({one.task for one in (await handle.fetch_history()).events[:6]}) == 1


@activity.defn(name="hello.always_fails")
def always_fails(letter: Letter) -> str:
    try:
        {}["address"]
    except KeyError as error:
        raise RuntimeError(f"no letter to {letter.name}") from error
    return "never"


@workflow.defn(name="hello.fails")
class Fails:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            always_fails,
            Letter("Hello", name),
            start_to_close_timeout=SHORT,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@pytest.mark.temporal("hello/exception")
async def test_exception(env: Env) -> None:
    """Each cause arrives at the client, with its class's name and where it was raised."""
    async with env.worker(Fails, always_fails):
        handle = await env.start(Fails.run, "World")
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result(timeout=PATIENCE)
    failed = caught.value.cause
    assert isinstance(failed, ActivityError)
    assert failed.activity_type == "hello.always_fails"
    inner = failed.cause
    assert isinstance(inner, ApplicationError)
    assert (inner.type, inner.message) == ("RuntimeError", "no letter to World")
    assert "in always_fails" in (inner.stack_trace or "")
    innermost = inner.cause
    assert isinstance(innermost, ApplicationError)
    assert (innermost.type, innermost.message) == ("KeyError", "'address'")
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Failed"]


@pytest.mark.temporal("hello/change_log_level")
async def test_change_log_level(env: Env, caplog: pytest.LogCaptureFixture) -> None:
    """A bug of workflow code is reported as an error; who wants another level says so with a filter."""

    class Quieter(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.levelno == logging.ERROR and "is blocked" in record.getMessage():
                record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return True

    @workflow.defn(name="hello.buggy")
    class Buggy:
        @workflow.run
        async def run(self) -> str:
            raise KeyError("a bug")

    reports = logging.getLogger("durable.worker")
    quieter = Quieter()
    for turned_down, level in ((False, "ERROR"), (True, "DEBUG")):
        caplog.clear()
        if turned_down:
            reports.addFilter(quieter)
        try:
            async with env.worker(Buggy):
                handle = await env.start(Buggy.run)
                assert "KeyError" in await held(handle)
        finally:
            reports.removeFilter(quieter)
        told = {one.levelname for one in caplog.records if "is blocked" in one.getMessage()}
        assert told == {level}
        await handle.terminate()
        assert await events(handle) == ["Started", "Terminated"], "a fault of the code leaves no event"


# ---------------------------------------------------------------- runs and messages


@workflow.defn(name="hello.loops")
class Loops:
    @workflow.run
    async def run(self, iteration: int) -> str:
        if iteration == 5:
            return "done"
        await asyncio.sleep(0.002)
        workflow.continue_as_new(iteration + 1)


@pytest.mark.temporal("hello/continue_as_new")
async def test_continue_as_new(env: Env) -> None:
    async with env.worker(Loops):
        handle = await env.start(Loops.run, 0, id="loops")
        assert await handle.result(timeout=PATIENCE) == "done"
    runs = await chain(handle)
    assert len(runs) == 6
    for run in runs[:-1]:
        assert await events(run) == ["Started", "TimerStarted", "TimerFired", "ContinuedAsNew"]
    assert await events(runs[-1]) == ["Started", "Completed"]


@workflow.defn(name="hello.query")
class Changing:
    def __init__(self) -> None:
        self.greeting = ""

    @workflow.run
    async def run(self, name: str) -> None:
        self.greeting = f"Hello, {name}!"
        await asyncio.sleep(0.05)
        self.greeting = f"Goodbye, {name}!"

    @workflow.query
    def current(self) -> str:
        return self.greeting


@pytest.mark.temporal("hello/query")
async def test_query(env: Env) -> None:
    async with env.worker(Changing):
        handle = await env.start(Changing.run, "World")
        await reached(handle, "Started", "TimerStarted")
        assert await handle.query(Changing.current) in ("Hello, World!", "Goodbye, World!")
        await handle.result(timeout=PATIENCE)
        assert await handle.query(Changing.current) == "Goodbye, World!"
    assert await events(handle) == ["Started", "TimerStarted", "TimerFired", "Completed"], (
        "asking leaves no event"
    )


@workflow.defn(name="hello.signal")
class Collects:
    def __init__(self) -> None:
        self.pending: asyncio.Queue[str] = asyncio.Queue()
        self.exit = False

    @workflow.run
    async def run(self) -> list[str]:
        greetings: list[str] = []
        while True:
            await workflow.wait_condition(lambda: not self.pending.empty() or self.exit)
            while not self.pending.empty():
                greetings.append(f"Hello, {self.pending.get_nowait()}")
            if self.exit:
                return greetings

    @workflow.signal
    async def submit(self, name: str) -> None:
        await self.pending.put(name)

    @workflow.signal
    def leave(self) -> None:
        self.exit = True


@pytest.mark.temporal("hello/signal", "signal/basic")
async def test_signal(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run)
        for name in ("user1", "user2", "user3"):
            await handle.signal(Collects.submit, name)
        await handle.signal(Collects.leave)
        assert await handle.result(timeout=PATIENCE) == ["Hello, user1", "Hello, user2", "Hello, user3"]
    assert await events(handle) == ["Started", *["Signaled"] * 4, "Completed"]
    assert [(await event(handle, "Signaled", i)).name for i in range(4)] == ["submit"] * 3 + ["leave"]


@workflow.defn(name="hello.update")
class Done:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.done)
        return "Hello, World!"

    @workflow.update
    async def finish(self) -> str:
        self.done = True
        return "Workflow status updated"


@pytest.mark.temporal("hello/update", "update/basic")
async def test_update(env: Env) -> None:
    async with env.worker(Done):
        handle = await env.start(Done.run)
        assert await handle.execute_update(Done.finish) == "Workflow status updated"
        assert await handle.result(timeout=PATIENCE) == "Hello, World!"
    assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", "Completed"]
