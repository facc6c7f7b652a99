"""Replay by Temporal's Replayer of the same workflow, from a history as its server records it for dependent activities.

No server is needed: the events of such a run are known, and are made here.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

from google.protobuf.message import Message
from temporalio import activity, workflow
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ActivityTaskCompletedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    ActivityTaskStartedEventAttributes,
    HistoryEvent,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes,
)
from temporalio.api.sdk.v1 import WorkflowTaskCompletedMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from benchmarks.peers._program import answer

SETTINGS = (
    "one Replayer for all histories, without the sandbox; events built in memory, so that no JSON is parsed"
)
CHECKS_TYPES = (1,)
"""The flag under which the SDK compares types and not only kinds; it records it with the first task."""

QUEUE = TaskQueue(name="bench")


@activity.defn
async def increment(value: int) -> int:
    return value + 1


@workflow.defn(name="count_up")
class CountUp:
    @workflow.run
    async def run(self, steps: int) -> int:
        value = 0
        for _ in range(steps):
            value = await workflow.execute_activity(
                increment, value, start_to_close_timeout=timedelta(minutes=5)
            )
        return value


def history(run_id: str, steps: int) -> WorkflowHistory:
    """Return what the server would have recorded of one run."""
    events = list[HistoryEvent]()
    for number, (kind, attributes) in enumerate(_events(run_id, steps), 1):
        event = HistoryEvent(event_id=number, event_type=EventType.Value(f"EVENT_TYPE_{kind.upper()}"))
        event.event_time.FromSeconds(1_700_000_000 + number)
        getattr(event, f"{kind}_event_attributes").CopyFrom(attributes)
        events.append(event)
    return WorkflowHistory(run_id, events)


def _events(run_id: str, steps: int) -> Iterator[tuple[str, Message]]:
    """Kinds and contents, of which the first is event 1: a task takes three, and so does an activity."""
    yield (
        "workflow_execution_started",
        WorkflowExecutionStartedEventAttributes(
            workflow_type=WorkflowType(name="count_up"),
            task_queue=QUEUE,
            input=_payloads(steps),
            original_execution_run_id=run_id,
            first_execution_run_id=run_id,
            attempt=1,
            workflow_id=run_id,
        ),
    )
    last = 1
    for value in range(steps):
        yield from _task(last)
        yield (
            "activity_task_scheduled",
            ActivityTaskScheduledEventAttributes(
                activity_id=str(value + 1),
                activity_type=ActivityType(name="increment"),
                task_queue=QUEUE,
                input=_payloads(value),
                workflow_task_completed_event_id=last + 3,
            ),
        )
        yield (
            "activity_task_started",
            ActivityTaskStartedEventAttributes(scheduled_event_id=last + 4, attempt=1),
        )
        yield (
            "activity_task_completed",
            ActivityTaskCompletedEventAttributes(
                result=_payloads(value + 1), scheduled_event_id=last + 4, started_event_id=last + 5
            ),
        )
        last += 6
    yield from _task(last)
    yield (
        "workflow_execution_completed",
        WorkflowExecutionCompletedEventAttributes(
            result=_payloads(steps), workflow_task_completed_event_id=last + 3
        ),
    )


def _task(last: int) -> Iterator[tuple[str, Message]]:
    yield (
        "workflow_task_scheduled",
        WorkflowTaskScheduledEventAttributes(task_queue=QUEUE, attempt=1),
    )
    yield "workflow_task_started", WorkflowTaskStartedEventAttributes(scheduled_event_id=last + 1)
    yield (
        "workflow_task_completed",
        WorkflowTaskCompletedEventAttributes(
            scheduled_event_id=last + 1,
            started_event_id=last + 2,
            sdk_metadata=WorkflowTaskCompletedMetadata(core_used_flags=CHECKS_TYPES if last == 1 else ()),
        ),
    )


def _payloads(value: int) -> Payloads:
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=b"%d" % value)])


async def measure(steps: int, times: int) -> float:
    """Return the seconds that it took to replay this many runs."""
    histories = [history(f"run-{number}", steps) for number in range(times)]
    replayer = Replayer(workflows=[CountUp], workflow_runner=UnsandboxedWorkflowRunner())

    async def each() -> Iterator[WorkflowHistory]:
        for one in histories:
            yield one

    started = time.perf_counter()
    results = await replayer.replay_workflows(each(), raise_on_replay_failure=True)
    elapsed = time.perf_counter() - started
    assert not results.replay_failures
    return elapsed


async def _refuses_what_does_not_fit() -> None:
    """A replayer that takes any history would be fast: see that it runs the code."""
    wrong = history("run", 2)
    wrong.events[4].activity_task_scheduled_event_attributes.activity_type.name = "another"
    replayer = Replayer(workflows=[CountUp], workflow_runner=UnsandboxedWorkflowRunner())
    result = await replayer.replay_workflow(wrong, raise_on_replay_failure=False)
    assert result.replay_failure is not None


async def _main(steps: int, times: int) -> None:
    await _refuses_what_does_not_fit()
    await measure(steps, 1)
    answer("temporalio", SETTINGS, seconds=await measure(steps, times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", type=int)
    parser.add_argument("times", type=int)
    options = parser.parse_args()
    asyncio.run(_main(options.steps, options.times))
