"""Patterns: windows of children, polling in three ways, interpreters, shared resources, workers with a place of their own."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from durable import ActivityError, ApplicationError, RetryPolicy, activity, workflow
from durable.common import ParentClosePolicy
from tests.scenarios.rig import PATIENCE, Env, chain, event, events

SHORT = timedelta(seconds=10)
ACTIVITY = ["ActivityScheduled", "ActivityCompleted"]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


# ---------------------------------------------------------------- a sliding window of children


@activity.defn(name="pat.process")
async def process(record: int) -> int:
    await asyncio.sleep(0)
    return record * record


@workflow.defn(name="pat.record")
class RecordProcessor:
    """One record; it outlives the run of its parent that started it, and reports to whichever run is there then."""

    @workflow.run
    async def run(self, record: int) -> None:
        result = await workflow.execute_activity(process, record, start_to_close_timeout=SHORT)
        parent = workflow.info().parent
        assert parent is not None
        window = workflow.get_external_workflow_handle_for(SlidingWindow.run, parent.workflow_id)
        await window.signal(SlidingWindow.report, args=[record, result])


@dataclass
class Window:
    size: int
    page: int
    begin: int
    end: int
    sum: int = 0
    open: set[int] = field(default_factory=set[int])


@workflow.defn(name="pat.window")
class SlidingWindow:
    @workflow.init
    def __init__(self, input: Window) -> None:
        self.open = set(input.open)
        self.sum = input.sum
        self.early: set[int] = set()

    @workflow.run
    async def run(self, input: Window) -> int:
        position = input.begin
        for record in range(input.begin, min(input.begin + input.page, input.end)):
            await workflow.wait_condition(lambda: len(self.open) < input.size)
            await workflow.start_child_workflow(
                RecordProcessor.run,
                record,
                id=f"{workflow.info().workflow_id}/{record}",
                parent_close_policy=ParentClosePolicy.ABANDON,
            )
            if record not in self.early:
                self.open.add(record)
            position = record + 1
        if position < input.end:
            workflow.continue_as_new(Window(input.size, input.page, position, input.end, self.sum, self.open))
        await workflow.wait_condition(lambda: not self.open)
        return self.sum

    @workflow.signal
    def report(self, record: int, result: int) -> None:
        self.sum += result
        if record in self.open:
            self.open.discard(record)
        else:
            self.early.add(record)


@workflow.defn(name="pat.batch")
class Batch:
    """The records are shared out between several windows."""

    @workflow.run
    async def run(self, records: int, windows: int) -> int:
        share = -(-records // windows)
        return sum(
            await asyncio.gather(
                *[
                    workflow.execute_child_workflow(
                        SlidingWindow.run,
                        Window(size=3, page=5, begin=n * share, end=min((n + 1) * share, records)),
                        id=f"{workflow.info().workflow_id}/window-{n}",
                    )
                    for n in range(windows)
                ]
            )
        )


@pytest.mark.temporal("patterns/batch_sliding_window")
async def test_batch_sliding_window(env: Env) -> None:
    records = 24
    async with env.worker(Batch, SlidingWindow, RecordProcessor, process):
        handle = await env.start(Batch.run, records, 2, id="batch")
        assert await handle.result(timeout=PATIENCE) == sum(n * n for n in range(records))
    assert await events(handle) == [
        "Started",
        *["StartChildInitiated"] * 2,
        *["ChildStarted"] * 2,
        *["ChildCompleted"] * 2,
        "Completed",
    ]
    for window in range(2):
        first = await env.client.get_workflow_handle(f"batch/window-{window}").describe()
        begin = env.client.get_workflow_handle(f"batch/window-{window}", run_id=first.first_execution_run_id)
        runs = await chain(begin)
        assert len(runs) == 3, "twelve records, five a run"
        told = [kind for run in runs for kind in await events(run)]
        assert told.count("ChildStarted") == told.count("Signaled") == records // 2


# ---------------------------------------------------------------- a decorator of one's own


def auto_heartbeater(fn: F) -> F:
    """An activity that heartbeats by itself, twice in each heartbeat timeout, for as long as its function runs."""

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        timeout = activity.info().heartbeat_timeout
        beating = asyncio.create_task(beat(timeout.total_seconds() / 3)) if timeout else None
        try:
            return await fn(*args, **kwargs)
        finally:
            if beating:
                beating.cancel()
                await asyncio.wait([beating])

    async def beat(every: float) -> None:
        while True:
            await asyncio.sleep(every)
            activity.heartbeat("still here")

    return wrapper  # type: ignore[return-value]


@activity.defn(name="pat.long_work")
@auto_heartbeater
async def long_work(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return activity.info().attempt


@workflow.defn(name="pat.waits_long")
class WaitsLong:
    @workflow.run
    async def run(self, seconds: float) -> int:
        return await workflow.execute_activity(
            long_work, seconds, start_to_close_timeout=SHORT, heartbeat_timeout=timedelta(seconds=0.3)
        )


@pytest.mark.temporal("patterns/custom_decorator")
async def test_custom_decorator(env: Env) -> None:
    async with env.worker(WaitsLong, long_work):
        handle = await env.start(WaitsLong.run, 0.7)
        assert await handle.result(timeout=PATIENCE) == 1, "no heartbeat was missed"
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"]
    assert (await event(handle, "ActivityScheduled")).activity_type == "pat.long_work"


# ---------------------------------------------------------------- an interpreter


@dataclass
class Invocation:
    name: str
    arguments: list[str] = field(default_factory=list[str])
    result: str | None = None


@dataclass
class Sequence:
    elements: list[Statement]


@dataclass
class Parallel:
    branches: list[Statement]


@dataclass
class Statement:
    activity: Invocation | None = None
    sequence: Sequence | None = None
    parallel: Parallel | None = None


@dataclass
class Program:
    root: Statement
    variables: dict[str, Any] = field(default_factory=dict[str, Any])


@activity.defn(name="pat.dsl1")
async def dsl1(arg: str) -> str:
    return f"[result from dsl1: {arg}]"


@activity.defn(name="pat.dsl2")
async def dsl2(arg: str, other: str) -> str:
    return f"[result from dsl2: {arg} {other}]"


@workflow.defn(name="pat.dsl")
class Interpreter:
    @workflow.run
    async def run(self, program: Program) -> dict[str, Any]:
        self.variables = dict(program.variables)
        await self.execute(program.root)
        return self.variables

    async def execute(self, statement: Statement) -> None:
        if (call := statement.activity) is not None:
            result = await workflow.execute_activity(
                call.name,
                args=[self.variables.get(arg, "") for arg in call.arguments],
                start_to_close_timeout=SHORT,
            )
            if call.result:
                self.variables[call.result] = result
        elif statement.sequence is not None:
            for element in statement.sequence.elements:
                await self.execute(element)
        elif statement.parallel is not None:
            await asyncio.gather(*[self.execute(branch) for branch in statement.parallel.branches])


PROGRAM = Program(
    variables={"a": "value1", "b": "value2"},
    root=Statement(
        sequence=Sequence(
            [
                Statement(Invocation("pat.dsl1", ["a"], "r1")),
                Statement(
                    parallel=Parallel(
                        [
                            Statement(Invocation("pat.dsl1", ["b"], "r2")),
                            Statement(
                                sequence=Sequence(
                                    [
                                        Statement(Invocation("pat.dsl1", ["r1"], "r3")),
                                        Statement(Invocation("pat.dsl2", ["r1", "r3"], "r4")),
                                    ]
                                )
                            ),
                        ]
                    )
                ),
            ]
        )
    ),
)


@pytest.mark.temporal("patterns/dsl")
async def test_dsl(env: Env) -> None:
    async with env.worker(Interpreter, dsl1, dsl2):
        handle = await env.start(Interpreter.run, PROGRAM)
        got = await handle.result(timeout=PATIENCE)
    first = "[result from dsl1: value1]"
    assert got == {
        "a": "value1",
        "b": "value2",
        "r1": first,
        "r2": "[result from dsl1: value2]",
        "r3": f"[result from dsl1: {first}]",
        "r4": f"[result from dsl2: {first} [result from dsl1: {first}]]",
    }
    told = await events(handle)
    assert told[:5] == ["Started", *ACTIVITY, *["ActivityScheduled"] * 2], "the branches begin together"
    assert told.count("ActivityCompleted") == 4


# ---------------------------------------------------------------- polling


class Service:
    """A service that answers after so many questions."""

    def __init__(self, after: int) -> None:
        self.after, self.asked = after, 0

    def ask(self) -> str:
        self.asked += 1
        if self.asked < self.after:
            raise ConnectionError("come back later")
        return f"answer {self.asked}"


service = Service(1)


@activity.defn(name="pat.polls_often")
async def polls_often() -> str:
    """In a loop inside one attempt, with a heartbeat for each question."""
    while True:
        try:
            return service.ask()
        except ConnectionError:
            activity.heartbeat(service.asked)
        await asyncio.sleep(0.002)


@activity.defn(name="pat.asks_once")
async def asks_once() -> str:
    return service.ask()


@workflow.defn(name="pat.frequent")
class Frequent:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            polls_often, start_to_close_timeout=SHORT, heartbeat_timeout=timedelta(seconds=2)
        )


@workflow.defn(name="pat.infrequent")
class Infrequent:
    """The retry policy is what polls: at equal distances, for as long as it takes, without an event for each."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            asks_once,
            start_to_close_timeout=SHORT,
            retry_policy=RetryPolicy(backoff_coefficient=1.0, initial_interval=timedelta(seconds=0.02)),
        )


@workflow.defn(name="pat.polling_child")
class PollingChild:
    """Asks so many times, then continues as new, so that no history grows long; its parent does not notice."""

    @workflow.run
    async def run(self) -> str:
        for _ in range(4):
            try:
                return await workflow.execute_activity(
                    asks_once, start_to_close_timeout=SHORT, retry_policy=RetryPolicy(maximum_attempts=1)
                )
            except ActivityError:
                await asyncio.sleep(0.005)
        workflow.continue_as_new()


@workflow.defn(name="pat.periodic")
class Periodic:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(PollingChild.run, id="polling-child")


@pytest.fixture
def answers_at_the_tenth() -> None:
    service.after, service.asked = 10, 0


@pytest.mark.usefixtures("answers_at_the_tenth")
@pytest.mark.temporal("patterns/polling_frequent")
async def test_polling_frequent(env: Env) -> None:
    async with env.worker(Frequent, polls_often):
        handle = await env.start(Frequent.run)
        assert await handle.result(timeout=PATIENCE) == "answer 10"
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == 1


@pytest.mark.usefixtures("answers_at_the_tenth")
@pytest.mark.temporal("patterns/polling_infrequent")
async def test_polling_infrequent(env: Env) -> None:
    async with env.worker(Infrequent, asks_once):
        handle = await env.start(Infrequent.run)
        assert await handle.result(timeout=PATIENCE) == "answer 10"
    assert await events(handle) == ["Started", *ACTIVITY, "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == 10


@pytest.mark.usefixtures("answers_at_the_tenth")
@pytest.mark.temporal("patterns/polling_periodic_sequence")
async def test_polling_periodic_sequence(env: Env) -> None:
    async with env.worker(Periodic, PollingChild, asks_once):
        handle = await env.start(Periodic.run)
        assert await handle.result(timeout=PATIENCE) == "answer 10"
        child = env.client.get_workflow_handle("polling-child")
        last = await child.describe()
    assert await events(handle) == [
        "Started",
        "StartChildInitiated",
        "ChildStarted",
        "ChildCompleted",
        "Completed",
    ]
    assert await events(child) == [
        "Started", *["ActivityScheduled", "ActivityFailed", "TimerStarted", "TimerFired"], *ACTIVITY, "Completed"
    ]  # fmt: skip
    first = env.client.get_workflow_handle("polling-child", run_id=last.first_execution_run_id)
    assert (await events(first))[-1] == "ContinuedAsNew"
    assert (await events(first)).count("ActivityFailed") == 4


# ---------------------------------------------------------------- a pool of resources


@dataclass
class Request:
    requester: str


@dataclass
class Granted:
    resource: str


@workflow.defn(name="pat.pool")
class Pool:
    """Lends resources to workflows, in the order they ask in; it goes on as a new run without losing a loan."""

    @workflow.init
    def __init__(self, free: list[str], lent: dict[str, str], waiting: list[str]) -> None:
        self.free, self.lent, self.waiting = list(free), dict(lent), list(waiting)
        self.granted = 0
        self.closed = False

    @workflow.run
    async def run(self, free: list[str], lent: dict[str, str], waiting: list[str]) -> int:
        while True:
            await workflow.wait_condition(
                lambda: (
                    (self.closed and not self.lent) or self.granted >= 4 or bool(self.free and self.waiting)
                )
            )
            while self.free and self.waiting:
                requester, resource = self.waiting.pop(0), self.free.pop(0)
                self.lent[requester] = resource
                self.granted += 1
                await workflow.get_external_workflow_handle(requester).signal("granted", Granted(resource))
            if self.closed and not self.lent:
                return self.granted
            if self.granted >= 4:
                workflow.continue_as_new(args=[self.free, self.lent, self.waiting])

    @workflow.signal
    def acquire(self, request: Request) -> None:
        self.waiting.append(request.requester)

    @workflow.signal
    def release(self, request: Request) -> None:
        self.free.append(self.lent.pop(request.requester))

    @workflow.signal
    def close(self) -> None:
        self.closed = True


@activity.defn(name="pat.use")
async def use(resource: str, who: str) -> str:
    holders.setdefault(resource, []).append(who)
    assert len(holders[resource]) == 1, "two use it at once"
    await asyncio.sleep(0.002)
    holders[resource].remove(who)
    return resource


holders: dict[str, list[str]] = {}


@workflow.defn(name="pat.user")
class User:
    def __init__(self) -> None:
        self.resource: str | None = None

    @workflow.signal
    def granted(self, granted: Granted) -> None:
        self.resource = granted.resource

    @asynccontextmanager
    async def lease(self) -> AsyncGenerator[str]:
        pool = workflow.get_external_workflow_handle_for(Pool.run, "pool")
        me = Request(workflow.info().workflow_id)
        await pool.signal(Pool.acquire, me)
        await workflow.wait_condition(lambda: self.resource is not None, timeout=SHORT)
        assert self.resource is not None
        try:
            yield self.resource
        finally:
            await pool.signal(Pool.release, me)

    @workflow.run
    async def run(self, fails: bool) -> str:
        async with self.lease() as resource:
            if fails:
                raise ApplicationError("while it holds a resource")
            return await workflow.execute_activity(
                use, args=[resource, workflow.info().workflow_id], start_to_close_timeout=SHORT
            )


@pytest.mark.temporal("patterns/resource_pool", "signal/workflow_to_workflow")
async def test_resource_pool(env: Env) -> None:
    async with env.worker(Pool, User, use):
        pool = await env.start(Pool.run, ["one", "two"], {}, [], id="pool")
        users = [await env.start(User.run, n == 3, id=f"user-{n}") for n in range(9)]
        got = await asyncio.gather(*[user.result(timeout=PATIENCE) for user in users], return_exceptions=True)
        assert isinstance(got.pop(3), Exception)
        assert set(got) <= {"one", "two"}
        await env.client.get_workflow_handle("pool").signal(Pool.close)
        await pool.result(timeout=PATIENCE)
    runs = await chain(pool)
    assert len(runs) > 1, "the pool went on as new while users held its resources"
    told = [kind for run in runs for kind in await events(run)]
    assert told.count("SignalExternalInitiated") == told.count("ExternalSignaled") == 9
    assert told.count("Signaled") == 2 * 9 + 1


# ---------------------------------------------------------------- workers with a queue of their own


@pytest.mark.temporal("patterns/worker_specific_task_queues")
async def test_worker_specific_task_queues(env: Env, tmp_path: Path) -> None:
    """What one worker has on its disk is worked on by that worker, whichever it is."""

    @workflow.defn(name="pat.file")
    class Files:
        @workflow.run
        async def run(self) -> list[str]:
            queue = await workflow.execute_activity(
                "pat.queue", result_type=str, start_to_close_timeout=SHORT
            )
            path: str = await workflow.execute_activity(
                "pat.download", "https://example.com/file", task_queue=queue, start_to_close_timeout=SHORT
            )
            found: str = await workflow.execute_activity(
                "pat.read", path, task_queue=queue, start_to_close_timeout=SHORT
            )
            return [queue, found]

    def host(name: str) -> tuple[list[Any], str, Any]:
        own = f"host-{name}-{uuid4()}"
        disk = tmp_path / name
        disk.mkdir()

        @activity.defn(name="pat.queue")
        async def which_queue() -> str:
            return own

        @activity.defn(name="pat.download")
        def download(url: str) -> str:
            path = disk / f"file-{uuid4()}"  # one each: six runs may have their files here at once
            path.write_text(f"{url} on {name}")
            return str(path)

        @activity.defn(name="pat.read")
        def read(path: str) -> str:
            assert Path(path).is_relative_to(disk)
            return Path(path).read_text()

        return [download, read], own, which_queue

    (a, own_a, queue_a), (b, own_b, queue_b) = host("a"), host("b")
    async with (
        env.worker(Files, queue_a),
        env.worker(*a, task_queue=own_a),
        env.worker(Files, queue_b),
        env.worker(*b, task_queue=own_b),
    ):
        handles = [await env.start(Files.run) for _ in range(6)]
        for handle in handles:
            queue, found = await handle.result(timeout=PATIENCE)
            assert found.endswith({own_a: " on a", own_b: " on b"}[queue])
    for handle in handles:
        assert await events(handle) == ["Started", *ACTIVITY * 3, "Completed"]
        queues = [(await event(handle, "ActivityScheduled", n)).task_queue for n in range(3)]
        assert queues[0] == "default"
        assert queues[1] == queues[2] in (own_a, own_b)


# ---------------------------------------------------------------- workers in several processes


@activity.defn(name="pat.which_process")
def which_process(n: int) -> int:
    return os.getpid()


@workflow.defn(name="pat.spreads")
class Spreads:
    @workflow.run
    async def run(self, n: int) -> list[int]:
        return await asyncio.gather(
            *[
                workflow.execute_activity(which_process, i, task_queue="side", start_to_close_timeout=SHORT)
                for i in range(n)
            ]
        )


async def serve(url: str, queue: str) -> None:
    """A worker in a process of its own: `python -m tests.scenarios.samples.test_patterns URL QUEUE`."""
    from durable import Client, Worker

    async with Client.connect(url) as client:
        worker = Worker(
            client,
            task_queue=queue,
            workflows=[Spreads],
            activities=[which_process],
            max_concurrent_activities=2,
            poll_interval=0.1,
        )
        async with worker:
            print("ready", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@pytest.mark.temporal("patterns/worker_multiprocessing")
async def test_worker_multiprocessing(plain: Env, store_url: str) -> None:
    """Two processes for activities, one for workflows; this one only starts them and waits."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.scenarios.samples.test_patterns", store_url, queue,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for queue in ("default", "side", "side")
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
        handle = await plain.start(Spreads.run, 12)
        workers = await handle.result(timeout=PATIENCE)
        pids = [process.pid for process in processes]
        assert set(workers) <= set(pids[1:])
        assert len(workers) == 12
    finally:
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
        assert await asyncio.gather(*[process.wait() for process in processes]) == [0, 0, 0]
    told = await events(handle)
    assert told[:13] == ["Started", *["ActivityScheduled"] * 12]
    assert told[13:] == [*["ActivityCompleted"] * 12, "Completed"]


# ---------------------------------------------------------------- a start beside its worker


@pytest.mark.temporal("patterns/eager_wf_start", "eager_workflow/successful_start")
async def test_eager_wf_start(env: Env) -> None:
    """A start in the process of a worker that serves it is that worker's from the first moment: nobody claims it."""
    claims: list[Any] = []

    async def watched(claim: Any, *args: Any, **kwargs: Any) -> Any:
        found = await claim(*args, **kwargs)
        claims.extend(run.run_id for run in getattr(found, "runs", found))
        return found

    @workflow.defn(name="pat.eager")
    class Eager:
        @workflow.run
        async def run(self, name: str) -> str:
            return f"Hello, {name}!"

    async with env.worker(Eager):
        env.store.hooks["claim_runs"] = watched
        handle = await env.start(Eager.run, "Temporal")
        assert await handle.result(timeout=PATIENCE) == "Hello, Temporal!"
        assert handle.result_run_id not in claims
        env.store.hooks.clear()
    assert await events(handle) == ["Started", "Completed"]


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
