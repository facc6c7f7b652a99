"""Runs that are more than a start and its end: scheduled, reset, continued, tried again, limited, versioned, ended from outside.

Each is lived by a function, which returns the run to record. See `programs` for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import durable.client
import durable.worker
from durable import ApplicationError, Client, RetryPolicy, Signal, Worker, workflow
from durable.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from durable.common import (
    CircuitBreaker,
    Concurrency,
    PinnedVersioningOverride,
    Priority,
    RawValue,
    VersioningBehavior,
    WorkerDeploymentVersion,
)
from durable.converter import default
from durable.exceptions import ActivityError, ChildWorkflowError
from durable.history import WorkflowTaskCompleted
from durable.worker import WorkerDeploymentConfig
from durable.workflow import DynamicWorkflowConfig
from tests.replay.programs import double, fail, golden_child, golden_listener, hang, poke, slow, unsteady

CONVERTER = default().payload_converter
PATIENCE = 30.0
Handle = WorkflowHandle[Any, Any]
once = Signal("once", str)


@dataclass(frozen=True)
class Lived:
    """A recorded run: who lives it, and the interceptors that its worker had."""

    name: str
    live: Callable[[Client], Awaitable[Handle]]
    interceptors: Sequence[Any] = ()


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """Poll until something is there: recording is done once, by hand."""
    while not (found := await look()):
        await asyncio.sleep(0.01)
    return found


def first(handle: Handle) -> Handle:
    """The run that was started, whatever it went on as."""
    return WorkflowHandle(handle._connection, handle.id, run_id=handle.result_run_id)


async def last(client: Client, handle: Handle) -> Handle:
    """The run of this id that is the newest by now."""
    told = await client.get_workflow_handle(handle.id).describe()
    return client.get_workflow_handle(handle.id, run_id=told.run_id)


async def ended(handle: Handle) -> None:
    try:
        await handle.result(timeout=PATIENCE)
    except WorkflowFailureError:
        pass


def serve(client: Client, *definitions: Any, **options: Any) -> Worker:
    activities = [double, fail, hang, slow, unsteady, *options.pop("activities", ())]
    return Worker(client, workflows=list(definitions), activities=activities, **options)


# ---------------------------------------------------------------- headers


def put(input: Any, name: str, value: str) -> Any:
    input.headers = {**input.headers, name: CONVERTER.to_payload(value)}
    return input


def got(headers: Any) -> list[str]:
    return [f"{name}={CONVERTER.from_payload(value)}" for name, value in sorted(headers.items())]


class Out(durable.client.OutboundInterceptor):
    async def start_workflow(self, input: durable.client.StartWorkflowInput) -> Any:
        return await super().start_workflow(put(input, "from", "start"))

    async def signal_workflow(self, input: durable.client.SignalWorkflowInput) -> None:
        await super().signal_workflow(put(input, "from", "signal"))

    async def start_workflow_update(self, input: durable.client.StartWorkflowUpdateInput) -> Any:
        return await super().start_workflow_update(put(input, "from", "update"))


class WorkflowIn(durable.worker.WorkflowInboundInterceptor):
    """What it finds in headers decides what the code is given."""

    def init(self, outbound: durable.worker.WorkflowOutboundInterceptor) -> None:
        super().init(WorkflowOut(outbound))

    async def handle_signal(self, input: durable.worker.HandleSignalInput) -> None:
        input.args = [input.args[0], *got(input.headers)]
        await super().handle_signal(input)

    async def handle_update_handler(self, input: durable.worker.HandleUpdateInput) -> Any:
        await double(len(got(input.headers)))
        return await super().handle_update_handler(input)


class WorkflowOut(durable.worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: durable.worker.StartActivityInput) -> Any:
        return super().start_activity(put(input, "to", input.activity))

    async def start_child_workflow(self, input: durable.worker.StartChildWorkflowInput) -> Any:
        return await super().start_child_workflow(put(input, "to", input.workflow))


class Tags(durable.client.Interceptor, durable.worker.Interceptor):
    def intercept_client(
        self, next: durable.client.OutboundInterceptor
    ) -> durable.client.OutboundInterceptor:
        return Out(next)

    def workflow_interceptor_class(
        self, input: durable.worker.WorkflowInterceptorClassInput
    ) -> type[durable.worker.WorkflowInboundInterceptor]:
        return WorkflowIn


@workflow.defn(name="golden_headers")
class Headers:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.seen) >= 3)
        count = await double(len(got(workflow.info().headers)))
        return [*self.seen, str(count), str(await golden_child(2)), str(workflow.uuid4())]

    @workflow.signal
    def tell(self, text: str, tag: str = "") -> None:
        self.seen += [text, tag]

    @workflow.update
    async def ask(self, text: str) -> str:
        self.seen.append(text)
        return text


async def headers(client: Client) -> Handle:
    async with serve(client, Headers, golden_child):
        handle = await client.start_workflow(Headers.run())
        await handle.signal(Headers.tell("a"))
        await handle.execute_update(Headers.ask("b"))
        await ended(handle)
    return first(handle)


# ---------------------------------------------------------------- started by others


@workflow.defn(name="golden_scheduled")
async def scheduled(n: int) -> list[str]:
    info = workflow.info()
    at, before = info.scheduled_start_time, info.previous_scheduled_start_time
    assert at is not None
    await workflow.sleep_until(at + timedelta(milliseconds=await double(n)))
    return [info.schedule_id or "", at.isoformat(), str(before), str(workflow.uuid4())]


async def by_schedule(client: Client) -> Handle:
    action = ScheduleActionStartWorkflow(scheduled(1), id="golden-tick")
    async with serve(client, scheduled):
        schedule = await client.create_schedule("golden", Schedule(action, ScheduleSpec()))
        await schedule.trigger()

        async def taken() -> Any:
            return (await schedule.describe()).info.recent_actions

        (told,) = await until(taken)
        assert isinstance(told.action, ScheduleActionExecutionStartWorkflow)
        handle = client.get_workflow_handle(told.action.workflow_id)
        await ended(handle)
        await schedule.delete()
    return await last(client, handle)


@workflow.defn(name="golden_cron")
async def cron(n: int) -> int:
    told = workflow.get_last_completion_result(int) if workflow.has_last_completion_result() else None
    return await double(n if told is None else told)


async def by_cron(client: Client) -> Handle:
    """The second run of a cron schedule, which has the result of the first."""
    async with serve(client, cron):
        handle = await client.start_workflow(cron(3), cron_schedule="@every 1s")
        runs = [first(handle)]
        while len(runs) < 3:
            newest = await last(client, handle)
            if newest.run_id != runs[-1].run_id:
                runs.append(newest)
            await asyncio.sleep(0.01)
        await handle.terminate()
    return runs[1]


@workflow.defn(name="golden_retried")
async def retried(n: int) -> list[str]:
    attempt = workflow.info().attempt
    if attempt < 3:
        await double(n)
        raise ApplicationError(f"attempt {attempt}")
    error = workflow.get_last_failure()
    return [str(attempt), str(error), str(await double(attempt))]


async def by_retry(client: Client) -> Handle:
    """The third attempt, which knows why the second one failed."""
    policy = RetryPolicy(initial_interval=0.001, maximum_attempts=3)
    async with serve(client, retried):
        handle = await client.start_workflow(retried(1), retry_policy=policy)
        await ended(handle)
    return await last(client, handle)


async def failed_attempt(client: Client) -> Handle:
    """The first attempt, which another one followed."""
    return first(await by_retry(client))


# ---------------------------------------------------------------- going on


@workflow.defn(name="golden_reset")
class Reset:
    """Steps with numbers, a child and an update before and behind the point that it is reset to."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        out = [str(await double(1)), str(workflow.uuid4()), str(await golden_child(1))]
        await workflow.wait_condition(lambda: len(self.seen) == 2)
        out += [str(await double(2)), str(workflow.uuid4()), str(await golden_child(2))]
        await workflow.sleep(workflow.random().randrange(1, 9) / 1000)
        return [*out, *self.seen, str(workflow.random_seed())]

    @workflow.update
    async def add(self, text: str) -> str:
        await double(len(text))
        self.seen.append(text)
        return f"{text} {workflow.uuid4()}"

    @workflow.signal
    def told(self, text: str) -> None:
        self.seen.append(text)


async def after_reset(client: Client) -> Handle:
    """A run that was reset twice: to the middle, and then to its last good task."""
    async with serve(client, Reset, golden_child):
        old = await client.start_workflow(Reset.run())
        await old.execute_update(Reset.add("a"))
        await old.signal(Reset.told("b"))
        await ended(old)
        rows = (await first(old).fetch_history()).events
        point = next(event.seq for event in rows if event.task == 4)
        new = await first(old).reset(event_id=point - 1, reason="the middle")
        await ended(new)
        again = await new.reset(to="last_good_task", reason="the end")
        await ended(again)
    return first(again)


@workflow.defn(name="golden_renews")
class Renews:
    """Goes on as a new run when it is told to, whatever updates are under way or on their way."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.enough = False

    @workflow.run
    async def run(self, kept: list[str]) -> list[str]:
        self.seen += kept
        await workflow.wait_condition(lambda: self.enough or len(self.seen) >= 4)
        if not kept:
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(self.seen)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return [*self.seen, str(workflow.uuid4())]

    @workflow.update
    async def add(self, text: str) -> int:
        await double(len(text))
        self.seen.append(text)
        return len(self.seen)

    @add.validator
    def _short(self, text: str) -> None:
        if len(text) > 3:
            raise ValueError("too long")

    @workflow.update
    async def renew(self, text: str) -> None:
        await double(1)
        if workflow.info().continued_run_id is None:
            workflow.continue_as_new([*self.seen, text])
        self.seen.append(text)

    @workflow.signal
    def stop(self, text: str) -> None:
        self.seen.append(text)
        self.enough = True


async def renewed(client: Client) -> Handle:
    async with serve(client, Renews):
        handle = await client.start_workflow(Renews.run([]))
        await handle.execute_update(Renews.add("a"))
        await handle.signal(Renews.stop("b"))

        async def goes_on() -> bool:
            return (await last(client, handle)).run_id != handle.result_run_id

        await until(goes_on)
        newest = client.get_workflow_handle(handle.id)
        await newest.execute_update(Renews.add("c"))
        await newest.signal(Renews.stop("d"))
        await ended(handle)
    return handle


async def before_it_continued(client: Client) -> Handle:
    return first(await renewed(client))


async def after_it_continued(client: Client) -> Handle:
    return await last(client, await renewed(client))


async def continued_by_an_update(client: Client) -> Handle:
    """A handler that continues as new."""
    async with serve(client, Renews):
        handle = await client.start_workflow(Renews.run([]))
        await handle.execute_update(Renews.add("a"))
        with contextlib.suppress(WorkflowUpdateFailedError):
            await handle.execute_update(Renews.renew("r"))
        newest = client.get_workflow_handle(handle.id)
        await newest.execute_update(Renews.add("b"))
        await newest.signal(Renews.stop("c"))
        await ended(handle)
    return first(handle)


# ---------------------------------------------------------------- options of what is called


@workflow.defn(name="golden_limited")
async def limited(n: int) -> list[Any]:
    """Keys, breakers and priorities of activities and of a child; one waits too long for its key."""
    key = Concurrency("golden", 1, weight=1)
    held = workflow.start_activity(hang, concurrency=key, priority=Priority(priority_key=1))
    out: list[Any] = []
    try:
        await workflow.execute_activity(
            double, n, concurrency=key, schedule_to_start_timeout=timedelta(milliseconds=30)
        )
    except ActivityError as error:
        out.append(str(error.cause))
    held.cancel()
    breaker = CircuitBreaker("golden", failure_threshold=5)
    out.append(await workflow.execute_activity(double, n, circuit_breaker=breaker))
    child = golden_child.options(
        concurrency=Concurrency("golden child", 1), priority=Priority(priority_key=5)
    )
    out.append(await child(n))
    return [*out, workflow.info().priority.priority_key]


async def under_limits(client: Client) -> Handle:
    async with serve(client, limited, golden_child):
        handle = await client.start_workflow(
            limited(2), concurrency=Concurrency("golden run", 2), priority=Priority(priority_key=2)
        )
        await ended(handle)
    return first(handle)


@workflow.defn(name="golden_local_backoff")
async def local_backoff() -> list[Any]:
    """Local activities whose waits are longer than a worker holds them: behind each the same deadline counts on."""
    policy = RetryPolicy(initial_interval=0.02, backoff_coefficient=2.0)
    out: list[Any] = []
    out.append(
        await workflow.execute_local_activity(
            unsteady,
            4,
            retry_policy=policy,
            local_retry_threshold=0.03,
            schedule_to_close_timeout=timedelta(seconds=60),
        )
    )
    try:
        await workflow.execute_local_activity(
            unsteady,
            9,
            retry_policy=policy,
            local_retry_threshold=0.01,
            schedule_to_close_timeout=timedelta(seconds=0.1),
        )
    except ActivityError as error:
        out.append(error.retry_state and error.retry_state.name)
    return [*out, str(workflow.uuid4())]


async def after_a_long_backoff(client: Client) -> Handle:
    async with serve(client, local_backoff):
        handle = await client.start_workflow(local_backoff())
        await ended(handle)
    return first(handle)


# ---------------------------------------------------------------- types that nobody has defined


QUEUE = "golden any"


@workflow.defn(dynamic=True, task_queue=QUEUE)
class Anything:
    """A run of any type, with handlers of any name, some of them set late."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.dynamic_config
    def config(self) -> DynamicWorkflowConfig:
        return DynamicWorkflowConfig(failure_exception_types=[LookupError])

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[str]:
        out = [workflow.info().workflow_type, str(await double(len(args)))]
        await workflow.wait_condition(lambda: len(self.seen) >= 2)

        async def late(text: str) -> None:
            self.seen.append(f"late {text} {await double(1)}")

        workflow.set_signal_handler("late", late)
        await workflow.wait_condition(lambda: len(self.seen) >= 3)
        out += self.seen
        return {"": out}[read(args[0])]

    @workflow.signal(dynamic=True)
    async def told(self, name: str, args: Sequence[RawValue]) -> None:
        self.seen.append(f"{name} {read(args[0])}")

    @workflow.update(dynamic=True)
    async def asked(self, name: str, args: Sequence[RawValue]) -> str:
        await double(len(args))
        self.seen.append(f"{name} {read(args[0])}")
        return name


def read(raw: RawValue) -> str:
    return workflow.payload_converter().from_payload(raw.payload, str)


async def of_any_type(client: Client) -> Handle:
    """One that fails with what its config lists."""
    async with serve(client, Anything, task_queue=QUEUE):
        handle = await client.start_workflow("golden_unheard_of", "no such key", task_queue=QUEUE)
        await handle.signal("one", "a")
        await handle.execute_update("two", "b")
        await handle.signal("late", "c")
        await ended(handle)
    return first(handle)


# ---------------------------------------------------------------- versions of workers


def version(build: str) -> WorkerDeploymentVersion:
    return WorkerDeploymentVersion("golden", build)


def serve_version(client: Client, build: str, *definitions: Any) -> Worker:
    config = WorkerDeploymentConfig(version(build), use_worker_versioning=True)
    return serve(client, *definitions, deployment_config=config)


async def ran(handle: Handle, build: str) -> None:
    """Wait until its history says that a build runs it."""

    async def look() -> bool:
        rows = (await handle.fetch_history()).events
        found = [
            one.data.worker_deployment_version for one in rows if isinstance(one.data, WorkflowTaskCompleted)
        ]
        return found[-1:] == [f"golden:{build}"]

    await until(look)


@workflow.defn(name="golden_upgraded", versioning_behavior=VersioningBehavior.AUTO_UPGRADE)
async def upgraded() -> list[str]:
    """What the code does depends on the build that runs it: a fact that is recorded."""
    out: list[str] = []
    while True:
        said = await once.receive()
        build = workflow.info().get_current_build_id()
        out.append(f"{said} {build} {await double(int(build))}")
        if said == "end":
            return [*out, str(workflow.patched("golden version"))]


async def moved_between_versions(client: Client) -> Handle:
    """Of version 1, of version 2 when that is current, and of version 1 again by an override."""
    deployment = client.get_worker_deployment("golden")
    async with serve_version(client, "1", upgraded), serve_version(client, "2", upgraded):
        await deployment.set_current_version("1")
        handle = await client.start_workflow(upgraded())
        await handle.signal(once("a"))
        await ran(handle, "1")
        await deployment.set_current_version("2")
        await until(lambda: free(handle))
        await handle.signal(once("b"))
        await ran(handle, "2")
        await handle.update_options(versioning_override=PinnedVersioningOverride(version("1")))
        await ran(handle, "1")
        await handle.signal(once("end"))
        await ended(handle)
    return first(handle)


async def free(handle: Handle) -> bool:
    return (await handle.describe()).owner is None


# ---------------------------------------------------------------- ends of others, and from outside


@workflow.defn(name="golden_fails")
async def fails(how: str) -> None:
    if how == "fail":
        raise ApplicationError("planned", type="Planned")
    await poke.receive()


@workflow.defn(name="golden_watches")
async def watches() -> list[Any]:
    """Children that end in every way, and workflows that are no children of it."""
    out: list[Any] = []
    me = workflow.info().workflow_id
    stopped = await fails.options(id=f"{me}-stopped").start("wait")
    cancelled = await fails.options(id=f"{me}-cancelled").start("wait")
    await workflow.get_external_workflow_handle(cancelled.id).cancel()
    for child in (
        fails("fail"),
        fails.options(run_timeout=0.03)("wait"),
        cancelled,
        stopped,
    ):
        try:
            await child
        except ChildWorkflowError as error:
            out.append(repr(error.cause))
    other = workflow.get_external_workflow_handle(f"{me}-other")
    await other.signal(poke("hello"))
    try:
        await workflow.get_external_workflow_handle("golden nobody").signal(poke("hello"))
    except ApplicationError as error:
        out.append(error.type)
    try:
        await workflow.execute_activity(
            hang, start_to_close_timeout=0.02, retry_policy=RetryPolicy(maximum_attempts=1)
        )
    except ActivityError as error:
        out.append(str(error.cause))
    return [*out, str(workflow.uuid4())]


async def ends_of_others(client: Client) -> Handle:
    async with serve(client, watches, fails, golden_listener):
        other = await client.start_workflow(golden_listener(), id="golden-w-other")
        handle = await client.start_workflow(watches(), id="golden-w")
        stopped = client.get_workflow_handle("golden-w-stopped")

        async def there() -> bool:
            return any([one.id == stopped.id async for one in client.list_workflows("")])

        await until(there)
        await stopped.terminate(reason="stopped")
        await ended(handle)
        await ended(other)
    return first(handle)


async def failed(client: Client) -> Handle:
    async with serve(client, fails):
        handle = await client.start_workflow(fails("fail"))
        await ended(handle)
    return first(handle)


@workflow.defn(name="golden_cut_off")
async def cut_off() -> None:
    await double(1)
    try:
        await asyncio.gather(hang(), asyncio.sleep(60), poke.receive())
    finally:
        await double(2)


async def terminated(client: Client) -> Handle:
    async with serve(client, cut_off):
        handle = await client.start_workflow(cut_off())

        async def hangs() -> bool:
            return any(
                one.activity_type == "golden_hang" for one in (await handle.describe()).pending_activities
            )

        await until(hangs)
        await handle.terminate("enough", reason="operator")
        await ended(handle)
    return first(handle)


async def timed_out(client: Client) -> Handle:
    async with serve(client, cut_off):
        handle = await client.start_workflow(cut_off(), run_timeout=0.2)
        await ended(handle)
    return first(handle)


RUNS = [
    Lived("headers", headers, interceptors=[Tags()]),
    Lived("scheduled", by_schedule),
    Lived("cron", by_cron),
    Lived("retried", by_retry),
    Lived("failed_attempt", failed_attempt),
    Lived("reset", after_reset),
    Lived("before_it_continued", before_it_continued),
    Lived("after_it_continued", after_it_continued),
    Lived("continued_by_an_update", continued_by_an_update),
    Lived("limited", under_limits),
    Lived("local_backoff", after_a_long_backoff),
    Lived("dynamic", of_any_type),
    Lived("versioned", moved_between_versions),
    Lived("ends_of_others", ends_of_others),
    Lived("failed", failed),
    Lived("terminated", terminated),
    Lived("timed_out", timed_out),
]
