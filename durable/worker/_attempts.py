"""One attempt of an activity, running in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from durable._engine._activities import Outcome, Progress, close_by
from durable._metering import MetricMeter
from durable.activity._context import ActivityCancellationDetails, Info
from durable.converter import DataConverter, PayloadConverter
from durable.history import ActivityTaskScheduled, Payloads
from durable.store import ActivityRecord
from durable.worker._interrupts import Interrupt
from durable.worker._suppliers import SlotPermit

NO_PROGRESS = Progress()

_MAKING_FLAG = threading.Lock()
"""Held while a flag is made, in the thread of a function that asks, or its reason is set, on the event loop."""


class Flag:
    """Something that becomes true once, seen from the event loop and from threads; made cheap, since few look."""

    __slots__ = ("_event", "_set", "_waiters")

    def __init__(self) -> None:
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
            waiter = asyncio.get_running_loop().create_future()
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
    workflow_id: str

    @property
    def workflow_type(self) -> str:
        """The name of its definition."""
        ...

    def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take the end of an attempt without a row."""
        ...

    def give_row(self, attempt: Attempt) -> None:
        """Write a row for an attempt that needs one."""
        ...


class Place(Protocol):
    """Where attempts run, and what it does for their functions."""

    shutdown: Flag
    client: Any
    meter: MetricMeter
    worker_id: str

    def info(self, attempt: Attempt) -> Info:
        """Return the facts about an attempt."""
        ...

    def converter_for(self, attempt: Attempt) -> DataConverter:
        """Return what makes values of its payloads."""
        ...

    def heartbeat(self, attempt: Attempt, details: tuple[Any, ...]) -> None:
        """Take a heartbeat of an attempt, from any thread."""
        ...

    def heartbeat_of_process(self, attempt: Attempt, details: tuple[Any, ...]) -> None:
        """Take a heartbeat of an attempt whose function is in another process."""
        ...

    def forget(self, attempt: Attempt) -> None:
        """Let go of an attempt that has ended, or will not begin."""
        ...


class Attempt:
    """One attempt: whose it is, how far it came, and how it is stopped. It is the context of its function.

    Attributes:
        key: Run and id of the activity.
        owner: The run in this process that it reports to, while it has no row.
        record: Its row, once it has one.
        claimed: The row it was started from, if it was not started eagerly.
        asked_by: Who knows the workflow that it is for.
        previous_heartbeat: What the last attempt that sent a heartbeat said with it.
        last_heartbeat: The same, with this attempt's own.
        awaiting_row: Whether its row is being written; then its end waits for that.
        waiting_outcome: The end that waits.
        rowed: Done when it has a row, for a function that is not called before.
        details: Why it was asked to stop, None as long as it was not.
        begun: Whether its task has taken its first step.
        in_thread: Whether its function runs in a thread. The task waits for it, and a cancel leaves the task alone.
        interrupt: What a cancel does to the function in the thread, unless it looks for itself.
        on_stop: Tells the function in another process that it is asked to stop.
        permit: Its slot; None before it has one, and for one that was found to be this worker's when all were taken.
        due_at: When it became due, of a local activity; else that is in its row, or when it was asked for.
        ended: Whether its end counts already, or does not count any more.
    """

    # Most attempts end within a moment, and never set any of these.
    awaiting_row = False
    waiting_outcome: Outcome | None = None
    rowed: asyncio.Future[None] | None = None
    cancel_requested = False
    details: ActivityCancellationDetails | None = None
    begun = False
    ended = False
    in_thread = False
    due_at = 0
    on_stop: Callable[[], None] | None = None
    interrupt: Interrupt | None = None
    permit: SlotPermit | None = None
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    beat_at = 0.0
    beat_timer: asyncio.TimerHandle | None = None
    _cancelled: Flag | None = None
    _info: Info | None = None

    def __init__(
        self,
        place: Place,
        owner: Owner | None,
        record: ActivityRecord | None,
        scheduled: ActivityTaskScheduled,
        scheduled_at: int,
        number: int,
        started_at: int,
        *,
        heartbeat: Payloads = (),
    ) -> None:
        asked_by = owner if record is None else record
        assert asked_by is not None
        self._place = place
        self.owner = owner
        self.record = self.claimed = record
        self.asked_by = asked_by
        self.run_id = asked_by.run_id
        self.key = asked_by.run_id, scheduled.id
        self.scheduled = scheduled
        self.scheduled_at = scheduled_at
        self.number = number
        self.started_at = self.last_sign = started_at
        self.last_heartbeat = self.previous_heartbeat = heartbeat

    # ------------------------------------------------------------------ what its function sees

    @property
    def info(self) -> Info:
        """The facts about it."""
        if self._info is None:
            self._info = self._place.info(self)
        return self._info

    @property
    def payload_converter(self) -> PayloadConverter:
        """What makes values of the payloads of this attempt."""
        return self._place.converter_for(self).payload_converter

    @property
    def worker_shutdown(self) -> Flag:
        """True once the worker begins to stop."""
        return self._place.shutdown

    @property
    def cancelled(self) -> Flag:
        """True once it is asked to stop."""
        with _MAKING_FLAG:
            if self._cancelled is None:
                self._cancelled = Flag()
                if self.details is not None:
                    self._cancelled.set()
            return self._cancelled

    @property
    def cancellation_details(self) -> ActivityCancellationDetails | None:
        """Why it is asked to stop, None as long as it is not."""
        return self.details

    @property
    def metric_meter(self) -> MetricMeter:
        """The worker's meter."""
        return self._place.meter

    @property
    def worker_id(self) -> str:
        """The worker that runs it."""
        return self._place.worker_id

    @property
    def client(self) -> Any:
        """The worker's client."""
        if self.in_thread:
            raise RuntimeError(
                "activity.client() is for activities that are written `async def`: nothing can be awaited in a thread"
            )
        return self._place.client

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        """Say that it is alive, from whatever thread it runs in."""
        self._place.heartbeat(self, details)

    def heartbeat_of_process(self, details: tuple[Any, ...]) -> None:
        """Take what its function says in another process; what cannot be stored ends the attempt."""
        self._place.heartbeat_of_process(self, details)

    def shielded(self) -> AbstractContextManager[None]:
        """Return what keeps the function from being interrupted in its thread."""
        return nullcontext() if self.interrupt is None else self.interrupt.shielded()

    # ------------------------------------------------------------------ how it goes on

    @property
    def progress(self) -> Progress:
        """What a next attempt would be told, but for the failure of this one."""
        return Progress(self.last_heartbeat) if self.last_heartbeat else NO_PROGRESS

    def stop(self, details: ActivityCancellationDetails) -> None:
        """Ask the attempt to end, once."""
        if not self.ended and self.details is None:
            self.tell(details)

    def tell(self, details: ActivityCancellationDetails) -> None:
        """Tell the function to end, and why, whether the attempt has ended already or not."""
        with _MAKING_FLAG:
            self.details = details
            flag = self._cancelled
        if flag is not None:
            flag.set()
        if self.on_stop is not None:
            self.on_stop()
        if self.interrupt is not None:
            self.interrupt.request()
        # A task that is cancelled before its first step never runs a line.
        elif self.begun and not self.in_thread:
            self.leave_behind()

    def leave_behind(self) -> None:
        """End the attempt's task, whether its function has ended or goes on in its thread."""
        if self.task is not None:
            self.task.cancel()

    async def row(self) -> ActivityRecord:
        """Return its row; one that was started without gets it first."""
        if self.record is None:
            self.rowed = asyncio.get_running_loop().create_future()
            if not self.awaiting_row:
                assert self.owner is not None
                self.awaiting_row = True
                self.owner.give_row(self)
            await self.rowed
        assert self.record is not None
        return self.record

    @property
    def at_work(self) -> bool:
        """Whether its function runs."""
        return self.task is not None and not self.ended

    @property
    def interrupted(self) -> bool:
        """Whether it was asked to end because its worker stops."""
        return self.details is not None and self.details.worker_shutdown

    def abandon(self) -> None:
        """Stop it, since nobody waits for it any more; its end is not reported."""
        self.stop(ActivityCancellationDetails(not_found=True))
        self.ended = True
        if self.task is None:
            self._place.forget(self)

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
