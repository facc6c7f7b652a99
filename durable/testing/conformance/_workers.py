"""Workers: leases, death, and what happens to what the dead owned."""

from __future__ import annotations

from durable.store import Heartbeat, HeartbeatAnswer, Hold, NewRun, Release, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    HOUR,
    QUEUE,
    Room,
    bury,
    die_with_runs,
    doomed,
    event,
    message,
    new_activity,
    room,
    worker_record,
)


@check()
async def check_a_registered_worker_is_listed_alive(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        (listed,) = await one.store.list_workers()
        assert (listed.worker_id, listed.identity, listed.task_queues) == (one.worker, "somebody", (QUEUE,))
        assert listed.lease == worker_record("x").lease
        assert (listed.expired, listed.dead, listed.dead_for_sure) == (False, False, False)


@check()
async def check_a_known_worker_id_is_refused(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        try:
            await one.store.register_worker(worker_record(one.worker))
        except ValueError:
            pass
        else:
            raise AssertionError("an id was registered twice")
        assert await one.lease.renew()
        assert len(await one.store.list_workers()) == 1


@check()
async def check_a_live_worker_renews(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for _ in range(3):
            assert await one.lease.renew()


@check()
async def check_an_unregistered_worker_is_gone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        lease = await one.store.register_worker(worker_record("leaving"))
        await one.store.unregister_worker("leaving")
        assert [each.worker_id for each in await one.store.list_workers()] == [one.worker]
        assert not await lease.renew()
        await lease.aclose()
        await one.store.unregister_worker("leaving")


@check()
async def check_a_live_worker_is_not_buried(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        (listed,) = await one.store.list_workers()
        assert not await one.store.bury_worker(one.worker, listed.renewals)
        assert not await one.store.bury_worker("nobody", 0)
        assert await one.lease.renew()


@check(stores=2)
async def check_a_worker_that_renewed_meanwhile_is_not_buried(open_store: OpenStore) -> None:
    async with room(open_store) as one:

        async def nothing(_: Room) -> None:
            pass

        worker, _ = await doomed(open_store, nothing)
        await bury(one.store, worker)
        worker, _ = await doomed(open_store, nothing)
        (listed,) = [each for each in await one.store.list_workers() if each.worker_id == worker]
        assert not await one.store.bury_worker(worker, listed.renewals + 1)


@check(stores=2)
async def check_dead_is_final(open_store: OpenStore) -> None:
    async with room(open_store) as one:

        async def own(other: Room) -> None:
            await other.own()  # so that the dead worker is not removed

        worker, _ = await doomed(open_store, own)
        await bury(one.store, worker)
        (listed,) = [each for each in await one.store.list_workers() if each.worker_id == worker]
        assert (listed.dead, listed.expired) == (True, True)
        try:
            await one.store.register_worker(worker_record(worker))
        except ValueError:
            pass
        else:
            raise AssertionError("a dead worker rose")


@check(stores=2)
async def check_a_dead_worker_s_runs_are_freed(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        worker, old = await doomed(open_store, lambda other: other.own())
        await bury(one.store, worker)
        assert await one.claim() == []
        before = await one.store.now()
        assert await one.store.take_over(10) == 1
        record = await one.again(old)
        assert (record.owner, record.deaths, record.hold) == (None, 1, Hold.NONE)
        assert record.wake_at is not None
        assert before <= record.wake_at <= await one.store.now()
        (new,) = await one.claim()
        assert (new.run.run_id, new.run.owner) == (old.run.run_id, one.worker)
        assert new.run.epoch > old.run.epoch
        assert await one.commit(Transition(old.run.run_id, old.run.epoch, (event(2),))) == (Verdict.LOST,)
        await one.written(Transition(new.run.run_id, new.run.epoch, (event(2),)))


@check()
async def check_nothing_of_a_live_worker_is_taken_over(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1))
        await one.claim_activities()
        assert await one.store.take_over(10) == 0
        assert await one.store.owned_runs(one.worker) == {run.run.run_id: run.run.epoch}
        assert (await one.task(run.run.run_id)).worker == one.worker


@check(stores=2)
async def check_take_over_frees_at_most_its_limit(open_store: OpenStore) -> None:
    async with room(open_store) as one:

        async def own(other: Room) -> None:
            for _ in range(3):
                await other.own()
            await other.scheduled(new_activity(1), new_activity(2))
            assert len(await other.claim_activities()) == 2

        worker, _ = await doomed(open_store, own)
        await bury(one.store, worker)
        freed = [await one.store.take_over(4), await one.store.take_over(4), await one.store.take_over(4)]
        assert freed == [4, 2, 0]


@check(stores=2)
async def check_what_was_sent_to_a_dead_worker_s_run_is_kept(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        worker, run = await doomed(open_store, lambda other: other.own())
        await one.send(message(run.run.run_id, "kept"))
        await bury(one.store, worker)
        await one.store.take_over(10)
        (claimed,) = await one.claim()
        assert [each.message_id for each in claimed.messages] == ["kept"]


@check(stores=2)
async def check_a_freed_activity_is_running_without_a_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1, heartbeat=HOUR))

        async def claim(other: Room) -> None:
            (task,) = await other.claim_activities()
            beat = Heartbeat(task.run_id, 1, 1, other.worker, b"half")
            assert await other.store.heartbeat([beat]) == [HeartbeatAnswer.GO_ON]

        worker, _ = await doomed(open_store, claim)
        await bury(one.store, worker)
        assert await one.store.take_over(10) == 1
        row = await one.task(run.run.run_id)
        assert (row.worker, row.attempt, row.progress) == (None, 1, b"half")
        assert row.started_at is not None


@check(stores=2)
async def check_the_third_death_quarantines_a_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        for deaths in (1, 2):
            await die_with_runs(open_store, one)
            record = await one.record(run.run_id, run.workflow_id)
            assert (record.deaths, record.hold) == (deaths, Hold.NONE)
        await die_with_runs(open_store, one)
        await _is_quarantined(one, run)


async def _is_quarantined(one: Room, run: NewRun) -> None:
    record = await one.record(run.run_id, run.workflow_id)
    assert (record.deaths, record.hold, record.owner) == (3, Hold.QUARANTINED, None)
    assert "3 workers" in record.reason, record.reason
    assert "operator" in record.reason, record.reason
    assert record.wake_at is None
    await one.send(message(run.run_id), message(run.run_id, internal=True))
    assert await one.claim() == []
    assert await one.claim(1) == []
    assert await one.probationer() is None
    assert await one.store.next_wake((QUEUE,)) is None
    assert await one.store.timed_out_runs(10) == []


@check(stores=2)
async def check_only_the_run_that_kills_workers_is_quarantined(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        killer, *siblings = [await one.start() for _ in range(4)]
        for deaths in (1, 2):  # nobody knows yet which of them it is
            await die_with_runs(open_store, one)
            for run in (killer, *siblings):
                record = await one.record(run.run_id, run.workflow_id)
                assert (record.deaths, record.hold, record.reason) == (deaths, Hold.NONE, "")
        assert await one.claim() == []
        proven: set[str] = set()
        for _ in range(4):
            proven |= await _try_one(open_store, one, killer.run_id)
        assert proven == {run.run_id for run in siblings}
        for run in siblings:
            record = await one.record(run.run_id, run.workflow_id)
            assert (record.deaths, record.hold, record.reason) == (0, Hold.NONE, "")
        await _is_quarantined(one, killer)
        assert await one.claimed_ids() == set()


async def _try_one(open_store: OpenStore, survivor: Room, killer: str) -> set[str]:
    """Let a fresh worker try a run on probation, alone: it dies of one, and proves every other."""

    async def alone(other: Room) -> set[str]:
        run = await other.probationer()
        assert run is not None
        assert run.run.deaths == 2
        assert run.run.hold is Hold.NONE
        if run.run.run_id == killer:
            return set()
        given_up = Release()
        await other.written(
            Transition(run.run.run_id, run.run.epoch, (event(2),), proven=True, release=given_up)
        )
        return {run.run.run_id}

    worker, proven = await doomed(open_store, alone)
    await bury(survivor.store, worker)
    await survivor.store.take_over(100)
    return proven


@check(stores=2)
async def check_a_claim_of_one_gives_no_run_on_probation(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        for _ in range(2):
            await die_with_runs(open_store, one)
        assert await one.claim(1) == []  # the worker may own others
        await one.send(message(run.run_id))
        assert await one.claim(1) == []
        probationer = await one.probationer()
        assert probationer is not None
        assert probationer.run.run_id == run.run_id


@check(stores=2)
async def check_a_dead_worker_that_nothing_names_is_removed(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        worker, _ = await doomed(open_store, lambda other: other.own())
        await bury(one.store, worker)
        assert worker in {each.worker_id for each in await one.store.list_workers()}
        while await one.store.take_over(1):
            pass
        assert worker not in {each.worker_id for each in await one.store.list_workers()}


@check(stores=2)
async def check_runs_of_a_worker_nobody_knows_are_freed(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1, worker="never registered"))
        assert await one.store.take_over(10) == 1
        assert (await one.task(run.run.run_id)).worker is None


@check()
async def check_a_worker_that_leaves_too_early_leaves_its_runs_to_others(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        lease = await one.store.register_worker(worker_record("leaving"))
        leaving = Room(one.store, "leaving", lease)
        run = await leaving.own()
        await lease.aclose()
        await one.store.unregister_worker("leaving")
        assert await one.store.take_over(10) == 1
        assert await one.claimed_ids() == {run.run.run_id}
