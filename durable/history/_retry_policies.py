"""Retry policies, as people write them and as they are stored."""

from __future__ import annotations

from durable._internal.instants import MICROSECOND, to_duration
from durable.common import RetryPolicy
from durable.history._facts import RetryPolicyData


def encode_retry_policy(policy: RetryPolicy) -> RetryPolicyData:
    """Return a retry policy as it is stored."""
    maximum = policy.maximum_interval
    return RetryPolicyData(
        initial_interval=to_duration(policy.initial_interval, "initial_interval"),
        backoff_coefficient=float(policy.backoff_coefficient),
        maximum_interval=0 if maximum is None else to_duration(maximum, "maximum_interval"),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=tuple(
            entry if isinstance(entry, str) else entry.__name__
            for entry in policy.non_retryable_error_types or ()
        ),
    )


def decode_retry_policy(data: RetryPolicyData | None) -> RetryPolicy | None:
    """Return a stored retry policy as people write it."""
    if data is None:
        return None
    return RetryPolicy(
        initial_interval=data.initial_interval * MICROSECOND,
        backoff_coefficient=data.backoff_coefficient,
        maximum_interval=data.maximum_interval * MICROSECOND if data.maximum_interval else None,
        maximum_attempts=data.maximum_attempts,
        non_retryable_error_types=list(data.non_retryable_error_types) or None,
    )
