"""One fault after the other: orders are placed while it is done to workers, network or server, and then it is judged."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from msgspec import Struct

from durable import Client, WorkflowFailureError
from durable.exceptions import StoreError
from durable.testing._servers._server import PostgresServer
from durable.testing.invariants import verify
from tests._network import Network
from tests.chaos import work
from tests.chaos.faults import Fault
from tests.chaos.places import Ground
from tests.chaos.tools import Program
from tests.chaos.work import LEASE, Job, order, paid, read_ledger
from tests.scenarios.bank import Bank, applied, balances, opened

CENTS = 1_000_000
ACCOUNTS = 200
STALLED = 60.0
"""Seconds without an order done behind which it is given up."""

PATIENCE = 3.0
"""Seconds that the next fault waits for an order done since the last one: a busy machine would do nothing but start."""

SHOWN = 3
"""Lost orders of which all is told."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.work"])


class Verdict(Struct, frozen=True):
    """What became of a fault's orders.

    Attributes:
        injected: How often the fault was done.
        lost: Orders that were acknowledged and did not end as they must.
        doubled: Transfers that were made more than once, or not at all.
        repeated: Attempts behind the first one of activities that may run again.
        unexplained: Those of them that no fault explains.
        wrong: Invariants that do not hold in the database.
    """

    fault: str
    scenario: str
    orders: int
    injected: int
    lost: int
    doubled: int
    repeated: int
    unexplained: int
    wrong: list[str]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing is wrong, and the fault has been there."""
        return not (self.lost or self.doubled or self.unexplained or self.wrong) and self.injected > 0


class Size(Struct, frozen=True):
    """How much of a scenario there is.

    Attributes:
        orders: Workflows that are placed, and more for as long as the fault was not done often enough.
        workers: Processes.
        times: How often the fault is done.
        lease: Seconds of a worker's lease.
        outage: Seconds for which the server is down, where that is the fault.
    """

    orders: int = 60
    workers: int = 4
    times: int = 3
    lease: float = LEASE
    outage: float = 3.0


class Stage:
    """The processes of a scenario, and what was done to them."""

    def __init__(
        self, fault: Fault, ground: Ground, url: str, network: Network, size: Size, job: Job
    ) -> None:
        self.fault, self.url, self.network, self.size, self.job = fault, url, network, size, job
        self.server, self.clock, self.disk = ground.server, ground.clock, ground.disk
        self.chance = random.Random(fault.id)
        self.disturbed: set[int] = set()
        self.injected = 0
        self.done = 0
        self.workers: list[BaseProcess | Program] = []
        self._all: list[BaseProcess | Program] = []

    def start(self) -> BaseProcess | Program:
        """Start a worker that is not one of `workers`."""
        if self.job.environment:
            program = Program(self.job)
            self._all.append(program)
            return program
        process = _context.Process(target=work.main, args=(self.job,), daemon=True)
        process.start()
        self._all.append(process)
        return process

    def some_worker(self) -> BaseProcess | Program:
        """One of the workers."""
        return self.chance.choice(self.workers)

    def replace(self, worker: BaseProcess | Program) -> None:
        """Put a fresh worker into the place of one."""
        self.workers[self.workers.index(worker)] = self.start()

    async def until_ended(self, worker: BaseProcess | Program, *, within: float) -> None:
        """Wait for the end of a process."""
        end = time.monotonic() + within
        while worker.exitcode is None:
            assert time.monotonic() < end, f"a worker did not end within {within} s"
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[asyncpg.Connection[Any]]:
        """A session of somebody else's."""
        connection = await asyncpg.connect(self.url)
        try:
            yield connection
        finally:
            connection.terminate()

    def close(self) -> None:
        """Kill what is left."""
        for process in self._all:
            if process.exitcode is None:
                process.kill()
            process.join(10)


async def scenario(fault: Fault, server: PostgresServer, directory: Path, size: Size) -> Verdict:
    """Place orders while a fault is done until it was done so often and the last order has ended; then judge."""
    with fault.place.make(server, directory) as ground:
        began = time.monotonic()
        url = ground.server.create_database()
        bank = await opened(url, ACCOUNTS, CENTS)
        async with Client.connect(url) as client:
            for statement in fault.setup:
                ground.server.execute(statement.format(database=f'"{urlsplit(url).path.lstrip("/")}"'))
            network = Network(url)
            async with network.between() as through:
                stage = Stage(fault, ground, url, network, size, Job(
                    through, str(directory / f"{fault.id}.ledger"), lease=size.lease,
                    limits=dict(fault.limits), environment=ground.environment,
                ))  # fmt: skip
                stage.workers = [stage.start() for _ in range(size.workers)]
                try:
                    ends = await _placed_amid(stage, client, size)
                finally:
                    stage.close()
                return await _judged(stage, client, bank, ends, time.monotonic() - began)


async def _placed_amid(stage: Stage, client: Client, size: Size) -> list[Any]:
    placing = asyncio.create_task(_place(stage, client, size.orders, lambda: stage.injected < size.times))
    while not placing.done():
        done, latest = stage.done, time.monotonic() + PATIENCE
        await asyncio.wait([placing], timeout=stage.chance.uniform(0.3, 1.7) * stage.fault.pause)
        while not placing.done() and stage.done == done and time.monotonic() < latest:
            await asyncio.wait([placing], timeout=0.02)
        if not placing.done() and stage.injected < size.times:
            # The server may be away, or cut off whoever does it.
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                stage.injected += await stage.fault.inject(stage)
    return await placing


async def _place(stage: Stage, client: Client, count: int, more: Callable[[], bool]) -> list[Any]:
    """Place orders, a hundred at a time, and a hundred more for as long as more are wanted.

    Returns:
        Their results; None for one that did not end as it must.
    """
    chance, slots = random.Random(count), asyncio.Semaphore(100)
    progress = [time.monotonic()]
    ends: list[Any] = []

    async def one(number: int) -> Any:
        source, target = chance.sample(range(ACCOUNTS), 2)
        call = order(number, f"a{source}", f"a{target}", chance.randint(1, 99))
        async with slots:
            handle = await _insist(
                lambda: client.start_workflow(call, id=f"order-{number}", request_id=f"start-{number}")
            )
            await _insist(lambda: handle.signal(paid(number), request_id=f"paid-{number}"))
            while time.monotonic() - progress[0] < STALLED + stage.size.outage:
                try:
                    result = await handle.result(timeout=2)
                    progress[0] = time.monotonic()
                    stage.done += 1
                    return result
                except TimeoutError:
                    with contextlib.suppress(StoreError):
                        if (await handle.describe()).hold == "quarantined":
                            await handle.unblock()  # three workers died of it by chance: as an operator would
                except StoreError:
                    await asyncio.sleep(0.1)
                except WorkflowFailureError:
                    return None
            return None

    while not ends or (more() and None not in ends):
        wanted = min(count, 100) if ends else count
        ends += await asyncio.gather(*[one(len(ends) + number) for number in range(wanted)])
    return ends


async def _insist(call: Any) -> Any:
    """Ask until it is acknowledged: every request here has an id, so that it takes effect once."""
    while True:
        try:
            return await call()
        except StoreError:
            await asyncio.sleep(0.1)


async def _shown(client: Client, workflow_id: str) -> str:
    """All that the database has of a run that is lost."""
    record = await client.store.find_run(workflow_id)
    if record is None:
        return f"{workflow_id} is not there"
    lines: list[object] = [record]
    lines += await client.store.read_events(record.run_id)
    lines += await client.store.read_messages([record.run_id])
    lines += await client.store.read_activities(record.run_id)
    return "\n        ".join(map(str, lines))


async def _judged(stage: Stage, client: Client, bank: Bank, ends: list[Any], seconds: float) -> Verdict:
    lost = sum(end != [number, number] for number, end in enumerate(ends))
    made = [number for number, _ in await applied(bank)]
    doubled = len(made) - len(set(made)) + len(set(range(len(ends))) - set(made))
    if sum(await balances(bank)) != ACCOUNTS * CENTS:
        doubled += 1
    begun: dict[str, list[int]] = {}
    for line in read_ledger(Path(stage.job.ledger)):
        begun.setdefault(line["key"], []).append(line["pid"])
    repeated = sum(len(pids) - 1 for pids in begun.values())
    unexplained = 0
    if not stage.fault.disturbs:
        unexplained = sum(pid not in stage.disturbed for pids in begun.values() for pid in pids[:-1])
    wrong = [str(one) for _, found in [page async for page in verify(client.store)] for one in found]
    for number in [number for number, end in enumerate(ends) if end != [number, number]][:SHOWN]:
        wrong.append(await _shown(client, f"order-{number}"))
    return Verdict(
        stage.fault.id,
        stage.fault.name,
        len(ends),
        stage.injected,
        lost,
        doubled,
        repeated,
        unexplained,
        wrong,
        round(seconds, 1),
    )
