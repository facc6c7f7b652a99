"""When a run begins whose start was delayed.

Its first event is older than that by the delay, and signals may have come meanwhile. They belong to its first task, and
whether they end the delay depends on what it is for: a delay that was asked for ends with the first message, as in
Temporal; the wait before another attempt, or for a tick of a cron schedule, ends early by a cancel request only.
"""

from __future__ import annotations

from collections.abc import Sequence

from durable.history._events import Event
from durable.history._facts import EventData
from durable.history._workflow_events import WorkflowExecutionCancelRequested, WorkflowExecutionStarted


def waits_out(started: WorkflowExecutionStarted) -> bool:
    """Whether messages do not end the delay of a start."""
    return bool(started.continued_run_id or started.cron_schedule)


def begins_at(started: WorkflowExecutionStarted, at: int, data: EventData, time: int) -> int:
    """Return when the first task of a run is, once an input of it is known.

    Args:
        started: The facts of its first event.
        at: The answer for the inputs before.
        data: The input.
        time: When it was written.
    """
    if isinstance(data, WorkflowExecutionCancelRequested) or not waits_out(started):
        return time
    return max(at, time)


def first_task_time(inputs: Sequence[Event]) -> int:
    """Return when the first task of a run is, from all its inputs."""
    first, *others = inputs
    if not isinstance(started := first.data, WorkflowExecutionStarted) or not started.delay:
        return inputs[-1].time
    at = first.time + started.delay
    for event in others:
        at = begins_at(started, at, event.data, event.time)
    return at
