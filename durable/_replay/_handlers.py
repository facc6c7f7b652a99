"""Handlers of messages: found by name, bound to their workflow, what they take, and which are under way."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from durable.common import RawValue
from durable.workflow._definition import HandlerUnfinishedPolicy, WorkflowDefinition

Handler = Callable[..., Any]


def bound_handlers(definition: WorkflowDefinition, object: Any) -> dict[str, dict[str | None, Handler]]:
    """Return the handlers that the definition has, bound to the workflow's object, by kind and name.

    Validators of updates are a kind of their own, under the names of their updates.
    """

    def bound(definitions: Mapping[str | None, Any]) -> dict[str | None, Handler]:
        return {name: entry.fn.__get__(object) for name, entry in definitions.items()}

    return {
        "signal": bound(definition.signals),
        "query": bound(definition.queries),
        "update": bound(definition.updates),
        "validator": {
            name: entry.validator.__get__(object)
            for name, entry in definition.updates.items()
            if entry.validator is not None
        },
    }


def for_name(dynamic: Handler | None, name: str) -> Handler | None:
    """Return a dynamic handler as one for `name`: it is given the name, and whatever arguments there are.

    Where it says that it takes `RawValue`s it is given the arguments as they are stored.
    """
    if dynamic is None:
        return None

    def handler(*args: Any) -> Any:
        return dynamic(name, list(args))

    handler.takes_raw = _takes_raw(dynamic)  # type: ignore[attr-defined]
    return handler


def _takes_raw(dynamic: Handler) -> bool:
    """Whether the type of a dynamic handler's last parameter says `RawValue`."""
    function = inspect.unwrap(getattr(dynamic, "__func__", dynamic))
    last = list(inspect.signature(dynamic).parameters.values())[-1:]
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):
        # Of a local function, or of an object that is called; the text is what there is.
        return any("RawValue" in str(one.annotation) for one in last)
    return any(RawValue in get_args(hints.get(one.name)) for one in last)


_hint_cache: dict[Any, list[Any]] = {}


def hints_of(handler: Handler, count: int) -> list[Any] | None:
    """Return the type hints of a handler's first parameters, in order; None if it takes any number of them.

    Args:
        handler: The handler.
        count: How many arguments there are for it.
    """
    if getattr(handler, "takes_raw", False):
        return [RawValue] * count
    found = _all_hints(handler)
    return None if found is None else found[:count]


def _all_hints(handler: Handler) -> list[Any] | None:
    function = inspect.unwrap(getattr(handler, "__func__", handler))
    if (known := _hint_cache.get(function)) is not None:
        return known
    parameters = inspect.signature(handler).parameters
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters.values()):
        return None
    named = get_type_hints(function) if not isinstance(function, type) else {}
    names = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    found = [named.get(name, Any) for name in names]
    # Only what lives as long as its module is remembered.
    if "<" not in getattr(function, "__qualname__", "<"):
        _hint_cache[function] = found
    return found


class UnderWay:
    """The handlers of one run that have begun and not ended."""

    __slots__ = ("_begun", "_definition", "_number")

    def __init__(self, definition: WorkflowDefinition) -> None:
        self._definition = definition
        self._begun: dict[int, tuple[str, str]] = {}
        self._number = 0

    def begin(self, kind: str, name: str) -> int:
        """Note that the handler of a message begins; return how to say that it ended."""
        self._number += 1
        self._begun[self._number] = (kind, name)
        return self._number

    def end(self, number: int) -> None:
        """Note that a handler ended."""
        self._begun.pop(number, None)

    @property
    def none(self) -> bool:
        """Whether there are none."""
        return not self._begun

    def to_warn_of(self) -> str:
        """Return the handlers that somebody may have meant to finish, by name and number; "" if there are none."""
        counted = Counter(one for one in self._begun.values() if self._warns(*one))
        return ", ".join(f"{kind} {name!r} ({count})" for (kind, name), count in counted.items())

    def _warns(self, kind: str, name: str) -> bool:
        known: Mapping[str | None, Any]
        known = self._definition.signals if kind == "signal" else self._definition.updates
        entry = known.get(name) or known.get(None)
        return entry is None or entry.unfinished_policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON
