"""How long closed runs are kept, whose turn it is to remove them, and what goes with a run."""

from __future__ import annotations

from durable._engine.retention import RetentionRow
from durable.store import Transition
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import Room, closing, event, message, new_run, room

HOUR = 3_600_000_000


async def closed(one: Room, workflow_type: str) -> str:
    """Return a run of a type that has closed."""
    run = await one.own(workflow_type=workflow_type)
    await one.written(closing(run))
    return run.run.run_id


async def found(one: Room, *, exports: bool = False, limit: int = 10) -> list[str] | None:
    """Take the turn, give it back, and return what was found."""
    runs = await one.store.take_retention_turn(limit, exports=exports, hold=HOUR)
    if runs is None:
        return None
    await one.store.retire([], events=1, pause=0)
    return [run.run_id for run in runs]


@check()
async def check_what_was_set_last_holds_for_a_type(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        assert await store.read_retention() == []
        await store.set_retention(RetentionRow("b", HOUR, True))
        await store.set_retention(RetentionRow("", None))
        await store.set_retention(RetentionRow("b", 2 * HOUR))
        assert await store.read_retention() == [RetentionRow("", None), RetentionRow("b", 2 * HOUR)]
        await store.clear_retention("b")
        await store.clear_retention("c")
        assert await store.read_retention() == [RetentionRow("", None)]


@check()
async def check_a_run_is_overdue_by_the_setting_of_its_type_or_by_that_of_all_others(
    open_store: OpenStore,
) -> None:
    async with room(open_store) as one:
        store = one.store
        first, second, third = [await closed(one, name) for name in ("a", "b", "c")]
        await one.own(workflow_type="a")
        assert await found(one) is None, "nothing is set"
        await store.set_retention(RetentionRow("", 0))
        assert await found(one) == [first, second, third], "the one that closed first is the first"
        assert await found(one, limit=2) == [first, second]
        await store.set_retention(RetentionRow("a", HOUR))
        await store.set_retention(RetentionRow("b", None))
        assert await found(one) == [third]
        await store.set_retention(RetentionRow("c", 0, True))
        assert await found(one) == [], "it is for who exports"
        assert await found(one, exports=True) == [third]
        await store.set_retention(RetentionRow("", 0, True))
        await store.set_retention(RetentionRow("a", 0))
        assert await found(one) == [first]


@check()
async def check_one_at_a_time_has_the_turn(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        run_id = await closed(one, "a")
        await store.set_retention(RetentionRow("a", 0))
        taken = await store.take_retention_turn(10, exports=False, hold=HOUR)
        assert taken is not None
        (run,) = taken
        assert (run.run_id, run.workflow_type, run.length) == (run_id, "a", 2)
        assert await store.take_retention_turn(10, exports=False, hold=HOUR) is None
        await store.retire([], events=10, pause=None)
        assert await store.take_retention_turn(10, exports=False, hold=HOUR) is None, "it was not given back"
        await store.retire([], events=10, pause=HOUR)
        assert await store.take_retention_turn(10, exports=False, hold=HOUR) is None, "not yet"
        await store.retire([], events=10, pause=0)
        assert await store.take_retention_turn(10, exports=False, hold=0) == [run]
        assert await store.take_retention_turn(10, exports=False, hold=0) == [run], "it ran out"


@check()
async def check_what_is_retired_is_gone_and_what_is_open_is_not(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        gone = await closed(one, "a")
        kept = new_run()
        await store.create_runs([kept])
        await store.send([message(kept.run_id)])
        nobody = new_run().run_id
        assert not await store.retire([nobody, gone, kept.run_id], events=10, pause=None)
        assert await store.read_events(gone) == []
        assert await store.find_run(kept.workflow_id) is not None
        assert len(await store.read_messages([kept.run_id])) == 1
        assert not await store.retire([gone], events=10, pause=None)


@check()
async def check_a_long_history_goes_piece_by_piece(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        run = await one.own()
        run_id = run.run.run_id
        await one.written(Transition(run_id, run.run.epoch, events=tuple(event(seq) for seq in range(2, 12))))
        await one.written(closing(run, seq=12))
        assert await store.retire([run_id], events=5, pause=None)
        assert await store.find_run(run.run.workflow_id) is None
        assert len(await store.read_events(run_id)) == 7
        # Nothing is set, and the turn is there all the same, for the rest.
        assert await store.take_retention_turn(10, exports=False, hold=0) == []
        assert await store.retire([], events=5, pause=0)
        assert len(await store.read_events(run_id)) == 2
        assert not await store.retire([], events=5, pause=0)
        assert await store.read_events(run_id) == []
        assert await store.take_retention_turn(10, exports=False, hold=0) is None
