"""What people ask of a schedule, and what its actions came to: each a function from progress to progress.

None of these acts by itself. Whoever applies one decides right behind it (see `_decide`), and decides before it too when
it changes what is due: `updated` and `unpaused` pass over whatever was not decided yet.
"""

from __future__ import annotations

from msgspec.structs import replace

from durable._engine.schedules._decide import passed
from durable._engine.schedules._overlap import MAX_BUFFER
from durable._engine.schedules.records import (
    Asked,
    PendingBackfill,
    PendingStart,
    PolicyRecord,
    RecentAction,
    ScheduleOverlapPolicy,
    ScheduleProgress,
    ScheduleRecord,
    Standing,
)
from durable._internal.instants import SECOND
from durable._timetables._times import timetable
from durable.common import WorkflowExecutionStatus
from durable.history import Failure, Payloads


def created(schedule_id: str, standing: Standing, now: int) -> ScheduleProgress:
    """Return the progress of a new schedule: it acts at the instants behind now."""
    return ScheduleProgress(schedule_id, created_at=now, cursor=now, standing=standing)


def updated(
    schedule: ScheduleRecord, progress: ScheduleProgress, standing: Standing, now: int
) -> ScheduleProgress:
    """Return the progress of a schedule that is from now on for something else.

    It acts at those instants of its new spec that are due behind now, though their nominal instant may be before; what
    waits, runs or was counted stays as it is.
    """
    return replace(
        progress,
        standing=standing,
        updated_at=now,
        cursor=passed(timetable(schedule.spec), progress, now),
    )


def triggered(
    progress: ScheduleProgress, now: int, overlap: ScheduleOverlapPolicy | None = None
) -> ScheduleProgress:
    """Return the progress with one more action to be taken now, paused or not.

    Its nominal instant is now, or as many microseconds behind as it takes to be no instant of a spec and no other
    trigger's: there is one run for a schedule and an instant.
    """
    nominal = max(now, progress.last_trigger + 1)
    nominal += nominal % SECOND == 0
    start = PendingStart(nominal, now, overlap, manual=True)
    if len(progress.buffer) >= MAX_BUFFER:
        return replace(progress, last_trigger=nominal, buffer_dropped=progress.buffer_dropped + 1)
    return replace(progress, last_trigger=nominal, buffer=(*progress.buffer, start))


def backfilled(progress: ScheduleProgress, *periods: PendingBackfill) -> ScheduleProgress:
    """Return the progress with periods to be gone through as if they passed now, behind those there are."""
    room = MAX_BUFFER - len(progress.backfills)
    dropped = max(0, len(periods) - room)
    return replace(
        progress,
        backfills=progress.backfills + periods[:room],
        buffer_dropped=progress.buffer_dropped + dropped,
    )


def paused(progress: ScheduleProgress, note: str) -> ScheduleProgress:
    """Return the progress of a schedule that does not act until it is unpaused."""
    return replace(progress, standing=replace(progress.standing, paused=True, note=note))


def unpaused(schedule: ScheduleRecord, progress: ScheduleProgress, note: str, now: int) -> ScheduleProgress:
    """Return the progress of a schedule that acts again, at the instants that are due behind now."""
    if progress.standing.paused:
        progress = replace(progress, cursor=passed(timetable(schedule.spec), progress, now))
    return replace(progress, standing=replace(progress.standing, paused=False, note=note))


def closed(
    policy: PolicyRecord,
    progress: ScheduleProgress,
    run_id: str,
    status: WorkflowExecutionStatus,
    *,
    result: Payloads = (),
    failure: Failure | None = None,
) -> ScheduleProgress:
    """Return the progress after an action has ended: its result is the next one's, its failure may pause the schedule.

    Args:
        policy: The schedule's policy.
        progress: Its progress.
        run_id: The first run of the action's chain.
        status: What its last run ended with.
        result: What it returned, empty when it did not.
        failure: What it failed with, None when it did not.
    """
    recent = tuple(_with_status(one, run_id, status) for one in progress.recent)
    progress = replace(progress, recent=recent)
    ended = next((one for one in progress.running if one.run_id == run_id), None)
    if ended is None:
        return progress  # taken under ALLOW_ALL, or known to have ended
    progress = replace(progress, running=tuple(one for one in progress.running if one is not ended))
    if result:
        progress = replace(progress, last_result=result, last_failure=None)
    elif failure is not None:
        progress = replace(progress, last_failure=failure)
    if not policy.pause_on_failure or progress.standing.paused:
        return progress
    match status:
        case WorkflowExecutionStatus.FAILED:
            why = "" if failure is None else f": {failure.message}"
            return paused(progress, f"paused due to workflow failure: {ended.workflow_id}{why}")
        case WorkflowExecutionStatus.TIMED_OUT:
            return paused(progress, f"paused due to workflow timeout: {ended.workflow_id}")
        case _:
            return progress


def _with_status(one: RecentAction, run_id: str, status: WorkflowExecutionStatus) -> RecentAction:
    return replace(one, status=status) if one.run_id == run_id else one


def refused(progress: ScheduleProgress, run_id: str) -> ScheduleProgress:
    """Return the progress after an action could not be taken: a stranger's workflow is open under the action's id.

    It counts as one that was not taken because of another. A second refusal of the same action changes nothing.
    """
    known = {one.run_id for one in progress.running} | {one.run_id for one in progress.recent}
    if run_id not in known:
        return progress
    return replace(
        progress,
        running=tuple(one for one in progress.running if one.run_id != run_id),
        recent=tuple(one for one in progress.recent if one.run_id != run_id),
        num_actions=progress.num_actions - 1,
        skipped_overlap=progress.skipped_overlap + 1,
    )


def told(progress: ScheduleProgress, asked: dict[str, Asked]) -> ScheduleProgress:
    """Return the progress after running actions were asked, by run id, for what they were to be asked for."""
    running = tuple(
        replace(one, told=max(one.told, asked[one.run_id])) if one.run_id in asked else one
        for one in progress.running
    )
    return replace(progress, running=running)


REQUESTS = 20
"""How many requests are remembered: a request is repeated within seconds, and people ask for little in that time."""


def requested(progress: ScheduleProgress, request_id: str) -> ScheduleProgress:
    """Return the progress with a request remembered, so that it is not done again when it is repeated."""
    return replace(progress, requests=(*progress.requests, request_id)[-REQUESTS:])
