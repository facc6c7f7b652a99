"""An activity call: what calling a definition gives.

Awaited in workflow code it schedules the activity; awaited anywhere else it runs the function. It is a coroutine in
every respect (`gather`, `create_task`, `timeout` take it), scheduled when it is first stepped.
"""

from __future__ import annotations

from asyncio import Future, events
from collections.abc import Generator
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeVar

from durable.activity._deferred import Deferred
from durable.activity._options import ActivityOptions
from durable.exceptions import NotInWorkflowError

if TYPE_CHECKING:
    from durable.activity._definition import ActivityDefinition

__all__ = ["ActivityCall"]

R_co = TypeVar("R_co", covariant=True)

_running_loop = events._get_running_loop  # no error when none runs


class ActivityCall(Deferred[R_co]):
    """One execution of an activity, asked for when it is first awaited.

    Attributes:
        name: The type of the activity.
        args: Its arguments by position, bound and counted already.
        options: What was said about this call, on top of what its definition says.
        definition: Its definition; None when it was called by name.
    """

    __slots__ = ("_instance", "_result_type", "args", "definition", "options")

    args: tuple[Any, ...]
    options: ActivityOptions
    definition: ActivityDefinition | None

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...],
        options: ActivityOptions,
        definition: ActivityDefinition | None = None,
        instance: object = None,
        code: CodeType | None = None,
        instruction: int = 0,
        result_type: Any = None,
    ) -> None:
        self._begun = False
        self._steps = None
        self._code = code
        self._instruction = instruction
        self._instance = instance
        self.name = name
        self.args = args
        self.options = options
        self._result_type = result_type
        self.definition = definition

    @property
    def result_type(self) -> Any:
        """The type its result is decoded as, `Any` where none is written.

        Raises:
            RegistrationError: The hint of its definition cannot be read.
        """
        if self._result_type is not None:
            return self._result_type
        return Any if self.definition is None else self.definition.parameters.returns

    def __await__(self) -> Generator[Any, Any, R_co]:
        # The hottest line of the library: what is awaited is the future's own iterator, with nothing in between.
        if self._begun:
            raise self._again()
        self._begun = True
        host = getattr(_running_loop(), "host", None)
        if host is not None:
            future: Future[R_co] = host.start_activity(self)
            return future.__await__()
        return self._begin()

    def start(self) -> Future[R_co]:
        """Schedule the activity at once and return its handle.

        Raises:
            NotInWorkflowError: The caller is not workflow code.
            RuntimeError: The call was awaited or started before.
        """
        if self._begun:
            raise self._again()
        self._begun = True
        host = getattr(_running_loop(), "host", None)
        if host is None:
            raise NotInWorkflowError(
                f"activity {self.name!r} can be started in workflow code only; elsewhere await the call, or call the "
                f"function itself: {self.name}.fn(...)"
            )
        future: Future[R_co] = host.start_activity(self)
        return future

    def replace(self) -> None:
        """Give this call up for another one that is made of it.

        Raises:
            RuntimeError: The call was awaited or started before.
        """
        if self._begun:
            raise self._again()
        self._begun = True

    def _begin(self) -> Generator[Any, Any, R_co]:
        definition = self.definition
        if definition is None:
            raise NotInWorkflowError(
                f"activity {self.name!r} was called by name, which works in workflow code only: there is no function "
                "to run here"
            )
        result = definition.run(self._instance, self.args)
        steps: Generator[Any, Any, R_co] = result.__await__()
        return steps

    def _kind(self) -> str:
        return "activity"

    def __repr__(self) -> str:
        return f"<activity call {self.name}({', '.join(map(repr, self.args))})>"
