"""Interceptors of clients, workflows and activities: each hook, their order, and headers in the history."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

import durable.client
import durable.client._query as query_module
import durable.worker
from durable import Client, activity, workflow
from durable.client import WithStartWorkflowOperation, WorkflowUpdateStage
from durable.common import RetryPolicy, WorkflowIDConflictPolicy
from durable.converter import default
from durable.exceptions import WorkflowUpdateFailedError
from tests.scenarios.rig import PATIENCE, Env, chain, event, events, held, reached

CONVERTER = default().payload_converter
trace: list[str] = []
who: ContextVar[str] = ContextVar("who", default="nobody")


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    trace.clear()
    yield
    trace.clear()


def put(input: Any, name: str, value: str) -> Any:
    input.headers = {**input.headers, name: CONVERTER.to_payload(value)}
    return input


def got(headers: Any) -> dict[str, Any]:
    return {name: CONVERTER.from_payload(value) for name, value in sorted(headers.items())}


@activity.defn(name="icp.tell")
async def tell(word: str) -> str:
    activity.heartbeat(word)
    return f"{word} {who.get()} {activity.info().activity_type}"


@activity.defn(name="icp.tell_in_thread")
def tell_in_thread(word: str) -> str:
    activity.heartbeat(word)
    return f"{word} {who.get()} {activity.info().activity_type}"


@workflow.defn(name="icp.child")
class Child:
    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, word: str) -> str:
        await workflow.wait_condition(lambda: bool(self.told))
        return f"{word} {self.told}"

    @workflow.signal
    def say(self, word: str) -> None:
        self.told.append(word)


@workflow.defn(name="icp.parent")
class Parent:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self, word: str) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.words) >= 2)
        results: list[Any] = [await tell(word), await tell_in_thread(word)]
        child = await workflow.start_child_workflow(Child.run("kid"), id=workflow.info().workflow_id + "-kid")
        await child.signal(Child.say("hi"))
        results.append(await child)
        other = workflow.get_external_workflow_handle(workflow.info().workflow_id + "-other")
        await other.signal("say", "you")
        return [*results, self.words]

    @workflow.signal
    async def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.update
    async def add(self, word: str) -> str:
        self.words.append(word)
        return f"added {word} for {who.get()}"

    @add.validator
    def check_add(self, word: str) -> None:
        if word == "bad":
            raise ValueError(f"refused for {who.get()}")

    @workflow.query
    def state(self, word: str) -> str:
        return f"{word} {len(self.words)} {who.get()}"


class Out(durable.client.OutboundInterceptor):
    """Notes what it sees and puts its name into the headers."""

    def __init__(self, next: durable.client.OutboundInterceptor, name: str) -> None:
        super().__init__(next)
        self.name = name

    async def start_workflow(self, input: durable.client.StartWorkflowInput) -> Any:
        trace.append(f"{self.name} start {input.workflow} {input.id}")
        return await super().start_workflow(put(input, self.name, "start"))

    async def signal_workflow(self, input: durable.client.SignalWorkflowInput) -> None:
        trace.append(f"{self.name} signal {input.signal} {list(input.args)}")
        await super().signal_workflow(put(input, self.name, "signal"))

    async def query_workflow(self, input: durable.client.QueryWorkflowInput) -> Any:
        trace.append(f"{self.name} query {input.query}")
        return await super().query_workflow(put(input, self.name, "query"))

    async def start_workflow_update(self, input: durable.client.StartWorkflowUpdateInput) -> Any:
        trace.append(f"{self.name} update {input.update}")
        return await super().start_workflow_update(put(input, self.name, "update"))

    async def start_update_with_start_workflow(
        self, input: durable.client.StartWorkflowUpdateWithStartInput
    ) -> Any:
        trace.append(f"{self.name} update with start {input.update_workflow_input.update}")
        put(input.start_workflow_input, self.name, "start")
        put(input.update_workflow_input, self.name, "update")
        return await super().start_update_with_start_workflow(input)

    async def cancel_workflow(self, input: durable.client.CancelWorkflowInput) -> None:
        trace.append(f"{self.name} cancel {input.reason}")
        await super().cancel_workflow(input)

    async def terminate_workflow(self, input: durable.client.TerminateWorkflowInput) -> None:
        trace.append(f"{self.name} terminate {input.reason} {list(input.args)}")
        await super().terminate_workflow(input)

    async def describe_workflow(self, input: durable.client.DescribeWorkflowInput) -> Any:
        trace.append(f"{self.name} describe")
        return await super().describe_workflow(input)

    def fetch_workflow_history_events(
        self, input: durable.client.FetchWorkflowHistoryEventsInput
    ) -> AsyncIterator[Any]:
        trace.append(f"{self.name} history")
        return super().fetch_workflow_history_events(input)


class WorkflowIn(durable.worker.WorkflowInboundInterceptor):
    def init(self, outbound: durable.worker.WorkflowOutboundInterceptor) -> None:
        super().init(WorkflowOut(outbound))

    async def execute_workflow(self, input: durable.worker.ExecuteWorkflowInput) -> Any:
        who.set(f"start:{got(input.headers)}")
        return await super().execute_workflow(input)

    async def handle_signal(self, input: durable.worker.HandleSignalInput) -> None:
        input.args = [f"{input.args[0]} by {got(input.headers)}"]
        await super().handle_signal(input)

    async def handle_query(self, input: durable.worker.HandleQueryInput) -> Any:
        who.set(f"query:{got(input.headers)}")
        return f"<{await super().handle_query(input)}>"

    def handle_update_validator(self, input: durable.worker.HandleUpdateInput) -> None:
        who.set(f"validator:{got(input.headers)}")
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: durable.worker.HandleUpdateInput) -> Any:
        who.set(f"update:{got(input.headers)}")
        return f"<{await super().handle_update_handler(input)}>"


class WorkflowOut(durable.worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: durable.worker.StartActivityInput) -> Any:
        return super().start_activity(put(input, "out", f"activity {input.activity}"))

    async def start_child_workflow(self, input: durable.worker.StartChildWorkflowInput) -> Any:
        return await super().start_child_workflow(put(input, "out", f"child {input.workflow}"))

    async def signal_child_workflow(self, input: durable.worker.SignalChildWorkflowInput) -> None:
        await super().signal_child_workflow(put(input, "out", f"child {input.child_workflow_id[-3:]}"))

    async def signal_external_workflow(self, input: durable.worker.SignalExternalWorkflowInput) -> None:
        await super().signal_external_workflow(put(input, "out", f"external {input.workflow_id[-5:]}"))


class ActivityIn(durable.worker.ActivityInboundInterceptor):
    def init(self, outbound: durable.worker.ActivityOutboundInterceptor) -> None:
        super().init(ActivityOut(outbound))

    async def execute_activity(self, input: durable.worker.ExecuteActivityInput) -> Any:
        who.set(str(got(input.headers)))
        trace.append(f"activity in, a thread: {input.executor is not None}")
        return await super().execute_activity(input)


class ActivityOut(durable.worker.ActivityOutboundInterceptor):
    def info(self) -> activity.Info:
        trace.append("activity info")
        return super().info()

    def heartbeat(self, *details: Any) -> None:
        trace.append(f"activity heartbeat {details}")
        super().heartbeat(*details)


class Both(durable.client.Interceptor, durable.worker.Interceptor):
    def intercept_client(
        self, next: durable.client.OutboundInterceptor
    ) -> durable.client.OutboundInterceptor:
        return Out(next, "one")

    def intercept_activity(
        self, next: durable.worker.ActivityInboundInterceptor
    ) -> durable.worker.ActivityInboundInterceptor:
        return ActivityIn(next)

    def workflow_interceptor_class(
        self, input: durable.worker.WorkflowInterceptorClassInput
    ) -> type[durable.worker.WorkflowInboundInterceptor]:
        return WorkflowIn


class Second(durable.client.Interceptor):
    def intercept_client(
        self, next: durable.client.OutboundInterceptor
    ) -> durable.client.OutboundInterceptor:
        return Out(next, "two")


@pytest.fixture
async def both(store_url: str, cached: int, proxied: None) -> AsyncIterator[Env]:
    async with Client.connect(store_url, interceptors=[Both(), Second()]) as client:
        made = Env(client, cached)
        yield made
        await made.judge()


@pytest.mark.temporal("data/context_propagation", "update/client_interceptor")
async def test_headers_go_all_the_way(both: Env) -> None:
    async with both.worker(Parent, Child, tell, tell_in_thread):
        other = await both.start(Child.run("other"), id="icp-1-other")
        handle = await both.start(Parent.run("word"), id="icp-1")
        await handle.signal(Parent.say("a"))
        assert await handle.execute_update(Parent.add("b")) == (
            "<added b for update:{'one': 'update', 'two': 'update'}>"
        )
        results = await handle.result(timeout=PATIENCE)
        assert await handle.query(Parent.state("now")) == "<now 2 query:{'one': 'query', 'two': 'query'}>"
        assert await other.result(timeout=PATIENCE) == "other [\"you by {'out': 'external other'}\"]"
    assert results == [
        "word {'out': 'activity icp.tell'} icp.tell",
        "word {'out': 'activity icp.tell_in_thread'} icp.tell_in_thread",
        "kid [\"hi by {'out': 'child kid'}\"]",
        ["a by {'one': 'signal', 'two': 'signal'}", "b"],
    ]
    assert got((await event(handle, "Started")).headers) == {"one": "start", "two": "start"}
    assert got((await event(handle, "Signaled")).headers) == {"one": "signal", "two": "signal"}
    assert got((await event(handle, "UpdateAccepted")).headers) == {"one": "update", "two": "update"}
    assert got((await event(handle, "ActivityScheduled")).headers) == {"out": "activity icp.tell"}
    child = both.client.get_workflow_handle("icp-1-kid")
    assert got((await event(child, "Started")).headers) == {"out": "child icp.child"}
    assert got((await event(child, "Signaled")).headers) == {"out": "child kid"}
    # The first one is the outermost.
    assert [line for line in trace if "icp-1 " in f"{line} " or "signal" in line] == [
        "one start icp.parent icp-1",
        "two start icp.parent icp-1",
        "one signal say ['a']",
        "two signal say ['a']",
    ]
    assert trace.count("activity in, a thread: True") == 1
    assert trace.count("activity in, a thread: False") == 1
    assert trace.count("activity info") == 2
    assert trace.count("activity heartbeat ('word',)") == 2


async def test_a_validator_is_intercepted(both: Env) -> None:
    async with both.worker(Parent, Child, tell, tell_in_thread):
        handle = await both.start(Parent.run("word"))
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Parent.add("bad"))
        assert "refused for validator:{'one': 'update', 'two': 'update'}" in str(refused.value.cause)
        assert await events(handle) == ["Started"]
        await handle.terminate()


async def test_what_else_a_client_does(both: Env) -> None:
    handle = await both.start(Child.run("x"), id="icp-c")
    await handle.describe()
    await handle.fetch_history()
    await handle.cancel("why")
    await handle.terminate("detail", reason="over")
    named = [line for line in trace if line.startswith("one ")]
    assert named == [
        "one start icp.child icp-c",
        "one describe",
        "one history",
        "one cancel why",
        "one terminate over ['detail']",
    ]


async def test_update_with_start_and_a_signal_with_start(both: Env) -> None:
    async with both.worker(Parent, Child, tell, tell_in_thread):
        operation = WithStartWorkflowOperation(
            Parent.run("word"), id="icp-u", id_conflict_policy=WorkflowIDConflictPolicy.FAIL
        )
        update = await both.client.start_update_with_start_workflow(
            Parent.add("b"),
            start_workflow_operation=operation,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
        )
        assert await update.result() == "<added b for update:{'one': 'update', 'two': 'update'}>"
        handle = await operation.workflow_handle()
        assert got((await event(handle, "Started")).headers) == {"one": "start", "two": "start"}
        await handle.terminate()
        both.handles.append((handle, None))
        signalled = await both.start(Child.run("s"), start_signal=Child.say("early"))
        assert await signalled.result(timeout=PATIENCE) == "s [\"early by {'one': 'start', 'two': 'start'}\"]"


# ---------------------------------------------------------------------- inputs that interceptors change


def changing(**hooks: Callable[[Any], Any]) -> durable.worker.Interceptor:
    """An interceptor that changes the inputs of a workflow's own calls."""

    class Outbound(durable.worker.WorkflowOutboundInterceptor):
        def start_activity(self, input: durable.worker.StartActivityInput) -> Any:
            hooks.get("activity", lambda input: None)(input)
            return super().start_activity(input)

        async def start_child_workflow(self, input: durable.worker.StartChildWorkflowInput) -> Any:
            hooks.get("child", lambda input: None)(input)
            return await super().start_child_workflow(input)

        def continue_as_new(self, input: durable.worker.ContinueAsNewInput) -> Any:
            hooks.get("continue_as_new", lambda input: None)(input)
            super().continue_as_new(input)

        def info(self) -> workflow.Info:
            hooks.get("info", lambda input: None)(None)
            return super().info()

    class Inbound(durable.worker.WorkflowInboundInterceptor):
        def init(self, outbound: durable.worker.WorkflowOutboundInterceptor) -> None:
            super().init(Outbound(outbound))

        async def execute_workflow(self, input: durable.worker.ExecuteWorkflowInput) -> Any:
            hooks.get("execute", lambda input: None)(input)
            return await super().execute_workflow(input)

        async def handle_signal(self, input: durable.worker.HandleSignalInput) -> None:
            hooks.get("signal", lambda input: None)(input)
            await super().handle_signal(input)

    class Changing(durable.worker.Interceptor):
        def workflow_interceptor_class(
            self, input: durable.worker.WorkflowInterceptorClassInput
        ) -> type[durable.worker.WorkflowInboundInterceptor]:
            return Inbound

    return Changing()


@workflow.defn(name="icp.one_activity")
async def one_activity(word: str) -> str:
    return await tell.options(start_to_close_timeout=20)(word)


async def test_an_activitys_input_is_changed(env: Env) -> None:
    def change(input: durable.worker.StartActivityInput) -> None:
        assert input.start_to_close_timeout == timedelta(seconds=20)
        assert input.arg_types == (str,)
        assert (input.ret_type, input.args, input.summary) == (str, ("word",), None)
        input.args = ["other"]
        input.activity_id = "mine"
        input.start_to_close_timeout = timedelta(seconds=30)
        input.heartbeat_timeout = timedelta(seconds=9)
        input.schedule_to_start_timeout = timedelta(seconds=8)
        input.schedule_to_close_timeout = timedelta(seconds=70)
        input.retry_policy = RetryPolicy(maximum_attempts=2)
        input.summary = "a line"
        input.disable_eager_execution = True

    env.replays = False
    async with env.worker(one_activity, tell, interceptors=[changing(activity=change)]):
        handle = await env.start(one_activity("word"))
        assert (await handle.result(timeout=PATIENCE)).startswith("other ")
    scheduled = await event(handle, "ActivityScheduled")
    assert scheduled.activity_id == "mine"
    assert scheduled.start_to_close == 30_000_000
    assert scheduled.heartbeat == 9_000_000
    assert scheduled.schedule_to_start == 8_000_000
    assert scheduled.schedule_to_close == 70_000_000
    assert scheduled.retry_policy.maximum_attempts == 2
    assert (scheduled.summary, scheduled.eager) == ("a line", False)


@workflow.defn(name="icp.one_child")
async def one_child(word: str) -> str:
    return await echo(word)


@workflow.defn(name="icp.echo")
async def echo(word: str) -> str:
    return f"{word} {sorted(workflow.memo())} {workflow.info().workflow_id}"


async def test_a_childs_input_is_changed(env: Env) -> None:
    def change(input: durable.worker.StartChildWorkflowInput) -> None:
        input.args = ["other"]
        input.id = "icp-renamed"
        input.memo = {"m": 1}
        input.run_timeout = timedelta(seconds=77)
        input.static_summary = "a line"

    env.replays = False
    async with env.worker(one_child, echo, interceptors=[changing(child=change)]):
        handle = await env.start(one_child("word"))
        assert await handle.result(timeout=PATIENCE) == "other ['m'] icp-renamed"
    initiated = await event(handle, "StartChildInitiated")
    assert (initiated.run_timeout, initiated.static_summary) == (77_000_000, "a line")


@workflow.defn(name="icp.counts")
async def counts(left: int) -> str:
    if left:
        workflow.continue_as_new(left - 1)
    return f"{got(workflow.info().headers)}"


async def test_headers_of_the_next_run(env: Env) -> None:
    def change(input: durable.worker.ContinueAsNewInput) -> None:
        if input.args[0] == 1:
            put(input, "said", "once")

    async with env.worker(counts, interceptors=[changing(continue_as_new=change)]):
        handle = await env.start(counts(2))
        # The second run says nothing of headers: the third one has those of the second.
        assert await handle.result(timeout=PATIENCE) == "{'said': 'once'}"
    first = (await chain(handle))[0]
    assert got((await event(first, "ContinuedAsNew")).headers) == {"said": "once"}


async def test_info_and_a_signals_name_and_arguments(env: Env) -> None:
    def rename(input: durable.worker.HandleSignalInput) -> None:
        if input.signal == "say":
            input.signal = "shout"

    def prefix(input: durable.worker.ExecuteWorkflowInput) -> None:
        assert input.type is Names
        input.args = [f"<{input.args[0]}>"]

    asked: list[None] = []
    hooks = changing(signal=rename, execute=prefix, info=asked.append)
    async with env.worker(Names, interceptors=[hooks]):
        handle = await env.start(Names.run("x"))
        await handle.signal("say", "hi")
        assert await handle.result(timeout=PATIENCE) == "<x> HI icp.names"
    assert asked


@workflow.defn(name="icp.names")
class Names:
    def __init__(self) -> None:
        self.word = ""

    @workflow.run
    async def run(self, word: str) -> str:
        await workflow.wait_condition(lambda: bool(self.word))
        return f"{word} {self.word} {workflow.info().workflow_type}"

    @workflow.signal
    def say(self, word: str) -> None:
        self.word = word

    @workflow.signal
    def shout(self, word: str) -> None:
        self.word = word.upper()


async def test_an_interceptor_may_be_added_while_runs_are_open(env: Env) -> None:
    async with env.worker(Names):
        handle = await env.start(Names.run("x"))
        await reached(handle, "Started")
    async with env.worker(Names, interceptors=[changing()]):
        await handle.signal("say", "hi")
        assert await handle.result(timeout=PATIENCE) == "x hi icp.names"


async def test_a_query_of_another_process_has_its_headers(both: Env, store_url: str) -> None:
    """The code is not known to the caller: the question, with its headers, waits for a worker."""
    async with both.worker(Parent, Child, tell, tell_in_thread):
        handle = await both.start(Parent.run("word"))
        await reached(handle, "Started")
        async with Client.connect(store_url, interceptors=[Second()]) as client:
            known = query_module.definition_for
            query_module.definition_for = lambda *args: None  # type: ignore[assignment]
            try:
                far = client.get_workflow_handle(handle.id)
                assert await far.query("state", "far") == "<far 0 query:{'two': 'query'}>"
            finally:
                query_module.definition_for = known
        await handle.terminate()


async def test_what_is_no_interceptor_is_refused(store_url: str) -> None:
    what: Any = object()
    with pytest.raises(TypeError, match=r"durable\.client\.Interceptor"):
        await Client.connect(store_url, interceptors=[what])
    async with Client.connect(store_url) as client:
        with pytest.raises(TypeError, match=r"durable\.worker\.Interceptor"):
            durable.worker.Worker(client, workflows=[echo], activities=[], interceptors=[what])


async def test_headers_that_are_no_payloads_block_the_run(env: Env) -> None:
    def wrong(input: Any) -> None:
        input.headers = {"x": "plain"}

    async with env.worker(one_activity, tell, interceptors=[changing(activity=wrong)]):
        handle = await env.start(one_activity("word"))
        assert "headers hold payloads by name" in await held(handle)
        await handle.terminate()
