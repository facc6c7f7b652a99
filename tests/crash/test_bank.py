"""A bank whose workers, connections and commits are cut off at random: no money is lost, and none is moved twice.

`DURABLE_BANK=10000` makes ten thousand transfers of it (and as many lost commits), instead of some.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import asyncpg

from durable import Client
from durable.store import ActivityState
from tests._network import TRANSACTIONS, Network
from tests._postgres import PostgresServer
from tests.crash import bank as child
from tests.crash.harness import until
from tests.scenarios.bank import Bank, applied, balances, opened

TRANSFERS = int(os.environ.get("DURABLE_BANK", 0))
ACCOUNTS, CENTS = (1000 if TRANSFERS else 20), 1_000_000
WITHIN = 60.0 + TRANSFERS

_context = multiprocessing.get_context("forkserver")


async def transfers(client: Client, count: int, *, attempts: int = 0) -> None:
    """Move money about, fifty transfers at a time, and wait for the last."""
    chance = random.Random(count)
    slots = asyncio.Semaphore(50)

    async def one(number: int) -> None:
        source, target = chance.sample(range(ACCOUNTS), 2)
        call = child.move(number, f"a{source}", f"a{target}", chance.randint(1, 99), attempts)
        async with slots:
            handle = await client.start_workflow(call, id=f"move-{number}")
            await until("it has ended", lambda: _ended(handle), patience=WITHIN)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))


async def _ended(handle: Any) -> bool:
    """Whether a transfer is done; one that has seen three workers die is let go on, as an operator would."""
    try:
        await handle.result(timeout=5)
    except TimeoutError:
        if (await handle.describe()).hold == "quarantined":
            await handle.unblock()
        return False
    return True


async def judge(bank: Bank, count: int) -> None:
    assert sum(await balances(bank)) == ACCOUNTS * CENTS
    assert [number for number, _ in await applied(bank)] == list(range(count))


def _start(*args: str) -> BaseProcess:
    process = _context.Process(target=child.main, args=args, daemon=True)
    process.start()
    return process


async def _cut_backends(url: str, chance: random.Random) -> None:
    """End one session of the workers on the server, in the middle of whatever it does."""
    connection = await asyncpg.connect(url)
    try:
        name = "durable transaction%" if chance.random() < 0.7 else "durable%"
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1 "
            "and datname = current_database() order by random() limit 1",
            name,
        )
    finally:
        await connection.close()


@contextmanager
def _workers(url: str) -> Iterator[list[BaseProcess]]:
    """Two of them, in processes of their own; whoever kills one puts another in its place."""
    processes = [_start(url) for _ in range(2)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join(10)


async def test_no_money_is_lost_when_workers_and_sessions_are_killed(store_url: str) -> None:
    count = TRANSFERS or 60
    chance = random.Random(7)
    bank = await opened(store_url, ACCOUNTS, CENTS)
    kills = 0
    async with Client.connect(store_url) as client:
        with _workers(store_url) as processes:
            moving = asyncio.create_task(transfers(client, count))
            done = 0
            while not moving.done():
                await asyncio.wait([moving], timeout=chance.uniform(0.1, 0.5))
                if bank.postgres:
                    await _cut_backends(store_url, chance)
                before, done = done, len(await applied(bank))
                # One that has not moved anything yet is still starting.
                if done > before and kills < max(4, count // 50):
                    os.kill(processes[0].pid or 0, signal.SIGKILL)
                    processes.append(_start(store_url))
                    processes.pop(0).join(10)
                    kills += 1
            await moving
    assert kills > 0
    await judge(bank, count)


async def test_no_money_is_lost_when_the_server_is_killed(mortal: PostgresServer) -> None:
    """The postmaster and all backends at once, in the middle of transfers, and with them a worker."""
    count = TRANSFERS or 200
    url = mortal.create_database()
    bank = await opened(url, ACCOUNTS, CENTS)
    async with Client.connect(url) as client:
        with _workers(url) as processes:
            moving = asyncio.create_task(transfers(client, count))
            for share in (0.2, 0.5, 0.8):
                made = partial(_have_been_made, bank, share * count, moving)
                await until("transfers are made", made, patience=WITHIN)
                await asyncio.to_thread(mortal.kill)
                processes[0].kill()
                await asyncio.to_thread(mortal.start)
                processes.append(_start(url))
                processes.pop(0).join(10)
            await moving
    await judge(bank, count)


async def _have_been_made(bank: Bank, number: float, moving: asyncio.Task[None]) -> bool:
    if moving.done():
        await moving  # which tells why
    return len(await applied(bank)) >= number


async def test_a_commit_whose_answer_is_lost_is_made_once_and_fails_nothing(postgres_url: str) -> None:
    """With one attempt allowed: a lost commit is none that failed."""
    count = TRANSFERS or 60
    bank = await opened(postgres_url, ACCOUNTS, CENTS)
    network = Network(postgres_url, TRANSACTIONS)
    network.steal = 0.5
    async with network.between() as url, Client.connect(url) as client, child.worker(client):
        await transfers(client, count, attempts=1)
    assert min(network.stolen.values()) > count // 10
    await judge(bank, count)


async def test_a_worker_that_wakes_up_again_cannot_commit(postgres_url: str, tmp_path: Path) -> None:
    """It is stopped in the middle of its transaction, for longer than its lease, and another one takes over."""
    bank = await opened(postgres_url, ACCOUNTS, CENTS)
    door = tmp_path / "door"
    first = _start(postgres_url, str(door))
    second: BaseProcess | None = None
    try:
        async with Client.connect(postgres_url) as client:
            handle = await client.start_workflow(child.move(0, "a0", "a1", 5, 0), id="move-0")

            async def attempt(number: int) -> bool:
                rows = await client.store.read_activities(handle.result_run_id or "")
                running = [row for row in rows if row.state is ActivityState.RUNNING and row.worker]
                return any(row.attempt == number for row in running)

            async def open_transactions() -> bool:
                query = "select from pg_stat_activity where application_name like 'durable transaction%' and state like 'idle in tr%'"
                return bool(await bank.run(query))

            await until("the first attempt runs", lambda: attempt(1))
            await until("it has written", open_transactions)
            os.kill(first.pid or 0, signal.SIGSTOP)
            second = _start(postgres_url)
            # It waits for the account, which the stopped one has locked.
            await until("the second attempt runs", lambda: attempt(2))
            door.touch()
            os.kill(first.pid or 0, signal.SIGCONT)
            assert await handle.result(timeout=WITHIN) == CENTS - 5
        assert await applied(bank) == [(0, 2)]
        await judge(bank, 1)
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.join(10)
