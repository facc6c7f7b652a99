"""An activity's life as the engine sees it: where it starts, what its row says, and how an attempt ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from durable._engine._activities import (
    WORKER_LOST,
    Canceled,
    Completed,
    Dispatch,
    Failed,
    Progress,
    cancel_waiting,
    conclude,
    conclude_row,
    decode_progress,
    dispatch,
    encode_progress,
    expiry,
    idempotency_key,
    lost,
    message_of,
    row,
    scheduled_of,
    timeout,
)
from durable._engine._retry import Retry
from durable._engine.records import ActivityRecord, ActivityState
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
    RetryPolicyData,
    TimeoutFailure,
    decode_data,
    encode_data,
)

ONCE = RetryPolicyData(maximum_attempts=1)
BEAT = (Payload(b"3"),)
BOOM = Failed(Failure("boom", info=ApplicationFailure("E")))
SCHEDULED = ActivityTaskScheduled(
    id=7,
    activity_id="seven",
    activity_type="charge",
    task_queue="q",
    input=(Payload(b'"a"'), Payload(b"1")),
    schedule_to_close=1000,
    schedule_to_start=100,
    start_to_close=300,
    heartbeat=50,
)


# ---------------------------------------------------------------- where it starts


@pytest.mark.parametrize(
    ("changes", "local", "where"),
    [
        ({}, True, Dispatch.NOW),
        ({}, False, Dispatch.QUEUE),
        ({"eager": False}, True, Dispatch.AFTER_COMMIT),
        ({"eager": False}, False, Dispatch.QUEUE),
        ({"retry_policy": ONCE}, True, Dispatch.AFTER_COMMIT),
        ({"retry_policy": ONCE}, False, Dispatch.QUEUE),
        ({"retry_policy": RetryPolicyData(maximum_attempts=2)}, True, Dispatch.NOW),
        ({"retry_policy": RetryPolicyData(maximum_attempts=0)}, True, Dispatch.NOW),
    ],
)
def test_dispatch(changes: dict[str, Any], local: bool, where: Dispatch) -> None:
    assert dispatch(msgspec.structs.replace(SCHEDULED, **changes), local=local) is where


# ---------------------------------------------------------------- the row


def test_a_queued_row_has_every_deadline_counted_from_the_schedule() -> None:
    new = row(SCHEDULED, 5000)
    assert (new.id, new.activity_type, new.task_queue, new.attempt, new.due_in) == (7, "charge", "q", 1, 0)
    assert (new.start_by, new.close_by, new.start_to_close, new.heartbeat) == (5100, 6000, 300, 50)
    assert (new.worker, new.progress) == (None, b"")
    assert decode_data(EventType.ACTIVITY_TASK_SCHEDULED, new.scheduled) == SCHEDULED


def test_only_a_first_attempt_that_waits_has_schedule_to_start() -> None:
    assert row(SCHEDULED, 5000, attempt=2, due_in=9).start_by is None
    assert row(SCHEDULED, 5000, worker="w").start_by is None
    assert row(SCHEDULED, 5000, attempt=2, due_in=9).close_by == 6000


def test_a_row_without_timeouts_has_none() -> None:
    new = row(ActivityTaskScheduled(id=1), 5000)
    assert (new.start_by, new.close_by, new.start_to_close, new.heartbeat) == (None, None, None, None)


def test_progress_survives_its_row() -> None:
    progress = Progress(BEAT, Failure("before"))
    assert decode_progress(row(SCHEDULED, 0, progress=progress).progress) == progress
    assert decode_progress(b"") == Progress()
    assert decode_progress(encode_progress(Progress())) == Progress()


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"heartbeat":1}', b"\xff"])
def test_damaged_progress_is_named(data: bytes) -> None:
    with pytest.raises(HistoryCorruptError, match="progress"):
        decode_progress(data)


# ---------------------------------------------------------------- how an attempt ends


def ended(outcome: Completed | Failed | Canceled, **changes: Any) -> Any:
    said = {
        "attempt": 2,
        "scheduled_at": 0,
        "now": 10,
        "jitter": 0.0,
        "identity": "me",
        "cancel_requested": False,
    }
    scheduled = msgspec.structs.replace(SCHEDULED, schedule_to_close=None, **changes.pop("scheduled", {}))
    return conclude(scheduled, outcome, **(said | changes))


def test_a_result_is_a_completion_whatever_was_asked() -> None:
    done = ActivityTaskCompleted(id=7, attempt=2, identity="me", result=Payload(b"1"))
    for asked in (False, True):
        assert ended(Completed(Payload(b"1")), cancel_requested=asked) == done


def test_a_cancel_that_was_obeyed() -> None:
    assert ended(Canceled(BEAT), cancel_requested=True) == ActivityTaskCanceled(
        id=7, attempt=2, identity="me", details=BEAT
    )


def test_a_failure_is_tried_again() -> None:
    assert ended(BOOM) == Retry(2_000_000)


def test_a_failure_of_an_activity_that_was_cancelled_is_final() -> None:
    found = ended(BOOM, cancel_requested=True)
    assert isinstance(found, ActivityTaskFailed)
    assert (found.retry_state, found.failure) == ("cancel_requested", BOOM.failure)


@pytest.mark.parametrize(
    ("outcome", "kind", "state"),
    [
        (BOOM, ActivityTaskFailed, "maximum_attempts_reached"),
        (timeout("start_to_close"), ActivityTaskTimedOut, "maximum_attempts_reached"),
        (timeout("heartbeat"), ActivityTaskTimedOut, "maximum_attempts_reached"),
        (timeout("schedule_to_close"), ActivityTaskTimedOut, "non_retryable_failure"),
        (timeout("schedule_to_start"), ActivityTaskTimedOut, "non_retryable_failure"),
    ],
)
def test_the_last_failure_becomes_an_event_of_its_kind(outcome: Failed, kind: type, state: str) -> None:
    found = ended(outcome, scheduled={"retry_policy": RetryPolicyData(maximum_attempts=2)})
    assert type(found) is kind
    assert (found.id, found.attempt, found.identity, found.retry_state) == (7, 2, "me", state)
    assert found.failure == outcome.failure


def test_schedule_to_close_is_counted_from_the_schedule_and_not_from_the_attempt() -> None:
    scheduled = msgspec.structs.replace(SCHEDULED, schedule_to_close=2_000_010)
    said: dict[str, Any] = {"attempt": 2, "jitter": 0.0, "identity": "", "cancel_requested": False}
    assert conclude(scheduled, BOOM, scheduled_at=1, now=10, **said) == Retry(2_000_000)
    late = conclude(scheduled, BOOM, scheduled_at=0, now=10, **said)
    assert isinstance(late, ActivityTaskFailed)
    assert late.retry_state == "timeout"


def test_a_message_names_its_activity_so_that_two_outcomes_are_one() -> None:
    done = ActivityTaskCompleted(id=7, attempt=2, result=Payload(b"1"))
    failed = ActivityTaskFailed(id=7, attempt=1)
    one, two = message_of("r", done), message_of("r", failed)
    assert (one.run_id, one.message_id, one.type, one.internal) == ("r", "activity:7", 22, True)
    assert two.message_id == one.message_id
    assert decode_data(one.type, one.data) == msgspec.structs.replace(done, message="activity:7")


# ---------------------------------------------------------------- attempts with rows


def record(**changes: Any) -> ActivityRecord:
    base = ActivityRecord(
        run_id="r",
        id=7,
        workflow_id="w",
        workflow_type="t",
        activity_type="charge",
        task_queue="q",
        state=ActivityState.RUNNING,
        attempt=2,
        due_at=0,
        deadline=None,
        start_by=None,
        close_by=None,
        start_to_close=None,
        heartbeat=None,
        worker="other",
        started_at=1000,
        scheduled_at=500,
        scheduled=encode_data(SCHEDULED),
        progress=encode_progress(Progress(BEAT, Failure("before"))),
        cancel_requested=False,
        now=2000,
    )
    return msgspec.structs.replace(base, **changes)


def end_row(one: ActivityRecord, outcome: Completed | Failed | Canceled, **changes: Any) -> Any:
    said: dict[str, Any] = {
        "worker": "other",
        "now": 600,
        "jitter": 0.0,
        "identity": "me",
        "progress": Progress(BEAT),
        "cancel_requested": False,
    }
    return conclude_row(one, outcome, **(said | changes))


def test_a_row_whose_attempt_failed_is_queued_with_what_was_known() -> None:
    free = record(scheduled=encode_data(msgspec.structs.replace(SCHEDULED, schedule_to_close=None)))
    found = end_row(free, BOOM)
    assert (found.run_id, found.id, found.attempt, found.worker) == ("r", 7, 2, "other")
    assert (found.message, found.retry_in, found.state) == (None, 2_000_000, ActivityState.RUNNING)
    assert decode_progress(found.progress) == Progress(BEAT, BOOM.failure)


def test_a_row_whose_attempt_was_the_last_sends_a_message() -> None:
    found = end_row(record(), BOOM)  # the next attempt would start after schedule-to-close
    assert found.retry_in is None
    sent = decode_data(found.message.type, found.message.data)
    assert isinstance(sent, ActivityTaskFailed)
    assert (sent.message, sent.retry_state, sent.attempt) == ("activity:7", "timeout", 2)


def test_a_row_of_an_activity_that_waits_is_ended_before_it_starts() -> None:
    found = cancel_waiting(record(state=ActivityState.QUEUED, worker=None))
    assert (found.worker, found.state, found.retry_in) == (None, ActivityState.QUEUED, None)
    assert found.message is not None
    assert decode_data(found.message.type, found.message.data) == ActivityTaskCanceled(
        id=7, attempt=2, message="activity:7"
    )


NOW = 2000

EXPIRED: list[tuple[str, dict[str, Any], str | None]] = [
    ("nothing passed", {"deadline": NOW + 1, "start_to_close": 1001}, None),
    ("no deadline at all", {"deadline": None}, None),
    ("start-to-close", {"deadline": NOW, "start_to_close": 1000}, "start_to_close"),
    ("heartbeat", {"deadline": NOW, "start_to_close": 5000, "heartbeat": 50}, "heartbeat"),
    ("heartbeat, without start-to-close", {"deadline": NOW - 9, "heartbeat": 50}, "heartbeat"),
    ("schedule-to-close", {"deadline": NOW, "close_by": NOW, "start_to_close": 9999}, "schedule_to_close"),
    (
        "schedule-to-close before start-to-close at one instant",
        {"deadline": NOW, "close_by": NOW, "start_to_close": 1000},
        "schedule_to_close",
    ),
    (
        "schedule-to-start",
        {
            "state": ActivityState.QUEUED,
            "worker": None,
            "deadline": NOW,
            "start_by": NOW,
            "close_by": NOW + 9,
        },
        "schedule_to_start",
    ),
    (
        "schedule-to-close while it waits",
        {
            "state": ActivityState.QUEUED,
            "worker": None,
            "deadline": NOW - 1,
            "start_by": NOW - 1,
            "close_by": NOW,
        },
        "schedule_to_close",
    ),
]


@pytest.mark.parametrize(("changes", "kind"), [row[1:] for row in EXPIRED], ids=[row[0] for row in EXPIRED])
def test_which_deadline_ended_an_attempt(changes: dict[str, Any], kind: str | None) -> None:
    found = expiry(record(**changes))
    if kind is None:
        assert found is None
        return
    assert found is not None
    assert isinstance(found.failure.info, TimeoutFailure)
    assert found.failure.info.timeout_type == kind
    assert kind.replace("_", "-") in found.failure.message
    assert found.failure.info.last_heartbeat_details == (() if kind == "schedule_to_start" else BEAT)


def test_schedule_to_close_tells_what_the_attempt_before_failed_with() -> None:
    found = expiry(record(deadline=NOW, close_by=NOW))
    assert found is not None
    assert found.failure.cause == Failure("before")


@pytest.mark.parametrize(("heartbeat", "kind"), [(50, "heartbeat"), (None, "start_to_close")])
def test_an_attempt_whose_worker_was_lost_is_a_timeout_that_can_be_tried_again(
    heartbeat: int | None, kind: str
) -> None:
    scheduled = encode_data(msgspec.structs.replace(SCHEDULED, heartbeat=heartbeat))
    # Whatever its deadlines say: nobody runs it.
    found = expiry(record(worker=None, deadline=NOW + 5000, scheduled=scheduled))
    assert found is not None
    assert found.failure == Failure(WORKER_LOST, info=TimeoutFailure(kind, BEAT))
    assert found == lost(scheduled_of(record(scheduled=scheduled)), BEAT)


# ---------------------------------------------------------------- the idempotency key


def test_a_key_is_for_ever() -> None:
    """These values are with payment providers: no release may change them."""
    assert idempotency_key("r-1", SCHEDULED) == "027480a2f726f7dff2a3e726f7aee1bac5d3295c"
    assert idempotency_key("r-1", ActivityTaskScheduled(id=1)) == "0dd219449881a42a8108e5830d36f9e5ccf6f474"


def test_a_key_does_not_depend_on_how_the_activity_is_run() -> None:
    key = idempotency_key("r-1", SCHEDULED)
    for change in (
        {"task_queue": "other"},
        {"start_to_close": 1, "schedule_to_close": None, "heartbeat": None},
        {"retry_policy": ONCE},
        {"eager": False},
        {"summary": "s", "headers": {"trace": Payload(b"1")}},
        {"cancellation_type": "abandon"},
        {"id": 99},  # its position may move; the activity id says which call it is
    ):
        assert idempotency_key("r-1", msgspec.structs.replace(SCHEDULED, **change)) == key


def test_no_two_calls_share_a_key() -> None:
    a, b = Payload(b"a"), Payload(b"b")
    calls = [
        ("r-1", SCHEDULED),
        ("r-2", SCHEDULED),
        ("r-1", msgspec.structs.replace(SCHEDULED, activity_id="eight")),
        ("r-1", msgspec.structs.replace(SCHEDULED, activity_type="refund")),
        ("r-1s", msgspec.structs.replace(SCHEDULED, activity_id="even")),
        ("r-1", msgspec.structs.replace(SCHEDULED, input=())),
        ("r-1", msgspec.structs.replace(SCHEDULED, input=(a, b))),
        ("r-1", msgspec.structs.replace(SCHEDULED, input=(b, a))),
        ("r-1", msgspec.structs.replace(SCHEDULED, input=(Payload(b"ab"),))),
        ("r-1", msgspec.structs.replace(SCHEDULED, input=(Payload(b"ab", "binary/plain"),))),
        ("r-1", msgspec.structs.replace(SCHEDULED, input=(a, b, Payload()))),
    ]
    keys = {idempotency_key(run_id, scheduled) for run_id, scheduled in calls}
    assert len(keys) == len(calls)
    assert all(len(key) == 40 for key in keys)
