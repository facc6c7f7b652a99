"""Signals and queries that belong to no class, and handlers of all messages that are set while the workflow runs."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Sequence
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, cast, overload

from durable._internal.ids import check_name
from durable._internal.instants import SECOND, Duration, to_duration
from durable._internal.shown import shown
from durable.activity._parameters import Parameters
from durable.exceptions import RegistrationError
from durable.workflow._calls import QueryCall, SignalCall
from durable.workflow._definition import MessageDefinition, QueryDefinition, SignalDefinition
from durable.workflow._methods import message
from durable.workflow._runtime import current
from durable.workflow._updates import Update

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Handler = Callable[..., Any]

_ORIGINAL = "__durable_handler__"
"""Where a handler that was given the types of its message keeps the function it was made of."""

_frame = sys._getframe  # errors name the line of a signal's definition


class Signal(Generic[T]):
    """A message that any workflow can wait for; none is lost, and each is received once, in the order of arrival.

    `Signal("decide", Decision)`, or `Signal[int | None]("decide")` for types that are not classes. A signal without a
    value is a `Signal[None]("go")`.

    Args:
        name: By which senders know it.
        type: What its value is decoded as.

    Raises:
        TypeError: No type was given.
        ValueError: The name cannot be one.
    """

    if TYPE_CHECKING:

        @overload
        def __init__(self, name: str, type: type[T]) -> None: ...
        @overload
        def __init__(self, name: str) -> None: ...

    def __init__(self, name: str, *types: Any, **named: Any) -> None:
        check_name(name, "name")
        given = (*types, *(value for key, value in named.items() if key == "type"))
        if len(given) != 1 or named.keys() - {"type"}:
            raise TypeError(
                f"Signal({name!r}, ...) needs the type of its value, once: Signal({name!r}, Order), or "
                f"Signal[Order | None]({name!r}), or Signal[None]({name!r}) for a signal without a value"
            )
        kind = type(None) if given[0] is None else given[0]
        frame = _frame(1)
        while frame.f_code.co_filename == __file__ and frame.f_back is not None:
            frame = frame.f_back
        where = f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno}"
        parameters = Parameters.of_value(None if kind is type(None) else kind, f"signal {name!r}", where)
        self.name = name
        self.type: Any = kind
        self.definition: SignalDefinition = SignalDefinition(name, None, parameters)

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item):
            return _TypedSignal(cls, item)

    @overload
    def __call__(self: Signal[None]) -> SignalCall[Any]: ...
    @overload
    def __call__(self, value: T, /) -> SignalCall[Any]: ...
    def __call__(self, *values: Any) -> SignalCall[Any]:
        """Return the signal with its value, for `handle.signal`.

        Raises:
            TypeError: There is not exactly one value (none, for a `Signal[None]`).
        """
        if self.type is type(None) and values == (None,):
            values = ()
        return SignalCall(self.name, self.definition.parameters.bind(values, {}), self.definition)

    async def receive(self, *, timeout: Duration | None = None) -> T:
        """Return the value of the next signal of this name that nobody has taken.

        A signal that came first is there already. One that comes together with the timeout wins, and one that comes
        together with a cancellation stays for the next receiver.

        Args:
            timeout: How long to wait, a durable timer; zero takes only what is there. For ever by default.

        Raises:
            TimeoutError: Nothing came in time (the builtin one).
            NotInWorkflowError: The caller is not workflow code.
            ValueError: The timeout is negative or too long.
        """
        runtime = current(f"{self!r}.receive()")
        seconds = None if timeout is None else to_duration(timeout, "timeout") / SECOND
        future: asyncio.Future[T] = runtime.receive(self.name, self.type)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            if _has_value(future):
                return future.result()
            raise TimeoutError(f"no signal {self.name!r} came within {seconds:g} seconds") from None
        except asyncio.CancelledError:
            if _has_value(future):
                runtime.give_back(self.name, future)
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Return the next value; the iteration never ends by itself."""
        return await self.receive()

    def __repr__(self) -> str:
        return f"Signal({self.name!r})"


class _TypedSignal(GenericAlias):
    """`Signal[int | None]`: makes signals of that type, which need not be a class."""

    def __call__(self, name: str, *types: Any, **named: Any) -> Any:
        if types or named:
            raise TypeError(f"{self!r}({name!r}, ...) says its type twice; leave the second one out")
        made: Any = self.__origin__
        return made(name, self.__args__[0])


def _has_value(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


class Query(Generic[P, R]):
    """A question that any workflow can answer: the decorated function says its name, its parameters and its answer.

    A workflow answers it once it has called `workflow.set_handler(status, lambda: state)`.

    Args:
        fn: A function with type hints and without a body (`...`).
        name: By which askers know it; the function's name by default.

    Raises:
        RegistrationError: The function is async, or takes keyword-only or variable arguments.
    """

    def __init__(self, fn: Callable[P, R], *, name: str | None = None) -> None:
        self.definition: QueryDefinition = message(
            QueryDefinition, fn, name, False, "", _frame(1), method=False
        )
        self.name: str = self.definition.name or ""
        self.__doc__ = fn.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> QueryCall[Any, R]:
        """Return the query with its arguments, for `handle.query`.

        Raises:
            TypeError: The arguments do not fit its parameters.
        """
        return QueryCall(self.name, self.definition.parameters.bind(args, kwargs), self.definition)

    def __repr__(self) -> str:
        return f"Query({self.name!r})"


@overload
def set_handler(message: Query[P, R], fn: Callable[P, R] | None, /) -> None: ...
@overload
def set_handler(message: Signal[None], fn: Callable[[], object] | None, /) -> None: ...
@overload
def set_handler(message: Signal[T], fn: Callable[[T], object] | None, /) -> None: ...
@overload
def set_handler(
    message: Update[P, R],
    fn: Callable[P, Coroutine[Any, Any, R]] | None,
    /,
    *,
    validator: Callable[P, object] | None = None,
) -> None: ...
@overload
def set_handler(
    message: Update[P, R], fn: Callable[P, R], /, *, validator: Callable[P, object] | None = None
) -> None: ...
def set_handler(message: Any, fn: Handler | None, /, *, validator: Handler | None = None) -> None:
    """Answer a query, or handle a signal or an update, from now on with `fn`; None takes the handler away.

    Signals that came before are handed to it at once. Updates that come before the workflow's first step are handed to
    a handler that this step sets; later ones without a handler are refused. Arguments are decoded as the message says,
    whatever the hints of `fn` are, so that a lambda will do.

    Args:
        message: The `Query`, `Signal` or `Update`.
        fn: What handles it.
        validator: For an update: a plain function of the same arguments that refuses it by raising, and changes nothing.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        TypeError: `message` is none of these, `fn` or `validator` does not take its arguments, or a validator is given
            for something else than an update.
        RegistrationError: A type hint of the message cannot be read, or the validator is async.
    """
    runtime = current("workflow.set_handler()")
    if not isinstance(message, Query | Signal | Update):
        raise TypeError(
            f"set_handler takes a Query, a Signal or an Update first, not {type(message).__name__}: {shown(message)}"
        )
    kind = "query" if isinstance(message, Query) else "signal" if isinstance(message, Signal) else "update"
    if validator is not None and kind != "update":
        raise TypeError(f"only updates have a validator, and {message!r} is a {kind}")
    definition: MessageDefinition = cast(Any, message).definition
    handler = None if fn is None else _typed(definition, _checked(kind, fn))
    check = None if validator is None else _typed(definition, _checked_validator(validator))
    runtime.set_handler(kind, definition.name, handler, check)


def _typed(definition: MessageDefinition, fn: Handler) -> Handler:
    """Return `fn` with the signature and the types of a message."""
    signature = definition.signature
    try:
        inspect.signature(fn).bind(*signature.parameters)
    except TypeError as error:
        raise TypeError(
            f"the handler of {definition.parameters.what} must take {signature}: {error}"
        ) from None

    def handler(*args: Any) -> Any:
        return fn(*args)

    setattr(handler, "__signature__", signature)  # noqa: B010  # checkers do not know this attribute
    handler.__annotations__ = dict(zip(signature.parameters, definition.arg_types, strict=True))
    setattr(handler, _ORIGINAL, fn)
    return handler


def _checked(kind: str, fn: object) -> Handler:
    if not callable(fn):
        raise TypeError(f"a handler of a {kind} must be callable, not {type(fn).__name__}: {shown(fn)}")
    if kind == "query" and inspect.iscoroutinefunction(fn):
        raise RegistrationError("a query must answer from what is there: make its handler a plain `def`")
    return fn


def _checked_validator(fn: object) -> Handler:
    if not callable(fn):
        raise TypeError(f"a validator must be callable, not {type(fn).__name__}: {shown(fn)}")
    if inspect.iscoroutinefunction(fn):
        raise RegistrationError("a validator decides before anything is recorded: make it a plain `def`")
    return fn


def _set(
    kind: str, name: str | None, handler: Handler | None, what: str, validator: Handler | None = None
) -> None:
    runtime = current(what)
    runtime.set_handler(
        kind,
        name,
        None if handler is None else _checked(kind, handler),
        None if validator is None else _checked_validator(validator),
    )


def _get(kind: str, name: str | None, what: str) -> Handler | None:
    handler = current(what).handlers(kind).get(name)
    return None if handler is None else getattr(handler, _ORIGINAL, handler)


def set_signal_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Handle the signals of a name from now on with `handler`, those that came before included; None takes it away.

    Arguments are decoded by the handler's type hints.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        TypeError: The handler is not callable.
        ValueError: The name cannot be one.
    """
    _set("signal", check_name(name, "name"), handler, "workflow.set_signal_handler()")


def get_signal_handler(name: str) -> Callable[..., Any] | None:
    """Return the handler of the signals of a name, or None.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return _get("signal", name, "workflow.get_signal_handler()")


def set_dynamic_signal_handler(handler: Callable[[str, Sequence[Any]], Any] | None) -> None:
    """Handle the signals that have no handler of their own, as `handler(name, args)`; None takes it away.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        TypeError: The handler is not callable.
    """
    _set("signal", None, handler, "workflow.set_dynamic_signal_handler()")


def get_dynamic_signal_handler() -> Callable[[str, Sequence[Any]], Any] | None:
    """Return the handler of the signals that have none of their own, or None.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return _get("signal", None, "workflow.get_dynamic_signal_handler()")


def set_query_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Answer the queries of a name from now on with `handler`; None takes it away.

    Arguments are decoded by the handler's type hints.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: The handler is async.
        TypeError: The handler is not callable.
        ValueError: The name cannot be one.
    """
    _set("query", check_name(name, "name"), handler, "workflow.set_query_handler()")


def get_query_handler(name: str) -> Callable[..., Any] | None:
    """Return the handler of the queries of a name, or None.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return _get("query", name, "workflow.get_query_handler()")


def set_dynamic_query_handler(handler: Callable[[str, Sequence[Any]], Any] | None) -> None:
    """Answer the queries that have no handler of their own, as `handler(name, args)`; None takes it away.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: The handler is async.
        TypeError: The handler is not callable.
    """
    _set("query", None, handler, "workflow.set_dynamic_query_handler()")


def get_dynamic_query_handler() -> Callable[[str, Sequence[Any]], Any] | None:
    """Return the handler of the queries that have none of their own, or None.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return _get("query", None, "workflow.get_dynamic_query_handler()")


def set_update_handler(
    name: str, handler: Callable[..., Any] | None, *, validator: Callable[..., Any] | None = None
) -> None:
    """Handle the updates of a name from now on with `handler`; None takes it away.

    Arguments are decoded by the handler's type hints.

    Args:
        name: By which senders know the update.
        handler: What handles it.
        validator: A plain function of the same arguments that refuses an update by raising, and changes nothing.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: The validator is async.
        TypeError: The handler or the validator is not callable.
        ValueError: The name cannot be one.
    """
    _set("update", check_name(name, "name"), handler, "workflow.set_update_handler()", validator)


def get_update_handler(name: str) -> Callable[..., Any] | None:
    """Return the handler of the updates of a name, or None.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return _get("update", name, "workflow.get_update_handler()")


def set_dynamic_update_handler(
    handler: Callable[[str, Sequence[Any]], Any] | None,
    *,
    validator: Callable[[str, Sequence[Any]], Any] | None = None,
) -> None:
    """Handle the updates that have no handler of their own, as `handler(name, args)`; None takes it away.

    Args:
        handler: What handles them.
        validator: What may refuse them, and no others.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: The validator is async.
        TypeError: The handler or the validator is not callable.
    """
    _set("update", None, handler, "workflow.set_dynamic_update_handler()", validator)


def get_dynamic_update_handler() -> Callable[[str, Sequence[Any]], Any] | None:
    """Return the handler of the updates that have none of their own, or None.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return _get("update", None, "workflow.get_dynamic_update_handler()")
