"""What a client and the workers of its own process tell each other without the database.

It only saves time: a run that is started beside a worker can be that worker's from its first commit, without a claim,
and whoever waits for a result in the same process is told when the close is committed. Nothing depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from durable._replay._guard import GuardMode
from durable._replay._intercepted import Interceptors
from durable.history import EventData, Payload, Payloads
from durable.store import NewRun, StartVerdict, UpdateOutcome


class LocalWorker(Protocol):
    """A worker of this process."""

    worker_id: str

    def wants(self, task_queue: str, workflow_type: str) -> bool:
        """Whether a new run of this kind may be this worker's from the start."""
        ...

    def adopt(self, new: NewRun, verdict: StartVerdict) -> bool:
        """Take a run that was created as this worker's; False if it is leaving and the run must be handed back."""
        ...

    def owns(self, run_id: str) -> bool:
        """Whether the run is this worker's, so that its close will be told by it."""
        ...

    def interceptors(self, task_queue: str, workflow_type: str) -> Interceptors:
        """Return what stands around the code of a workflow here, if this worker serves it."""
        ...

    def query(
        self, run_id: str, name: str, input: Payloads, headers: Mapping[str, Payload]
    ) -> Payload | None:
        """Answer a query from memory, or None when the run is not there, at rest and up to date.

        Raises:
            WorkflowQueryFailedError: The query was asked, and failed.
        """
        ...


class LocalRuns:
    """The workers of one client's process, and those who wait for runs to close."""

    clock: Callable[[], int] | None = None
    """The database's clock, where this process is what moves it: in tests."""

    guard: GuardMode = "warn"
    """What workers of this client do about forbidden calls, unless they are told otherwise: in tests, "error"."""

    def __init__(self) -> None:
        self.workers: list[LocalWorker] = []
        self._closed: list[Callable[[str, EventData], None]] = []
        self._updated: Callable[[str, Sequence[UpdateOutcome]], None] = lambda run_id, outcomes: None
        self._blocked: Callable[[str, str, BaseException], None] = lambda run_id, workflow_id, error: None

    def attach(self, worker: LocalWorker) -> None:
        """Take the news that a worker works."""
        self.workers.append(worker)

    def detach(self, worker: LocalWorker) -> None:
        """Take the news that it no longer does; again does nothing."""
        if worker in self.workers:
            self.workers.remove(worker)

    def on_closed(self, callback: Callable[[str, EventData], None]) -> None:
        """Say who wants to know about runs that close."""
        self._closed.append(callback)

    def closed(self, run_id: str, event: EventData) -> None:
        """Take the news that a run of this process has closed, for good."""
        for callback in self._closed:
            callback(run_id, event)

    def on_updated(self, callback: Callable[[str, Sequence[UpdateOutcome]], None]) -> None:
        """Say who wants to know about updates that have come further."""
        self._updated = callback

    def updated(self, run_id: str, outcomes: Sequence[UpdateOutcome]) -> None:
        """Take the news that updates of a run of this process were accepted or have their outcome, for good."""
        self._updated(run_id, outcomes)

    def on_blocked(self, callback: Callable[[str, str, BaseException], None]) -> None:
        """Say who wants to know of runs whose task failed."""
        self._blocked = callback

    def blocked(self, run_id: str, workflow_id: str, error: BaseException) -> None:
        """Take the news that a task of a run of this process failed, so that the run is blocked."""
        self._blocked(run_id, workflow_id, error)

    def owner_for(self, task_queue: str, workflow_type: str) -> LocalWorker | None:
        """Return a worker that wants a new run of this kind."""
        for worker in self.workers:
            if worker.wants(task_queue, workflow_type):
                return worker
        return None

    def owns(self, run_id: str) -> bool:
        """Whether the run is a worker's of this process."""
        return any(worker.owns(run_id) for worker in self.workers)

    def interceptors(self, task_queue: str, workflow_type: str) -> Interceptors:
        """Return what a worker here puts around the code of a workflow."""
        for worker in self.workers:
            if found := worker.interceptors(task_queue, workflow_type):
                return found
        return ()

    def query(
        self, run_id: str, name: str, input: Payloads, headers: Mapping[str, Payload]
    ) -> Payload | None:
        """Answer a query from the memory of a worker here, or None when none can."""
        for worker in self.workers:
            answer = worker.query(run_id, name, input, headers)
            if answer is not None:
                return answer
        return None
