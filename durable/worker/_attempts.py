"""One attempt of an activity, running in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Protocol

from durable._engine._activities import Outcome, Progress, close_by
from durable.activity._context import ActivityCancellationDetails
from durable.history import ActivityTaskScheduled, Payloads
from durable.store import ActivityRecord


class Flag:
    """Something that becomes true once, seen from the event loop and from threads; made cheap, since few look."""

    __slots__ = ("_event", "_loop", "_set", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._set = False
        self._event: threading.Event | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def set(self) -> None:
        """Make it true. Called on the event loop."""
        self._set = True
        if self._event is not None:
            self._event.set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def is_set(self) -> bool:
        """Whether it is true."""
        return self._set

    async def wait(self) -> None:
        """Return when it is true."""
        if not self._set:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def wait_sync(self, timeout: float | None = None) -> bool:
        """Block until it is true or `timeout` seconds have passed, and return which."""
        if self._set:
            return True
        if self._event is None:
            self._event = threading.Event()
            # `set` may have run between the look and here.
            if self._set:
                self._event.set()
        return self._event.wait(timeout)


class Owner(Protocol):
    """The run that an eager attempt belongs to."""

    run_id: str

    def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the end of an attempt without a row."""
        ...

    def give_row(self, attempt: Attempt) -> None:
        """Write a row for an attempt that needs one."""
        ...


class Attempt:
    """One attempt: whose it is, how far it came, and how it is stopped.

    Attributes:
        owner: The run in this process that it reports to, while it has no row.
        record: Its row, once it has one.
        awaiting_row: Whether its row is being written; then its end waits for that.
    """

    __slots__ = (
        "awaiting_row",
        "beat_at",
        "beat_timer",
        "begun",
        "cancel_requested",
        "cancelled",
        "details",
        "ended",
        "heartbeat",
        "last_sign",
        "number",
        "owner",
        "record",
        "run_id",
        "scheduled",
        "scheduled_at",
        "started_at",
        "task",
        "timer",
        "waiting_outcome",
        "workflow_id",
        "workflow_type",
    )

    def __init__(
        self,
        run_id: str,
        workflow_id: str,
        workflow_type: str,
        scheduled: ActivityTaskScheduled,
        scheduled_at: int,
        *,
        number: int,
        started_at: int,
        heartbeat: Payloads,
        loop: asyncio.AbstractEventLoop,
        owner: Owner | None = None,
        record: ActivityRecord | None = None,
    ) -> None:
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.scheduled = scheduled
        self.scheduled_at = scheduled_at
        self.number = number
        self.started_at = self.last_sign = started_at
        self.heartbeat = heartbeat
        self.owner = owner
        self.record = record
        self.awaiting_row = False
        self.waiting_outcome: Outcome | None = None
        self.cancelled = Flag(loop)
        self.cancel_requested = False
        self.details: ActivityCancellationDetails | None = None
        self.begun = False
        self.ended = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.beat_at = 0.0
        self.beat_timer: asyncio.TimerHandle | None = None

    @property
    def progress(self) -> Progress:
        """What a next attempt would be told, but for the failure of this one."""
        return Progress(self.heartbeat)

    def stop(self, details: ActivityCancellationDetails) -> None:
        """Ask the attempt to end, once."""
        if self.ended or self.details is not None:
            return
        self.details = details
        self.cancelled.set()
        self.interrupt()

    def interrupt(self) -> None:
        """Cancel the function, if it has begun: a task that is cancelled before its first step never runs a line."""
        if self.begun and self.task is not None:
            self.task.cancel()

    def limits(self) -> Sequence[tuple[int, str]]:
        """Return the instants by which this attempt must end, with the name of each deadline."""
        scheduled = self.scheduled
        found: list[tuple[int, str]] = []
        if scheduled.start_to_close is not None:
            found.append((self.started_at + scheduled.start_to_close, "start_to_close"))
        if (end := close_by(scheduled, self.scheduled_at)) is not None:
            found.append((end, "schedule_to_close"))
        if scheduled.heartbeat is not None:
            found.append((self.last_sign + scheduled.heartbeat, "heartbeat"))
        return found
