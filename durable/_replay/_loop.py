"""The event loop on which workflow code runs: asyncio's interface, none of its world.

Theory. A workflow replays only if everything that decides an order comes from the log. A stock event loop decides by
the clock, by the selector and by memory addresses; this one has none of them. Loop time is a number the host sets
once per workflow task, timers are operations the host writes to the log, and nothing becomes ready unless the host
completed an operation or workflow code did something. What asyncio, and anyio on top of it, need of a loop is a dozen
methods; every other method refuses with a sentence that names the way out, since a socket opened by workflow code
would be opened again at each replay.

Invariants.

* One loop object per run, never shared: anyio keys its run variables by loop, and a lock that belongs to a module
  must refuse the second run that waits on it instead of joining the two.
* A loop is cheap to park. The ready queue belongs to the batch of turns (``_turns``) and is lent for one turn, so
  that scheduling outside a turn has nowhere to go and is an error instead of a callback that runs at some other time.
* Hashes of tasks and futures are numbers counted by the run, salted by the run id. Sets that users make of them then
  iterate alike at every replay, while runs do not collide in the process-wide weak sets of asyncio and anyio. asyncio's
  and anyio's own sets do not depend on it (see ``_ordered``).
* The number of a task exists before ``Task.__init__`` runs, which up to CPython 3.13 hashes the task.
* The loop refers to all unfinished tasks through a chain, newest first: no task is lost to the garbage collector at
  an arbitrary moment, and teardown finds children before their parents.
* Nothing here depends on how often, or when, the collector runs. Reports that the collector causes are notes for the
  log and never change a run.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop  # get_running_loop raises where none runs
from asyncio.events import AbstractEventLoop
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from math import ceil, isnan
from typing import Any, NoReturn, Protocol, TypeVar, TypeVarTuple

from durable._replay import _ordered
from durable._replay._awaitables import Handle, NumberedFuture, NumberedTask, Operation, TimerHandle
from durable._replay._refusals import WAKES, refuse_the_rest

__all__ = [
    "DeterministicLoop",
    "Handle",
    "LoopHost",
    "NumberedFuture",
    "NumberedTask",
    "Operation",
    "TimerHandle",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PARKED, IN_TURN, POISONED, DEAD = range(4)
"""What a loop is doing. Callbacks may be scheduled in a turn only."""

NEVER_MS = 10**15
"""Milliseconds (31,688 years): a timer further off than this is not armed, as for an infinite delay. It keeps an
absurd float from becoming an integer no database column holds."""

EARLY_MS = 0.001
"""Milliseconds by which a timer may fire before the exact time asked for. It absorbs the rounding of ``now + delay``
in binary floating point, which would otherwise add a millisecond to every deadline. Loop time then goes forward to that
exact time: anyio looks again at its deadline when its timer fires, and would set another one for no time at all, for
ever."""

_HASH_SHIFT = 20
"""Bits of a hash left to the number within a run (a million objects) before it runs into the salt."""

_NOTES = ("was never retrieved", "but it is pending!", "exception in shielded future")
"""Endings of the messages that asyncio reports about abandoned objects, at the collector's choice of moment."""


class LoopHost(Protocol):
    """What a loop asks of the workflow instance that owns it."""

    def start_timer(self, when_ms: int, handle: TimerHandle) -> None:
        """Arm a durable timer for `when_ms` (milliseconds of loop time); call ``loop.fire(handle)`` when it is due."""
        ...

    def cancel_timer(self, handle: TimerHandle) -> None:
        """Forget an armed timer. Called at most once per timer, and never for one that fired."""
        ...

    def drained(self) -> bool:
        """Evaluate wait conditions; True if one was resolved, so that the turn goes on."""
        ...

    def waiting(self) -> bool:
        """Whether a timer or an operation is pending, whose outcome would open another turn by itself."""
        ...

    def report(self, message: str, exception: BaseException | None) -> None:
        """Fail the workflow task: asyncio found a defect that no awaiting code will see."""
        ...

    def note(self, message: str, exception: BaseException | None) -> None:
        """Log a remark. It may come from the garbage collector, at any time: never act on it."""
        ...


_new_task: Callable[[type[NumberedTask[Any]]], NumberedTask[Any]] = NumberedTask.__new__
_task_type: Any = NumberedTask
_init_task: Callable[..., None] = _task_type.__init__


def refuse_outside_turn(_handle: Handle) -> NoReturn:
    """Raise: what a loop has in place of a queue while it is not in a turn."""
    raise RuntimeError(f"A workflow's event loop was asked to schedule something outside a turn. {WAKES}")


def discard(_handle: Handle) -> None:
    """Schedule nothing: what an evicted loop has in place of a queue."""


class DeterministicLoop(AbstractEventLoop):
    """An asyncio event loop that decides nothing by clock, address or chance.

    It is entered and left by ``_turns.Turns`` only. Its other users are the host, which sets ``now_ms``, completes
    futures, fires timers and bumps ``progress``, and workflow code through asyncio and anyio.

    Attributes:
        host: the workflow instance.
        now_ms: loop time in whole milliseconds, set by the host for each workflow task; constant within a turn.
        progress: counts what changes a run's state (commands issued, timers, tasks, operations completed). A turn in
            which it stands still while only cancellations are re-delivered is over. The host bumps it too.
        newest: head of the chain of tasks, newest first. Finished ones are unlinked now and then.
        turn: the number of turns so far.
        state: one of PARKED, IN_TURN, POISONED, DEAD.
    """

    # Slots beside the base class's empty __dict__: it is allocated only when something is put there.
    __slots__ = (
        "_futures_made",
        "_prune_at",
        "_reached",
        "_salt",
        "_tasks_made",
        "append",
        "host",
        "kept",
        "newest",
        "now_ms",
        "progress",
        "state",
        "turn",
    )

    def __init__(self, host: LoopHost, *, salt: int) -> None:
        _ordered.install(DeterministicLoop)
        self.host = host
        self.now_ms: int = 0
        self.progress: int = 0
        self.turn: int = 0
        self.state: int = PARKED
        self.newest: NumberedTask[Any] | None = None
        self.append: Callable[[Handle], object] = refuse_outside_turn
        self.kept: list[Handle] | None = None
        self.salt_with(salt)
        self._tasks_made = 0
        self._futures_made = 0
        self._prune_at = 16
        self._reached = 0.0

    def salt_with(self, salt: int) -> None:
        """Salt the hashes of what is made from now on."""
        self._salt = salt << _HASH_SHIFT

    # Every Future, Task and Handle constructor asks. A builtin type that returns False when called is the cheapest
    # answer there is, and stays False whatever the outer loop does: True would take a stack per future.
    get_debug = bool  # pyright: ignore[reportAssignmentType]  # a callable returning bool, as asked

    def time(self) -> float:
        """Return loop time in seconds: the same throughout a turn, to a microsecond, and never before a due timer's."""
        return max(self.now_ms / 1000, self._reached)

    def is_running(self) -> bool:
        """Return whether a turn is under way."""
        return self.state == IN_TURN

    def is_closed(self) -> bool:
        """Return whether the run was evicted."""
        return self.state == DEAD

    # ---- scheduling

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:  # a Handle: slimmer than asyncio's and no subclass of it
        """Queue `callback` for the next pass of this turn, in call order.

        Raises:
            RuntimeError: not in a turn.
        """
        handle = Handle()
        handle.callback = callback
        handle.args = args
        handle.context = copy_context() if context is None else context
        self.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:  # a TimerHandle
        """Run `callback` in the first turn whose time is `delay` seconds from now, or later.

        A positive delay is a durable timer of whole milliseconds, rounded up; an infinite one is none.

        Raises:
            ValueError: the delay is NaN.
        """
        due = self.now_ms + delay * 1000
        return self._timer(due, due / 1000, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> Any:  # a TimerHandle
        """Run `callback` in the first turn whose loop time is `when` seconds or later.

        Raises:
            ValueError: the time is NaN.
        """
        return self._timer(when * 1000, when, callback, args, context)

    def _timer(
        self,
        due: float,
        exact: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> TimerHandle:
        if isnan(due):
            raise ValueError(
                "A timer's delay is NaN (not a number). Give seconds as a finite number, or infinity."
            )
        handle = TimerHandle()
        handle.callback = callback
        handle.args = args
        handle.context = copy_context() if context is None else context
        handle.loop = self
        handle.turn = self.turn
        handle.armed = False
        handle.exact = exact
        handle.when_ms = None
        if due < NEVER_MS:
            handle.when_ms = when_ms = max(self.now_ms, ceil(max(due, 0.0) - EARLY_MS))
            if when_ms <= self.now_ms:
                self._reached = max(self._reached, exact)
                self.append(handle)  # no time has to pass, so there is nothing to make durable
            elif self.state != DEAD:
                handle.armed = True
                self.progress += 1
                self.host.start_timer(when_ms, handle)
        return handle

    def fire(self, handle: TimerHandle) -> None:
        """Queue the callback of a due timer. For the host, while it applies the inputs of a turn."""
        if handle.armed:
            handle.armed = False
            self._reached = max(self._reached, handle.exact)
            self.progress += 1
            self.append(handle)

    def timer_cancelled(self, handle: TimerHandle) -> None:
        if self.state == DEAD:
            return
        # A timer that is armed and cancelled in one turn leaves no trace in the log: its progress is taken back, else
        # code that swallows a cancel inside `timeout()` and waits again would progress for ever.
        self.progress += -1 if handle.turn == self.turn else 1
        self.host.cancel_timer(handle)

    # ---- futures and tasks

    def create_future(self) -> asyncio.Future[Any]:
        """Return a pending future with the run's next future number for its hash."""
        future: NumberedFuture[Any] = NumberedFuture(loop=self)
        future.number = self.next_number()
        return future

    def next_number(self) -> int:
        """Draw the run's next future number, salted: a hash."""
        self._futures_made = number = self._futures_made + 1
        return self._salt + number

    def bare_future(self) -> asyncio.Future[Any]:
        """Return a pending future without a number, which is faster to await.

        For a future that only the library itself awaits: one that reaches user code may end in a user's set.
        """
        return asyncio.Future(loop=self)

    def operation(self, number: int, on_cancel: Callable[[], bool] | None = None) -> Operation[Any]:
        """Return a pending operation whose hash is the number of its command."""
        operation: Operation[Any] = Operation(loop=self)
        operation.number = self._salt + number
        operation.on_cancel = on_cancel
        return operation

    def number(self, future: NumberedFuture[Any], number: int) -> None:
        """Give a future that was made elsewhere the number of its command for a hash."""
        future.number = self._salt + number

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: Any = None,
        context: Context | None = None,
        **kwargs: Any,
    ) -> NumberedTask[T]:
        """Return a task that takes its first step in the next pass, in creation order.

        Unnamed tasks are named from the run's own counter. Without `context` a task gets a copy of the current one,
        which while inputs are applied is the run's empty one and never the outer program's.

        Raises:
            RuntimeError: not in a turn.
        """
        self._tasks_made = number = self._tasks_made + 1
        task = self._make_task(
            self._salt + number, coro, f"Task-{number}" if name is None else name, context, kwargs
        )
        if number >= self._prune_at:
            self.prune()
        return task

    def create_task_apart(self, coro: Coroutine[Any, Any, T], *, name: str, hash: int) -> NumberedTask[T]:
        """Return a task as `create_task` does, that draws no number: for one that a replay may not know of."""
        return self._make_task(hash, coro, name, None, {})

    def _make_task(
        self,
        hash: int,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        name: Any,
        context: Context | None,
        options: dict[str, Any],
    ) -> NumberedTask[T]:
        self.progress += 1
        task: NumberedTask[T] = _new_task(NumberedTask)
        task.number = hash
        task.context = context = copy_context() if context is None else context
        # In the chain before __init__, which may already run an eager first step that makes younger tasks.
        task.older = older = self.newest
        self.newest = task
        try:
            _init_task(task, coro, loop=self, name=name, context=context, **options)
        except BaseException:
            self.newest = older
            raise
        return task

    def prune(self) -> None:
        """Unlink finished tasks from the chain. Amortised: the next time is when as many more were made as live now."""
        live = 0
        task, keeper = self.newest, None
        while task is not None:
            older = task.older
            if task.done():
                if keeper is None:
                    self.newest = older
                else:
                    keeper.older = older
                task.older = None
            else:
                keeper = task
                live += 1
            task = older
        self._prune_at = self._tasks_made + live + 16

    @property
    def numbers(self) -> tuple[int, int]:
        """How many task and future numbers were drawn. Code that is not replayed must put back what it found."""
        return self._tasks_made, self._futures_made

    @numbers.setter
    def numbers(self, drawn: tuple[int, int]) -> None:
        self._tasks_made, self._futures_made = drawn

    def get_task_factory(self) -> None:
        """Return None: there is no other factory than ``create_task``."""

    # ---- what asyncio reports

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Hand a report of asyncio's to the host: a failure of the workflow task, or a mere note.

        Abandoned futures and tasks are reported when the garbage collector finds them, so they are notes.
        """
        if self.state == DEAD:
            return
        message, exception = str(context.get("message", "")), context.get("exception")
        if self.state != IN_TURN or message.endswith(_NOTES):
            self.host.note(message, exception)
        else:
            self.host.report(message, exception)

    def __call__(self, agen: Any) -> None:
        """Close an async generator that lost its last reference in its own run's turn; otherwise abandon it.

        With the collector off during turns only reference counts lead here from workflow code, so the moment is part
        of the program. A generator caught in a cycle comes from a collection at any time: running its ``finally``
        blocks then could not be replayed.

        The loop is itself the finalizer that ``sys.set_asyncgen_hooks`` takes: a bound method per turn costs more.
        """
        if self.state == IN_TURN and _get_running_loop() is self:
            _ = self.create_task(agen.aclose())
        elif self.state != DEAD:
            frame = agen.ag_frame
            line = f"{agen.ag_code.co_filename}:{frame.f_lineno if frame else agen.ag_code.co_firstlineno}"
            self.host.note(
                f"Async generator {agen.__qualname__!r} was abandoned at {line} and its cleanup did not run. "
                "Close it with `async with contextlib.aclosing(...)`.",
                None,
            )


refuse_the_rest(DeterministicLoop)
