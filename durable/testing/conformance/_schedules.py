"""Schedules: each is written whole under its revision, with the runs it starts, and given out when it is due."""

from __future__ import annotations

import asyncio
from typing import Any

from durable._internal.ids import uuid7
from durable.store import NewRun, ScheduleWrite, StartOutcome
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import EVERY_BYTE, HOUR, Room, continuing, eventually, new_run, room

LONG_AGO = 1


def schedule(schedule_id: str | None = None, **fields: Any) -> ScheduleWrite:
    """A schedule that is not there yet, and due."""
    given: dict[str, Any] = {
        "revision": None,
        "record": b"record",
        "progress": b"progress",
        "wake_at": LONG_AGO,
    }
    return ScheduleWrite(schedule_id=schedule_id or f"schedule-{uuid7()}", **(given | fields))


async def revision(one: Room, schedule_id: str) -> int:
    """The revision of a schedule that is there."""
    row = await one.store.find_schedule(schedule_id)
    assert row is not None
    return row.revision


async def claim(one: Room, limit: int = 10) -> list[str]:
    """The ids of the schedules that a claim gives, in its order."""
    return [row.schedule_id for row in await one.store.claim_schedules(limit)]


@check()
async def check_a_schedule_is_read_as_it_was_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new = schedule(record=EVERY_BYTE, progress=EVERY_BYTE[::-1], wake_at=None)
        before = await one.store.now()
        assert await one.store.write_schedule(new) == []
        row = await one.store.find_schedule(new.schedule_id)
        assert row is not None
        assert (row.record, row.progress, row.wake_at) == (new.record, new.progress, None)
        assert before <= row.now <= await one.store.now()
        assert await one.store.find_schedule("another") is None


@check()
async def check_a_schedule_is_created_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new, run = schedule(), new_run()
        assert await one.store.write_schedule(new) is not None
        again = schedule(new.schedule_id, record=b"another", starts=(run,))
        assert await one.store.write_schedule(again) is None
        row = await one.store.find_schedule(new.schedule_id)
        assert row is not None
        assert row.record == b"record"
        assert await one.store.find_run(run.workflow_id) is None, "nothing of it was written"


@check()
async def check_only_the_present_revision_of_a_schedule_is_replaced(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new = schedule()
        await one.store.write_schedule(new)
        first = await revision(one, new.schedule_id)
        assert await one.store.write_schedule(schedule(new.schedule_id, revision=first, record=b"2")) == []
        stale = schedule(new.schedule_id, revision=first, record=b"3", starts=(run := new_run(),))
        assert await one.store.write_schedule(stale) is None
        row = await one.store.find_schedule(new.schedule_id)
        assert row is not None
        assert (row.record, row.revision == first) == (b"2", False)
        assert await one.store.find_run(run.workflow_id) is None, "nothing of it was written"
        assert await one.store.write_schedule(schedule(revision=1)) is None, "there is no such schedule"


@check()
async def check_a_schedule_made_anew_has_no_revision_of_the_old_one(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new = schedule()
        await one.store.write_schedule(new)
        old = await revision(one, new.schedule_id)
        assert await one.store.delete_schedule(new.schedule_id)
        assert not await one.store.delete_schedule(new.schedule_id)
        assert await one.store.find_schedule(new.schedule_id) is None
        await one.store.write_schedule(new)
        assert await one.store.write_schedule(schedule(new.schedule_id, revision=old)) is None


@check()
async def check_what_a_schedule_starts_comes_with_its_write(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        there = await one.start()
        runs = (new_run(), new_run(workflow_id=there.workflow_id), there)
        new = schedule(starts=runs)
        verdicts = await one.store.write_schedule(new)
        assert verdicts is not None
        assert [verdict.outcome for verdict in verdicts] == [
            StartOutcome.STARTED,
            StartOutcome.REJECTED,
            StartOutcome.SAME,
        ]
        assert verdicts[1].run_id == there.run_id
        assert len(await one.store.read_events(runs[0].run_id)) == 1
        assert {each.run.run_id for each in await one.claim()} == {runs[0].run_id, there.run_id}


@check()
async def check_schedules_are_listed_by_the_bytes_of_their_ids(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        names = ["b", "a", "B", "ä", "a-1", "Z"]
        for name in names:
            await one.store.write_schedule(schedule(name))
        ordered = sorted(names, key=str.encode)
        assert [row.schedule_id for row in await one.store.list_schedules("", 10)] == ordered
        assert [row.schedule_id for row in await one.store.list_schedules(ordered[1], 2)] == ordered[2:4]


@check()
async def check_a_due_schedule_is_given_to_one_claim_until_it_is_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        later, due, never = schedule(wake_at=2), schedule(), schedule(wake_at=None)
        future = schedule(wake_at=await one.store.now() + HOUR)
        for each in (later, due, never, future):
            await one.store.write_schedule(each)
        assert await one.store.next_schedule() == 0
        assert await claim(one, 1) == [due.schedule_id]
        assert await claim(one) == [later.schedule_id]
        assert await claim(one) == []
        wait = await one.store.next_schedule()
        assert wait is not None
        assert 0 < wait < HOUR
        again = schedule(due.schedule_id, revision=await revision(one, due.schedule_id))
        await one.store.write_schedule(again)
        assert await claim(one) == [due.schedule_id], "whoever wrote it has given it back"


@check()
async def check_a_schedule_becomes_due_by_the_clock_of_the_database(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.store.next_schedule() is None
        soon = schedule(wake_at=await one.store.now() + 100_000)
        await one.store.write_schedule(soon)

        async def is_due() -> bool:
            return await claim(one) == [soon.schedule_id]

        await eventually(is_due)
        row = await one.store.find_schedule(soon.schedule_id)
        assert row is not None
        assert soon.wake_at is not None
        assert row.now >= soon.wake_at


@check(stores=2)
async def check_claims_of_schedules_at_the_same_time_share_them(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as other:
        wanted = [schedule() for _ in range(20)]
        for each in wanted:
            await one.store.write_schedule(each)
        parts = await asyncio.gather(*(claim(each, 5) for each in (one, other) * 4))
        parts.append(await claim(one, 20))
        found = [schedule_id for part in parts for schedule_id in part]
        assert sorted(found) == sorted(each.schedule_id for each in wanted)


@check()
async def check_a_schedule_whose_running_action_has_ended_is_found(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, other = await one.own(), await one.own()

        def waiting_for(*runs: NewRun | Any) -> ScheduleWrite:
            return schedule(wake_at=None, running=tuple((each.workflow_id, each.run_id) for each in runs))

        both, last, gone = waiting_for(run.run, other.run), waiting_for(other.run), waiting_for(new_run())
        for each in (both, last, schedule(wake_at=None)):
            await one.store.write_schedule(each)
        assert list(await one.store.ended_schedules(10)) == []
        await one.close(run)
        assert list(await one.store.ended_schedules(10)) == [both.schedule_id]
        await one.start(workflow_id=run.run.workflow_id)
        assert list(await one.store.ended_schedules(10)) == [both.schedule_id], (
            "another chain of that id does not count"
        )
        await one.store.write_schedule(gone)
        assert set(await one.store.ended_schedules(10)) == {both.schedule_id, gone.schedule_id}
        assert len(await one.store.ended_schedules(1)) == 1
        settled = schedule(both.schedule_id, revision=await revision(one, both.schedule_id), wake_at=None)
        await one.store.write_schedule(settled)
        assert list(await one.store.ended_schedules(10)) == [gone.schedule_id]
        assert await one.store.delete_schedule(gone.schedule_id)


@check()
async def check_a_chain_that_goes_on_has_not_ended_for_a_schedule(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.store.write_schedule(
            schedule(wake_at=None, running=((run.run.workflow_id, run.run.run_id),))
        )
        await one.written(continuing(run))
        assert list(await one.store.ended_schedules(10)) == []
