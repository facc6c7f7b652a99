"""What all facts of events have in common: their kinds' numbers, their format version, and the two ways they come."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import ClassVar

from msgspec import Struct


class EventType(IntEnum):
    """The stored number of each kind of event. A number is never used again for something else."""

    WORKFLOW_EXECUTION_STARTED = 1
    WORKFLOW_EXECUTION_SIGNALED = 2
    WORKFLOW_EXECUTION_CANCEL_REQUESTED = 3
    WORKFLOW_EXECUTION_RESET = 4
    WORKFLOW_EXECUTION_OPTIONS_UPDATED = 5
    WORKFLOW_EXECUTION_COMPLETED = 10
    WORKFLOW_EXECUTION_FAILED = 11
    WORKFLOW_EXECUTION_CANCELED = 12
    WORKFLOW_EXECUTION_TERMINATED = 13
    WORKFLOW_EXECUTION_TIMED_OUT = 14
    WORKFLOW_EXECUTION_CONTINUED_AS_NEW = 15
    ACTIVITY_TASK_SCHEDULED = 20
    ACTIVITY_TASK_CANCEL_REQUESTED = 21
    ACTIVITY_TASK_COMPLETED = 22
    ACTIVITY_TASK_FAILED = 23
    ACTIVITY_TASK_TIMED_OUT = 24
    ACTIVITY_TASK_CANCELED = 25
    TIMER_STARTED = 30
    TIMER_CANCELED = 31
    TIMER_FIRED = 32
    START_CHILD_WORKFLOW_EXECUTION_INITIATED = 40
    CHILD_WORKFLOW_EXECUTION_STARTED = 41
    START_CHILD_WORKFLOW_EXECUTION_FAILED = 42
    CHILD_WORKFLOW_EXECUTION_COMPLETED = 43
    CHILD_WORKFLOW_EXECUTION_FAILED = 44
    CHILD_WORKFLOW_EXECUTION_CANCELED = 45
    CHILD_WORKFLOW_EXECUTION_TERMINATED = 46
    CHILD_WORKFLOW_EXECUTION_TIMED_OUT = 47
    SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED = 50
    EXTERNAL_WORKFLOW_EXECUTION_SIGNALED = 51
    SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED = 52
    REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED = 53
    EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED = 54
    REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED = 55
    WORKFLOW_EXECUTION_UPDATE_ACCEPTED = 60
    WORKFLOW_EXECUTION_UPDATE_COMPLETED = 61
    MARKER_RECORDED = 70
    UPSERT_WORKFLOW_SEARCH_ATTRIBUTES = 80
    WORKFLOW_PROPERTIES_MODIFIED = 81
    WORKFLOW_TASK_COMPLETED = 90


class EventData(Struct, frozen=True, gc=False, omit_defaults=True):
    """The facts of an event.

    `v` is the format version of these facts, see `history.FORMAT`. A field that came later than its kind names the
    version it came with (`NEWER`); facts that use none of them are written as version 1, so that older workers can
    still read them.
    """

    type: ClassVar[EventType]
    NEWER: ClassVar[Mapping[str, int]] = {}

    v: int = 1


class Input(EventData, frozen=True, omit_defaults=True):
    """An event that comes from outside the workflow code.

    Attributes:
        message: The id of the inbox message this event was, if it was one; a second message with this id is dropped.
        flags: The behaviour flags its task runs under, so that fixes of the library do not change old runs; see
            `MESSAGES_FIRST`. Those of the first event hold for the whole run, see `IN_FORCE`.
    """

    message: str = ""
    flags: int = 0


MESSAGES_FIRST = 1
"""Of a task's last input: the messages of the task are applied before the rest of it, wherever they stand in the log."""

TARGET_CHANGED = 2
"""Of all inputs of a task: its run is pinned, and would be another version's by now if it were not."""

HANDLERS_END = 4
"""Of a run's first event: a cancellation that leaves a signal's handler ends the run as one that leaves the workflow
function does, and of several ends in one task the first counts."""

CONDITIONS_LAST = 8
"""Of a run's first event: a wait condition is asked for the first time when all else that is ready has run."""

KNOWN_FLAGS = MESSAGES_FIRST | TARGET_CHANGED | HANDLERS_END | CONDITIONS_LAST
"""All behaviour flags of this release. A history with another one is refused: it would run in another way than it did."""


IN_FORCE = HANDLERS_END | CONDITIONS_LAST
"""The flags that every run starts with in this release. A change of what code sees of its history gets a flag of its own
here, and runs that were started before keep the old way."""


class CommandEvent(EventData, frozen=True, omit_defaults=True):
    """An event that workflow code asked for."""

    id: int = 0


class RetryPolicyData(Struct, frozen=True, gc=False, omit_defaults=True):
    """A retry policy as stored; durations in microseconds, `maximum_interval` 0 means 100 times the initial one."""

    initial_interval: int = 1_000_000
    backoff_coefficient: float = 2.0
    maximum_interval: int = 0
    maximum_attempts: int = 0
    non_retryable_error_types: tuple[str, ...] = ()
