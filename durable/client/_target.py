"""What is to be started, from whichever way it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from msgspec import Struct

from durable._internal.ids import check_name
from durable._internal.shown import shown
from durable.client._checked import check_result_type
from durable.client._start_options import argument_list
from durable.workflow._calls import WorkflowCall
from durable.workflow._definition import WorkflowDefinition, WorkflowOptions
from durable.workflow._workflow import Workflow, definition_of


class Target(Struct, frozen=True):
    """What is to be started, from whichever way it was written."""

    name: str
    args: tuple[Any, ...]
    arg_types: Sequence[Any] | None
    options: WorkflowOptions | None
    result_type: Any
    definition: WorkflowDefinition | None = None

    @classmethod
    def of(cls, workflow: Any, values: tuple[Any, ...], options: Mapping[str, Any]) -> Target:
        more = argument_list(options.get("args", ()))
        if values and more:
            raise TypeError("pass arguments either one by one or as args=[...], not both")
        arguments = tuple(more) or values
        result_type = check_result_type(options.get("result_type"))
        if isinstance(workflow, str):
            name = check_name(workflow, "workflow")
            return cls(name, arguments, None, None, Any if result_type is None else result_type)
        call: WorkflowCall[Any, Any]
        given: Any = workflow
        if isinstance(workflow, WorkflowCall):
            if arguments:
                raise TypeError(f"{shown(given)} has its arguments already; pass nothing behind it")
            call = given
        elif isinstance(workflow, Workflow):
            call = cast(Workflow[Any, ..., Any], workflow)(*arguments)
        else:
            call = Workflow[Any, ..., Any](definition_of(workflow))(*arguments)
        definition = call.definition
        result = definition.ret_type if result_type is None else result_type
        return cls(call.name, call.args, definition.arg_types, call.options, result, definition)
