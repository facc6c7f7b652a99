"""Schedules and time: what becomes of instants that pass while nobody is there, over clock changes, and in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from durable import Client, Worker, workflow
from durable._engine.schedules.rows import ScheduleWrite, decode_progress, encode_schedule
from durable._internal.instants import from_datetime
from durable.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleInfo,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from durable.converter import DataConverter
from durable.exceptions import StoreUnavailableError
from durable.store import beneath
from durable.store.sqlite import open as open_sqlite
from tests.scenarios.rig import PATIENCE, Env, until
from tests.scenarios.test_schedules import NEVER_SOON, action, finish, linger, note, running, started, taken
from tests.store.codecs import Nonces

NEW_YORK = ScheduleSpec(
    cron_expressions=["30 1,2 7-9 3 *", "30 1,2 1-2 11 *"],
    start_at=datetime(2026, 1, 1, tzinfo=UTC),
    end_at=datetime(2026, 12, 31, tzinfo=UTC),
    time_zone_name="America/New_York",
)
"""Two fixed times on the days of both clock changes and beside them."""

MARCH = [
    "2026-03-07T06:30:00Z",
    "2026-03-07T07:30:00Z",
    "2026-03-08T06:30:00Z",
    "2026-03-08T07:00:00Z",  # 02:30 does not exist: the first instant behind the jump, 03:00
    "2026-03-09T05:30:00Z",
    "2026-03-09T06:30:00Z",
]
NOVEMBER = [
    "2026-11-01T05:30:00Z",  # 01:30 comes twice: the first time only
    "2026-11-01T07:30:00Z",
    "2026-11-02T06:30:00Z",
    "2026-11-02T07:30:00Z",
]
ALLOW_ALL = SchedulePolicy(ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=timedelta(days=36_500))
"""As long as these tests may be run: the dates above do not move."""


async def set_back(client: Client, handle: ScheduleHandle, to: datetime) -> None:
    """Let a schedule have been looked at then for the last time, as when every worker has been down since."""
    row = await client.store.find_schedule(handle.id)
    assert row is not None
    at = from_datetime(to, "to")
    progress = replace(decode_progress(row.progress), created_at=at, cursor=at)
    write = ScheduleWrite(handle.id, row.revision, row.record, encode_schedule(progress), at)
    assert await client.store.write_schedule(write) == []


async def settled(
    handle: ScheduleHandle, what: str, look: Callable[[ScheduleInfo], bool]
) -> ScheduleDescription:
    async def seen() -> ScheduleDescription | None:
        told = await handle.describe()
        return told if look(told.info) else None

    found: ScheduleDescription = await until(what, seen)
    return found


async def test_over_both_clock_changes_with_the_workers_down_each_instant_is_taken_once(plain: Env) -> None:
    handle = await plain.client.create_schedule(
        "dst", Schedule(action(note("run"), "d"), NEW_YORK, ALLOW_ALL)
    )
    await set_back(plain.client, handle, datetime(2026, 3, 7, tzinfo=UTC))
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(plain.worker(note))
        told = await taken(handle, len(MARCH + NOVEMBER))
        assert started(told) == [f"d-{instant}" for instant in MARCH + NOVEMBER][-10:]
        assert told.info.num_actions == len(MARCH + NOVEMBER)
        for instant in MARCH + NOVEMBER:
            run = plain.client.get_workflow_handle(f"d-{instant}")
            assert (await run.result(timeout=PATIENCE)).split()[2] == instant.replace("Z", "+00:00")
        assert not (await handle.describe()).info.next_action_times


@pytest.mark.sqlite
async def test_a_worker_that_is_down_from_spring_to_autumn_on_a_clock_of_its_own(tmp_path: Path) -> None:
    clock = [from_datetime(datetime(2026, 3, 8, 6, 45, tzinfo=UTC), "now")]
    store = await open_sqlite(f"sqlite:///{tmp_path}/clock.db", clock=lambda: clock[0])
    client = Client(store, namespace="default", identity="test", data_converter=DataConverter())

    def it_is(text: str) -> None:
        clock[0] = from_datetime(datetime.fromisoformat(text), "now")

    async with client:
        handle = await client.create_schedule("dst", Schedule(action(note("run"), "d"), NEW_YORK, ALLOW_ALL))
        async with Worker(client, workflows=[note], activities=[]):
            it_is("2026-03-08T06:59:59+00:00")
            assert (await handle.describe()).info.num_actions == 0
            it_is("2026-03-08T07:00:00+00:00")
            assert started(await taken(handle, 1)) == ["d-2026-03-08T07:00:00Z"]
        it_is("2026-11-01T06:30:00+00:00")  # it is 01:30 in New York, for the second time
        async with Worker(client, workflows=[note], activities=[]):
            told = await taken(handle, 4)
            expected = ["2026-03-08T07:00:00Z", "2026-03-09T05:30:00Z", "2026-03-09T06:30:00Z", NOVEMBER[0]]
            assert started(told) == [f"d-{instant}" for instant in expected]


async def test_what_is_older_than_the_catchup_window_is_counted_and_not_taken(plain: Env) -> None:
    since_summer = datetime.now(UTC) - datetime(2026, 7, 1, tzinfo=UTC)
    policy = SchedulePolicy(ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=since_summer)
    handle = await plain.client.create_schedule("dst", Schedule(action(note("run"), "d"), NEW_YORK, policy))
    await set_back(plain.client, handle, datetime(2026, 3, 7, tzinfo=UTC))
    async with plain.worker(note):
        told = await taken(handle, len(NOVEMBER))
        assert started(told) == [f"d-{instant}" for instant in NOVEMBER]
        assert told.info.num_actions_missed_catchup_window == len(MARCH)


async def test_skipped_days_are_left_out(plain: Env) -> None:
    holiday = ScheduleCalendarSpec(
        month=[ScheduleRange(3)],
        day_of_month=[ScheduleRange(8)],
        hour=[ScheduleRange(0, 23)],
        minute=[ScheduleRange(0, 59)],
        second=[ScheduleRange(0, 59)],
    )
    spec = ScheduleSpec(
        cron_expressions=["0 9 7-9 3 *"], skip=[holiday], end_at=datetime(2026, 12, 1, tzinfo=UTC)
    )
    handle = await plain.client.create_schedule("days", Schedule(action(note("run"), "d"), spec, ALLOW_ALL))
    await set_back(plain.client, handle, datetime(2026, 3, 1, tzinfo=UTC))
    async with plain.worker(note):
        assert started(await taken(handle, 2)) == ["d-2026-03-07T09:00:00Z", "d-2026-03-09T09:00:00Z"]
        run = await plain.client.get_workflow_handle("d-2026-03-09T09:00:00Z").result(timeout=PATIENCE)
        assert run.split()[3] == "2026-03-07T09:00:00+00:00", (
            "the interval of data reaches over what is skipped"
        )


async def test_an_update_and_a_pause_come_behind_what_was_due_before(plain: Env) -> None:
    handle = await plain.client.create_schedule(
        "dst", Schedule(action(note("old"), "d"), NEW_YORK, ALLOW_ALL)
    )
    await set_back(plain.client, handle, datetime(2026, 3, 7, tzinfo=UTC))
    await handle.pause(note="no worker was there yet")
    told = await handle.describe()
    assert told.info.num_actions == len(MARCH + NOVEMBER), "they were due before"
    assert told.schedule.state.paused


async def test_an_end_is_found_without_any_hint(plain: Env) -> None:
    def nothing(method: Any, *args: Any) -> None:
        """Lose the hint."""

    plain.store.hooks["hint"] = nothing
    schedule = Schedule(
        action(linger("x"), "a"), NEVER_SOON, SchedulePolicy(ScheduleOverlapPolicy.BUFFER_ONE)
    )
    async with plain.worker(linger):
        handle = await plain.client.create_schedule("buffers", schedule, trigger_immediately=True)
        (first,) = started(await taken(handle, 1))
        await handle.trigger()
        await plain.client.get_workflow_handle(first).terminate()
        second = started(await taken(handle, 2))[1]
        await handle.trigger()
        await plain.client.get_workflow_handle(second).signal(finish("now"))
        assert await plain.client.get_workflow_handle(second).result(timeout=PATIENCE) == "now"
        third = started(await taken(handle, 3))[2]
        assert running(await handle.describe()) == [third]
        await plain.client.get_workflow_handle(third).terminate()


async def test_a_workflow_of_a_stranger_is_in_the_way_of_one_action_only(plain: Env) -> None:
    hourly = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))])
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    async with plain.worker(note, linger):
        stranger = await plain.start(linger("x"), id="hour-2026-03-01T13:00:00Z")
        handle = await plain.client.create_schedule(
            "hourly",
            Schedule(action(note("run"), "hour"), hourly, SchedulePolicy(ScheduleOverlapPolicy.BUFFER_ALL)),
            backfill=[ScheduleBackfill(noon, noon + timedelta(hours=2))],
        )
        told = await settled(
            handle,
            "the other is taken",
            lambda info: info.num_actions_skipped_overlap == 1 and info.num_actions == 1,
        )
        assert started(told) == ["hour-2026-03-01T14:00:00Z"]
        await stranger.signal(finish("now"))
        await stranger.result(timeout=PATIENCE)


async def test_a_request_in_doubt_is_made_once(plain: Env) -> None:
    doubtful = 1

    async def write(method: Any, *args: Any) -> Any:
        nonlocal doubtful
        answer = await method(*args)
        if doubtful and answer is not None:
            doubtful -= 1
            raise StoreUnavailableError("the answer was lost")
        return answer

    plain.store.hooks["write_schedule"] = write
    schedule = Schedule(action(note("x")), NEVER_SOON, ALLOW_ALL)
    handle = await plain.client.create_schedule("one", schedule)
    with pytest.raises(ScheduleAlreadyRunningError):
        await plain.client.create_schedule("one", schedule)
    doubtful = 1
    await handle.trigger()
    assert (await handle.describe()).info.num_actions == 1
    calls: list[int] = []

    def later(given: ScheduleUpdateInput) -> ScheduleUpdate:
        calls.append(1)
        wanted = given.description.schedule
        wanted.state.remaining_actions += 1
        wanted.state.limited_actions = True
        return ScheduleUpdate(wanted)

    doubtful = 1
    await handle.update(later)
    assert (await handle.describe()).schedule.state.remaining_actions == 1


async def test_an_update_is_asked_again_when_something_changed_meanwhile(plain: Env) -> None:
    handle = await plain.client.create_schedule("one", Schedule(action(note("x")), NEVER_SOON))
    seen: list[str | None] = []

    async def change(given: ScheduleUpdateInput) -> ScheduleUpdate:
        wanted = given.description.schedule
        seen.append(wanted.state.note)
        if len(seen) == 1:
            await handle.pause(note="meanwhile")
        assert isinstance(wanted.action, ScheduleActionStartWorkflow)
        wanted.action.static_summary = "changed"
        return ScheduleUpdate(wanted)

    await handle.update(change)
    told = await handle.describe()
    assert seen == [None, "meanwhile"]
    assert told.schedule.state.paused
    assert isinstance(told.schedule.action, ScheduleActionStartWorkflow)
    assert told.schedule.action.static_summary == "changed"


async def test_requests_at_the_same_time_are_all_made(plain: Env) -> None:
    handle = await plain.client.create_schedule("one", Schedule(action(note("x")), NEVER_SOON, ALLOW_ALL))
    async with plain.worker(note):
        await asyncio.gather(*(handle.trigger() for _ in range(8)))
        told = await taken(handle, 8)
        assert len(set(started(told))) == 8


@workflow.defn
async def repeats(text: str) -> str:
    return f"{workflow.get_last_completion_result(str)} {text}"


async def test_nothing_of_a_schedule_is_readable_behind_a_codec(store_url: str) -> None:
    converter = DataConverter(payload_codec=Nonces())
    async with Client.connect(store_url, data_converter=converter) as client:
        handle = await client.create_schedule(
            "hidden",
            Schedule(action(repeats("secret"), memo={"m": "secret"}), NEVER_SOON),
            memo={"s": "secret"},
            trigger_immediately=True,
        )
        async with Worker(client, workflows=[repeats], activities=[]):
            (first,) = started(await taken(handle, 1))
            await client.get_workflow_handle(first).result(timeout=PATIENCE)
            await handle.trigger()
            second = started(await taken(handle, 2))[1]
            assert await client.get_workflow_handle(second).result(timeout=PATIENCE) == "None secret secret"
        assert await (await handle.describe()).memo() == {"s": "secret"}
        assert [await one.memo_value("s") async for one in await client.list_schedules()] == ["secret"]
        row = await beneath(client.store).find_schedule("hidden")
        assert row is not None
        assert b"secret" not in row.record + row.progress
        assert b"InNlY3JldCI=" not in row.record + row.progress, "nor in base 64"
        assert isinstance(
            (await handle.describe()).info.recent_actions[0].action, ScheduleActionExecutionStartWorkflow
        )
