"""Real workflow code in the engine's model world: random programs, cancelled at any instant, and a judge of their logs.

A program is a tree of asyncio's and anyio's constructs, drawn from a seed; `grow` draws one and `execute` is the workflow
that runs it. `RealCode` stands in the model world where its scripts stand: each activation is a turn of an `Instance`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from random import Random
from typing import Any, TypeAlias

import anyio

from durable import ActivityCancellationType, RetryPolicy, Signal, workflow
from durable._replay._instance import Instance
from durable._replay._turns import Turns
from durable.converter import default
from durable.exceptions import ApplicationError
from durable.history import (
    CLOSING,
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    CommandEvent,
    Event,
    Input,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
)
from durable.workflow._definition import WorkflowDefinition
from tests.engine.model import RUN, Code

Node: TypeAlias = tuple[Any, ...]

go = Signal("go", object)
MILLIS = (0.001, 0.005, 0.01, 0.02)
LEAVES = ("sleep", "timer", "activity", "activity", "begin and cancel", "condition", "receive")
BRANCHES = (
    "seq",
    "seq",
    "gather",
    "group",
    "anyio group",
    "timeout",
    "wait_for",
    "move_on",
    "shield",
    "anyio shield",
    "finally",
    "finally",
    "swallow",
    "catch",
    "cancel a task",
)


def grow(rng: Random, depth: int = 3) -> Node:
    """Draw a program."""
    if depth == 0 or rng.random() < 0.2:
        kind = rng.choice(LEAVES)
        return (
            kind,
            rng.choice(MILLIS),
            rng.choice(list(ActivityCancellationType)),
            rng.choice("ab"),
            rng.random() < 0.7,
        )
    kind = rng.choice(BRANCHES)
    count = rng.randint(2, 3) if kind in ("seq", "gather", "group", "anyio group", "finally") else 1
    return kind, rng.choice(MILLIS), rng.random() < 0.5, [grow(rng, depth - 1) for _ in range(count)]


class Program:
    """One program while it runs; its methods are its constructs."""

    def __init__(self) -> None:
        self.signals = 0

    async def run(self, node: Node) -> None:
        if node[0] in LEAVES:
            await self.leaf(*node)
        else:
            await self.branch(*node)

    async def leaf(
        self, kind: str, seconds: float, type: ActivityCancellationType, queue: str, eager: bool
    ) -> None:
        policy = RetryPolicy(maximum_attempts=2, initial_interval=0.001)
        options: Any = {
            "cancellation_type": type,
            "task_queue": queue,
            "eager": eager,
            "retry_policy": policy,
        }
        match kind:
            case "sleep":
                await asyncio.sleep(seconds)
            case "timer":
                await workflow.sleep(seconds)
            case "activity":
                await workflow.execute_activity("a", **options)
            case "begin and cancel":
                begun = workflow.start_activity("a", **options)
                if eager:
                    await asyncio.sleep(0)
                begun.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await begun
                await asyncio.sleep(seconds)  # its own cancel must not have taken the place of another one
            case "condition":
                wanted = self.signals + 1
                with contextlib.suppress(TimeoutError):
                    await workflow.wait_condition(lambda: self.signals >= wanted, timeout=seconds)
            case _:
                with contextlib.suppress(TimeoutError):
                    await go.receive(timeout=seconds)
                    self.signals += 1

    async def branch(self, kind: str, seconds: float, flag: bool, children: Sequence[Node]) -> None:
        first = children[0]
        match kind:
            case "seq":
                for child in children:
                    await self.run(child)
            case "gather":
                await asyncio.gather(*[self.run(child) for child in children], return_exceptions=flag)
            case "group":
                async with asyncio.TaskGroup() as group:
                    for child in children:
                        group.create_task(self.run(child))
            case "anyio group":
                async with anyio.create_task_group() as scoped:
                    for child in children:
                        scoped.start_soon(self.run, child)
                    if flag:
                        await anyio.sleep(seconds)
                        scoped.cancel_scope.cancel()
            case "timeout":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self.run(first)
            case "wait_for":
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.run(first), seconds)
            case "move_on":
                with anyio.move_on_after(seconds):
                    await self.run(first)
            case "shield":
                await self.shielded(asyncio.ensure_future(self.run(first)))
            case "anyio shield":
                with anyio.CancelScope(shield=True):
                    await self.run(first)
            case "finally":
                try:
                    await self.run(first)
                finally:
                    await self.run(children[1])
            case "swallow":
                try:
                    await self.run(first)
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    assert task is not None
                    if flag:
                        task.uncancel()
            case "catch":
                with contextlib.suppress(Exception):
                    await self.run(first)
            case _:
                await self.cancelled_after(seconds, first)

    async def shielded(self, inner: asyncio.Future[None]) -> None:
        try:
            await asyncio.shield(inner)
        except asyncio.CancelledError:
            await asyncio.wait([inner])
            raise

    async def cancelled_after(self, seconds: float, node: Node) -> None:
        task = asyncio.ensure_future(self.run(node))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()


def workflow_of(program: Node) -> WorkflowDefinition:
    """A workflow that runs this program."""

    async def random_program() -> str:
        try:
            await Program().run(program)
        except ExceptionGroup as errors:
            raise ApplicationError("several") from errors
        return "done"

    return workflow.defn(name="random_program")(random_program).definition


class RealCode(Code):
    """An instance in the place of a script; what the model calls its script is the workflow."""

    alive: list[Instance] = []  # noqa: RUF012

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.instance = Instance(script, RUN, default(), namespace="n", note=lambda text, error: None)
        self.alive.append(self.instance)

    @classmethod
    def put_away(cls) -> int:
        """Evict all there are; return how many tasks resisted."""
        resisted = 0
        while cls.alive:
            resisted += cls.alive.pop().evict()
        return resisted

    def activate(self, inputs: list[Event]) -> list[CommandEvent]:
        with Turns() as turns:
            commands = self.instance.activate(turns, inputs, replaying=False)
        if commands and isinstance(commands[-1], CLOSING):
            self.closing = commands[-1]
        return commands


def judge(events: Sequence[Event]) -> None:
    """What holds for the operations of any log: each is cancelled once at most, while it is open, and ends once."""
    open_: dict[int, str] = {}
    cancelled: set[int] = set()
    for event in events:
        data = event.data
        if isinstance(data, ActivityTaskScheduled | TimerStarted):
            assert data.id not in open_
            open_[data.id] = type(data).__name__
        elif isinstance(data, ActivityTaskCancelRequested):
            assert open_.get(data.id) == "ActivityTaskScheduled", f"{data} of what is not open"
            assert data.id not in cancelled, f"{data} twice"
            cancelled.add(data.id)
        elif isinstance(data, TimerCanceled | TimerFired):
            assert open_.pop(data.id) == "TimerStarted"
        elif isinstance(data, Input) and hasattr(data, "attempt") and hasattr(data, "id"):
            assert open_.pop(data.id) == "ActivityTaskScheduled"
    if events and isinstance(events[-1].data, WorkflowExecutionCanceled):
        assert any(isinstance(event.data, WorkflowExecutionCancelRequested) for event in events)
