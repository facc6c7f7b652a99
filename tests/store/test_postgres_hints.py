"""Hints on PostgreSQL: heard by other processes, never held up, found again when the connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from durable.store import (
    ANY_KEY,
    Hint,
    HintKind,
)
from durable.store.postgres import PostgresStore
from tests.store.postgres_rig import (
    PATIENCE,
    opened,
    until,
)


class Ear:
    """A listener that can be waited for."""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self._news = asyncio.Event()

    def __call__(self, hint: Hint) -> None:
        self.heard.append(hint)
        self._news.set()

    async def hears(self, condition: Callable[[Hint], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(map(condition, self.heard)):
                self._news.clear()
                await self._news.wait()


async def test_hints_reach_other_processes_and_this_one(store: PostgresStore, postgres_url: str) -> None:
    async with opened(postgres_url) as other:
        here, there = Ear(), Ear()
        store.listen(here)
        other.listen(there)
        await asyncio.wait_for(other.listening.wait(), PATIENCE)
        store.hint([Hint(HintKind.RUN, "queue"), Hint(HintKind.RUN, "queue"), Hint(HintKind.RUN, "q" * 250)])
        await there.hears(lambda hint: hint == Hint(HintKind.RUN, ANY_KEY))
        store.hint([Hint(HintKind.MESSAGE, "run")])
        await there.hears(lambda hint: hint == Hint(HintKind.MESSAGE, "run"))
        assert Hint(HintKind.RUN, "queue") in here.heard


async def test_a_busy_pool_does_not_hold_up_hints(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1) as store, opened(postgres_url) as other:
        ear = Ear()
        other.listen(ear)
        store.listen(Ear())
        for one in (store, other):
            await asyncio.wait_for(one.listening.wait(), PATIENCE)
        async with store._pool.session():
            for number in range(5):
                hint = Hint(HintKind.RUN, f"queue {number}")
                store.hint([hint])
                await ear.hears(lambda heard, hint=hint: heard == hint)


async def test_nobody_listens_at_a_closed_store(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        pass
    store.listen(Ear())()
    assert store._listener is None


async def test_a_lost_listener_comes_back_and_says_that_anything_may_have_happened(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    ear = Ear()
    store.listen(ear)
    for _ in range(3):
        await ear.hears(lambda hint: hint == Hint(HintKind.RUN, ANY_KEY))
        ear.heard.clear()
        await stranger.fetch(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'durable listen%'"
        )
    await ear.hears(lambda hint: hint == Hint(HintKind.CLOSED, ANY_KEY))


LISTENERS = """
    select count(*) {} from pg_stat_activity
    where datname = current_database() and application_name like 'durable listen%'
"""


async def test_there_is_a_listening_connection_only_while_somebody_listens(
    postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async with opened(postgres_url, hint_linger=0.05) as store:
        store.hint([Hint(HintKind.RUN, "queue")])
        await store.now()
        assert await stranger.fetchval(LISTENERS.format("")) == 0
        for _ in range(3):
            first, second = Ear(), Ear()
            stops = [store.listen(ear) for ear in (first, second, second)]
            await second.hears(lambda hint: hint == Hint(HintKind.RUN, ANY_KEY))
            for stop in stops[:2] * 2:
                stop()
            await until(stranger, LISTENERS.format("= 1"))
            store.hint([Hint(HintKind.RUN, "queue")])
            await second.hears(lambda hint: hint == Hint(HintKind.RUN, "queue"))
            assert Hint(HintKind.RUN, "queue") not in first.heard
            stops[2]()
            await until(stranger, LISTENERS.format("= 0"))


async def test_who_listens_again_soon_finds_the_connection(
    postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async with opened(postgres_url, hint_linger=PATIENCE) as store:
        store.listen(Ear())()
        await asyncio.wait_for(store.listening.wait(), PATIENCE)
        listener = store._listener
        for _ in range(5):
            store.listen(Ear())()
        assert store._listener is listener
        assert await stranger.fetchval(LISTENERS.format("")) == 1
    await until(stranger, LISTENERS.format("= 0"))


async def test_a_hint_given_again_is_heard_again_here(store: PostgresStore) -> None:
    """Who was called has looked; what is written then is not covered by the hint before, sent or not."""
    ear = Ear()
    store.listen(ear)
    hint = Hint(HintKind.RUN, "queue")
    for heard in range(1, 5):
        store.hint([hint, hint])
        store.hint([hint])
        await asyncio.sleep(0)
        assert ear.heard.count(hint) == heard


async def test_many_hints_are_few_calls(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fetch = store._fetch

    async def counted(name: str, *args: Any) -> Any:
        calls.append(len(args[1]))
        return await fetch(name, *args)

    monkeypatch.setattr(store, "_fetch", counted)
    async with opened(postgres_url) as other:
        ear = Ear()
        other.listen(ear)
        await asyncio.wait_for(other.listening.wait(), PATIENCE)
        for number in range(1000):
            store.hint([Hint(HintKind.MESSAGE, f"run {number % 20}")])
        store.hint([Hint(HintKind.RUN, "last")])
        await ear.hears(lambda hint: hint == Hint(HintKind.RUN, "last"))
        assert {hint.key for hint in ear.heard if hint.kind is HintKind.MESSAGE} >= {
            f"run {number}" for number in range(20)
        }
    assert calls == [2], "what is about runs leaves as one payload"
