"""Task queues and workers, as a client sees them, and what operators say of queues."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from durable._internal.ids import check_name
from durable.client._connection import Connection
from durable.store import ANY_KEY, Hint, HintKind, QueueState, QueueSurvey, WorkerRecord


class TaskQueueState(Enum):
    """Whether the workers of a task queue take work."""

    OPEN = "open"
    """They do."""
    PAUSED = "paused"
    """They do not, and hand their workflows back."""
    DRAINING = "draining"
    """They do not, and hand their workflows back when these wait for something."""


@dataclass(frozen=True)
class TaskQueueDescription:
    """A task queue as the database knows it at one moment. A count of 10,000 is that many or more.

    Attributes:
        task_queue: Its name.
        state: Whether its workers take work.
        workers: How many workers are alive that serve it.
        owned: How many workflows these have in hand.
        waiting_workflows: How many workflows are due that no worker has.
        waiting_activities: How many activities are due that no worker has.
        unread_messages: How many signals, updates and the like nobody has read.
        oldest_workflow: For how long the oldest of these workflows has been due.
        oldest_activity: For how long the oldest of these activities has been due.
    """

    task_queue: str
    state: TaskQueueState = TaskQueueState.OPEN
    workers: int = 0
    owned: int = 0
    waiting_workflows: int = 0
    waiting_activities: int = 0
    unread_messages: int = 0
    oldest_workflow: timedelta | None = None
    oldest_activity: timedelta | None = None


@dataclass(frozen=True)
class WorkerDescription:
    """A worker that is in the database.

    Attributes:
        worker_id: Its id, another one at every start.
        identity: How people find its process.
        alive: Whether it is at work. One that is not is gone from the list once others have taken over what it had.
        task_queues: The task queues it serves.
        version: Its deployment version; None without one.
        lease_duration: For how long it may be silent before others take over.
    """

    worker_id: str
    identity: str
    alive: bool
    task_queues: tuple[str, ...]
    version: str | None
    lease_duration: timedelta


class ClientFleet:
    """The part of a client that is about task queues and workers; see `Client`."""

    _connection: Connection

    async def list_task_queues(self) -> list[TaskQueueDescription]:
        """Return the task queues that have a worker, or anything that waits, or are paused or draining, by name.

        Raises:
            StoreUnavailableError: The database is away.
        """
        store = self._connection.store
        survey = await self._connection.patiently(store.survey)
        return [_queue(one) for one in survey.queues]

    async def describe_task_queue(self, task_queue: str) -> TaskQueueDescription:
        """Return what is known of a task queue now. One that nobody has heard of is open, and has nothing.

        Raises:
            TypeError: The queue is not a string.
            ValueError: It cannot be one.
            StoreUnavailableError: The database is away.
        """
        check_name(task_queue, "task_queue")
        for found in await self.list_task_queues():
            if found.task_queue == task_queue:
                return found
        return TaskQueueDescription(task_queue)

    async def list_workers(self) -> list[WorkerDescription]:
        """Return the workers that are in the database.

        Raises:
            StoreUnavailableError: The database is away.
        """
        store = self._connection.store
        return [_worker(one) for one in await self._connection.patiently(store.list_workers)]

    async def pause_task_queue(self, task_queue: str, *, reason: str = "") -> bool:
        """Let workers take nothing of a task queue from now on, until it is unpaused.

        Starts, signals and updates are accepted, and wait. Within a poll of its workers (a second, unless they are told
        otherwise), workflows that they have are handed back, each as soon as no code of it runs; activities that run go on to
        their end, which is kept. Queries, terminations and timeouts go on. Workers of releases before 0.3 take no notice.

        Args:
            task_queue: The queue.
            reason: Why, for the operators' log.

        Returns:
            Whether that is new.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The queue cannot be one.
            StoreUnavailableError: The database is away; it may or may not be paused.
        """
        return await self._say(task_queue, QueueState.PAUSED, "pause_task_queue", reason)

    async def drain_task_queue(self, task_queue: str, *, reason: str = "") -> bool:
        """Let workers take nothing of a task queue from now on, but bring what they have to where it waits.

        As `pause_task_queue`, but a workflow that is under way goes on for as long as it has something to do or an activity
        that runs beside it, and is handed back when it waits for a timer, a message or another worker. `owned` of
        `describe_task_queue` is 0 when that is done.

        Args:
            task_queue: The queue.
            reason: Why, for the operators' log.

        Returns:
            Whether that is new.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The queue cannot be one.
            StoreUnavailableError: The database is away; it may or may not be draining.
        """
        return await self._say(task_queue, QueueState.DRAINING, "drain_task_queue", reason)

    async def unpause_task_queue(self, task_queue: str, *, reason: str = "") -> bool:
        """Let workers take work of a task queue again that was paused or drained.

        Args:
            task_queue: The queue.
            reason: Why, for the operators' log.

        Returns:
            Whether it was held.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The queue cannot be one.
            StoreUnavailableError: The database is away; it may or may not go on.
        """
        return await self._say(task_queue, QueueState.OPEN, "unpause_task_queue", reason)

    async def _say(self, task_queue: str, state: QueueState, operation: str, reason: str) -> bool:
        check_name(task_queue, "task_queue")
        if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"reason must be a string, not {type(reason).__name__}")
        connection = self._connection
        deed, store = connection.deed(operation, "", reason, task_queue), connection.store
        changed: bool = await connection.patiently(
            lambda: store.set_queue_state(task_queue, state, deed=deed)
        )
        store.hint([Hint(HintKind.PAUSE, ANY_KEY)])
        return changed


def _queue(found: QueueSurvey) -> TaskQueueDescription:
    return TaskQueueDescription(
        task_queue=found.task_queue,
        state=TaskQueueState[found.state.name],
        workers=found.workers,
        owned=found.owned,
        waiting_workflows=found.workflows,
        waiting_activities=found.activities,
        unread_messages=found.messages,
        oldest_workflow=_age(found.workflow_age),
        oldest_activity=_age(found.activity_age),
    )


def _age(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)


def _worker(found: WorkerRecord) -> WorkerDescription:
    return WorkerDescription(
        worker_id=found.worker_id,
        identity=found.identity,
        alive=not (found.dead or found.dead_for_sure or found.expired),
        task_queues=tuple(found.task_queues),
        version=found.version or None,
        lease_duration=timedelta(microseconds=found.lease),
    )
