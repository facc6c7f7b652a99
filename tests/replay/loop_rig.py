"""A host for one deterministic loop, and a script that prints traces under any interpreter.

As a script it needs the standard library only: `python loop_rig.py order` prints the order in which things happen in
every construct that could depend on memory addresses, `python loop_rig.py patterns` the schedule of asyncio's
primitives, pass by pass.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import types
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

if __name__ == "__main__":
    _package = types.ModuleType("durable")  # its __init__ needs what a bare interpreter does not have
    _package.__path__ = [str(Path(__file__).resolve().parents[2] / "durable")]
    sys.modules["durable"] = _package

from durable._replay._loop import DeterministicLoop
from durable._replay._teardown import evict
from durable._replay._turns import Turns


class Rig:
    """A run and its host: timers on a virtual clock, conditions, and all that was reported."""

    alive: ClassVar[list[Rig]] = []

    @classmethod
    def put_away(cls) -> None:
        """Evict all: a test that leaves runs parked must not leave their `finally` blocks to the collector."""
        while cls.alive:
            evict(cls.alive.pop().loop)

    def __init__(self, salt: int = 0xC0FFEE) -> None:
        self.loop = DeterministicLoop(self, salt=salt)
        self.alive.append(self)
        self.timers: dict[Any, int] = {}
        self.conditions: list[tuple[Callable[[], bool], asyncio.Future[Any]]] = []
        self.pending = 0
        self.seen: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.reports: list[str] = []

    def start_timer(self, when_ms: int, handle: Any) -> None:
        self.seen.append(("start", str(when_ms)))
        self.timers[handle] = when_ms

    def cancel_timer(self, handle: Any) -> None:
        self.seen.append(("cancel", str(self.timers.pop(handle))))

    def drained(self) -> bool:
        held = [(test, future) for test, future in self.conditions if not future.done() and test()]
        for _, future in held:
            self.loop.progress += 1
            future.set_result(None)
        return bool(held)

    def waiting(self) -> bool:
        return bool(self.timers or self.pending)

    def report(self, message: str, exception: BaseException | None) -> None:
        self.reports.append(message)

    def note(self, message: str, exception: BaseException | None) -> None:
        self.notes.append(message)

    async def wait_condition(self, test: Callable[[], bool]) -> None:
        future = self.loop.create_future()
        self.conditions.append((test, future))
        await future

    def turn(self, apply: Callable[[], Any] = lambda: None) -> None:
        with Turns() as turns:
            turns.run(self.loop, apply)

    def start(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        tasks: list[asyncio.Task[Any]] = []
        self.turn(lambda: tasks.append(self.loop.create_task(main())))
        return tasks[0]

    def fire_next(self) -> None:
        """Let time pass to the next timer: all that are due then become ready in one turn."""
        due = min(self.timers.values())

        def apply() -> None:
            self.loop.now_ms = max(due, self.loop.now_ms)
            for handle in [handle for handle, when in self.timers.items() if when == due]:
                del self.timers[handle]
                self.loop.fire(handle)

        self.turn(apply)

    def finish(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run `main` to its end on the virtual clock."""
        task = self.start(main)
        while not task.done():
            assert self.timers, "the run waits for nothing"
            self.fire_next()
        return task.result()


def clutter(objects: list[Any] = []) -> None:  # noqa: B006  # kept, so that addresses differ
    objects.append([bytearray(random.randrange(1, 400)) for _ in range(random.randrange(5))])


class Orders:
    """One method per construct; each returns the order that could depend on addresses."""

    N = 20

    def __init__(self) -> None:
        self.log: list[Any] = []

    async def sleeper(self, i: int) -> int:
        try:
            await asyncio.sleep(100)
        finally:
            self.log.append(i)
        return i

    def tasks(self) -> list[asyncio.Task[int]]:
        made: list[asyncio.Task[int]] = []
        for i in range(self.N):
            clutter()
            made.append(asyncio.create_task(self.sleeper(i)))
        return made

    async def wait_tasks(self) -> Any:
        tasks = self.tasks()
        done, _ = await asyncio.wait(tasks)
        return [tasks.index(t) for t in done]

    async def wait_raw(self) -> Any:
        futures: list[Any] = []
        for i in range(self.N):
            clutter()
            futures.append(asyncio.Future() if i % 2 else asyncio.gather(asyncio.sleep(0)))
        for future in futures[1::2]:
            future.set_result(None)
        done, _ = await asyncio.wait(futures)
        return [futures.index(f) for f in done]

    async def wait_pop(self) -> Any:
        tasks = self.tasks()
        done, pending = await asyncio.wait(tasks, timeout=1)
        both = done | pending
        return [tasks.index(both.pop()) for _ in range(len(both))]

    async def group_abort(self) -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                for i in range(self.N):
                    clutter()
                    group.create_task(self.sleeper(i))
                await asyncio.sleep(0)
                raise KeyError
        except* KeyError:
            pass
        return self.log

    async def completed(self) -> Any:
        coroutines = [self.sleeper(i) for i in range(self.N)]
        return [[await next_done for next_done in asyncio.as_completed(coroutines)], self.log]

    async def gather_set(self) -> Any:
        gathers: list[Any] = []
        for _ in range(self.N):
            clutter()
            gathers.append(asyncio.gather(asyncio.sleep(0)))
        order = [gathers.index(g) for g in set(gathers)]
        await asyncio.gather(*gathers)
        return order

    async def user_set(self) -> Any:
        tasks = self.tasks()
        order = [tasks.index(t) for t in set(tasks)] + [
            tasks.index(t) for t in asyncio.all_tasks() if t in tasks
        ]
        futures = [asyncio.get_running_loop().create_future() for _ in range(self.N)]
        order += [futures.index(f) for f in set(futures)]
        for task in set(tasks):
            task.cancel()
        await asyncio.wait(tasks)
        return [order, self.log]

    async def locks(self) -> Any:
        lock, semaphore, condition = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Condition()

        async def worker(i: int) -> None:
            async with semaphore, lock, condition:
                self.log.append(i)
                await asyncio.sleep(0)

        await asyncio.gather(*(worker(i) for i in range(self.N)))
        return self.log


def anyio_orders() -> type[Orders]:
    import anyio

    class AnyioOrders(Orders):
        async def group(self) -> Any:
            with anyio.move_on_after(1):
                async with anyio.create_task_group() as group:
                    for i in range(self.N):
                        clutter()
                        group.start_soon(self.sleeper, i)
            return self.log

        async def child_raises(self) -> Any:
            async def bad() -> None:
                await anyio.sleep(1)
                raise KeyError

            try:
                async with anyio.create_task_group() as group:
                    for i in range(self.N):
                        clutter()
                        group.start_soon(self.sleeper, i)
                    group.start_soon(bad)
            except* KeyError:
                pass
            return self.log

        async def nested(self) -> Any:
            async def inner(i: int) -> None:
                with anyio.CancelScope():
                    async with anyio.create_task_group() as group:
                        clutter()
                        group.start_soon(self.sleeper, 2 * i)
                        group.start_soon(self.sleeper, 2 * i + 1)

            async with anyio.create_task_group() as group:
                for i in range(self.N // 2):
                    group.start_soon(inner, i)
                await anyio.sleep(1)
                group.cancel_scope.cancel()
            return self.log

        async def started(self) -> Any:
            async def child(i: int, *, task_status: Any) -> None:
                task_status.started()
                await self.sleeper(i)

            async with anyio.create_task_group() as group:
                for i in range(self.N):
                    clutter()
                    await group.start(child, i)
                group.cancel_scope.cancel()
            return self.log

        async def stream_closed(self) -> Any:
            send, receive = anyio.create_memory_object_stream[int]()

            async def reader(i: int) -> None:
                try:
                    await receive.receive()
                except anyio.EndOfStream:
                    self.log.append(i)

            async with anyio.create_task_group() as group:
                for i in range(self.N):
                    clutter()
                    group.start_soon(reader, i)
                await anyio.sleep(1)
                await send.aclose()
            receive.close()
            return self.log

    return AnyioOrders


def order_traces() -> dict[str, Any]:
    kind = anyio_orders() if "anyio" in sys.argv else Orders
    names = [n for n in dir(kind) if not n.startswith("_") and n not in ("N", "sleeper", "tasks")]
    traces: dict[str, Any] = {}
    for name in names:
        clutter()
        rig, orders = Rig(), kind()
        traces[name] = rig.finish(getattr(orders, name))
    return traces


class Patterns:
    """Scheduling patterns; the log gets an entry for every observable step."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.log: list[str] = []

    def say(self, what: object) -> None:
        self.log.append(f"{self.rig.loop.now_ms} {what}")

    async def tick(self) -> None:
        """Count passes beside a pattern."""
        for i in range(12):
            self.say(f"tick {i}")
            await asyncio.sleep(0)

    async def child(self, name: str, seconds: float = 0) -> str:
        self.say(f"{name} begins")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.say(f"{name} cancelled")
            raise
        self.say(f"{name} ends")
        return name

    async def gather(self) -> None:
        self.say(await asyncio.gather(self.child("a"), self.child("b", 1), self.child("c")))

    async def wait_first(self) -> None:
        tasks = [asyncio.create_task(self.child(n, s)) for n, s in (("a", 2), ("b", 1), ("c", 1))]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self.say([t.get_name() for t in done] + ["|"] + [t.get_name() for t in pending])
        self.say(await asyncio.gather(*pending))

    async def wait_for(self) -> None:
        self.say(await asyncio.wait_for(self.child("quick", 1), 5))
        try:
            await asyncio.wait_for(self.child("slow", 9), 1)
        except TimeoutError:
            self.say("timed out")

    async def wait_for_zero(self) -> None:
        try:
            await asyncio.wait_for(self.child("never"), 0)
        except TimeoutError:
            self.say("timed out")

    async def timeout(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self.child("slow", 9)
        except TimeoutError:
            self.say("timed out")

    async def shield(self) -> None:
        inner = asyncio.create_task(self.child("inner", 3))
        try:
            async with asyncio.timeout(1):
                await asyncio.shield(inner)
        except TimeoutError:
            self.say("timed out")
        self.say(await inner)

    async def queue(self) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for i in range(3):
                await queue.put(i)
                self.say(f"put {i}")

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            for _ in range(3):
                self.say(f"got {await queue.get()}")

    async def event_and_barrier(self) -> None:
        event, barrier = asyncio.Event(), asyncio.Barrier(3)

        async def member(name: str) -> None:
            await event.wait()
            self.say(f"{name} woken")
            self.say(f"{name} is {await barrier.wait()}")

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(member(name))
            await asyncio.sleep(1)
            event.set()

    async def completed(self) -> None:
        for done in asyncio.as_completed([self.child("a", 2), self.child("b"), self.child("c", 1)]):
            self.say(await done)

    async def generator(self) -> None:
        async def numbers() -> Any:
            try:
                for i in range(9):
                    yield i
                    await asyncio.sleep(0)
            finally:
                self.say("generator closed")

        async for i in numbers():
            self.say(i)
            if i == 2:
                break
        await asyncio.sleep(1)


def pattern_traces() -> dict[str, Any]:
    traces: dict[str, Any] = {}
    for name in [n for n in vars(Patterns) if not n.startswith("_") and n not in ("say", "tick", "child")]:
        rig = Rig()
        patterns = Patterns(rig)

        async def main(patterns: Patterns = patterns, name: str = name) -> None:
            ticking = asyncio.create_task(patterns.tick())
            await getattr(patterns, name)()
            await ticking

        rig.finish(main)
        traces[name] = [patterns.log, rig.seen, rig.reports, rig.notes]
    return traces


if __name__ == "__main__":
    print(json.dumps(order_traces() if "order" in sys.argv else pattern_traces()))
    Rig.put_away()
