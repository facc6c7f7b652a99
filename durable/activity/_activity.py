"""`@activity.defn`, and what it leaves in the place of the function."""

from __future__ import annotations

import sys
from asyncio import Future, events
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, overload

from msgspec.structs import replace

from durable.activity._call import ActivityCall
from durable.activity._definition import ActivityDefinition, define
from durable.activity._options import ActivityConfig, ActivityOptions, merge
from durable.activity._parameters import Parameters
from durable.activity._registry import REGISTRY

__all__ = ["Activity", "ActivityMethod", "defn", "method"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")

_running_loop = events._get_running_loop  # no error when none runs
_frame = sys._getframe  # who calls is worth a tenth of a microsecond


class Activity(Generic[P, R]):
    """A function that runs outside of workflow code, with retries and timeouts, and whose result is recorded.

    Calling it gives a call: awaited in a workflow it is executed by a worker, awaited elsewhere it is the function.

    Attributes:
        definition: What is known about it.
        call_options: The options of the calls it makes: the definition's, and what `options()` put on top.
    """

    definition: ActivityDefinition
    call_options: ActivityOptions

    def __init__(
        self, definition: ActivityDefinition, options: ActivityOptions | None = None, instance: object = None
    ) -> None:
        self._instance = instance
        self._set(definition, options)

    def _set(self, definition: ActivityDefinition, options: ActivityOptions | None) -> None:
        self.definition = definition
        self.call_options = definition.options if options is None else options
        self.__name__: str = definition.fn.__name__
        self.__qualname__ = definition.qualname
        self.__module__ = definition.module
        self.__doc__ = definition.fn.__doc__

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.definition.fn

    @property
    def name(self) -> str:
        """The activity's type, by which workers and histories know it."""
        return self.definition.name

    @property
    def instance(self) -> object:
        """What the activity is a method of, when it was reached through an instance; None otherwise."""
        return self._instance

    @property
    def fn(self) -> Callable[P, Any]:
        """The function itself; of a method reached through its instance, bound to that.

        Calling it is typed as the function is, and never goes near a workflow.
        """
        if self._instance is None:
            return self.definition.fn
        bound: Callable[P, Any] = self.definition.fn.__get__(self._instance)
        return bound

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ActivityCall[R]:
        definition = self.definition
        parameters = definition.parameters
        bound: tuple[Any, ...] = args
        if kwargs or not parameters.required <= len(args) <= len(parameters.names):
            bound = parameters.bind(args, kwargs)
        if not definition.is_async and getattr(_running_loop(), "host", None) is None:
            # Outside of a workflow a plain function is called and returns its value, as Temporal's do.
            value: ActivityCall[R] = definition.run(self._instance, bound)
            return value
        frame = _frame(1)
        return ActivityCall(
            definition.name,
            bound,
            self.call_options,
            definition,
            self._instance,
            frame.f_code,
            frame.f_lasti,
        )

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Schedule the activity at once and return its handle, a future that gets its result.

        Raises:
            NotInWorkflowError: The caller is not workflow code.
            TypeError: The arguments do not fit its parameters.
        """
        definition = self.definition
        frame = _frame(1)
        call: ActivityCall[R] = ActivityCall(
            definition.name,
            definition.parameters.bind(args, kwargs),
            self.call_options,
            definition,
            self._instance,
            frame.f_code,
            frame.f_lasti,
        )
        return call.start()

    def options(self, **options: Unpack[ActivityConfig]) -> Self:
        """Return a copy whose calls have these options on top of the ones here; the activity itself stays as it is.

        Raises:
            TypeError: There is no such option, or its value is of a wrong type.
            ValueError: A duration is not positive or is too long, or a name cannot be one.
        """
        merged = merge(self.call_options, options, f"options() of activity {self.name!r}")
        return type(self)(self.definition, merged, self._instance)

    # ---- methods

    def __set_name__(self, owner: type[Any], name: str) -> None:
        # A class body may also hold an activity that was defined elsewhere; that one is no method of it.
        definition = self.definition
        if definition.qualname.rpartition(".")[0] != owner.__qualname__ or definition.is_method:
            return
        old = definition.parameters
        parameters = Parameters(
            definition.fn,
            old.what,
            old.where,
            method=True,
            local=old.local,
            transactional=definition.transactional,
        )
        self._set(replace(definition, parameters=parameters, is_method=True), self.call_options)
        REGISTRY.add(self.definition)

    @overload
    def __get__(self: Activity[Concatenate[T, Q], R], instance: None, owner: type[T]) -> Activity[Q, R]: ...
    @overload
    def __get__(self: Activity[Concatenate[T, Q], R], instance: T, owner: type[T]) -> Activity[Q, R]: ...
    def __get__(self, instance: Any, owner: Any) -> Any:
        return self.bound_to(instance)

    def bound_to(self, instance: object) -> Any:
        """Return the activity as a method of `instance`; itself, when it is no method or `instance` is None."""
        if instance is None or not self.definition.is_method:
            return self
        bound: Activity[P, R] = type(self)(self.definition, self.call_options, instance)
        return bound

    def __repr__(self) -> str:
        return f"<activity {self.definition.name} from {self.definition.where}>"


class DynamicActivity(Activity[P, R]):
    """An activity that runs every type which has no definition of its own; workflow code calls it by those types."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ActivityCall[R]:
        self._refuse()
        return super().__call__(*args, **kwargs)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """See `Activity`."""
        self._refuse()
        return super().start(*args, **kwargs)

    def _refuse(self) -> None:
        if getattr(_running_loop(), "host", None) is not None:
            raise TypeError(
                f"{self.definition.parameters.what} ({self.definition.where}) has no name to be called by in a "
                'workflow; use workflow.execute_activity("the type", ...)'
            )


class TransactionalActivity(Activity[P, R]):
    """An activity whose function is given a transaction first, which those who call the activity do not pass."""

    @property
    def fn(self) -> Callable[..., Any]:
        """The function itself, to be called with a transaction, in tests for example."""
        return super().fn


class ActivityMethod(Generic[P, R]):
    """A method that is an activity. On the class it is called from workflows, on an instance it is given to a worker."""

    __slots__ = ("_activity",)

    def __init__(self, activity: Activity[P, R]) -> None:
        self._activity = activity

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._activity.__set_name__(owner, name)

    def __get__(self, instance: object, owner: object) -> Activity[P, R]:
        bound: Activity[P, R] = self._activity.bound_to(instance)
        return bound


class _Defn(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Activity[P, R]: ...


class _Method(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], Awaitable[R]], /) -> ActivityMethod[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> ActivityMethod[P, R]: ...


class _TransactionalDefn(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], Awaitable[R]], /) -> TransactionalActivity[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, P], R], /) -> TransactionalActivity[P, R]: ...


class _TransactionalMethod(Protocol):
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, Any, P], Awaitable[R]], /) -> ActivityMethod[P, R]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[Any, Any, P], R], /) -> ActivityMethod[P, R]: ...


@overload
def defn(fn: Callable[P, Awaitable[R]], /) -> Activity[P, R]: ...
@overload
def defn(fn: Callable[P, R], /) -> Activity[P, R]: ...
@overload
def defn(
    *,
    name: str | None = None,
    executor: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    transactional: Literal[False] = False,
    **options: Unpack[ActivityConfig],
) -> _Defn: ...
@overload
def defn(
    *,
    transactional: Literal[True],
    name: str | None = None,
    executor: str | None = None,
    no_thread_cancel_exception: bool = False,
    **options: Unpack[ActivityConfig],
) -> _TransactionalDefn: ...
def defn(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    executor: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    transactional: bool = False,
    **options: Unpack[ActivityConfig],
) -> Any:
    """Make an activity of a function: `async def` runs on the worker's event loop, a plain `def` in a thread.

    Arguments and results are stored as their type hints say. The function may run more than once for one call: after
    a failure, after a timeout, and after the death of the worker that ran it.

    Args:
        fn: The function, when the decorator is used without parentheses.
        name: The activity's type; the function's name by default. Histories refer to it, so it outlives renamings.
        executor: `"process"` for a plain `def` that only a worker with a pool of processes may run. `"async"` or
            `"thread"` to have it checked; that follows from the function. A worker whose `activity_executor` is a pool
            of processes runs every `def` there for which `"thread"` was not said.
        no_thread_cancel_exception: Whether a cancel leaves a plain `def` alone, which then looks at
            `activity.is_cancelled()`. Else `CancelledError` is raised in its thread, wherever it is.
        dynamic: Whether it runs the activities of every type that its worker has no definition of. It takes one
            argument, `args: Sequence[RawValue]`, and has no name; `activity.info().activity_type` tells which it runs,
            and `activity.payload_converter()` reads an argument. A worker serves one at most.
        transactional: Whether the function is given an open transaction in the workflows' database as its first
            argument, which is committed together with its completion: what it writes there happens exactly once.
            Callers do not pass that argument. See `docs/transactions.md`.
        options: See `ActivityConfig`.

    Raises:
        RegistrationError: The function cannot be an activity.
        TypeError: There is no such option, or a value is of a wrong type.
        ValueError: A duration or a name cannot be one.
    """
    merged = merge(ActivityOptions(), options, "@activity.defn")
    frame = _frame(1)

    def decorate(function: Callable[..., Any]) -> Activity[..., Any]:
        definition = define(
            function,
            name=name,
            executor=executor,
            options=merged,
            frame=frame,
            no_thread_cancel_exception=no_thread_cancel_exception,
            dynamic=dynamic,
            transactional=transactional,
        )
        REGISTRY.add(definition)
        return _kind(definition)(definition)

    return decorate if fn is None else decorate(fn)


@overload
def method(fn: Callable[Concatenate[Any, P], Awaitable[R]], /) -> ActivityMethod[P, R]: ...
@overload
def method(fn: Callable[Concatenate[Any, P], R], /) -> ActivityMethod[P, R]: ...
@overload
def method(
    *,
    name: str | None = None,
    executor: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    transactional: Literal[False] = False,
    **options: Unpack[ActivityConfig],
) -> _Method: ...
@overload
def method(
    *,
    transactional: Literal[True],
    name: str | None = None,
    executor: str | None = None,
    no_thread_cancel_exception: bool = False,
    **options: Unpack[ActivityConfig],
) -> _TransactionalMethod: ...
def method(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    executor: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    transactional: bool = False,
    **options: Unpack[ActivityConfig],
) -> Any:
    """Make an activity of a method, so that it can use what its instance was made with.

    Workflow code calls it on the class, `Inventory.reserve("sku", 3)`; a worker is given the instance,
    `Worker(client, activities=[Inventory(pool)])`, or single methods of it.

    Args:
        fn: The method, when the decorator is used without parentheses.
        name: The activity's type; the method's name by default.
        executor: As in `defn`; for a process the instance must be one that can be pickled.
        no_thread_cancel_exception: As in `defn`.
        dynamic: As in `defn`.
        transactional: As in `defn`; the transaction comes behind `self`.
        options: See `ActivityConfig`.

    Raises:
        RegistrationError: The method cannot be an activity.
        TypeError: There is no such option, or a value is of a wrong type.
        ValueError: A duration or a name cannot be one.
    """
    merged = merge(ActivityOptions(), options, "@activity.method")
    frame = _frame(1)

    def decorate(function: Callable[..., Any]) -> ActivityMethod[..., Any]:
        definition = define(
            function,
            name=name,
            executor=executor,
            options=merged,
            frame=frame,
            method=True,
            no_thread_cancel_exception=no_thread_cancel_exception,
            dynamic=dynamic,
            transactional=transactional,
        )
        REGISTRY.add(definition)
        return ActivityMethod(_kind(definition)(definition))

    return decorate if fn is None else decorate(fn)


def _kind(definition: ActivityDefinition) -> type[Activity[..., Any]]:
    if definition.transactional:
        return TransactionalActivity
    return DynamicActivity if definition.dynamic else Activity
