"""What the end of a run means to whoever waits for its result."""

from __future__ import annotations

from typing import Any

from durable.converter import DataConverter
from durable.exceptions import (
    CancelledError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowFailureError,
)
from durable.history import (
    EventData,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
)


def result_of(event: EventData, converter: DataConverter, result_type: Any, workflow_id: str) -> Any:
    """Return the result that a closing event holds.

    Raises:
        WorkflowFailureError: It holds none; `cause` says why.
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
        case WorkflowExecutionTimedOut():
            cause = TimeoutError("workflow timed out", type=TimeoutType.START_TO_CLOSE)
        case _:
            raise AssertionError(event)
    raise WorkflowFailureError(cause=cause)
