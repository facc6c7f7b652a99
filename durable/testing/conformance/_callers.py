"""Transactions of callers: what is done there is there when they commit, and only then."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from durable._internal.ids import uuid7
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.store import (
    Delivery,
    Inside,
    Lane,
    NewRun,
    Release,
    SendOutcome,
    StartOutcome,
    Transition,
)
from durable.testing.conformance._registry import OpenStore
from durable.testing.conformance._room import (
    HOUR,
    QUEUE,
    Room,
    closing,
    continuing,
    event,
    eventually,
    following,
    message,
    new_run,
    room,
    update,
)
from durable.testing.conformance._soles import end_of, sole_run

SHORT = 20_000
"""A timeout that passes soon, in microseconds."""


class Caller(Protocol):
    """A connection to the database that is not the store's.

    Attributes:
        connection: What `Store.inside` is given.
    """

    connection: Any

    async def begin(self) -> None:
        """Begin a transaction."""
        ...

    async def commit(self) -> None:
        """Commit it."""
        ...

    async def rollback(self) -> None:
        """Roll it back."""
        ...


OpenCaller = Callable[[], AbstractAsyncContextManager[Caller]]


class CallerCheck(NamedTuple):
    """One guarantee about transactions of callers; see `Check`."""

    name: str
    run: Callable[[OpenStore, OpenCaller], Awaitable[None]]


CHECKS: list[CallerCheck] = []


def caller_check(
    function: Callable[[OpenStore, OpenCaller], Awaitable[None]],
) -> Callable[[OpenStore, OpenCaller], Awaitable[None]]:
    """Register a function `check_<guarantee>`."""
    CHECKS.append(CallerCheck(function.__name__.removeprefix("check_"), function))
    return function


@asynccontextmanager
async def _met(open_store: OpenStore, open_caller: OpenCaller) -> AsyncGenerator[tuple[Room, Caller]]:
    async with room(open_store) as one, open_caller() as caller:
        yield one, caller


async def _started(one: Room, caller: Caller, **fields: object) -> NewRun:
    """Begin a transaction with a start in it."""
    await caller.begin()
    inside = await one.store.inside(caller.connection)
    run = new_run(**fields)
    verdict = await inside.create_run(run)
    assert verdict is not None
    assert verdict.outcome is StartOutcome.STARTED
    return run


async def _sent(inside: Inside, run: NewRun, message_id: str = "m", **which: str | None) -> Delivery:
    whose = {"run_id": None, "first_run_id": None} | which
    return await inside.send(run.workflow_id, whose["run_id"], whose["first_run_id"], message("", message_id))


@caller_check
async def check_a_start_of_a_caller_is_there_when_it_commits(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        run = await _started(one, caller, started=b"first", info=b'{"static_summary":"s"}', priority=2)
        assert await one.store.find_run(run.workflow_id) is None
        assert await one.store.next_wake((QUEUE,)) is None
        await caller.commit()
        found = await one.record(run.run_id, run.workflow_id)
        assert (found.info, found.priority, found.owner, found.epoch) == (run.info, 2, None, 0)
        (claimed,) = await one.claim()
        assert [each.data for each in claimed.events] == [b"first"]
        await one.written(closing(claimed))


@caller_check
async def check_a_start_of_a_caller_is_undone_with_the_rest(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        target = await one.start()
        run = await _started(one, caller)
        inside = await one.store.inside(caller.connection)
        for each in (run, target):
            assert (await _sent(inside, each)).outcome is SendOutcome.SENT
        await caller.rollback()
        assert await one.store.find_run(run.workflow_id) is None
        assert await one.unread(run.run_id, target.run_id) == []
        assert await one.claimed_ids() == {target.run_id}


@caller_check
async def check_a_caller_sees_what_he_has_started_himself(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        run = await _started(one, caller)
        inside = await one.store.inside(caller.connection)
        assert await _sent(inside, run, "a") == Delivery(SendOutcome.SENT, run.run_id)
        assert await _sent(inside, run, "a") == Delivery(SendOutcome.REPEATED, run.run_id)
        assert await _sent(inside, run, "b", run_id=run.run_id) == Delivery(SendOutcome.SENT, run.run_id)
        again = await inside.create_run(new_run(workflow_id=run.workflow_id))
        assert again is not None
        assert (again.outcome, again.run_id) == (StartOutcome.REJECTED, run.run_id)
        content = new_run(
            workflow_id=run.workflow_id,
            conflict=WorkflowIDConflictPolicy.USE_EXISTING,
            messages=(message("", "c"),),
        )
        used = await inside.create_run(content)
        assert used is not None
        assert (used.outcome, used.run_id) == (StartOutcome.USED_EXISTING, run.run_id)
        await caller.commit()
        assert await one.unread_ids(run.run_id) == ["a", "b", "c"]
        assert await one.claimed_ids() == {run.run_id}


@caller_check
async def check_a_start_of_a_caller_is_judged_by_what_was_before(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        before = await one.own()
        await one.close(before)
        workflow_id = before.run.workflow_id
        await caller.begin()
        inside = await one.store.inside(caller.connection)
        rejected = await inside.create_run(
            new_run(workflow_id=workflow_id, reuse=WorkflowIDReusePolicy.REJECT_DUPLICATE)
        )
        assert rejected is not None
        assert (rejected.outcome, rejected.run_id) == (StartOutcome.REJECTED, before.run.run_id)
        run = new_run(workflow_id=workflow_id, messages=(message("", "m"),))
        taken = await inside.create_run(run)
        assert taken is not None
        assert taken.outcome is StartOutcome.STARTED
        await caller.commit()
        assert await one.unread_ids(run.run_id) == ["m"]
        assert await one.claimed_ids() == {run.run_id}


@caller_check
async def check_a_caller_is_told_what_is_not_there(open_store: OpenStore, open_caller: OpenCaller) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        first = await one.own()
        second = following(first)
        await one.written(continuing(first, second))
        old = new_run(workflow_id=first.run.workflow_id, run_id=first.run.run_id)
        done = await one.own()
        await one.close(done)
        closed = new_run(workflow_id=done.run.workflow_id)
        await caller.begin()
        inside = await one.store.inside(caller.connection)
        assert await _sent(inside, new_run()) == Delivery(SendOutcome.NOT_FOUND)
        assert await _sent(inside, closed) == Delivery(SendOutcome.CLOSED, done.run.run_id)
        assert await _sent(inside, old, "a") == Delivery(SendOutcome.SENT, second.run_id)
        assert await _sent(inside, old, "b", run_id=old.run_id) == Delivery(SendOutcome.CLOSED, old.run_id)
        assert await _sent(inside, old, "c", first_run_id=old.run_id) == Delivery(
            SendOutcome.SENT, second.run_id
        )
        other = Delivery(SendOutcome.NOT_FOUND, second.run_id)
        assert await _sent(inside, old, "d", first_run_id=uuid7()) == other
        assert (await _sent(inside, old, "e", run_id="no id at all")).outcome is SendOutcome.NOT_FOUND
        asked = await inside.send(old.workflow_id, None, None, update("", "u"))
        assert asked == Delivery(SendOutcome.SENT, second.run_id)
        await caller.commit()
        assert await one.unread_ids(second.run_id) == ["a", "c", "u"]


@caller_check
async def check_a_run_is_not_closed_over_what_a_caller_has_sent(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        run = await one.own()
        await caller.begin()
        inside = await one.store.inside(caller.connection)
        assert (await _sent(inside, new_run(workflow_id=run.run.workflow_id))).outcome is SendOutcome.SENT
        await caller.commit()
        (verdict,) = await one.commit(closing(run))
        assert verdict.name == "REFUSED"


@caller_check
async def check_the_time_of_a_start_of_a_caller_begins_with_its_claim(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        runs = [await _started(one, caller, run_timeout=SHORT)]
        inside = await one.store.inside(caller.connection)
        runs.append(new_run(run_timeout=SHORT, delay=1))
        assert await inside.create_run(runs[1]) is not None
        asked_at = await one.store.now()
        await caller.commit()

        async def passed() -> bool:
            return await one.store.now() > asked_at + 2 * SHORT

        await eventually(passed)
        claimed = await one.claim()
        assert {each.run.run_id for each in claimed} == {run.run_id for run in runs}
        for each in claimed:
            assert each.run.started_at > asked_at + SHORT
            assert each.run.times_out_at is not None
            assert each.run.times_out_at - each.run.started_at in (SHORT, SHORT + 1)
            assert [one.time for one in each.events] == [each.run.started_at]
            # It is told once, and not at each claim.
            (more,) = (await one.store.reload_run(one.worker, each.run.run_id, 1),)
            assert more is not None
            assert more.run == each.run


@caller_check
async def check_a_start_of_a_caller_that_nobody_claims_times_out_all_the_same(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        run = await _started(one, caller, run_timeout=SHORT, task_queue="nobody's")
        asked_at = await one.store.now()
        await caller.commit()

        async def passed() -> bool:
            return await one.store.now() > asked_at + 2 * SHORT

        await eventually(passed)
        assert await one.store.timed_out_runs(10) == [], "it is given its time from now on"
        found = await one.record(run.run_id, run.workflow_id)
        assert found.started_at > asked_at + SHORT

        async def overdue() -> bool:
            return [each.run_id for each in await one.store.timed_out_runs(10)] == [run.run_id]

        await eventually(overdue)


@caller_check
async def check_a_start_of_a_caller_waits_in_its_lane(open_store: OpenStore, open_caller: OpenCaller) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        lane = Lane("lane", key="key", most=1)
        first = await _started(one, caller, lane=lane)
        inside = await one.store.inside(caller.connection)
        second = new_run(lane=lane)
        assert await inside.create_run(second) is not None
        await caller.commit()
        (claimed,) = await one.claim()
        assert claimed.run.run_id == first.run_id
        await one.written(closing(claimed))
        assert await one.claimed_ids() == {second.run_id}


@caller_check
async def check_a_repeated_claim_does_not_begin_again(open_store: OpenStore, open_caller: OpenCaller) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        run = await _started(one, caller)
        await caller.commit()
        (claimed,) = await one.claim()
        await one.written(Transition(run.run_id, claimed.run.epoch, (event(2),), release=Release(wake_in=0)))
        (again,) = await one.claim()
        assert again.run.started_at == claimed.run.started_at
        assert again.events[0].time == claimed.events[0].time


@caller_check
async def check_an_activity_of_a_caller_is_like_any_other(
    open_store: OpenStore, open_caller: OpenCaller
) -> None:
    async with _met(open_store, open_caller) as (one, caller):
        limits = {
            "schedule_to_start": HOUR,
            "schedule_to_close": 2 * HOUR,
            "start_to_close": HOUR + 1,
            "heartbeat": HOUR + 2,
        }
        await one.store.create_runs([sole_run(priority=2, **limits)])
        (usual,) = await one.claim_activities()
        await caller.begin()
        inside = await one.store.inside(caller.connection)
        run = sole_run(priority=2, **limits)
        verdict = await inside.create_run(run)
        assert verdict is not None
        assert (verdict.outcome, verdict.run_id) == (StartOutcome.STARTED, run.run_id)
        again = await inside.create_run(sole_run(workflow_id=run.workflow_id))
        assert again is not None
        assert (again.outcome, again.run_id) == (StartOutcome.REJECTED, run.run_id)
        assert await one.store.find_run(run.workflow_id) is None
        await caller.commit()
        (task,) = await one.claim_activities()
        assert task.start_by == task.scheduled_at + HOUR
        assert [each.data for each in await one.store.read_events(run.run_id)][1] == task.scheduled
        moved = task.scheduled_at - usual.scheduled_at
        same: dict[str, Any] = {"run_id": task.run_id, "workflow_id": task.workflow_id}
        for name in ("scheduled_at", "due_at", "start_by", "close_by"):
            same[name] = getattr(usual, name) + moved
        for name in ("started_at", "deadline", "now"):
            same[name] = getattr(task, name)
        assert task == replace(usual, **same)
        assert await one.store.finish_attempts([end_of(task, one.worker)]) == [True]
