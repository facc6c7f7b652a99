"""Limits as a client sees them, and sets them: concurrency keys, circuit breakers and rates of task queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Literal

from durable._engine.lanes import ACTIVITIES, WORKFLOWS, BreakerRecord, Forced, KeyRecord
from durable._internal.ids import check_name
from durable._internal.instants import to_datetime
from durable._internal.shown import shown
from durable._limits import MOST
from durable.client._connection import Connection
from durable.client._describe import is_waiting
from durable.history import Event, Limits, WorkflowExecutionStarted
from durable.store import Hint, HintKind, RunRecord

KeyKind = Literal["activity", "workflow"]
"""What a concurrency key limits; the same key is two things."""

_KINDS = {"activity": ACTIVITIES, "workflow": WORKFLOWS}


class CircuitState(Enum):
    """Whether a circuit breaker lets activities through."""

    CLOSED = "closed"
    """It does."""
    OPEN = "open"
    """It does not."""
    HALF_OPEN = "half open"
    """It lets a few try."""


@dataclass(frozen=True)
class ConcurrencyDescription:
    """A concurrency key as the database knows it at one moment.

    Attributes:
        key: The key.
        limit: How much of it may run; None when nothing is there that says so.
        is_set: Whether a client has set that limit, whatever is asked for.
        running: How much of it runs, by weight.
        waiting: How many wait; 10,000 is that many or more.
    """

    key: str
    limit: int | None
    is_set: bool
    running: int
    waiting: int


@dataclass(frozen=True)
class CircuitBreakerDescription:
    """A circuit breaker as the database knows it at one moment.

    Attributes:
        key: Its key.
        state: Whether it lets activities through.
        is_set: Whether a client has set that, and it stays so.
        failures: How many failures it remembers; those that are longer ago than its window do not count any more.
        open_until: When it will be half open, if it is open by itself.
        trying: How many activities behind it are running.
    """

    key: str
    state: CircuitState
    is_set: bool
    failures: int
    open_until: datetime | None
    trying: int


class ClientLimits:
    """That part of a client which has to do with limits."""

    _connection: Connection

    async def set_concurrency_limit(self, key: str, limit: int | None, *, kind: KeyKind = "activity") -> None:
        """Let so much of a concurrency key run from now on, whatever `Concurrency` says that is asked for.

        What runs goes on: after a limit is lowered nothing starts until there is room.

        Args:
            key: The key.
            limit: How much; 0 lets nothing start, None leaves it to what is asked for again.
            kind: Whether activities or workflows are meant.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The limit is negative or too large, or the key cannot be one.
            StoreUnavailableError: The database is away; it may or may not have been set.
        """
        check_name(key, "key")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"limit must be a whole number or None, not {type(limit).__name__}")
        if limit is not None and not 0 <= limit <= MOST:
            raise ValueError(f"limit must be from 0 to {MOST}, not {limit}")
        number = _kind(kind)
        store = self._connection.store
        await self._connection.patiently(lambda: store.set_key(number, key, limit))
        store.hint([Hint(HintKind.ACTIVITY if number == ACTIVITIES else HintKind.RUN, "*")])

    async def describe_concurrency(self, key: str, *, kind: KeyKind = "activity") -> ConcurrencyDescription:
        """Return what is known of a concurrency key now.

        Args:
            key: The key.
            kind: Whether activities or workflows are meant.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The key cannot be one.
            StoreUnavailableError: The database is away.
        """
        check_name(key, "key")
        number = _kind(kind)
        store = self._connection.store
        known = await self._connection.patiently(lambda: store.read_key(number, key))
        return ConcurrencyDescription(key, known.most, known.pinned is not None, known.running, known.waiting)

    async def set_circuit_breaker(self, key: str, state: CircuitState | None) -> None:
        """Keep a circuit breaker open, or closed, until this is called again.

        Args:
            key: Its key.
            state: OPEN or CLOSED; None leaves it to itself again, closed, with nothing remembered.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The state is HALF_OPEN, which none can be kept, or the key cannot be one.
            StoreUnavailableError: The database is away; it may or may not have been set.
        """
        check_name(key, "key")
        if state is not None and not isinstance(state, CircuitState):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"state must be a CircuitState or None, not {shown(state)}")
        if state is CircuitState.HALF_OPEN:
            raise ValueError("a circuit breaker can be kept OPEN or CLOSED; None leaves it to itself")
        forced = None if state is None else Forced.OPEN if state is CircuitState.OPEN else Forced.CLOSED
        store = self._connection.store
        await self._connection.patiently(lambda: store.force_breaker(key, forced))
        store.hint([Hint(HintKind.ACTIVITY, "*")])

    async def describe_circuit_breaker(self, key: str) -> CircuitBreakerDescription:
        """Return what is known of a circuit breaker now; one that nobody has heard of is closed.

        Raises:
            TypeError: The key is not a string.
            ValueError: The key cannot be one.
            StoreUnavailableError: The database is away.
        """
        check_name(key, "key")
        store = self._connection.store
        known = await self._connection.patiently(lambda: store.read_breaker(key))
        state = _state(known)
        return CircuitBreakerDescription(
            key,
            state,
            known.forced is not None,
            len(known.failures),
            None if known.forced is not None or known.open_until is None else to_datetime(known.open_until),
            known.trying,
        )

    async def set_task_queue_rate(self, task_queue: str, per_second: float | None) -> None:
        """Let all workers of a task queue together start so many activities per second.

        A worker that starts with `max_task_queue_activities_per_second` sets the same.

        Args:
            task_queue: The queue.
            per_second: How many, up to those of one second at once; None for any number.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The rate is not more than 0, or the queue cannot be one.
            StoreUnavailableError: The database is away; it may or may not have been set.
        """
        check_name(task_queue, "task_queue")
        if per_second is not None:
            if isinstance(per_second, bool) or not isinstance(per_second, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"per_second must be a number or None, not {type(per_second).__name__}")
            if not 0 < per_second <= MOST:
                raise ValueError(
                    f"per_second must be more than 0 and at most {MOST}, not {shown(per_second)}"
                )
            per_second = float(per_second)
        store = self._connection.store
        await self._connection.patiently(lambda: store.set_rate(task_queue, per_second))
        store.hint([Hint(HintKind.ACTIVITY, task_queue)])

    async def task_queue_rate(self, task_queue: str) -> float | None:
        """Return how many activities of a task queue may start per second; None for any number.

        Raises:
            TypeError: The queue is not a string.
            ValueError: The queue cannot be one.
            StoreUnavailableError: The database is away.
        """
        check_name(task_queue, "task_queue")
        store = self._connection.store
        found: float | None = await self._connection.patiently(lambda: store.read_rate(task_queue))
        return found


def _kind(kind: str) -> int:
    if kind not in _KINDS:
        raise ValueError(f"kind must be 'activity' or 'workflow', not {shown(kind)}")
    return _KINDS[kind]


def _state(known: BreakerRecord) -> CircuitState:
    if known.forced is not None:
        return CircuitState.OPEN if known.forced is Forced.OPEN else CircuitState.CLOSED
    if known.open_until is None:
        return CircuitState.CLOSED
    return CircuitState.OPEN if known.open_until > known.now else CircuitState.HALF_OPEN


async def waits_for(connection: Connection, waiting: Sequence[Limits]) -> dict[Limits, str]:
    """Return why things do not go on that wait, as far as that is for their limits."""
    store = connection.store
    found: dict[Limits, str] = {}
    keys: dict[str, KeyRecord] = {}
    breakers: dict[str, BreakerRecord] = {}
    for limits in waiting:
        reasons: list[str] = []
        if (breaker := limits.breaker) is not None:
            if breaker.key not in breakers:
                breakers[breaker.key] = await store.read_breaker(breaker.key)
            known = breakers[breaker.key]
            if (state := _state(known)) is not CircuitState.CLOSED:
                until = f" until {to_datetime(known.open_until)}" if known.open_until is not None else ""
                reasons.append(f"circuit breaker {breaker.key!r} is {state.value}{until}")
        if limits.key:
            if limits.key not in keys:
                keys[limits.key] = await store.read_key(ACTIVITIES, limits.key)
            key = keys[limits.key]
            reasons.append(
                f"it waits for its turn under concurrency key {limits.key!r}: {key.running} of {key.most} run"
            )
        found[limits] = "; ".join(reasons)
    return found


async def workflow_waits_for(connection: Connection, run: RunRecord, events: Sequence[Event]) -> str:
    """Return why a run has not begun, if that is for its concurrency key."""
    started = events[0].data
    assert isinstance(started, WorkflowExecutionStarted)
    if not is_waiting(run, started) or started.limits is None or not started.limits.key:
        return ""
    key = await connection.store.read_key(WORKFLOWS, started.limits.key)
    return (
        f"it waits for its turn under concurrency key {started.limits.key!r}: {key.running} of {key.most} run; "
        f"client.set_concurrency_limit({started.limits.key!r}, ..., kind='workflow') changes how many may"
    )
