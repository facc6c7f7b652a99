"""Claims of activities, heartbeats, and what has expired."""

from __future__ import annotations

import asyncio

from durable.history import EventType
from durable.store import (
    ActivityState,
    AttemptOutcome,
    Close,
    Heartbeat,
    HeartbeatAnswer,
    RunStatus,
    Transition,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    ACTIVITY,
    EVERY_BYTE,
    HOUR,
    QUEUE,
    TYPE,
    Room,
    bury,
    doomed,
    event,
    eventually,
    new_activity,
    room,
)


@check()
async def check_a_worker_learns_which_activities_the_database_says_it_runs(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(new_activity(1), new_activity(2))
        assert await one.store.owned_activities(one.worker) == []
        (task,) = await one.claim_activities(limit=1)
        (owned,) = await one.store.owned_activities(one.worker)
        assert (owned.run_id, owned.id, owned.attempt) == (task.run_id, task.id, task.attempt)
        assert await one.store.owned_activities("nobody") == []


@check()
async def check_a_claimed_activity_has_all_its_facts(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        big = bytes(range(256)) * 4096
        run = await one.scheduled(
            new_activity(
                7,
                scheduled=big,
                progress=EVERY_BYTE,
                scheduled_at=123,
                attempt=2,
                start_by=2**60,
                close_by=2**61,
            )
        )
        before = await one.store.now()
        (task,) = await one.claim_activities()
        assert (task.run_id, task.id, task.workflow_id) == (run.run.run_id, 7, run.run.workflow_id)
        assert (task.workflow_type, task.activity_type, task.task_queue) == (TYPE, ACTIVITY, QUEUE)
        assert (task.state, task.attempt, task.worker) == (ActivityState.RUNNING, 2, one.worker)
        assert (task.scheduled, task.progress, task.scheduled_at) == (big, EVERY_BYTE, 123)
        assert (task.close_by, task.start_to_close, task.heartbeat, task.cancel_requested) == (
            2**61,
            None,
            None,
            False,
        )
        assert task.started_at is not None
        assert before <= task.started_at <= task.now <= await one.store.now()
        assert (await one.task(run.run.run_id, 7)).started_at == task.started_at


@check()
async def check_an_attempt_has_the_earliest_of_its_deadlines(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        soon = await one.store.now() + HOUR
        await one.scheduled(
            new_activity(1),
            new_activity(2, start_to_close=HOUR),
            new_activity(3, start_to_close=HOUR, heartbeat=HOUR // 2),
            new_activity(4, close_by=soon, start_to_close=2 * HOUR, heartbeat=3 * HOUR),
            new_activity(5, start_by=soon),
        )
        tasks = {task.id: task for task in await one.claim_activities()}
        started = tasks[1].started_at
        assert started is not None
        assert tasks[1].deadline is None
        assert tasks[2].deadline == started + HOUR
        assert tasks[3].deadline == started + HOUR // 2
        assert tasks[4].deadline == soon
        assert tasks[5].deadline is None


@check()
async def check_activities_are_claimed_up_to_the_limit(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(*(new_activity(number) for number in range(1, 6)))
        first, second = await one.claim_activities(3), await one.claim_activities(3)
        assert (len(first), len(second)) == (3, 2)
        assert {task.id for task in first + second} == {1, 2, 3, 4, 5}
        assert await one.claim_activities(0) == []


@check()
async def check_activities_are_claimed_of_their_queues_and_types_only(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            new_activity(1, task_queue="a"), new_activity(2, activity_type="t"), new_activity(3)
        )
        assert await one.claim_activities(types=("unknown",)) == []
        assert await one.claim_activities(types=()) == []
        assert await one.claim_activities(queues=("unknown",)) == []
        assert [task.id for task in await one.claim_activities()] == [3]
        assert [task.id for task in await one.claim_activities(queues=("a", "a"))] == [1]
        assert [task.id for task in await one.claim_activities(types=("t",))] == [2]


@check()
async def check_a_worker_may_claim_activities_of_all_types(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            new_activity(1, task_queue="a"), new_activity(2, activity_type="t"), new_activity(3)
        )
        assert await one.claim_activities(queues=("unknown",), types=None) == []
        assert sorted(task.id for task in await one.claim_activities(types=None)) == [2, 3]


@check()
async def check_an_activity_is_not_claimed_before_it_is_due(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(new_activity(1, due_in=HOUR), new_activity(2, due_in=20_000))

        async def claimed() -> bool:
            return [task.id for task in await one.claim_activities()] == [2]

        await eventually(claimed)


@check()
async def check_an_activity_may_count_as_having_waited(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(new_activity(1), new_activity(2, due_in=-HOUR), new_activity(3, priority=1))
        claimed = [task for _ in range(3) for task in await one.claim_activities(limit=1)]
        assert [task.id for task in claimed] == [3, 2, 1]
        assert all(task.due_at >= task.scheduled_at for task in claimed), "it is shown as it was asked for"


@check()
async def check_activities_are_claimed_by_priority_then_age(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        for number, priority in enumerate((3, 1, 3, 2), 1):
            await one.written(
                Transition(
                    run.run.run_id,
                    run.run.epoch,
                    (event(number + 1),),
                    activities=(new_activity(number, priority=priority),),
                )
            )
        order = [task.id for _ in range(4) for task in await one.claim_activities(1)]
        assert order == [2, 4, 1, 3]


@check()
async def check_an_activity_claim_needs_a_live_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(new_activity(1))
        assert await one.store.claim_activities("nobody", (QUEUE,), (ACTIVITY,), 10, format=1) == []
        assert len(await one.claim_activities()) == 1


@check()
async def check_an_activity_of_a_newer_format_is_left_to_newer_workers(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        old, new = await one.own(format=1), await one.own(format=2)
        for run in (new, old):
            await one.written(
                Transition(run.run.run_id, run.run.epoch, (event(2),), activities=(new_activity(1),))
            )
        assert await one.claim_activities(format=0) == []
        (task,) = await one.claim_activities(format=1)
        assert task.run_id == old.run.run_id
        assert (await one.task(new.run.run_id)).state is ActivityState.QUEUED
        (task,) = await one.claim_activities(format=2)
        assert task.run_id == new.run.run_id


@check()
async def check_activities_of_newer_formats_do_not_fill_a_claim(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new, old = await one.own(format=2), await one.own(format=1)
        ahead = tuple(new_activity(number, priority=1) for number in range(1, 6))
        await one.written(Transition(new.run.run_id, new.run.epoch, (event(2),), activities=ahead))
        await one.written(
            Transition(old.run.run_id, old.run.epoch, (event(2),), activities=(new_activity(1),))
        )
        (task,) = await one.claim_activities(1)
        assert task.run_id == old.run.run_id


@check(stores=2)
async def check_a_dead_worker_claims_no_activity(open_store: OpenStore) -> None:
    async with room(open_store) as one:

        async def nothing(_: Room) -> None:
            pass

        worker, _ = await doomed(open_store, nothing)
        await bury(one.store, worker)
        await one.scheduled(new_activity(1))
        assert await one.store.claim_activities(worker, (QUEUE,), (ACTIVITY,), 10, format=1) == []


@check(stores=2)
async def check_concurrent_claims_share_no_activity(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        await one.scheduled(*(new_activity(number) for number in range(1, 41)))
        answers = await asyncio.gather(*(each.claim_activities(5) for _ in range(10) for each in (one, two)))
        claimed = [task.id for answer in answers for task in answer]
        assert len(claimed) == len(set(claimed))
        while left := await one.claim_activities(50):
            claimed += [task.id for task in left]
        assert sorted(claimed) == list(range(1, 41))


@check()
async def check_a_heartbeat_keeps_progress_and_moves_the_deadline(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(heartbeat=HOUR, start_to_close=10 * HOUR)
        assert task.deadline is not None

        async def moved() -> bool:
            beat = Heartbeat(task.run_id, task.id, task.attempt, one.worker, EVERY_BYTE)
            assert await one.store.heartbeat([beat]) == [HeartbeatAnswer.GO_ON]
            row = await one.task(task.run_id)
            assert row.progress == EVERY_BYTE
            assert row.deadline is not None
            assert task.deadline is not None
            return row.deadline > task.deadline

        await eventually(moved)


@check()
async def check_a_heartbeat_does_not_outlive_the_attempt(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun(heartbeat=2 * HOUR, start_to_close=HOUR)
        await one.store.heartbeat([Heartbeat(task.run_id, task.id, task.attempt, one.worker, b"")])
        assert (await one.task(task.run_id)).deadline == task.deadline


@check()
async def check_a_heartbeat_hears_of_a_cancel_request(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1))
        (task,) = await one.claim_activities()
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(3),), activities_canceled=(1,)))
        beat = Heartbeat(task.run_id, 1, 1, one.worker, b"still here")
        assert await one.store.heartbeat([beat]) == [HeartbeatAnswer.CANCEL_REQUESTED]
        assert (await one.task(task.run_id)).progress == b"still here"


@check()
async def check_a_heartbeat_of_what_is_not_running_is_gone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        beats = [
            Heartbeat(task.run_id, 1, 2, one.worker, b"x"),
            Heartbeat(task.run_id, 1, 1, "nobody", b"x"),
            Heartbeat(task.run_id, 2, 1, one.worker, b"x"),
            Heartbeat(task.run_id, 1, 1, one.worker, b"yes"),
        ]
        gone = HeartbeatAnswer.GONE
        assert await one.store.heartbeat(beats) == [gone, gone, gone, HeartbeatAnswer.GO_ON]
        assert (await one.task(task.run_id)).progress == b"yes"
        assert await one.store.heartbeat([]) == []


@check()
async def check_a_heartbeat_behind_the_end_of_its_run_is_gone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        task = await one.begun()
        ended = await one.store.terminate(
            task.run_id,
            lambda seq: event(seq, type=EventType.WORKFLOW_EXECUTION_TERMINATED),
            Close(RunStatus.TERMINATED),
        )
        assert ended
        beat = Heartbeat(task.run_id, 1, 1, one.worker, b"")
        assert await one.store.heartbeat([beat]) == [HeartbeatAnswer.GONE]


@check()
async def check_attempts_past_their_deadline_are_expired(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(new_activity(1, start_to_close=10_000), new_activity(2, start_to_close=HOUR))
        await one.claim_activities()

        async def expired() -> bool:
            return [(task.id, task.state) for task in await one.store.expired_activities(10)] == [
                (1, ActivityState.RUNNING)
            ]

        await eventually(expired)


@check()
async def check_queued_activities_past_start_by_or_close_by_are_expired(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        now = await one.store.now()
        run = await one.scheduled(
            new_activity(1, start_by=now - 1, close_by=now + HOUR, due_in=HOUR),
            new_activity(2, start_by=now + HOUR, close_by=now - 1),
            new_activity(3, start_by=now + HOUR, close_by=now + HOUR),
            new_activity(4),
        )
        expired = await one.store.expired_activities(10)
        assert {task.id for task in expired} == {1, 2}
        assert {task.state for task in expired} == {ActivityState.QUEUED}
        assert {task.deadline for task in expired} == {now - 1}
        assert {task.run_id for task in expired} == {run.run.run_id}
        assert len(await one.store.expired_activities(1)) == 1


@check(stores=2)
async def check_an_attempt_of_a_lost_worker_is_expired(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1, start_to_close=HOUR))

        async def claim(other: Room) -> None:
            assert len(await other.claim_activities()) == 1

        worker, _ = await doomed(open_store, claim)
        assert await one.store.expired_activities(10) == []
        await bury(one.store, worker)
        assert await one.store.take_over(10) == 1
        (task,) = await one.store.expired_activities(10)
        assert (task.run_id, task.id, task.state, task.worker) == (
            run.run.run_id,
            1,
            ActivityState.RUNNING,
            None,
        )
        assert await one.store.heartbeat([Heartbeat(task.run_id, 1, 1, worker, b"")]) == [
            HeartbeatAnswer.GONE
        ]
        outcome = AttemptOutcome(task.run_id, 1, 1, None, retry_in=0)
        assert await one.store.finish_attempts([outcome]) == [True]
        assert await one.store.expired_activities(10) == []
