"""Several processes on one thread: their event loops, their helper threads, and the time they share.

Theory. All that a process does it does in callbacks: of its event loop, or of a thread beside it. Within one event loop
their order is asyncio's, first in first out; between loops and threads there is none, and every order may happen. So a
scheduler that owns all of them may pick, at each moment, any one that has something to do, and what it picks is a number
from a seed. When nobody has anything to do, time jumps to the next timer. Nothing here sleeps, and no other thread runs.

A process that is killed is never picked again. Its coroutines stay where they are, so that not one `finally` runs, and are
closed when all is over, when there is no database any more for them to write to.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import heapq
import random
import sys
import warnings
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from hashlib import blake2b
from typing import Any, TypeVar

from durable._internal import machine, threads
from durable._internal.instants import SECOND

T = TypeVar("T")

EPOCH = 1_800_000_000 * SECOND
"""When simulations begin, in microseconds since the epoch."""

CHUNK = 12
"""Callbacks of one event loop that may run before another one's turn comes, at most."""


def die() -> None:
    """End the process that runs this, as a crash of the interpreter does."""
    _present().running.kill()


class Stuck(RuntimeError):
    """Nothing happens any more, or far too much."""


class Host:
    """A simulated process.

    Attributes:
        name: What traces call it.
        alive: Whether it has not been killed.
        frozen: Whether it stands still.
        hangs: Whether its main event loop does, while its threads go on.
        parts: Its event loops and threads.
        wrong_by: By how many microseconds its machine's wall clock is wrong.
        booted: What its machine's other clock showed when the simulation began.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.wrong_by = world.clocks.choice((0, -1, 1)) * world.clocks.randrange(2 * 3600 * SECOND)
        self.booted = world.clocks.randrange(30 * 86_400 * SECOND)
        self.alive = True
        self.frozen = False
        self.hangs = False
        self.parts: list[Loop | Steps] = []
        self.late: list[tuple[Loop | Steps, Any]] = []
        self.at_death: list[Callable[[], None]] = []

    def kill(self) -> None:
        """End it at once."""
        if self.alive:
            self.alive = False
            self.world.tell(self, "killed")
            for part in self.parts:
                self.world.unready(part)
            for told in self.at_death:
                told()

    def freeze(self) -> None:
        """Stop it; time goes on without it."""
        if self.alive and not self.frozen:
            self.frozen = True
            self.world.tell(self, "frozen")
            for part in self.parts:
                self.world.unready(part)

    def hang(self) -> None:
        """Stop its main event loop for good, as code does that blocks it."""
        self.hangs = True
        self.world.tell(self, "hangs")
        self.world.unready(self.parts[0])

    def thaw(self) -> None:
        """Let it go on."""
        if self.frozen:
            self.frozen = False
            self.world.tell(self, "goes on")
            late, self.late = self.late, []
            for part, what in late:
                part.due(what)
            for part in self.parts:
                if part.has_work:
                    self.world.ready(part)


class Loop(asyncio.AbstractEventLoop):
    """The event loop of a process, or of a thread of it."""

    def get_debug(self) -> bool:
        return False

    def __init__(self, host: Host) -> None:
        self.process = host
        self.world = host.world
        self.index = len(host.parts)
        self.queue: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self.closed = False
        host.parts.append(self)

    @property
    def has_work(self) -> bool:
        return bool(self.queue)

    def make_turn(self) -> None:
        """Run some of what waits, in its order."""
        queue = self.queue
        for _ in range(min(len(queue), 1 + self.world.chance.randrange(CHUNK))):
            handle = queue.popleft()
            if not handle._cancelled:
                handle._run()
            if not self.process.alive or self.process.frozen or self.process.hangs:
                return

    def due(self, handle: asyncio.TimerHandle) -> None:
        if not handle._cancelled:
            self._append(handle)

    def _append(self, handle: asyncio.Handle) -> None:
        self.queue.append(handle)
        self.world.ready(self)

    # ------------------------------------------------------------ what asyncio asks for

    def time(self) -> float:
        return self.world.now / SECOND

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.closed:
            self._append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.closed:
            self.world.at(min(round(when * SECOND), 1 << 62), self, handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays among the timers until its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Any = None, **_: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(
            coro, loop=self, name=name or f"{self.process.name} task", context=context
        )
        self.tasks.append(task)
        if len(self.tasks) > 500:
            self.tasks = [one for one in self.tasks if not one.done()]
        return task

    def get_task_factory(self) -> None:
        return None

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()

        def call() -> None:
            if future.done():
                return
            try:
                result = func(*args)
            except BaseException as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_soon(call)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.world.tell(
            self.process, f"unhandled: {type(error).__name__}: {error} ({context.get('message')})"
        )
        if not self.closed:
            self.world.defects.append(f"{self.process.name}: {context.get('message')}: {error!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.closed


class Steps:
    """A thread that makes steps, as `threads.Stepping` does."""

    def __init__(self, name: str, step: Callable[[], float | None]) -> None:
        self.process = _present().running
        self.world = self.process.world
        self.name = name
        self._step = step
        self._rung = False
        self._ended = False
        self._sleeps = 0
        self.process.parts.append(self)

    @property
    def has_work(self) -> bool:
        return self._rung

    def start(self, wait: float = threads.FOR_EVER) -> None:
        self._sleep(wait)

    def ring(self) -> None:
        if not self._rung and not self._ended:
            self._rung = True
            self.world.ready(self)

    def join(self, timeout: float) -> None:
        """There is nothing to wait for: whoever asks does so on the only thread."""

    def make_turn(self) -> None:
        self._rung = False
        self._sleeps += 1
        wait = self._step()
        if wait is None:
            self._ended = True
        else:
            self._sleep(wait)

    def due(self, number: int) -> None:
        if number == self._sleeps:
            self.ring()

    def _sleep(self, wait: float) -> None:
        if wait == 0.0:
            self.ring()
        elif wait != threads.FOR_EVER:
            self.world.at(self.world.now + round(wait * SECOND), self, self._sleeps)


class Looping:
    """A coroutine with an event loop of its own, as `threads.Looping` is one."""

    def __init__(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self._loop = Loop(_present().running)  # type: ignore[abstract]
        self._waiter: asyncio.Future[bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self.stopped = False

    def start(self) -> None:
        self._task = self._loop.create_task(self._main(), name="beside")

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done()

    def stop(self) -> None:
        self.stopped = True
        if self._waiter is not None and not self._waiter.done():
            self._loop.call_soon(_set, self._waiter, True)

    async def pause(self, seconds: float) -> bool:
        if self.stopped:
            return True
        self._waiter = self._loop.create_future()
        handle = self._loop.call_later(seconds, _set, self._waiter, False)
        try:
            return await self._waiter
        finally:
            handle.cancel()

    async def join(self, timeout: float) -> None:
        """It ends by itself, soon, and nobody needs to wait for it."""


def _set(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


class World:
    """All processes, the time, and the scheduler.

    Attributes:
        now: Microseconds since the simulation began, by a clock that nobody can read.
        db_ahead: By how much the database's clock is ahead of that.
        chance: Where the scheduler's choices come from.
        clocks: Where it comes from how wrong machines' clocks are.
        running: The process that runs.
        defects: What was told to an event loop's handler of last resort.
        forget: Called at the end, to let go of what processes had.
    """

    def __init__(self, seed: int, *, keep: bool = False) -> None:
        self.seed = seed
        self.now = 1000 * SECOND
        self.db_ahead = EPOCH
        self.chance = random.Random(f"{seed} scheduler")
        self.hosts: list[Host] = []
        self.defects: list[str] = []
        self.turns = 0
        self.lines: list[str] = []
        self._keep = keep
        self._digest = blake2b(digest_size=16)
        self.clocks = random.Random(f"{seed} clocks")
        self._bytes = random.Random(f"{seed} ids")
        self._ready: list[Loop | Steps] = []
        self._timers: list[tuple[int, int, Loop | Steps | None, Any]] = []
        self._number = 0
        self.outside = Host(self, "world")
        self.forget: Callable[[], None] = lambda: None
        self.running = self.outside

    def host(self, name: str) -> Host:
        """Make a process."""
        made = Host(self, name)
        self.hosts.append(made)
        return made

    def spawn(self, host: Host, main: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run a coroutine as a process's main program."""
        loop = Loop(host)  # type: ignore[abstract]
        with self._as(loop):
            return loop.create_task(main(), name=f"{host.name} main")

    def tell(self, host: Host | None, what: str) -> None:
        """Write a line of the trace."""
        line = f"{self.now} {'-' if host is None else host.name} {what}"
        self._digest.update(line.encode(errors="backslashreplace") + b"\n")
        if self._keep:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        """A digest of the trace so far."""
        return self._digest.hexdigest()

    # ------------------------------------------------------------ time and turns

    def ready(self, part: Loop | Steps) -> None:
        """Let a part have its turn some time."""
        host = part.process
        if (
            host.alive
            and not host.frozen
            and part not in self._ready
            and not (host.hangs and part is host.parts[0])
        ):
            self._ready.append(part)

    def unready(self, part: Loop | Steps) -> None:
        """Let it have none."""
        if part in self._ready:
            self._ready.remove(part)

    def at(self, when: int, part: Loop | Steps | None, what: Any) -> None:
        """Tell a part when an instant has come; call `what`, when it is no part's."""
        self._number += 1
        heapq.heappush(self._timers, (max(when, self.now), self._number, part, what))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something from outside of all processes, so much later."""
        self.at(self.now + round(seconds * SECOND), None, call)

    def run(self, until: Callable[[], bool], deadline: int, most_turns: int = 400_000) -> bool:
        """Let everything go on until a condition holds, and return True; or until an instant, and return False.

        Raises:
            Stuck: Nothing can happen any more, or too much does.
        """
        while not until():
            if self._ready:
                self.turns += 1
                if self.turns > most_turns:
                    raise Stuck(f"{most_turns} turns, and no end")
                self._turn(self._ready[self.chance.randrange(len(self._ready))])
            elif not self._timers:
                raise Stuck("nothing can happen any more")
            elif self._timers[0][0] > deadline:
                self.now = max(self.now, deadline)
                return False
            else:
                self._advance()
        return True

    def _turn(self, part: Loop | Steps) -> None:
        self._enter(part)
        try:
            part.make_turn()
        finally:
            self._leave()
        if not part.has_work:
            self.unready(part)

    @contextlib.contextmanager
    def _as(self, part: Loop | Steps) -> Generator[None]:
        self._enter(part)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, part: Loop | Steps) -> None:
        self.running = part.process
        events._set_running_loop(part if isinstance(part, Loop) else None)

    def _leave(self) -> None:
        events._set_running_loop(None)
        self.running = self.outside

    def _advance(self) -> None:
        when = self.now = self._timers[0][0]
        while self._timers and self._timers[0][0] == when:
            _, _, part, what = heapq.heappop(self._timers)
            if part is None:
                what()
            elif not part.process.alive:
                continue
            elif part.process.frozen:
                part.process.late.append((part, what))
            else:
                part.due(what)

    # ------------------------------------------------------------ beginning and end

    @contextlib.contextmanager
    def entered(self) -> Generator[None]:
        """Stand in for the machine: its clocks, its chance and its threads are the simulation's within the block."""
        if _worlds:
            raise RuntimeError("a simulation runs already in this process, and there is one machine only")
        stands_in: tuple[tuple[Any, str, Any], ...] = (
            (machine, "boottime", lambda: self.now + self.running.booted),
            (machine, "monotonic", lambda: self.now / SECOND),
            (machine, "perf_counter", lambda: self.now / SECOND),
            (machine, "wall", lambda: self.now + EPOCH + self.running.wrong_by),
            (machine, "random_bytes", self._bytes.randbytes),
            (threads, "Stepping", Steps),
            (threads, "Looping", Looping),
        )
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in stands_in]
        state, collects = random.getstate(), gc.isenabled()
        _worlds.append(self)
        gc.freeze()  # so that what is collected at the end is the simulation's own
        gc.disable()
        try:
            random.seed(f"{self.seed} random")
            for owner, name, replacement in stands_in:
                setattr(owner, name, replacement)
            yield
        finally:
            self._end()
            for owner, name, original in before:
                setattr(owner, name, original)
            random.setstate(state)
            _worlds.remove(self)
            gc.unfreeze()
            if collects:
                gc.enable()

    def _end(self) -> None:
        """Close what is left of all processes, where nothing that they do has any effect, and nothing they say is heard."""
        heard, sys.unraisablehook = sys.unraisablehook, _ignore
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for host in self.hosts:
                    for part in host.parts:
                        if isinstance(part, Loop):
                            _close(part)
                    host.parts.clear()
                    host.late.clear()
                    host.at_death.clear()
                self.hosts.clear()
                self._timers.clear()
                self._ready.clear()
                self.forget()
                gc.collect()
        finally:
            sys.unraisablehook = heard


def _ignore(_: object) -> None:
    """What an object says when it is let go of in the middle of something."""


def _close(loop: Loop) -> None:
    loop.closed = True
    events._set_running_loop(loop)
    try:
        for task in reversed(loop.tasks):
            if task.done():
                continue
            unfinished: Any = task
            unfinished._log_destroy_pending = False
            coroutine: Any = task.get_coro()
            for _ in range(20):
                try:
                    coroutine.close()
                    break
                except BaseException:
                    continue
    finally:
        events._set_running_loop(None)
        loop.tasks.clear()
        loop.queue.clear()


_worlds: list[World] = []


def _present() -> World:
    return _worlds[-1]
