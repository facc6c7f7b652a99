"""The rows of activities, as they cross the port; see `records`."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from durable._engine.lanes import Lane


class ActivityState(IntEnum):
    """Where an activity's row is in its life."""

    QUEUED = 1
    """It may be claimed from `due_at` on."""
    RUNNING = 2
    """`worker` runs attempt `attempt`, until `deadline`."""
    DONE = 3
    """Its outcome is in the inbox; the row lives until the owner has appended it, as the fence against other attempts."""


class Anew(IntEnum):
    """Whether an activity begins again at its first attempt, behind the one that runs."""

    NO = 0
    YES = 1
    FORGETTING = 2
    """And without what its heartbeats told."""


class NewActivity(Struct, frozen=True, gc=False):
    """An activity that needs a row: queued, backing off, or running here and heartbeating.

    Attributes:
        id: The command's number in its run.
        task_queue: Its place: its queue, and the version that its run is pinned to, if that serves the queue.
        scheduled: The encoded `ActivityTaskScheduled`.
        progress: Encoded `ActivityProgress`: heartbeat details, last failure.
        due_in: How long until it may be claimed; below 0, how long it counts as having waited, which is a matter of its turn
            and of nothing that is shown.
        start_by: Instant at which schedule-to-start passes, None for never. Only the first attempt has one.
        close_by: Instant at which schedule-to-close passes, None for never.
        start_to_close: Longest attempt.
        heartbeat: Longest silence of an attempt.
        worker: The worker that runs it already (state RUNNING), or None (state QUEUED).
        running_for: How long that attempt has been running.
        lane: Where it waits, if not with the rest of its queue.
    """

    id: int
    activity_type: str
    task_queue: str
    scheduled: bytes
    scheduled_at: int
    attempt: int = 1
    priority: int = 3
    due_in: int = 0
    start_by: int | None = None
    close_by: int | None = None
    start_to_close: int | None = None
    heartbeat: int | None = None
    progress: bytes = b""
    worker: str | None = None
    running_for: int = 0
    lane: Lane | None = None


class ActivityRecord(Struct, frozen=True, gc=False):
    """An activity's row. `workflow_id` and `workflow_type` are the run's.

    `fault` is why `scheduled` and `progress` could not be decoded by a codec; then they are as they are stored.
    `outside_since` is when the attempt began that somebody outside is to end; such a row is QUEUED, and never due.
    So is one that operators paused, since `paused_at`, while it waited. `attempt` never falls, it is a fence: people
    count from `base`. `anew` is set while an attempt runs behind which the count begins again; `revision` goes up with
    each change by operators. `refused`: it was claimed to fail, since its circuit breaker is open.
    """

    run_id: str
    id: int
    workflow_id: str
    workflow_type: str
    activity_type: str
    task_queue: str
    state: ActivityState
    attempt: int
    due_at: int
    deadline: int | None
    start_by: int | None
    close_by: int | None
    start_to_close: int | None
    heartbeat: int | None
    worker: str | None
    started_at: int | None
    scheduled_at: int
    scheduled: bytes
    progress: bytes
    cancel_requested: bool
    now: int
    fault: Exception | None = None
    outside_since: int | None = None
    paused_at: int | None = None
    pause_reason: str = ""
    cancel_reason: str = ""
    base: int = 0
    anew: Anew = Anew.NO
    revision: int = 0
    refused: bool = False

    @property
    def number(self) -> int:
        """The number of its attempt, as people count."""
        return self.attempt - self.base


class SoleActivity(Struct, frozen=True, gc=False):
    """The one activity of a run that has no code. Its limits count from when it begins; queue and priority are the run's.

    Attributes:
        scheduled: The encoded `ActivityTaskScheduled`, event 2 of the run and in the row.
        lane: Where it waits, if not with the rest of its queue.
    """

    activity_type: str
    scheduled: bytes
    schedule_to_start: int | None = None
    schedule_to_close: int | None = None
    start_to_close: int | None = None
    heartbeat: int | None = None
    lane: Lane | None = None
