"""`Workflow`, what stands in the place of a decorated function or of `Class.run`, and how definitions are found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack, cast

from durable._internal.shown import shown
from durable.activity._activity import Activity
from durable.activity._call import ActivityCall
from durable.activity._registry import only
from durable.exceptions import RegistrationError
from durable.workflow._calls import WorkflowCall
from durable.workflow._child_handle import ChildWorkflowHandle, start_child
from durable.workflow._child_options import ChildWorkflowConfig
from durable.workflow._definition import REGISTRY, WorkflowDefinition, WorkflowOptions, merge
from durable.workflow._runtime import current

__all__ = ["ATTRIBUTE", "Workflow", "collect", "definition_of"]

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")

ATTRIBUTE = "__durable_workflow__"
"""Where a decorated class keeps its `Workflow`."""

_frame = sys._getframe  # who calls is part of errors


class Workflow(Generic[W, P, R]):
    """A function whose progress is recorded, so that it survives the process that runs it.

    Calling it gives a call, which a client starts; nothing runs before that.

    Attributes:
        definition: What is known about it.
        call_options: The options of the calls it makes: the definition's, and what `options()` put on top.
    """

    definition: WorkflowDefinition
    call_options: WorkflowOptions

    def __init__(self, definition: WorkflowDefinition, options: WorkflowOptions | None = None) -> None:
        self.definition = definition
        self.call_options = definition.options if options is None else options
        self.__name__: str = definition.run_fn.__name__
        self.__qualname__ = definition.run_fn.__qualname__
        self.__module__ = definition.module
        self.__doc__ = definition.run_fn.__doc__
        self.__wrapped__: Callable[..., Any] = definition.run_fn

    @property
    def name(self) -> str:
        """The workflow's type, by which clients, workers and histories know it."""
        return self.definition.name

    @property
    def fn(self) -> Callable[..., Coroutine[Any, Any, R]]:
        """The function itself, which of a class-style workflow takes the object first."""
        return self.definition.run_fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> WorkflowCall[W, R]:
        frame = _frame(1)
        definition = self.definition
        if definition.dynamic:
            raise TypeError(no_name(definition))
        bound = definition.parameters.bind(args, kwargs)
        return WorkflowCall(definition, bound, self.call_options, frame.f_code, frame.f_lasti)

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> ChildWorkflowHandle[W, R]:
        """Start it as a child of the workflow that calls, and return its handle once it is there.

        Raises:
            WorkflowAlreadyStartedError: Its id is in use, or may not be used again.
            ConversionError: An argument cannot be stored, or is not of its type.
            NotInWorkflowError: The caller is not workflow code.
            TypeError: The arguments do not fit its parameters.
        """
        others = current(f"{self.name}.start()").others()
        call = self(*args, **kwargs)
        request = call.request()
        call.replace()
        return await start_child(others, request)

    def options(self, **options: Unpack[ChildWorkflowConfig]) -> Self:
        """Return a copy whose calls have these options on top of the ones here; the workflow itself stays as it is.

        Those that only a child has (its id, `parent_close_policy`, ...) are for calls that another workflow awaits.

        Raises:
            TypeError: There is no such option, or its value is of a wrong type.
            ValueError: A duration is not positive or is too long, or a name cannot be one.
        """
        return type(self)(
            self.definition,
            merge(self.call_options, options, f"options() of workflow {self.definition.name!r}", child=True),
        )

    def __repr__(self) -> str:
        return f"<workflow {self.definition.name} from {self.definition.where}>"


def no_name(definition: WorkflowDefinition) -> str:
    """Why a dynamic workflow cannot be meant by its definition."""
    return (
        f"{definition.parameters.what} ({definition.where}) runs workflows of every type and has none itself: pass the "
        "type's name, as text"
    )


def definition_of(value: object) -> WorkflowDefinition:
    """Return the definition of a decorated class, of its `run`, or of a decorated function.

    Raises:
        RegistrationError: It is none of these; the text says what to decorate.
    """
    if isinstance(value, Workflow):
        return cast(Workflow[Any, ..., Any], value).definition
    name = getattr(value, "__qualname__", None) or shown(value)
    if isinstance(value, type):
        found = vars(value).get(ATTRIBUTE)
        if isinstance(found, Workflow):
            return cast(Workflow[Any, ..., Any], found).definition
        inherited = getattr(value, ATTRIBUTE, None)
        because = (
            f", only its base {inherited.definition.qualname} is" if isinstance(inherited, Workflow) else ""
        )
        raise RegistrationError(f"class {name} is not a workflow{because}; put @workflow.defn above it")
    if isinstance(value, Activity | ActivityCall):
        raise RegistrationError(f"{value!r} is an activity; activities are called by workflows")
    if callable(value):
        raise RegistrationError(
            f"{name} is a plain function; put @workflow.defn above it to make it a workflow"
        )
    raise RegistrationError(f"{name} is not a workflow; pass a function or a class under @workflow.defn")


def collect(workflows: Sequence[Any] | None, task_queue: str) -> Mapping[str, WorkflowDefinition]:
    """Return the workflows a worker serves on a queue, by name, with their type hints read.

    Args:
        workflows: Decorated functions and classes, or None for all that were defined in this process for this queue
            or for none.
        task_queue: The worker's queue.

    Raises:
        RegistrationError: Two have one name; one is no workflow, or has a type hint that cannot be read.
    """
    found: dict[str, WorkflowDefinition] = {}
    if workflows is None:
        for name in REGISTRY.names():
            if served := REGISTRY.served(name, task_queue):
                found[name] = only("workflow", served)
    else:
        for item in workflows:
            definition = definition_of(item)
            only("workflow", [found.setdefault(definition.name, definition), definition])
    for definition in found.values():
        definition.check()
    return found
