"""The one look at all that a worker looks for: never misses anything, and sees nothing where there is nothing."""

from __future__ import annotations

from durable._engine.lanes import WORKFLOWS
from durable.store import Close, Glance, Lane, Release, RunStatus, Transition
from durable.testing.conformance._queries import question
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import HOUR, QUEUE, Room, event, message, new_activity, room
from durable.testing.conformance._schedules import schedule

NOTHING = Glance(ready=False, overdue=False, asked=False, routed=False, wake_in=None, schedule_in=None)


async def seen(one: Room, *queues: str) -> Glance:
    """What a look at these places shows."""
    return await one.store.glance(queues or (QUEUE,))


@check()
async def check_a_glance_sees_runs_and_messages_of_its_places(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await seen(one) == NOTHING
        await one.start()
        assert (await seen(one)).ready
        assert await seen(one, "another") == NOTHING
        (run,) = await one.claim()
        assert await seen(one) == NOTHING
        await one.send(message(run.run.run_id))
        assert (await seen(one)).ready
        assert await seen(one, "another") == NOTHING
        ((position,),) = [[m.position for m in await one.unread(run.run.run_id)]]
        wake_at = await one.store.now() + HOUR
        await one.written(
            Transition(run.run.run_id, 1, (event(2),), consumed=(position,), release=Release(wake_at=wake_at))
        )
        found = await seen(one)
        assert not found.ready
        assert found.wake_in is not None
        assert 0 < found.wake_in <= HOUR


@check()
async def check_a_glance_sees_what_has_been_due_for_long_at_any_priority(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for priority in (1, 5):
            await one.start(priority=priority, delay=HOUR)
        assert not (await seen(one)).ready
        (run,) = [await one.own(priority=9)]
        await one.written(Transition(run.run.run_id, 1, release=Release(wake_at=1)))
        found = await seen(one)
        assert found.ready
        assert found.wake_in is not None, "what has been due for long does not count as becoming due"
        assert found.wake_in > 0


@check()
async def check_a_glance_sees_activities(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        later, lost = new_activity(1, due_in=HOUR), new_activity(2, close_by=1, due_in=HOUR)
        await one.written(Transition(run.run.run_id, 1, (event(2),), activities=(later,)))
        assert not (found := await seen(one)).ready
        assert found.wake_in is not None
        assert not found.overdue
        await one.written(Transition(run.run.run_id, 1, (event(3, task=3),), activities=(lost,)))
        assert (await seen(one)).overdue
        await one.written(
            Transition(
                run.run.run_id, 1, (event(4, task=4),), activities=(new_activity(3),), activities_done=(2,)
            )
        )
        assert (found := await seen(one)).ready
        assert not found.overdue
        await one.written(
            Transition(run.run.run_id, 1, (event(5, task=5),), close=Close(RunStatus.COMPLETED))
        )
        assert await seen(one) == NOTHING


@check()
async def check_a_glance_sees_what_waits_for_a_key(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.store.set_key(WORKFLOWS, "k", 1)
        await one.start(lane=Lane("0000 k", key="k", most=1, weight=1))
        assert (await seen(one)).ready


@check()
async def check_a_glance_sees_timeouts_queries_and_schedules(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own(run_timeout=1)
        assert (await seen(one)).overdue
        await one.close(run)
        assert await seen(one) == NOTHING
        asked = await one.own()
        await one.store.ask(question(asked.run.run_id))
        assert (await seen(one)).asked
        await one.store.write_schedule(schedule(wake_at=await one.store.now() + HOUR))
        wait = (await seen(one)).schedule_in
        assert wait is not None
        assert 0 < wait <= HOUR
