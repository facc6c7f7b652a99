"""Events of activities and timers."""

from __future__ import annotations

from msgspec import Struct

from durable.history._facts import CommandEvent, EventType, Input, RetryPolicyData
from durable.history._failures import Failure
from durable.history._limits import Limits
from durable.history._payloads import Payload, Payloads


class LocalActivity(Struct, frozen=True, gc=False, omit_defaults=True):
    """What an activity that runs in the process of its run's owner has besides.

    Attributes:
        retry_threshold: Microseconds; a longer wait before another attempt is a timer of the run.
        attempt: The number of its first attempt here: more than 1 behind such a timer.
        since: When it was asked for first, behind such a timer; else 0.
    """

    retry_threshold: int = 60_000_000
    attempt: int = 1
    since: int = 0


class ActivityTaskScheduled(CommandEvent, frozen=True, omit_defaults=True):
    """An activity was asked for, with everything a worker needs to run it.

    `schedule_to_close` bounds all attempts together, `schedule_to_start` the wait for a worker, `start_to_close` one
    attempt, `heartbeat` the time between two heartbeats. `eager` is False when the workflow wants the event recorded
    before anything runs. `local` is there when it never gets a row: then nobody but the run's owner runs it.
    """

    type = EventType.ACTIVITY_TASK_SCHEDULED
    NEWER = {"priority": 2, "limits": 2, "local": 2}

    activity_id: str = ""
    activity_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    schedule_to_close: int | None = None
    schedule_to_start: int | None = None
    start_to_close: int | None = None
    heartbeat: int | None = None
    retry_policy: RetryPolicyData = RetryPolicyData()
    cancellation_type: str = "try_cancel"
    eager: bool = True
    headers: dict[str, Payload] = {}
    summary: str = ""
    priority: int = 3
    limits: Limits | None = None
    local: LocalActivity | None = None


class ActivityTaskCancelRequested(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow asked for the cancellation of its activity `id`."""

    type = EventType.ACTIVITY_TASK_CANCEL_REQUESTED


class ActivityInput(Input, frozen=True, omit_defaults=True):
    """The outcome of activity `id`, and which attempt brought it."""

    id: int = 0
    attempt: int = 1
    identity: str = ""


class ActivityTaskCompleted(ActivityInput, frozen=True, omit_defaults=True):
    """An attempt of the activity returned."""

    type = EventType.ACTIVITY_TASK_COMPLETED

    result: Payload = Payload()


class ActivityTaskFailed(ActivityInput, frozen=True, omit_defaults=True):
    """The activity failed and will not be tried again.

    `retry_in` is there when a local activity will be: by the run's own code, so many microseconds later.
    """

    type = EventType.ACTIVITY_TASK_FAILED
    NEWER = {"retry_in": 2}

    failure: Failure = Failure()
    retry_state: str | None = None
    retry_in: int | None = None


class ActivityTaskTimedOut(ActivityInput, frozen=True, omit_defaults=True):
    """A deadline of the activity passed, or its worker was lost, and it will not be tried again.

    `retry_in` is there when a local activity will be: by the run's own code, so many microseconds later.
    """

    type = EventType.ACTIVITY_TASK_TIMED_OUT
    NEWER = {"retry_in": 2}

    failure: Failure = Failure()
    retry_state: str | None = None
    retry_in: int | None = None


class ActivityTaskCanceled(ActivityInput, frozen=True, omit_defaults=True):
    """The activity ended because it had been asked to."""

    type = EventType.ACTIVITY_TASK_CANCELED

    details: Payloads = ()


class TimerStarted(CommandEvent, frozen=True, omit_defaults=True):
    """A timer runs; it is due `duration` after the time of the task that started it."""

    type = EventType.TIMER_STARTED

    duration: int = 0
    summary: str = ""


class TimerCanceled(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow no longer wants timer `id`."""

    type = EventType.TIMER_CANCELED


class TimerFired(Input, frozen=True, omit_defaults=True):
    """Timer `id` is due."""

    type = EventType.TIMER_FIRED

    id: int = 0
