"""What it means that the function of an attempt was cancelled: the workflow asked for it, an operator, or its worker."""

from __future__ import annotations

from datetime import timedelta

from durable._engine._activities import Canceled, Failed, Outcome
from durable.converter import DataConverter
from durable.exceptions import ApplicationError
from durable.worker._attempts import Attempt


def stopped(attempt: Attempt, error: BaseException, converter: DataConverter) -> Outcome:
    """Return the outcome of an attempt whose function was cancelled, or says so."""
    details = attempt.details
    if details is not None and (details.cancel_requested or attempt.cancel_requested):
        return Canceled()
    if details is not None and details.paused:
        paused = ApplicationError("the activity was paused", type="ActivityPause")
        return Failed(converter.to_failure(paused), uncounted=True)
    if details is not None and details.reset:
        error = ApplicationError("the activity was reset", type="ActivityReset")
    elif details is not None and details.worker_shutdown:
        # It is for another worker at once: nothing was wrong that time would mend.
        error = ApplicationError(
            "the worker was shut down", type="WorkerShutdown", next_retry_delay=timedelta(0)
        )
    return Failed(converter.to_failure(error))
