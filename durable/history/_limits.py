"""How much of something may go on at once, and in which order, as it is stored. A default is stored as nothing."""

from __future__ import annotations

from msgspec import Struct

from durable._internal.instants import to_duration
from durable.common import CircuitBreaker, Concurrency, Priority

DEFAULT_PRIORITY = 3
"""The priority of whatever names none: in the middle."""


class BreakerData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A circuit breaker; durations in microseconds."""

    key: str
    failures: int = 5
    window: int = 60_000_000
    open_for: int = 30_000_000
    trials: int = 1
    fail_fast: bool = False
    non_retryable: bool = False


class Limits(Struct, frozen=True, gc=False, omit_defaults=True):
    """What an activity or a run is held to, and shares with others.

    Attributes:
        fairness_key: Whose turn it is among those of one priority.
        fairness_weight: The size of that key's share.
        key: The concurrency key, "" for none.
        limit: How much of that key may run.
        weight: How much of it this one is.
        breaker: The circuit breaker that an activity is behind.
    """

    fairness_key: str = ""
    fairness_weight: float = 1.0
    key: str = ""
    limit: int = 0
    weight: int = 1
    breaker: BreakerData | None = None


NO_LIMITS = Limits()


def limits_of(
    priority: Priority | None,
    concurrency: Concurrency | None,
    breaker: CircuitBreaker | None,
    inherited: Limits | None,
) -> Limits | None:
    """Return what is stored of these options; None if that is nothing.

    Args:
        priority: Its fairness counts here, its key does not.
        concurrency: As it was asked for.
        breaker: As it was asked for.
        inherited: What the workflow is held to that asks; its fairness goes on, and nothing else of it.
    """
    above = inherited or NO_LIMITS
    key, weight = above.fairness_key, above.fairness_weight
    if priority is not None:
        key = key if priority.fairness_key is None else priority.fairness_key
        weight = weight if priority.fairness_weight is None else float(priority.fairness_weight)
    limits = Limits(
        fairness_key=key,
        fairness_weight=weight,
        key="" if concurrency is None else concurrency.key,
        limit=0 if concurrency is None else concurrency.limit,
        weight=1 if concurrency is None else concurrency.weight,
        breaker=None if breaker is None else _breaker(breaker),
    )
    return None if limits == NO_LIMITS else limits


def priority_of(priority: int, limits: Limits | None) -> Priority:
    """Return what is stored as people write it."""
    if limits is None:
        return Priority(priority)
    shared = limits.fairness_key or limits.fairness_weight != NO_LIMITS.fairness_weight
    return Priority(priority, limits.fairness_key or None, limits.fairness_weight if shared else None)


def concurrency_of(limits: Limits | None) -> Concurrency | None:
    """Return what is stored as people write it."""
    return Concurrency(limits.key, limits.limit, limits.weight) if limits is not None and limits.key else None


def _breaker(said: CircuitBreaker) -> BreakerData:
    return BreakerData(
        said.key,
        said.failure_threshold,
        to_duration(said.window, "window"),
        to_duration(said.open_for, "open_for"),
        said.half_open_max,
        said.fail_fast,
        said.count_non_retryable,
    )
