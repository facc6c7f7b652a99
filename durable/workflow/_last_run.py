"""What the runs of a chain before this one left it: cron runs, attempts of a retry policy, runs that continued as new."""

from __future__ import annotations

from typing import Any

from durable.workflow._runtime import current


def has_last_completion_result() -> bool:
    """Whether a run of the chain before this one returned something.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.has_last_completion_result()").last_run().has_result


def get_last_completion_result(type_hint: Any = Any) -> Any:
    """Return what the last run of the chain returned that did return; None when none has.

    Args:
        type_hint: What it is decoded as.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ConversionError: It cannot be read as that type.
    """
    return current("workflow.get_last_completion_result()").last_run().result(type_hint)


def has_last_failure() -> bool:
    """Whether the run of the chain before this one failed or timed out.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.has_last_failure()").last_run().has_failure


def get_last_failure() -> BaseException | None:
    """Return why the run of the chain before this one failed; None when it did not.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.get_last_failure()").last_run().failure()
