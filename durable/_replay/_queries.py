"""Queries: what a run's code answers from the state it is in, and what every run can tell about itself.

A handler runs beside the code, in no turn. What it would change is refused, and what it may have spoiled before the
refusal is not used again: the instance is thrown away and made anew from the log.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from durable._replay._handlers import Handler, for_name, hints_of
from durable._replay._loop import DeterministicLoop
from durable._replay._stacks import frames, unfinished
from durable.converter import DataConverter
from durable.history import Payload, Payloads
from durable.workflow._definition import MessageDefinition, WorkflowDefinition

STACK_TRACE = "__stack_trace"
METADATA = "__temporal_workflow_metadata"


class Asked(Protocol):
    """The instance that a query is for."""

    definition: WorkflowDefinition
    loop: DeterministicLoop

    def handlers(self, kind: str) -> Mapping[str | None, Handler]:
        """Return the handlers of a kind, by name."""
        ...

    def current_details(self) -> str:
        """Return what the code says about itself."""
        ...


class UnknownQueryError(Exception):
    """There is no handler for a query. The text names those that there are."""


Headers = Mapping[str, Payload]
"""What travels beside the arguments of a call."""

NO_HEADERS: Headers = {}

Ask = Callable[[Handler, list[Any]], Any]
"""Calls a handler with its arguments."""


def call_handler(handler: Handler, args: list[Any]) -> Any:
    """Call a handler, with nothing around it."""
    return handler(*args)


def answer(
    asked: Asked, name: str, input: Payloads, converter: DataConverter, ask: Ask = call_handler
) -> Payload:
    """Return the answer of a handler, or of one of the queries that every run answers.

    Raises:
        UnknownQueryError: There is no such query.
        Exception: Its arguments do not fit, its answer cannot be stored, or its handler raised.
    """
    handlers = asked.handlers("query")
    handler = handlers.get(name) or for_name(handlers.get(None), name)
    if name in _EVERYWHERE:
        handler = _EVERYWHERE[name](asked)
    if handler is None:
        known = ", ".join(sorted([*(key for key in handlers if key), *_EVERYWHERE]))
        raise UnknownQueryError(
            f"workflow {asked.definition.name!r} has no query {name!r} (it has: {known}); a function-style workflow "
            "answers a query once it has called workflow.set_handler"
        )
    hints = hints_of(handler, len(input))
    arguments = converter.from_payloads(input, hints, path=f"arguments of query {name}")
    inspect.signature(handler).bind(*arguments)
    found = ask(handler, arguments)
    if inspect.isawaitable(found):
        if inspect.iscoroutine(found):
            found.close()
        raise TypeError("a query handler must be a plain function, not async")
    return converter.to_payload(found, path=f"result of query {name}")


def _metadata(asked: Asked) -> Handler:
    """What people and tools want to know of any workflow: what it can be told and asked, and what it says of itself."""

    def metadata() -> dict[str, Any]:
        definition = asked.definition
        return {
            "definition": {
                "type": definition.name,
                "query_definitions": _listed(asked.handlers("query"), definition.queries),
                "signal_definitions": _listed(asked.handlers("signal"), definition.signals),
                "update_definitions": _listed(asked.handlers("update"), definition.updates),
            },
            "current_details": asked.current_details(),
        }

    return metadata


def _listed(
    handlers: Mapping[str | None, Handler], defined: Mapping[str | None, MessageDefinition]
) -> Sequence[Mapping[str, str]]:
    """The handlers of a kind by name; the dynamic one has none."""
    return [
        {"name": name or "", "description": defined[name].description if name in defined else ""}
        for name in sorted(handlers, key=lambda name: name or "")
    ]


def _stack_trace(asked: Asked) -> Handler:
    """Where each task of the code stands, the oldest first; those of a workflow in memory or of its replay."""

    def stack_trace() -> str:
        return "\n".join(
            f"Stack for {task.get_name()} (most recent call last):\n{''.join(_lines(task.get_coro()))}"
            for task in unfinished(asked.loop)
        )

    return stack_trace


def _lines(awaited: Any) -> Iterator[str]:
    for frame in frames(awaited):
        file, line, code = frame.f_code.co_filename, frame.f_lineno, frame.f_code
        yield f'  File "{file}", line {line}, in {code.co_name}\n'
        if source := linecache.getline(file, line).strip():
            yield f"    {source}\n"


_EVERYWHERE: Mapping[str, Callable[[Asked], Handler]] = {STACK_TRACE: _stack_trace, METADATA: _metadata}
"""Queries that every run answers, by the names that Temporal's tools ask for."""
