"""Workflows in all of asyncio's and anyio's forms, and the messages that drive each: recorded once, replayed for ever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio

from durable import ActivityCancellationType, RetryPolicy, Signal, activity, workflow
from durable.common import SearchAttributeKey
from durable.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError
from durable.workflow import ChildWorkflowCancellationType

poke = Signal("poke", str)
WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED


@activity.defn(name="golden_double")
async def double(x: int) -> int:
    return 2 * x


@activity.defn(name="golden_echo")
async def echo(text: str) -> str:
    return text


@activity.defn(name="golden_slow")
async def slow(x: int) -> int:
    await asyncio.sleep(0.02 * x)
    return x


@activity.defn(name="golden_hang")
async def hang() -> None:
    await asyncio.sleep(60)


@activity.defn(name="golden_fail", retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=0.01))
async def fail(text: str) -> None:
    raise ApplicationError(text, type="Planned")


@workflow.defn(name="golden_gather")
async def gather_(n: int) -> list[int]:
    return list(await asyncio.gather(*[double(i) for i in range(n)]))


@workflow.defn(name="golden_wait")
async def wait_(n: int) -> list[int]:
    pending = {asyncio.ensure_future(slow(n - i)) for i in range(n)}
    order: list[int] = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        order.extend(task.result() for task in done)
    return order


@workflow.defn(name="golden_wait_for")
async def wait_for_() -> list[str]:
    out: list[str] = []
    out.append(str(await asyncio.wait_for(double(4), 30)))
    try:
        await asyncio.wait_for(hang(), 0.05)
    except TimeoutError:
        out.append("timeout")
    try:
        async with asyncio.timeout(0.05):
            await asyncio.sleep(60)
    except TimeoutError:
        out.append("timeout")
    return out


@workflow.defn(name="golden_task_group")
async def task_group() -> str:
    async def child(n: int) -> int:
        await asyncio.sleep(n * 0.01)
        if n == 3:
            raise ApplicationError("three")
        return await slow(n)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(n)) for n in range(6)]
    except ExceptionGroup as errors:
        return f"{len(errors.exceptions)} {[task.cancelled() for task in tasks]}"
    return "none"


@workflow.defn(name="golden_queue_event")
async def queue_event() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    ready = asyncio.Event()
    out: list[int] = []

    async def produce() -> None:
        await ready.wait()
        for i in range(5):
            await queue.put(await double(i))
        await queue.put(-1)

    async def consume() -> None:
        while (item := await queue.get()) >= 0:
            out.append(item)

    tasks = [asyncio.create_task(produce()), asyncio.create_task(consume())]
    await asyncio.sleep(0.01)
    ready.set()
    await asyncio.gather(*tasks)
    return out


@workflow.defn(name="golden_shield_as_completed")
async def shield_as_completed() -> list[int]:
    inner = asyncio.ensure_future(double(21))
    try:
        await asyncio.wait_for(asyncio.shield(inner), 0.0001)
    except TimeoutError:
        pass
    out = [await inner]
    for task in asyncio.as_completed([slow(3), slow(1), slow(2)]):
        out.append(await task)
    return out


@workflow.defn(name="golden_anyio")
async def with_anyio() -> list[Any]:
    out: list[Any] = []

    async def worker(n: int, send: Any) -> None:
        async with send:
            await send.send(await double(n))

    send, receive = anyio.create_memory_object_stream[int](10)
    async with anyio.create_task_group() as group:
        for n in range(4):
            group.start_soon(worker, n, send.clone())
        send.close()
        async with receive:
            async for value in receive:
                out.append(value)
    with anyio.move_on_after(0.03) as scope:
        await hang()
    out.append(scope.cancelled_caught)
    try:
        with anyio.fail_after(0.03):
            await anyio.sleep(60)
    except TimeoutError:
        out.append("failed after")
    event = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(event.wait)
        await anyio.sleep(0.01)
        event.set()
    async with anyio.create_task_group() as group:
        for n in range(5):
            group.start_soon(hang_in_scope, n, out)
        await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    return out


async def hang_in_scope(n: int, out: list[Any]) -> None:
    try:
        await hang()
    finally:
        out.append(n)


@workflow.defn(name="golden_messages")
class Messages:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self, n: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.seen) >= n)
        self.seen.append(str(workflow.uuid4()))
        self.seen.append(f"{workflow.random().random():.12f}")
        return self.seen

    @workflow.signal
    async def add(self, text: str) -> None:
        await double(len(text))
        self.seen.append(text)


@workflow.defn(name="golden_updates")
class Updates:
    """Updates that are refused, fail, await an activity, and come over the end; two in a task."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self, n: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.seen) >= n)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return [*self.seen, str(workflow.uuid4()), str(len(asyncio.all_tasks()))]

    @workflow.update
    async def add(self, text: str) -> str:
        self.seen.append(text)
        await double(len(text))
        order = {asyncio.ensure_future(asyncio.sleep(0)) for _ in range(5)}
        await asyncio.wait(order)
        return f"{len(self.seen)} {workflow.uuid4()}"

    @add.validator
    def _short(self, text: str) -> None:
        if len(text) > 3:
            raise ValueError("too long")

    @workflow.update
    def fail(self, text: str) -> None:
        self.seen.append(text)
        raise ApplicationError(text)


@workflow.defn(name="golden_receive")
async def receive(n: int) -> list[str]:
    out = [await poke.receive() for _ in range(n)]
    try:
        await poke.receive(timeout=0.03)
    except TimeoutError:
        out.append("nobody")
    return out


@workflow.defn(name="golden_cancel")
async def cancel() -> str:
    try:
        await asyncio.gather(hang(), asyncio.sleep(60), slow(1))
    except asyncio.CancelledError:
        await double(1)
        raise
    return "not cancelled"


@workflow.defn(name="golden_cancel_scopes")
async def cancel_scopes() -> list[Any]:
    out: list[Any] = [workflow.cancellation_reason()]
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(workflow.execute_activity(hang, cancellation_type=WAIT))
            group.create_task(workflow.sleep(60, summary="outer"))
            async with asyncio.TaskGroup() as inner:
                inner.create_task(asyncio.wait_for(asyncio.sleep(60), 50))
                inner.create_task(anyio.sleep(60))
    except asyncio.CancelledError:
        out.append(workflow.cancellation_reason())
        out.append(await asyncio.shield(asyncio.ensure_future(slow(1))))
    for millis in (3, 7, 10):
        with anyio.move_on_after(millis / 1000) as scope:
            await hang()
        out.append(scope.cancelled_caught)
    unsent = workflow.start_activity(hang)
    unsent.cancel()
    try:
        await unsent
    except asyncio.CancelledError:
        out.append(await double(4))
    return out


@workflow.defn(name="golden_chance")
async def chance() -> list[Any]:
    own = workflow.new_random()
    out: list[Any] = [str(workflow.uuid7()), str(workflow.uuid4()), await double(own.randrange(100))]
    await workflow.sleep(workflow.random().randrange(1, 9) / 1000, summary="by chance")
    out += [str(workflow.uuid7()), workflow.new_random().randrange(100), workflow.random_seed()]
    out.append(await double(own.randrange(100)))
    return out


@workflow.defn(name="golden_failures")
async def failures() -> list[str]:
    out: list[str] = []
    try:
        await fail("planned")
    except ActivityError as error:
        out.append(repr(error.cause))
    async with workflow.saga() as saga:
        saga.compensate(double, 7)
        await double(1)
    return out


@workflow.defn(name="golden_continue")
async def continue_(n: int) -> list[Any]:
    about = workflow.info()
    if n == 0 and await poke.receive() and await double(1):
        await workflow.sleep(0.01)
        workflow.continue_as_new(1)
    last = await poke.receive()
    return [
        last,
        about.attempt,
        about.continued_run_id is None,
        workflow.has_last_failure(),
        str(workflow.uuid4()),
    ]


@workflow.defn(name="golden_child")
async def golden_child(n: int) -> int:
    return await double(n)


@workflow.defn(name="golden_listener")
async def golden_listener() -> str:
    return await poke.receive()


@workflow.defn(name="golden_children")
async def children() -> list[Any]:
    """Children that return, fail, collide, are signalled, and are cancelled in each way; and nobody."""
    out: list[Any] = list(await asyncio.gather(golden_child(1), golden_child(2)))
    listener = await golden_listener.options(id=f"{workflow.info().workflow_id}-listener").start()
    try:
        await golden_listener.options(id=listener.id).start()
    except WorkflowAlreadyStartedError:
        out.append("taken")
    await listener.signal(poke("heard"))
    out.append(await listener)
    for kind in ChildWorkflowCancellationType:
        try:
            async with asyncio.timeout(0.02):
                await golden_listener.options(cancellation_type=kind)()
        except TimeoutError:
            out.append(kind.name)
    with anyio.move_on_after(0.02) as scope:
        await golden_listener()
    out.append(scope.cancelled_caught)
    try:
        await workflow.get_external_workflow_handle("golden nobody").cancel()
    except ApplicationError as error:
        out.append(error.type)
    out.append(str(workflow.uuid4()))
    return out


@workflow.defn(name="golden_patched")
class Patched:
    """Patches in the workflow function, in tasks, in a loop and in handlers; one that is deprecated, one with a timer."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self, n: int) -> list[str]:
        workflow.deprecate_patch("golden old")
        for number in range(n):
            if workflow.patched(f"golden {number % 2}"):
                self.seen.append(str(await double(number)))

        async def one(number: int) -> bool:
            await asyncio.sleep(0.005 * number)
            return workflow.patched(f"golden task {number % 2}")

        self.seen += [str(found) for found in await asyncio.gather(*[one(number) for number in range(n)])]
        await workflow.wait_condition(lambda: len(self.seen) >= 2 * n + 2)
        return [*self.seen, str(workflow.uuid4())]

    @workflow.signal
    async def told(self, text: str) -> None:
        self.seen.append(f"{text} {workflow.patched('golden signal')}")
        await double(1)

    @workflow.update
    def asked(self, text: str) -> bool:
        found = workflow.patched("golden update")
        self.seen.append(text)
        return found


@dataclass(frozen=True)
class Program:
    """One recorded workflow: how it is started, and what is sent to it."""

    name: str
    start: Callable[[], Any]
    signals: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    cancel: bool = False
    updates: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


@workflow.defn(name="golden.upserts")
async def upserts() -> list[Any]:
    region = SearchAttributeKey.for_keyword("GoldenRegion")
    workflow.upsert_search_attributes([region.value_set("EU")])
    workflow.upsert_memo({"step": 1})
    await workflow.sleep(0.001)
    workflow.upsert_search_attributes([region.value_unset()])
    workflow.upsert_memo({"step": None, "done": True})
    return [dict(workflow.memo()), len(workflow.info().typed_search_attributes)]


@activity.defn(name="golden_unsteady")
async def unsteady(succeeds: int) -> int:
    if activity.info().attempt < succeeds:
        raise ApplicationError(f"attempt {activity.info().attempt}")
    return succeeds


@workflow.defn(name="golden_local")
async def local_activities() -> list[Any]:
    """Of several one that is tried again in memory, one that waits behind a timer, one that is cancelled, and their order."""
    quick = RetryPolicy(initial_interval=0.001, backoff_coefficient=1.0)
    order: list[int] = []

    async def run(succeeds: int, threshold: float) -> None:
        order.append(
            await workflow.execute_local_activity(
                unsteady, succeeds, retry_policy=quick, local_retry_threshold=threshold
            )
        )

    await asyncio.gather(run(3, 60), run(1, 60), run(2, 0), run(4, 0))
    late = workflow.start_local_activity(slow, 100)
    await workflow.sleep(0.001)
    late.cancel()
    waits = workflow.start_local_activity(
        unsteady, 9, retry_policy=RetryPolicy(initial_interval=9), local_retry_threshold=0
    )
    await workflow.sleep(0.02)
    waits.cancel()
    return [order, late.cancelled(), waits.cancelled(), str(workflow.uuid4())]


@workflow.defn(name="golden.conditions")
class Conditions:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        """Conditions that hold already let others run first, a handler that is cancelled for example."""
        with contextlib.suppress(ApplicationError):
            await workflow.wait_condition(self.broken)
        for timeout in (None, 60, 0):
            task = asyncio.create_task(self.beside(f"beside {timeout}"))
            await workflow.wait_condition(lambda: True, timeout=timeout)
            self.seen.append(f"behind {timeout}")
            await task
        await workflow.wait_condition(lambda: "to" in self.seen and workflow.all_handlers_finished())
        return self.seen

    async def beside(self, name: str) -> None:
        await asyncio.sleep(0)
        self.seen.append(name)
        await double(len(self.seen))

    def broken(self) -> bool:
        raise ApplicationError("on purpose")

    @workflow.signal
    async def tell(self, what: str) -> None:
        self.seen.append(await echo(what))


PROGRAMS = [
    Program("gather", lambda: gather_(5)),
    Program("wait", lambda: wait_(4)),
    Program("wait_for", lambda: wait_for_()),
    Program("task_group", lambda: task_group()),
    Program("queue_event", lambda: queue_event()),
    Program("shield_as_completed", lambda: shield_as_completed()),
    Program("anyio", lambda: with_anyio()),
    Program("messages", lambda: Messages.run(3), signals=[("add", "a"), ("add", "bb"), ("add", "ccc")]),
    Program(
        "updates",
        lambda: Updates.run(3),
        updates=[("add", "a"), ("add", "refused"), ("add", "b"), ("fail", "c"), ("nobody", "d")],
    ),
    Program("receive", lambda: receive(2), signals=[("poke", "one"), ("poke", "two")]),
    Program("cancel", lambda: cancel(), cancel=True),
    Program("cancel_scopes", lambda: cancel_scopes(), cancel=True),
    Program("chance", lambda: chance()),
    Program("failures", lambda: failures()),
    Program("continue", lambda: continue_(0), signals=[("poke", "one"), ("poke", "two")]),
    Program("children", lambda: children()),
    Program("patched", lambda: Patched.run(3), signals=[("told", "a")], updates=[("asked", "b")]),
    Program("upserts", lambda: upserts()),
    Program("local_activities", lambda: local_activities()),
    Program("conditions", lambda: Conditions.run(), signals=[("tell", "to")]),
]
