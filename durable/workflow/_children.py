"""Child workflows in Temporal's spelling, and handles of workflows that are no children."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast, overload

from durable._internal.ids import check_name
from durable._internal.shown import shown
from durable.workflow._calls import WorkflowCall
from durable.workflow._child_handle import ChildWorkflowHandle, ExternalWorkflowHandle, start_child
from durable.workflow._child_options import ChildWorkflowConfig
from durable.workflow._definition import WorkflowOptions, merge
from durable.workflow._runtime import ChildRequest, current
from durable.workflow._workflow import Workflow, definition_of

W = TypeVar("W")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@overload
async def execute_child_workflow(
    workflow: WorkflowCall[Any, R], /, **options: Unpack[ChildWorkflowConfig]
) -> R: ...
@overload
async def execute_child_workflow(
    workflow: Callable[[*Ts], WorkflowCall[Any, R]],
    /,
    *arguments: *Ts,
    **options: Unpack[ChildWorkflowConfig],
) -> R: ...
@overload
async def execute_child_workflow(
    workflow: Callable[..., WorkflowCall[Any, R]],
    /,
    *,
    args: Sequence[Any],
    **options: Unpack[ChildWorkflowConfig],
) -> R: ...
@overload
async def execute_child_workflow(
    workflow: str,
    /,
    *arguments: Any,
    args: Sequence[Any] = (),
    result_type: type[R],
    **options: Unpack[ChildWorkflowConfig],
) -> R: ...
@overload
async def execute_child_workflow(
    workflow: str, /, *arguments: Any, args: Sequence[Any] = (), **options: Unpack[ChildWorkflowConfig]
) -> Any: ...
async def execute_child_workflow(workflow: Any, /, *arguments: object, **keywords: Any) -> Any:
    """Run a child workflow and return its result. The same as awaiting a call of it, with options.

    Args:
        workflow: The workflow, `Class.run`, a call of one, or the name of one's type.
        arguments: Its arguments; `args=[...]` takes them as a list.
        keywords: `args`, `result_type` when the workflow is called by name, and options, see `ChildWorkflowConfig`.

    Raises:
        ChildWorkflowError: It ended without a result; `cause` says why.
        WorkflowAlreadyStartedError: Its id is in use, or may not be used again.
        ConversionError: An argument cannot be stored, or is not of its type.
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: It is no workflow.
        TypeError: The arguments do not fit, or there is no such option, or one is of a wrong type.
        ValueError: A duration or a name cannot be one, or options exclude each other.
    """
    others = current("workflow.execute_child_workflow()").others()
    return await others.run_child(_request("execute_child_workflow()", workflow, arguments, keywords))


@overload
async def start_child_workflow(
    workflow: WorkflowCall[W, R], /, **options: Unpack[ChildWorkflowConfig]
) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child_workflow(
    workflow: Callable[[*Ts], WorkflowCall[W, R]], /, *arguments: *Ts, **options: Unpack[ChildWorkflowConfig]
) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child_workflow(
    workflow: Callable[..., WorkflowCall[W, R]],
    /,
    *,
    args: Sequence[Any],
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[W, R]: ...
@overload
async def start_child_workflow(
    workflow: str,
    /,
    *arguments: Any,
    args: Sequence[Any] = (),
    result_type: type[R],
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[Any, R]: ...
@overload
async def start_child_workflow(
    workflow: str, /, *arguments: Any, args: Sequence[Any] = (), **options: Unpack[ChildWorkflowConfig]
) -> ChildWorkflowHandle[Any, Any]: ...
async def start_child_workflow(
    workflow: Any, /, *arguments: object, **keywords: Any
) -> ChildWorkflowHandle[Any, Any]:
    """Start a child workflow and return its handle once it is there: it will run to its end, whatever crashes.

    Args:
        workflow: The workflow, `Class.run`, a call of one, or the name of one's type.
        arguments: Its arguments; `args=[...]` takes them as a list.
        keywords: `args`, `result_type` when the workflow is called by name, and options, see `ChildWorkflowConfig`.

    Raises:
        WorkflowAlreadyStartedError: Its id is in use, or may not be used again.
        ConversionError: An argument cannot be stored, or is not of its type.
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: It is no workflow.
        TypeError: The arguments do not fit, or there is no such option, or one is of a wrong type.
        ValueError: A duration or a name cannot be one, or options exclude each other.
    """
    others = current("workflow.start_child_workflow()").others()
    return await start_child(others, _request("start_child_workflow()", workflow, arguments, keywords))


def get_external_workflow_handle(
    workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle[Any]:
    """Return a handle of a workflow by its id, whether it exists or not, to be signalled or cancelled from here.

    Raises:
        NotInWorkflowError: The caller is not workflow code; elsewhere use `client.get_workflow_handle`.
        TypeError: An id is not a string.
        ValueError: An id cannot be one.
    """
    current("workflow.get_external_workflow_handle()")
    return ExternalWorkflowHandle(workflow_id, run_id=run_id)


def get_external_workflow_handle_for(
    workflow: Workflow[W, ..., Any], workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle[W]:
    """Return a handle of a workflow by its id, typed by its definition (`checkout`, or `Class.run`).

    Raises:
        NotInWorkflowError: The caller is not workflow code; elsewhere use `client.get_workflow_handle_for`.
        RegistrationError: It is no workflow.
        TypeError: An id is not a string.
        ValueError: An id cannot be one.
    """
    current("workflow.get_external_workflow_handle_for()")
    definition_of(workflow)
    return ExternalWorkflowHandle(workflow_id, run_id=run_id)


def _request(
    caller: str, workflow: object, arguments: tuple[object, ...], keywords: Mapping[str, Any]
) -> ChildRequest:
    options = dict(keywords)
    listed = options.pop("args", None)
    result_type = options.pop("result_type", None)
    if listed is not None and not isinstance(listed, list | tuple):
        raise TypeError(
            f"{caller}: args must be a list or a tuple of the arguments, not {type(listed).__name__}"
        )
    if listed and arguments:
        raise TypeError(f"{caller}: pass the arguments one by one or as args=[...], not both")
    given = arguments or tuple(cast(Sequence[Any], listed or ()))
    if isinstance(workflow, str):
        return ChildRequest(
            check_name(workflow, "workflow"),
            given,
            merge(WorkflowOptions(), options, caller, child=True),
            None,
            Any if result_type is None else result_type,
        )
    call: WorkflowCall[Any, Any]
    written: Any = workflow
    if isinstance(workflow, WorkflowCall):
        call = written
        if given:
            raise TypeError(
                f"{caller}: {shown(call)} has its arguments already; pass the workflow itself, or no arguments"
            )
    elif isinstance(workflow, Workflow):
        call = cast(Workflow[Any, ..., Any], workflow)(*given)
    else:
        call = Workflow[Any, ..., Any](definition_of(workflow))(*given)
    request = call.request()
    call.replace()
    return ChildRequest(
        request.name,
        request.args,
        merge(request.options, options, caller, child=True),
        request.definition,
        request.result_type if result_type is None else result_type,
    )
