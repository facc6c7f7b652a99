"""Workflows that wait for a key, or for their share, before they begin."""

from __future__ import annotations

import asyncio

from durable._engine.lanes import WORKFLOWS
from durable._internal.ids import uuid7
from durable.history import EventType
from durable.store import Close, Hold, Lane, Message, NewRun, Operated, RunStatus, Transition
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    HOUR,
    QUEUE,
    Room,
    child_start,
    closing,
    continuing,
    ended,
    event,
    following,
    message,
    new_run,
    room,
)


def lane(key: str = "k", most: int = 2, weight: int = 1) -> Lane:
    """Where workflows of a concurrency key wait."""
    return Lane(f"0000 {key}", key=key, most=most, weight=weight)


async def started(one: Room, count: int, **fields: object) -> list[NewRun]:
    """Start runs that wait, in this order."""
    return [await one.start(**({"lane": lane()} | fields)) for _ in range(count)]


@check()
async def check_no_more_workflows_of_a_key_run_than_its_limit(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = await started(one, 4)
        plain = await one.start()
        claimed = {run.run.run_id: run for run in await one.claim()}
        assert set(claimed) == {runs[0].run_id, runs[1].run_id, plain.run_id}
        assert await one.claim() == []
        known = await one.store.read_key(WORKFLOWS, "k")
        assert (known.most, known.pinned, known.running, known.waiting) == (2, None, 2, 2)
        # One that has no owner for a while has its slot.
        first = claimed[runs[0].run_id]
        assert first.run.hold is Hold.NONE
        await one.close(claimed[runs[1].run_id])
        assert await one.claimed_ids() == {runs[2].run_id}


@check()
async def check_a_workflow_that_waits_is_woken_by_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await started(one, 2)
        waiting = await one.start(lane=lane())
        await one.claim()
        await one.send(message(waiting.run_id))
        assert await one.claim() == []
        assert await one.probationer() is None
        assert await one.store.unpause(waiting.run_id, (Hold.BLOCKED, Hold.QUARANTINED)) is Operated.UNCHANGED
        assert await one.store.pause(waiting.run_id, "why") is Operated.CHANGED
        assert await one.store.unpause(waiting.run_id, (Hold.PAUSED,)) is Operated.CHANGED
        assert await one.claim() == []
        record = await one.record(waiting.run_id, waiting.workflow_id)
        assert (record.wake_at, record.owner, record.status) == (None, None, RunStatus.RUNNING)


@check()
async def check_a_cancel_request_condemns_a_workflow_that_waits(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [await one.start(lane=lane(most=1)) for _ in range(3)]
        (running,) = await one.claim()
        waiting, paused = [run for run in runs if run.run_id != running.run.run_id]
        assert await one.store.pause(paused.run_id, "why") is Operated.CHANGED
        for run in runs:
            kind = int(EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED)
            await one.send(Message(run.run_id, uuid7(), kind, b"{}"))
        assert [run.run_id for run in await one.store.condemned_runs(10)] == [waiting.run_id]
        close = Close(RunStatus.CANCELED)
        for held in (running.run.run_id, paused.run_id):
            assert not await one.store.terminate(held, ended, close, waiting=True)
        assert await one.store.terminate(waiting.run_id, ended, close, waiting=True)
        assert not await one.store.terminate(waiting.run_id, ended, close, waiting=True)
        assert await one.store.condemned_runs(10) == []
        assert await one.unread(waiting.run_id) == []
        record = await one.record(waiting.run_id, waiting.workflow_id)
        assert (record.status, record.history_length) == (RunStatus.CANCELED, 2)


@check()
async def check_a_workflow_that_is_paused_waits_on(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        paused, other = await started(one, 2, lane=lane(most=1))
        assert await one.store.pause(paused.run_id, "why") is Operated.CHANGED
        assert await one.claimed_ids() == {other.run_id}
        assert await one.store.unpause(paused.run_id, (Hold.PAUSED,)) is Operated.CHANGED
        await one.store.set_key(WORKFLOWS, "k", 2)
        assert await one.claimed_ids() == {paused.run_id}


@check()
async def check_the_end_of_a_workflow_that_waits_is_no_slot(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        first, second, third = await started(one, 3, lane=lane(most=1))
        (claimed,) = await one.claim()
        assert claimed.run.run_id == first.run_id
        assert await one.store.terminate(second.run_id, ended, Close(RunStatus.TERMINATED), [])
        assert await one.claim() == []
        assert await one.store.terminate(first.run_id, ended, Close(RunStatus.TERMINATED), [])
        assert await one.claimed_ids() == {third.run_id}


@check()
async def check_a_workflow_that_goes_on_keeps_its_slot(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await started(one, 2, lane=lane(most=1))
        (first,) = await one.claim()
        successor = following(first, lane=lane(most=1), admitted=True)
        await one.written(continuing(first, successor))
        (again,) = await one.claim()
        assert again.run.run_id == successor.run_id
        assert (await one.store.read_key(WORKFLOWS, "k")).running == 1
        await one.close(again)
        assert len(await one.claim()) == 1


@check()
async def check_children_wait_for_keys(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent = await one.own()
        children = [new_run(lane=lane(most=1), parent_run_id=parent.run.run_id) for _ in range(2)]
        starts = tuple(child_start(child, f"started-{n}") for n, child in enumerate(children))
        await one.written(Transition(parent.run.run_id, parent.run.epoch, (event(2),), starts=starts))
        assert len(await one.unread_ids(parent.run.run_id)) == 2
        assert len([run for run in await one.claim() if run.run.run_id != parent.run.run_id]) == 1


@check()
async def check_a_delayed_workflow_waits_for_both(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await started(one, 1, delay=HOUR)
        assert await one.claim() == []
        wake = await one.store.next_wake([QUEUE])
        assert wake is not None
        assert 0 < wake <= HOUR


@check()
async def check_a_repeated_start_waits_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start(lane=lane(most=1))
        assert await one.claimed_ids() == {run.run_id}
        await one.store.create_runs(
            [new_run(run_id=run.run_id, workflow_id=run.workflow_id, lane=lane(most=1))]
        )
        assert (await one.store.read_key(WORKFLOWS, "k")).running == 1
        assert (await one.record(run.run_id, run.workflow_id)).owner == one.worker


@check(stores=2)
async def check_workers_that_claim_at_the_same_time_keep_a_limit_of_workflows(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as other:
        await started(one, 30, lane=lane(most=3))
        begun = 0
        while begun < 30:
            claimed = await asyncio.gather(*(each.claim(2) for each in [one, other] * 3))
            found = [run for runs in claimed for run in runs]
            assert 1 <= len(found) <= 3
            assert (await one.store.read_key(WORKFLOWS, "k")).running == len(found)
            begun += len(found)
            await one.written(*(closing(run) for run in found))


@check()
async def check_workflows_of_one_fairness_key_do_not_keep_others_waiting(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for _ in range(60):
            await one.start(lane=Lane("0000 crowd"))
        few = {(await one.start(lane=Lane("0001 few"))).run_id for _ in range(3)}
        plain = {(await one.start()).run_id for _ in range(3)}
        order: list[str] = []
        while len(order) < 30:
            order += [run.run.run_id for run in await one.claim(2)]
        assert few <= set(order), "lots are drawn between two lanes"
        assert plain <= set(order), "half of a claim is left to what is in no lane"
        rest = 0
        while claimed := await one.claim(10):
            rest += len(claimed)
        assert len(order) + rest == 66
