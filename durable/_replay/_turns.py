"""Turns: how a worker lends its thread to runs, many per callback of its own loop.

Theory. A turn applies the inputs of one workflow task and then runs callbacks, in passes, until nothing is ready. A
pass is what was ready when it began. "Nothing is ready" is not enough for an end: while a task sits in a cancelled
anyio scope without finishing, anyio schedules the next delivery of its cancel in every pass, for ever. Such a turn
ends by one of two rules, both free of any clock:

* **A**, a fixed point: a pass that ran re-deliveries only, made no progress, and left re-deliveries only. Another
  pass would change nothing, and another thousand neither.
* **B**, a bound: so many passes without progress, with a re-delivery still among the callbacks. Code that swallows a
  cancel and waits again goes on with the next input.

The callbacks left over run first in the next turn, after its inputs are applied: anyio skips a task whose awaited
future is done, so a result that is there reaches the code before the next cancel does.

Invariants.

* The rules and their bounds decide which callbacks belong to which turn. They are part of what a replay repeats: a
  change needs a recorded flag.
* Nothing of the outer program is seen in a turn, and nothing of the run after it: running loop, current task, context
  variables, hooks of async generators, and the collector, which would run foreign finalizers in a workflow's name.
* What escapes a callback poisons the run: asyncio keeps a task's exceptions in the task, so an escape is a defect or
  an exit, and the state behind it is half changed. The loop then takes no further turns; the run is rebuilt from its
  log.

Entering and leaving is paid for once per batch. Between two runs of a batch the running loop is still that of the
first; leave the batch before awaiting anything.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from asyncio import _get_running_loop, _set_running_loop  # what the documentation gives to loops
from asyncio.tasks import _enter_task, _leave_task  # likewise
from collections import deque
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar, TypeVarTuple

from durable._replay._loop import (
    DEAD,
    IN_TURN,
    PARKED,
    POISONED,
    DeterministicLoop,
    Handle,
    refuse_outside_turn,
)
from durable._replay._ordered import base_context, redelivery

__all__ = ["SpinError", "TurnError", "TurnPoisoned", "Turns", "enter_run", "suspended", "turns"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SILENT_REDELIVERIES = 100
"""Passes without progress after which re-delivered cancels no longer keep a turn going (rule B). Part of the replay
contract."""

IDLE_PASSES = 100_000
"""Passes without progress and without re-deliveries after which a turn counts as spinning: ``while True: await
sleep(0)``. About 0.15 s of work."""

TURN_PASSES = 1_000_000
"""Passes of any kind in one turn after which it counts as spinning, for loops that make a new task or timer each
time round. Some seconds of work."""


class TurnError(Exception):
    """A turn did not end well. The loop takes no further turns."""


class TurnPoisoned(TurnError):
    """An exception escaped a callback; nothing of the turn may be committed.

    Attributes:
        cause: what escaped; SystemExit too, which workflow code must not use to end a worker.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__} escaped workflow code: {cause}")
        self.cause = cause


class SpinError(TurnError):
    """A turn would never end, or would end in a sleep that nothing ends."""


class Turns:
    """A batch of turns of different runs on one thread, in one callback of the outer program or in none.

    A context manager. It saves the outer loop, the outer task if there is one, the hooks for async generators and the
    state of the collector, and puts them back whatever happens.
    """

    __slots__ = ("_base", "_collecting", "_hooks", "_outer", "_outer_task", "_ready", "_redeliver")

    def __enter__(self) -> Turns:
        self._outer = outer = _get_running_loop()
        if isinstance(outer, DeterministicLoop) and outer.state == IN_TURN:
            raise RuntimeError(
                "A turn cannot run inside another run's turn. Start the other run as a child workflow."
            )
        self._ready: deque[Handle] = deque()
        self._redeliver = redelivery()
        self._base = base_context()
        self._hooks = sys.get_asyncgen_hooks()
        # 3.14 refuses to step a task while another one is current in the thread, whatever the loop.
        self._outer_task = None if outer is None else asyncio.current_task(outer)
        if outer is not None and self._outer_task is not None:
            _leave_task(outer, self._outer_task)
        self._collecting = gc.isenabled()
        gc.disable()
        return self

    def __exit__(self, *_exc: object) -> None:
        _set_running_loop(self._outer)
        sys.set_asyncgen_hooks(*self._hooks)
        if self._outer is not None and self._outer_task is not None:
            _enter_task(self._outer, self._outer_task)
        if self._collecting:
            gc.enable()

    def run(self, loop: DeterministicLoop, apply: Callable[[*Ts], object], *args: *Ts) -> None:
        """Run one turn: what was left over, then `apply` with `args`, then passes until nothing more happens.

        `apply` completes futures, fires timers and creates tasks; it sees the running loop and an empty context.

        Raises:
            TurnPoisoned: an exception escaped `apply` or a callback.
            SpinError: the turn would not end.
            KeyboardInterrupt: as it came; the run is poisoned too.
            RuntimeError: the run is poisoned or evicted.
        """
        if loop.state != PARKED:
            raise RuntimeError(
                "This run takes no more turns: it was evicted, or poisoned and is to be rebuilt."
            )
        ready = self._ready
        _set_running_loop(loop)
        sys.set_asyncgen_hooks(None, loop)
        loop.turn += 1
        loop.append = ready.append  # the queue is lent
        if loop.kept is not None:
            ready.extend(loop.kept)
            loop.kept = None
        state = POISONED
        loop.state = IN_TURN
        try:
            self._base.copy().run(_turn, loop, apply, args, ready, self._redeliver)
            if ready:
                loop.kept = list(ready)
                ready.clear()
            state = PARKED
        except (TurnError, KeyboardInterrupt):
            raise
        except BaseException as exc:
            raise TurnPoisoned(exc) from exc
        finally:
            loop.state = state
            loop.append = refuse_outside_turn
            if state == POISONED:
                ready.clear()

    def read(self, loop: DeterministicLoop, function: Callable[[], T]) -> T:
        """Call `function` as the run but in no turn, and leave no trace: for queries and validators.

        It sees the run's loop and time; scheduling anything raises, and the numbers it drew are put back. A function that
        tried to wake something has half changed the run's state, which is poisoned then, whatever it did next.

        Raises:
            RuntimeError: the run is evicted.
        """
        if loop.state == DEAD:
            raise RuntimeError("This run was evicted.")
        enter_run(loop)
        numbers, newest, progress = loop.numbers, loop.newest, loop.progress
        append = loop.append

        def refuse(_handle: Handle) -> None:
            loop.state = POISONED
            refuse_outside_turn(_handle)

        loop.append = refuse
        try:
            return self._base.copy().run(function)
        finally:
            loop.append = append
            loop.numbers, loop.newest, loop.progress = numbers, newest, progress


turns = Turns


def enter_run(loop: DeterministicLoop) -> None:
    """Make a run's loop the running one, and its owner of async generators that start now."""
    _set_running_loop(loop)
    sys.set_asyncgen_hooks(None, loop)


def _turn(
    loop: DeterministicLoop,
    apply: Callable[[*Ts], object],
    arguments: tuple[*Ts],
    ready: deque[Handle],
    redeliver: object,
) -> None:
    """Apply the inputs, and run passes until nothing is ready and no wait condition holds."""
    apply(*arguments)
    left = TURN_PASSES
    while True:
        # Most turns have one pass, and that one has no rule to keep: inputs are progress. Counting down costs less
        # than a range, and passing the usual one argument less than unpacking.
        mark = loop.progress
        n = len(ready)
        while n:
            n -= 1
            handle = ready.popleft()
            callback = handle.callback
            if callback is not None:
                args = handle.args
                if len(args) == 1:
                    handle.context.run(callback, args[0])
                else:
                    handle.context.run(callback, *args)
        if ready:
            left = _passes(loop, ready, redeliver, left, mark)
        if not loop.host.drained():
            return
        left -= 1
        if left <= 0:
            raise SpinError(_spin(loop, f"waited {TURN_PASSES:,} times for what is true already"))


def _passes(loop: DeterministicLoop, ready: deque[Handle], redeliver: object, left: int, mark: int) -> int:
    """Run passes after the first until nothing is ready or a rule ends the turn; return how many of `left` remain."""
    pure, idle, take = False, 0, ready.popleft
    while True:
        # Here a pass is over and something is ready again.
        left -= 1
        if left <= 0:
            raise SpinError(_spin(loop, f"ran {TURN_PASSES:,} passes without coming to rest"))
        if loop.progress != mark:
            mark, idle = loop.progress, 0
        else:
            idle += 1
            if pure and _only(ready, redeliver):
                return left
            if idle >= SILENT_REDELIVERIES and _some(ready, redeliver):
                if loop.host.waiting():
                    return left
                raise SpinError(
                    _spin(loop, f"ignored {SILENT_REDELIVERIES} cancellations and waits for nothing pending")
                )
            if idle >= IDLE_PASSES:
                raise SpinError(_spin(loop, f"ran {IDLE_PASSES:,} passes without doing anything"))
        pure = _only(ready, redeliver)
        for _ in range(len(ready)):
            handle = take()
            callback = handle.callback
            if callback is not None:
                handle.context.run(callback, *handle.args)
        if not ready:
            return left


def _only(ready: deque[Handle], redeliver: object) -> bool:
    for handle in ready:
        callback: Any = handle.callback
        if type(callback) is not MethodType or callback.__func__ is not redeliver:
            return False
    return True


def _some(ready: deque[Handle], redeliver: object) -> bool:
    for handle in ready:
        callback: Any = handle.callback
        if type(callback) is MethodType and callback.__func__ is redeliver:
            return True
    return False


def suspended(loop: DeterministicLoop) -> str:
    """Return, for people, where the youngest tasks of a run wait."""
    places: list[str] = []
    task = loop.newest
    while task is not None and len(places) < 5:
        if not task.done():
            places.append(f"{task.get_name()} at {_place(task.get_coro())}")
        task = task.older
    return "; ".join(places) or "no task"


def _spin(loop: DeterministicLoop, what: str) -> str:
    return (
        f"The workflow {what}. Look for a loop that swallows CancelledError and waits again, or that polls with "
        f"sleep(0): await a condition, a timer or an operation instead. Suspended: {suspended(loop)}."
    )


def _place(awaited: Any) -> str:
    """Return file and line of the innermost frame of a suspended coroutine that is neither the standard library's nor ours."""
    place = "an unknown line"
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is None:
            break
        if not frame.f_globals.get("__name__", "").startswith(("asyncio", "anyio", "durable.")):
            place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return place
