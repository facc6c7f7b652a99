"""How much of something may go on at once, and in which order: what people say about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from durable._internal.ids import check_name
from durable._internal.instants import Duration, to_duration

MOST = 1_000_000_000
"""The largest limit, weight and threshold: far beyond what anybody means, and a number that every database counts with."""

FAIRNESS_BYTES = 64
"""The longest fairness key, in UTF-8 bytes (Temporal's)."""

FAIREST, LEAST_FAIR = 1000.0, 0.001
"""The largest and the smallest fairness weight (Temporal's)."""


def _count(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if not 1 <= value <= MOST:
        raise ValueError(f"{name} must be from 1 to {MOST}, not {value}")


@dataclass(frozen=True)
class Priority:
    """Which of several things that are due is taken first. The names are Temporal's.

    What is left None is inherited: by an activity from its workflow, by a child from its parent.

    Attributes:
        priority_key: From 1, first, to 5, last; 3 if nobody says.
        fairness_key: Whose turn it is among those of one priority: each key gets its share, however much of another is
            waiting. At most 64 bytes; "" is a key like any other, and the one of whatever names none.
        fairness_weight: The size of the key's share compared with others', from 0.001 to 1000; 1 if nobody says.
    """

    default: ClassVar[Priority]

    priority_key: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None

    def __post_init__(self) -> None:
        key: object = self.priority_key
        if key is not None and (isinstance(key, bool) or not isinstance(key, int)):
            raise TypeError(f"priority_key must be a whole number from 1 to 5, not {type(key).__name__}")
        if key is not None and not 1 <= key <= 5:
            raise ValueError(f"priority_key must be from 1, first, to 5, last, not {key}")
        fairness: object = self.fairness_key
        if fairness is not None and not isinstance(fairness, str):
            raise TypeError(f"fairness_key must be a string, not {type(fairness).__name__}")
        if fairness:
            check_name(fairness, "fairness_key")
            if len(fairness.encode()) > FAIRNESS_BYTES:
                raise ValueError(f"fairness_key must be at most {FAIRNESS_BYTES} bytes: {fairness[:40]!r}...")
        weight: object = self.fairness_weight
        if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
            raise TypeError(f"fairness_weight must be a number, not {type(weight).__name__}")
        if weight is not None and not LEAST_FAIR <= weight <= FAIREST:
            raise ValueError(f"fairness_weight must be from {LEAST_FAIR} to {FAIREST:g}, not {weight}")


Priority.default = Priority()


@dataclass(frozen=True)
class Concurrency:
    """At most so much of one key runs at once, over all workers and processes of the database.

    Activities and workflows are counted apart: the same key means one thing for either, and neither waits for the other.
    The newest limit that was asked for under a key holds for all that wait under it, unless a client has set one
    (`Client.set_concurrency_limit`).

    Attributes:
        key: What is limited: "payments", or "customer-42".
        limit: How much may run: so many activities, or workflows, if each weighs 1.
        weight: How much this one counts. One that weighs more than the limit runs alone.
    """

    key: str
    limit: int
    weight: int = 1

    def __post_init__(self) -> None:
        check_name(self.key, "key")
        _count(self.limit, "limit")
        _count(self.weight, "weight")


@dataclass(frozen=True)
class CircuitBreaker:
    """What fails again and again is left alone for a while: by every worker, for all activities of one key.

    Closed, it lets everything through. `failure_threshold` failures within `window` open it: then activities of the key
    wait, and use up no attempts. `open_for` later it is half open, and lets `half_open_max` of them try: one that
    succeeds closes it, one that fails opens it again. What counts as a failure is an attempt that raised or timed out;
    not one that was cancelled, nor an `ApplicationError` that is BENIGN or, unless `count_non_retryable` says so,
    non-retryable: those tell of the request, not of what it was sent to.

    Attributes:
        key: What may be out of order: "payments-api".
        failure_threshold: How many failures open it.
        window: In how long; seconds or a `timedelta`.
        open_for: How long it stays open.
        half_open_max: How many are tried at once when it is half open.
        fail_fast: Whether activities fail, rather than wait, while it is open: with an `ApplicationError` of type
            "CircuitOpen", which is not tried again.
        count_non_retryable: Whether non-retryable failures count, too.
    """

    key: str
    failure_threshold: int = 5
    window: Duration = timedelta(minutes=1)
    open_for: Duration = timedelta(seconds=30)
    half_open_max: int = 1
    fail_fast: bool = False
    count_non_retryable: bool = False

    def __post_init__(self) -> None:
        check_name(self.key, "key")
        _count(self.failure_threshold, "failure_threshold")
        if self.failure_threshold > MOST_FAILURES:
            raise ValueError(
                f"failure_threshold must be at most {MOST_FAILURES}, not {self.failure_threshold}"
            )
        to_duration(self.window, "window", allow_zero=False)
        to_duration(self.open_for, "open_for", allow_zero=False)
        _count(self.half_open_max, "half_open_max")
        for name in ("fail_fast", "count_non_retryable"):
            value: object = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be True or False, not {type(value).__name__}")


MOST_FAILURES = 1000
"""The largest failure threshold: each failure of the window is remembered."""
