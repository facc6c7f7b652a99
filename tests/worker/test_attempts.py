"""Attempts without a database: the slots they take, and what their functions see."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from durable import activity
from durable._engine._activities import Completed, Outcome
from durable.activity._context import ActivityCancellationDetails
from durable.converter import DataConverter
from durable.history import ActivityTaskScheduled
from durable.store import ActivityRecord, ActivityState
from durable.worker._activities import Activities
from durable.worker._attempts import Attempt
from durable.worker._clock import DatabaseClock
from durable.worker._slots import FixedSlots

SLOTS = 2


@activity.defn
async def waits() -> bool:
    """Return whether it was asked to stop before it looked."""
    before = activity.is_cancelled()
    try:
        await activity.wait_for_cancelled()
    except asyncio.CancelledError:
        assert activity.is_cancelled()
    return before


TOLD = threading.Event()


@activity.defn(no_thread_cancel_exception=True)
def waits_in_a_thread() -> None:
    activity.wait_for_cancelled_sync(60)
    if activity.is_cancelled():
        TOLD.set()


@activity.defn
async def beats() -> None:
    activity.heartbeat("mine")
    await activity.wait_for_cancelled()


class Owner:
    run_id = "run"
    workflow_id = "order-42"
    workflow_type = "order"

    def __init__(self) -> None:
        self.ended: list[Outcome] = []
        self.rows: list[Attempt] = []

    def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        self.ended.append(outcome)

    def give_row(self, attempt: Attempt) -> None:
        self.rows.append(attempt)


def scheduled(name: str, id: int = 1) -> ActivityTaskScheduled:
    return ActivityTaskScheduled(id=id, activity_type=name, task_queue="here")


def started(activities: Activities, owner: Owner, scheduled: ActivityTaskScheduled) -> Attempt:
    attempt = Attempt(activities, owner, None, scheduled, 500, number=1, started_at=1_000)
    activities.start(attempt)
    return attempt


@pytest.fixture
def slots() -> FixedSlots:
    return FixedSlots(SLOTS)


@pytest.fixture
async def activities(slots: FixedSlots) -> AsyncIterator[Activities]:
    def defect(error: BaseException) -> None:
        raise error

    with ThreadPoolExecutor(1) as executor:
        made = Activities(
            Any,  # type: ignore[arg-type]  # nothing here has a row that is written
            "me",
            identity="me",
            namespace="default",
            task_queue="here",
            served={one.name: one for one in (waits, waits_in_a_thread, beats)},
            converter=DataConverter(),
            slots=slots,
            local_slots=FixedSlots(SLOTS),
            executor=executor,
            clock=DatabaseClock(1_000, lambda: 0),
            defect=defect,
        )
        yield made
        made.kill()
        await made.drain(0)


async def until_ended(owner: Owner, count: int = 1) -> list[Outcome]:
    async with asyncio.timeout(60):
        while len(owner.ended) < count:
            await asyncio.sleep(0.001)
    return owner.ended


def value(outcome: Outcome) -> Any:
    assert isinstance(outcome, Completed)
    return DataConverter().from_payload(outcome.result)


async def test_a_promise_keeps_a_slot_until_it_starts_or_is_given_back(
    activities: Activities, slots: FixedSlots
) -> None:
    assert not activities.promise(scheduled("unknown"))
    assert activities.promise(scheduled("waits", 1))
    assert activities.promise(scheduled("waits", 2))
    assert slots.free == 0
    assert not activities.promise(scheduled("waits", 3))
    activities.freed.clear()
    activities.give_back(1)
    assert activities.freed.is_set()
    assert slots.free == 1
    owner = Owner()
    attempt = started(activities, owner, scheduled("waits", 1))
    assert slots.free == 1  # the slot it was promised, and no other
    attempt.stop(ActivityCancellationDetails(cancel_requested=True))
    await until_ended(owner)
    assert slots.free == SLOTS


@pytest.mark.parametrize("name", ["waits", "waits_in_a_thread"])
async def test_a_function_that_looks_first_is_told_to_stop(activities: Activities, name: str) -> None:
    owner = Owner()
    assert activities.promise(scheduled(name))
    attempt = started(activities, owner, scheduled(name))
    while not attempt.begun:
        await asyncio.sleep(0)
    attempt.tell(ActivityCancellationDetails(timed_out=True))
    ended = await until_ended(owner)
    if name == "waits":
        assert value(ended[0]) is False
    else:
        # The function is waited for: it finds out by the flag, whether it has looked by now or not.
        assert value(ended[0]) is None
        assert TOLD.is_set()


async def test_a_flag_that_is_asked_for_after_the_stop_is_set(activities: Activities) -> None:
    attempt = Attempt(activities, Owner(), None, scheduled("waits"), 500, number=1, started_at=1_000)
    assert attempt.cancellation_details is None
    attempt.stop(ActivityCancellationDetails(not_found=True))
    attempt.stop(ActivityCancellationDetails(cancel_requested=True))
    assert attempt.cancelled.is_set()
    assert attempt.cancelled is attempt.cancelled
    assert attempt.cancellation_details == ActivityCancellationDetails(not_found=True)


async def test_the_facts_are_those_it_began_with(activities: Activities) -> None:
    owner = Owner()
    assert activities.promise(scheduled("beats"))
    attempt = started(activities, owner, scheduled("beats"))
    async with asyncio.timeout(60):
        while not owner.rows:
            await asyncio.sleep(0)
    assert attempt.awaiting_row
    assert attempt.owner is owner
    activities.row_written(attempt, a_row())
    assert attempt.owner is None
    assert (attempt.info.is_local, attempt.info.workflow_id) == (False, "order-42")
    assert list(attempt.info.heartbeat_details) == []
    assert DataConverter().from_payloads(attempt.last_heartbeat) == ["mine"]


def a_row() -> ActivityRecord:
    return ActivityRecord(
        run_id="run",
        id=1,
        workflow_id="order-42",
        workflow_type="order",
        activity_type="beats",
        task_queue="here",
        state=ActivityState.RUNNING,
        attempt=1,
        due_at=500,
        deadline=None,
        start_by=None,
        close_by=None,
        start_to_close=None,
        heartbeat=None,
        worker="me",
        started_at=1_000,
        scheduled_at=500,
        scheduled=b"{}",
        progress=b"",
        cancel_requested=False,
        now=1_000,
    )
