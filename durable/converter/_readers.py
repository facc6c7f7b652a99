"""Failures to exceptions, without executing or importing anything that is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, TypeVar

from durable._internal.instants import to_timedelta
from durable.converter._payloads import PayloadConverter
from durable.converter._text import clean, safe_str
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    RetryState,
    TerminatedError,
    TimeoutError,
    TimeoutType,
)
from durable.history import (
    ActivityFailure,
    ApplicationFailure,
    CanceledFailure,
    ChildWorkflowFailure,
    Failure,
    Payload,
    Payloads,
    TerminatedFailure,
    TimeoutFailure,
)

logger = logging.getLogger("durable.converter")

STACK_TRACE = "_stack_trace"
"""The attribute of `FailureError` that says it comes from storage, and holds the trace from there."""


def read_failure(failure: Failure, converter: PayloadConverter) -> FailureError:
    """Return the exception that stands for `failure`, with those behind it as its causes."""
    chain = [failure]
    while (cause := chain[-1].cause) is not None:
        chain.append(cause)
    error = _read(chain.pop(), None, converter)
    while chain:
        error = _read(chain.pop(), error, converter)
    return error


def _read(failure: Failure, cause: FailureError | None, converter: PayloadConverter) -> FailureError:
    read = _READERS.get(type(failure.info), _read_application)
    message, stack_trace = failure.message, failure.stack_trace
    if failure.encoded is not None:
        message, stack_trace = _hidden(failure.encoded, message, converter)
    error = read(message, failure.info, lambda payloads: _values(payloads, converter))
    vars(error)[STACK_TRACE] = stack_trace or None
    # Even when it is `None`: it says that what happens to be handled where this is raised is not the cause.
    error.__cause__ = cause
    return error


def _hidden(encoded: Payload, message: str, converter: PayloadConverter) -> tuple[str, str]:
    """Message and stack trace from the payload they were hidden in; what is read in their place if that fails."""
    try:
        found = converter.from_payload(encoded, dict[str, str], path="failure")
        return found["message"], found["stack_trace"]
    except Exception as error:
        logger.warning("a failure's message cannot be read: %s", clean(safe_str(error), 500))
        return message, ""


_Named = TypeVar("_Named", bound=IntEnum)
_Values = Callable[[Payloads], Sequence[Any]]


def _member(kind: type[_Named], name: str | None) -> _Named | None:
    return None if name is None else kind.__members__.get(name.upper())


def _values(payloads: Payloads, converter: PayloadConverter) -> Sequence[Any]:
    """Details as plain data; one that cannot be read is replaced by a text that says so."""
    values: list[Any] = []
    for payload in payloads:
        try:
            values.append(converter.from_payload(payload))
        except Exception as error:
            logger.warning("a failure's details cannot be read: %s", clean(safe_str(error), 500))
            values.append(f"<{len(payload.data)} bytes of {payload.encoding} that cannot be read>")
    return tuple(values)


def _read_application(message: str, info: Any, values: _Values) -> ApplicationError:
    delay: int | None = info.next_retry_delay
    return ApplicationError(
        message,
        *values(info.details),
        type=info.type,
        non_retryable=info.non_retryable,
        next_retry_delay=None if delay is None else to_timedelta(delay),
        category=_member(ApplicationErrorCategory, info.category) or ApplicationErrorCategory.UNSPECIFIED,
    )


def _read_timeout(message: str, info: Any, values: _Values) -> TimeoutError:
    return TimeoutError(
        message,
        type=_member(TimeoutType, info.timeout_type),
        last_heartbeat_details=values(info.last_heartbeat_details),
    )


def _read_cancelled(message: str, info: Any, values: _Values) -> CancelledError:
    return CancelledError(message, *values(info.details))


def _read_terminated(message: str, info: Any, values: _Values) -> TerminatedError:
    return TerminatedError(message, *values(info.details))


def _read_activity(message: str, info: Any, values: _Values) -> ActivityError:
    return ActivityError(
        message,
        activity_type=info.activity_type,
        activity_id=info.activity_id,
        retry_state=_member(RetryState, info.retry_state),
        identity=info.identity,
    )


def _read_child(message: str, info: Any, values: _Values) -> ChildWorkflowError:
    return ChildWorkflowError(
        message,
        workflow_id=info.workflow_id,
        run_id=info.run_id,
        workflow_type=info.workflow_type,
        retry_state=_member(RetryState, info.retry_state),
        namespace=info.namespace,
    )


_READERS: dict[type[Any], Callable[[str, Any, _Values], FailureError]] = {
    ApplicationFailure: _read_application,
    TimeoutFailure: _read_timeout,
    CanceledFailure: _read_cancelled,
    TerminatedFailure: _read_terminated,
    ActivityFailure: _read_activity,
    ChildWorkflowFailure: _read_child,
}
