"""Whether a failed attempt is followed by another, and when. Temporal's rules, in one function."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from durable._internal.backoff import exponential
from durable.history import (
    ApplicationFailure,
    CanceledFailure,
    Failure,
    RetryPolicyData,
    TerminatedFailure,
    TimeoutFailure,
)


class RetryState(Enum):
    """Why there is no further attempt; the values are stored."""

    NON_RETRYABLE_FAILURE = "non_retryable_failure"
    TIMEOUT = "timeout"
    MAXIMUM_ATTEMPTS_REACHED = "maximum_attempts_reached"
    CANCEL_REQUESTED = "cancel_requested"


class Retry(Struct, frozen=True, gc=False):
    """There is another attempt, `delay` microseconds from now."""

    delay: int


MAXIMUM_INTERVAL_FACTOR = 100
"""A policy without a longest interval waits at most this many initial intervals (Temporal's default)."""


def decide(
    policy: RetryPolicyData, attempt: int, failure: Failure, *, now: int, close_by: int | None, jitter: float
) -> Retry | RetryState:
    """Return what follows the failure of attempt number `attempt`.

    Args:
        policy: The retry policy.
        attempt: The number of the attempt that failed, from 1.
        failure: What it failed with.
        now: The database's time, as well as it is known.
        close_by: The instant by which all attempts must be over; an attempt that would start later is not made.
        jitter: A number from 0 to 1. A retry interval is lengthened by up to a tenth of itself, so that what failed
            together does not come back together. Delays that the failure itself asks for are left as they are.
    """
    if _is_final(policy, failure):
        return RetryState.NON_RETRYABLE_FAILURE
    if 0 < policy.maximum_attempts <= attempt:
        return RetryState.MAXIMUM_ATTEMPTS_REACHED
    info = failure.info
    if isinstance(info, ApplicationFailure) and info.next_retry_delay is not None:
        delay = info.next_retry_delay
    else:
        maximum = policy.maximum_interval or MAXIMUM_INTERVAL_FACTOR * policy.initial_interval
        delay = exponential(policy.initial_interval, policy.backoff_coefficient, maximum, attempt)
        delay += int(delay * jitter / 10)
    if close_by is not None and now + delay >= close_by:
        return RetryState.TIMEOUT
    return Retry(delay)


def _is_final(policy: RetryPolicyData, failure: Failure) -> bool:
    """Whether this failure is never tried again."""
    match failure.info:
        case ApplicationFailure(type=name, non_retryable=non_retryable):
            return non_retryable or (name is not None and name in policy.non_retryable_error_types)
        case TimeoutFailure(timeout_type=kind):
            if kind in ("schedule_to_start", "schedule_to_close"):
                return True
            temporal = "TemporalTimeout:" + "".join(part.capitalize() for part in kind.split("_"))
            return temporal in policy.non_retryable_error_types
        case CanceledFailure() | TerminatedFailure():
            return True
        case _:
            return False
