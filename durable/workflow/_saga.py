"""Sagas: what was done is undone, in reverse, when a later step fails or the workflow is cancelled."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, ParamSpec, Self, cast, overload

from durable._internal.shown import shown
from durable.activity._activity import Activity
from durable.exceptions import CancelledError, WorkflowTaskError
from durable.workflow._runtime import current
from durable.workflow._waiting import outlast

P = ParamSpec("P")


class Saga:
    """Steps that are undone together. See `workflow.saga`."""

    def __init__(self) -> None:
        self._undo: list[tuple[str, Callable[[], Any], Callable[[], None]]] = []
        self._state = "new"

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError("a saga can be entered once; make another one with workflow.saga()")
        self._state = "open"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "over"
        steps, self._undo = self._undo, []
        # A fault of the task itself is about this code, not about the world: it will be fixed and run again. What is
        # no exception (leaving memory, continuing as new) undoes nothing either.
        failed = isinstance(error, Exception | asyncio.CancelledError) and not isinstance(
            error, WorkflowTaskError
        )
        if not failed:
            for _, _, forget in steps:
                forget()
            return
        if not steps:
            return
        undoing = asyncio.ensure_future(_undo_all(steps))
        cancelled = await outlast([undoing])
        failures = undoing.result()
        if failures:
            raise ExceptionGroup(
                f"{len(failures)} of {len(steps)} undo steps of a saga failed", failures
            ) from error
        if cancelled and not isinstance(error, asyncio.CancelledError):
            raise asyncio.CancelledError from error

    @overload
    def compensate(self, call: Awaitable[object], /) -> None: ...
    @overload
    def compensate(
        self, fn: Callable[P, Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> None: ...
    def compensate(self, what: Any, /, *args: Any, **kwargs: Any) -> None:
        """Undo with this, if the saga fails: a call, or a function and its arguments, which are checked at once.

        It may come before its step, with what is known then: a step that timed out may still have happened.

        Raises:
            RuntimeError: The saga is not open.
            TypeError: The arguments do not fit, or it runs already.
        """
        if self._state != "open":
            raise RuntimeError("compensate() belongs inside of `async with workflow.saga() as saga:`")
        if isinstance(what, asyncio.Future):
            raise TypeError(
                "compensate() takes a call that has not begun, or a function: what was started runs already"
            )
        if isinstance(what, Activity):
            what, args, kwargs = cast(Activity[..., Any], what)(*args, **kwargs), (), {}
        if inspect.isawaitable(what):
            call: Any = cast(Any, what)
            if args or kwargs:
                raise TypeError(f"compensate() takes no further arguments with a call: {shown(call)}")
            name = getattr(call, "__name__", type(call).__name__)
            self._undo.append((name, lambda: call, getattr(call, "close", _nothing)))
            return
        if not callable(what):
            raise TypeError(
                f"compensate() takes a call or a function, not {type(what).__name__}: {shown(what)}"
            )
        name = getattr(what, "__name__", repr(what))
        try:
            inspect.signature(what).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"compensate({name}, ...): {error}") from None
        fn: Callable[..., Any] = what
        self._undo.append((name, lambda: fn(*args, **kwargs), _nothing))


def _nothing() -> None:
    """Forget a function: there is nothing to close."""


async def _undo_all(steps: list[tuple[str, Callable[[], Any], Callable[[], None]]]) -> list[Exception]:
    failures: list[Exception] = []
    for name, undo, _ in reversed(steps):
        try:
            result = undo()
            if inspect.isawaitable(result):
                await result
        except asyncio.CancelledError:
            failures.append(CancelledError(f"undo step {name!r} was cancelled"))
        except WorkflowTaskError:
            raise
        except Exception as error:  # whatever it is, the other steps have to be undone
            failures.append(error)
    return failures


def saga() -> Saga:
    """Return a saga: `async with workflow.saga() as saga:`, and inside `saga.compensate(cancel_flight, flight)`.

    When the block fails or is cancelled, all compensations run, the last one first, and no cancel interrupts them;
    then the failure is raised again. One that fails keeps none of the others from running: an `ExceptionGroup` of
    their errors is raised at the end, with the first failure as its cause.

    Whatever `Exception` leaves the block undoes it, since whoever stands around the block may catch it: a bug in the block
    too, behind which the run waits for a correction with its steps undone. `durable workflow reset` takes it back to before
    them.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    current("workflow.saga()")
    return Saga()
