"""`commit` of what is there already: the same again, and something else in its place."""

from __future__ import annotations

import asyncio

from msgspec import structs

from durable.history import EventType
from durable.store import Close, Release, RunStatus, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    EVERY_BYTE,
    closing,
    event,
    eventually,
    message,
    new_activity,
    room,
)


@check()
async def check_a_transition_written_before_is_written_and_done_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, other, target = await one.own(), await one.own(), await one.start()
        await one.send(message(run.run.run_id, "read"))
        (unread,) = await one.store.read_messages([run.run.run_id])
        step = Transition(
            run.run.run_id,
            run.run.epoch,
            (event(2, EVERY_BYTE), event(3, b"")),
            consumed=(unread.position,),
            activities=(new_activity(1),),
            messages=(message(target.run_id, "sent"),),
            proven=True,
        )
        await one.written(step)
        before = await one.store.read_events(run.run.run_id)
        (task,) = await one.claim_activities()
        await one.written(step, Transition(other.run.run_id, other.run.epoch, (event(2),)))
        assert await one.store.read_events(run.run.run_id) == before
        assert len(await one.store.read_events(other.run.run_id)) == 2
        row = await one.task(task.run_id)
        assert row == structs.replace(task, now=row.now)  # it is claimed still
        assert [each.message_id for each in await one.store.read_messages([target.run_id])] == ["sent"]
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(4),)))


@check()
async def check_many_transitions_written_before_are_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [await one.own() for _ in range(5)]
        steps = [
            Transition(run.run.run_id, run.run.epoch, tuple(event(seq, b"%d" % seq) for seq in range(2, 302)))
            for run in runs
        ]
        await one.written(*steps[1::2])
        await one.written(*steps)
        for run in runs:
            found = await one.store.read_events(run.run.run_id, after=1)
            assert [(row.seq, row.data) for row in found] == [(seq, b"%d" % seq) for seq in range(2, 302)]


@check()
async def check_a_close_written_before_is_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, other = await one.own(), await one.own()
        await one.close(run)
        assert await one.commit(closing(run), closing(other)) == (Verdict.WRITTEN, Verdict.WRITTEN)
        assert (await one.again(run)).history_length == 2
        killed = await one.own()
        await one.written(Transition(killed.run.run_id, killed.run.epoch, (event(2),)))
        assert await one.store.terminate(
            killed.run.run_id, lambda seq: event(seq, b"terminated"), Close(RunStatus.TERMINATED)
        )
        assert await one.commit(closing(killed, seq=3)) == (Verdict.LOST,)


@check()
async def check_what_another_epoch_wrote_was_not_written_before(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        step = Transition(run.run.run_id, run.run.epoch, (event(2),), release=Release(wake_in=0))
        await one.written(step)
        await one.written(step)
        assert len(await one.claim()) == 1
        assert await one.commit(step) == (Verdict.LOST,)


@check()
async def check_a_transition_that_stands_there_in_part_is_an_error(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, other = await one.own(), await one.own()
        rows = (event(2, b"a"), event(3, b"b"))
        await one.written(Transition(run.run.run_id, run.run.epoch, rows))
        for wrong in (
            (*rows, event(4, b"c")),
            (event(2, b"a"), event(3, b"B")),
            (event(2, b"a", task=7), event(3, b"b")),
            (event(2, b"a", type=EventType.TIMER_FIRED), event(3, b"b")),
        ):
            for batch in ((run, wrong), (other, (event(2),))), ((other, (event(2),)), (run, wrong)):
                try:
                    await one.store.commit(
                        [Transition(each.run.run_id, each.run.epoch, events) for each, events in batch]
                    )
                except ValueError:
                    pass
                else:
                    raise AssertionError("a history was written over")
        found = await one.store.read_events(run.run.run_id, after=1)
        assert [row.data for row in found] == [b"a", b"b"]
        assert len(await one.store.read_events(other.run.run_id)) == 1


@check()
async def check_a_position_that_is_taken_is_an_error_and_nothing_is_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        taken, healthy = await one.own(), await one.own()
        await one.written(Transition(taken.run.run_id, taken.run.epoch, (event(2, b"first"),)))
        try:
            await one.store.commit(
                [
                    Transition(healthy.run.run_id, healthy.run.epoch, (event(2),)),
                    Transition(taken.run.run_id, taken.run.epoch, (event(2, b"second"),)),
                ]
            )
        except ValueError:
            pass
        else:
            raise AssertionError("a position was written twice")
        assert len(await one.store.read_events(healthy.run.run_id)) == 1
        assert [row.data for row in await one.store.read_events(taken.run.run_id, after=1)] == [b"first"]
        await one.written(Transition(healthy.run.run_id, healthy.run.epoch, (event(2),)))


@check(stores=2)
async def check_a_step_committed_twice_at_once_is_written_once(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(10):
            run = await one.own()
            answers = await asyncio.gather(
                *(
                    each.store.commit([Transition(run.run.run_id, run.run.epoch, (event(2, data),))])
                    for each, data in ((one, b"a"), (two, b"b"))
                ),
                return_exceptions=True,
            )
            written = [
                data
                for answer, data in zip(answers, (b"a", b"b"), strict=True)
                if not isinstance(answer, BaseException) and answer.verdicts == (Verdict.WRITTEN,)
            ]
            assert all(
                not isinstance(each, BaseException) or isinstance(each, ValueError) for each in answers
            ), answers
            assert [row.data for row in await one.store.read_events(run.run.run_id, after=1)] == written
            assert len(written) == 1


@check()
async def check_a_cancelled_commit_leaves_the_store_usable(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        for seq in range(2, 12):
            task = asyncio.ensure_future(
                one.store.commit([Transition(run.run.run_id, run.run.epoch, (event(seq),))])
            )
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

            async def settled(seq: int = seq) -> bool:
                # It may have taken effect, or do so soon; asking again tells.
                verdicts = await one.commit(Transition(run.run.run_id, run.run.epoch, (event(seq),)))
                return verdicts == (Verdict.WRITTEN,)

            await eventually(settled)
        assert [row.seq for row in await one.store.read_events(run.run.run_id)] == list(range(1, 12))
