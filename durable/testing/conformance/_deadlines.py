"""Workflows that are open for longer than they should be."""

from __future__ import annotations

from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import HOUR, room


@check()
async def check_one_worker_looks_for_late_runs_of_a_type_until_it_stops_asking(
    open_store: OpenStore,
) -> None:
    async with room(open_store) as one:
        store = one.store
        first = await store.take_deadline_turn("t", "a", HOUR)
        assert first is not None
        assert (first.near, first.past) == (0, 0)
        assert abs(first.now - await store.now()) < HOUR
        assert await store.take_deadline_turn("t", "b", HOUR, near=99, past=99) is None
        assert await store.take_deadline_turn("another type", "b", HOUR) is not None
        told = await store.take_deadline_turn("t", "a", HOUR, near=7, past=5)
        assert told is not None
        assert (told.near, told.past) == (7, 5)
        kept = await store.take_deadline_turn("t", "a", 0, near=6, past=6)
        assert kept is not None
        assert (kept.near, kept.past) == (7, 6)
        taken = await store.take_deadline_turn("t", "b", HOUR)
        assert taken is not None
        assert (taken.near, taken.past) == (7, 6), "whoever comes next knows what was told"
        assert await store.take_deadline_turn("t", "a", HOUR) is None


@check()
async def check_late_runs_are_open_ones_of_a_type_by_when_they_began(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        early = await one.start()
        late = await one.start()
        await one.start(workflow_type="another")
        waits = await one.start(delay=HOUR)
        closed = await one.own()
        await one.close(closed)
        kind, far = early.workflow_type, 1 << 62
        began = (await store.late_runs(kind, since=0, until=far, told=0, limit=9)).untold
        assert [run.run_id for run in began] == [early.run_id, late.run_id, waits.run_id]
        assert [run.workflow_id for run in began] == [early.workflow_id, late.workflow_id, waits.workflow_id]
        first, second, third = (run.began_at for run in began)
        assert third - second > HOUR // 2, "a delay is before the beginning"
        if first < second:
            until = await store.late_runs(kind, since=0, until=first, told=0, limit=9)
            assert (until.number, [run.run_id for run in until.untold]) == (1, [early.run_id])
            since = await store.late_runs(kind, since=first, until=far, told=0, limit=9)
            assert (since.number, len(since.untold)) == (2, 2)
        told = await store.late_runs(kind, since=0, until=far, told=second, limit=9)
        assert (told.number, [run.run_id for run in told.untold]) == (3, [waits.run_id])
        some = await store.late_runs(kind, since=0, until=far, told=0, limit=1)
        assert (some.number, [run.run_id for run in some.untold]) == (3, [early.run_id])
