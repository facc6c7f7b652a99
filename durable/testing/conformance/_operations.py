"""What operators do: runs that are paused and freed, removed, and gone back in."""

from __future__ import annotations

from durable._engine.operations import Reset, ResetView
from durable.store import Close, Hold, Operated, Release, RunStatus, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import closing, event, message, new_run, room


@check()
async def check_a_paused_run_is_nobodys_until_it_goes_on(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run()
        await one.store.create_runs([run])
        assert await one.store.pause(run.run_id, "why") is Operated.CHANGED
        assert await one.store.pause(run.run_id, "again") is Operated.UNCHANGED
        await one.store.send([message(run.run_id)])
        assert await one.claim() == []
        record = await one.record(run.run_id, run.workflow_id)
        assert (record.hold, record.reason, record.wake_at) == (Hold.PAUSED, "why", None)
        assert await one.store.unpause(run.run_id, [Hold.BLOCKED]) is Operated.UNCHANGED
        assert await one.store.unpause(run.run_id, [Hold.PAUSED]) is Operated.CHANGED
        (claimed,) = await one.claim()
        assert (claimed.run.run_id, claimed.run.hold, claimed.run.reason) == (run.run_id, Hold.NONE, "")
        nobody = "00000000-0000-4000-8000-000000000000"
        for outcome in (
            await one.store.pause(nobody, ""),
            await one.store.unpause(nobody, [Hold.PAUSED]),
            await one.store.purge(nobody),
            await one.store.purge("no run id"),
        ):
            assert outcome is Operated.NOT_FOUND


@check()
async def check_an_owner_gives_a_paused_run_up_and_it_stays_paused(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        run_id, epoch = run.run.run_id, run.run.epoch
        assert await one.store.paused_runs(one.worker) == []
        assert await one.store.pause(run_id, "why") is Operated.CHANGED
        assert await one.store.paused_runs(one.worker) == [run_id]
        # Its owner goes on until then; what it proves lifts nothing.
        await one.written(Transition(run_id, epoch, events=(event(2),), proven=True))
        await one.written(Transition(run_id, epoch, release=Release(wake_in=0)))
        record = await one.again(run)
        assert (record.hold, record.reason, record.owner, record.wake_at) == (Hold.PAUSED, "why", None, None)
        assert await one.claim() == []
        assert await one.store.paused_runs(one.worker) == []


@check()
async def check_only_a_closed_run_is_purged(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        run_id = run.run.run_id
        assert await one.store.purge(run_id) is Operated.UNCHANGED
        await one.written(closing(run))
        assert await one.store.pause(run_id, "") is Operated.CLOSED
        assert await one.store.unpause(run_id, [Hold.PAUSED]) is Operated.CLOSED
        assert await one.store.purge(run_id) is Operated.CHANGED
        assert await one.store.find_run(run.run.workflow_id) is None
        assert await one.store.read_events(run_id) == []
        assert await one.store.purge(run_id) is Operated.NOT_FOUND


@check()
async def check_a_reset_ends_one_run_and_begins_another_or_does_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        run_id, workflow_id = run.run.run_id, run.run.workflow_id
        await one.written(Transition(run_id, run.run.epoch, events=(event(2), event(3))))
        await one.store.send([message(run_id, "unread")])
        new = new_run().run_id
        seen: list[ResetView] = []

        def refuse(view: ResetView) -> None:
            seen.append(view)

        assert not await one.store.reset(run_id, new, run_id, refuse, after=2)
        (view,) = seen
        assert [row.seq for row in view.events] == [3]
        assert [unread.message_id for unread in view.messages] == ["unread"]
        assert (await one.again(run)).status is RunStatus.RUNNING
        assert await one.store.find_run(workflow_id, new) is None

        def plan(view: ResetView) -> Reset:
            return Reset(
                new,
                run_id,
                2,
                b"started",
                event(3, data=b"reset"),
                run_id,
                close=(event(4, data=b"end"), Close(RunStatus.TERMINATED)),
                messages=view.messages,
            )

        assert await one.store.reset(run_id, new, run_id, plan, after=2)
        assert (await one.again(run)).status is RunStatus.TERMINATED
        assert [row.data for row in await one.store.read_events(run_id)][-1] == b"end"
        record = await one.record(new, workflow_id)
        assert (record.status, record.first_run_id) == (RunStatus.RUNNING, run_id)
        rows = await one.store.read_events(new)
        old = await one.store.read_events(run_id)
        assert [row.seq for row in rows] == [1, 2, 3]
        assert (rows[0].data, rows[0].time, rows[1], rows[2].data) == (
            b"started",
            old[0].time,
            old[1],
            b"reset",
        )
        assert [unread.message_id for unread in await one.store.read_messages([new])] == ["unread"]
        # The owner of the old run is told at its next step; again it is no reset.
        lost = await one.store.commit([Transition(run_id, run.run.epoch, events=(event(4),))])
        assert lost.verdicts == (Verdict.LOST,)
        assert not await one.store.reset(run_id, new, run_id, plan, after=2)
        assert not await one.store.reset(run_id, new_run().run_id, None, plan)
