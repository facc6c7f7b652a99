"""`change_activities`: what operators make of a row is written while it is as it was read, and attempts are told."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from durable._engine._operated import pause, reset, unpause
from durable._internal.ids import uuid7
from durable.history import ActivityTaskScheduled, encode_data
from durable.store import (
    NEVER_DUE,
    ActivityChange,
    ActivityRecord,
    ActivityState,
    Anew,
    AttemptOutcome,
    Heartbeat,
    HeartbeatAnswer,
    Transition,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import EVERY_BYTE, HOUR, Room, new_activity, room


async def _paused(one: Room, task: ActivityRecord, reason: str = "") -> ActivityRecord:
    change = pause(task, reason)
    assert change is not None
    assert await one.store.change_activities([change]) == [True]
    return await one.task(task.run_id, task.id)


def _retry(task: ActivityRecord, worker: str | None, **fields: Any) -> AttemptOutcome:
    return AttemptOutcome(task.run_id, task.id, task.attempt, worker, retry_in=0, **fields)


def _beat(task: ActivityRecord, worker: str) -> Heartbeat:
    return Heartbeat(task.run_id, task.id, task.attempt, worker, b"")


@check()
async def check_a_paused_activity_is_not_claimed_until_it_goes_on(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1, start_by=4 * NEVER_DUE // 5), new_activity(2))
        task = await _paused(one, await one.task(run.run.run_id), "why")
        assert (task.state, task.due_at, task.deadline) == (ActivityState.QUEUED, NEVER_DUE, None)
        assert (task.pause_reason, task.revision) == ("why", 1)
        assert task.paused_at is not None
        assert [claimed.id for claimed in await one.claim_activities()] == [2]
        change = unpause(task, reset_attempts=False, reset_heartbeats=False, wait=0)
        assert change is not None
        assert await one.store.change_activities([change]) == [True]
        (claimed,) = await one.claim_activities()
        assert (claimed.id, claimed.paused_at, claimed.pause_reason, claimed.revision) == (1, None, "", 2)


@check()
async def check_a_change_of_a_row_that_is_another_by_now_is_not_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1), new_activity(2))
        read = [await one.task(run.run.run_id, number) for number in (1, 2)]
        changes = [change for task in read if (change := pause(task, "")) is not None]
        (claimed,) = await one.claim_activities(1)
        other = next(change for change in changes if change.id != claimed.id)
        stranger = replace(changes[0], run_id=uuid7())
        gone = replace(changes[0], id=7)
        assert await one.store.change_activities([*changes, other, stranger, gone]) == [
            change.id != claimed.id for change in changes
        ] + [False, False, False]
        assert await one.store.change_activities([other]) == [False]
        assert await one.store.change_activities([]) == []
        assert (await one.task(run.run.run_id, claimed.id)).paused_at is None


@check()
async def check_an_attempt_that_runs_is_told_and_its_row_stays_its_own(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(start_to_close=HOUR)
        paused = await _paused(one, task)
        assert (paused.state, paused.worker, paused.deadline) == (task.state, one.worker, task.deadline)
        assert await one.store.heartbeat([_beat(task, one.worker)]) == [HeartbeatAnswer.PAUSED]
        again = reset(paused, reset_heartbeats=True, keep_paused=True, wait=0)
        assert await one.store.change_activities([again]) == [True]
        assert await one.store.heartbeat([_beat(task, one.worker)]) == [HeartbeatAnswer.RESET]
        assert (await one.task(task.run_id)).anew is Anew.FORGETTING
        canceled = Transition(task.run_id, 1, activities_canceled=(1,))
        await one.written(canceled)
        assert await one.store.heartbeat([_beat(task, one.worker)]) == [HeartbeatAnswer.CANCEL_REQUESTED]


@check()
async def check_the_next_attempt_of_a_paused_activity_waits(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        await _paused(one, task)
        assert await one.store.finish_attempts([_retry(task, one.worker, base=1)]) == [True]
        row = await one.task(task.run_id)
        assert (row.state, row.due_at, row.attempt, row.number) == (ActivityState.QUEUED, NEVER_DUE, 2, 1)
        assert row.paused_at is not None
        assert await one.claim_activities() == []


@check()
async def check_one_that_is_to_end_does_not_wait_for_operators(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        await _paused(one, task)
        await one.written(Transition(task.run_id, 1, activities_canceled=(1,)))
        assert await one.store.finish_attempts([_retry(task, one.worker)]) == [True]
        (claimed,) = await one.claim_activities()
        assert claimed.cancel_requested


@check()
async def check_an_outcome_made_of_another_revision_is_not_taken(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        change = reset(task, reset_heartbeats=False, keep_paused=False, wait=0)
        assert await one.store.change_activities([change]) == [True]
        assert await one.store.finish_attempts([_retry(task, one.worker, revision=0)]) == [False]
        assert await one.store.finish_attempts([_retry(task, one.worker, revision=1, base=1)]) == [True]
        row = await one.task(task.run_id)
        assert (row.attempt, row.number, row.anew, row.revision) == (2, 1, Anew.NO, 1)


@check()
async def check_a_row_takes_every_field_of_a_change(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1, start_to_close=HOUR, heartbeat=HOUR, progress=b"{}"))
        scheduled = encode_data(ActivityTaskScheduled(id=1, activity_type="other"))
        change = ActivityChange(
            run.run.run_id, 1, ActivityState.QUEUED, 1, 0, 5, "r\0é", 3, Anew.YES, 6, 7, 8, 9, 10, 11, "elsewhere",
            scheduled, EVERY_BYTE,
        )  # fmt: skip
        assert await one.store.change_activities([change]) == [True]
        row = await one.task(run.run.run_id)
        found = [
            row.paused_at, row.base, row.anew, row.due_at, row.deadline, row.start_by, row.close_by,
            row.start_to_close, row.heartbeat, row.task_queue, row.scheduled, row.progress, row.revision,
        ]  # fmt: skip
        assert found == [5, 3, Anew.YES, 6, 7, 8, 9, 10, 11, "elsewhere", scheduled, EVERY_BYTE, 1]
        assert row.pause_reason.startswith("r")
        emptied = replace(
            change, revision=1, deadline=None, start_by=None, close_by=None, start_to_close=None, heartbeat=None,
            progress=None,
        )  # fmt: skip
        assert await one.store.change_activities([emptied]) == [True]
        row = await one.task(run.run.run_id)
        limits = (row.deadline, row.start_by, row.close_by, row.start_to_close, row.heartbeat)
        assert limits == (None, None, None, None, None)
        assert row.progress == EVERY_BYTE
