"""Queries that wait for a worker with the code."""

from __future__ import annotations

import asyncio

from durable._engine.records import QUERY_PATIENCE
from durable._internal.ids import uuid7
from durable._internal.instants import SECOND
from durable.store import QueryAnswer, Question, Release, Transition
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import EVERY_BYTE, HOUR, QUEUE, TYPE, Room, room


def question(run_id: str, name: str = "status", **fields: object) -> Question:
    """A query that is waited for long enough."""
    given: dict[str, object] = {
        "query_id": uuid7(),
        "run_id": run_id,
        "workflow_type": "",
        "task_queue": "",
        "name": name,
        "input": b"[]",
        "expires_in": HOUR,
    }
    return Question(**(given | fields))  # type: ignore[arg-type]


async def take(
    one: Room,
    worker: str | None = None,
    limit: int = 10,
    *,
    queues: tuple[str, ...] = (QUEUE,),
    types: tuple[str, ...] = (TYPE,),
    format: int = 1,
) -> list[str]:
    """The ids of the queries that a worker is given."""
    found = await one.store.take_questions(worker or one.worker, queues, types, limit, format=format)
    return [each.query_id for each in found]


@check()
async def check_a_query_is_given_as_it_was_asked(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        asked = question(run.run_id, "status", input=EVERY_BYTE)
        assert await one.store.ask(asked)
        (found,) = await one.store.take_questions(one.worker, (QUEUE,), (TYPE,), 10, format=1)
        assert 0 < found.expires_in <= asked.expires_in
        assert found == Question(
            asked.query_id, run.run_id, TYPE, QUEUE, "status", EVERY_BYTE, found.expires_in
        )


@check()
async def check_a_query_of_no_run_is_told_so(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert not await one.store.ask(question(uuid7()))
        assert not await one.store.ask(question("no run id at all"))
        assert await take(one) == []


@check()
async def check_a_query_that_is_asked_again_is_one_query(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        asked = question(run.run_id)
        assert await one.store.ask(asked)
        assert await one.store.ask(asked)
        assert await take(one) == [asked.query_id]


@check()
async def check_an_answer_is_read_by_whoever_asked_and_the_first_one_stays(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        first, second = question(run.run_id), question(run.run_id)
        for each in (first, second):
            await one.store.ask(each)
        assert await one.store.read_answers([first.query_id]) == []
        await one.store.answer_questions([QueryAnswer(first.query_id, run.run_id, EVERY_BYTE)])
        await one.store.answer_questions(
            [QueryAnswer(first.query_id, run.run_id, b"later"), QueryAnswer(uuid7(), run.run_id, b"?")]
        )
        await one.store.answer_questions([])
        assert await one.store.read_answers([second.query_id, first.query_id]) == [
            QueryAnswer(first.query_id, run.run_id, EVERY_BYTE)
        ]
        assert await take(one) == [second.query_id], "one that is answered is given to nobody"


@check()
async def check_queries_are_given_in_the_order_in_which_they_were_asked(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        asked = [question(run.run_id) for _ in range(5)]
        for each in asked:
            await one.store.ask(each)
        ids = [each.query_id for each in asked]
        assert set(await take(one, limit=3)) == set(ids[:3])
        assert set(await take(one, limit=3)) == set(ids[3:])


@check()
async def check_a_query_is_given_to_one_worker_at_a_time(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        ids = [question(run.run_id) for _ in range(20)]
        for each in ids:
            await one.store.ask(each)
        given = await asyncio.gather(*[take(one, f"worker-{number}", 8) for number in range(5)])
        flat = [query_id for each in given for query_id in each]
        assert len(flat) == len(set(flat)), "a query was given to two workers"
        while rest := await take(one, "another"):
            flat += rest
        assert sorted(flat) == sorted(each.query_id for each in ids)


@check()
async def check_the_owner_is_asked_first(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        mine = await one.own()
        asked = question(mine.run.run_id)
        await one.store.ask(asked)
        assert await take(one, "somebody else") == []
        assert await take(one, queues=(), types=()) == [asked.query_id], "whatever it serves otherwise"


@check()
async def check_others_answer_for_an_owner_that_is_silent(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        mine = await one.own()
        asked = question(mine.run.run_id)
        await one.store.ask(asked)
        await asyncio.sleep(QUERY_PATIENCE / SECOND + 0.05)
        assert await take(one, "somebody else") == [asked.query_id]


@check()
async def check_only_who_has_the_code_is_asked_about_a_run_without_an_owner(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        open_run = await one.start(format=2)
        closed = await one.own()
        await one.close(closed)
        released = await one.own()
        release = Transition(released.run.run_id, released.run.epoch, release=Release())
        await one.store.commit([release])
        asked = {run_id: question(run_id) for run_id in (closed.run.run_id, released.run.run_id)}
        newer = question(open_run.run_id)
        for each in (*asked.values(), newer):
            await one.store.ask(each)
        assert await take(one, "w", queues=("another",)) == []
        assert await take(one, "w", types=("Another",)) == []
        assert sorted(await take(one, "w")) == sorted(each.query_id for each in asked.values())
        assert await take(one, "w", format=2) == [newer.query_id], "what a newer release wrote, it reads"


@check()
async def check_a_query_that_nobody_waits_for_is_given_to_nobody_and_swept(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        gone, waiting = question(run.run_id, expires_in=20_000), question(run.run_id)
        for each in (gone, waiting):
            await one.store.ask(each)
        await asyncio.sleep(0.05)
        assert await take(one) == [waiting.query_id]
        assert await one.store.sweep_questions(10) == 1
        assert await one.store.sweep_questions(10) == 0
        await one.store.answer_questions([QueryAnswer(waiting.query_id, run.run_id, b"answer")])
        assert len(await one.store.read_answers([gone.query_id, waiting.query_id])) == 1
