"""Each scenario runs on both databases; with workers that never keep a run in memory, if DURABLE_TEST_CACHE is "off"."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import durable.client._client as client_module
from durable import Client
from tests import _roles
from tests._postgres import PostgresServer
from tests.scenarios.rig import Env, StoreProxy

if _roles.FORCED:

    @pytest.fixture
    def postgres_url(postgres: PostgresServer) -> Iterator[str]:
        """A database as the role finds it that is forced."""
        with _roles.database_for(postgres, _roles.FORCED) as (_, url):
            yield url

    def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
        """What is not for this role is left to the run without one."""
        left = [item for item in items if item.get_closest_marker("owner")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


CACHES = {"on": pytest.param(1000, id="cached"), "off": pytest.param(0, id="uncached")}


@pytest.fixture(params=[CACHES[os.environ.get("DURABLE_TEST_CACHE", "on")]])
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
