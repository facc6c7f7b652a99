"""`commit`: giving a run up, holding it back, and lifting that."""

from __future__ import annotations

from durable.store import Hold, Release, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import HOUR, event, message, room


@check()
async def check_a_release_gives_the_run_up_until_its_instant(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        wake_at = await one.store.now() + HOUR
        await one.written(
            Transition(run.run.run_id, run.run.epoch, (event(2),), release=Release(wake_at=wake_at))
        )
        record = await one.again(run)
        assert (record.owner, record.wake_at, record.hold, record.reason) == (None, wake_at, Hold.NONE, "")
        assert await one.claim() == []
        assert await one.store.owned_runs(one.worker) == {}


@check()
async def check_a_release_can_count_from_the_database_s_now(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        result = await one.store.commit(
            [Transition(run.run.run_id, run.run.epoch, release=Release(wake_in=HOUR))]
        )
        assert (await one.again(run)).wake_at == result.now + HOUR


@check()
async def check_a_release_without_an_instant_waits_for_a_message(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.written(Transition(run.run.run_id, run.run.epoch, release=Release()))
        assert (await one.again(run)).wake_at is None
        assert await one.claim() == []
        await one.send(message(run.run.run_id))
        assert await one.claimed_ids() == {run.run.run_id}


@check()
async def check_a_release_over_an_unread_message_is_claimed_at_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(message(run.run.run_id))
        await one.written(Transition(run.run.run_id, run.run.epoch, release=Release()))
        assert await one.claimed_ids() == {run.run.run_id}


@check()
async def check_a_hold_shows_its_reason_until_the_next_release(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        held = Release(wake_in=0, hold=Hold.BLOCKED, reason="no such activity")
        await one.written(Transition(run.run.run_id, run.run.epoch, release=held))
        record = await one.again(run)
        assert (record.hold, record.reason) == (Hold.BLOCKED, "no such activity")
        (run,) = await one.claim()
        await one.written(Transition(run.run.run_id, run.run.epoch, release=Release(wake_in=0)))
        record = await one.again(run)
        assert (record.hold, record.reason) == (Hold.NONE, "")


@check()
async def check_a_proof_lifts_a_hold_and_its_reason(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        bystander = await one.own()
        held = Release(wake_in=0, hold=Hold.BLOCKED, reason="no such activity")
        await one.written(Transition(bystander.run.run_id, bystander.run.epoch, release=held))
        run = await one.own()
        await one.written(Transition(run.run.run_id, run.run.epoch, release=held))
        claimed = {each.run.run_id: each for each in await one.claim()}
        run, bystander = claimed[run.run.run_id], claimed[bystander.run.run_id]
        assert (run.run.hold, run.run.reason) == (Hold.BLOCKED, "no such activity")
        await one.written(
            Transition(run.run.run_id, run.run.epoch, (event(2),), proven=True),
            Transition(bystander.run.run_id, bystander.run.epoch, (event(2),)),
        )
        record = await one.again(run)
        assert (record.hold, record.reason, record.owner) == (Hold.NONE, "", one.worker)
        record = await one.again(bystander)
        assert (record.hold, record.reason) == (Hold.BLOCKED, "no such activity")


@check()
async def check_a_hold_outlives_the_proof_it_comes_with(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        paused = Release(hold=Hold.PAUSED, reason="somebody asked for it")
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(2),), proven=True, release=paused))
        record = await one.again(run)
        assert (record.hold, record.reason) == (Hold.PAUSED, "somebody asked for it")


@check()
async def check_a_proof_that_is_not_written_lifts_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        held = Release(wake_in=HOUR, hold=Hold.BLOCKED, reason="why")
        await one.written(Transition(run.run.run_id, run.run.epoch, release=held))
        stale = Transition(run.run.run_id, run.run.epoch + 1, (event(2),), proven=True)
        assert await one.commit(stale) == (Verdict.LOST,)
        record = await one.again(run)
        assert (record.hold, record.reason) == (Hold.BLOCKED, "why")
