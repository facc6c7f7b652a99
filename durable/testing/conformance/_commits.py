"""`commit`: the fence, the events, and what else a step writes."""

from __future__ import annotations

import asyncio

from msgspec import structs

from durable._engine._operated import pause
from durable._engine.lanes import ACTIVITIES
from durable._internal.ids import uuid7
from durable.store import ActivityState, ClaimedRun, Lane, Release, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    EVERY_BYTE,
    HOUR,
    Room,
    closing,
    event,
    message,
    new_activity,
    room,
)


@check()
async def check_events_come_back_byte_for_byte(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        rows = tuple(
            event(seq, data, task=seq)
            for seq, data in enumerate((EVERY_BYTE, b"", bytes(range(256)) * 4096, b"{}"), 2)
        )
        await one.written(Transition(run.run.run_id, run.run.epoch, rows))
        found = await one.store.read_events(run.run.run_id, after=1)
        assert [(row.seq, row.task, row.type, row.data) for row in found] == [
            (row.seq, row.task, row.type, row.data) for row in rows
        ]


@check()
async def check_events_are_stamped_with_the_database_s_time(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, other = await one.own(), await one.own()
        before = await one.store.now()
        later = before + HOUR
        result = await one.store.commit(
            [
                Transition(
                    run.run.run_id, run.run.epoch, (event(2), event(3)), not_before=run.events[-1].time
                ),
                Transition(other.run.run_id, other.run.epoch, (event(2),), not_before=later),
            ]
        )
        assert result.verdicts == (Verdict.WRITTEN, Verdict.WRITTEN)
        assert before <= result.now <= await one.store.now()
        stamped = await one.store.read_events(run.run.run_id, after=1)
        assert [row.time for row in stamped] == [result.now, result.now]
        (ahead,) = await one.store.read_events(other.run.run_id, after=1)
        assert ahead.time == later


@check()
async def check_events_that_know_their_time_keep_it(open_store: OpenStore) -> None:
    """Alone, beside others, and with more than events."""
    async with room(open_store) as one:
        run, other = await one.own(), await one.own()
        run_id, epoch = run.run.run_id, run.run.epoch
        time = await one.store.now() - 5
        exact = Transition(run_id, epoch, (event(2), event(3)), not_before=run.events[-1].time, time=time)
        plain = Transition(other.run.run_id, other.run.epoch, (event(2),))
        result = await one.store.commit([exact, plain])
        assert result.verdicts == (Verdict.WRITTEN, Verdict.WRITTEN)
        (beside,) = await one.store.read_events(other.run.run_id, after=1)
        assert beside.time == result.now > time
        await one.written(Transition(run_id, epoch, (event(4),), time=time + 1))
        await one.send(message(run_id, "m"))
        (unread,) = await one.unread(run_id)
        await one.written(
            Transition(run_id, epoch, (event(5),), time=time + 2, consumed=(unread.position,), proven=True)
        )
        found = await one.store.read_events(run_id, after=1)
        assert [row.time - time for row in found] == [0, 0, 1, 2]


@check()
async def check_reading_can_begin_behind_a_position_and_end_early(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.written(
            Transition(run.run.run_id, run.run.epoch, tuple(event(seq) for seq in range(2, 11)))
        )
        run_id = run.run.run_id
        assert [row.seq for row in await one.store.read_events(run_id)] == list(range(1, 11))
        assert [row.seq for row in await one.store.read_events(run_id, after=7)] == [8, 9, 10]
        assert [row.seq for row in await one.store.read_events(run_id, after=2, limit=3)] == [3, 4, 5]
        assert await one.store.read_events(run_id, after=10) == []


@check()
async def check_the_history_of_an_open_run_is_measured(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own(started=b"12345")
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(2, b"67"), event(3, b"8"))))
        record = await one.again(run)
        assert (record.history_length, record.history_size) == (3, 8)


@check()
async def check_a_run_is_found_without_its_history_measured(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        workflow_id = run.run.workflow_id
        for run_id in (None, run.run.run_id):
            found = await one.store.find_run(workflow_id, run_id, measured=False)
            assert found is not None
            assert (found.history_length, found.history_size) == (-1, -1)
            whole = await one.store.find_run(workflow_id, run_id)
            assert whole is not None
            assert whole.history_length == 1
            assert found == structs.replace(whole, history_length=-1, history_size=-1)


@check()
async def check_nothing_to_commit_is_no_verdict(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        result = await one.store.commit([])
        assert result.verdicts == ()


@check()
async def check_another_epoch_is_lost(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        for epoch in (run.run.epoch - 1, run.run.epoch + 1):
            assert await one.commit(Transition(run.run.run_id, epoch, (event(2),))) == (Verdict.LOST,)
        assert len(await one.store.read_events(run.run.run_id)) == 1


@check()
async def check_an_unknown_run_is_lost(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.commit(Transition(uuid7(), 1, (event(1),))) == (Verdict.LOST,)


@check()
async def check_a_claim_ends_the_epoch_before_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        old = await one.own()
        await one.written(Transition(old.run.run_id, old.run.epoch, release=Release(wake_in=0)))
        (new,) = await one.claim()
        assert new.run.epoch > old.run.epoch
        assert await one.commit(Transition(old.run.run_id, old.run.epoch, (event(2),))) == (Verdict.LOST,)
        await one.written(Transition(new.run.run_id, new.run.epoch, (event(2),)))


@check()
async def check_a_closed_run_is_lost(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.close(run)
        assert await one.commit(Transition(run.run.run_id, run.run.epoch, (event(3),))) == (Verdict.LOST,)
        assert len(await one.store.read_events(run.run.run_id)) == 2


@check()
async def check_a_lost_transition_writes_nothing_and_harms_nobody(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        lost, healthy, target = await one.own(), await one.own(), await one.start()
        await one.send(message(lost.run.run_id))
        (unread,) = await one.store.read_messages([lost.run.run_id])
        verdicts = await one.commit(
            Transition(
                lost.run.run_id,
                lost.run.epoch + 1,
                (event(2),),
                consumed=(unread.position,),
                activities=(new_activity(1),),
                messages=(message(target.run_id),),
                release=Release(),
            ),
            Transition(healthy.run.run_id, healthy.run.epoch, (event(2),)),
        )
        assert verdicts == (Verdict.LOST, Verdict.WRITTEN)
        assert len(await one.store.read_events(lost.run.run_id)) == 1
        assert len(await one.store.read_events(healthy.run.run_id)) == 2
        assert await one.store.read_messages([lost.run.run_id, target.run_id]) == [unread]
        assert await one.store.read_activities(lost.run.run_id) == []
        assert (await one.again(lost)).owner == one.worker


@check(stores=2)
async def check_batches_of_two_workers_go_side_by_side(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        mine, yours = [await one.own() for _ in range(5)], [await two.own() for _ in range(5)]

        async def steps(each: Room, runs: list[ClaimedRun]) -> None:
            for seq in range(2, 12):
                await each.written(
                    *(Transition(run.run.run_id, run.run.epoch, (event(seq),)) for run in runs)
                )

        await asyncio.gather(steps(one, mine), steps(two, yours))
        for run in mine + yours:
            assert [row.seq for row in await one.store.read_events(run.run.run_id)] == list(range(1, 12))


@check()
async def check_consumed_messages_are_gone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(*(message(run.run.run_id, name) for name in ("a", "b", "c")))
        first, _, last = await one.store.read_messages([run.run.run_id])
        await one.written(
            Transition(run.run.run_id, run.run.epoch, (event(2),), consumed=(first.position, last.position))
        )
        assert [each.message_id for each in await one.store.read_messages([run.run.run_id])] == ["b"]


@check()
async def check_messages_of_a_transition_reach_their_runs_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        sender, target = await one.own(), await one.start()
        sent = message(target.run_id, "hello", EVERY_BYTE, internal=True)
        await one.written(Transition(sender.run.run_id, sender.run.epoch, (event(2),), messages=(sent,)))
        await one.written(Transition(sender.run.run_id, sender.run.epoch, (event(3),), messages=(sent,)))
        (found,) = await one.store.read_messages([target.run_id])
        assert (found.message_id, found.data, found.internal) == ("hello", EVERY_BYTE, True)


@check()
async def check_an_internal_message_to_a_closed_run_hinders_nobody(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        closed, sender = await one.own(), await one.own()
        await one.close(closed)
        late = message(closed.run.run_id, internal=True)
        await one.written(Transition(sender.run.run_id, sender.run.epoch, (event(2),), messages=(late,)))


@check()
async def check_activities_are_inserted_replaced_and_deleted(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1), new_activity(2, attempt=3, progress=EVERY_BYTE))
        run_id, epoch = run.run.run_id, run.run.epoch
        rows = await one.store.read_activities(run_id)
        assert [(row.id, row.attempt, row.progress) for row in rows] == [(1, 1, b""), (2, 3, EVERY_BYTE)]
        replaced = new_activity(2, attempt=4, scheduled=EVERY_BYTE)
        await one.written(
            Transition(run_id, epoch, (event(3),), activities=(replaced,), activities_done=(1,))
        )
        (row,) = await one.store.read_activities(run_id)
        assert (row.id, row.attempt, row.scheduled, row.progress) == (2, 4, EVERY_BYTE, b"")


@check()
async def check_a_cancellation_is_requested_of_a_row(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1), new_activity(2))
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(3),), activities_canceled=(2, 7)))
        rows = await one.store.read_activities(run.run.run_id)
        assert [(row.id, row.cancel_requested) for row in rows] == [(1, False), (2, True)]


@check()
async def check_a_row_and_its_cancellation_come_in_one_transition(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1), new_activity(2))
        both = Transition(
            run.run.run_id,
            run.run.epoch,
            (event(3),),
            activities=(new_activity(2, attempt=2), new_activity(3)),
            activities_canceled=(2, 3),
            release=Release(),
        )
        await one.written(both)
        rows = await one.store.read_activities(run.run.run_id)
        assert [(row.id, row.cancel_requested) for row in rows] == [(1, False), (2, True), (3, True)]


@check()
async def check_a_row_is_replaced_whole(open_store: OpenStore) -> None:
    """Nothing stays of what operators and its queue had to say of the one that was there."""
    async with room(open_store) as one:
        lane = Lane("0000 k", key="k", most=1, breaker="b")
        run = await one.scheduled(new_activity(1, lane=lane))
        task = await one.task(run.run.run_id)
        change = pause(task, "why")
        assert change is not None
        assert await one.store.change_activities([change]) == [True]
        await one.written(Transition(run.run.run_id, 1, (event(3),), activities_canceled=(1,)))
        before = await one.task(run.run.run_id)
        assert (before.pause_reason, before.revision, before.cancel_requested) == ("why", 1, True)
        again = new_activity(1, attempt=2)
        await one.written(Transition(run.run.run_id, 1, (event(4),), activities=(again,)))
        fresh = await one.scheduled(again)
        rows = [await one.task(run_id) for run_id in (run.run.run_id, fresh.run.run_id)]
        replaced, new = (structs.replace(row, run_id="", workflow_id="", due_at=0, now=0) for row in rows)
        assert replaced == new
        assert (await one.store.read_key(ACTIVITIES, "k")).waiting == 0


@check()
async def check_a_row_may_be_running_from_the_start(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        running = new_activity(
            1, worker=one.worker, attempt=2, running_for=5_000_000, start_to_close=HOUR, heartbeat=2 * HOUR
        )
        result = await one.store.commit(
            [Transition(run.run.run_id, run.run.epoch, (event(2),), activities=(running,))]
        )
        row = await one.task(run.run.run_id)
        assert (row.state, row.worker, row.attempt) == (ActivityState.RUNNING, one.worker, 2)
        assert row.started_at == result.now - 5_000_000
        assert row.deadline == result.now - 5_000_000 + HOUR
        assert await one.claim_activities() == []


@check()
async def check_a_batch_may_do_everything_at_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        stepping, releasing, finishing, target = [await one.own() for _ in range(4)]
        await one.send(message(finishing.run.run_id))
        (unread,) = await one.store.read_messages([finishing.run.run_id])
        await one.written(
            Transition(
                stepping.run.run_id,
                stepping.run.epoch,
                (event(2),),
                activities=(new_activity(1),),
                messages=(message(target.run.run_id),),
                proven=True,
            ),
            Transition(releasing.run.run_id, releasing.run.epoch, (event(2),), release=Release(wake_in=HOUR)),
            closing(finishing, consumed=(unread.position,)),
        )
        assert set(await one.store.owned_runs(one.worker)) == {stepping.run.run_id, target.run.run_id}
        assert len(await one.store.read_messages([target.run.run_id])) == 1
