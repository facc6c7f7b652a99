"""Messages as people write them: a call object, or Temporal's way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable._internal.ids import check_name
from durable._internal.shown import shown
from durable.client._start_options import argument_list
from durable.workflow._calls import QueryCall, SignalCall, UpdateCall
from durable.workflow._definition import (
    MessageDefinition,
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
)

_MESSAGES: dict[type[Any], tuple[type[MessageDefinition], str]] = {
    SignalCall: (SignalDefinition, "signal"),
    QueryCall: (QueryDefinition, "query"),
    UpdateCall: (UpdateDefinition, "execute_update"),
}
"""Each kind of message: what defines it, and the method of a handle that takes it."""


def call_of(said: Any, values: tuple[Any, ...], args: Sequence[Any], call: type[Any]) -> Any:
    """Return a call object, or name and arguments, from whichever way a message was written."""
    if isinstance(said, call):
        if values or args:
            raise TypeError("a call has its arguments already; pass nothing behind it")
        return said
    more = argument_list(args)
    if values and more:
        raise TypeError("pass either one argument or args=[...], not both")
    arguments = tuple(more) or values
    if isinstance(said, str):
        return check_name(said, "name"), arguments
    if callable(said):
        # Looked at before it is called: the wrong arguments of the wrong kind of message would be the error.
        definition = getattr(said, "definition", None)
        for kind, (of, method) in _MESSAGES.items():
            if kind is not call and isinstance(definition, of):
                raise TypeError(f"{definition.name!r} is for handle.{method}(), it makes no {call.__name__}")
        made = said(*arguments)
        if isinstance(made, call):
            return made
    raise TypeError(f"expected a {call.__name__}, a decorated method or a name, not {shown(said)}")


def signal_of(
    said: Any, values: tuple[Any, ...], args: Sequence[Any]
) -> tuple[str, Sequence[Any], Sequence[Any] | None]:
    """Return a signal's name, its arguments and their types, where these are known, from whichever way it was written."""
    call = call_of(said, values, args, SignalCall)
    if isinstance(call, SignalCall):
        return call.name, call.args, call.definition.arg_types
    name, arguments = call
    return name, arguments, None
