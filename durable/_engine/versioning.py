"""Worker versions: how a run is kept for workers of one, and which one a run belongs to that follows its queue.

A run in the database has a *place*: its task queue, and, when it is pinned, the version whose workers may have it. Both
are one text, so that claims find what they may have by one range of an index, and never pass over what is kept for others:
runs of a version without workers cost nobody anything. Names have no control characters, so one parts the two.

What is not pinned follows its queue: a deployment's current version, or its ramping one for a share of workflow ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from msgspec import Struct

from durable.history import WorkflowTaskCompleted

SEPARATOR = "\x1f"
"""Parts a task queue from a version, in a place."""

RAMPING = "~ramping"
"""The version of a run that goes to the ramping version of its queue if there is one when it is claimed, and follows the
queue if there is none."""

AUTO_UPGRADE = "auto_upgrade"
"""The override of a run that follows its queue whatever its workflow says; any other override is a version."""

USE_RAMPING_VERSION = "use_ramping_version"
"""What a run says that continues as new, and wants the next one to begin with the ramping version."""

WHOLE = 2**32
"""`ramp_of` is below this for every workflow id."""


def place(task_queue: str, version: str = "", override: str = "") -> str:
    """Return the place of a run or an activity; with its override where a new run is entered."""
    if override:
        return f"{task_queue}{SEPARATOR}{version}{SEPARATOR}{override}"
    return f"{task_queue}{SEPARATOR}{version}" if version else task_queue


def queue_of(place: str) -> str:
    """Return the task queue of a place."""
    return place.partition(SEPARATOR)[0]


def places(task_queue: str, version: str) -> list[str]:
    """Return all places whose runs workers of a version may have, if some of them only at times."""
    kept = [place(task_queue, version)] if version else []
    return [*kept, task_queue, place(task_queue, RAMPING)] if version else [task_queue]


def ramp_of(workflow_id: str) -> int:
    """Return where a workflow id stands in a ramp: below `WHOLE`, evenly, and the same for ever."""
    return int.from_bytes(sha256(workflow_id.encode()).digest()[:4])


def ramp(percentage: float) -> int:
    """Return below which number workflow ids are of the ramping version."""
    return round(percentage / 100 * WHOLE)


class QueueRoute(Struct, frozen=True, gc=False):
    """Whom runs belong to that follow their queue: a version each, "" for workers without one.

    Attributes:
        current: The version that all have who are not of the ramp.
        ramping: The version of those whose workflow id stands below `ramp`.
    """

    current: str = ""
    ramping: str = ""
    ramp: int = 0

    def target(self, workflow_id: str) -> str:
        """Return the version that a workflow belongs to."""
        return self.ramping if self.ramp and ramp_of(workflow_id) < self.ramp else self.current


class Reach(Struct, frozen=True, gc=False):
    """Runs that a worker may have: at one place, with workflow ids from `low` to below `high`."""

    place: str
    low: int = 0
    high: int = WHOLE

    @property
    def whole(self) -> bool:
        """Whether it has all runs of the place."""
        return self.low == 0 and self.high == WHOLE


def reach(task_queue: str, version: str, route: QueueRoute | None) -> list[Reach]:
    """Return what workers of a version ("" for none) may have of a queue; `route` is None when no versions know it."""
    found = [Reach(place(task_queue, version))] if version else []
    if route is None:
        return found if version else [Reach(task_queue)]
    low = route.ramp if route.current == version else WHOLE
    if route.ramp and route.ramping == version:
        found.append(Reach(place(task_queue, RAMPING)))
        found.append(Reach(task_queue, 0, WHOLE if route.current == version else route.ramp))
    elif low < WHOLE:
        if not route.ramp:
            found.append(Reach(place(task_queue, RAMPING)))
        found.append(Reach(task_queue, low, WHOLE))
    return found


def reaches(found: Sequence[Reach], place: str, workflow_id: str) -> bool:
    """Whether a run is among what a worker may have."""
    return any(
        one.place == place and (one.whole or one.low <= ramp_of(workflow_id) < one.high) for one in found
    )


PINNED, AUTO = "pinned", AUTO_UPGRADE
"""What workflows say of versions, in events; "" when they say nothing."""

BEHAVIORS = ("", PINNED, AUTO)
"""The same, by their numbers in `VersioningBehavior`."""

NO_VERSION = WorkflowTaskCompleted()
"""What is true of workers without a version."""


def pinned_to(override: str, completed: WorkflowTaskCompleted) -> str:
    """Return the version that a run belongs to behind a task, "" when it follows its queue.

    Args:
        override: What holds for it whatever its workflow says.
        completed: Which version ran the task, and what its workflow says there.
    """
    if override:
        return "" if override == AUTO_UPGRADE else override
    return completed.worker_deployment_version if completed.versioning_behavior == PINNED else ""


class Stamp(Struct, frozen=True, gc=False):
    """What a run's row shows of versions once a task of it is written that another version ran than the one before.

    Attributes:
        version: Who ran it, "" for workers without a version.
        behavior: What its workflow says there, a number of `VersioningBehavior`.
        pinned_to: The version it belongs to from now on; "" when it follows its queue. An override stands above it.
    """

    version: str
    behavior: int
    pinned_to: str


class DeploymentRow(Struct, frozen=True, gc=False):
    """A deployment as it is stored. Instants are microseconds.

    Attributes:
        current: Its current version, "" for workers without one, None before one was set.
        ramping: Its ramping version, likewise; None for none.
        percentage: The share of workflow ids that is the ramping version's.
        revision: Whoever replaces the row names the one that it replaces.
        changed_by: Who set it last.
    """

    name: str
    current: str | None = None
    ramping: str | None = None
    percentage: float = 0.0
    current_since: int | None = None
    ramping_since: int | None = None
    revision: int = 0
    created_at: int = 0
    changed_by: str = ""

    @property
    def ramp(self) -> int:
        """The share of the ramping version, as a number that workflow ids stand below."""
        return 0 if self.ramping is None else ramp(self.percentage)


class VersionRow(Struct, frozen=True, gc=False):
    """A version of a deployment, as far as it is stored.

    Attributes:
        version: Its name.
        task_queues: The queues that its workers have served.
        created_at: When the first of them came.
        has_pinned: Whether a run is open that is pinned to it.
        workers: How many of its workers live.
        was_active: Whether it has been current, or ramping.
    """

    version: str
    task_queues: tuple[str, ...]
    created_at: int
    has_pinned: bool = False
    workers: int = 0
    was_active: bool = False
