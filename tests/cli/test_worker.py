"""`durable worker`: a process that serves until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from durable import Client
from durable.cli import ExitCode
from tests.cli.conftest import Done
from tests.cli.shop import Order, Waits, checkout, stuck
from tests.scenarios.rig import reached

ROOT = Path(__file__).parents[2]
Cli = Callable[..., Done]


async def started(url: str, *more: str, says: bytes = b"serving") -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "durable", "worker", "--db", url, *more),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    while says not in (line := await asyncio.wait_for(process.stderr.readline(), 20)):
        assert line, f"the worker ended with {await process.wait()}"
    return process


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    _, told = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, told.decode()


async def test_it_serves_what_a_module_defines_and_ends_well(store_url: str) -> None:
    worker = await started(store_url, "-A", "tests.cli.shop")
    async with Client.connect(store_url) as client:
        assert await client.execute_workflow(checkout(Order("1")), id="c-1") == "receipt-1"
    worker.terminate()
    assert (await ended(worker))[0] == ExitCode.OK


async def test_what_is_unfinished_is_handed_back(sqlite_url: str) -> None:
    worker = await started(sqlite_url, "-A", "tests.cli.shop", "--drain-timeout", "0s")
    async with Client.connect(sqlite_url) as client:
        handle = await client.start_workflow(stuck(), id="s-1")
        await reached(handle, "Started", "ActivityScheduled")
        assert (await handle.describe()).owner is not None
        worker.terminate()
        assert (await ended(worker))[0] == ExitCode.OK
        found = await handle.describe()
        assert found.owner is None, "at once, not when a lease has run out"
        assert found.pending_activities[0].state == "queued"


async def test_the_second_signal_ends_it_at_once(sqlite_url: str) -> None:
    worker = await started(sqlite_url, "-A", "tests.cli.shop", "--drain-timeout", "1h")
    async with Client.connect(sqlite_url) as client:
        await reached(await client.start_workflow(stuck(), id="s-1"), "Started", "ActivityScheduled")
    worker.terminate()
    assert worker.stderr is not None
    while b"SIGTERM" not in await asyncio.wait_for(worker.stderr.readline(), 20):
        pass
    worker.terminate()
    assert (await ended(worker))[0] == -signal.SIGTERM


async def test_several_processes(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "2")
    async with Client.connect(sqlite_url) as client:
        while len(pids := [one.identity.partition("@")[0] for one in await client.store.list_workers()]) < 2:
            await asyncio.sleep(0.05)
        os.kill(int(pids[0]), signal.SIGKILL)
        while len({one.identity for one in await client.store.list_workers()}) < 3:
            await asyncio.sleep(
                0.05
            )  # the one that died is begun anew; it is listed until others have buried it
        assert await client.execute_workflow(checkout(Order("1")), id="c-1") == "receipt-1"
        watching.terminate()
        assert (await ended(watching))[0] == ExitCode.OK
        left = [
            one for one in await client.store.list_workers() if not one.identity.startswith(f"{pids[0]}@")
        ]
        assert left == [], "the others have ended well"


async def test_processes_that_cannot_run_end_the_one_that_watches(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.nowhere", "--processes", "2", says=b"process 1")
    code, told = await ended(watching)
    assert code == ExitCode.USAGE
    assert "there is no module 'tests.cli.nowhere'" in told


async def test_the_second_signal_ends_all_processes_at_once(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "1", "--drain-timeout", "1h")
    async with Client.connect(sqlite_url) as client:
        await reached(await client.start_workflow(stuck(), id="s-1"), "Started", "ActivityScheduled")
        watching.terminate()
        assert watching.stderr is not None
        while b"SIGTERM" not in await asyncio.wait_for(watching.stderr.readline(), 20):
            pass
        watching.terminate()
        assert (await ended(watching))[0] == -signal.SIGTERM
        while not all(one.dead_for_sure for one in await client.store.list_workers()):
            await asyncio.sleep(0.02)


async def test_processes_do_not_outlive_the_one_that_watches(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "1")
    async with Client.connect(sqlite_url) as client:
        while not await client.store.list_workers():
            await asyncio.sleep(0.05)
        watching.kill()
        while await client.store.list_workers():
            await asyncio.sleep(0.05)
    await ended(watching)


async def test_a_function_of_the_application_makes_the_workers(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client:
        handle = await client.start_workflow(Waits.run(), id="w-1", task_queue="b")
        worker = await started(sqlite_url, "-A", "tests.cli.shop:two_workers")
        await handle.signal(Waits.note("end"))
        assert await handle.result() == "end"
        worker.send_signal(signal.SIGINT)
        assert (await ended(worker))[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say what to serve: -A MODULE"),
        (["-A", "tests.cli.nowhere"], "there is no module 'tests.cli.nowhere'"),
        (["-A", "tests.cli.shop:nothing"], "tests.cli.shop has no 'nothing'"),
        (["-A", "tests.cli.shop:no_worker"], "returned 'nothing', which is no Worker"),
        (["-A", "tests.cli.shop:Order.id"], "has no 'Order.id'"),
        (["-A", "tests.cli.shop:two_workers", "-c", "3"], "-c is for -A MODULE"),
    ],
)
def test_what_cannot_be_served_is_told(cli: Cli, sqlite_url: str, arguments: list[str], told: str) -> None:
    done = cli("worker", "--db", sqlite_url, *arguments)
    assert done.code == ExitCode.USAGE
    assert told in done.err
