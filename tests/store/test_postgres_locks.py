"""Locks on PostgreSQL: what waits for whom, what nobody waits for, and two that work on one row."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import asyncpg
import pytest

from durable._internal.ids import uuid7
from durable.history import EventRow
from durable.store import (
    Close,
    Message,
    NewActivity,
    Release,
    RunStatus,
    Transition,
    Verdict,
)
from durable.store.postgres import PostgresStore
from tests.store.postgres_rig import (
    closing,
    commit_by,
    opened,
    register,
    start,
    step,
    terminate,
)


async def test_a_row_held_by_a_stranger_holds_up_that_run_only(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    runs = await start(store, 20)
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for update", runs[7])
        result = await store.commit([step(run) for run in runs])
        assert [n for n, verdict in enumerate(result.verdicts) if verdict is not Verdict.WRITTEN] == [7]
        assert result.verdicts[7] is Verdict.BUSY
        assert len(await store.read_events(runs[7])) == 1
    assert (await store.commit([step(runs[7])])).verdicts == (Verdict.WRITTEN,)


async def test_nothing_of_a_busy_transition_is_written(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    busy, other = await start(store, 2)
    await store.send([Message(busy, "m", 2, b"m")])
    (message,) = await store.read_messages([busy])
    everything = step(
        busy,
        consumed=(message.position,),
        activities=(NewActivity(1, "a", "q", b"", 0),),
        messages=(Message(other, "from busy", 2, b""), Message(other, "internal", 2, b"", internal=True)),
        release=Release(reason="why"),
    )
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for no key update", busy)
        assert (await store.commit([everything, step(other)])).verdicts == (Verdict.BUSY, Verdict.WRITTEN)
    assert await store.read_messages([busy, other]) == [message]
    assert await store.read_activities(busy) == []
    assert busy in await store.owned_runs("me")


async def test_the_target_of_a_message_is_not_waited_for(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    sender, target = await start(store, 2)
    transition = step(sender, messages=(Message(target, "m", 2, b""),))
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for update", target)
        assert (await store.commit([transition])).verdicts == (Verdict.BUSY,)
    assert (await store.commit([transition])).verdicts == (Verdict.WRITTEN,)


async def test_an_activity_row_is_not_waited_for(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    await store.commit([step(run, activities=(NewActivity(1, "a", "q", b"", 0),))])
    async with stranger.transaction():
        await stranger.execute("select from durable.activity_tasks for update")
        assert (await store.commit([step(run, 3, activities_done=(1,))])).verdicts == (Verdict.BUSY,)
        assert (await store.commit([step(run, 3, activities_canceled=(1,))])).verdicts == (Verdict.BUSY,)
        assert (await store.commit([closing(run, 3)])).verdicts == (Verdict.BUSY,)
        assert (await store.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
    assert (await store.commit([closing(run, 4)])).verdicts == (Verdict.WRITTEN,)
    assert await store.read_activities(run) == []


async def test_a_senders_open_transaction_lets_steps_pass(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (run,) = await start(store)
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for key share", run)
        assert (await store.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
        assert (await store.commit([closing(run, 3)])).verdicts == (Verdict.BUSY,)


async def test_claim_against_commit(store: PostgresStore, postgres_url: str) -> None:
    """A run is taken away from a worker that is writing: what it wrote is seen by the claim, or was not written."""
    async with opened(postgres_url) as other:
        await register(other, "other")
        for _ in range(60):
            runs = await start(store, 5)
            await store.commit([])

            async def take(runs: list[str] = runs) -> dict[str, int]:
                async with other._pool.session() as session:
                    await session.fetch(
                        "update durable.runs set owner = null, wake_at = 0 where run_id = any ($1::uuid[])",
                        [runs],
                    )
                claimed = await other.claim_runs("other", ["q"], ["t"], 10, format=1)
                return {one.run.run_id: len(one.events) for one in claimed}

            result, claimed = await asyncio.gather(store.commit([step(run) for run in runs]), take())
            for run, verdict in zip(runs, result.verdicts, strict=True):
                assert len(await other.read_events(run)) == (2 if verdict is Verdict.WRITTEN else 1)
                if run in claimed:
                    assert claimed[run] == (2 if verdict is Verdict.WRITTEN else 1)
            await asyncio.gather(*[terminate(store, run) for run in runs])


async def test_claimers_share_without_overlap(store: PostgresStore, postgres_url: str) -> None:
    runs = set(await start(store, 200, owner=None))
    async with opened(postgres_url) as other:
        await register(other, "other")
        taken = await asyncio.gather(
            *[
                (store, other)[n % 2].claim_runs(("me", "other")[n % 2], ["q"], ["t"], 10, format=1)
                for n in range(20)
            ]
        )
    ids = [one.run.run_id for batch in taken for one in batch]
    assert len(ids) == len(set(ids))
    assert all(len(batch) <= 10 for batch in taken)
    assert set(ids) | set(await remaining(store)) == runs


async def remaining(store: PostgresStore) -> list[str]:
    ids: list[str] = []
    while batch := await store.claim_runs("me", ["q"], ["t"], 50, format=1):
        ids += [one.run.run_id for one in batch]
    return ids


async def test_every_verdict_is_true_whoever_else_is_at_work(
    store: PostgresStore, postgres_url: str, stranger: asyncpg.Connection
) -> None:
    """Owners that step and close, against senders, claimers and people who terminate, judged by what stands there."""
    chance = random.Random(6)
    tally: Counter[Verdict] = Counter()
    runs = await start(store, 120)

    def next_transition(run: str, seq: int, epoch: int, read: tuple[int, ...]) -> Transition:
        close = Close(RunStatus.COMPLETED) if chance.random() < 0.2 else None
        return Transition(run, epoch, (EventRow(seq, seq, 20, uuid7().encode()),), consumed=read, close=close)

    async def own(store: PostgresStore, me: str) -> None:
        for _ in range(30):
            await store.claim_runs(me, ["q"], ["t"], 3, format=1)
            owned = await store.owned_runs(me)
            batch: list[Transition] = []
            for run, epoch in owned.items():
                read = tuple(message.position for message in await store.read_messages([run]))
                batch.append(next_transition(run, len(await store.read_events(run)) + 1, epoch, read))
            result = await store.commit(batch)
            for transition, verdict in zip(batch, result.verdicts, strict=True):
                tally[verdict] += 1
                (event,) = transition.events
                found = await store.read_events(transition.run_id, event.seq - 1, 1)
                assert (verdict is Verdict.WRITTEN) == ([row.data for row in found] == [event.data])
                if verdict is Verdict.LOST:
                    assert (await store.commit([transition])).verdicts == (Verdict.LOST,)
                elif verdict is Verdict.REFUSED:
                    assert transition.close
                    assert await disturbed(transition)
            await asyncio.sleep(0)

    async def disturbed(refused: Transition) -> bool:
        """There is a message still, unless the run has gone on without this owner."""
        if await store.read_messages([refused.run_id]):
            return True
        # In this order: whoever ends the run between the two looks removes its messages as well.
        record = await store.find_run(f"workflow-{refused.run_id}", refused.run_id)
        assert record is not None
        return record.status is not RunStatus.RUNNING or record.epoch != refused.epoch

    async def disturb(other: PostgresStore) -> None:
        for _ in range(200):
            run = chance.choice(runs)
            match chance.randrange(20):
                case 0:
                    await other.terminate(
                        run, lambda seq: EventRow(seq, seq, 13, b"{}"), Close(RunStatus.TERMINATED)
                    )
                case 1 | 2 | 3 | 4:
                    async with other._pool.session() as session:  # as if its owner were dead
                        await session.fetch(
                            "update durable.runs set owner = null, epoch = epoch + 1, wake_at = 0 "
                            "where run_id = $1 and status = 1",
                            [run],
                        )
                case _:
                    await other.send([Message(run, uuid7(), 2, b"")])

    async with opened(postgres_url) as two, opened(postgres_url) as three:
        await register(two, "two")
        await asyncio.gather(own(store, "me"), own(two, "two"), disturb(three), disturb(three))
    assert {Verdict.WRITTEN, Verdict.LOST, Verdict.REFUSED} <= tally.keys(), tally
    question = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await stranger.fetchval(question) == 0


async def test_who_has_locked_a_run_for_long_is_named(
    store: PostgresStore, stranger: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, other = await start(store, 2)
    async with stranger.transaction():
        await stranger.execute("set local application_name = 'somebody'")
        await stranger.execute("select from durable.runs where run_id = $1 for key share", locked)
        assert await store.locked_by(locked) == "", "not for long yet"
        monkeypatch.setattr("durable.store.postgres._runs.LOCKED_LONG", 0)
        told = await store.locked_by(locked)
        assert str(stranger.get_server_pid()) in told
        assert "somebody, idle in transaction" in told
        assert await store.locked_by(other) == ""
    assert await store.locked_by(locked) == ""
    assert await store.locked_by("no run") == ""


async def test_a_step_writes_its_events_and_nothing_else(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    """With an older transaction open, a row that every step updates comes to cost hundreds of times more."""
    runs = await start(store, 5)
    async with stranger.transaction():
        for seq in range(2, 12):
            await commit_by(stranger, store, [step(run, seq) for run in runs])
        written = await stranger.fetch(
            "select relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_xact_user_tables "
            "where n_tup_ins + n_tup_upd + n_tup_del > 0"
        )
        assert [tuple(row) for row in written] == [("events", 50, 0, 0)]
        await commit_by(stranger, store, [closing(runs[0], 12)])
        closed = await stranger.fetchval(
            "select n_tup_upd from pg_stat_xact_user_tables where relname = 'runs'"
        )
    assert closed == 1
