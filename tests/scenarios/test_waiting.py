"""asyncio and anyio as workflow code uses them: what they do, what they record, and that it replays."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable import Signal, activity, workflow
from tests.scenarios.rig import PATIENCE, Env, events, fails, until

go: Signal[Any] = Signal[Any]("scn.waiting.go")


@activity.defn(name="scn.echo")
async def echo(value: Any, seconds: float = 0.0) -> Any:
    await asyncio.sleep(seconds)
    return value


ended: dict[str, int] = {}
"""The highest number that has ended, by run."""


@activity.defn(name="scn.in_turn")
async def in_turn(number: int) -> int:
    """End behind the number before this one, however long the machine takes to begin either."""
    run_id = activity.info().workflow_run_id or ""
    while ended.get(run_id, 0) < number - 1:
        await asyncio.sleep(0.001)
    ended[run_id] = max(number, ended.get(run_id, 0))
    return number


@activity.defn(name="scn.breaks", retry_policy=None)
async def breaks() -> None:
    from durable import ApplicationError

    raise ApplicationError("broken", non_retryable=True)


PATTERNS: dict[str, tuple[Any, Any]] = {}


def pattern(expected: Any) -> Any:
    """A workflow without arguments, and what it is to return."""

    def register(function: Any) -> Any:
        defined = workflow.defn(name=f"scn.wait.{function.__name__}")(function)
        PATTERNS[function.__name__] = (defined, expected)
        return defined

    return register


@pattern([1, 2, 3])
async def gather() -> Any:
    return await asyncio.gather(echo(1, 0.03), echo(2), echo(3, 0.01))


@pattern([1, "ActivityError", 3])
async def gather_with_exceptions() -> Any:
    found = await asyncio.gather(echo(1), breaks(), echo(3), return_exceptions=True)
    return [type(one).__name__ if isinstance(one, BaseException) else one for one in found]


@pattern(["fast", 1])
async def wait_first() -> Any:
    fast = asyncio.create_task(_echo("fast", 0), name="fast")
    slow = asyncio.create_task(_echo("slow", 30), name="slow")
    done, pending = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
    for one in pending:
        one.cancel()
    return [done.pop().result(), len(pending)]


@pattern(["late", "in time"])
async def wait_for() -> Any:
    found = []
    for seconds, limit in ((3600.0, 0.15), (0.0, 60.0)):
        try:
            found.append(await asyncio.wait_for(_echo("in time", seconds), limit))
        except TimeoutError:
            found.append("late")
    return found


@pattern(["timed out", True])
async def timeout() -> Any:
    try:
        async with asyncio.timeout(0.05) as scope:
            await asyncio.sleep(3600)
    except TimeoutError:
        return ["timed out", scope.expired()]


@pattern([2, 4, ["ActivityError"]])
async def task_group() -> Any:
    async with asyncio.TaskGroup() as group:
        two, four = group.create_task(_echo(2, 0)), group.create_task(_echo(4, 0.01))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_echo(1, 30))
            group.create_task(_breaks())
    except* Exception as errors:
        names = [type(one).__name__ for one in errors.exceptions]
    return [two.result(), four.result(), names]


@pattern([0, 1, 2, 3])
async def queue() -> Any:
    line: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

    async def produce() -> None:
        for i in range(4):
            await line.put(await echo(i))

    producer = asyncio.create_task(produce())
    got = [await line.get() for _ in range(4)]
    await producer
    return got


@pattern(["a", "b", "set"])
async def event_and_lock() -> Any:
    ready, lock, order = asyncio.Event(), asyncio.Lock(), []

    async def one(name: str) -> None:
        async with lock:
            await asyncio.sleep(0.01)
            order.append(name)

    async def waits() -> None:
        await ready.wait()
        order.append("set")

    waiter = asyncio.create_task(waits())
    await asyncio.gather(one("a"), one("b"))
    ready.set()
    await waiter
    return order


@pattern(["outer cancelled", "inner done"])
async def shield() -> Any:
    inner = asyncio.ensure_future(_echo("inner done", 0.05))
    outer = asyncio.create_task(_shielded(inner))
    await asyncio.sleep(0)
    outer.cancel()
    try:
        await outer
    except asyncio.CancelledError:
        return ["outer cancelled", await inner]


@pattern([1, 2, 3])
async def as_completed() -> Any:
    return [await one for one in asyncio.as_completed([_in_turn(3), _in_turn(1), _in_turn(2)])]


@pattern([1, 2, 3])
async def workflow_as_completed() -> Any:
    return [await one for one in workflow.as_completed([in_turn(3), in_turn(1), in_turn(2)])]


@pattern([0, 1, 4, 9, 16])
async def workflow_map() -> Any:
    return await workflow.map(_square, range(5), concurrency=2)


@pattern([[1], [2]])
async def workflow_wait() -> Any:
    done, pending = await workflow.wait([echo(1), echo(2, 30)], return_when="FIRST_COMPLETED")
    for one in pending:
        one.cancel()
    return [[one.result() for one in done], [2 for _ in pending]]


@pattern([True, "TimeoutError", True, "TimeoutError"])
async def wait_condition() -> Any:
    state: list[int] = []

    async def later() -> None:
        await asyncio.sleep(0.02)
        state.append(1)

    task = asyncio.create_task(later())
    found: list[Any] = []
    await workflow.wait_condition(lambda: bool(state))
    found.append(bool(state))
    for wait in (0.02, 0):
        try:
            await workflow.wait_condition(lambda: len(state) > 1, timeout=wait)
        except TimeoutError as error:
            found.append(type(error).__name__)
        if wait:
            await workflow.wait_condition(lambda: len(state) == 1, timeout=timedelta(seconds=60))
            found.append(True)
    await task
    return found


@pattern(["moved on", "failed after", 3])
async def anyio_scopes() -> Any:
    found: list[Any] = []
    with anyio.move_on_after(0.05) as scope:
        await anyio.sleep(3600)
    found.append("moved on" if scope.cancelled_caught else "?")
    try:
        with anyio.fail_after(0.05):
            await _echo("never", 30)
    except TimeoutError:
        found.append("failed after")
    with anyio.move_on_after(60):
        found.append(await _echo(3, 0))
    return found


@pattern([[1, 2, 3], "set", "cancelled"])
async def anyio_groups() -> Any:
    send, receive = anyio.create_memory_object_stream[int](1)
    ready = anyio.Event()
    got: list[int] = []
    end: list[str] = []

    async def produce() -> None:
        async with send:
            for i in (1, 2, 3):
                await send.send(await echo(i))

    async def consume() -> None:
        async with receive:
            async for item in receive:
                got.append(item)
        ready.set()

    async def forever() -> None:
        try:
            await anyio.sleep(3600)
        except asyncio.CancelledError:
            end.append("cancelled")
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        group.start_soon(consume)
        group.start_soon(forever)
        await ready.wait()
        group.cancel_scope.cancel()
    return [got, "set" if ready.is_set() else "?", *end]


@pattern(True)
async def time_and_chance() -> Any:
    first, then = workflow.now(), workflow.time()
    drawn = [workflow.random().random(), str(workflow.uuid4())]
    await asyncio.sleep(0.05)
    later = workflow.now()
    drawn2 = [workflow.random().random(), str(workflow.uuid4())]
    passed = (later - first).total_seconds()
    return math.isclose(then, first.timestamp(), abs_tol=0.001) and 0.05 <= passed < 3600 and drawn != drawn2


@pattern([3, 2, 1])
async def timers_fire_in_their_order() -> Any:
    found: list[int] = []

    async def after(seconds: float, value: int) -> None:
        await asyncio.sleep(seconds)
        found.append(value)

    await asyncio.gather(after(0.15, 1), after(0.1, 2), after(0.05, 3))
    return found


@pattern(["zero", "zero"])
async def sleeps_of_zero() -> Any:
    await asyncio.sleep(0)
    await workflow.sleep(0)
    return ["zero", await asyncio.sleep(0, "zero")]


@pattern(list(range(200)))
async def wide() -> Any:
    return await asyncio.gather(*[echo(i) for i in range(200)])


@pattern("inner")
async def activity_handles() -> Any:
    running = echo.start("inner")
    assert not running.done()
    return await running


async def _echo(value: Any, seconds: float) -> Any:
    if seconds >= 1:
        await asyncio.sleep(seconds)
        return value
    return await echo(value, seconds)


async def _breaks() -> None:
    await breaks()


async def _in_turn(number: int) -> int:
    return await in_turn(number)


async def _shielded(inner: Any) -> Any:
    return await asyncio.shield(inner)


@activity.defn(name="scn.square")
async def _square(x: int) -> int:
    return x * x


@pytest.mark.parametrize("name", PATTERNS)
async def test_pattern(env: Env, name: str) -> None:
    """Each is judged after it: its whole log is run again, with arguments compared, and asks for the very same."""
    flow, expected = PATTERNS[name]
    async with env.worker(flow, echo, in_turn, breaks, _square):
        handle = await env.start(flow())
        assert await handle.result(timeout=PATIENCE) == expected
    told = await events(handle)
    assert (told[0], told[-1]) == ("Started", "Completed")


async def test_a_wait_survives_its_workers(env: Env) -> None:
    """A TaskGroup half done, a timeout under way, a queue half empty: the next worker goes on exactly there."""

    @workflow.defn(name="scn.wait.survives")
    async def survives() -> Any:
        line: asyncio.Queue[Any] = asyncio.Queue()

        async def feed() -> None:
            async for value in go:
                await line.put(value)

        feeder = asyncio.create_task(feed())
        found = []
        async with asyncio.timeout(3600):
            found += [await line.get() for _ in range(3)]
        feeder.cancel()
        return found

    handle = await env.start(survives())
    for i in range(3):
        async with env.worker(survives):
            await handle.signal(go(i))

            async def read(i: int = i) -> bool:
                return (await events(handle)).count("Signaled") == i + 1

            await until("it is read", read)
    async with env.worker(survives):
        assert await handle.result(timeout=PATIENCE) == [0, 1, 2]


async def test_what_a_turn_must_not_do(env: Env) -> None:
    @workflow.defn(name="scn.wait.thread")
    async def thread() -> Any:
        try:
            await asyncio.to_thread(print, "no")
        except BaseException as error:
            return type(error).__name__
        return "ran"

    async with env.worker(thread):
        handle = await env.start(thread())
        found = await handle.result(timeout=PATIENCE)
    assert found != "ran"


async def test_an_exception_group_fails_the_run_only_if_all_members_do(env: Env) -> None:
    from durable import ApplicationError
    from tests.scenarios.rig import held

    @workflow.defn(name="scn.wait.group_fails")
    async def group_fails(bug: bool) -> None:
        raise ExceptionGroup(
            "several", [ApplicationError("one"), KeyError("x") if bug else TimeoutError("two")]
        )

    async with env.worker(group_fails):
        handle = await env.start(group_fails(False))
        cause = await fails(handle)
        assert "several" in str(cause)
        blocked = await env.start(group_fails(True))
        assert "KeyError" in await held(blocked)
        await blocked.terminate()
