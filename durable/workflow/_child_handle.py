"""Handles that workflow code has of other workflows: of its children, and of any workflow by its id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, TypeVarTuple, cast, overload

from durable._internal.ids import check_name, check_text
from durable.workflow._calls import SignalCall
from durable.workflow._definition import SignalDefinition
from durable.workflow._runtime import ChildRequest, Others, Target, current

__all__ = ["ChildWorkflowHandle", "ExternalWorkflowHandle", "start_child"]

W = TypeVar("W")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class ChildWorkflowHandle(asyncio.Future[R], Generic[W, R]):
    """A child workflow that is there: a future that gets its result, and whose `cancel()` cancels the child.

    Awaiting it raises `ChildWorkflowError` when the child fails; `cause` says why. What `cancel()` means to the one who
    awaits, the child's `cancellation_type` says.

    Attributes:
        id: The child's workflow id.
        first_execution_run_id: The run that was started; it may have gone on in others.
    """

    __slots__ = ()

    id: str
    first_execution_run_id: str

    @overload
    async def signal(self: ChildWorkflowHandle[W, Any], call: SignalCall[W], /) -> None: ...
    @overload
    async def signal(
        self: ChildWorkflowHandle[W, Any], signal: Callable[[*Ts], SignalCall[W]], /, *values: *Ts
    ) -> None: ...
    @overload
    async def signal(
        self: ChildWorkflowHandle[W, Any], signal: Callable[..., SignalCall[W]], /, *, args: Sequence[Any]
    ) -> None: ...
    @overload
    async def signal(self, signal: str, /, *values: Any, args: Sequence[Any] = ...) -> None: ...
    async def signal(self, signal: Any, /, *values: object, args: Sequence[Any] = ()) -> None:
        """Send a signal to the child; once this returns it is in the child's inbox, and reaches it exactly once.

        Args:
            signal: A call (`Publish.decide(decision)`), or in Temporal's way a signal method or a name, with its
                argument behind it.
            values: The argument, in Temporal's way.
            args: Several arguments, in Temporal's way.

        Raises:
            ApplicationError: The child is closed.
            ConversionError: An argument cannot be stored, or is not of its type.
            NotInWorkflowError: The caller is not workflow code.
            TypeError: The arguments do not fit the signal.
        """
        await _signal(
            Target(self.id, first_run_id=self.first_execution_run_id), "child", signal, values, args
        )


class ExternalWorkflowHandle(Generic[W]):
    """Any workflow of the same database, by its id: to be signalled, and to be asked to end.

    Made by `get_external_workflow_handle`; making one asks nothing.

    Attributes:
        id: The workflow's id.
        run_id: The run that messages are for; None for whichever is open.
    """

    def __init__(self, id: str, *, run_id: str | None = None) -> None:
        self.id = check_name(id, "workflow_id")
        self.run_id = None if run_id is None else check_name(run_id, "run_id")

    def __repr__(self) -> str:
        return f"<ExternalWorkflowHandle {self.id!r} run {self.run_id}>"

    @overload
    async def signal(self: ExternalWorkflowHandle[W], call: SignalCall[W], /) -> None: ...
    @overload
    async def signal(
        self: ExternalWorkflowHandle[W], signal: Callable[[*Ts], SignalCall[W]], /, *values: *Ts
    ) -> None: ...
    @overload
    async def signal(
        self: ExternalWorkflowHandle[W], signal: Callable[..., SignalCall[W]], /, *, args: Sequence[Any]
    ) -> None: ...
    @overload
    async def signal(self, signal: str, /, *values: Any, args: Sequence[Any] = ...) -> None: ...
    async def signal(self, signal: Any, /, *values: object, args: Sequence[Any] = ()) -> None:
        """Send a signal; once this returns it is in the workflow's inbox, and reaches it exactly once.

        Args:
            signal: A call (`Publish.decide(decision)`), or in Temporal's way a signal method or a name, with its
                argument behind it.
            values: The argument, in Temporal's way.
            args: Several arguments, in Temporal's way.

        Raises:
            ApplicationError: There is no such workflow, or it is closed.
            ConversionError: An argument cannot be stored, or is not of its type.
            NotInWorkflowError: The caller is not workflow code.
            TypeError: The arguments do not fit the signal.
        """
        await _signal(Target(self.id, run_id=self.run_id or ""), "external", signal, values, args)

    async def cancel(self, reason: str = "") -> None:
        """Ask the workflow to cancel itself; once this returns the request is in its inbox.

        Raises:
            ApplicationError: There is no such workflow, or it is closed.
            NotInWorkflowError: The caller is not workflow code.
            TypeError: The reason is not a string.
        """
        others = current("cancel() of an external workflow's handle").others()
        said: object = reason
        if not isinstance(said, str):
            raise TypeError(f"reason must be a string, not {type(said).__name__}")
        await others.cancel(Target(self.id, run_id=self.run_id or ""), check_text(said, "reason"))


async def start_child(others: Others, request: ChildRequest) -> ChildWorkflowHandle[Any, Any]:
    """Ask for a child, and return its handle once it is there.

    Raises:
        WorkflowAlreadyStartedError: Its id is in use, or may not be used again.
        ConversionError: An argument cannot be stored, or is not of its type.
    """
    return cast(ChildWorkflowHandle[Any, Any], await others.start_child(request))


async def _signal(
    target: Target, kind: str, signal: Any, values: tuple[Any, ...], args: Sequence[Any]
) -> None:
    others = current(
        f"signal() of a handle of {'a child' if kind == 'child' else 'an external'} workflow"
    ).others()
    name, arguments, definition = _said(signal, values, args)
    await others.signal(target, name, arguments, None if definition is None else definition.arg_types)


def _said(
    signal: Any, values: tuple[Any, ...], args: object
) -> tuple[str, tuple[Any, ...], SignalDefinition | None]:
    """Return a signal's name, its arguments and its definition, from whichever way it was written."""
    if not isinstance(args, list | tuple):
        raise TypeError(f"args must be a list or a tuple of the arguments, not {type(args).__name__}")
    listed = cast(Sequence[Any], args)
    arguments: tuple[Any, ...] = (*values, *listed)
    if values and listed:
        raise TypeError("pass either one argument or args=[...], not both")
    made: Any = signal
    if isinstance(signal, str):
        return check_name(signal, "name"), arguments, None
    if isinstance(signal, SignalCall):
        if arguments:
            raise TypeError("a call has its arguments already; pass nothing behind it")
    elif callable(signal):
        made = signal(*arguments)
    if not isinstance(made, SignalCall):
        raise TypeError(f"expected a SignalCall, a signal method or a name, not {signal!r}")
    return made.name, made.args, made.definition
