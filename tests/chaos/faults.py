"""The faults, by their number in the list of faults: what is done to whom, and how often."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from tests.chaos.places import DISK, SERVER_CLOCK, SHARED, SMALL_DISK, WORKER_CLOCKS, Place
from tests.chaos.tools import Clock, fail_syncs, full

if TYPE_CHECKING:
    from tests.chaos.lane import Stage

Inject = Callable[["Stage"], Awaitable[bool]]


class Fault(NamedTuple):
    """Something that goes wrong.

    Attributes:
        inject: Does it once; False when there was nothing to do it to.
        pause: Seconds between two of them, on average.
        disturbs: Whether every worker may lose its lease by it, so that attempts are made again.
        setup: SQL for the database before anybody comes, `{database}` being its name.
        limits: Options of the workers' stores.
        place: Where it happens, when not on the server that all share; see `places`.
    """

    id: str
    name: str
    inject: Inject
    pause: float = 0.5
    disturbs: bool = False
    setup: tuple[str, ...] = ()
    limits: tuple[tuple[str, Any], ...] = ()
    place: Place = SHARED


FAULTS: dict[str, Fault] = {}


def fault(id: str, name: str, **more: Any) -> Callable[[Inject], Inject]:
    """Register a fault."""

    def register(inject: Inject) -> Inject:
        FAULTS[id] = Fault(id, name, inject, **more)
        return inject

    return register


@fault("F3", "SIGKILL of a worker")
async def kill_worker(stage: Stage) -> bool:
    worker = stage.some_worker()
    stage.disturbed.add(worker.pid or 0)
    worker.kill()
    stage.replace(worker)
    return True


@fault("F4", "SIGTERM of a worker under load")
async def end_worker(stage: Stage) -> bool:
    worker = stage.some_worker()
    stage.disturbed.add(worker.pid or 0)
    worker.terminate()
    stage.replace(worker)
    await stage.until_ended(worker, within=stage.job.grace + 60)
    assert worker.exitcode == 0, f"SIGTERM ended a worker with {worker.exitcode}"
    return True


@fault("F5", "SIGSTOP of a worker for two leases, then SIGCONT", pause=0.2)
async def freeze_worker(stage: Stage) -> bool:
    worker = stage.some_worker()
    pid = worker.pid or 0
    stage.disturbed.add(pid)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(2 * stage.job.lease)
    os.kill(pid, signal.SIGCONT)
    return True


@fault("F5c", "SIGSTOP of a worker inside a commit, for two leases", pause=0.2)
async def freeze_inside_commit(stage: Stage) -> bool:
    """Its transaction is open while it stands still: stopped when the server says that it has written."""
    async with stage.connection() as connection:
        query = (
            "select application_name from pg_stat_activity where datname = current_database() "
            "and application_name like 'durable transaction%' and state = 'idle in transaction'"
        )
        for _ in range(200):
            if await connection.fetchval(query):
                break
            await asyncio.sleep(0.005)
        else:
            return False
    return await freeze_worker(stage)


@fault("F9", "pg_terminate_backend of a random session", pause=0.1)
async def end_session(stage: Stage) -> bool:
    async with stage.connection() as connection:
        return bool(await connection.fetchval(_SOME_SESSION.format("pg_terminate_backend(pid)")))


@fault("F10", "SIGKILL of a backend: the server drops everybody and recovers", pause=1.5, disturbs=True)
async def kill_backend(stage: Stage) -> bool:
    async with stage.connection() as connection:
        pid = await connection.fetchval(_SOME_SESSION.format("pid"))
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


@fault("F11", "SIGKILL of the postmaster and all backends, and a start", pause=1.0, disturbs=True)
async def kill_server(stage: Stage) -> bool:
    await asyncio.to_thread(stage.server.kill)
    await asyncio.to_thread(stage.server.start)
    return True


@fault("F12", "the server is down for some seconds", pause=3.0, disturbs=True)
async def outage(stage: Stage) -> bool:
    await asyncio.to_thread(stage.server.stop)
    await asyncio.sleep(stage.size.outage)
    await asyncio.to_thread(stage.server.start)
    return True


@fault("F13", "half of the commits are lost, before or behind the server", pause=0.2, disturbs=True)
async def lose_commits(stage: Stage) -> bool:
    before, stage.network.steal = sum(stage.network.stolen.values()), 0.5
    await asyncio.sleep(0.4)
    stage.network.steal = 0.0
    stolen = sum(stage.network.stolen.values()) - before
    stage.injected += max(0, stolen - 1)
    return stolen > 0


@fault("F14", "the network swallows everything for two leases", pause=0.5, disturbs=True)
async def black_hole(stage: Stage) -> bool:
    stage.network.swallow = True
    await asyncio.sleep(2 * stage.job.lease)
    stage.network.swallow = False
    stage.network.cut()
    return True


@fault("F14h", "half-open: the server's answers are lost, requests are not", pause=0.5, disturbs=True)
async def half_open(stage: Stage) -> bool:
    stage.network.deaf = True
    await asyncio.sleep(stage.job.lease)
    stage.network.deaf = False
    stage.network.cut()
    return True


@fault("F15", "everything is 0.05 s late", pause=0.1)
async def delay(stage: Stage) -> bool:
    stage.network.delay = stage.job.lease / 10
    await asyncio.sleep(1.0)
    stage.network.delay = 0.0
    return True


@fault(
    "F17",
    "one connection in each pool, and the server takes no more than there are",
    limits=(("pool_size", 1),),
)
async def few_connections(stage: Stage) -> bool:
    """All that the server has left are taken for a while: workers that must connect are refused."""
    held: list[asyncpg.Connection[Any]] = []
    try:
        while len(held) < 300:
            held.append(await asyncpg.connect(stage.url))
    except asyncpg.TooManyConnectionsError:
        pass
    stage.network.cut()
    await asyncio.sleep(0.3)
    for one in held:
        one.terminate()
    return True


@fault(
    "F18",
    "statement_timeout of 60 ms and lock_timeout of 20 ms",
    disturbs=True,
    setup=(
        "alter database {database} set statement_timeout = 60",
        "alter database {database} set lock_timeout = 20",
    ),
)
async def tiny_timeouts(stage: Stage) -> bool:
    """And somebody keeps tables locked now and then, so that they pass."""
    return await _locked(stage, "lock table durable.runs, durable.events in share row exclusive mode", 0.2)


@fault(
    "F19h",
    "hostile defaults of the role: SERIALIZABLE, search_path, another language, time zone and date style",
    pause=0.1,
    setup=(
        "alter database {database} set default_transaction_isolation = 'serializable'",
        "alter database {database} set search_path = 'nowhere', 'public'",
        "alter database {database} set timezone = 'Asia/Kathmandu'",
        "alter database {database} set datestyle = 'SQL, DMY'",
        "alter database {database} set bytea_output = 'escape'",
    ),
)
async def hostile_defaults(stage: Stage) -> bool:
    return await end_session(stage)


@fault("F21", "the disk of the server is full for two seconds", pause=1.0, disturbs=True, place=SMALL_DISK)
async def full_disk(stage: Stage) -> bool:
    """Both for rows (53100) and for the log, which ends the server."""
    assert stage.disk is not None
    with full(stage.disk):
        await asyncio.sleep(2.0)
    await asyncio.to_thread(stage.server.start)
    return "No space left on device" in stage.server.log


@fault("F22", "the disk of the server fails to sync (EIO) for a second", pause=1.0, disturbs=True, place=DISK)
async def failing_syncs(stage: Stage) -> bool:
    """It stops at once, and is started again; what it did not acknowledge may be there or not."""
    assert stage.server.pid is not None
    await asyncio.to_thread(fail_syncs, stage.server.pid, 1.0)
    async with asyncio.timeout(30):
        # It tries to recover, and may fail at that too and stop behind this, or not.
        while True:
            await asyncio.to_thread(stage.server.start)
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                async with stage.connection():
                    break
            await asyncio.sleep(0.1)
    return "PANIC:  could not fdatasync" in stage.server.log


@fault("F23", "a transaction that sees the state of long ago is kept open meanwhile", pause=0.2)
async def old_snapshot(stage: Stage) -> bool:
    async with stage.connection() as connection, connection.transaction(isolation="repeatable_read"):
        before = await connection.fetchval("select count(*) from durable.events")
        await asyncio.sleep(2.0)
        assert await connection.fetchval("select count(*) from durable.events") == before
    return True


@fault("F24", "ACCESS EXCLUSIVE locks, VACUUM FULL and ANALYZE meanwhile", pause=0.3, disturbs=True)
async def table_work(stage: Stage) -> bool:
    async with stage.connection() as connection:
        await connection.execute("vacuum full durable.inbox")
        await connection.execute("vacuum (analyze) durable.runs")
    return await _locked(stage, "lock table durable.events in access exclusive mode", 0.3)


@fault(
    "F28",
    "the clocks of workers jump by hours, back and forth, and stand still",
    pause=0.3,
    place=WORKER_CLOCKS,
)
async def jump_workers(stage: Stage) -> bool:
    assert stage.clock is not None
    await _jump(stage, stage.clock, stage.chance.choice([3600.0, -3600.0, -7200.0]))
    return True


@fault(
    "F28d",
    "the clock of the server stands still, goes back by a second, and jumps ahead by an hour",
    pause=0.5,
    disturbs=True,
    place=SERVER_CLOCK,
)
async def jump_server(stage: Stage) -> bool:
    """Back by no more: what is due in an hour by a clock that goes back waits for that hour, as it must."""
    assert stage.clock is not None
    await _jump(stage, stage.clock, stage.chance.choice([3600.0, -1.0]))
    async with stage.connection() as connection:
        told = await connection.fetchval("select extract(epoch from clock_timestamp())::float8")
    return abs(told - time.time() - stage.clock.offset) < 10


async def _jump(stage: Stage, clock: Clock, seconds: float) -> None:
    if stage.chance.random() < 0.3:
        clock.freeze()
        await asyncio.sleep(1.0)
    clock.shift(seconds)


@fault("F29", "all workers are suspended for four leases", pause=0.5, disturbs=True)
async def suspend_all(stage: Stage) -> bool:
    pids = [one.pid or 0 for one in stage.workers if one.exitcode is None]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(4 * stage.job.lease)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    return True


@fault("F3d", "another worker with the same identity comes and is killed", pause=0.3)
async def duplicate(stage: Stage) -> bool:
    twin = stage.start()
    await asyncio.sleep(0.5)
    stage.disturbed.add(twin.pid or 0)
    twin.kill()
    return True


_SOME_SESSION = (
    "select {0} from pg_stat_activity where datname = current_database() and application_name like 'durable%' "
    "and pid <> pg_backend_pid() order by random() limit 1"
)


async def _locked(stage: Stage, statement: str, seconds: float) -> bool:
    async with stage.connection() as connection, connection.transaction():
        await connection.execute("set local statement_timeout = 0; set local lock_timeout = '5s'")
        await connection.execute(statement)
        await asyncio.sleep(seconds)
    return True
