"""Which exceptions fail a workflow, and which block its task because the code is at fault."""

from __future__ import annotations

import asyncio
import builtins
from typing import cast

from durable.exceptions import FailureError, WorkflowTaskError


def fails_workflow(error: BaseException, types: tuple[type[BaseException], ...]) -> bool:
    """Whether `error`, leaving a workflow function, closes the run as failed; else it blocks the task.

    A workflow fails by what is meant to fail it: a failure error, a timeout, a cancellation, or one of the `types` its
    definition lists. Everything else is taken for a defect, which the next deploy may mend. A group fails the workflow
    only if all its members would.
    """
    if isinstance(error, BaseExceptionGroup):
        group = cast(BaseExceptionGroup[BaseException], error)
        return all(fails_workflow(member, types) for member in group.exceptions)
    if isinstance(error, WorkflowTaskError):
        return isinstance(error, types)
    return isinstance(error, (FailureError, builtins.TimeoutError, asyncio.CancelledError, *types))
