"""What makes two commands the same step, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from durable._replay._matcher import changed_arguments, differs, first_difference
from durable.history import (
    ActivityTaskCancelRequested,
    ActivityTaskScheduled,
    CommandEvent,
    Event,
    Payload,
    RetryPolicyData,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
)

ASKED = ActivityTaskScheduled(id=1, activity_id="1", activity_type="a", input=(Payload(b"1"),))


def asked(**changes: Any) -> ActivityTaskScheduled:
    said: dict[str, Any] = {"id": 1, "activity_id": "1", "activity_type": "a", "input": (Payload(b"1"),)}
    return ActivityTaskScheduled(**(said | changes))


@pytest.mark.parametrize(
    ("recorded", "wanted", "other"),
    [
        (ASKED, asked(), False),
        (ASKED, asked(activity_type="b"), True),
        (ASKED, asked(activity_id="x"), True),
        (ASKED, asked(id=2), True),
        (ASKED, asked(input=()), False),
        (
            ASKED,
            asked(task_queue="q", start_to_close=1, retry_policy=RetryPolicyData(maximum_attempts=1)),
            False,
        ),
        (ASKED, asked(eager=False, summary="s", cancellation_type="abandon"), False),
        (TimerStarted(id=1, duration=5), TimerStarted(id=1, duration=9), False),
        (TimerStarted(id=1), TimerStarted(id=2), True),
        (TimerStarted(id=1), TimerCanceled(id=1), True),
        (TimerStarted(id=1), ASKED, True),
        (ActivityTaskCancelRequested(id=1), ActivityTaskCancelRequested(id=1), False),
        (WorkflowExecutionCompleted(), WorkflowExecutionFailed(), True),
    ],
)
def test_what_is_compared(recorded: CommandEvent, wanted: CommandEvent, other: bool) -> None:
    assert differs(recorded, wanted) is other


def events(*data: CommandEvent) -> list[Event]:
    return [Event(seq, 1, 0, one) for seq, one in enumerate(data, 2)]


@pytest.mark.parametrize(
    ("wanted", "at"),
    [
        ([ASKED, TimerStarted(id=2)], None),
        ([ASKED], 1),
        ([], 0),
        ([ASKED, TimerStarted(id=2), TimerStarted(id=3)], 2),
        ([ASKED, TimerStarted(id=3)], 1),
        ([TimerStarted(id=2), ASKED], 0),
    ],
)
def test_where_they_part(wanted: list[CommandEvent], at: int | None) -> None:
    assert first_difference(events(ASKED, TimerStarted(id=2)), wanted) == at


def test_changed_arguments_are_told_by_event_and_activity() -> None:
    assert changed_arguments(events(ASKED), [asked()]) == []
    (text,) = changed_arguments(events(ASKED), [asked(input=(Payload(b"2"),))])
    assert text.startswith("event 2: activity 'a' ")
