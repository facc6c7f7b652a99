"""The decorators inside a workflow class, and the descriptors they leave.

On the class a message is something to send, `handle.signal(Publish.decide(d))`; on the object it is the plain method.
The descriptor's owner gives the call its class, so a subclass sends what it inherits under its own name.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine
from types import FrameType, MethodType
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, Protocol, TypeVar, overload

from msgspec.structs import replace

from durable._internal.ids import check_name
from durable._internal.shown import shown
from durable.activity._parameters import Parameters, local_names, where_is
from durable.exceptions import RegistrationError
from durable.workflow._calls import QueryCall, SignalCall, UpdateCall
from durable.workflow._definition import (
    DynamicWorkflowConfig,
    HandlerUnfinishedPolicy,
    MessageDefinition,
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
)
from durable.workflow._workflow import ATTRIBUTE, Workflow

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
V = TypeVar("V")
F = TypeVar("F", bound=Callable[..., None])
M = TypeVar("M", bound=MessageDefinition)

WARN_AND_ABANDON = HandlerUnfinishedPolicy.WARN_AND_ABANDON

INIT = "__durable_workflow_init__"
"""What `@workflow.init` leaves on an `__init__`."""

_frame = sys._getframe  # local classes resolve their hints where they stand

DYNAMIC_CONFIG = "__durable_dynamic_config__"
"""What `@workflow.dynamic_config` leaves on a method."""


class RunMethod(Generic[W, P, R]):
    """The method that is the workflow. On the class it is a `Workflow`."""

    def __init__(self, fn: Callable[..., Any], frame: FrameType | None) -> None:
        self.fn = fn
        self.local: dict[str, Any] = local_names(fn, frame)
        self.__doc__ = fn.__doc__

    @overload
    def __get__(self, instance: None, owner: type[V]) -> Workflow[V, P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type[V]) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is not None:
            return MethodType(self.fn, instance)
        return owner.__dict__.get(ATTRIBUTE, self)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        owner = self.fn.__qualname__.rpartition(".")[0]
        raise RegistrationError(
            f"{owner} ({where_is(self.fn)}) has a @workflow.run and no @workflow.defn; put @workflow.defn above the "
            "class (a base class's does not count)"
        )


class BoundSignal(Generic[W, P]):
    """A signal of a workflow class; calling it gives what `handle.signal` sends."""

    def __init__(self, definition: SignalDefinition) -> None:
        self.definition = definition

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> SignalCall[W]:
        definition = self.definition
        return SignalCall(_named(definition), definition.parameters.bind(args, kwargs), definition)


class SignalMethod(Generic[W, P]):
    """A method that handles a signal."""

    def __init__(self, definition: SignalDefinition, fn: Callable[..., Any]) -> None:
        self.definition = definition
        self.fn = fn
        self._bound: BoundSignal[Any, P] = BoundSignal(definition)

    @overload
    def __get__(self, instance: None, owner: type[V]) -> BoundSignal[V, P]: ...
    @overload
    def __get__(self, instance: object, owner: type[V]) -> Callable[P, Any]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self._bound if instance is None else MethodType(self.fn, instance)


class BoundQuery(Generic[W, P, R]):
    """A query of a workflow class; calling it gives what `handle.query` asks."""

    def __init__(self, definition: QueryDefinition) -> None:
        self.definition = definition

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> QueryCall[W, R]:
        definition = self.definition
        return QueryCall(_named(definition), definition.parameters.bind(args, kwargs), definition)


class QueryMethod(Generic[W, P, R]):
    """A method that answers a query."""

    def __init__(self, definition: QueryDefinition, fn: Callable[..., Any]) -> None:
        self.definition = definition
        self.fn = fn
        self._bound: BoundQuery[Any, P, R] = BoundQuery(definition)

    @overload
    def __get__(self, instance: None, owner: type[V]) -> BoundQuery[V, P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type[V]) -> Callable[P, R]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self._bound if instance is None else MethodType(self.fn, instance)


class BoundUpdate(Generic[W, P, R]):
    """An update of a workflow class; calling it gives the update with its arguments."""

    def __init__(self, definition: UpdateDefinition) -> None:
        self.definition = definition

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> UpdateCall[W, R]:
        definition = self.definition
        return UpdateCall(_named(definition), definition.parameters.bind(args, kwargs), definition)


class UpdateMethod(Generic[W, P, R]):
    """A method that handles an update."""

    def __init__(self, definition: UpdateDefinition, fn: Callable[..., Any]) -> None:
        self.definition: UpdateDefinition = definition
        self.fn = fn

    @overload
    def __get__(self, instance: None, owner: type[V]) -> BoundUpdate[V, P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type[V]) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is not None:
            return MethodType(self.fn, instance)
        bound: BoundUpdate[Any, P, R] = BoundUpdate(self.definition)
        return bound

    def validator(self, fn: Callable[Concatenate[W, P], None]) -> Callable[Concatenate[W, P], None]:
        """Make a method the validator of this update: raising in it refuses the update, and leaves no trace.

        Raises:
            RegistrationError: It is async, takes other parameters than the handler, or there is one already.
        """
        definition = self.definition
        what = f"validator of update {definition.name!r}"
        where = where_is(fn)
        if inspect.iscoroutinefunction(fn):
            raise RegistrationError(
                f"{what} ({where}) must be a plain `def`: it decides before anything is recorded"
            )
        if definition.validator is not None:
            raise RegistrationError(
                f"{what} ({where}): there is one already, at {where_is(definition.validator)}"
            )
        names = Parameters(fn, what, where, method=True).names
        if names != definition.parameters.names:
            raise RegistrationError(
                f"{what} ({where}) takes ({', '.join(names)}) and the update ({', '.join(definition.parameters.names)});"
                " they get the same arguments"
            )
        self.definition = replace(definition, validator=fn)
        return fn


def _named(definition: MessageDefinition) -> str:
    if definition.name is None:
        kind = type(definition).__name__.removesuffix("Definition").lower()
        raise TypeError(
            f"the dynamic {kind} handler at {definition.where} has no name to call it by: pass the name"
        )
    return definition.name


def message(
    kind: type[M],
    fn: Callable[..., Any],
    name: str | None,
    dynamic: bool,
    description: str,
    frame: FrameType | None,
    *,
    method: bool = True,
) -> M:
    """Return the definition of a message from its handler.

    Raises:
        RegistrationError: It cannot be one; the text says why.
    """
    word = kind.__name__.removesuffix("Definition").lower()
    if not inspect.isroutine(fn):
        raise TypeError(f"@workflow.{word} decorates functions, not {type(fn).__name__}: {shown(fn)}")
    where = where_is(fn)
    if dynamic and name is not None:
        raise RegistrationError(
            f"{word} {name!r} ({where}): a dynamic handler takes every name and has none itself"
        )
    label = None if dynamic else check_name(fn.__name__ if name is None else name, "name")
    what = f"the dynamic {word} handler" if label is None else f"{word} {label!r}"
    if kind is QueryDefinition and inspect.iscoroutinefunction(fn):
        raise RegistrationError(
            f"{what} ({where}) is `async def`, and a query must answer from what is there: make it a plain `def`"
        )
    parameters = Parameters(fn, what, where, method=method, local=local_names(fn, frame))
    if dynamic and len(parameters.names) != 2:
        raise RegistrationError(
            f"{what} ({where}) must take two parameters: the name, and the list of arguments"
        )
    return kind(label, fn, parameters, inspect.iscoroutinefunction(fn), description)


def _handler(
    method: Callable[[M, Callable[..., Any]], Any],
    kind: type[M],
    fn: Callable[..., Any] | None,
    name: str | None,
    dynamic: bool,
    description: str,
    frame: FrameType,
    unfinished_policy: HandlerUnfinishedPolicy = WARN_AND_ABANDON,
) -> Any:
    """What a decorator returns: the handler, or without a function, as it is in `@workflow.signal()`, what makes it."""
    if not isinstance(unfinished_policy, HandlerUnfinishedPolicy):
        raise TypeError(
            f"unfinished_policy must be a HandlerUnfinishedPolicy, not {type(unfinished_policy).__name__}"
        )

    def decorate(function: Callable[..., Any]) -> Any:
        definition = message(kind, function, name, dynamic, description, frame)
        if unfinished_policy is not WARN_AND_ABANDON:
            definition = replace(definition, unfinished_policy=unfinished_policy)
        return method(definition, function)

    return decorate if fn is None else decorate(fn)


class _Signal(Protocol):
    def __call__(self, fn: Callable[Concatenate[W, P], Any], /) -> SignalMethod[W, P]: ...


class _Query(Protocol):
    def __call__(self, fn: Callable[Concatenate[W, P], R], /) -> QueryMethod[W, P, R]: ...


class _Update(Protocol):
    @overload
    def __call__(
        self, fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /
    ) -> UpdateMethod[W, P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], R], /) -> UpdateMethod[W, P, R]: ...


def run(fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /) -> RunMethod[W, P, R]:
    """Make a method the workflow of its class: it runs once, and its result is the workflow's.

    Raises:
        RegistrationError: It is no `async def`.
    """
    if not inspect.iscoroutinefunction(fn):
        label = getattr(fn, "__qualname__", repr(fn))
        raise RegistrationError(
            f"@workflow.run: {label} must be an `async def`; write `async def` in place of `def`"
        )
    return RunMethod(fn, _frame(1))


def init(fn: F, /) -> F:
    """Make `__init__` take the arguments of the workflow, so that signal handlers that run first find them.

    Raises:
        RegistrationError: It is another method than `__init__`.
    """
    if getattr(fn, "__name__", "") != "__init__":
        raise RegistrationError(
            f"@workflow.init decorates __init__, not {getattr(fn, '__qualname__', repr(fn))}"
        )
    setattr(fn, INIT, True)
    return fn


def dynamic_config(fn: Callable[[Any], DynamicWorkflowConfig], /) -> Callable[[Any], DynamicWorkflowConfig]:
    """Make a method say how a run of a dynamic workflow is treated; it is asked once, when the object has been made.

    It may look at everything, `workflow.info()` say, and change nothing. What it raises blocks the run as a defect.

    Raises:
        RegistrationError: It is `async`, or takes more than `self`.
    """
    name = getattr(fn, "__qualname__", repr(fn))
    if not inspect.isfunction(fn) or inspect.iscoroutinefunction(fn):
        raise RegistrationError(
            f"@workflow.dynamic_config: {name} must be a plain `def`: it is asked before the first line of the workflow"
        )
    if len(inspect.signature(fn).parameters) != 1:
        raise RegistrationError(f"@workflow.dynamic_config: {name} must take self and nothing else")
    setattr(fn, DYNAMIC_CONFIG, True)
    return fn


@overload
def signal(fn: Callable[Concatenate[W, P], Any], /) -> SignalMethod[W, P]: ...
@overload
def signal(
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = ...,
    description: str = "",
) -> _Signal: ...
def signal(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = WARN_AND_ABANDON,
    description: str = "",
) -> Any:
    """Make a method the handler of a signal: it runs once for each, in the order in which they were recorded.

    Args:
        fn: The method, when the decorator is used without parentheses.
        name: By which senders know the signal; the method's name by default.
        dynamic: Whether it takes the signals that have no handler of their own, as `(self, name, args)`;
            `args: Sequence[RawValue]` has them as they are stored.
        unfinished_policy: Whether the log is to say when the workflow ends while the handler is under way.
        description: A line for people.

    Raises:
        RegistrationError: The method cannot handle a signal.
        ValueError: The name cannot be one.
    """
    return _handler(
        SignalMethod, SignalDefinition, fn, name, dynamic, description, _frame(1), unfinished_policy
    )


@overload
def query(fn: Callable[Concatenate[W, P], R], /) -> QueryMethod[W, P, R]: ...
@overload
def query(*, name: str | None = None, dynamic: bool = False, description: str = "") -> _Query: ...
def query(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    description: str = "",
) -> Any:
    """Make a method the answer to a query: it may look at everything and change nothing.

    Args:
        fn: The method, when the decorator is used without parentheses.
        name: By which askers know the query; the method's name by default.
        dynamic: Whether it answers the queries that have no handler of their own, as `(self, name, args)`;
            `args: Sequence[RawValue]` has them as they are stored.
        description: A line for people.

    Raises:
        RegistrationError: The method cannot answer a query.
        ValueError: The name cannot be one.
    """
    return _handler(QueryMethod, QueryDefinition, fn, name, dynamic, description, _frame(1))


@overload
def update(fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /) -> UpdateMethod[W, P, R]: ...
@overload
def update(fn: Callable[Concatenate[W, P], R], /) -> UpdateMethod[W, P, R]: ...
@overload
def update(
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = ...,
    description: str = "",
) -> _Update: ...
def update(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    unfinished_policy: HandlerUnfinishedPolicy = WARN_AND_ABANDON,
    description: str = "",
) -> Any:
    """Make a method the handler of an update: a message whose sender gets what the handler returns or raises.

    A method under `@<name>.validator` may refuse the update before it leaves any trace. Accepted, it is handled once,
    and its outcome survives the run. A failure (an `ApplicationError`, say) fails the update and not the workflow; any
    other exception is taken for a defect and blocks the workflow's task, like everywhere in workflow code.

    Args:
        fn: The method, when the decorator is used without parentheses.
        name: By which senders know the update; the method's name by default.
        dynamic: Whether it takes the updates that have no handler of their own, as `(self, name, args)`;
            `args: Sequence[RawValue]` has them as they are stored. Its validator
            serves these only.
        unfinished_policy: Whether the log is to say when the workflow ends while the handler is under way.
        description: A line for people.

    Raises:
        RegistrationError: The method cannot handle an update.
        ValueError: The name cannot be one.
    """
    return _handler(
        UpdateMethod, UpdateDefinition, fn, name, dynamic, description, _frame(1), unfinished_policy
    )
