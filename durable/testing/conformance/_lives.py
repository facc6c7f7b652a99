"""A store itself: its clock, its hints, its end, and two of it on one database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from durable.exceptions import StoreUnavailableError
from durable.store import ANY_KEY, Hint, HintKind, Store, Transition
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import event, eventually, message, new_activity, new_run, room

A_RUN = Hint(HintKind.RUN, "queue")


def _heard(heard: list[Hint], hint: Hint) -> bool:
    return any(each.kind is hint.kind and each.key in (hint.key, ANY_KEY) for each in heard)


async def _told(teller: Store, heard: list[Hint], hint: Hint) -> None:
    """Hint until it is heard: one alone may be lost."""

    async def told() -> bool:
        teller.hint([hint])
        await asyncio.sleep(0)
        return _heard(heard, hint)

    await eventually(told)


@check()
async def check_time_does_not_go_back(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        times = [await one.store.now() for _ in range(50)]
        assert times == sorted(times)
        assert times[0] > 1_600_000_000_000_000


@check()
async def check_the_url_names_the_database_without_a_password(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert "://" in one.store.url
        before, at, _ = one.store.url.partition("://")[2].rpartition("@")
        assert not at or ":" not in before or before.endswith(":***")


@check()
async def check_a_store_closes_twice(open_store: OpenStore) -> None:
    store = await open_store()
    await store.aclose()
    await store.aclose()


@check()
async def check_a_closed_store_says_so(open_store: OpenStore) -> None:
    store = await open_store()
    await store.aclose()
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: store.find_run("any"),
        lambda: store.create_runs([new_run()]),
        lambda: store.commit([Transition("any", 1)]),
    )
    for call in calls:
        async with asyncio.timeout(1.0):  # a store that tries to reconnect takes longer
            answer = (await asyncio.gather(call(), return_exceptions=True))[0]
        assert isinstance(answer, StoreUnavailableError), answer
        assert "has been closed" in str(answer), answer


@check()
async def check_closing_finishes_what_is_under_way(open_store: OpenStore) -> None:
    store = await open_store()
    run = new_run()
    starting = asyncio.ensure_future(store.create_runs([run]))
    await asyncio.sleep(0)
    await store.aclose()
    answer = (await asyncio.gather(starting, return_exceptions=True))[0]
    assert isinstance(answer, list | StoreUnavailableError), answer


@check()
async def check_hinting_needs_no_listener(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        one.store.hint([])
        one.store.hint([A_RUN, A_RUN])


@check()
async def check_a_stopped_listener_hears_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        heard: list[Hint] = []
        stop = one.store.listen(heard.append)
        stop()
        stop()
        one.store.hint([A_RUN])
        for _ in range(5):
            await asyncio.sleep(0)
        assert heard == []


@check(stores=2)
async def check_a_listener_hears_hints_of_another_store(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        heard: list[Hint] = []
        stop = one.store.listen(heard.append)
        for hint in (
            A_RUN,
            Hint(HintKind.ACTIVITY, "queue"),
            Hint(HintKind.MESSAGE, "id"),
            Hint(HintKind.CLOSED, "id"),
        ):
            await _told(two.store, heard, hint)
        stop()


@check(stores=2)
async def check_what_one_store_wrote_the_other_reads(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        run = await one.start()
        assert await two.claimed_ids() == {run.run_id}
        assert await one.store.owned_runs(two.worker) == {run.run_id: 1}
        await one.send(message(run.run_id, "hello"))
        assert [each.message_id for each in await two.store.read_owned_messages(two.worker, 10)] == ["hello"]
        await two.written(Transition(run.run_id, 1, (event(2),), activities=(new_activity(1),)))
        assert [row.seq for row in await one.store.read_events(run.run_id)] == [1, 2]
        assert [task.id for task in await one.claim_activities()] == [1]
        assert {each.worker_id for each in await one.store.list_workers()} == {one.worker, two.worker}


@check(stores=2)
async def check_what_was_written_outlives_its_store(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
    async with room(open_store) as two:
        assert await two.claimed_ids() == {run.run_id}


@check(stores=2)
async def check_two_stores_may_open_at_once(open_store: OpenStore) -> None:
    stores = await asyncio.gather(open_store(), open_store(), open_store())
    for store in stores:
        assert await store.find_run("any") is None
        await store.aclose()


@check()
async def check_methods_may_be_called_concurrently(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [new_run() for _ in range(20)]
        await asyncio.gather(
            *(one.store.create_runs([run]) for run in runs),
            *(one.store.find_run(run.workflow_id) for run in runs),
            *(one.claim(3) for _ in range(5)),
            *(one.store.next_wake(("queue",)) for _ in range(5)),
        )
        while await one.claim(50):
            pass
        assert len(await one.store.owned_runs(one.worker)) == 20
