"""Lost replies on PostgreSQL: what became of a commit is never guessed."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import asyncpg
import pytest

from durable.exceptions import StoreUnavailableError
from durable.history import EventRow
from durable.store import (
    Message,
    Transition,
    Verdict,
)
from durable.store.postgres import PostgresStore
from tests._postgres import PostgresServer
from tests.store.postgres_rig import (
    PATIENCE,
    Proxy,
    opened,
    opened_hasty,
    register,
    start,
    step,
)


@pytest.mark.parametrize("cut", ["before the request", "behind the request", "before the reply"])
async def test_what_is_read_back_behind_a_cut_is_final(postgres_url: str, cut: str) -> None:
    async with Proxy(postgres_url) as proxy, opened(proxy.url) as store:
        await register(store, "me")
        runs = await start(store, 5)
        assert set((await store.commit([step(run) for run in runs])).verdicts) == {Verdict.WRITTEN}
        for seq in range(3, 13):
            proxy.cut = cut
            with pytest.raises(StoreUnavailableError):
                await store.commit([step(run, seq) for run in runs])
            lengths = {len(await store.read_events(run)) for run in runs}
            assert len(lengths) == 1, "all or nothing"
            written = lengths == {seq}
            if cut != "behind the request":
                assert written == (cut == "before the reply")
            if not written:
                result = await store.commit([step(run, seq) for run in runs])
                assert set(result.verdicts) == {Verdict.WRITTEN}
        assert proxy.cuts == 10


async def test_a_commit_left_waiting_is_ended_before_anything_is_read_back(
    postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async with Proxy(postgres_url) as proxy, opened(proxy.url) as store:
        await register(store, "me")
        run, target = await start(store, 2)
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute(store._sql["send"], [target], ["same"], [2], [True], [b""])
        proxy.cut = "behind the request"
        commit = step(run, messages=(Message(target, "same", 2, b"", internal=True),))
        with pytest.raises(StoreUnavailableError):
            await store.commit([commit])
        assert len(await store.read_events(run)) == 1
        await transaction.commit()  # what it waited for is free now; nobody is there to go on
        assert len(await store.read_events(run)) == 1
        assert (await store.commit([commit])).verdicts == (Verdict.WRITTEN,)


async def test_a_cancelled_commit_is_read_back_for_good(store: PostgresStore) -> None:
    (run,) = await start(store)
    chance = random.Random(3)
    written = 0
    seq = 2
    for _ in range(60):
        task = asyncio.create_task(store.commit([step(run, seq)]))
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        length = len(await store.read_events(run))
        assert length in (seq - 1, seq)
        written += length == seq
        seq = length + 1
        assert (await store.commit([step(run, seq)])).verdicts == (Verdict.WRITTEN,)
        seq += 1


async def test_a_server_that_stands_still_is_waited_for_before_reading_back(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with (
        opened(postgres_url) as calm,
        opened_hasty(postgres_url, statement=0.3, acquire=0.3, settle=0.3) as store,
    ):
        await register(calm, "me")
        (run,) = await start(calm)
        await calm.commit([step(run)])
        postgres.pause()
        try:
            with pytest.raises(StoreUnavailableError):
                await store.commit([step(run, 3)])
            with pytest.raises(StoreUnavailableError):
                await store.read_events(run)
        finally:
            postgres.resume()
        async with asyncio.timeout(PATIENCE):
            length = 0
            while not length:
                with suppress(StoreUnavailableError):
                    length = len(await store.read_events(run))
        if length == 2:
            assert (await calm.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
        assert len(await calm.read_events(run)) == 3


async def test_a_commit_that_gets_no_answer_is_given_up(postgres: PostgresServer, postgres_url: str) -> None:
    async with opened_hasty(postgres_url, statement=0.3, acquire=0.3, settle=0.3) as store:
        await register(store, "me")
        (run,) = await start(store)
        # The session is there, and the timer of its first commit looks after the later ones.
        await store.commit([step(run)])
        await store.commit([step(run, 3)])
        postgres.pause()
        try:
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(StoreUnavailableError, match="TimeoutError"):
                    await store.commit([step(run, 4)])
        finally:
            postgres.resume()


async def test_a_position_taken_under_the_own_epoch_is_the_callers_mistake(store: PostgresStore) -> None:
    run, other = await start(store, 2)
    await store.commit([step(run)])
    more = Transition(run, 1, (*step(run).events, *step(run, 3).events))
    with pytest.raises(ValueError, match="these very bytes, but not all"):
        await store.commit([more, step(other)])
    with pytest.raises(ValueError, match=r"has an event 2 already$"):
        await store.commit([Transition(run, 1, (EventRow(2, 2, 20, b"another"),)), step(other)])
    assert len(await store.read_events(other)) == 1


async def test_killed_sessions_are_made_up_for(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    await store.commit([step(run)])
    kill = (
        "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    for seq in range(3, 8):
        assert await stranger.fetchval(kill) > 0
        assert len(await store.read_events(run)) == seq - 1
        await stranger.fetchval(kill)
        try:
            (verdict,) = (await store.commit([step(run, seq)])).verdicts
        except StoreUnavailableError:
            assert len(await store.read_events(run)) == seq - 1
            (verdict,) = (await store.commit([step(run, seq)])).verdicts
        assert verdict is Verdict.WRITTEN
