"""Every store keeps every promise of the port."""

from __future__ import annotations

import pytest

from durable.store import Store, open_store
from durable.testing.conformance import CALLER_CHECKS, CHECKS, CallerCheck, Check
from tests.scenarios import callers

ALONE = [check for check in CHECKS if check.stores == 1]


def _named(check: Check | CallerCheck) -> str:
    return check.name


@pytest.mark.parametrize("check", CHECKS, ids=_named)
async def test_store(check: Check, store_url: str) -> None:
    async def open_again() -> Store:
        return await open_store(store_url)

    await check.run(open_again)


@pytest.mark.sqlite
@pytest.mark.parametrize("check", ALONE, ids=_named)
async def test_sqlite_in_memory(check: Check) -> None:
    async def open_fresh() -> Store:
        return await open_store("sqlite://:memory:")

    await check.run(open_fresh)


@pytest.mark.parametrize("check", CALLER_CHECKS, ids=_named)
async def test_callers(check: CallerCheck, store_url: str) -> None:
    async def open_again() -> Store:
        return await open_store(store_url)

    await check.run(open_again, lambda: callers.of_database(store_url))


def test_checks_have_names_of_their_own() -> None:
    names = [check.name for check in (*CHECKS, *CALLER_CHECKS)]
    assert len(names) == len(set(names))
