"""Signals and queries: order, buffering, names, closed runs, and what a query may see and do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from durable import Client, Query, Signal, activity, workflow
from durable.exceptions import (
    ApplicationError,
    CancelledError,
    ConversionError,
    WorkflowNotFoundError,
    WorkflowQueryFailedError,
)
from durable.history import WorkflowExecutionSignaled
from durable.store import Hint, HintKind
from tests.scenarios.rig import PATIENCE, Env, chain, event, events, fails, held, reached, until


@dataclass
class Decision:
    ok: bool
    by: str


decide = Signal("scn.decide", Decision)
number: Signal[int] = Signal("scn.number", int)
stop: Signal[None] = Signal[None]("scn.stop")


@Query
def status(word: str = "now") -> str: ...


@workflow.defn(name="scn.collects")
class Collects:
    def __init__(self) -> None:
        self.items: list[Any] = []
        self.done = False

    @workflow.run
    async def run(self, wanted: int) -> list[Any]:
        await workflow.wait_condition(lambda: self.done or len(self.items) >= wanted)
        return self.items

    @workflow.signal
    def add(self, item: int) -> None:
        self.items.append(item)

    @workflow.signal
    async def add_slowly(self, item: int) -> None:
        await asyncio.sleep(0.01)
        self.items.append(-item)

    @workflow.signal(name="finish")
    def end(self) -> None:
        self.done = True

    @workflow.query
    def count(self) -> int:
        return len(self.items)

    @workflow.query(name="item_at")
    def at(self, index: int, default: Any = None) -> Any:
        return self.items[index] if index < len(self.items) else default

    @workflow.query
    def broken(self) -> int:
        raise ValueError("no answer")


@workflow.defn(name="scn.asks")
async def asks() -> str:
    state = "waiting"
    workflow.set_handler(status, lambda word="now": f"{state} {word}")
    decision = await decide.receive()
    state = "decided"
    await stop.receive()
    return f"{decision.ok} {decision.by}"


@pytest.mark.temporal("signal/basic", "client_api/signal")
async def test_before_the_workflow_runs(env: Env) -> None:
    handle = await env.start(asks())
    await handle.signal(decide(Decision(True, "ada")))
    await handle.signal(stop())
    async with env.worker(asks):
        assert await handle.result(timeout=PATIENCE) == "True ada"
    assert await events(handle) == ["Started", "Signaled", "Signaled", "Completed"]


@pytest.mark.temporal("signal/basic", "client_api/signal")
async def test_order_is_the_senders_order(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(60))
        for i in range(60):
            await handle.signal(Collects.add(i))
        assert await handle.result(timeout=PATIENCE) == list(range(60))
    told = await events(handle)
    assert (told[0], told[-1], told.count("Signaled")) == ("Started", "Completed", 60)


async def test_from_many_senders_each_in_its_order_and_none_twice(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(80))

        async def sender(base: int) -> None:
            for i in range(20):
                await handle.signal(Collects.add(base + i))

        await asyncio.gather(*[sender(base) for base in (0, 100, 200, 300)])
        got = await handle.result(timeout=PATIENCE)
    assert sorted(got) == [base + i for base in (0, 100, 200, 300) for i in range(20)]
    for base in (0, 100, 200, 300):
        assert [item for item in got if base <= item < base + 100] == [base + i for i in range(20)]


async def test_receive_buffers_and_keeps_names_apart(env: Env) -> None:
    @workflow.defn(name="scn.two_names")
    async def two_names() -> list[Any]:
        await stop.receive()
        return [await number.receive(), await number.receive(), (await decide.receive()).by]

    async with env.worker(two_names):
        handle = await env.start(two_names())
        await handle.signal(decide(Decision(False, "bob")))
        await handle.signal(number(1))
        await handle.signal(number(2))
        await handle.signal(stop())
        assert await handle.result(timeout=PATIENCE) == [1, 2, "bob"]


async def test_receive_with_timeout(env: Env) -> None:
    @workflow.defn(name="scn.receive_timeout")
    async def receive_timeout() -> list[Any]:
        seen: list[Any] = []
        for wait in (0, 0.05, 60):
            try:
                seen.append(await number.receive(timeout=wait))
            except TimeoutError as error:
                seen.append(str(error))
        return seen

    async with env.worker(receive_timeout):
        handle = await env.start(receive_timeout())
        await until("the third receive waits", lambda: _timers(handle, 2))
        await handle.signal(number(3))
        first, second, third = await handle.result(timeout=PATIENCE)
    assert "within 0 s" in first or "scn.number" in first
    assert "0.05" in second
    assert third == 3
    assert (await events(handle)).count("TimerFired") == 1
    assert (await events(handle)).count("TimerCanceled") == 1


async def _timers(handle: Any, count: int) -> bool:
    return (await events(handle)).count("TimerStarted") >= count


async def test_unknown_names_are_kept_and_lose_nothing(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(1))
        await handle.signal("nobody knows this", {"a": 1})
        await handle.signal(Collects.add(1))
        assert await handle.result(timeout=PATIENCE) == [1]
    assert (await event(handle, "Signaled")).name == "nobody knows this"


async def test_to_a_closed_workflow_is_an_error(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(0))
        await handle.result(timeout=PATIENCE)
    with pytest.raises(WorkflowNotFoundError, match="closed"):
        await handle.signal(Collects.add(1))
    with pytest.raises(WorkflowNotFoundError, match="no such workflow"):
        await env.client.get_workflow_handle("nobody").signal("x")
    assert "Signaled" not in await events(handle)


@pytest.mark.temporal("workflow/signal_query_bad_param")
async def test_arguments_that_do_not_fit_drop_the_signal_and_not_the_run(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(1))
        await handle.signal("add", "not a number")
        await handle.signal("add", args=[1, 2, 3])
        await handle.signal("scn.decide")
        await handle.signal(Collects.add(5))
        assert await handle.result(timeout=PATIENCE) == [5]
    assert await events(handle) == ["Started", *["Signaled"] * 4, "Completed"]


async def test_are_refused_at_the_sender(env: Env) -> None:
    handle = await env.start(Collects.run(1))
    for wrong in (
        lambda: handle.signal(Collects.add(object())),
        lambda: handle.signal("add", object()),
        lambda: handle.signal("add", {1, 2}, args=[3]),
        lambda: handle.signal(""),
        lambda: handle.signal("a\nb"),
        lambda: handle.signal("x" * 256),
        lambda: handle.signal(3),
        lambda: handle.signal(Collects.add),
    ):
        with pytest.raises((ConversionError, TypeError, ValueError)):
            await wrong()
    assert await events(handle) == ["Started"]
    assert not await env.client.store.read_messages([handle.result_run_id])
    await handle.terminate()


@pytest.mark.temporal("signal/prevent_close")
async def test_a_close_waits_for_what_was_sent_before_it(env: Env) -> None:
    """A signal that is acknowledged while the closing commit is on its way is read before the run closes."""
    sent = asyncio.Event()

    @workflow.defn(name="scn.closes_over")
    class ClosesOver:
        def __init__(self) -> None:
            self.seen: list[int] = []

        @workflow.run
        async def run(self) -> list[int]:
            await workflow.wait_condition(lambda: bool(self.seen))
            return self.seen

        @workflow.signal
        def see(self, item: int) -> None:
            self.seen.append(item)

    async def late(commit: Any, transitions: Any) -> Any:
        if any(t.close for t in transitions) and not sent.is_set():
            sent.set()
            await handle.signal("see", 2)
        return await commit(transitions)

    async with env.worker(ClosesOver):
        handle = await env.start(ClosesOver.run())
        env.store.hooks["commit"] = late
        await handle.signal("see", 1)
        assert await handle.result(timeout=PATIENCE) == [1, 2]
    assert await events(handle) == ["Started", "Signaled", "Signaled", "Completed"]
    seqs = [(one.task, type(one.data)) for one in (await handle.fetch_history()).events]
    assert {task for task, kind in seqs if kind is WorkflowExecutionSignaled} == {2}, "both in one task"


async def test_async_handlers_interleave_as_recorded(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(3))
        await handle.signal(Collects.add_slowly(1))
        await handle.signal(Collects.add(2))
        await handle.signal(Collects.add_slowly(3))
        got = await handle.result(timeout=PATIENCE)
    assert sorted(got) == [-3, -1, 2]
    assert got[0] == 2 or got[0] == -1


@pytest.mark.temporal("workflow/signal_and_query_errors")
async def test_a_failure_in_a_handler_fails_the_workflow_and_a_bug_blocks_it(env: Env) -> None:
    @workflow.defn(name="scn.handler_fails")
    class HandlerFails:
        @workflow.run
        async def run(self) -> None:
            await asyncio.sleep(3600)

        @workflow.signal
        def fail(self) -> None:
            raise ApplicationError("from a handler")

        @workflow.signal
        async def bug(self) -> None:
            await asyncio.sleep(0)
            raise KeyError("a bug")

        @workflow.signal
        async def cancels_itself(self) -> None:
            task = asyncio.ensure_future(asyncio.sleep(60))
            await asyncio.sleep(0)
            task.cancel()
            await task

    async with env.worker(HandlerFails):
        one = await env.start(HandlerFails.run())
        await one.signal("fail")
        assert str(await fails(one)) == "from a handler"
        other = await env.start(HandlerFails.run())
        await other.signal("bug")
        assert "a bug" in await held(other)
        await other.terminate()
        third = await env.start(HandlerFails.run())
        await third.signal("cancels_itself")
        assert isinstance(await fails(third), CancelledError)
        assert (await events(third))[-1] == "Failed"


# --- queries ---


@pytest.mark.temporal("workflow/signal_and_query")
async def test_class_style_queries(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(3))
        assert await handle.query(Collects.count()) == 0
        await handle.signal("add", args=[7])
        assert await handle.query(Collects.count()) == 1
        assert await handle.query(Collects.at(0)) == 7
        assert await handle.query("item_at", args=[5, "none"]) == "none"
        assert await handle.query(Collects.count) == 1
        await handle.signal(Collects.end())
        assert await handle.result(timeout=PATIENCE) == [7]
        assert await handle.query(Collects.count()) == 1
    assert await handle.query(Collects.at(0)) == 7, "a closed run answers without any worker"
    assert await events(handle) == ["Started", "Signaled", "Signaled", "Completed"]
    assert [(await event(handle, "Signaled", n)).name for n in range(2)] == ["add", "finish"]


@pytest.mark.temporal("workflow/signal_and_query")
async def test_function_style_queries(env: Env) -> None:
    async with env.worker(asks):
        handle = await env.start(asks())
        assert await handle.query(status("here")) == "waiting here"
        await handle.signal(decide(Decision(True, "eve")))
        assert await handle.query(status()) == "decided now"
        await handle.signal(stop())
        await handle.result(timeout=PATIENCE)
        recorded = await events(handle)
        assert await handle.query(status()) == "decided now"
    assert await events(handle) == recorded == ["Started", "Signaled", "Signaled", "Completed"]


async def test_a_query_sees_what_was_acknowledged_before(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run(100))
        for i in range(30):
            await handle.signal(Collects.add(i))
            assert await handle.query(Collects.count()) == i + 1
        await handle.terminate()


async def test_a_query_from_another_process_of_a_run_that_is_at_work(env: Env, store_url: str) -> None:
    async with Client.connect(store_url) as other, env.worker(Collects):
        handle = await env.start(Collects.run(2))
        far = other.get_workflow_handle(handle.id)
        await far.signal("add", 4)
        assert await far.query("count") == 1
        await far.signal("add", 5)
        assert await handle.result(timeout=PATIENCE) == [4, 5]


@pytest.mark.temporal("workflow/signal_and_query_errors", "workflow/signal_query_bad_param")
async def test_queries_that_fail(env: Env) -> None:
    @workflow.defn(name="scn.writes_in_query")
    class WritesInQuery:
        @workflow.run
        async def run(self) -> None:
            await stop.receive()

        @workflow.query
        def draws(self) -> float:
            return workflow.random().random()

        @workflow.query
        def starts(self) -> int:
            asyncio.get_running_loop().call_later(1, print)
            return 1

        @workflow.query
        def acts(self) -> int:
            workflow.start_activity("scn.nothing")
            return 1

        @workflow.query
        def secret(self) -> Any:
            return object()

    async with env.worker(Collects, WritesInQuery):
        handle = await env.start(Collects.run(1))
        for name, words in (("nobody", "no query"), ("broken", "no answer")):
            with pytest.raises(WorkflowQueryFailedError, match=words):
                await handle.query(name)
        with pytest.raises((WorkflowQueryFailedError, TypeError)):
            await handle.query("count", "too", args=["many"])
        with pytest.raises(WorkflowQueryFailedError):
            await handle.query("item_at", "not a number")
        with pytest.raises(WorkflowNotFoundError):
            await env.client.get_workflow_handle("nobody").query("count")
        writes = await env.start(WritesInQuery.run())
        for name in ("draws", "starts", "acts", "secret"):
            with pytest.raises(WorkflowQueryFailedError):
                await writes.query(name)
        await writes.signal(stop())
        assert await writes.result(timeout=PATIENCE) is None
        await handle.signal(Collects.add(1))
        await handle.result(timeout=PATIENCE)
    assert await events(writes) == ["Started", "Signaled", "Completed"]


async def test_a_query_without_workers(env: Env) -> None:
    handle = await env.start(Collects.run(1))
    assert await handle.query(Collects.count()) == 0
    async with env.worker(Collects):
        await handle.terminate()


async def test_signals_reach_a_run_whose_worker_left(env: Env) -> None:
    @activity.defn(name="scn.quick")
    async def quick() -> str:
        return "q"

    @workflow.defn(name="scn.between_workers")
    async def between_workers() -> list[Any]:
        return [await workflow.execute_activity(quick), await number.receive(), await number.receive()]

    handle = await env.start(between_workers())
    async with env.worker(between_workers, quick):
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
    await handle.signal(number(1))
    async with env.worker(between_workers, quick):
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted", "Signaled")
    await handle.signal(number(2))
    async with env.worker(between_workers, quick):
        assert await handle.result(timeout=PATIENCE) == ["q", 1, 2]
    assert await events(handle) == [
        "Started", "ActivityScheduled", "ActivityCompleted", "Signaled", "Signaled", "Completed"
    ]  # fmt: skip


# --- beside other inputs of the same task ---


@pytest.mark.temporal("workflow/completion_order")
@pytest.mark.parametrize("close", ["return", "continue as new"])
@pytest.mark.parametrize("comes", ["before the task", "over its close"])
async def test_a_handler_runs_before_the_code_goes_on(env: Env, close: str, comes: str) -> None:
    """A signal that comes with a result, or over the close that this brings about, has been handled by then."""
    began, gate = asyncio.Event(), asyncio.Event()

    @activity.defn(name="scn.gated")
    async def gated() -> None:
        began.set()
        await gate.wait()

    @workflow.defn(name="scn.hears_first")
    class HearsFirst:
        @workflow.init
        def __init__(self, heard: list[int]) -> None:
            self.heard = heard

        @workflow.run
        async def run(self, heard: list[int]) -> list[int]:
            if heard:
                return heard
            await gated()
            if close == "continue as new":
                workflow.continue_as_new(list(self.heard))
            return list(self.heard)

        @workflow.signal
        def hear(self, value: int) -> None:
            self.heard.append(value)

    async def late(commit: Any, transitions: Any) -> Any:
        if any(t.close for t in transitions) and not sent.is_set():
            sent.set()
            await handle.signal(HearsFirst.hear(7))
        return await commit(transitions)

    async def with_it(commit: Any, transitions: Any) -> Any:
        # The result has come, and is about to be written: the signal stands in the inbox by then.
        if not sent.is_set():
            sent.set()
            gate.set()
            await handle.signal(HearsFirst.hear(7))
            await asyncio.sleep(0.01)
        return await commit(transitions)

    sent = asyncio.Event()
    async with env.worker(HearsFirst, gated):
        handle = await env.start(HearsFirst.run([]))
        await began.wait()
        await reached(handle, "Started", "ActivityScheduled")
        if comes == "over its close":
            env.store.hooks["commit"] = late
            gate.set()
        else:
            env.store.hooks["commit"] = with_it
            await handle.signal("nobody takes this")
        assert await handle.result(timeout=PATIENCE) == [7]
    told = await events((await chain(handle))[0])
    assert told[-1] == ("Completed" if close == "return" else "ContinuedAsNew")
    assert told.index("Signaled", 2) < len(told) - 1


async def test_what_a_client_asks_of_a_run_does_not_read_its_whole_history(plain: Env) -> None:
    """Else ten thousand signals to one run would cost a hundred times what a thousand do."""
    asked: list[bool] = []

    async def find(method: Any, *values: Any, measured: bool = True) -> Any:
        asked.append(measured)
        return await method(*values, measured=measured)

    plain.store.hooks["find_run"] = find
    async with plain.worker(Collects):
        handle = await plain.start(Collects.run(2))
        await handle.signal(Collects.add(1))
        assert await handle.query(Collects.count()) == 1
        await handle.signal(Collects.add(2))
        assert await handle.result(timeout=PATIENCE) == [1, 2]
    assert asked
    assert not any(asked)
    described = await handle.describe()
    assert described.history_length == 4
    assert described.history_size > 0
    assert asked[-1]


async def test_a_signal_of_one_request_is_taken_once(env: Env) -> None:
    async with env.worker(Collects):
        handle = await env.start(Collects.run, 99, id="r")
        for _ in range(3):
            await handle.signal(Collects.add, 1, request_id="hook-1")
            await reached(handle, "Started", "Signaled")
        await handle.signal("add", args=[2], request_id="hook-2")
        await handle.signal(Collects.end)
        assert await handle.result(timeout=PATIENCE) == [1, 2]
        # What it has taken it is not told again, closed or not.
        await handle.signal(Collects.add, 1, request_id="hook-1")


async def test_a_cancel_of_one_request_is_taken_once(env: Env) -> None:
    async with env.worker(stubborn):
        handle = await env.start(stubborn(), id="r")
        for request, asked in (("one", 1), ("one", 1), ("two", 2)):
            await handle.cancel("why", request_id=request)
            await reached(handle, "Started", *["CancelRequested"] * asked)
        await handle.signal(stop(None))
        await handle.result(timeout=PATIENCE)
        assert await events(handle) == ["Started", *["CancelRequested"] * 2, "Signaled", "Completed"]


@workflow.defn(name="scn.stubborn")
async def stubborn() -> None:
    while True:
        try:
            return await stop.receive()
        except asyncio.CancelledError:
            pass


@pytest.mark.session
async def test_a_message_behind_the_look_of_a_claim_is_read(plain: Env, store_url: str) -> None:
    """Its hint comes while nobody knows yet that the run is this worker's."""
    told, listening = asyncio.Event(), asyncio.Event()
    sent: list[str] = []

    def heard(hint: Hint) -> None:
        (listening if hint.key == "*" else told).set()

    async def claim(method: Any, *args: Any, **kwargs: Any) -> Any:
        claimed = await method(*args, **kwargs)
        if claimed and not sent:
            sent.append(claimed[0].run.run_id)
            await other.get_workflow_handle("claimed").signal(Collects.add, 7)
            await asyncio.wait_for(told.wait(), PATIENCE)
        return claimed

    plain.store.hooks["claim_runs"] = claim
    async with Client.connect(store_url) as other, plain.worker(Collects, poll_interval=60.0):
        stop_listening = plain.store.listen(heard, HintKind.MESSAGE)
        if store_url.startswith("postgresql"):
            await asyncio.wait_for(listening.wait(), PATIENCE)
        handle = await other.start_workflow(Collects.run, 1, id="claimed")
        assert await handle.result(timeout=PATIENCE) == [7]
        stop_listening()
        assert sent == [handle.first_execution_run_id]
        assert await events(handle) == ["Started", "Signaled", "Completed"]
