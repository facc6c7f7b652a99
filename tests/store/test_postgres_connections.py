"""Reaching a PostgreSQL server: one that is away, one that is elsewhere, and connections that run out."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from durable.exceptions import StoreUnavailableError
from durable.store import (
    postgres,
)
from tests.store.postgres_rig import (
    PATIENCE,
    Proxy,
    opened_hasty,
)

NOWHERE = "postgresql://someone:hunter2@127.0.0.1:1/nowhere"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (NOWHERE, "127.0.0.1:1"),
        ("postgresql://someone:hunter2@nohost.invalid/db", "nohost.invalid:5432"),
        ("postgresql://someone@/db?host=/no/such/folder&password=hunter2", "/no/such/folder:5432"),
        ("postgresql:///db", "/no/such/environment:5432"),
    ],
)
async def test_an_address_where_nobody_listens_is_told_soon(
    url: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "/no/such/environment")
    monkeypatch.setenv("PGPORT", "")
    began = asyncio.get_running_loop().time()
    with pytest.raises(
        StoreUnavailableError, match=f"at {address} .* start the server, or correct"
    ) as caught:
        await postgres.open(url, opening=0.2, acquire=600)
    assert type(caught.value) is StoreUnavailableError
    assert "hunter2" not in str(caught.value)
    assert asyncio.get_running_loop().time() - began < 60


async def test_a_server_that_is_back_in_a_moment_is_waited_for(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(postgres_url) as proxy:
        pass
    refused = asyncio.Event()
    connect = asyncpg.connect

    async def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            return await connect(*args, **kwargs)
        except ConnectionRefusedError:
            refused.set()
            raise

    monkeypatch.setattr(asyncpg, "connect", watched)
    opening = asyncio.ensure_future(postgres.open(proxy.url, opening=PATIENCE))
    await asyncio.wait_for(refused.wait(), PATIENCE)
    async with proxy:
        store = await opening
        assert await store.now() > 0
        await store.aclose()


async def test_waiting_for_a_connection_has_an_end(postgres_url: str) -> None:
    async with opened_hasty(postgres_url, pool_size=1, acquire=0.5) as store:
        async with store._pool.session():
            with pytest.raises(StoreUnavailableError, match="pool_size"):
                await store.now()
        assert await store.now() > 0
