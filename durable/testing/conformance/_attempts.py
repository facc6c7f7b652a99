"""`finish_attempts`: an attempt ends once, and its outcome and its message are one."""

from __future__ import annotations

import asyncio

from durable._internal.ids import uuid7
from durable.history import EventType
from durable.store import (
    NEVER_DUE,
    ActivityRecord,
    ActivityState,
    AttemptOutcome,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    Transition,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import EVERY_BYTE, HOUR, closing, event, new_activity, room


def _completed(task: ActivityRecord, data: bytes = b"{}") -> Message:
    kind = int(EventType.ACTIVITY_TASK_COMPLETED)
    return Message(task.run_id, f"activity-{task.id}-{task.attempt}", kind, data, internal=True)


def _done(task: ActivityRecord, worker: str | None, data: bytes = b"{}") -> AttemptOutcome:
    return AttemptOutcome(task.run_id, task.id, task.attempt, worker, message=_completed(task, data))


@check()
async def check_an_outcome_ends_the_attempt_and_tells_the_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(start_to_close=HOUR)
        assert await one.store.finish_attempts([_done(task, one.worker, EVERY_BYTE)]) == [True]
        (told,) = await one.store.read_messages([task.run_id])
        assert (told.data, told.type, told.internal) == (EVERY_BYTE, EventType.ACTIVITY_TASK_COMPLETED, True)
        row = await one.task(task.run_id)
        assert (row.state, row.worker) == (ActivityState.DONE, None)
        assert await one.claim_activities() == []


@check()
async def check_an_activity_that_is_done_expires_no_more(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(start_to_close=0)
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [True]
        assert await one.store.expired_activities(10) == []


@check()
async def check_an_attempt_ends_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        assert await one.store.finish_attempts([_done(task, one.worker), _done(task, one.worker)]) == [
            True,
            False,
        ]
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [False]
        retry = AttemptOutcome(task.run_id, task.id, 1, None, retry_in=0)
        assert await one.store.finish_attempts([retry]) == [False]
        assert len(await one.store.read_messages([task.run_id])) == 1


@check()
async def check_each_outcome_stands_or_falls_alone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(new_activity(1), new_activity(2))
        first, second = sorted(await one.claim_activities(), key=lambda task: task.id)
        unknown = AttemptOutcome(uuid7(), 1, 1, one.worker, retry_in=0)
        other_attempt = AttemptOutcome(second.run_id, 2, 2, one.worker, message=_completed(second))
        other_worker = AttemptOutcome(second.run_id, 2, 1, "nobody", message=_completed(second))
        outcomes = [_done(first, one.worker), unknown, other_attempt, other_worker]
        assert await one.store.finish_attempts(outcomes) == [True, False, False, False]
        assert await one.store.finish_attempts([]) == []
        assert (await one.task(second.run_id, 2)).state is ActivityState.RUNNING
        assert [each.message_id for each in await one.store.read_messages([first.run_id])] == ["activity-1-1"]


@check()
async def check_a_retry_is_queued_with_the_next_attempt(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        now = await one.store.now()
        task = await one.begun(start_by=now + HOUR, close_by=now + 2 * HOUR, start_to_close=HOUR)
        retry = AttemptOutcome(task.run_id, 1, 1, one.worker, retry_in=0, progress=EVERY_BYTE)
        assert await one.store.finish_attempts([retry]) == [True]
        row = await one.task(task.run_id)
        assert (row.state, row.attempt, row.worker, row.started_at) == (ActivityState.QUEUED, 2, None, None)
        assert (row.start_by, row.deadline, row.progress) == (None, now + 2 * HOUR, EVERY_BYTE)
        assert await one.store.read_messages([task.run_id]) == []
        (again,) = await one.claim_activities()
        assert (again.attempt, again.progress, again.scheduled) == (2, EVERY_BYTE, task.scheduled)
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [False]
        assert await one.store.finish_attempts([_done(again, one.worker)]) == [True]


@check()
async def check_a_retry_backs_off(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        before = await one.store.now()
        retry = AttemptOutcome(task.run_id, 1, 1, one.worker, retry_in=HOUR)
        assert await one.store.finish_attempts([retry]) == [True]
        assert (await one.task(task.run_id)).due_at >= before + HOUR
        assert await one.claim_activities() == []


@check()
async def check_a_scanner_ends_an_attempt_of_any_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        assert await one.store.finish_attempts([_done(task, None)]) == [True]
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [False]


@check()
async def check_a_scanner_ends_what_is_still_queued(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1, start_by=1))
        (task,) = await one.store.expired_activities(10)
        running = _done(task, None)
        assert await one.store.finish_attempts([running]) == [False]
        queued = AttemptOutcome(task.run_id, 1, 1, None, message=_completed(task), state=ActivityState.QUEUED)
        assert await one.store.finish_attempts([queued, queued]) == [True, False]
        assert (await one.task(run.run.run_id)).state is ActivityState.DONE
        assert await one.store.expired_activities(10) == []


@check()
async def check_an_outcome_for_a_closed_run_is_too_late(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1))
        (task,) = await one.claim_activities()
        await one.close(run, seq=3)
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [False]
        assert await one.store.read_messages([run.run.run_id]) == []


@check(stores=2)
async def check_a_worker_and_a_scanner_do_not_both_end_an_attempt(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(15):
            task = await one.begun(start_to_close=0)
            (mine,), (theirs,) = await asyncio.gather(
                one.store.finish_attempts([_done(task, one.worker, b"worker")]),
                two.store.finish_attempts([_done(task, None, b"scanner")]),
            )
            assert mine != theirs
            (told,) = await one.store.read_messages([task.run_id])
            assert told.data == (b"worker" if mine else b"scanner")


@check(stores=2)
async def check_a_retry_and_an_outcome_do_not_both_end_an_attempt(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(15):
            task = await one.begun()
            retry = AttemptOutcome(task.run_id, 1, 1, None, retry_in=HOUR)
            (finished,), (retried,) = await asyncio.gather(
                one.store.finish_attempts([_done(task, one.worker)]), two.store.finish_attempts([retry])
            )
            assert finished != retried
            row = await one.task(task.run_id)
            assert row.state is (ActivityState.DONE if finished else ActivityState.QUEUED)
            assert len(await one.store.read_messages([task.run_id])) == finished


@check()
async def check_the_owner_ends_a_row_with_its_event(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1))
        (task,) = await one.claim_activities()
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [True]
        (told,) = await one.store.read_messages([run.run.run_id])
        consumed = Transition(
            run.run.run_id, run.run.epoch, (event(3),), consumed=(told.position,), activities_done=(1,)
        )
        await one.written(consumed)
        assert await one.store.read_activities(run.run.run_id) == []
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [False]
        await one.written(closing(run, seq=4))


@check()
async def check_an_attempt_goes_on_outside_until_somebody_ends_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(start_to_close=HOUR, heartbeat=HOUR)
        out = AttemptOutcome(task.run_id, task.id, 1, one.worker, progress=EVERY_BYTE, outside=True)
        assert await one.store.finish_attempts([out]) == [True]
        row = await one.task(task.run_id)
        assert (row.state, row.attempt, row.worker, row.started_at) == (ActivityState.QUEUED, 1, None, None)
        assert (row.outside_since, row.due_at, row.progress) == (task.started_at, NEVER_DUE, EVERY_BYTE)
        assert row.deadline == (task.started_at or 0) + HOUR
        assert await one.claim_activities() == []
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [False]
        ended = AttemptOutcome(
            task.run_id, task.id, 1, None, message=_completed(task), state=ActivityState.QUEUED
        )
        assert await one.store.finish_attempts([ended, ended]) == [True, False]
        row = await one.task(task.run_id)
        assert (row.state, row.outside_since) == (ActivityState.DONE, None)
        assert len(await one.store.read_messages([task.run_id])) == 1


@check()
async def check_an_attempt_outside_is_kept_up_by_heartbeats_without_a_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(heartbeat=HOUR)
        beat = Heartbeat(task.run_id, task.id, 1, None, EVERY_BYTE)
        assert await one.store.heartbeat([beat]) == [HeartbeatAnswer.GONE]
        out = AttemptOutcome(task.run_id, task.id, 1, one.worker, outside=True)
        assert await one.store.finish_attempts([out]) == [True]
        before = await one.task(task.run_id)
        beats = [
            beat,
            Heartbeat(task.run_id, task.id, 2, None, b""),
            Heartbeat(task.run_id, task.id, 1, one.worker, b""),
        ]
        assert await one.store.heartbeat(beats) == [
            HeartbeatAnswer.GO_ON,
            HeartbeatAnswer.GONE,
            HeartbeatAnswer.GONE,
        ]
        row = await one.task(task.run_id)
        assert row.progress == EVERY_BYTE
        assert (row.deadline or 0) >= (before.deadline or 0)
        cancel = Transition(task.run_id, 1, activities_canceled=(task.id,))
        await one.store.commit([cancel])
        assert await one.store.heartbeat([beat]) == [HeartbeatAnswer.CANCEL_REQUESTED]


@check()
async def check_an_attempt_outside_expires_and_is_tried_again(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(start_to_close=0)
        out = AttemptOutcome(task.run_id, task.id, 1, one.worker, outside=True)
        assert await one.store.finish_attempts([out]) == [True]
        (row,) = await one.store.expired_activities(10)
        assert (row.id, row.outside_since) == (task.id, task.started_at)
        retry = AttemptOutcome(task.run_id, 1, 1, None, retry_in=0, state=ActivityState.QUEUED)
        assert await one.store.finish_attempts([retry]) == [True]
        row = await one.task(task.run_id)
        assert (row.state, row.attempt, row.outside_since) == (ActivityState.QUEUED, 2, None)
        assert [(again.id, again.attempt) for again in await one.claim_activities()] == [(task.id, 2)]
