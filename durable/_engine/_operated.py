"""What operators do to an activity that has a row: pause it, let it go on, send it back to its first attempt, change its options.

Each function returns the row's change, made from the row as it was read; the store writes it only while the row is still
so, and whoever asked reads it again otherwise. An attempt that runs is never touched: it is told by its next heartbeat,
and what the change means to it is decided when it ends. No event tells of any of this, as in Temporal.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from durable._engine._activities import Progress, close_by, decode_progress, encode_progress, scheduled_of
from durable._engine.activity_records import ActivityRecord, ActivityState, Anew
from durable._engine.operations import ActivityChange
from durable._engine.records import NEVER_DUE
from durable.history import ActivityTaskScheduled, RetryPolicyData, encode_data


class NewOptions(Struct, frozen=True, gc=False):
    """Options of an activity that are to be others, in microseconds; what is None stays.

    `start_to_close` and the like of 0 mean that there is none any more.
    """

    task_queue: str | None = None
    schedule_to_close: int | None = None
    schedule_to_start: int | None = None
    start_to_close: int | None = None
    heartbeat: int | None = None
    retry_policy: RetryPolicyData | None = None


def pause(record: ActivityRecord, reason: str) -> ActivityChange | None:
    """Return what keeps an activity from being tried (again); None when it is paused already."""
    if record.paused_at is not None:
        return None
    return _change(record, paused_at=record.now, pause_reason=reason)


def unpause(
    record: ActivityRecord, *, reset_attempts: bool, reset_heartbeats: bool, wait: int
) -> ActivityChange | None:
    """Return what lets a paused activity go on, `wait` from now at the earliest; None when it is not paused."""
    if record.paused_at is None:
        return None
    changed = replace(_unpaused(record), due_at=record.now + wait)
    return _begun_again(changed, record, attempts=reset_attempts, heartbeats=reset_heartbeats)


def reset(
    record: ActivityRecord,
    *,
    reset_heartbeats: bool,
    keep_paused: bool,
    wait: int,
    original: ActivityTaskScheduled | None = None,
) -> ActivityChange:
    """Return what sends an activity back to its first attempt, `wait` from now at the earliest.

    With `original` it has those options again.
    """
    changed = _change(record) if keep_paused else _unpaused(record)
    if original is not None:
        changed = replace(changed, **_options(record, original))
    changed = replace(changed, due_at=record.now + wait)
    return _begun_again(changed, record, attempts=True, heartbeats=reset_heartbeats)


def update_options(
    record: ActivityRecord, new: NewOptions, original: ActivityTaskScheduled | None
) -> ActivityChange:
    """Return what gives an activity other options.

    Args:
        record: Its row.
        new: What is to be another.
        original: The options it was scheduled with, when these are to hold again first.

    Raises:
        ValueError: It would have no limit at all.
    """
    scheduled = scheduled_of(record) if original is None else original
    said = {name: value for name in new.__struct_fields__ if (value := getattr(new, name)) is not None}
    scheduled = replace(scheduled, **{name: value or None for name, value in said.items()})
    if scheduled.start_to_close is None and scheduled.schedule_to_close is None:
        raise ValueError("an activity needs a start_to_close_timeout or a schedule_to_close_timeout")
    return _change(record, **_options(record, scheduled))


def _options(record: ActivityRecord, scheduled: ActivityTaskScheduled) -> dict[str, object]:
    """What stands in a row for options of its activity."""
    start_by = record.start_by
    if record.attempt == 1 and scheduled.schedule_to_start != scheduled_of(record).schedule_to_start:
        wait = scheduled.schedule_to_start
        start_by = None if wait is None else record.scheduled_at + wait
    return {
        "start_by": start_by,
        "close_by": close_by(scheduled, record.scheduled_at),
        "start_to_close": scheduled.start_to_close,
        "heartbeat": scheduled.heartbeat,
        "task_queue": scheduled.task_queue,
        "scheduled": encode_data(scheduled),
    }


def request_cancel(record: ActivityRecord, reason: str) -> ActivityChange:
    """Return what asks an attempt that runs to end; no other follows it."""
    return replace(_change(record), cancel=True, cancel_reason=reason)


def _unpaused(record: ActivityRecord) -> ActivityChange:
    start_by = record.start_by
    if start_by is not None and record.paused_at is not None:
        # While it was paused nobody could have started it.
        start_by += max(0, record.now - record.paused_at)
    return _change(record, paused_at=None, pause_reason="", start_by=start_by)


def _begun_again(
    changed: ActivityChange, record: ActivityRecord, *, attempts: bool, heartbeats: bool
) -> ActivityChange:
    """Return a change that also begins the count of attempts again, and forgets what heartbeats told."""
    if _waits(record):
        if attempts:
            changed = replace(changed, base=record.attempt - 1)
        if heartbeats:
            progress = Progress((), decode_progress(record.progress).last_failure)
            changed = replace(changed, progress=encode_progress(progress))
    elif attempts:
        changed = replace(changed, anew=Anew.FORGETTING if heartbeats else Anew.YES)
    # Of an attempt that runs, the heartbeats are its own.
    return _timed(changed, record)


def _waits(record: ActivityRecord) -> bool:
    """Whether no attempt of it runs, here or outside."""
    return record.state is ActivityState.QUEUED and record.outside_since is None


def _change(record: ActivityRecord, **fields: object) -> ActivityChange:
    same = ActivityChange(
        run_id=record.run_id,
        id=record.id,
        state=record.state,
        attempt=record.attempt,
        revision=record.revision,
        paused_at=record.paused_at,
        pause_reason=record.pause_reason,
        base=record.base,
        anew=record.anew,
        due_at=record.due_at,
        deadline=record.deadline,
        start_by=record.start_by,
        close_by=record.close_by,
        start_to_close=record.start_to_close,
        heartbeat=record.heartbeat,
        task_queue=record.task_queue,
        scheduled=record.scheduled,
    )
    return _timed(replace(same, **fields), record)


def _timed(changed: ActivityChange, record: ActivityRecord) -> ActivityChange:
    """Return a change with the times that a waiting activity has under it; one that is cancelled is ended in any case."""
    if not _waits(record):
        return replace(changed, due_at=record.due_at, deadline=record.deadline)
    if changed.paused_at is None:
        return replace(changed, deadline=_earliest(changed.start_by, changed.close_by))
    due_at = changed.due_at if record.cancel_requested else NEVER_DUE
    return replace(changed, due_at=due_at, deadline=changed.close_by)


def _earliest(*instants: int | None) -> int | None:
    return min((instant for instant in instants if instant is not None), default=None)
