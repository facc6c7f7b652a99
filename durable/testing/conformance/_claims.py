"""Claims of runs: who gets which, and with what."""

from __future__ import annotations

import asyncio

from durable.store import Hold, Release, RunStatus, Transition
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    HOUR,
    QUEUE,
    TYPE,
    Room,
    bury,
    die_with_runs,
    doomed,
    event,
    eventually,
    message,
    new_activity,
    new_run,
    room,
    worker_record,
)


@check()
async def check_a_claim_takes_at_most_its_limit(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [await one.start() for _ in range(5)]
        first = await one.claimed_ids(3)
        second = await one.claimed_ids(3)
        assert (len(first), len(second)) == (3, 2)
        assert first | second == {run.run_id for run in runs}
        assert await one.claim(0) == []


@check()
async def check_a_claim_takes_at_most_its_limit_of_both_kinds(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for _ in range(3):
            run = await one.own()
            await one.written(Transition(run.run.run_id, run.run.epoch, release=Release()))
            await one.send(message(run.run.run_id), message(run.run.run_id))
        for _ in range(3):
            await one.start()
        assert len(await one.claim(4)) == 4
        assert len(await one.claim(4)) == 2


@check()
async def check_a_claim_makes_an_owner_of_a_new_epoch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        (claimed,) = await one.claim()
        assert (claimed.run.owner, claimed.run.epoch, claimed.run.wake_at) == (one.worker, 1, None)
        assert claimed.run == await one.record(run.run_id, run.workflow_id)
        assert await one.store.owned_runs(one.worker) == {run.run_id: 1}
        assert await one.claim() == []


@check()
async def check_a_claim_brings_all_that_a_run_needs(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [await one.own() for _ in range(2)]
        for number, run in enumerate(runs):
            await one.written(
                Transition(
                    run.run.run_id,
                    run.run.epoch,
                    (event(2, b"%d" % number), event(3)),
                    activities=(new_activity(1), new_activity(2)),
                    release=Release(),
                )
            )
            await one.send(message(run.run.run_id, f"a{number}"), message(run.run.run_id, f"b{number}"))
        claimed = {one.run.run_id: one for one in await one.claim()}
        for number, run in enumerate(runs):
            found = claimed[run.run.run_id]
            assert [row.seq for row in found.events] == [1, 2, 3]
            assert found.events[1].data == b"%d" % number
            assert [each.message_id for each in found.messages] == [f"a{number}", f"b{number}"]
            assert [(each.run_id, each.id) for each in found.activities] == [
                (run.run.run_id, 1),
                (run.run.run_id, 2),
            ]
            assert (found.run.history_length, found.run.info) == (3, b"{}")


@check()
async def check_a_claim_takes_only_its_queues(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start(task_queue="a")
        await one.start(task_queue="b")
        called = await one.own(task_queue="c")
        await one.written(Transition(called.run.run_id, called.run.epoch, release=Release()))
        await one.send(message(called.run.run_id))
        assert await one.claim(queues=("d",)) == []
        assert await one.claim(queues=()) == []
        assert [each.run.run_id for each in await one.claim(queues=("a", "a"))] == [run.run_id]
        assert len(await one.claim(queues=("b", "c"))) == 2


@check()
async def check_a_claim_takes_only_its_types(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        due = await one.start(workflow_type="Known")
        await one.start(workflow_type="Unknown")
        called = await one.own(workflow_type="Called")
        await one.written(Transition(called.run.run_id, called.run.epoch, release=Release()))
        await one.send(message(called.run.run_id))
        assert await one.claim(types=()) == []
        assert [each.run.run_id for each in await one.claim(types=("Known",))] == [due.run_id]
        assert [each.run.run_id for each in await one.claim(types=("Called",))] == [called.run.run_id]
        assert await one.claim(types=("Known", "Called")) == []


@check()
async def check_a_claim_without_types_takes_all(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        due = [await one.start(workflow_type=name) for name in ("Known", "Unknown")]
        called = await one.own(workflow_type="Called")
        await one.written(Transition(called.run.run_id, called.run.epoch, release=Release()))
        await one.send(message(called.run.run_id))
        elsewhere = await one.start(workflow_type="Elsewhere", task_queue="elsewhere")
        await one.start(workflow_type="activity\x1fof no workflow")
        found = {each.run.run_id for each in await one.claim(types=None)}
        assert found == {*(run.run_id for run in due), called.run.run_id}
        assert (await one.record(elsewhere.run_id, elsewhere.workflow_id)).owner is None


@check()
async def check_a_claim_takes_no_newer_format(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        old, new = await one.start(format=1), await one.start(format=2)
        assert {each.run.run_id for each in await one.claim(format=1)} == {old.run_id}
        assert {each.run.run_id for each in await one.claim(format=2)} == {new.run_id}


@check()
async def check_a_claim_needs_a_registered_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        assert await one.store.claim_runs("nobody", (QUEUE,), (TYPE,), 10, format=1) == []
        record = await one.record(run.run_id, run.workflow_id)
        assert (record.owner, record.epoch) == (None, 0)


@check()
async def check_an_unregistered_worker_claims_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        lease = await one.store.register_worker(worker_record("leaving"))
        await lease.aclose()
        await one.store.unregister_worker("leaving")
        await one.start()
        assert await one.store.claim_runs("leaving", (QUEUE,), (TYPE,), 10, format=1) == []


@check(stores=2)
async def check_a_dead_worker_claims_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:

        async def nothing(_: Room) -> None:
            pass

        worker, _ = await doomed(open_store, nothing)
        await bury(one.store, worker)
        await one.start()
        assert await one.store.claim_runs(worker, (QUEUE,), (TYPE,), 10, format=1) == []
        assert len(await one.claim()) == 1


@check(stores=2)
async def check_concurrent_claims_share_no_run(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        batch = [new_run() for _ in range(60)]
        await one.store.create_runs(batch)
        runs = {run.run_id for run in batch}
        answers = await asyncio.gather(*(each.claim(7) for _ in range(10) for each in (one, two)))
        claimed = [each.run.run_id for answer in answers for each in answer]
        assert len(claimed) == len(set(claimed))
        assert all(len(answer) <= 7 for answer in answers)
        while left := await one.claim(50):  # what one skipped because another had it locked
            claimed += [each.run.run_id for each in left]
        assert set(claimed) == runs
        assert {
            **await one.store.owned_runs(one.worker),
            **await one.store.owned_runs(two.worker),
        }.keys() == runs


@check()
async def check_a_message_wakes_a_parked_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.written(Transition(run.run.run_id, run.run.epoch, release=Release(wake_in=HOUR)))
        assert await one.claim() == []
        await one.send(message(run.run.run_id, internal=True))
        (claimed,) = await one.claim()
        assert (claimed.run.run_id, claimed.run.epoch, claimed.run.wake_at) == (
            run.run.run_id,
            run.run.epoch + 1,
            None,
        )
        assert len(claimed.messages) == 1


@check()
async def check_a_message_does_not_wake_a_held_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for hold in (Hold.BLOCKED, Hold.PAUSED, Hold.QUARANTINED):
            run = await one.own()
            await one.written(
                Transition(
                    run.run.run_id, run.run.epoch, release=Release(wake_in=HOUR, hold=hold, reason="why")
                )
            )
            await one.send(message(run.run.run_id))
        assert await one.claim() == []
        ready = await one.start()
        assert await one.claimed_ids() == {ready.run_id}


@check()
async def check_a_blocked_run_wakes_at_its_instant(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        held = Release(wake_in=0, hold=Hold.BLOCKED, reason="why")
        await one.written(Transition(run.run.run_id, run.run.epoch, release=held))
        await one.send(message(run.run.run_id))
        (claimed,) = await one.claim()
        assert claimed.run.run_id == run.run.run_id
        assert len(claimed.messages) == 1


@check()
async def check_a_higher_priority_is_claimed_first(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        low = [await one.start(priority=5) for _ in range(2)]
        high = await one.start(priority=1)
        first = await one.claimed_ids(1)
        assert first == {high.run_id}
        assert await one.claimed_ids() == {run.run_id for run in low}


@check()
async def check_lower_priorities_get_a_share(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.store.create_runs([new_run(priority=1) for _ in range(40)])
        low = {(await one.start(priority=5)).run_id for _ in range(3)}
        claimed = await one.claimed_ids(20)
        assert claimed & low
        assert len(claimed - low) > 10


@check()
async def check_due_runs_and_messages_do_not_starve_each_other(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        called: set[str] = set()
        for _ in range(10):
            run = await one.own()
            await one.written(Transition(run.run.run_id, run.run.epoch, release=Release()))
            called.add(run.run.run_id)
        await one.send(*(message(run_id) for run_id in called))
        await one.store.create_runs([new_run() for _ in range(40)])
        claimed = await one.claimed_ids(10)
        assert claimed & called
        assert claimed - called


@check()
async def check_a_run_with_many_messages_is_claimed_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        noisy, quiet = await one.own(), await one.own()
        for run in (noisy, quiet):
            await one.written(Transition(run.run.run_id, run.run.epoch, release=Release()))
        await one.send(*(message(noisy.run.run_id) for _ in range(100)), message(quiet.run.run_id))
        claimed = await one.claim(2)
        assert [each.run.run_id for each in claimed] == [noisy.run.run_id, quiet.run.run_id]


@check()
async def check_closed_runs_are_never_claimed(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.close(run, RunStatus.CANCELED)
        await one.store.send([message(run.run.run_id, internal=True)])
        assert await one.claim() == []
        assert await one.probationer() is None


@check(stores=2)
async def check_a_run_with_two_deaths_is_claimed_only_alone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        await die_with_runs(open_store, one)
        assert await one.probationer() is None  # one death is none
        await die_with_runs(open_store, one)
        healthy = await one.start()
        assert await one.claimed_ids(10) == {healthy.run_id}
        probationer = await one.probationer()
        assert probationer is not None
        assert (probationer.run.run_id, probationer.run.deaths, probationer.run.owner) == (
            run.run_id,
            2,
            one.worker,
        )
        assert len(probationer.events) == 1
        assert await one.probationer() is None


@check(stores=2)
async def check_a_proven_run_is_off_probation(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        for _ in range(2):
            await die_with_runs(open_store, one)
        probationer = await one.probationer()
        assert probationer is not None
        await one.written(
            Transition(
                run.run_id, probationer.run.epoch, (event(2),), proven=True, release=Release(wake_in=0)
            )
        )
        assert (await one.record(run.run_id, run.workflow_id)).deaths == 0
        assert await one.claimed_ids() == {run.run_id}


@check()
async def check_owned_runs_are_those_of_one_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.store.owned_runs(one.worker) == {}
        run = await one.own()
        other = await one.own()
        await one.close(other)
        assert await one.store.owned_runs(one.worker) == {run.run.run_id: run.run.epoch}
        assert await one.store.owned_runs("nobody") == {}


@check()
async def check_an_owned_run_is_reloaded_as_it_is(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(new_activity(1))
        await one.send(message(run.run.run_id, "hello"))
        found = await one.store.reload_run(one.worker, run.run.run_id, run.run.epoch)
        assert found is not None
        assert found.run == await one.again(run)
        assert (found.run.epoch, found.run.history_length) == (run.run.epoch, 2)
        assert [row.seq for row in found.events] == [1, 2]
        assert [each.message_id for each in found.messages] == ["hello"]
        assert [each.id for each in found.activities] == [1]


@check()
async def check_a_run_of_another_owner_or_epoch_is_not_reloaded(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        assert await one.store.reload_run("nobody", run.run.run_id, run.run.epoch) is None
        assert await one.store.reload_run(one.worker, run.run.run_id, run.run.epoch + 1) is None
        await one.written(Transition(run.run.run_id, run.run.epoch, release=Release()))
        assert await one.store.reload_run(one.worker, run.run.run_id, run.run.epoch) is None


@check()
async def check_the_next_wake_is_that_of_the_first_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.store.next_wake((QUEUE,)) is None
        await one.start(delay=2 * HOUR, priority=1)
        await one.start(delay=HOUR, priority=5)
        await one.start(task_queue="other")
        await one.claim(queues=("other",))
        wake = await one.store.next_wake((QUEUE, "other"))
        assert wake is not None
        assert HOUR - 60_000_000 < wake <= HOUR
        await one.start()
        assert await one.store.next_wake((QUEUE,)) == 0
        assert await one.store.next_wake(("other",)) is None


@check()
async def check_the_next_wake_is_that_of_a_queued_activity(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            new_activity(1, due_in=HOUR, priority=4), new_activity(2, due_in=2 * HOUR, priority=1)
        )
        wake = await one.store.next_wake((QUEUE,))
        assert wake is not None
        assert HOUR - 60_000_000 < wake <= HOUR
        assert await one.store.next_wake(("other",)) is None


@check()
async def check_the_next_wake_is_not_what_has_been_due_for_long(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(new_activity(1))
        await one.start()

        async def passed() -> bool:
            return await one.store.next_wake((QUEUE,)) is None

        await eventually(passed)
        await one.start(delay=HOUR)
        wake = await one.store.next_wake((QUEUE,))
        assert wake is not None
        assert HOUR - 60_000_000 < wake <= HOUR
        assert len(await one.claim()) == 1  # ready all the same
