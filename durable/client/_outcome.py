"""What the end of a run means to whoever waits for its result."""

from __future__ import annotations

from typing import Any

from durable.converter import DataConverter
from durable.exceptions import (
    CancelledError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
)
from durable.history import (
    EventData,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)


def next_run_of(event: EventData) -> str:
    """Return the run that goes on where one has ended by this event; "" when none does."""
    match event:
        case (
            WorkflowExecutionContinuedAsNew(new_run_id=run_id)
            | WorkflowExecutionCompleted(new_run_id=run_id)
            | WorkflowExecutionFailed(new_run_id=run_id)
            | WorkflowExecutionTimedOut(new_run_id=run_id)
        ):
            return run_id
        case _:
            return ""


def result_of(event: EventData, converter: DataConverter, result_type: Any, workflow_id: str) -> Any:
    """Return the result that a closing event holds.

    Raises:
        WorkflowFailureError: It holds none; `cause` says why.
        WorkflowContinuedAsNewError: The workflow goes on in another run.
        ConversionError: It cannot be read as `result_type`.
    """
    match event:
        case WorkflowExecutionCompleted(result=result):
            return converter.from_payload(result, result_type, path=f"result of workflow {workflow_id}")
        case WorkflowExecutionFailed(failure=failure):
            cause: BaseException = converter.from_failure(failure)
        case WorkflowExecutionCanceled(details=details):
            cause = CancelledError("workflow was cancelled", *converter.from_payloads(details))
        case WorkflowExecutionTerminated(reason=reason, details=details):
            cause = TerminatedError(reason or "workflow was terminated", *converter.from_payloads(details))
        case WorkflowExecutionTimedOut(timeout_type=kind):
            which = "its execution timeout" if kind == "execution" else "its run timeout"
            cause = TimeoutError(f"workflow timed out: {which} passed", type=TimeoutType.START_TO_CLOSE)
        case WorkflowExecutionContinuedAsNew(new_run_id=run_id):
            raise WorkflowContinuedAsNewError(run_id)
        case _:
            raise AssertionError(event)
    raise WorkflowFailureError(cause=cause)
