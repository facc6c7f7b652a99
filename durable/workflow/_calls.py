"""What calling a workflow, a signal, a query or an update gives: the call as a value, typed, for a client to send.

`W` is the workflow's class (None in function style). A call to start is covariant in it, a message contravariant: a
handle of one class refuses the messages of another before anything runs.
"""

from __future__ import annotations

from collections.abc import Generator
from types import CodeType
from typing import Any, Generic, TypeVar

from msgspec import Struct

from durable.activity._deferred import Deferred
from durable.exceptions import NotInWorkflowError
from durable.workflow._definition import (
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    WorkflowDefinition,
    WorkflowOptions,
)
from durable.workflow._runtime import ChildRequest, find

__all__ = ["QueryCall", "SignalCall", "UpdateCall", "WorkflowCall"]

W_co = TypeVar("W_co", covariant=True)
W_contra = TypeVar("W_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class WorkflowCall(Deferred[R_co], Generic[W_co, R_co]):
    """A workflow with its arguments, for a client to start, or for another workflow to await: its child then.

    Attributes:
        name: The type of the workflow.
        args: Its arguments by position, bound and counted already.
        options: What was said about this call, on top of what its definition says.
        definition: Its definition.
    """

    __slots__ = ("args", "definition", "options")

    name: str
    args: tuple[Any, ...]
    options: WorkflowOptions
    definition: WorkflowDefinition

    def __init__(
        self,
        definition: WorkflowDefinition,
        args: tuple[Any, ...],
        options: WorkflowOptions,
        code: CodeType | None = None,
        instruction: int = 0,
    ) -> None:
        self._begun = False
        self._steps = None
        # Nobody warns about one that a program makes for a client: only workflow code is meant to await it.
        self._code = code if find() is not None else None
        self._instruction = instruction
        self.name = definition.name
        self.args = args
        self.options = options
        self.definition = definition

    @property
    def result_type(self) -> Any:
        """The type its result is decoded as, `Any` where none is written.

        Raises:
            RegistrationError: The hint of its definition cannot be read.
        """
        return self.definition.ret_type

    def _begin(self) -> Generator[Any, Any, R_co]:
        host: Any = find()
        if host is None:
            raise NotInWorkflowError(
                f"a workflow cannot be awaited here: use `await client.execute_workflow({self.name}(...), id=...)` to "
                "run it and get its result, or client.start_workflow to go on meanwhile"
            )
        steps: Generator[Any, Any, R_co] = host.others().run_child(self.request()).__await__()
        return steps

    def request(self) -> ChildRequest:
        """Return what it asks for when a workflow awaits it: a child.

        Raises:
            RegistrationError: The hint of its definition cannot be read.
        """
        return ChildRequest(self.name, self.args, self.options, self.definition, self.result_type)

    def replace(self) -> None:
        """Give this call up for what was made of it.

        Raises:
            RuntimeError: The call was awaited or started before.
        """
        if self._begun:
            raise self._again()
        self._begun = True

    def _kind(self) -> str:
        return "workflow"

    def __repr__(self) -> str:
        return f"<workflow call {self.name}({', '.join(map(repr, self.args))})>"


class SignalCall(Struct, Generic[W_contra], frozen=True):
    """A signal with its arguments, for `handle.signal`.

    Attributes:
        name: The signal's name.
        args: Its arguments by position, bound and counted already.
        definition: Its definition.
    """

    name: str
    args: tuple[Any, ...]
    definition: SignalDefinition


class QueryCall(Struct, Generic[W_contra, R_co], frozen=True):
    """A query with its arguments, for `handle.query`.

    Attributes:
        name: The query's name.
        args: Its arguments by position, bound and counted already.
        definition: Its definition.
    """

    name: str
    args: tuple[Any, ...]
    definition: QueryDefinition

    @property
    def result_type(self) -> Any:
        """The type its answer is decoded as, `Any` where none is written."""
        return self.definition.ret_type


class UpdateCall(Struct, Generic[W_contra, R_co], frozen=True):
    """An update with its arguments.

    Attributes:
        name: The update's name.
        args: Its arguments by position, bound and counted already.
        definition: Its definition.
    """

    name: str
    args: tuple[Any, ...]
    definition: UpdateDefinition

    @property
    def result_type(self) -> Any:
        """The type its answer is decoded as, `Any` where none is written."""
        return self.definition.ret_type
