"""Putting away a parked run, so that no line of it runs later.

Theory. A run that is dropped from memory leaves suspended coroutines. Left to the collector, their ``finally`` blocks
run in whatever run happens to trigger it, with that run's loop and context; ``close()`` runs them without loop and
context, so that an ``await`` fails *inside user code*, whose ``except Exception`` then compensates; and ``cancel()``
would run the workflow's cancellation code, which means something. ``finally`` blocks cannot be skipped in Python. So they are
run now, where they belong: a private BaseException is thrown into each coroutine, as its task, in its context, on a
loop that is dead: what they schedule is dropped, what they await never completes, and nothing raises, so that
no handler of the workflow's has something to compensate for.

Invariants.

* Newest task first, and again until none is left: children unwind before the parents that await them, and tasks made
  by ``finally`` blocks end without running a line.
* The loop is dead before the first throw. A host is told nothing but notes.
* Code that swallows even this is kept alive for ever rather than collected: at the end of the process too, whose last
  collection would run it.
"""

from __future__ import annotations

import asyncio
import traceback
import warnings
from asyncio.tasks import _enter_task, _leave_task  # pyright: ignore  # the documented way for other loops
from collections.abc import Callable
from contextvars import Context
from typing import Any

from durable._replay._loop import DEAD, IN_TURN, DeterministicLoop, NumberedTask, discard
from durable._replay._turns import Turns, enter_run

__all__ = ["Evicted", "evict"]

_future_type: Any = asyncio.Future
_cancel: Callable[[Any], bool] = _future_type.cancel

THROWS = 20
"""Times a coroutine is asked to end. Each answer that is another ``await`` unwinds one more block of it; code that is
still there after this many is taken to swallow everything."""


class Evicted(BaseException):
    """The run is leaving memory. Not a cancellation: nothing happened to the workflow, and it goes on elsewhere."""


def evict(loop: DeterministicLoop) -> int:
    """Unwind all tasks of a parked or poisoned run and leave nothing that runs later; return how many refused.

    Called between turns, inside a batch or outside. A second call does nothing.

    Raises:
        RuntimeError: the run is in its turn.
        KeyboardInterrupt: one that came meanwhile, after the run is put away.
    """
    if loop.state == IN_TURN:
        raise RuntimeError("A run cannot be evicted in its own turn. Evict it after the turn.")
    if loop.state == DEAD:
        return 0
    loop.prune()  # finished tasks go first, whose unretrieved exceptions are still worth a note
    loop.state = DEAD
    loop.append = discard  # the queue is gone for good
    loop.kept = None
    try:
        # A run whose code has come to its end usually left nothing.
        return 0 if loop.newest is None else _unwind_all(loop)
    finally:
        # A dead loop asks nothing of its host, and the two refer to each other.
        del loop.host


def _unwind_all(loop: DeterministicLoop) -> int:
    survivors = 0
    interrupt: KeyboardInterrupt | None = None
    with Turns(), warnings.catch_warnings():
        # Calls that the code had made and not come to await yet are not forgotten; they go with it.
        warnings.filterwarnings("ignore", message=".* was never awaited", category=RuntimeWarning)
        enter_run(loop)
        while (task := loop.newest) is not None:
            loop.newest, task.older = task.older, None
            if task.done():
                continue
            try:
                if not _unwind(loop, task):
                    survivors += 1
                    _keep(loop, task)
                    continue
            except KeyboardInterrupt as exc:
                interrupt = exc
            _untie(task)
    if interrupt is not None:
        raise interrupt
    return survivors


def _unwind(loop: DeterministicLoop, task: NumberedTask[Any]) -> bool:
    """Throw until the coroutine ends; False if it does not."""
    quiet: Any = task
    quiet._log_destroy_pending = False  # what asyncio's own gather does
    coro: Any = task.get_coro()
    context = task.context or Context()
    for _ in range(THROWS):
        _enter_task(loop, task)
        try:
            context.run(coro.throw, Evicted())
        except KeyboardInterrupt:
            raise
        except BaseException:  # whatever ends the coroutine ends it
            return True
        finally:
            _leave_task(loop, task)
    return False


def _untie(task: NumberedTask[Any]) -> None:
    """Break the cycle of a task and the future it awaits, so that most runs go by reference count."""
    waiter: Any = getattr(task, "_fut_waiter", None)
    if isinstance(waiter, asyncio.Future) and not isinstance(waiter, asyncio.Task) and not waiter.done():
        # The base class's: an operation's own would record a request to cancel.
        _cancel(waiter)
    task.context = None


def _keep(loop: DeterministicLoop, task: NumberedTask[Any]) -> None:
    """Make a task immortal, and say where it is."""
    import ctypes  # noqa: PLC0415  # slow to load, and needed for code that swallows BaseException for ever

    coro: Any = task.get_coro()
    for held in (task, coro):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))
    stack = "".join(traceback.format_stack(coro.cr_frame)) if getattr(coro, "cr_frame", None) else ""
    loop.host.note(
        f"{task.get_name()} of an evicted run swallowed BaseException {THROWS} times and stays in memory until the "
        f"process ends. Let it re-raise what it does not handle.\n{stack}",
        None,
    )
