"""A little chaos for every run of the tests; `make chaos` has all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from durable import Client, Worker
from durable.exceptions import WorkflowNotFoundError
from durable.testing.invariants import verify
from tests._postgres import PostgresServer
from tests.chaos import work
from tests.chaos.faults import FAULTS
from tests.chaos.lane import Size, scenario
from tests.chaos.work import order, paid
from tests.crash.harness import until
from tests.scenarios.bank import applied, opened, transfer_by_asyncpg


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresServer]:
    """A server of the test's own, to be stopped."""
    monkeypatch.delenv("DURABLE_TEST_POSTGRES", raising=False)
    with PostgresServer.open() as server:
        yield server


@pytest.mark.parametrize("name", ["F3", "F13"])
async def test_nothing_is_lost_and_nothing_doubled(mortal: PostgresServer, name: str, tmp_path: Path) -> None:
    # A lease that no worker misses because the machine is busy: nothing but the fault explains a second attempt.
    size = Size(orders=20, workers=2, times=1, lease=5.0)
    found = await scenario(FAULTS[name], mortal, tmp_path, size)
    assert found.good, found


async def test_a_database_that_went_back_is_gone_on_with(mortal: PostgresServer, tmp_path: Path) -> None:
    """An older state is restored under a worker that lives: what the state knows goes on, what it lost is not there."""
    url = mortal.create_database()
    bank = await opened(url, 20, 1000)
    work.open_ledger(str(tmp_path / "ledger"))
    async with (
        Client.connect(url) as client,
        Worker(
            client,
            workflows=[order],
            activities=[work.ship, transfer_by_asyncpg],
            lease_duration=1.5,
            poll_interval=0.1,
        ),
    ):
        before = [await client.start_workflow(order(n, f"a{n}", "a9", 5), id=f"old-{n}") for n in range(3)]

        async def shipped() -> bool:
            return all([len((await one.fetch_history()).events) >= 3 for one in before])

        await until("the orders are shipped", shipped)
        await asyncio.to_thread(mortal.stop)
        await asyncio.to_thread(mortal.save, tmp_path / "backup")
        await asyncio.to_thread(mortal.start)
        for number, one in enumerate(before):
            await one.signal(paid(number))
        assert [await one.result(timeout=60) for one in before] == [[n, n] for n in range(3)]
        lost = await client.start_workflow(order(7, "a7", "a9", 5), id="lost")
        await asyncio.to_thread(mortal.stop)
        await asyncio.to_thread(mortal.restore, tmp_path / "backup")
        await asyncio.to_thread(mortal.start)
        assert await applied(bank) == [], "the bank went back too"
        for number, one in enumerate(before):
            await one.signal(paid(number))
        again = [client.get_workflow_handle(f"old-{n}") for n in range(3)]
        assert [await one.result(timeout=60) for one in again] == [[n, n] for n in range(3)]
        assert [number for number, _ in await applied(bank)] == [0, 1, 2]
        with pytest.raises(WorkflowNotFoundError):
            await lost.describe()
        assert [one async for _, found in verify(client.store) for one in found] == []
