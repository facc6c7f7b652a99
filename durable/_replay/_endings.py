"""How workflow code comes to its end, as the command that closes the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from durable._replay._continue import continuing
from durable.converter import DataConverter
from durable.exceptions import is_cancelled_exception
from durable.history import (
    CommandEvent,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
)

FailureOf = Callable[[BaseException], CommandEvent]


def end_of(
    main: asyncio.Task[Any], converter: DataConverter, failure_of: FailureOf, name: str
) -> CommandEvent:
    """Return the command that the end of the workflow function is.

    Args:
        main: Its task, which is done.
        converter: How its result is stored.
        failure_of: Tells what an exception is.
        name: The workflow's, for errors.

    Raises:
        BaseException: What left the function, when it does not fail a workflow but blocks its task.
    """
    try:
        result = main.result()
    except BaseException as error:
        return failure_of(error)
    return WorkflowExecutionCompleted(result=converter.to_payload(result, path=f"result of workflow {name}"))


def failure(
    error: BaseException,
    converter: DataConverter,
    cancelled: bool,
    fails: Callable[[BaseException], bool],
) -> CommandEvent:
    """Return the command with which an exception closes the run.

    Args:
        error: What left the code.
        converter: How failures are stored.
        cancelled: Whether cancellation has been requested.
        fails: Whether an exception fails the workflow.

    Raises:
        BaseException: The very exception, when it does not fail a workflow but blocks its task.
    """
    if (continued_as_new := continuing(error)) is not None:
        return continued_as_new
    if cancelled and is_cancelled_exception(error):
        return WorkflowExecutionCanceled()
    if not fails(error):
        raise error
    return WorkflowExecutionFailed(failure=converter.to_failure(error))
