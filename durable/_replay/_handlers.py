"""Handlers of signals and queries: found by name, bound to their workflow, and what they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from durable.workflow._definition import WorkflowDefinition

Handler = Callable[..., Any]


def bound_handlers(definition: WorkflowDefinition, object: Any) -> dict[str, dict[str | None, Handler]]:
    """Return the handlers that the definition has, bound to the workflow's object, by kind and name."""

    def bound(definitions: Mapping[str | None, Any]) -> dict[str | None, Handler]:
        return {name: entry.fn.__get__(object) for name, entry in definitions.items()}

    return {
        "signal": bound(definition.signals),
        "query": bound(definition.queries),
        "update": bound(definition.updates),
    }


def for_name(dynamic: Handler | None, name: str) -> Handler | None:
    """Return a dynamic handler as one for `name`: it is given the name, and whatever arguments there are."""
    if dynamic is None:
        return None

    def handler(*args: Any) -> Any:
        return dynamic(name, list(args))

    return handler


_hint_cache: dict[Any, list[Any]] = {}


def hints_of(handler: Handler) -> list[Any] | None:
    """Return the type hints of a handler's parameters, in order; None if it takes any number of them."""
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
