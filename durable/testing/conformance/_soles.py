"""Runs of one activity: they begin with its row, nobody owns them, and they end with it."""

from __future__ import annotations

import asyncio
from typing import Any

from durable._internal.ids import uuid7
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import EventRow, EventType
from durable.store import (
    ActivityRecord,
    ActivityState,
    AttemptOutcome,
    Close,
    Message,
    NewRun,
    RunStatus,
    SoleActivity,
    SoleEnd,
    StartOutcome,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    ACTIVITY,
    EVERY_BYTE,
    HOUR,
    QUEUE,
    Room,
    new_activity,
    new_run,
    room,
)

SCHEDULED = b'{"id":1,"activity_type":"activity"}'


def sole_run(delay: int = 0, **fields: Any) -> NewRun:
    """A run of one activity."""
    limits = {name: fields.pop(name) for name in SoleActivity.__struct_fields__ if name in fields}
    activity = SoleActivity(ACTIVITY, SCHEDULED, **limits)
    return new_run(task_queue=QUEUE, delay=delay, activity=activity, **fields)


def end_of(task: ActivityRecord, worker: str | None, **fields: Any) -> AttemptOutcome:
    """The end of a run's one activity, and of the run."""
    end = SoleEnd(
        RunStatus.COMPLETED,
        EventRow(3, 2, int(EventType.ACTIVITY_TASK_COMPLETED), EVERY_BYTE),
        EventRow(4, 2, int(EventType.WORKFLOW_EXECUTION_COMPLETED), b"{}"),
    )
    return AttemptOutcome(task.run_id, 1, task.attempt, worker, sole=end, **fields)


async def _claimed(one: Room) -> ActivityRecord:
    (task,) = await one.claim_activities()
    return task


@check()
async def check_a_run_of_one_activity_begins_with_its_row(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        limits = {
            "schedule_to_start": 3 * HOUR,
            "schedule_to_close": 2 * HOUR,
            "start_to_close": HOUR,
            "heartbeat": 7,
        }
        new = sole_run(priority=2, **limits)
        (verdict,) = await one.store.create_runs([new])
        assert (verdict.outcome, verdict.epoch) == (StartOutcome.STARTED, 0)
        first, second = await one.store.read_events(new.run_id)
        assert (first.seq, first.task, first.type) == (1, 1, EventType.WORKFLOW_EXECUTION_STARTED)
        assert (second.seq, second.task, second.type) == (2, 1, EventType.ACTIVITY_TASK_SCHEDULED)
        assert (second.data, second.time) == (SCHEDULED, first.time)
        row = await one.task(new.run_id)
        assert (row.state, row.attempt, row.due_at, row.scheduled_at) == (
            ActivityState.QUEUED, 1, first.time, first.time
        )  # fmt: skip
        assert (row.start_by, row.close_by) == (first.time + 3 * HOUR, first.time + 2 * HOUR)
        assert (row.deadline, row.start_to_close, row.heartbeat) == (row.close_by, HOUR, 7)
        assert (row.scheduled, row.progress, row.activity_type, row.task_queue) == (
            SCHEDULED,
            b"",
            ACTIVITY,
            QUEUE,
        )
        record = await one.record(new.run_id, new.workflow_id)
        assert (record.owner, record.wake_at, record.epoch, record.times_out_at) == (None, None, 0, None)
        assert await one.claim() == []
        assert (await _claimed(one)).workflow_type == new.workflow_type


@check()
async def check_a_delayed_one_is_due_at_the_end_of_the_delay(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new = sole_run(delay=HOUR, schedule_to_start=HOUR)
        (verdict,) = await one.store.create_runs([new])
        row = await one.task(new.run_id)
        assert row.due_at == row.scheduled_at == verdict.now + HOUR
        assert row.start_by == row.deadline == verdict.now + 2 * HOUR
        assert row.close_by is None
        assert await one.claim_activities() == []


@check()
async def check_starts_of_one_activity_stand_alone_under_their_policies(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        first = sole_run(workflow_id="same")
        other = sole_run()
        verdicts = await one.store.create_runs([first, other, new_run(), first])
        assert [verdict.outcome for verdict in verdicts][:3] == [StartOutcome.STARTED] * 3
        fails, uses = (
            sole_run(workflow_id="same", conflict=policy)
            for policy in (WorkflowIDConflictPolicy.FAIL, WorkflowIDConflictPolicy.USE_EXISTING)
        )
        answers = await one.store.create_runs([fails, uses, first])
        assert [(answer.outcome, answer.run_id) for answer in answers] == [
            (StartOutcome.REJECTED, first.run_id),
            (StartOutcome.USED_EXISTING, first.run_id),
            (StartOutcome.SAME, first.run_id),
        ]
        for refused in (fails, uses):
            assert await one.store.read_events(refused.run_id) == []
            assert await one.store.read_activities(refused.run_id) == []
        assert len(await one.store.read_activities(first.run_id)) == 1
        tasks = await one.claim_activities()
        ended = [end_of(task, one.worker) for task in tasks if task.run_id == first.run_id]
        assert await one.store.finish_attempts(ended) == [True]
        again = sole_run(workflow_id="same", reuse=WorkflowIDReusePolicy.REJECT_DUPLICATE)
        (answer,) = await one.store.create_runs([again])
        assert answer.outcome is StartOutcome.REJECTED


@check()
async def check_the_end_of_its_one_activity_closes_a_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new = sole_run()
        await one.store.create_runs([new])
        task = await _claimed(one)
        assert await one.store.finish_attempts([end_of(task, one.worker)]) == [True]
        rows = await one.store.read_events(new.run_id)
        assert [(row.seq, row.task, row.type) for row in rows[2:]] == [
            (3, 2, EventType.ACTIVITY_TASK_COMPLETED),
            (4, 2, EventType.WORKFLOW_EXECUTION_COMPLETED),
        ]
        assert rows[2].data == EVERY_BYTE
        assert rows[0].time <= rows[2].time == rows[3].time
        record = await one.record(new.run_id, new.workflow_id)
        assert (record.status, record.closed_at) == (RunStatus.COMPLETED, rows[3].time)
        assert record.history_length == 4
        assert await one.store.read_activities(new.run_id) == []
        assert (await one.store.read_closing_events([new.run_id]))[new.run_id] == rows[3]


@check()
async def check_a_run_of_one_activity_ends_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.store.create_runs([sole_run(), sole_run()])
        task, other = await one.claim_activities()
        stale = [
            end_of(task, "nobody"),
            end_of(task, one.worker, revision=1),
            end_of(task, one.worker, state=ActivityState.QUEUED),
            AttemptOutcome(uuid7(), 1, 1, one.worker, sole=end_of(task, None).sole),
        ]
        assert await one.store.finish_attempts(stale) == [False] * 4
        end = end_of(task, one.worker)
        retry = AttemptOutcome(other.run_id, 1, 1, one.worker, retry_in=0)
        assert await one.store.finish_attempts([end, retry, end]) == [True, True, False]
        assert await one.store.finish_attempts([end]) == [False]
        assert len(await one.store.read_events(task.run_id)) == 4
        assert len(await one.store.read_events(other.run_id)) == 2


@check()
async def check_a_worker_and_a_scanner_do_not_both_end_a_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for _ in range(20):
            await one.store.create_runs([sole_run(), sole_run()])
            tasks = await one.claim_activities()
            answers = await asyncio.gather(
                *(
                    one.store.finish_attempts([end_of(task, worker) for task in order])
                    for worker in (one.worker, None)
                    for order in (tasks, tasks[::-1])
                )
            )
            assert sum(sum(answer) for answer in answers) == len(tasks)
            for task in tasks:
                assert len(await one.store.read_events(task.run_id)) == 4


@check()
async def check_a_terminated_run_of_one_activity_takes_no_outcome(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new = sole_run()
        await one.store.create_runs([new])
        task = await _claimed(one)
        event = EventRow(3, 2, int(EventType.WORKFLOW_EXECUTION_TERMINATED), b"{}")
        assert await one.store.terminate(new.run_id, lambda seq: event, Close(RunStatus.TERMINATED))
        assert await one.store.finish_attempts([end_of(task, one.worker)]) == [False]
        assert len(await one.store.read_events(new.run_id)) == 3


@check()
async def check_what_an_older_release_has_ended_is_found_and_closed(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.store.create_runs([sole_run()])
        await one.scheduled(new_activity(1))
        tasks = await one.claim_activities()
        assert await one.store.stray_outcomes(10) == []
        kind = int(EventType.ACTIVITY_TASK_COMPLETED)
        ended = [
            AttemptOutcome(
                task.run_id,
                1,
                1,
                one.worker,
                message=Message(task.run_id, "done", kind, EVERY_BYTE, internal=True),
            )
            for task in tasks
        ]
        assert await one.store.finish_attempts(ended) == [True, True]
        ((record, message),) = await one.store.stray_outcomes(10)
        assert (record.state, message.type, message.data) == (ActivityState.DONE, kind, EVERY_BYTE)
        assert record.scheduled == SCHEDULED
        assert await one.store.finish_attempts([end_of(record, None, state=ActivityState.DONE)]) == [True]
        assert await one.store.stray_outcomes(10) == []
        assert await one.unread(record.run_id) == []
        assert len(await one.store.read_events(record.run_id)) == 4
