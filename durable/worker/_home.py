"""What the parts of a worker ask of the incarnation they belong to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from durable._metering import MetricMeter
from durable.converter import DataConverter
from durable.exceptions import DeadlockError
from durable.history import EventData, WorkflowTaskCompleted
from durable.store import ClaimedRun, Hint, Store, Transition, UpdateOutcome
from durable.worker._activities import Activities
from durable.worker._clock import DatabaseClock
from durable.worker._committer import Committer
from durable.worker._held_runs import HeldRuns, Owned
from durable.worker._lease import LeaseKeeper
from durable.worker._options import WorkerOptions
from durable.worker._run_slots import RunSlots
from durable.worker._suppliers import SlotPermit
from durable.worker._timers import Timers
from durable.worker._turn_queue import TurnQueue
from durable.workflow._definition import WorkflowDefinition

T = TypeVar("T")


class Looking(Protocol):
    """Something that looks for work when it is told to."""

    def look(self) -> None:
        """Look soon."""
        ...

    async def end_all(self) -> None:
        """Do now what a look does."""
        ...


class Gated(Protocol):
    """What is known of the queue's state; see `_gate.Gate`."""

    @property
    def open(self) -> bool:
        """Whether work may be taken."""
        ...

    async def look(self) -> bool:
        """Learn the queue's state now, and return whether work may be taken again."""
        ...

    def glanced(self, state: int) -> bool:
        """Take the queue's state as a glance has seen it, and return whether that is worth a look."""
        ...


class Versioned(Protocol):
    """What is known of versions; see `_versioning.Versions`."""

    version: str

    @property
    def routed(self) -> bool:
        """Whether the queue is, as far as is known, one of versions."""
        ...

    def served(self, definition: WorkflowDefinition) -> WorkflowTaskCompleted:
        """What the log is to say of tasks of a workflow that this worker runs."""
        ...

    def may_own(self, task_queue: str, version: str, workflow_id: str) -> bool:
        """Whether a new run may be this worker's from the start, as far as is known here; the database decides."""
        ...

    def changed(self, workflow_id: str) -> bool:
        """Whether a run of this worker would be another version's, if it followed its queue."""
        ...

    async def look(self) -> None:
        """Have every run given up that is not this worker's any more."""
        ...

    async def warn_of_stranded(self, now: float) -> None:
        """Say which versions have runs that are ready and no worker."""
        ...


class Home(Protocol):
    """One incarnation of a worker, as its parts see it."""

    store: Store
    options: WorkerOptions
    worker_id: str
    meter: MetricMeter
    identity: str
    namespace: str
    task_queue: str
    converter: DataConverter
    leaving: bool
    clock: DatabaseClock
    lease: LeaseKeeper
    committer: Committer
    turns: TurnQueue
    timers: Timers
    activities: Activities
    run_slots: RunSlots | None
    held: HeldRuns[Any]

    @property
    def condemned(self) -> Looking:
        """What ends runs that the end of their parent ends."""
        ...

    @property
    def versions(self) -> Versioned:
        """What is known of versions."""
        ...

    @property
    def gate(self) -> Gated:
        """What is known of the queue's state."""
        ...

    @property
    def hosts(self) -> Mapping[str, Owned]:
        """The runs it owns and holds, by run id."""
        ...

    def take(
        self, claimed: Sequence[ClaimedRun], *, fresh: bool = False, permits: list[SlotPermit] | None = None
    ) -> None:
        """Make hosts for runs that this worker now owns.

        Args:
            claimed: The runs.
            fresh: Whether nothing here ran them under this epoch.
            permits: Slots that were reserved for them; what is left over stays in the list.
        """
        ...

    def forget(self, host: Any) -> None:
        """Take the news that a host is gone."""
        ...

    def task_over(self, host: Any) -> None:
        """Take the news that a task of a host has run."""
        ...

    def resting(self, host: Any) -> None:
        """Take the news that a host has nothing urgent to do."""
        ...

    def blocked(self, host: Any, error: BaseException) -> int:
        """Count a failed workflow task; return the microseconds until the next try."""
        ...

    def closed(self, host: Any) -> None:
        """Take the news that a run has closed."""
        ...

    def updated(self, run_id: str, outcomes: Sequence[UpdateOutcome]) -> None:
        """Take the news that updates of a run have come further."""
        ...

    def ended(self, run_id: str, event: EventData, workflow_type: str = "") -> None:
        """Take the news that a run, of whomever, was ended from outside its code; of which type, if that is known."""
        ...

    def claim_starts(self, transition: Transition) -> Transition:
        """Return a transition whose new runs begin as this worker's, as far as it serves them and has room."""
        ...

    def deadlock(self) -> DeadlockError:
        """Return what the watchdog knows about the turn it broke."""
        ...

    def defect(self, error: BaseException) -> None:
        """Take an error that should not have been: the incarnation ends."""
        ...

    def defined(self, activity_type: str) -> str | None:
        """Return where an activity is defined, if this worker knows it."""
        ...

    def when_held(self, callback: Callable[[], None]) -> None:
        """Call back once the lease is certain again; never, if it is lost for good."""
        ...

    def hint(self, hints: Sequence[Hint]) -> None:
        """Tell others that something is worth a look."""
        ...

    def read_mail(self, run_id: str) -> None:
        """Read the messages of an owned run now."""
        ...

    def look_again(self, run_id: str) -> None:
        """Read the messages of a run again, a little later."""
        ...

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside, owned by this incarnation."""
        ...

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the database, and again for as long as it is away."""
        ...
