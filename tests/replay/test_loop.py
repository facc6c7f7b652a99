"""The loop by itself: time, timers, names, numbers, refusals, and what asyncio and anyio do on it."""

from __future__ import annotations

import asyncio
import contextvars
import math
import weakref
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

from durable._replay import _ordered
from tests.replay.loop_rig import Rig


@pytest.fixture(autouse=True)
def _put_away() -> Iterator[None]:
    yield
    Rig.put_away()


def inside(rig: Rig, function: Any) -> Any:
    async def main() -> Any:
        return function(asyncio.get_running_loop())

    return rig.start(main).result()


def test_time_is_the_hosts_and_stands_still_within_a_turn() -> None:
    rig = Rig()
    times: list[float] = []

    async def main() -> None:
        for _ in range(3):
            times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0)
        await asyncio.sleep(1.5)
        times.append(anyio.current_time())

    rig.finish(main)
    assert times == [0.0, 0.0, 0.0, 1.5]


@pytest.mark.parametrize(
    ("delay", "due"),
    [(1, 1000), (0.001, 1), (0.0001, 1), (0.0011, 2), (0.1 + 0.2, 300), (1e-9, None), (0, None), (-5, None)],
)
def test_delays_are_whole_milliseconds_rounded_up(delay: float, due: int | None) -> None:
    for now in (0, 7, 123_456_789):
        rig = Rig()
        rig.loop.now_ms = now
        handle = inside(rig, lambda loop: loop.call_later(delay, print))
        assert rig.seen == ([("start", str(now + due))] if due else [])
        assert handle.when() == (now + (due or 0)) / 1000


def test_call_at_finds_the_millisecond_it_computed() -> None:
    for now in (0, 1, 333, 86_400_001, 10**12 + 1):
        rig = Rig()
        rig.loop.now_ms = now
        inside(rig, lambda loop: loop.call_at(loop.time() + 0.001, print))
        assert rig.seen == [("start", str(now + 1))]


def test_infinite_delays_arm_nothing_and_nan_is_refused() -> None:
    for delay in (math.inf, 1e300):
        rig = Rig()
        handle = inside(rig, lambda loop, delay=delay: loop.call_later(delay, print))
        assert handle.when() == math.inf
        handle.cancel()
        assert rig.seen == []
    for call in ("call_later", "call_at"):
        with pytest.raises(ValueError, match="NaN"):
            inside(Rig(), lambda loop, call=call: getattr(loop, call)(math.nan, print))


def test_a_timer_tells_the_host_of_one_cancel_at_most_and_runs_once() -> None:
    rig, fired = Rig(), []
    first = inside(rig, lambda loop: loop.call_later(1, fired.append, 1))
    second = inside(rig, lambda loop: loop.call_later(2, fired.append, 2))
    second.cancel()
    second.cancel()
    rig.fire_next()
    first.cancel()
    assert fired == [1]
    assert rig.seen == [("start", "1000"), ("start", "2000"), ("cancel", "2000")]
    assert second.cancelled()


def test_a_timer_cancelled_between_firing_and_running_does_not_run() -> None:
    rig, fired = Rig(), []
    handles: list[Any] = []

    def arm(loop: Any) -> None:
        handles.append(loop.call_later(1, lambda: handles[1].cancel()))
        handles.append(loop.call_later(1, fired.append, 2))

    inside(rig, arm)
    rig.fire_next()
    assert fired == []
    assert len(rig.seen) == 2


def test_tasks_and_futures_are_named_and_numbered_by_the_run() -> None:
    async def nothing() -> None: ...

    async def main() -> list[Any]:
        loop: Any = asyncio.get_running_loop()
        made: list[Any] = [asyncio.create_task(nothing()), asyncio.create_task(nothing(), name="mine")]
        made += [
            asyncio.ensure_future(nothing()),
            loop.create_future(),
            loop.operation(9),
            asyncio.gather(*made),
        ]
        return [[t.get_name() for t in made[:3]], [hash(m) for m in made]]

    first, second, other = (Rig(salt).start(main).result() for salt in (5, 5, 6))
    assert first == second
    assert first[0] == ["Task-2", "mine", "Task-4"]
    assert first[1] == [(5 << 20) + n for n in (2, 3, 4, 1, 9, 2)]
    assert not set(first[1]) & set(other[1])


def test_tasks_keep_the_context_they_run_in() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def child() -> None:
        variable.set(2)

    async def main() -> Any:
        variable.set(1)
        given = contextvars.Context()
        tasks: list[Any] = [asyncio.create_task(child()), asyncio.create_task(child(), context=given)]
        await asyncio.gather(*tasks)
        assert tasks[1].context is given
        return [task.context[variable] for task in tasks], variable.get()

    assert Rig().start(main).result() == ([2, 2], 1)


def test_finished_tasks_are_let_go() -> None:
    rig = Rig()

    async def child() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        for _ in range(500):
            await asyncio.create_task(child())
        await asyncio.sleep(1)

    rig.start(main)
    length, task = 0, rig.loop.newest
    while task is not None:
        length, task = length + 1, task.older
    assert length <= 20


def test_what_the_loop_does_not_do_says_what_to_use_instead() -> None:
    rig, refused = Rig(), []
    for name in dir(asyncio.AbstractEventLoop):
        method = getattr(rig.loop, name)
        if name.startswith("_") or not str(method.__doc__).startswith("Raise RuntimeError:"):
            continue
        refused.append(name)
        with pytest.raises(RuntimeError, match=name) as caught:
            method()
        assert (
            type(caught.value) is RuntimeError
        )  # anyio takes NotImplementedError as a hint to start a thread
    assert len(refused) > 40
    for code in (
        lambda: asyncio.to_thread(print),
        lambda: asyncio.open_connection("localhost", 1),
        lambda: asyncio.create_subprocess_exec("true"),
        lambda: anyio.to_thread.run_sync(print),
        lambda: anyio.Path("/").exists(),
        lambda: anyio.connect_tcp("localhost", 1),
        lambda: anyio.run_process("true"),
    ):
        with pytest.raises(RuntimeError, match="activity"):
            Rig().start(code).result()


def test_threads_work_as_ever_outside_workflows() -> None:
    Rig()

    async def outside() -> int:
        return await anyio.to_thread.run_sync(lambda: 5)

    assert anyio.run(outside) == 5


def test_abandoned_things_are_notes_and_defects_are_reports() -> None:
    rig = Rig()

    async def fails() -> None:
        raise KeyError("lost")

    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a defect"})
        task = asyncio.create_task(fails())
        await asyncio.sleep(0)
        del task

    rig.start(main)
    rig.loop.prune()
    assert rig.reports == ["a defect"]
    assert [note.endswith("Task exception was never retrieved") for note in rig.notes] == [True]
    rig.loop.call_exception_handler({"message": "outside a turn"})
    assert rig.notes[1:] == ["outside a turn"]


def test_wait_for_is_the_same_function_and_works_outside() -> None:
    Rig()

    async def outside() -> str:
        try:
            await asyncio.wait_for(asyncio.sleep(60), 0.001)
        except TimeoutError:
            return await asyncio.wait_for(asyncio.sleep(0, "in time"), 5)
        return "?"

    assert asyncio.run(outside()) == "in time"
    assert asyncio.wait_for.__name__ == "wait_for"


def test_installation_refuses_a_library_that_moved_a_private_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ordered._State, "loop_type", None)
    monkeypatch.delattr(asyncio.tasks, "set", raising=False)
    monkeypatch.delattr(asyncio.taskgroups, "set", raising=False)
    monkeypatch.delattr(asyncio.tasks, "_GatheringFuture")
    with pytest.raises(RuntimeError, match=r"CPython 3\.\d+\.\d+.*_GatheringFuture"):
        Rig()
    monkeypatch.undo()
    monkeypatch.setattr(_ordered._State, "loop_type", None)
    monkeypatch.setattr(_ordered._State, "anyio", None)
    monkeypatch.delattr(asyncio.tasks, "set")
    monkeypatch.delattr(asyncio.taskgroups, "set")
    monkeypatch.delattr("anyio._backends._asyncio.CancelScope._deliver_cancellation")
    with pytest.raises(RuntimeError, match=r"anyio \d+\.\d+.*_deliver_cancellation"):
        Rig()


def test_a_loop_is_weakly_referenceable_and_has_no_dict_of_its_own() -> None:
    rig = Rig()
    assert weakref.ref(rig.loop)() is rig.loop
    assert not vars(rig.loop)
    assert not rig.loop.get_debug()


# ---- anyio


async def anyio_streams() -> list[Any]:
    send, receive = anyio.create_memory_object_stream[int](1)
    got: list[Any] = []

    async def consume() -> None:
        async with receive:
            async for item in receive:
                got.append(item)
                await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        async with send:
            for i in range(3):
                await send.send(i)
    return got


async def anyio_locks() -> list[Any]:
    lock, semaphore, limiter = anyio.Lock(), anyio.Semaphore(1), anyio.CapacityLimiter(1)
    event, condition, log = anyio.Event(), anyio.Condition(), []

    async def worker(i: int) -> None:
        await event.wait()
        async with lock, semaphore, limiter, condition:
            log.append(i)
            await anyio.sleep(1)
            condition.notify_all()

    async with anyio.create_task_group() as group:
        for i in range(3):
            group.start_soon(worker, i)
        await anyio.sleep(1)
        event.set()
    return log


async def anyio_deadlines() -> list[Any]:
    log: list[Any] = []
    with anyio.move_on_after(1) as outer:
        with anyio.move_on_after(5), anyio.CancelScope(shield=True):
            await anyio.sleep(2)
        log.append("shielded")
        await anyio.sleep(9)
    log.append(outer.cancelled_caught)
    try:
        with anyio.fail_after(1):
            await anyio.sleep_forever()
    except TimeoutError:
        log.append(anyio.current_time())
    return log


async def anyio_started() -> list[Any]:
    async def service(*, task_status: Any) -> None:
        await anyio.sleep(1)
        task_status.started("up")
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        value = await group.start(service)
        group.cancel_scope.cancel()
    return [value, anyio.current_time()]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (anyio_streams, [0, 1, 2]),
        (anyio_locks, [0, 1, 2]),
        (anyio_deadlines, ["shielded", True, 3.0]),
        (anyio_started, ["up", 1.0]),
    ],
)
def test_anyio_works_and_its_deadlines_are_timers(code: Any, expected: list[Any]) -> None:
    rig = Rig()
    assert rig.finish(code) == expected
    assert rig.seen
    assert not rig.timers
    assert not rig.reports
