"""Limits: keys, circuit breakers, shares and rates, whoever claims."""

from __future__ import annotations

import asyncio
from collections import Counter

from durable._engine.lanes import ACTIVITIES
from durable.history import BreakerData
from durable.store import (
    ActivityRecord,
    ActivityState,
    AttemptOutcome,
    BreakerNews,
    Forced,
    Lane,
    NewActivity,
    Transition,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import HOUR, QUEUE, Room, eventually, new_activity, room

MANY = 60


def keyed(number: int, key: str = "k", most: int = 2, weight: int = 1, **fields: object) -> NewActivity:
    """An activity of a concurrency key."""
    lane = Lane(f"0000 {key}", key=key, most=most, weight=weight)
    return new_activity(number, lane=lane, **fields)


def shared(number: int, name: str, share: float = 1.0, **fields: object) -> NewActivity:
    """An activity of a fairness key."""
    return new_activity(number, lane=Lane(f"0000 fair {name}", share), **fields)


def behind(number: int, breaker: str = "b", *, fails_fast: bool = False) -> NewActivity:
    """An activity behind a circuit breaker."""
    return new_activity(number, lane=Lane("0000 b", breaker=breaker, fails_fast=fails_fast))


async def end(one: Room, *tasks: ActivityRecord, retry_in: int | None = None) -> None:
    """End attempts."""
    outcomes = [
        AttemptOutcome(task.run_id, task.id, task.attempt, one.worker, retry_in=retry_in) for task in tasks
    ]
    assert all(await one.store.finish_attempts(outcomes))


def numbers(tasks: list[ActivityRecord]) -> list[int]:
    """The ids of activities."""
    return [task.id for task in tasks]


@check()
async def check_no_more_of_a_key_runs_than_its_limit(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(*(keyed(number) for number in range(1, 6)), new_activity(6))
        first = await one.claim_activities()
        assert sorted(numbers(first)) == [1, 2, 6]
        assert all(task.task_queue == QUEUE for task in first)
        assert await one.claim_activities() == []
        (one_of_them,) = [task for task in first if task.id == 2]
        await end(one, one_of_them)
        assert numbers(await one.claim_activities()) == [3]
        known = await one.store.read_key(ACTIVITIES, "k")
        assert (known.most, known.pinned, known.running, known.waiting) == (2, None, 2, 2)


@check()
async def check_a_retry_gives_its_slot_up_and_waits_again(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(keyed(1, most=1), keyed(2, most=1))
        (task,) = await one.claim_activities()
        await end(one, task, retry_in=0)
        (other,) = await one.claim_activities()
        assert other.id == 2
        await end(one, other)
        (again,) = await one.claim_activities()
        assert (again.id, again.attempt, again.task_queue) == (1, 2, QUEUE)


@check()
async def check_what_weighs_more_counts_more(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            keyed(1, most=3), keyed(2, most=3, weight=3), keyed(3, most=3), keyed(4, most=3, weight=9)
        )
        (light,) = await one.claim_activities()
        assert light.id == 1
        # What does not fit is not overtaken by what would.
        assert await one.claim_activities() == []
        await end(one, light)
        (heavy,) = await one.claim_activities()
        assert heavy.id == 2
        await end(one, heavy)
        (light,) = await one.claim_activities()
        assert light.id == 3
        await end(one, light)
        # One that weighs more than all runs alone.
        assert numbers(await one.claim_activities()) == [4]


@check()
async def check_a_limit_that_is_set_holds_for_all_that_wait(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(*(keyed(number) for number in range(1, 8)))
        await one.store.set_key(ACTIVITIES, "k", 0)
        assert await one.claim_activities() == []
        await one.store.set_key(ACTIVITIES, "k", 4)
        assert len(await one.claim_activities()) == 4
        await one.store.set_key(ACTIVITIES, "k", 1)
        known = await one.store.read_key(ACTIVITIES, "k")
        assert (known.most, known.pinned, known.running, known.waiting) == (1, 1, 4, 3)
        await one.store.set_key(ACTIVITIES, "k", None)
        assert await one.claim_activities() == []
        known = await one.store.read_key(ACTIVITIES, "k")
        assert (known.most, known.pinned) == (2, None)


@check()
async def check_the_newest_limit_asked_for_holds(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            *(keyed(number, most=1) for number in range(1, 4)), keyed(4, most=3, scheduled_at=2)
        )
        assert numbers(await one.claim_activities()) == [1, 2, 3]


@check()
async def check_keys_do_not_wait_for_each_other(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            *(keyed(number, "crowd", most=1) for number in range(1, MANY)), keyed(MANY, "few", most=1)
        )
        assert sorted(numbers(await one.claim_activities(2))) == [1, MANY]


@check(stores=2)
async def check_claimers_at_the_same_time_keep_a_limit(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as other:
        await one.scheduled(*(keyed(number, most=3) for number in range(1, MANY + 1)))
        started = 0
        while started < MANY:
            rooms = [one, other] * 3
            claimed = await asyncio.gather(*(each.claim_activities(2) for each in rooms))
            tasks = [(each, task) for each, found in zip(rooms, claimed, strict=True) for task in found]
            running = await one.store.read_key(ACTIVITIES, "k")
            assert 1 <= len(tasks) <= 3
            assert running.running == len(tasks)
            assert len({task.id for _, task in tasks}) == len(tasks)
            started += len(tasks)
            for each, task in tasks:
                await end(each, task)


@check()
async def check_a_worker_that_dies_takes_no_slot_with_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(keyed(1, most=1), keyed(2, most=1))
        await one.claim_activities()
        lost = await one.task(run.run.run_id)
        outcome = AttemptOutcome(lost.run_id, 1, 1, None, retry_in=HOUR)
        assert await one.store.finish_attempts([outcome]) == [True]
        assert numbers(await one.claim_activities()) == [2]


@check()
async def check_rows_of_closed_runs_hold_no_slots(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(keyed(1, most=1))
        await one.scheduled(keyed(1, most=1))
        (task,) = await one.claim_activities()
        assert task.run_id == run.run.run_id
        await one.close(run, seq=3)
        assert len(await one.claim_activities()) == 1


@check()
async def check_lanes_share_as_they_should(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            *(shared(number, "crowd") for number in range(1, 400)),
            *(shared(number, "few") for number in range(400, 410)),
            *(shared(number, "rich", 8.0) for number in range(500, 800)),
            *(new_activity(number) for number in range(900, 1200)),
        )
        told: Counter[str] = Counter()
        order: list[int] = []
        while len(order) < 180:
            order += numbers(await one.claim_activities(3))
        for number in order:
            told[
                "crowd" if number < 400 else "few" if number < 410 else "rich" if number < 900 else "plain"
            ] += 1
        # Of 11 shares "rich" has 8: some 120 of 180 while all are there; the others some 15 each.
        assert told["few"] >= 2, told
        assert 85 <= told["rich"] <= 165, told
        assert told["crowd"] >= 1, told
        assert told["plain"] >= 1, told
        crowd = [number for number in order if number < 400]
        assert crowd == sorted(crowd), "in a lane the oldest is first"


@check()
async def check_priorities_come_before_shares(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(
            shared(1, "a", 1000.0),
            new_activity(2, priority=1),
            shared(3, "b", priority=2),
            keyed(4, priority=4),
        )
        order = [number for _ in range(4) for number in numbers(await one.claim_activities(1))]
        assert order == [2, 3, 1, 4]


@check()
async def check_what_waits_in_a_lane_is_looked_for(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(shared(1, "a", due_in=HOUR))
        wake = await one.store.next_wake([QUEUE])
        assert wake is not None
        assert 0 < wake <= HOUR
        assert await one.claim_activities() == []
        (row,) = await one.store.read_activities(run.run.run_id)
        assert (row.state, row.task_queue) == (ActivityState.QUEUED, QUEUE)


@check()
async def check_what_waits_in_a_lane_meets_its_deadline(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(keyed(1, most=1), keyed(2, most=1, start_by=1))
        await one.claim_activities()
        assert numbers(await one.store.expired_activities(10)) == [2]


BREAKER = BreakerData("b", failures=3, window=HOUR, open_for=HOUR, trials=2)


@check()
async def check_failures_open_a_breaker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(*(behind(number) for number in range(1, 6)), new_activity(6))
        await one.store.tell_breakers([BreakerNews(BREAKER, True), BreakerNews(BREAKER, False)])
        await one.store.tell_breakers([BreakerNews(BREAKER, True)])
        known = await one.store.read_breaker("b")
        assert (len(known.failures), known.open_until) == (2, None)
        assert len(await one.claim_activities(1)) == 1
        await one.store.tell_breakers([BreakerNews(BREAKER, True)])
        known = await one.store.read_breaker("b")
        assert known.open_until is not None
        assert known.open_until > known.now
        assert set(numbers(await one.claim_activities())) <= {6}
        assert await one.claim_activities() == []


@check()
async def check_failures_that_are_long_ago_do_not_open_a_breaker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        short = BreakerData("b", failures=2, window=1, open_for=HOUR)
        for _ in range(3):
            await one.store.tell_breakers([BreakerNews(short, True)])
        assert (await one.store.read_breaker("b")).open_until is None


@check()
async def check_a_breaker_that_is_half_open_lets_a_few_try(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(*(behind(number) for number in range(1, 9)))
        soon = BreakerData("b", failures=1, window=HOUR, open_for=1, trials=2)
        await one.store.tell_breakers([BreakerNews(soon, True)])
        trying = await one.claim_activities()
        assert numbers(trying) == [1, 2]
        assert (await one.store.read_breaker("b")).trying == 2
        assert await one.claim_activities() == []
        await end(one, trying[0], retry_in=HOUR)
        await one.store.tell_breakers([BreakerNews(BREAKER, True)])
        assert await one.claim_activities() == [], "a failure opens it again"
        await one.store.tell_breakers([BreakerNews(BREAKER, False)])
        assert await one.claim_activities() == [], "a success closes one that is half open, no other"
        await one.store.force_breaker("b", None)
        await one.store.tell_breakers([BreakerNews(soon, True)])
        await one.store.tell_breakers([BreakerNews(soon, False)])
        assert (await one.store.read_breaker("b")).open_until is None
        assert len(await one.claim_activities()) == 6


@check()
async def check_a_breaker_can_be_forced(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(*(behind(number) for number in range(1, 4)))
        await one.store.force_breaker("b", Forced.OPEN)
        assert await one.claim_activities() == []
        assert (await one.store.read_breaker("b")).forced is Forced.OPEN
        await one.store.force_breaker("b", Forced.CLOSED)
        for _ in range(5):
            await one.store.tell_breakers([BreakerNews(BREAKER, True)])
        assert len(await one.claim_activities(1)) == 1
        await one.store.force_breaker("b", None)
        known = await one.store.read_breaker("b")
        assert (known.forced, known.open_until) == (None, None)
        assert len(await one.claim_activities()) == 2


@check()
async def check_what_fails_fast_is_given_out_to_fail(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.scheduled(behind(1, fails_fast=True))
        (task,) = await one.claim_activities()
        assert not task.refused
        await end(one, task, retry_in=0)
        await one.store.force_breaker("b", Forced.OPEN)
        (task,) = await one.claim_activities()
        assert task.refused
        assert (await one.store.read_breaker("b")).trying == 0
        await end(one, task, retry_in=0)
        await one.store.force_breaker("b", None)
        (task,) = await one.claim_activities()
        assert not task.refused


@check()
async def check_a_rate_holds_for_a_queue(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.store.read_rate(QUEUE) is None
        begun = await one.store.now()
        await one.store.set_rate(QUEUE, 2.0)
        await one.store.set_rate(QUEUE, 4.0)
        assert await one.store.read_rate(QUEUE) == 4.0
        await one.scheduled(*(new_activity(number) for number in range(1, 20)), shared(20, "a"))
        taken = 0

        async def more() -> bool:
            nonlocal taken
            taken += len(await one.claim_activities(20))
            # At first there are permits for a second of the first rate.
            assert taken <= 2 + 4 * (await one.store.now() - begun) / 1e6
            return taken >= 5

        await eventually(more)
        await one.store.set_rate(QUEUE, None)
        assert await one.store.read_rate(QUEUE) is None
        assert taken + len(await one.claim_activities(20)) == 20


@check()
async def check_keys_that_nothing_has_are_swept(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(keyed(1), keyed(1 + 1, "other"))
        await one.store.set_key(ACTIVITIES, "set", 5)
        tasks = await one.claim_activities()
        await one.store.sweep_keys(10)
        assert len(tasks) == 2
        done = Transition(run.run.run_id, run.run.epoch, activities_done=(1, 2))
        await one.written(done)
        await one.store.sweep_keys(10)
        assert await one.store.sweep_keys(10) == 0
        assert (await one.store.read_key(ACTIVITIES, "set")).pinned == 5
