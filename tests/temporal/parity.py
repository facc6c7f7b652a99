"""What a program written for Temporal's Python SDK does not find here, name by name and parameter by parameter."""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import json
import re
import typing
from collections.abc import Iterator
from typing import Any

from tests.temporal.api import MODULES, TABLE


def names_of_temporal() -> dict[str, dict[str, Any]]:
    """The recorded names, by module."""
    found: dict[str, dict[str, Any]] = json.loads(TABLE.read_text("utf-8"))["modules"]
    return found


def missing() -> Iterator[str]:
    """Yield `module.name`, `module.Class.member` and `module.function(parameter)` for what is not there."""
    for module in MODULES:
        try:
            ours: Any = importlib.import_module(f"durable.{module}")
        except ModuleNotFoundError:
            ours = None
        for name, what in names_of_temporal()[module].items():
            here = f"{module}.{name}"
            if not hasattr(ours, name):
                yield here
            elif isinstance(what, list):
                yield from _parameters(here, getattr(ours, name), what)
            elif isinstance(what, dict):
                yield from _class(here, getattr(ours, name), what)


def _class(here: str, ours: Any, what: dict[str, Any]) -> Iterator[str]:
    if "members" in what:
        members = set(ours.__members__) if isinstance(ours, enum.EnumMeta) else set(dir(ours))
        yield from (f"{here}.{member}" for member in what["members"] if member not in members)
        return
    if what["init"] is not None and inspect.isclass(ours):
        yield from _parameters(here, ours, what["init"])
    for field in what["fields"]:
        if not _has(ours, field):
            yield f"{here}.{field}"
    for method, parameters in what["methods"].items():
        if not hasattr(ours, method):
            yield f"{here}.{method}"
        else:
            yield from _parameters(f"{here}.{method}", getattr(ours, method), parameters)


def _has(ours: Any, field: str) -> bool:
    """Whether objects of a class have an attribute: defined, annotated, or set when they are made."""
    if hasattr(ours, field):
        return True
    for cls in getattr(ours, "__mro__", ()):
        if field in getattr(cls, "__annotations__", {}):
            return True
        if cls is not object and re.search(rf"self\.{field}\b[^=\n]*= ", _source(cls)):
            return True
    return False


@functools.cache
def _source(cls: Any) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return ""


def _parameters(here: str, ours: Any, wanted: list[str]) -> Iterator[str]:
    known, positional = _known(ours)
    for index, parameter in enumerate(wanted):
        # What is passed by position has no name that a program depends on.
        if parameter not in known and not (index < positional):
            yield f"{here}({parameter})"


def _known(ours: Any) -> tuple[set[str], int]:
    """The names that can be passed to a callable, in any of its overloads, and how many values without a name."""
    function = ours.__init__ if inspect.isclass(ours) else getattr(ours, "__func__", ours)
    known: set[str] = set()
    positional = 0
    overloads = typing.get_overloads(function) if hasattr(function, "__module__") else []
    for one in (function, *overloads):
        try:
            signature = inspect.signature(one)
        except (TypeError, ValueError):
            continue
        count = 0
        for name, parameter in signature.parameters.items():
            if name in ("self", "cls"):
                continue
            known.add(name)
            count += parameter.kind is parameter.POSITIONAL_ONLY
            if parameter.kind is parameter.VAR_POSITIONAL:
                count += 10
                known.add("arg")
            if parameter.kind is parameter.VAR_KEYWORD:
                known |= _keywords(one, parameter.annotation)
        positional = max(positional, count)
    return known, positional


def _keywords(function: Any, annotation: Any) -> set[str]:
    """The keys of `**options: Unpack[SomeTypedDict]`."""
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, function.__globals__)  # an annotation of ours
        except NameError:
            return set()
    for argument in typing.get_args(annotation) or (annotation,):
        keys = getattr(argument, "__annotations__", None)
        if keys is not None and hasattr(argument, "__total__"):
            return set(typing.get_type_hints(argument))
    return set()


if __name__ == "__main__":
    import sys

    sys.stdout.writelines(f"{one}\n" for one in missing())
