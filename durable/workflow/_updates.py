"""Updates that belong to no class, and what a handler can ask about itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from durable.workflow._calls import UpdateCall
from durable.workflow._definition import UpdateDefinition
from durable.workflow._methods import message
from durable.workflow._runtime import current

P = ParamSpec("P")
R = TypeVar("R")
Q = ParamSpec("Q")
S = TypeVar("S")

_frame = sys._getframe  # errors name the line of an update's definition


class Update(Generic[P, R]):
    """A message with an answer that any workflow can take: the decorated function says its name, parameters and answer.

    A workflow takes it once it has called `workflow.set_handler(rename, fn)`.

    Args:
        fn: A function with type hints and without a body (`...`).
        name: By which senders know it; the function's name by default.

    Raises:
        RegistrationError: The function takes keyword-only or variable arguments.
    """

    definition: UpdateDefinition
    name: str

    if TYPE_CHECKING:
        # What an `async def` returns is what it awaits to; of the two, both checkers read `__new__`.
        @overload
        def __new__(
            cls, fn: Callable[Q, Coroutine[Any, Any, S]], *, name: str | None = None
        ) -> Update[Q, S]: ...
        @overload
        def __new__(cls, fn: Callable[Q, S], *, name: str | None = None) -> Update[Q, S]: ...
        def __new__(cls, fn: Callable[..., Any], *, name: str | None = None) -> Any: ...

    else:

        def __init__(self, fn, *, name=None):
            self.definition = message(UpdateDefinition, fn, name, False, "", _frame(1), method=False)
            self.name = self.definition.name
            self.__doc__ = fn.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> UpdateCall[Any, R]:
        """Return the update with its arguments, for `handle.execute_update`.

        Raises:
            TypeError: The arguments do not fit its parameters.
        """
        return UpdateCall(self.name, self.definition.parameters.bind(args, kwargs), self.definition)

    def __repr__(self) -> str:
        return f"Update({self.name!r})"


@dataclass(frozen=True)
class UpdateInfo:
    """Which update a handler serves.

    Attributes:
        id: The id its sender gave it, or was given for it.
        name: By which senders know the update.
    """

    id: str
    name: str


CURRENT: ContextVar[UpdateInfo | None] = ContextVar("durable_current_update", default=None)
"""The update whose handler, or a task of it, is running."""


def current_update_info() -> UpdateInfo | None:
    """Return which update is being handled, in its handler and in tasks that this starts; None elsewhere."""
    return CURRENT.get()


def all_handlers_finished() -> bool:
    """Whether no handler of a signal or an update is still under way.

    `await workflow.wait_condition(workflow.all_handlers_finished)` before returning lets them finish: those that are
    still under way when a workflow ends are abandoned.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.all_handlers_finished()").all_handlers_finished()
