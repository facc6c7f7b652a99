"""Fixtures of the tests of stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from durable.store.postgres import PostgresStore
from tests.store.postgres_rig import connected, opened, register


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    async with opened(postgres_url) as store:
        await register(store, "me")
        yield store


@pytest.fixture
async def stranger(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's session."""
    async with connected(postgres_url) as connection:
        yield connection
