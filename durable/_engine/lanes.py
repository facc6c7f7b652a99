"""Lanes: where what is limited, or shares with others, waits; and what the database is told and asked about limits.

What names a fairness key, a concurrency key or a circuit breaker does not queue with the rest of its task queue, but in a
*lane*: all with the same keys, in the order of their age. Who looks for work takes the oldest of a lane, and draws lots
between lanes, each with a chance as large as its share, so that none has to remember whose turn it was.

How much of a key is running is never counted up and down: it is what the rows say that run, whoever writes them, so a
worker that dies takes no slot with it.

Rows of lanes stand in a queue of their own (`lane_queue`), which workers of the first release do not know: they take no
activity of a lane, so they break no limit.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import sha256

from msgspec import Struct

from durable.history import ApplicationFailure, BreakerData, CanceledFailure, Failure, Limits, TimeoutFailure

LANES = "\x1f"
"""What stands before the name of a task queue where its lanes are meant. No task queue's name has it."""

ACTIVITIES, WORKFLOWS = 2, 1
"""The two kinds of keys; what counts for one does not for the other."""


class Lane(Struct, frozen=True, gc=False):
    """Where something waits.

    Attributes:
        name: Those of one name wait in one line. It begins with four digits of chance, the same for each name.
        share: The size of its share.
        key: The concurrency key, None for none.
        most: How much of that key may run.
        weight: How much of it this one is.
        breaker: The key of the circuit breaker it is behind, None for none.
        fails_fast: Whether it is given out while the breaker is open, to fail.
    """

    name: str
    share: float = 1.0
    key: str | None = None
    most: int = 0
    weight: int = 1
    breaker: str | None = None
    fails_fast: bool = False


def lane_of(limits: Limits | None) -> Lane | None:
    """Return where something waits; None for what waits with the rest of its queue."""
    if limits is None:
        return None
    breaker = limits.breaker
    if limits.key:
        who = f"key {limits.key}"
    elif limits.fairness_key or breaker is not None:
        who = f"fair {limits.fairness_key}"
    else:
        return None
    if breaker is not None:
        who += f"{LANES}{breaker.key}{LANES if breaker.fail_fast else ''}"
    return Lane(
        name=f"{sha256(who.encode()).hexdigest()[:4]} {who}",
        share=limits.fairness_weight,
        key=limits.key or None,
        most=limits.limit,
        weight=limits.weight,
        breaker=None if breaker is None else breaker.key,
        fails_fast=breaker is not None and breaker.fail_fast,
    )


def is_gated(limits: Limits) -> bool:
    """Whether it may start only where the database says so."""
    return bool(limits.key) or limits.breaker is not None


def lane_queue(task_queue: str) -> str:
    """Return the queue in which the lanes of a task queue stand."""
    return LANES + task_queue


class KeyRecord(Struct, frozen=True, gc=False):
    """What is known of a concurrency key.

    Attributes:
        most: How much may run, None when nothing that is there says.
        pinned: What a client has set it to, None if none has.
        running: How much runs.
        waiting: How many wait; counted up to `COUNTED`.
    """

    most: int | None
    pinned: int | None
    running: int
    waiting: int


COUNTED = 10_000
"""How many that wait for a key are counted; beyond it nobody needs to know, and counting would take long."""


class Forced(IntEnum):
    """What a client has set a circuit breaker to."""

    OPEN = 1
    CLOSED = 2


class BreakerRecord(Struct, frozen=True, gc=False):
    """What is known of a circuit breaker.

    Attributes:
        failures: Instants of the failures that it remembers.
        open_until: When it is half open; None when it is closed.
        trials: How many may be tried when it is half open.
        trying: How many are.
        forced: What a client has set it to, if any has.
        now: The database's time.
    """

    failures: tuple[int, ...]
    open_until: int | None
    trials: int
    trying: int
    forced: Forced | None
    now: int


class BreakerNews(Struct, frozen=True, gc=False):
    """How an attempt ended, for the circuit breaker it was behind."""

    breaker: BreakerData
    failed: bool


def breaker_news(limits: Limits | None, failure: Failure | None) -> BreakerNews | None:
    """Return what the end of an attempt tells its breaker; None when it tells nothing, or there is none.

    Args:
        limits: What the activity is held to.
        failure: Why the attempt failed; None when it returned.
    """
    if limits is None or limits.breaker is None:
        return None
    if failure is None:
        return BreakerNews(limits.breaker, failed=False)
    info = failure.info
    if isinstance(info, CanceledFailure):
        return None
    if isinstance(info, TimeoutFailure):
        # One that waited too long, or had no time left, says nothing of what it was to call.
        return None if info.timeout_type == "schedule_to_start" else BreakerNews(limits.breaker, failed=True)
    if isinstance(info, ApplicationFailure):
        if (info.category or "").lower() == "benign" or info.type in (CIRCUIT_OPEN, "WorkerShutdown"):
            return None
        if info.non_retryable and not limits.breaker.non_retryable:
            return None
    return BreakerNews(limits.breaker, failed=True)


CIRCUIT_OPEN = "CircuitOpen"
"""The type of the `ApplicationError` with which an activity fails whose breaker is open, if it is to fail fast."""
