"""Sends, starts and ends that meet a run that is closing, on PostgreSQL: nothing is lost, nothing deadlocks."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import asyncpg

from durable._internal.ids import uuid7
from durable.common import WorkflowIDReusePolicy
from durable.store import (
    AttemptOutcome,
    Message,
    NewActivity,
    NewRun,
    SendOutcome,
    StartOutcome,
    Verdict,
)
from durable.store.postgres import PostgresStore
from tests.store.postgres_rig import (
    closing,
    commit_by,
    opened,
    start,
    step,
    terminate,
    until_waiting,
)


async def test_a_closer_does_not_pass_a_sender(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    transaction = stranger.transaction()
    await transaction.start()
    await stranger.execute(store._sql["send"], [run], ["m"], [2], [False], [b"m"])
    assert (await store.commit([closing(run)])).verdicts == (Verdict.BUSY,)
    await transaction.commit()
    assert (await store.commit([closing(run)])).verdicts == (Verdict.REFUSED,)
    (message,) = await store.read_messages([run])
    assert (await store.commit([closing(run, consumed=(message.position,))])).verdicts == (Verdict.WRITTEN,)


async def test_a_sender_waits_for_a_closer(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    transaction = stranger.transaction()
    await transaction.start()
    await commit_by(stranger, store, [closing(run)])
    sending = asyncio.create_task(store.send([Message(run, "m", 2, b"")]))
    await until_waiting(stranger)
    await transaction.commit()
    assert await sending == [SendOutcome.CLOSED]


async def test_two_thousand_races_of_a_sender_and_a_closer_lose_nothing(
    store: PostgresStore, postgres_url: str
) -> None:
    chance = random.Random(20)
    tally = dict.fromkeys(("closed first", "sent first"), 0)
    async with opened(postgres_url) as sender:
        for _ in range(50):
            runs = await start(store, 40)
            order = runs.copy()
            chance.shuffle(order)

            async def send(some: list[str]) -> dict[str, SendOutcome]:
                return dict(
                    zip(some, await sender.send([Message(run, "m", 2, b"") for run in some]), strict=True)
                )

            async def close(runs: list[str] = runs) -> dict[str, Verdict]:
                verdicts: dict[str, Verdict] = {}
                while left := [run for run in runs if verdicts.get(run, Verdict.BUSY) is Verdict.BUSY]:
                    result = await store.commit([closing(run) for run in left])
                    verdicts.update(zip(left, result.verdicts, strict=True))
                return verdicts

            cuts = [order[n : n + 5] for n in range(0, 40, 5)]
            at = chance.randrange(len(cuts))
            jobs: list[Any] = [send(some) for some in cuts]
            jobs.insert(at, close())
            answers = await asyncio.gather(*jobs)
            verdicts = answers.pop(at)
            for run, outcome in {k: v for answer in answers for k, v in answer.items()}.items():
                if outcome is SendOutcome.SENT:
                    assert verdicts[run] is Verdict.REFUSED
                    tally["sent first"] += 1
                else:
                    assert outcome is SendOutcome.CLOSED
                    assert verdicts[run] is Verdict.WRITTEN
                    tally["closed first"] += 1
            left = {message.run_id for message in await store.read_messages(runs)}
            assert left == {run for run, verdict in verdicts.items() if verdict is Verdict.REFUSED}
    assert min(tally.values()) > 20, tally


async def test_parent_and_child_closing_together_never_deadlock(
    store: PostgresStore, postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async def close(store: PostgresStore, run: str, other: str) -> int:
        consumed: tuple[int, ...] = ()
        for tries in range(1, 100):
            transition = closing(run, consumed=consumed, messages=(Message(other, f"from {run}", 2, b""),))
            (verdict,) = (await store.commit([transition])).verdicts
            if verdict is Verdict.WRITTEN:
                return tries
            consumed = tuple(message.position for message in await store.read_messages([run]))
        raise AssertionError("closing starved")

    async with opened(postgres_url) as other:
        parents, children = await start(store, 100), await start(store, 100)
        for parent, child in zip(parents, children, strict=True):
            await asyncio.gather(close(store, parent, child), close(other, child, parent))
    assert await stranger.fetchval("select count(*) from durable.runs where status = 2") == 200
    assert await stranger.fetchval("select count(*) from durable.inbox") == 0
    question = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await stranger.fetchval(question) == 0


async def test_two_that_close_in_one_batch_and_write_to_each_other_go_one_by_one(
    store: PostgresStore,
) -> None:
    first, second = await start(store, 2)
    batch = [
        closing(first, messages=(Message(second, "a", 2, b""),)),
        closing(second, messages=(Message(first, "b", 2, b""),)),
    ]
    assert (await store.commit(batch)).verdicts == (Verdict.WRITTEN, Verdict.BUSY)
    assert (await store.commit(batch[1:])).verdicts == (Verdict.REFUSED,)
    (message,) = await store.read_messages([first, second])
    again = closing(second, consumed=(message.position,), messages=(Message(first, "b", 2, b""),))
    assert (await store.commit([again])).verdicts == (Verdict.WRITTEN,)


async def test_a_duplicate_is_not_started_while_the_open_run_closes(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (run,) = await start(store)
    workflow = f"workflow-{run}"
    again = NewRun(uuid7(), workflow, "t", "q", b"{}", reuse=WorkflowIDReusePolicy.REJECT_DUPLICATE)
    transaction = stranger.transaction()
    await transaction.start()
    await commit_by(stranger, store, [closing(run)])
    starting = asyncio.create_task(store.create_runs([again]))
    await until_waiting(stranger)
    await transaction.commit()
    (verdict,) = await starting
    assert verdict.outcome is StartOutcome.REJECTED
    assert verdict.run_id == run
    assert await store.find_run(workflow, again.run_id) is None


async def test_terminate_drops_what_an_ending_attempt_brings(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (run,) = await start(store)
    await store.commit([step(run, activities=(NewActivity(1, "a", "q", b"", 0),))])
    await store.claim_activities("me", ["q"], ["a"], 1, format=1)
    transaction = stranger.transaction()
    await transaction.start()
    outcome = AttemptOutcome(run, 1, 1, "me", Message(run, "done", 22, b"", internal=True))
    message = outcome.message
    assert message is not None
    await stranger.execute(
        store._sql["finish_attempts"],
        [run], [1], [1], ["me"], [2], [None], [b""], [message.message_id], [22], [True], [b""], [False],
        [None], [0],
    )  # fmt: skip
    ending = asyncio.create_task(terminate(store, run))
    await until_waiting(stranger)
    await transaction.commit()
    await ending
    assert await store.read_messages([run]) == []
    assert await store.finish_attempts([outcome]) == [False]


async def test_messages_to_closed_runs_are_swept(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    await store.commit([closing(run)])
    await stranger.execute(
        "insert into durable.inbox (run_id, type, internal, task_queue, message_id, data) "
        "values ($1, 22, true, 'q', 'late', '')",
        run,
    )
    await store.take_over(10)
    assert await store.read_messages([run]) == []
