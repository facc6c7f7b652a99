"""An activity's definition: what `@activity.defn` found out about a function, and what was said about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Literal

from msgspec import Struct

from durable._internal.ids import check_name
from durable._internal.shown import shown
from durable.activity._options import ActivityConfig, ActivityOptions
from durable.activity._parameters import Parameters, local_names, where_is
from durable.common import RawValue
from durable.exceptions import RegistrationError

__all__ = ["ActivityConfig", "ActivityDefinition", "ActivityOptions", "Executor", "define"]

Executor = Literal["async", "thread", "process"]

DYNAMIC = "(dynamic)"
"""Stands for the name of a dynamic activity, which has none; no activity may be called so."""


class ActivityDefinition(Struct, frozen=True, eq=False, weakref=True):
    """Everything that is known about an activity from its source. Two definitions are equal if they are one.

    Attributes:
        name: The activity's type, by which workers and histories know it.
        fn: The function as it was written; of a method, with `self`.
        is_async: Whether it is an `async def`.
        executor: Where a worker runs it.
        parameters: How arguments are bound, and their types.
        options: What the decorator says.
        where: Where it is defined, as `path/file.py:12`.
        module: The module it is defined in.
        qualname: Its name within the module.
        is_method: Whether it needs an instance to run.
        no_thread_cancel_exception: Whether a function in a thread is never interrupted, and looks for itself instead.
        dynamic: Whether it runs every type that has no definition of its own.
        executor_said: Whether the executor was said, and does not just follow from the function.
        transactional: Whether its function is given a transaction, which its completion commits.
    """

    name: str
    fn: Callable[..., Any]
    is_async: bool
    executor: Executor
    parameters: Parameters
    options: ActivityOptions
    where: str
    module: str
    qualname: str
    is_method: bool = False
    no_thread_cancel_exception: bool = False
    dynamic: bool = False
    executor_said: bool = False
    transactional: bool = False

    @property
    def signature(self) -> inspect.Signature:
        """What callers pass: the signature without `self`."""
        return self.parameters.signature

    @property
    def arg_types(self) -> tuple[Any, ...]:
        """The type of each parameter, `Any` where none is written; read from the hints at first use.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        return self.parameters.types

    @property
    def ret_type(self) -> Any:
        """The type of the result, `Any` where none is written.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        return self.parameters.returns

    def run(self, instance: object, args: tuple[Any, ...]) -> Any:
        """Call the function and return what it returns: a coroutine, if it is `async def`.

        Raises:
            TypeError: It is a method and there is no instance to call it on, or it needs a transaction.
        """
        if self.transactional:
            raise TypeError(
                f"activity {self.name!r} ({self.where}) is transactional: called in a workflow it gets its transaction "
                f"from the worker; elsewhere call the function with one of your own: {self.name}.fn(connection, ...)"
            )
        return self.call(instance, args)

    def call(self, instance: object, args: tuple[Any, ...]) -> Any:
        """As `run`; `args` begin with the transaction, if it needs one."""
        if not self.is_method:
            return self.fn(*args)
        if instance is None:
            owner, _, name = self.qualname.rpartition(".")
            raise TypeError(
                f"activity {self.name!r} ({self.where}) is a method of {owner}, so outside of a workflow it needs an "
                f"instance: {owner}(...).{name}(...)"
            )
        return self.fn(instance, *args)


def define(
    fn: Callable[..., Any],
    *,
    name: str | None,
    executor: str | None,
    options: ActivityOptions,
    frame: FrameType | None,
    method: bool = False,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    transactional: bool = False,
) -> ActivityDefinition:
    """Return the definition of a function.

    Raises:
        RegistrationError: It cannot be an activity; the text says why, and what would be one.
        TypeError: It is no function.
        ValueError: Its name cannot be one.
    """
    _check_function(fn)
    where = where_is(fn)
    label = _name_of(fn.__name__ if name is None else name, dynamic=dynamic, given=name is not None)
    what = f"dynamic activity {fn.__name__!r}" if dynamic else f"activity {label!r}"
    is_async = inspect.iscoroutinefunction(fn)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise RegistrationError(f"{what} ({where}) is a generator; an activity returns its result, once")
    if not is_async and inspect.iscoroutinefunction(inspect.unwrap(fn)):
        raise RegistrationError(
            f"{what} ({where}) is an `async def` wrapped by a plain function, which a worker would run in a thread; "
            "make the wrapper `async def` too, or put @activity.defn below the other decorator"
        )
    if transactional and executor == "process":
        raise RegistrationError(
            f"{what} ({where}) is transactional, and a transaction cannot go to another process; leave executor= out"
        )
    if transactional and dynamic:
        raise RegistrationError(
            f"{what} ({where}): a dynamic activity cannot be transactional; give the types that are to be "
            "transactional definitions of their own"
        )
    return ActivityDefinition(
        name=label,
        fn=fn,
        is_async=is_async,
        executor=_executor(executor, is_async, f"{what} ({where})"),
        parameters=Parameters(
            fn, what, where, method=method, local=local_names(fn, frame), transactional=transactional
        ),
        options=options,
        where=where,
        module=fn.__module__,
        qualname=fn.__qualname__,
        is_method=method,
        no_thread_cancel_exception=no_thread_cancel_exception,
        dynamic=dynamic,
        executor_said=executor is not None,
        transactional=transactional,
    )


def _name_of(name: object, *, dynamic: bool, given: bool) -> str:
    if dynamic and given:
        raise RegistrationError(
            f"activity {name!r}: a dynamic activity runs every type and has no name itself"
        )
    if dynamic:
        return DYNAMIC
    if name == DYNAMIC:
        raise ValueError(f"name must not be {DYNAMIC!r}: that stands for dynamic activities")
    return check_name(name, "name")


def check_dynamic(definition: ActivityDefinition) -> None:
    """See that a dynamic activity takes what it is given.

    Raises:
        RegistrationError: It does not.
    """
    types = definition.arg_types
    if len(types) != 1 or types[0] not in (Sequence[RawValue], list[RawValue]):
        raise RegistrationError(
            f"{definition.parameters.what} ({definition.where}) must take one argument, annotated Sequence[RawValue]: "
            "it gets the arguments of any activity, as they are stored"
        )


def _check_function(fn: object) -> None:
    if isinstance(fn, staticmethod | classmethod):
        kind = type(fn).__name__  # pyright: ignore[reportUnknownArgumentType]
        raise TypeError(f"put @activity.defn below @{kind}, so that it sees the function")
    if isinstance(fn, type):
        raise TypeError(
            f"@activity.defn decorates functions and methods, not the class {fn.__qualname__}; decorate its methods"
        )
    if not callable(fn) or not hasattr(fn, "__qualname__"):
        raise TypeError(
            f"@activity.defn decorates functions and methods, not {type(fn).__name__}: {shown(fn)}"
        )


def _executor(said: str | None, is_async: bool, what: str) -> Executor:
    if said is None or (said == "async" and is_async) or (said == "thread" and not is_async):
        return "async" if is_async else "thread"
    if said == "process" and not is_async:
        return "process"
    if said in ("async", "thread", "process"):
        raise ValueError(
            f"{what}: executor={shown(said)} does not fit, since `async def` runs on the event loop "
            "and a plain `def` in a thread or a process"
        )
    raise ValueError(f"{what}: executor must be 'async', 'thread' or 'process', not {shown(said)}")
