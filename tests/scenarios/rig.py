"""What scenarios are made with: workers with and without a cache, named conditions, and a store that can be held up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from durable import Client, Worker, Workflow
from durable.client import WorkflowHandle
from durable.history import CLOSING, FROM_OUTSIDE
from durable.testing.invariants import check_runs, read_snapshot
from tests.crash.judge import judge_history, judge_replay

PATIENCE = 30.0
"""Seconds after which a condition that did not come true is a failure. A poll of a minute does not come before."""


async def until(what: str, look: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """Wait until `look` (plain or async) answers something true, and return that; fail with `what` after a while."""
    end = time.monotonic() + patience
    pause = 0.002
    while True:
        answer = look()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience:g} s: {what}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.02)


Hook = Callable[..., Awaitable[Any]]


class StoreProxy:
    """A store some of whose methods go through a hook, `hook(method, *args)`."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.hooks: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        hook = self.hooks.get(name)
        return method if hook is None else lambda *args, **kwargs: hook(method, *args, **kwargs)


class Env:
    """A database with a client, a kind of worker, and a judge of all that was started in it."""

    def __init__(self, client: Client, cached: int) -> None:
        self.client = client
        self.cached = cached
        self.handles: list[tuple[Any, Any]] = []
        self.replays = True

    @property
    def store(self) -> StoreProxy:
        """The client's store, whose methods may be hooked."""
        found: Any = self.client.store
        assert isinstance(found, StoreProxy)
        return found

    def worker(self, *definitions: Any, client: Client | None = None, **options: Any) -> Worker:
        """A worker that serves these workflows and activities; both kinds in one list."""
        workflows = [one for one in definitions if _is_workflow(one)]
        activities = [one for one in definitions if not _is_workflow(one)]
        given: dict[str, Any] = {
            "max_cached_workflows": self.cached,
            "poll_interval": 0.1,
            "lease_duration": 1.5,
        }
        return Worker(client or self.client, workflows=workflows, activities=activities, **given | options)

    async def start(self, call: Any, *values: Any, **options: Any) -> WorkflowHandle[Any, Any]:
        handle = await self.client.start_workflow(call, *values, **options)
        self.handles.append((handle, getattr(call, "definition", None)))
        return handle

    async def run(self, call: Any, *definitions: Any, **options: Any) -> Any:
        """Start a workflow beside a worker that serves it, and return its result."""
        async with self.worker(*definitions):
            handle = await self.start(call, **options)
            return await handle.result(timeout=PATIENCE)

    async def judge(self) -> None:
        """Hold every run to what is always true of one, and the database to its invariants."""
        assert not check_runs(await read_snapshot(self.client.store))
        runs = [(run, definition) for handle, definition in self.handles for run in await chain(handle)]
        for handle, definition in runs:
            history = await handle.fetch_history()
            closed = isinstance(history.events[-1].data, CLOSING)
            judge_history(history.events, closed=closed)
            own = definition is not None and history.events[0].data.workflow_type == definition.name  # type: ignore[attr-defined]
            if closed and own and self.replays:
                if isinstance(history.events[-1].data, FROM_OUTSIDE):
                    continue  # cut off somewhere; what its code would have asked for next is not recorded
                judge_replay(definition, history.run_id, history.events)
            if closed:
                assert not await self.client.store.read_messages([history.run_id])
                assert not await self.client.store.read_activities(history.run_id)


def _is_workflow(one: Any) -> bool:
    return isinstance(one, type | Workflow)


async def chain(handle: WorkflowHandle[Any, Any]) -> list[WorkflowHandle[Any, Any]]:
    """Handles of all runs that follow each other, from the one that this handle's start made."""
    run_id = handle.first_execution_run_id or handle.result_run_id or handle.run_id
    if run_id is None:
        return [handle]
    found: list[WorkflowHandle[Any, Any]] = []
    while run_id:
        found.append(WorkflowHandle(handle._connection, handle.id, run_id=run_id))
        last = (await found[-1].fetch_history()).events[-1].data
        run_id = getattr(last, "new_run_id", "")
    return found


async def events(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The kinds of a run's events, in order, without what all of them begin with."""
    return [kind(event) for event in (await handle.fetch_history()).events]


def kind(event: Any) -> str:
    return type(event.data).__name__.replace("WorkflowExecution", "").replace("ActivityTask", "Activity")


async def event(handle: WorkflowHandle[Any, Any], name: str, number: int = 0) -> Any:
    """The facts of the run's `number`-th event of a kind."""
    found = [one.data for one in (await handle.fetch_history()).events if kind(one) == name]
    assert len(found) > number, f"{len(found)} events {name}: {await events(handle)}"
    return found[number]


async def reached(handle: WorkflowHandle[Any, Any], *names: str) -> None:
    """Wait until the run's history begins with these events."""

    async def look() -> bool:
        return (await events(handle))[: len(names)] == list(names)

    try:
        await until(f"the history begins with {', '.join(names)}", look)
    except AssertionError as error:
        raise AssertionError(f"{error}; it is {await events(handle)}") from None


async def held(handle: WorkflowHandle[Any, Any], hold: str = "blocked") -> str:
    """Wait until the run is held, and return the reason."""

    async def look() -> str:
        told = await handle.describe()
        return told.reason if told.hold == hold else ""

    reason: str = await until(f"the run is {hold}", look)
    return reason


async def fails(handle: WorkflowHandle[Any, Any]) -> BaseException:
    """Wait for the run to fail, and return why."""
    from durable import WorkflowFailureError

    try:
        result = await handle.result(timeout=PATIENCE)
    except WorkflowFailureError as error:
        cause = error.cause
        assert cause is not None
        return cause
    raise AssertionError(f"it did not fail, but returned {result!r}")


__all__: Sequence[str] = [
    "Env",
    "StoreProxy",
    "chain",
    "event",
    "events",
    "fails",
    "held",
    "kind",
    "reached",
    "until",
]
