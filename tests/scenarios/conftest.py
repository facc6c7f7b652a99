"""Each scenario runs on both databases, with workers that keep runs in memory and with workers that never do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import durable.client._client as client_module
from durable import Client
from tests.scenarios.rig import Env, StoreProxy


@pytest.fixture(params=[1000, 0], ids=["cached", "uncached"])
def cached(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of this test have a store that can be held up."""
    open_store: Callable[..., Any] = client_module.open_store

    async def opened(*args: Any, **kwargs: Any) -> Any:
        return StoreProxy(await open_store(*args, **kwargs))

    monkeypatch.setattr(client_module, "open_store", opened)


@pytest.fixture
async def env(store_url: str, cached: int, proxied: None) -> AsyncIterator[Env]:
    async with Client.connect(store_url) as client:
        made = Env(client, cached)
        yield made
        await made.judge()


@pytest.fixture
async def plain(store_url: str, proxied: None) -> AsyncIterator[Env]:
    """As `env`, with a cache: for what has nothing to do with it."""
    async with Client.connect(store_url) as client:
        made = Env(client, 1000)
        yield made
        await made.judge()
