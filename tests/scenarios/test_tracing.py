"""Traces: one for a request and all that comes of it, in whatever process, and nothing twice however often it is replayed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from durable import Client, activity, workflow
from durable.client import (
    Interceptor,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    StartWorkflowInput,
)
from durable.common import RetryPolicy
from durable.exceptions import ApplicationError, ApplicationErrorCategory, WorkflowUpdateFailedError
from durable.history import Payload
from durable.telemetry import Tracing
from durable.worker import Replayer, SharedStateManager
from tests.scenarios.rig import PATIENCE, Env, events


@dataclass
class Told:
    """An environment whose client makes spans, and the spans that have ended."""

    env: Env
    provider: TracerProvider
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found


def provider_with(exporter: InMemorySpanExporter) -> TracerProvider:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


@pytest.fixture
async def told(store_url: str, cached: int, proxied: None) -> AsyncIterator[Told]:
    exporter = InMemorySpanExporter()
    provider = provider_with(exporter)
    async with Client.connect(store_url, tracing=Tracing(provider)) as client:
        env = Env(client, cached)
        yield Told(env, provider, exporter)
        await env.judge()


def links(span: ReadableSpan) -> set[int]:
    return {link.context.span_id for link in span.links}


def id_of(span: ReadableSpan) -> int:
    found = span.get_span_context()
    assert found is not None
    return found.span_id


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def trace_of(span: ReadableSpan) -> int:
    found = span.get_span_context()
    assert found is not None
    return found.trace_id


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@activity.defn
async def seen(what: str) -> str:
    """What an activity sees of the request: its baggage, and the trace it is in."""
    current = trace.get_current_span().get_span_context()
    return f"{what} {baggage.get_baggage('tenant')} {trace.format_trace_id(current.trace_id)}"


@activity.defn(executor="thread")
def seen_in_thread() -> str:
    current = trace.get_current_span().get_span_context()
    return f"{baggage.get_baggage('tenant')} {trace.format_trace_id(current.trace_id)}"


@activity.defn
def seen_in_process() -> str:
    """Without a provider: what travels is W3C's context."""
    current = trace.get_current_span().get_span_context()
    return f"{baggage.get_baggage('tenant')} {trace.format_trace_id(current.trace_id)}"


@workflow.defn
async def traced_child(what: str) -> str:
    return await seen(what)


@workflow.defn
class TracedParent:
    def __init__(self) -> None:
        self.said: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        own = await seen("own")
        await workflow.sleep(0.01)
        of_child = await workflow.execute_child_workflow(traced_child, "child")
        await workflow.wait_condition(lambda: len(self.said) == 2)
        return [own, of_child]

    @workflow.signal
    def say(self, what: str) -> None:
        self.said.append(what)

    @workflow.update
    async def add(self, what: str) -> int:
        self.said.append(what)
        return len(self.said)

    @add.validator
    def check(self, what: str) -> None:
        if not what:
            raise ValueError("say something")

    @workflow.query
    def count(self) -> int:
        return len(self.said)


@pytest.mark.temporal("tracing/tracing", "data/open_telemetry")
async def test_one_trace_of_a_request(told: Told) -> None:
    env, tracer = told.env, told.provider.get_tracer("shop")
    async with env.worker(TracedParent, traced_child, seen):
        with tracer.start_as_current_span("request") as request:
            token = context.attach(baggage.set_baggage("tenant", "north"))
            handle = await env.start(TracedParent.run)
            await handle.signal(TracedParent.say, "one")
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update(TracedParent.add, "")
            await handle.execute_update(TracedParent.add, "two")
            context.detach(token)
        result = await handle.result(timeout=PATIENCE)
        count = len(told.spans)
        assert await handle.query(TracedParent.count) == 2
    trace_id = trace.format_trace_id(request.get_span_context().trace_id)
    assert result == [f"own north {trace_id}", f"child north {trace_id}"]
    asked = [
        "Started",
        "Signaled",
        "UpdateAccepted",
        "UpdateCompleted",
        "StartChildInitiated",
        "ChildStarted",
    ]
    came = [
        "ActivityScheduled",
        "ActivityCompleted",
        "TimerStarted",
        "TimerFired",
        "ChildCompleted",
        "Completed",
    ]
    assert Counter(await events(handle)) == Counter([*asked, *came])

    start, run = told.one("StartWorkflow:TracedParent"), told.one("RunWorkflow:TracedParent")
    assert parent_of(start) == request.get_span_context().span_id
    assert about(start)["durable.workflow.run_id"] == handle.first_execution_run_id
    assert {trace_of(span) for span in told.spans[:count]} == {request.get_span_context().trace_id}
    known = {id_of(span) for span in told.spans}
    assert all(parent_of(span) in known for span in told.spans if span.parent is not None)

    tasks = told.named("WorkflowTask:TracedParent")
    own, of_child = sorted(told.named("RunActivity:seen"), key=lambda span: span.start_time or 0)
    child = told.one("StartChildWorkflow:traced_child")
    for span in (run, own, child, told.one("Timer"), *tasks):
        assert parent_of(span) == id_of(start), span.name
    for span in (told.one("RunWorkflow:traced_child"), of_child):
        assert parent_of(span) == id_of(child), span.name
    # What caused it is a link.
    assert links(own) <= {id_of(span) for span in tasks}
    assert links(own)
    assert links(child) <= {id_of(span) for span in tasks}
    # Once, or again where its task was.
    sent = id_of(told.one("SignalWorkflow:say"))
    handled = told.named("HandleSignal:say")
    assert handled
    assert all(links(span) == {sent} for span in handled)
    asked = {id_of(span) for span in told.named("StartWorkflowUpdate:add")}
    assert len(asked) == 2
    assert links(told.one("HandleUpdate:add")) < asked
    refused = [
        span for span in told.named("ValidateUpdate:add") if span.status.status_code is StatusCode.ERROR
    ]
    assert [about(span)["error.type"] for span in refused] == ["ValueError"]
    assert about(own) | {"durable.worker.id": ""} == {
        "durable.namespace": "default",
        "durable.task_queue": "default",
        "durable.workflow.id": handle.id,
        "durable.workflow.run_id": handle.first_execution_run_id,
        "durable.workflow.type": "TracedParent",
        "durable.activity.id": about(own)["durable.activity.id"],
        "durable.activity.type": "seen",
        "durable.activity.attempt": 1,
        "durable.worker.id": "",
    }
    assert run.start_time is not None
    assert run.end_time is not None
    assert about(run)["durable.workflow.status"] == "completed"
    timer = told.one("Timer")
    assert timer.end_time is not None
    assert timer.start_time is not None
    assert timer.end_time - timer.start_time >= 10_000_000
    assert run.start_time <= timer.start_time <= timer.end_time <= run.end_time
    assert parent_of(told.one("HandleQuery:count")) == id_of(told.one("QueryWorkflow:count"))


async def test_replaying_five_times_adds_no_span(told: Told) -> None:
    env = told.env
    async with env.worker(TracedParent, traced_child, seen):
        with told.provider.get_tracer("shop").start_as_current_span("request"):
            handle = await env.start(TracedParent.run)
            await handle.signal(TracedParent.say, "one")
            await handle.signal(TracedParent.say, "two")
        await handle.result(timeout=PATIENCE)
    count = len(told.spans)
    history = await handle.fetch_history()
    for _ in range(5):
        await Replayer(workflows=[TracedParent], interceptors=[Tracing(told.provider)]).replay_workflow(
            history
        )
    assert [span.name for span in told.spans[count:]] == []


@workflow.defn
async def traced_own_spans() -> None:
    tracer = _provider.get_tracer("mine")
    with tracer.start_as_current_span("mine"):
        pass
    await workflow.sleep(0.01)
    with tracer.start_as_current_span("mine again"):
        pass
    await workflow.sleep(0.01)


_provider: TracerProvider


async def test_spans_of_workflow_code_are_made_once(told: Told) -> None:
    global _provider
    _provider = told.provider
    async with told.env.worker(traced_own_spans):
        handle = await told.env.start(traced_own_spans())
        await handle.result(timeout=PATIENCE)
    start = told.one("StartWorkflow:traced_own_spans")
    assert parent_of(told.one("mine")) == id_of(start)
    assert parent_of(told.one("mine again")) == id_of(start)


@activity.defn
async def expected_failure(benign: bool) -> None:
    category = ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED
    raise ApplicationError("no", type="Refused", category=category)


@workflow.defn
async def traced_attempts(benign: bool) -> None:
    again = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=2)
    await workflow.execute_activity(expected_failure, benign, retry_policy=again)


@pytest.mark.parametrize("benign", [False, True])
async def test_each_attempt_has_a_span(told: Told, benign: bool) -> None:
    async with told.env.worker(traced_attempts, expected_failure):
        handle = await told.env.start(traced_attempts(benign))
        with pytest.raises(Exception, match="failed"):
            await handle.result(timeout=PATIENCE)
    first, second = told.named("RunActivity:expected_failure")
    assert [about(span)["durable.activity.attempt"] for span in (first, second)] == [1, 2]
    assert id_of(first) in links(second)
    assert {about(span)["error.type"] for span in (first, second)} == {"Refused"}
    assert first.status.status_code is (StatusCode.UNSET if benign else StatusCode.ERROR)
    assert told.one("RunWorkflow:traced_attempts").status.status_code is StatusCode.ERROR


@workflow.defn
async def traced_chain(left: int) -> str:
    if left:
        workflow.continue_as_new(args=[left - 1])
    return await seen("end")


async def test_a_run_that_continues_begins_another_trace(told: Told) -> None:
    async with told.env.worker(traced_chain, seen):
        token = context.attach(baggage.set_baggage("tenant", "7"))
        handle = await told.env.start(traced_chain(1))
        context.detach(token)
        assert (await handle.result(timeout=PATIENCE)).startswith("end 7 ")
    first, second = told.named("StartWorkflow:traced_chain")
    if parent_of(first) is not None or first.links:
        first, second = second, first
    assert second.parent is None
    assert trace_of(first) != trace_of(second)
    tasks = told.named("WorkflowTask:traced_chain")
    assert links(second) == {id_of(span) for span in tasks if trace_of(span) == trace_of(first)}
    assert {trace_of(span) for span in told.named("RunWorkflow:traced_chain")} == {
        trace_of(first),
        trace_of(second),
    }


async def test_a_run_that_is_old_begins_another_trace(store_url: str) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(provider_with(exporter), trace_max_age=timedelta(microseconds=1))
    async with Client.connect(store_url, tracing=tracing) as client:
        env = Env(client, 1000)
        assert await env.run(traced_child("x"), traced_child, seen)
        start, *_ = [span for span in exporter.get_finished_spans() if span.name.startswith("StartWorkflow")]
        first, *_ = [span for span in exporter.get_finished_spans() if span.name.startswith("WorkflowTask")]
    assert first.parent is None
    assert trace_of(first) != trace_of(start)
    assert links(first) == {id_of(start)}


@workflow.defn
async def traced_elsewhere() -> str:
    return await workflow.execute_activity(
        "seen_elsewhere",
        task_queue="elsewhere",
        result_type=str,
        start_to_close_timeout=timedelta(seconds=60),
    )


ELSEWHERE = """
import asyncio, sys
from opentelemetry import trace
from durable import Client, Worker, activity
from durable.history import Payload
from durable.telemetry import Tracing
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\\n")))
trace.set_tracer_provider(provider)

@activity.defn
async def seen_elsewhere() -> str:
    return trace.format_span_id(trace.get_current_span().get_span_context().span_id)

async def main() -> None:
    async with Client.connect(sys.argv[1]) as client, Worker(
        client, task_queue="elsewhere", workflows=[], activities=[seen_elsewhere]
    ):
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


async def test_an_activity_in_another_process_is_in_the_trace(told: Told, store_url: str) -> None:
    """That process has a provider of its own, set as programs set it."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", ELSEWHERE, store_url],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        async with told.env.worker(traced_elsewhere):
            handle = await told.env.start(traced_elsewhere())
            span_id = await handle.result(timeout=2 * PATIENCE)
    finally:
        output, _ = await asyncio.to_thread(process.communicate, "")
    (line,) = [json.loads(one) for one in output.splitlines() if "RunActivity" in one]
    start = told.one("StartWorkflow:traced_elsewhere")
    assert line["context"]["span_id"] == f"0x{span_id}"
    assert line["context"]["trace_id"] == f"0x{trace.format_trace_id(trace_of(start))}"
    assert line["parent_id"] == f"0x{trace.format_span_id(id_of(start))}"


@activity.defn
async def stuck_at_first() -> None:
    if "DURABLE_TEST_STUCK" in os.environ:
        print("stuck", flush=True)
        await asyncio.Event().wait()


@workflow.defn
async def traced_survivor() -> int:
    await workflow.sleep(0.001)
    await workflow.execute_local_activity(stuck_at_first, start_to_close_timeout=timedelta(seconds=60))
    return await workflow.execute_activity(stuck_at_second, start_to_close_timeout=timedelta(seconds=60))


@activity.defn
async def stuck_at_second() -> int:
    return 7


DOOMED = """
import asyncio, sys
from durable import Client, Worker
from durable.history import Payload
from durable.telemetry import Tracing
from opentelemetry.sdk.trace import TracerProvider
from tests.scenarios.test_tracing import stuck_at_first, traced_survivor

async def main() -> None:
    async with Client.connect(sys.argv[1], tracing=Tracing(TracerProvider())) as client, Worker(
        client, workflows=[traced_survivor], activities=[stuck_at_first], lease_duration=1.5
    ):
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_trace_survives_the_death_of_a_worker(told: Told, store_url: str) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", DOOMED, store_url],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "DURABLE_TEST_STUCK": "yes"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        handle = await told.env.start(traced_survivor())
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "stuck\n"
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        assert process.stdout is not None
        process.stdout.close()
    async with told.env.worker(traced_survivor, stuck_at_first, stuck_at_second):
        assert await handle.result(timeout=2 * PATIENCE) == 7
    start = told.one("StartWorkflow:traced_survivor")
    after = [told.one("RunWorkflow:traced_survivor"), told.one("RunActivity:stuck_at_second")]
    after += [told.one("RunActivity:stuck_at_first"), *told.named("WorkflowTask:traced_survivor")]
    assert {(trace_of(span), parent_of(span)) for span in after} == {(trace_of(start), id_of(start))}


@workflow.defn
async def traced_places() -> list[str]:
    return [await seen_in_thread(), await seen_in_process()]


async def test_a_function_in_a_process_of_a_pool_has_the_context(store_url: str) -> None:
    exporter = InMemorySpanExporter()
    async with Client.connect(store_url, tracing=Tracing(provider_with(exporter))) as client:
        env = Env(client, 1000)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool, spawn.Manager() as manager:
            shared = SharedStateManager.create_from_multiprocessing(manager)
            options = {"activity_executor": pool, "shared_state_manager": shared}
            async with env.worker(traced_places, seen_in_thread, seen_in_process, **options):
                token = context.attach(baggage.set_baggage("tenant", "south"))
                handle = await env.start(traced_places())
                context.detach(token)
                found = await handle.result(timeout=2 * PATIENCE)
    (start,) = [one for one in exporter.get_finished_spans() if one.name.startswith("StartWorkflow")]
    assert found == [f"south {trace.format_trace_id(trace_of(start))}"] * 2


async def test_without_spans(store_url: str) -> None:
    """Nothing is in any header, and nothing is changed, for a client that wants no traces."""
    exporter = InMemorySpanExporter()
    provider = provider_with(exporter)
    async with Client.connect(store_url, tracing=False) as client:
        env = Env(client, 1000)
        with provider.get_tracer("shop").start_as_current_span("request"):
            assert await env.run(traced_child("x"), traced_child, seen)
        (handle, _), *_ = env.handles
        events = (await handle.fetch_history()).events
    assert all(not getattr(event.data, "headers", {}) for event in events)
    assert [span.name for span in exporter.get_finished_spans()] == ["request"]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: Tracing(trace_max_age=0), "trace_max_age"),
        (lambda: Tracing(attribute_aliases="datadog"), "attribute_aliases"),  # type: ignore[arg-type]
        (lambda: Client.connect("sqlite://:memory:", tracing="yes"), "durable.telemetry.Tracing"),  # type: ignore[arg-type]
    ],
)
async def test_what_is_no_option(wrong: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError), match=text):
        await wrong()


class Broken(SpanProcessor):
    """Raises over spans of workflows, as a processor of a program's own may."""

    def on_end(self, span: ReadableSpan) -> None:
        if "Workflow" in span.name and not span.name.startswith("StartWorkflow"):
            raise RuntimeError("no room")


async def test_a_span_processor_that_raises_blocks_nothing(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    async with Client.connect(store_url, tracing=Tracing(provider)) as client:
        assert await Env(client, 1000).run(traced_child("x"), traced_child, seen)
    assert "the spans of a task could not be made" in caplog.text
    assert "the span of a run could not be made" in caplog.text


@pytest.mark.parametrize(
    "header",
    [b"", b"no json", b"[1]", b'{"traceparent": 7}', b'{"traceparent": "00-1-2-3", "at": "-1", "link": "x"}'],
)
async def test_a_header_that_is_no_context(store_url: str, header: bytes) -> None:
    class Wrong(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return WrongHeader(next)

    class WrongHeader(OutboundInterceptor):
        async def start_workflow(self, input: StartWorkflowInput) -> Any:
            input.headers = {"_tracer-data": Payload(header)}
            return await super().start_workflow(input)

    exporter = InMemorySpanExporter()
    tracing = Tracing(provider_with(exporter))
    async with Client.connect(store_url, tracing=tracing, interceptors=[Wrong()]) as client:
        assert await Env(client, 1000).run(traced_child("x"), traced_child, seen)
    assert {"RunWorkflow:traced_child", "RunActivity:seen"} <= {
        one.name for one in exporter.get_finished_spans()
    }


async def test_names_that_temporal_has(store_url: str) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(provider_with(exporter), attribute_aliases="temporal")
    async with Client.connect(store_url, interceptors=[tracing]) as client:
        assert client.tracing is tracing
        env = Env(client, 1000)
        assert await env.run(traced_child("x"), traced_child, seen)
        (handle, _), *_ = env.handles
    (ran,) = [one for one in exporter.get_finished_spans() if one.name == "RunActivity:seen"]
    assert about(ran)["temporalWorkflowID"] == handle.id
    assert about(ran)["temporalActivityID"] == about(ran)["durable.activity.id"]


@pytest.mark.parametrize("by_worker", [True, False], ids=["worker", "client"])
async def test_a_scheduled_run_begins_a_trace_that_is_linked_to_its_schedule(
    told: Told, by_worker: bool
) -> None:
    client = told.env.client
    action = ScheduleActionStartWorkflow(traced_child("scheduled"), id="by-schedule", task_queue="default")
    every = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1 if by_worker else 3600))])
    async with told.env.worker(traced_child, seen):
        with told.provider.get_tracer("app").start_as_current_span("request"):
            handle = await client.create_schedule("nightly", Schedule(action=action, spec=every))
            if not by_worker:
                await handle.trigger()
        assert action.headers is None, "the caller's own object is left alone"
        async with asyncio.timeout(PATIENCE):
            while not told.named("RunWorkflow:traced_child"):
                await asyncio.sleep(0.01)
        await handle.delete()
    made, ran, start = (
        told.one("CreateSchedule"),
        told.named("RunWorkflow:traced_child")[0],
        told.named("StartWorkflow:traced_child")[0],
    )
    assert parent_of(made) == id_of(told.one("request"))
    assert (parent_of(start), links(start)) == (None, {id_of(made)})
    assert trace_of(start) != trace_of(made)
    assert about(start)["durable.schedule.id"] == "nightly"
    assert about(start)["durable.workflow.run_id"] == about(ran)["durable.workflow.run_id"]
    of_run = [span for span in told.spans if trace_of(span) == trace_of(start)]
    assert {span.name for span in of_run} >= {"WorkflowTask:traced_child", "RunActivity:seen"}
    assert {parent_of(span) for span in of_run} == {None, id_of(start)}
    started = [about(span)["durable.workflow.run_id"] for span in told.named("StartWorkflow:traced_child")]
    assert len(started) == len(set(started)), "one span for each run, whoever else looked at the schedule"
