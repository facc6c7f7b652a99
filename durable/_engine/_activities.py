"""Activities as the engine sees them: where an attempt runs, how it ends, and what its row says.

An activity's life is: scheduled, any number of attempts, one outcome. Attempts add no events. An attempt runs *eagerly*,
in the process that owns the run and without any row, when that process can; else a row in `activity_tasks` queues it for
whoever serves its task queue. A retry, a heartbeat or a released run gives an eager activity a row too.
"""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec
from msgspec import Struct

from durable._engine._retry import Retry, RetryState, decide
from durable._engine._sole import end_with, is_sole
from durable._engine.hints import ANY_KEY, Hint, HintKind
from durable._engine.lanes import CIRCUIT_OPEN, BreakerNews, breaker_news, is_gated, lane_of
from durable._engine.records import ActivityRecord, ActivityState, Anew, AttemptOutcome, Message, NewActivity
from durable.exceptions import HistoryCorruptError
from durable.history import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    ApplicationFailure,
    EventType,
    Failure,
    Payload,
    Payloads,
    TimeoutFailure,
    decode_data,
    encode_data,
)

ActivityInputEvent = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled

ACTIVITY_INPUTS = (ActivityTaskCompleted, ActivityTaskFailed, ActivityTaskTimedOut, ActivityTaskCanceled)
"""The same, to be looked for: every step does, and a tuple is found through faster than a union."""


class Dispatch(Enum):
    """Where and when the first attempt of an activity starts."""

    NOW = "now"
    """Here, at once: its event rides with its completion. At least once."""
    AFTER_COMMIT = "after commit"
    """Here, once its event is known to be committed: it is the last attempt, or the workflow asked for it."""
    QUEUE = "queue"
    """Wherever a worker claims its row."""


class Progress(Struct, frozen=True, gc=False, omit_defaults=True):
    """What the next attempt is told about the ones before it."""

    heartbeat: Payloads = ()
    last_failure: Failure | None = None


class Completed(Struct, frozen=True, gc=False):
    """An attempt returned."""

    result: Payload


class Failed(Struct, frozen=True, gc=False):
    """An attempt raised, timed out, or was lost with its worker.

    `uncounted` is set when it came to nothing by no fault of its own, because of a pause for example: it did not fail,
    and is made again.
    """

    failure: Failure
    uncounted: bool = False


class Canceled(Struct, frozen=True, gc=False):
    """An attempt ended because it was asked to."""

    details: Payloads = ()


class HandedOut(Struct, frozen=True, gc=False):
    """An attempt goes on without its function: somebody outside will end it."""


Outcome = Completed | Failed | Canceled | HandedOut

_encode = msgspec.json.Encoder().encode
_decode_progress = msgspec.json.Decoder(Progress).decode


def encode_progress(progress: Progress) -> bytes:
    """Return progress as it is stored."""
    return _encode(progress)


def decode_progress(data: bytes) -> Progress:
    """Return stored progress; none is empty.

    Raises:
        HistoryCorruptError: It is not what this library wrote.
    """
    try:
        return _decode_progress(data) if data else Progress()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HistoryCorruptError(f"progress of an activity: {error}") from None


def dispatch(scheduled: ActivityTaskScheduled, *, local: bool) -> Dispatch:
    """Return how the first attempt starts; `local` tells whether this worker can run it now."""
    if not local:
        return Dispatch.QUEUE
    if not scheduled.eager or scheduled.retry_policy.maximum_attempts == 1:
        return Dispatch.AFTER_COMMIT
    return Dispatch.NOW


def close_by(scheduled: ActivityTaskScheduled, scheduled_at: int) -> int | None:
    """Return the instant by which all attempts must be over."""
    return None if scheduled.schedule_to_close is None else scheduled_at + scheduled.schedule_to_close


def asked_at(scheduled: ActivityTaskScheduled, scheduled_at: int) -> int:
    """Return the instant from which the deadlines of all attempts count, of an activity that a task asked for then."""
    local = scheduled.local
    return scheduled_at if local is None or not local.since else local.since


def row(
    scheduled: ActivityTaskScheduled,
    scheduled_at: int,
    *,
    attempt: int = 1,
    due_in: int = 0,
    progress: Progress | None = None,
    worker: str | None = None,
    running_for: int = 0,
) -> NewActivity:
    """Return the row of an activity that is queued, backs off, or runs at `worker` already."""
    start_by = None
    if attempt == 1 and worker is None and scheduled.schedule_to_start is not None:
        start_by = scheduled_at + scheduled.schedule_to_start
    return NewActivity(
        id=scheduled.id,
        activity_type=scheduled.activity_type,
        task_queue=scheduled.task_queue,
        scheduled=encode_data(scheduled),
        scheduled_at=scheduled_at,
        attempt=attempt,
        due_in=due_in,
        start_by=start_by,
        close_by=close_by(scheduled, scheduled_at),
        start_to_close=scheduled.start_to_close,
        heartbeat=scheduled.heartbeat,
        progress=b"" if progress is None else encode_progress(progress),
        worker=worker,
        running_for=running_for,
        priority=scheduled.priority,
        lane=None if scheduled.limits is None else lane_of(scheduled.limits),
    )


def conclude(
    scheduled: ActivityTaskScheduled,
    outcome: Outcome,
    *,
    attempt: int,
    scheduled_at: int,
    now: int,
    jitter: float,
    identity: str,
    cancel_requested: bool,
) -> ActivityInputEvent | Retry:
    """Return what the end of an attempt means: the activity's outcome, or another attempt."""
    assert not isinstance(outcome, HandedOut), "only an attempt with a row can be handed out"
    if isinstance(outcome, Completed):
        return ActivityTaskCompleted(
            id=scheduled.id, attempt=attempt, identity=identity, result=outcome.result
        )
    if isinstance(outcome, Canceled):
        return ActivityTaskCanceled(
            id=scheduled.id, attempt=attempt, identity=identity, details=outcome.details
        )
    decision: Retry | RetryState
    if cancel_requested:
        # Temporal's rule: an activity that was asked to end is not tried again, whatever it ends with.
        decision = RetryState.CANCEL_REQUESTED
    else:
        decision = decide(
            scheduled.retry_policy,
            attempt,
            outcome.failure,
            now=now,
            close_by=close_by(scheduled, scheduled_at),
            jitter=jitter,
        )
    if isinstance(decision, Retry):
        return decision
    kind = ActivityTaskTimedOut if isinstance(outcome.failure.info, TimeoutFailure) else ActivityTaskFailed
    return kind(
        id=scheduled.id,
        attempt=attempt,
        identity=identity,
        failure=outcome.failure,
        retry_state=decision.value,
    )


def backed_off(
    scheduled: ActivityTaskScheduled, failure: Failure, delay: int, *, attempt: int, identity: str
) -> ActivityInputEvent:
    """Return the failure of a local activity whose next attempt is the run's own affair, behind a timer."""
    kind = ActivityTaskTimedOut if isinstance(failure.info, TimeoutFailure) else ActivityTaskFailed
    return kind(id=scheduled.id, attempt=attempt, identity=identity, failure=failure, retry_in=delay)


def message_of(run_id: str, event: ActivityInputEvent) -> Message:
    """Return the message that brings an activity's outcome to its run from elsewhere; its id names the activity."""
    message_id = f"activity:{event.id}"
    return Message(
        run_id=run_id,
        message_id=message_id,
        type=int(event.type),
        data=encode_data(msgspec.structs.replace(event, message=message_id)),
        internal=True,
    )


def conclude_row(
    record: ActivityRecord,
    outcome: Outcome,
    *,
    worker: str | None,
    now: int,
    jitter: float,
    identity: str,
    progress: Progress,
    cancel_requested: bool,
) -> AttemptOutcome:
    """Return how an attempt that has a row ends: a message to the run, or a row queued for the next attempt."""
    if isinstance(outcome, HandedOut):
        return AttemptOutcome(
            run_id=record.run_id,
            id=record.id,
            attempt=record.attempt,
            worker=worker,
            progress=encode_progress(progress),
            state=record.state,
            outside=True,
        )
    if isinstance(outcome, Failed) and not cancel_requested and _again(record, outcome, now):
        return _made_again(record, outcome, worker=worker, progress=progress)
    result = conclude(
        scheduled_of(record),
        outcome,
        attempt=record.number,
        scheduled_at=record.scheduled_at,
        now=now,
        jitter=jitter,
        identity=identity,
        cancel_requested=cancel_requested,
    )
    if isinstance(outcome, Failed):
        progress = Progress(progress.heartbeat, outcome.failure)
    sole = is_sole(record.workflow_type)
    return AttemptOutcome(
        run_id=record.run_id,
        id=record.id,
        attempt=record.attempt,
        worker=worker,
        message=None if isinstance(result, Retry) or sole else message_of(record.run_id, result),
        sole=None if isinstance(result, Retry) or not sole else end_with(result),
        retry_in=result.delay if isinstance(result, Retry) else None,
        progress=encode_progress(progress),
        state=record.state,
        # What operators changed meanwhile matters to what failed, and to nothing else.
        revision=record.revision if isinstance(outcome, Failed) else None,
        base=record.base,
    )


def _again(record: ActivityRecord, outcome: Failed, now: int) -> bool:
    """Whether an attempt that failed is made again whatever its retry policy says about the number of attempts."""
    if not (outcome.uncounted or record.anew is not Anew.NO):
        return False
    scheduled = scheduled_of(record)
    allowed = msgspec.structs.replace(scheduled.retry_policy, maximum_attempts=0, initial_interval=0)
    end = close_by(scheduled, record.scheduled_at)
    return isinstance(decide(allowed, 1, outcome.failure, now=now, close_by=end, jitter=0.0), Retry)


def _made_again(
    record: ActivityRecord, outcome: Failed, *, worker: str | None, progress: Progress
) -> AttemptOutcome:
    """Return the end of an attempt behind which people count from one, or on from where it was if it is not counted."""
    failure: Failure | None = outcome.failure
    base = record.base + 1
    if record.anew is not Anew.NO:
        base = record.attempt
        if record.anew is Anew.FORGETTING:
            progress = Progress()
    elif outcome.uncounted:
        # It did not fail.
        failure = decode_progress(record.progress).last_failure
    return AttemptOutcome(
        run_id=record.run_id,
        id=record.id,
        attempt=record.attempt,
        worker=worker,
        retry_in=0,
        progress=encode_progress(Progress(progress.heartbeat, failure)),
        state=record.state,
        revision=record.revision,
        base=base,
    )


def cancel_waiting(record: ActivityRecord) -> AttemptOutcome:
    """Return the end of an activity that was cancelled while it waited for a worker: it never starts (again)."""
    sole = is_sole(record.workflow_type)
    canceled = ActivityTaskCanceled(id=record.id, attempt=record.number)
    return AttemptOutcome(
        run_id=record.run_id,
        id=record.id,
        attempt=record.attempt,
        worker=None,
        message=None if sole else message_of(record.run_id, canceled),
        sole=end_with(canceled) if sole else None,
        progress=record.progress,
        state=ActivityState.QUEUED,
    )


def scheduled_of(record: ActivityRecord) -> ActivityTaskScheduled:
    """Return the schedule event that a row holds."""
    data = decode_data(EventType.ACTIVITY_TASK_SCHEDULED, record.scheduled)
    assert isinstance(data, ActivityTaskScheduled)
    return data


def circuit_open(scheduled: ActivityTaskScheduled) -> Failed:
    """Return how an activity ends that is to fail fast while its circuit breaker is open."""
    key = "" if scheduled.limits is None or scheduled.limits.breaker is None else scheduled.limits.breaker.key
    info = ApplicationFailure(type=CIRCUIT_OPEN, non_retryable=True)
    return Failed(Failure(message=f"circuit breaker {key!r} is open", info=info))


def hints_of(outcome: AttemptOutcome, scheduled: ActivityTaskScheduled) -> list[Hint]:
    """Return whom the end of an attempt with a row concerns: its run, or whoever may run the next one."""
    if scheduled.limits is not None and is_gated(scheduled.limits):
        # Others under its key, on whatever queue, have waited for it to end.
        others = [Hint(HintKind.ACTIVITY, ANY_KEY)]
    else:
        over = outcome.message is not None or outcome.sole is not None
        others = [] if over else [Hint(HintKind.ACTIVITY, scheduled.task_queue)]
    if outcome.sole is not None:
        return [Hint(HintKind.CLOSED, outcome.run_id), *others]
    return others if outcome.message is None else [Hint(HintKind.MESSAGE, outcome.run_id), *others]


def news_for_breaker(scheduled: ActivityTaskScheduled, outcome: Outcome) -> BreakerNews | None:
    """Return what the end of an attempt tells the circuit breaker of its activity, if that is anything."""
    if scheduled.limits is None or not isinstance(outcome, Completed | Failed):
        return None
    return breaker_news(scheduled.limits, outcome.failure if isinstance(outcome, Failed) else None)


WORKER_LOST = "the worker that ran this attempt was lost"


def timeout(kind: str, *, heartbeat: Payloads = (), message: str = "") -> Failed:
    """Return the outcome of an attempt that a deadline ended; `kind` is "start_to_close" or the like."""
    text = message or f"activity timed out: {kind.replace('_', '-')}"
    return Failed(
        Failure(message=text, info=TimeoutFailure(timeout_type=kind, last_heartbeat_details=heartbeat))
    )


def lost(scheduled: ActivityTaskScheduled, heartbeat: Payloads = ()) -> Failed:
    """Return the outcome of an attempt whose worker died: a timeout, which is how its caller would have found out."""
    kind = "heartbeat" if scheduled.heartbeat is not None else "start_to_close"
    return timeout(kind, heartbeat=heartbeat, message=WORKER_LOST)


def expiry(record: ActivityRecord) -> Failed | None:
    """Return what ended the attempt of a row that `expired_activities` gave, or None when nothing has (any more)."""
    progress = decode_progress(record.progress)
    if record.state is ActivityState.RUNNING and record.worker is None:
        return lost(scheduled_of(record), progress.heartbeat)
    if record.deadline is None or record.deadline > record.now:
        return None
    if record.close_by is not None and record.close_by <= record.now:
        return _schedule_to_close(progress)
    began = record.started_at
    if record.state is ActivityState.QUEUED:
        began = record.outside_since
        if began is None:
            return timeout("schedule_to_start")
    if record.start_to_close is not None and (began or 0) + record.start_to_close <= record.now:
        return timeout("start_to_close", heartbeat=progress.heartbeat)
    return timeout("heartbeat", heartbeat=progress.heartbeat)


def began(record: ActivityRecord) -> bool:
    """Whether an attempt of a row is under way, here or outside."""
    return record.state is ActivityState.RUNNING or record.outside_since is not None


def _schedule_to_close(progress: Progress) -> Failed:
    """The time for all attempts is over; what the last of them failed with is its cause."""
    ended = timeout("schedule_to_close", heartbeat=progress.heartbeat)
    return Failed(msgspec.structs.replace(ended.failure, cause=progress.last_failure))


class Token(Struct, frozen=True, gc=False, array_like=True):
    """What names one attempt of an activity to those outside who will end it."""

    run_id: str
    id: int
    attempt: int


_decode_token = msgspec.json.Decoder(Token).decode


def task_token(run_id: str, id: int, attempt: int) -> bytes:
    """Return the bytes that name an attempt."""
    return _encode(Token(run_id, id, attempt))


def read_task_token(token: bytes) -> Token:
    """Return what a token names.

    Raises:
        ValueError: It is no token of this library.
    """
    try:
        return _decode_token(token)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"task_token is not what activity.info().task_token gave: {error}") from None


def idempotency_key(run_id: str, scheduled: ActivityTaskScheduled) -> str:
    """Return a key that is the same for every attempt, recovery and replay of this very call, and for no other.

    It is a digest of run, activity id, type and the argument bytes: when new code asks for something else in the same
    place, a provider that remembers keys does not answer with the old effect.
    """
    digest = hashlib.sha256()
    for part in (run_id, scheduled.activity_id, scheduled.activity_type):
        data = part.encode()
        digest.update(len(data).to_bytes(4) + data)
    for payload in scheduled.input:
        digest.update(len(payload.data).to_bytes(8) + payload.encoding.encode() + b"\0" + payload.data)
    return digest.hexdigest()[:40]
