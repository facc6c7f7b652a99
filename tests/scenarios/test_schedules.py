"""Schedules, from a client to the runs they start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import ApplicationError, Client, Signal, workflow
from durable.client import (
    CreateScheduleInput,
    Interceptor,
    OutboundInterceptor,
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
    ScheduleNotFoundError,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    TriggerScheduleInput,
)
from durable.common import (
    Priority,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from durable.converter import default
from durable.history import WorkflowExecutionStarted
from tests.scenarios.rig import PATIENCE, Env, event, events, until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURLY = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(hours=1))])
NEVER_SOON = ScheduleSpec(calendars=[ScheduleCalendarSpec(year=[ScheduleRange(2099)])])
EVERY_SECOND = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=1))])
NOTED = ["Started", "Completed"]

finish = Signal("finish", str)


@workflow.defn
async def note(text: str) -> str:
    info = workflow.info()
    at, before = info.scheduled_start_time, info.previous_scheduled_start_time
    return f"{text} {info.schedule_id} {at and at.isoformat()} {before and before.isoformat()}"


@workflow.defn
async def linger(text: str) -> str:
    last = workflow.get_last_completion_result(str)
    return f"{last or ''}{await finish.receive()}"


@workflow.defn
async def fail(text: str) -> str:
    raise ApplicationError(f"it is {text}")


def action(call: Any, id: str = "job", **options: Any) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow(call, id=id, **options)


def started(told: ScheduleDescription) -> list[str]:
    found: list[str] = []
    for one in told.info.recent_actions:
        assert isinstance(one.action, ScheduleActionExecutionStartWorkflow)
        found.append(one.action.workflow_id)
    return found


async def taken(handle: ScheduleHandle, count: int) -> ScheduleDescription:
    """Wait until a schedule has taken so many actions."""

    async def look() -> ScheduleDescription | None:
        told = await handle.describe()
        return told if told.info.num_actions >= count else None

    found: ScheduleDescription = await until(f"{handle.id} has taken {count} actions", look)
    return found


async def results(env: Env, workflow_ids: Sequence[str]) -> list[Any]:
    return await asyncio.gather(
        *(env.client.get_workflow_handle(id).result(timeout=PATIENCE) for id in workflow_ids)
    )


def running(told: ScheduleDescription) -> list[str]:
    return [one.workflow_id for one in told.info.running_actions]


@pytest.mark.temporal("schedule/basic", "patterns/schedules", "client_api/schedules")
async def test_it_starts_a_workflow_at_each_instant_and_then_no_more(env: Env) -> None:
    async with env.worker(note):
        handle = await env.client.create_schedule(
            "each second",
            Schedule(
                action(note("run"), "tick"),
                EVERY_SECOND,
                # The second instant may be there before the first one's run has ended, or even begun.
                SchedulePolicy(ScheduleOverlapPolicy.ALLOW_ALL),
                state=ScheduleState(note="two of them", limited_actions=True, remaining_actions=2),
            ),
        )
        told = await taken(handle, 2)
        first, second = started(told)
        at = datetime.fromisoformat(first.removeprefix("tick-"))
        assert at.microsecond == 0
        assert second == f"tick-{(at + timedelta(seconds=1)).strftime('%Y-%m-%dT%H:%M:%SZ')}"
        before = at - timedelta(seconds=1)
        assert (await results(env, [first]))[0] == f"run each second {at.isoformat()} {before.isoformat()}"
        assert told.info.recent_actions[0].scheduled_at == at
        assert told.schedule.state.remaining_actions == 0
        assert told.schedule.state.note == "two of them"
        assert not told.info.next_action_times
        start = await event(env.client.get_workflow_handle(first), "Started")
        assert isinstance(start, WorkflowExecutionStarted)
        assert start.schedule_id == "each second"
        assert set(start.search_attributes) == {"TemporalScheduledById", "TemporalScheduledStartTime"}
        found = env.client.list_workflows(
            f"TemporalScheduledById = 'each second' AND TemporalScheduledStartTime = '{at.isoformat()}'"
        )
        assert [one.id async for one in found] == [first]


@pytest.mark.temporal("schedule/backfill")
async def test_a_backfill_takes_each_instant_of_a_period_once(env: Env) -> None:
    period = ScheduleBackfill(NOON, NOON + timedelta(hours=3), ScheduleOverlapPolicy.ALLOW_ALL)
    async with env.worker(note):
        handle = await env.client.create_schedule(
            "hourly",
            Schedule(action(note("run"), "hour"), HOURLY, state=ScheduleState(paused=True)),
            backfill=[period],
        )
        told = await taken(handle, 3)
        ids = [f"hour-2026-03-01T{hour}:00:00Z" for hour in (13, 14, 15)]
        assert started(told) == ids, "the beginning is not part of it, and the end is"
        assert [one.split()[2] for one in await results(env, ids)] == [
            f"2026-03-01T{hour}:00:00+00:00" for hour in (13, 14, 15)
        ]
        runs = {id: await env.client.get_workflow_handle(id).describe() for id in ids}
        await handle.backfill(period)
        await taken(handle, 6)
        for id, run in runs.items():
            again = await env.client.get_workflow_handle(id).describe()
            assert again.run_id == run.run_id, "an instant has one run"
            assert await events(env.client.get_workflow_handle(id)) == NOTED


async def test_a_schedule_made_anew_takes_instants_again(plain: Env) -> None:
    schedule = Schedule(action(note("run"), "hour"), HOURLY, state=ScheduleState(paused=True))
    period = ScheduleBackfill(NOON, NOON + timedelta(hours=1))
    runs: list[str] = []
    async with plain.worker(note):
        for _ in range(2):
            handle = await plain.client.create_schedule("again", schedule, backfill=[period])
            (id,) = started(await taken(handle, 1))
            await results(plain, [id])
            runs.append((await plain.client.get_workflow_handle(id).describe()).run_id)
            await handle.delete()
    assert runs[0] != runs[1]


@pytest.mark.temporal("schedule/trigger")
async def test_a_trigger_takes_an_action_now_though_it_is_paused(env: Env) -> None:
    async with env.worker(note):
        handle = await env.client.create_schedule(
            "manual",
            Schedule(action(note("run")), NEVER_SOON, state=ScheduleState(paused=True)),
            trigger_immediately=True,
        )
        await results(env, started(await taken(handle, 1)))
        await handle.trigger()
        told = await taken(handle, 2)
        assert len(set(started(told))) == 2
        await results(env, started(told))
        for id in started(told):
            run = env.client.get_workflow_handle(id)
            assert await events(run) == NOTED
            assert (await event(run, "Started")).schedule_id == "manual"


@pytest.mark.temporal("schedule/duplicate_error")
async def test_a_second_one_of_an_id_is_refused(plain: Env) -> None:
    schedule = Schedule(action(note("run")), NEVER_SOON)
    handle = await plain.client.create_schedule("one", schedule)
    with pytest.raises(ScheduleAlreadyRunningError, match="one"):
        await plain.client.create_schedule("one", schedule)
    await handle.delete()
    await plain.client.create_schedule("one", schedule)


@pytest.mark.temporal("schedule/pause")
async def test_a_paused_one_takes_no_action_until_it_is_unpaused(env: Env) -> None:
    async with env.worker(note):
        handle = await env.client.create_schedule(
            "each second", Schedule(action(note("run")), EVERY_SECOND, state=ScheduleState(paused=True))
        )
        beside = await env.client.create_schedule("beside it", Schedule(action(note("run")), EVERY_SECOND))
        await taken(beside, 2)
        told = await handle.describe()
        assert told.schedule.state.paused
        assert told.info.num_actions == 0
        assert told.info.next_action_times
        await beside.delete()
        await handle.unpause(note="go on")
        told = await taken(handle, 1)
        (id,) = started(told)[:1]
        await results(env, [id])
        assert await events(env.client.get_workflow_handle(id)) == NOTED
        assert told.schedule.state.note == "go on"
        await handle.pause(note="enough")
        told = await handle.describe()
        assert (told.schedule.state.paused, told.schedule.state.note) == (True, "enough")
        await handle.unpause()
        assert (await handle.describe()).schedule.state.note == f"unpaused by {env.client.identity}"


@pytest.mark.temporal("schedule/cron")
async def test_a_cron_expression_says_when(plain: Env) -> None:
    async with plain.worker(note):
        handle = await plain.client.create_schedule(
            "cron", Schedule(action(note("run")), ScheduleSpec(cron_expressions=["* * * * * * *"]))
        )
        (id,) = started(await taken(handle, 1))[:1]
        await results(plain, [id])
        assert await events(plain.client.get_workflow_handle(id)) == NOTED
        await handle.delete()


async def test_each_overlap_policy_does_its_own(env: Env) -> None:
    """One runs; what is triggered beside it waits, is skipped, or takes its place."""

    async def triggered(policy: ScheduleOverlapPolicy) -> tuple[ScheduleHandle, str]:
        handle = await env.client.create_schedule(
            policy.name,
            Schedule(action(linger("x"), policy.name), NEVER_SOON, SchedulePolicy(policy)),
            trigger_immediately=True,
        )
        (first,) = started(await taken(handle, 1))
        await handle.trigger()
        await handle.trigger()
        return handle, first

    async def settled(
        handle: ScheduleHandle, what: str, look: Callable[[ScheduleInfo], bool]
    ) -> ScheduleDescription:
        async def seen() -> ScheduleDescription | None:
            told = await handle.describe()
            return told if look(told.info) else None

        found: ScheduleDescription = await until(what, seen)
        return found

    async def end(*ids: str) -> None:
        for id in ids:
            handle = env.client.get_workflow_handle(id)
            await handle.signal(finish(id[-3:]))
            await handle.result(timeout=PATIENCE)

    async with env.worker(linger):
        handle, first = await triggered(ScheduleOverlapPolicy.SKIP)
        await settled(handle, "both are skipped", lambda info: info.num_actions_skipped_overlap == 2)
        await end(first)

        handle, first = await triggered(ScheduleOverlapPolicy.BUFFER_ONE)
        await settled(
            handle, "one waits", lambda info: info.buffer_size == 1 and info.num_actions_skipped_overlap == 1
        )
        await end(first)
        await end(*running(await taken(handle, 2)))

        handle, first = await triggered(ScheduleOverlapPolicy.BUFFER_ALL)
        await settled(handle, "both wait", lambda info: info.buffer_size == 2)
        await end(first)
        second = started(await taken(handle, 2))[1]
        await end(second)
        third = started(await taken(handle, 3))[2]
        await env.client.get_workflow_handle(third).signal(finish("!"))
        assert await results(env, [first, second, third]) == [
            first[-3:],
            first[-3:] + second[-3:],
            first[-3:] + second[-3:] + "!",
        ]

        handle, first = await triggered(ScheduleOverlapPolicy.ALLOW_ALL)
        told = await taken(handle, 3)
        assert not told.info.running_actions
        await end(*started(told))

        handle, first = await triggered(ScheduleOverlapPolicy.CANCEL_OTHER)
        told = await settled(
            handle,
            "the last one is left",
            lambda info: info.num_actions + info.num_actions_skipped_overlap == 3 and not info.buffer_size,
        )
        assert (await env.client.get_workflow_handle(first).describe()).status.name == "CANCELED"
        await end(*running(told))

        handle, first = await triggered(ScheduleOverlapPolicy.TERMINATE_OTHER)
        told = await settled(
            handle,
            "the last one is left",
            lambda info: info.num_actions + info.num_actions_skipped_overlap == 3 and not info.buffer_size,
        )
        assert (await env.client.get_workflow_handle(first).describe()).status.name == "TERMINATED"
        await end(*running(told))


async def test_a_failure_pauses_it_when_it_is_to(env: Env) -> None:
    async with env.worker(fail):
        handle = await env.client.create_schedule(
            "fails",
            Schedule(action(fail("broken")), NEVER_SOON, SchedulePolicy(pause_on_failure=True)),
            trigger_immediately=True,
        )

        async def paused() -> str | None:
            state = (await handle.describe()).schedule.state
            return state.note if state.paused else None

        assert "it is broken" in await until("the failure has paused it", paused)


async def test_an_update_changes_what_the_next_action_is(env: Env) -> None:
    key = SearchAttributeKey.for_keyword("Team")
    async with env.worker(note):
        handle = await env.client.create_schedule(
            "changes",
            Schedule(action(note("old"), memo={"a": 1}, priority=Priority(priority_key=2)), NEVER_SOON),
            memo={"who": "ada"},
            search_attributes=TypedSearchAttributes([SearchAttributePair(key, "red")]),
        )
        assert (await handle.describe()).typed_search_attributes[key] == "red"

        async def change(given: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule = given.description.schedule
            assert isinstance(schedule.action, ScheduleActionStartWorkflow)
            schedule.action.args = ["new"]
            schedule.action.retry_policy = RetryPolicy(maximum_attempts=2)
            schedule.state.note = "changed"
            return ScheduleUpdate(schedule, TypedSearchAttributes([SearchAttributePair(key, "blue")]))

        await handle.update(change)
        await handle.update(lambda given: None)
        told = await handle.describe()
        assert told.schedule.state.note == "changed"
        assert told.typed_search_attributes[key] == "blue"
        assert await told.memo() == {"who": "ada"}
        assert await told.memo_value("who", type_hint=str) == "ada"
        assert await told.memo_value("none", 7) == 7
        assert told.info.last_updated_at is not None
        await handle.trigger()
        (id,) = started(await taken(handle, 1))
        assert (await results(env, [id]))[0].startswith("new ")
        start = await event(env.client.get_workflow_handle(id), "Started")
        assert (start.priority, start.retry_policy.maximum_attempts) == (2, 2)
        assert await (await env.client.get_workflow_handle(id).describe()).memo() == {"a": 1}


async def test_what_is_not_there_is_told_so(plain: Env) -> None:
    handle = plain.client.get_schedule_handle("nothing")
    for call in (
        handle.describe,
        handle.delete,
        handle.trigger,
        handle.pause,
        handle.unpause,
        lambda: handle.backfill(ScheduleBackfill(NOON, NOON)),
        lambda: handle.update(lambda given: None),
    ):
        with pytest.raises(ScheduleNotFoundError, match="nothing"):
            await call()
    with pytest.raises(ValueError, match="at least one"):
        await handle.backfill()
    with pytest.raises(TypeError, match="ScheduleOverlapPolicy"):
        await handle.trigger(overlap="skip")  # type: ignore[arg-type]


async def test_a_list_shows_them_all_page_by_page(plain: Env) -> None:
    for number in range(5):
        await plain.client.create_schedule(
            f"s{number}",
            Schedule(action(note("run")), HOURLY, state=ScheduleState(note="n", paused=number == 3)),
        )
    listed = [one async for one in await plain.client.list_schedules(page_size=2)]
    assert [one.id for one in listed] == [f"s{number}" for number in range(5)]
    assert [one.id for one in listed if one.schedule and one.schedule.state.paused] == ["s3"]
    assert listed[0].info is not None
    assert len(listed[0].info.next_action_times) == 5
    pages = await plain.client.list_schedules(page_size=2)
    await pages.fetch_next_page()
    assert pages.current_page is not None
    rest = [one.id async for one in await plain.client.list_schedules(next_page_token=pages.next_page_token)]
    assert [one.id for one in pages.current_page] + rest == [f"s{number}" for number in range(5)]
    with pytest.raises(ValueError, match="filter"):
        await plain.client.list_schedules("a = b")


async def test_interceptors_stand_around_every_call(store_url: str) -> None:
    calls: list[str] = []

    class Listening(OutboundInterceptor):
        def __getattribute__(self, name: str) -> Any:
            if name.endswith(("_schedule", "_schedules")):
                calls.append(name)
            return super().__getattribute__(name)

        async def create_schedule(self, input: CreateScheduleInput) -> Any:
            assert isinstance(input.schedule.action, ScheduleActionStartWorkflow)
            input.schedule.action.headers = {"who": default().payload_converter.to_payload("ada")}
            return await super().create_schedule(input)

        async def trigger_schedule(self, input: TriggerScheduleInput) -> None:
            input.overlap = ScheduleOverlapPolicy.ALLOW_ALL
            await super().trigger_schedule(input)

    class Listener(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return Listening(next)

    async with Client.connect(store_url, interceptors=[Listener()]) as client:
        handle = await client.create_schedule("one", Schedule(action(note("x")), NEVER_SOON))
        async for listed in await client.list_schedules():
            assert listed.id == "one"
        await handle.pause()
        await handle.unpause()
        await handle.trigger()
        await handle.trigger()
        await handle.backfill(ScheduleBackfill(NOON, NOON))
        await handle.update(lambda given: ScheduleUpdate(given.description.schedule))
        told = await handle.describe()
        assert told.info.num_actions == 2, "the policy of the interceptor"
        start = await event(client.get_workflow_handle(started(told)[0]), "Started")
        assert set(start.headers) == {"who"}
        await handle.trigger()
        start = await event(client.get_workflow_handle(started(await handle.describe())[-1]), "Started")
        assert set(start.headers) == {"who"}, "an update keeps them"
        await handle.delete()
    assert list(dict.fromkeys(calls)) == [
        "create_schedule",
        "list_schedules",
        "pause_schedule",
        "unpause_schedule",
        "trigger_schedule",
        "backfill_schedule",
        "update_schedule",
        "describe_schedule",
        "delete_schedule",
    ]


async def test_every_option_of_an_action_reaches_its_workflows(plain: Env) -> None:
    key = SearchAttributeKey.for_int("Size")
    options: dict[str, Any] = {
        "task_queue": "elsewhere",
        "execution_timeout": 60,
        "run_timeout": 50,
        "task_timeout": 9,
        "retry_policy": RetryPolicy(maximum_attempts=3),
        "memo": {"m": 1},
        "typed_search_attributes": TypedSearchAttributes((SearchAttributePair(key, 7),)),
        "priority": Priority(priority_key=5),
        "static_summary": "summary",
        "static_details": "details",
    }
    handle = await plain.client.create_schedule("all", Schedule(action(note("x"), **options), NEVER_SOON))
    await handle.update(lambda given: ScheduleUpdate(given.description.schedule))
    told = (await handle.describe()).schedule.action
    assert isinstance(told, ScheduleActionStartWorkflow)
    assert told.typed_search_attributes is not None
    assert told.typed_search_attributes[key] == 7
    await handle.trigger()
    (id,) = started(await handle.describe())
    start = await event(plain.client.get_workflow_handle(id), "Started")
    assert (start.task_queue, start.priority) == ("elsewhere", 5)
    assert (start.execution_timeout, start.run_timeout, start.task_timeout) == (
        60_000_000,
        50_000_000,
        9_000_000,
    )
    assert (start.retry_policy.maximum_attempts, set(start.memo)) == (3, {"m"})
    assert (start.static_summary, start.static_details) == ("summary", "details")
    assert set(start.search_attributes) == {"Size", "TemporalScheduledById", "TemporalScheduledStartTime"}
    await plain.client.get_workflow_handle(id).terminate()
    wrong = SearchAttributeKey.for_keyword("Size")
    attributes = TypedSearchAttributes((SearchAttributePair(wrong, "large"),))
    other = Schedule(action(note("x"), typed_search_attributes=attributes), NEVER_SOON)
    with pytest.raises(ValueError, match="Size"):
        await plain.client.create_schedule("other", other)
    with pytest.raises(ValueError, match="Size"):
        await handle.update(lambda given: ScheduleUpdate(other))
