"""A run whose code is at fault: how it is given up for a while, with the reason for all to see."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence

from durable._engine._run import Run
from durable.converter._text import escape
from durable.exceptions import PayloadCodecError, WorkflowTaskError
from durable.store import Hold, Message, NewActivity, Release, Transition
from durable.worker._faults import describe_fault

logger = logging.getLogger("durable.worker")


def blocking(
    error: BaseException,
    *,
    run_id: str,
    workflow_id: str,
    epoch: int,
    run: Run | None,
    rows: Callable[[Run], Sequence[NewActivity]],
    salvaged: Sequence[Message],
    wait: int,
    hide: bool,
) -> Transition:
    """Return the transition that keeps a run open but off its worker for a while, and log why.

    Args:
        error: What its task failed with.
        run_id: The run.
        workflow_id: Its workflow.
        epoch: The worker's hold on it.
        run: What is known of it, if anything is.
        rows: Gives the rows that its activities get.
        salvaged: Results that must not be lost although what led to them is.
        wait: Microseconds until it is tried again.
        hide: Whether the reason must not quote messages of errors.
    """
    text = escape("".join(traceback.format_exception(error)).rstrip())
    reason = describe_fault(error, hide=hide)
    if isinstance(error, WorkflowTaskError | PayloadCodecError):
        text = reason
    logger.error(
        "workflow %s (run %s) is blocked, its task failed and is tried again in %.0f s; the run stays open:\n%s",
        workflow_id,
        run_id,
        wait / 1_000_000,
        text,
    )
    if run is not None:
        try:
            return run.release(rows(run), hold=Hold.BLOCKED, reason=reason, wake_in=wait)
        except Exception:
            logger.exception("run %s: what waits cannot be written and is left out", run_id)
    return Transition(
        run_id=run_id,
        epoch=epoch,
        messages=tuple(salvaged),
        release=Release(wake_in=wait, hold=Hold.BLOCKED, reason=reason),
    )
