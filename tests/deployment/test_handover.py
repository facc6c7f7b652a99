"""SIGTERM under load: what is unfinished runs elsewhere as soon as it is handed back, and the process ends with 0."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from durable import Client
from tests.deployment.release import ROOT, succeeded, worker

RUNS = 40

LEASE = 300.0
"""Seconds of the lease of these workers: without a hand-back nobody would take over before that, nor would a retry begin."""


async def test_sigterm_under_load(store_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_LEASE", f"{LEASE}")
    first = await worker(ROOT, folder, store_url)
    ledgers = [folder / f"ledger-{number}" for number in range(RUNS)]
    async with Client.connect(store_url) as client:
        hanging = [
            await client.start_workflow("relay.hanging", str(ledger), id=ledger.name) for ledger in ledgers
        ]
        # Some are in the middle of something, some wait, and new ones come all the time.
        relays = [await client.start_workflow("relay.relay", 200, id=f"relay-{n}") for n in range(4)]
        for one in relays:
            await one.signal("go", 200)
        await _all(ledgers, 1)
        second = await worker(ROOT, folder, store_url)
        first.terminate()
        await succeeded(first)
        handed_back = time.monotonic()
        assert [one.identity for one in await client.store.list_workers()] == [
            f"{second.pid}@{socket.gethostname()}"
        ]
        await _all(ledgers, 2)
        print(
            f"all {RUNS} activities run elsewhere {time.monotonic() - handed_back:.3f} s after the process has ended"
        )
        assert {await one.result() for one in hanging} == {str(second.pid)}
        for one in relays:
            assert len(await one.result()) == 200
        second.terminate()
        await succeeded(second)


async def _all(ledgers: list[Path], beginnings: int) -> None:
    """Wait until the activity of each run has begun so often."""
    async with asyncio.timeout(60):
        while not all(one.exists() and len(one.read_text().split()) >= beginnings for one in ledgers):
            await asyncio.sleep(0.01)
