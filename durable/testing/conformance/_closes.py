"""Closing: over nothing unread, and with nothing left behind; and `terminate`."""

from __future__ import annotations

import asyncio

from durable._internal.ids import uuid7
from durable.store import Close, Hold, RunStatus, SendOutcome, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import closing, ended, event, message, new_activity, room


@check()
async def check_a_close_ends_the_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own(started=b"123")
        result = await one.store.commit([closing(run, RunStatus.FAILED)])
        record = await one.again(run)
        assert (record.status, record.closed_at) == (RunStatus.FAILED, result.now)
        assert (record.owner, record.wake_at, record.hold) == (None, None, Hold.NONE)
        assert (record.history_length, record.history_size) == (2, 5)
        assert await one.store.owned_runs(one.worker) == {}
        assert await one.claim() == []


@check()
async def check_a_close_over_an_unread_message_is_refused_whole(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, target = await one.own(), await one.start()
        await one.send(message(run.run.run_id, "unread"))
        verdicts = await one.commit(
            closing(
                run,
                activities=(new_activity(1),),
                messages=(message(target.run_id, internal=True),),
                proven=True,
            )
        )
        assert verdicts == (Verdict.REFUSED,)
        record = await one.again(run)
        assert (record.status, record.owner, record.epoch) == (RunStatus.RUNNING, one.worker, run.run.epoch)
        assert len(await one.store.read_events(run.run.run_id)) == 1
        assert await one.store.read_activities(run.run.run_id) == []
        assert [
            each.message_id for each in await one.store.read_messages([run.run.run_id, target.run_id])
        ] == ["unread"]


@check()
async def check_a_close_that_has_read_everything_is_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(message(run.run.run_id), message(run.run.run_id))
        positions = tuple(each.position for each in await one.store.read_messages([run.run.run_id]))
        assert await one.commit(closing(run, consumed=positions[:1])) == (Verdict.REFUSED,)
        assert len(await one.store.read_messages([run.run.run_id])) == 2
        assert await one.commit(closing(run, consumed=positions)) == (Verdict.WRITTEN,)
        assert await one.store.read_messages([run.run.run_id]) == []


@check()
async def check_a_message_of_the_same_batch_refuses_a_close(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for sender_first in (True, False):
            run, sender = await one.own(), await one.own()
            sending = Transition(
                sender.run.run_id, sender.run.epoch, (event(2),), messages=(message(run.run.run_id),)
            )
            batch = (sending, closing(run)) if sender_first else (closing(run), sending)
            verdicts = await one.commit(*batch)
            expected = (Verdict.WRITTEN, Verdict.REFUSED)
            assert verdicts == (expected if sender_first else expected[::-1])
            assert len(await one.store.read_messages([run.run.run_id])) == 1


@check()
async def check_a_refused_close_harms_no_other_run_of_its_batch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        refused, stepping, finishing = [await one.own() for _ in range(3)]
        await one.send(message(refused.run.run_id))
        verdicts = await one.commit(
            closing(refused),
            Transition(stepping.run.run_id, stepping.run.epoch, (event(2),)),
            closing(finishing),
        )
        assert verdicts == (Verdict.REFUSED, Verdict.WRITTEN, Verdict.WRITTEN)


@check()
async def check_runs_that_close_together_and_tell_each_other_end(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent, child = await one.own(), await one.own()
        told = message(parent.run.run_id, "child closed", internal=True)
        await one.written(closing(parent), closing(child, messages=(told,)))
        for run in (parent, child):
            assert (await one.again(run)).status is RunStatus.COMPLETED
        # It may have come a moment before the close or a moment after; nothing of it is left to wake anybody.
        assert await one.claim() == []


@check()
async def check_a_closed_run_loses_internal_messages_and_activities(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1), new_activity(2))
        await one.claim_activities(1)
        await one.send(message(run.run.run_id, internal=True))
        await one.close(run, seq=3)
        assert await one.store.read_activities(run.run.run_id) == []
        assert await one.store.read_messages([run.run.run_id]) == []
        assert await one.claim_activities() == []
        assert await one.store.next_wake([run.run.task_queue]) is None


@check()
async def check_the_last_events_of_closed_runs_are_read(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        completed, terminated, opened = [await one.own() for _ in range(3)]
        await one.close(completed)
        assert await one.store.terminate(terminated.run.run_id, ended, Close(RunStatus.TERMINATED))
        wanted = [run.run.run_id for run in (completed, terminated, opened)]
        found = await one.store.read_closing_events([*wanted, uuid7()])
        assert found == {run_id: (await one.store.read_events(run_id))[-1] for run_id in wanted[:2]}
        assert await one.store.read_closing_events([]) == {}


@check()
async def check_terminate_closes_whoever_owns_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        owned = await one.own()
        unowned = await one.start()
        for run_id, workflow_id in (
            (owned.run.run_id, owned.run.workflow_id),
            (unowned.run_id, unowned.workflow_id),
        ):
            assert await one.store.terminate(run_id, ended, Close(RunStatus.TERMINATED))
            record = await one.record(run_id, workflow_id)
            assert (record.status, record.owner, record.wake_at) == (RunStatus.TERMINATED, None, None)
            assert record.closed_at is not None
        assert await one.store.owned_runs(one.worker) == {}
        assert await one.claim() == []


@check()
async def check_terminate_appends_the_next_event(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        ahead = await one.store.now() + 3_600_000_000
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(2), event(3)), not_before=ahead))
        assert await one.store.terminate(run.run.run_id, ended, Close(RunStatus.TERMINATED))
        last = (await one.store.read_closing_events([run.run.run_id]))[run.run.run_id]
        assert (last.seq, last.task, last.data) == (4, 9, b"terminated")
        assert last.time >= ahead
        record = await one.again(run)
        assert record.history_length == 4


@check()
async def check_terminate_drops_messages_and_activities(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1))
        await one.send(message(run.run.run_id), message(run.run.run_id, internal=True))
        assert await one.store.terminate(run.run.run_id, ended, Close(RunStatus.TIMED_OUT))
        assert (await one.again(run)).status is RunStatus.TIMED_OUT
        assert await one.store.read_messages([run.run.run_id]) == []
        assert await one.store.read_activities(run.run.run_id) == []
        assert await one.store.send([message(run.run.run_id)]) == [SendOutcome.CLOSED]


@check()
async def check_terminate_of_what_is_not_open_does_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.close(run)
        assert not await one.store.terminate(run.run.run_id, ended, Close(RunStatus.TERMINATED))
        assert not await one.store.terminate(uuid7(), ended, Close(RunStatus.TERMINATED))
        assert (await one.again(run)).status is RunStatus.COMPLETED
        assert len(await one.store.read_events(run.run.run_id)) == 2


@check()
async def check_the_owner_of_a_terminated_run_has_lost_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        assert await one.store.terminate(run.run.run_id, ended, Close(RunStatus.TERMINATED))
        assert await one.commit(Transition(run.run.run_id, run.run.epoch, (event(2),))) == (Verdict.LOST,)
        assert await one.store.reload_run(one.worker, run.run.run_id, run.run.epoch) is None


@check(stores=2)
async def check_a_run_ends_once_however_it_ends(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(10):
            run = await one.own()
            killed, verdicts = await asyncio.gather(
                two.store.terminate(run.run.run_id, ended, Close(RunStatus.TERMINATED)),
                one.commit(closing(run)),
            )
            assert killed != (verdicts == (Verdict.WRITTEN,)), (killed, verdicts)
            assert (await one.again(run)).status is (RunStatus.TERMINATED if killed else RunStatus.COMPLETED)
            assert len(await one.store.read_events(run.run.run_id)) == 2


@check()
async def check_nobody_is_named_who_has_not_locked_a_run_for_long(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        assert await one.store.locked_by(run.run.run_id) == ""
        assert await one.store.locked_by("unheard of") == ""
