"""`docs/operations/runbooks.md`: each runbook is followed as it is written, in an incident that is staged for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from durable.exceptions import StoreUnavailableError
from durable.telemetry import Metrics, prometheus_text
from durable.testing import PostgresServer
from durable.worker._observed import late_samples_of, samples_of
from tests.cli.conftest import Done, call
from tests.docs.test_alerts import RULES, fires

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations" / "runbooks.md"

SHOP = """
import asyncio
from durable import RetryPolicy, Signal, Worker, activity, workflow

packed = Signal("packed", str)

@activity.defn(retry_policy=RetryPolicy(initial_interval=0.01))
async def charge(order: str) -> str:
    return f"receipt for {order}"

@activity.defn
async def reserve(order: str) -> None: ...

@workflow.defn(deadline=DEADLINE)
async def checkout(order: str) -> str:
    BODY

def quick(client):
    return Worker(client, workflows=[checkout], activities=[charge, reserve], lease_duration=LEASE)
"""
GOOD = "receipt = await charge(order); await packed.receive(); return receipt"
OTHER = "await reserve(order); receipt = await charge(order); await packed.receive(); return receipt"
PATCHED = f"""if workflow.patched("reserve first"): await reserve(order)
    {GOOD}"""
BROKEN = "receipt = await charge(order); await packed.receive(); raise KeyError(order)"
FAILING = (
    "receipt = await charge(order); await packed.receive(); "
    "from durable.exceptions import ApplicationError; raise ApplicationError('out of ink')"
)


def consoles(title: str) -> list[list[str]]:
    """Return the commands of a runbook, block by block."""
    part = PAGE.read_text("utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found: list[list[str]] = [
        [line.removeprefix("$ durable ") for line in block.splitlines()]
        for block in re.findall(r"^```console\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    ]
    assert found, title
    return found


class Shop:
    """A folder with a program, its workers, and a person who types commands."""

    def __init__(self, folder: Path, url: str, client: Client) -> None:
        self.folder = folder
        self.url = url
        self.client = client
        self.workers: list[asyncio.subprocess.Process] = []

    def deploy(self, body: str, deadline: float | None = None, lease: float = 15) -> None:
        program = SHOP.replace("BODY", body).replace("DEADLINE", str(deadline))
        (self.folder / "shop.py").write_text(program.replace("LEASE", str(lease)))

    async def start(
        self, line: str = "worker -A shop:quick --drain-timeout 0s"
    ) -> asyncio.subprocess.Process:
        words = shlex.split(line)
        if "shop:quick" in line:  # it makes its workers itself
            words = words[: words.index("--drain-timeout")]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "durable", *words), cwd=self.folder, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        while b"serving" not in (said := await asyncio.wait_for(process.stderr.readline(), 60)):
            assert said, "the worker has ended"
        self.workers.append(process)
        return process

    async def stop(self) -> None:
        for process in self.workers:
            if process.returncode is None:
                process.terminate()
            await process.communicate()
        self.workers.clear()

    async def do(self, line: str) -> Done:
        """Run a command: what loads code in a process of its own."""
        words = shlex.split(line)
        if "-A" not in words:
            return await asyncio.to_thread(call, *words)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "durable", *words),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def follow(self, commands: list[str]) -> dict[str, Done]:
        return {line: await self.do(line) for line in commands}

    async def waits(self, *ids: str) -> None:
        """Start orders, and return when they wait to be packed."""
        for id in ids:
            await self.client.start_workflow("checkout", id, id=id)
        await until(self.count("history", ids))

    def count(self, what: str, ids: tuple[str, ...]) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            for id in ids:
                found = await self.client.get_workflow_handle(id).describe()
                if (found.hold != what) if what != "history" else (found.history_length < 3):
                    return False
            return True

        return look

    async def pack(self, *ids: str) -> None:
        for id in ids:
            await self.client.get_workflow_handle(id).signal("packed", "ada")


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.03)


@pytest.fixture
async def shop(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    for name in ("NAMESPACE", "APP", "TASK_QUEUE", "CONVERTER", "IDENTITY"):
        monkeypatch.delenv(f"DURABLE_{name}", raising=False)
    monkeypatch.setenv("DURABLE_URL", store_url)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # the program changes faster than its time stamp
    async with Client.connect(store_url) as client:
        found = Shop(tmp_path, store_url, client)
        found.deploy(GOOD)
        yield found
        await found.stop()


async def rings(shop: Shop, alert: str) -> bool:
    """Whether an alert rings by what the database has now, as one of the workers tells it for all."""
    metrics = Metrics()
    with contextlib.suppress(StoreUnavailableError):
        store = shop.client.store
        samples = samples_of(await store.survey())
        late = await store.late_runs("checkout", since=0, until=await store.now() - 1, told=0, limit=1)
        samples += late_samples_of({"checkout": (0, late.number)})
        metrics.attach(lambda: samples)
    return fires(RULES[alert], prometheus_text(metrics))


def code(done: dict[str, Done]) -> list[int]:
    return [one.code for one in done.values()]


async def test_workflows_are_blocked(shop: Shop) -> None:
    look, replay, mend = consoles("Workflows are blocked")
    await shop.start()
    await shop.waits("o-1", "o-2")
    await shop.stop()
    shop.deploy(OTHER)
    await shop.start()
    await shop.pack("o-1", "o-2")
    await until(shop.count("blocked", ("o-1", "o-2")))
    assert await rings(shop, "DurableWorkflowsHeld")
    doctor, listed, shown = (await shop.follow(look)).values()
    assert (doctor.code, listed.code, shown.code) == (1, 0, 0)
    assert "2 blocked, their code is at fault" in doctor.out
    assert {line[1] for line in listed.lines} == {"o-1", "o-2"}
    assert "history recorded" in shown.out
    assert "shop.py:" in shown.out
    (before,) = (await shop.follow(replay)).values()
    assert before.code == 7, "the code that is there does not do"
    shop.deploy(PATCHED)
    (after,) = (await shop.follow(replay)).values()
    assert after.code == 0, after.err
    await shop.stop()
    await shop.start()
    unblocked, counted = (await shop.follow(mend)).values()
    assert unblocked.code == 0, unblocked.err
    for id in ("o-1", "o-2"):
        assert await shop.client.get_workflow_handle(id).result() == f"receipt for {id}"
    assert counted.code == 0
    assert (await shop.do(mend[1])).out == "0\n"
    assert not await rings(shop, "DurableWorkflowsHeld")


async def test_work_piles_up(shop: Shop) -> None:
    look, start, over = consoles("Work piles up")
    for number in range(20):
        handle = await shop.client.start_workflow("checkout", "o", id=f"o-{number}")
        await handle.signal("packed", "ada")
    queues, described, workers, counted = (await shop.follow(look)).values()
    assert queues.lines[0][:4] == ["default", "open", "0", "20"], "no worker, 20 wait"
    assert await rings(shop, "DurableQueueUnserved")
    assert float(queues.lines[0][4]) > 0, "so that DurableQueueOld rings after a minute"
    assert described.code == 0
    assert workers.out == ""
    assert counted.lines == [["20", "checkout"]]
    assert (await shop.do("doctor")).code == 1
    await shop.start(start[0])

    async def done() -> bool:
        (found,) = (await shop.follow(over)).values()
        return found.out == "0\n"

    await until(done)
    assert not await rings(shop, "DurableQueueUnserved")


async def test_workflows_are_late(shop: Shop) -> None:
    look, end = consoles("Workflows are late")
    shop.deploy(GOOD, deadline=0.01)
    for id in ("o-1", "o-2"):
        await shop.client.start_workflow("checkout", id, id=id)
    worker = await shop.start()
    assert worker.stderr is not None
    told: list[str] = []
    while len(told) < 2:
        line = (await asyncio.wait_for(worker.stderr.readline(), 60)).decode()
        told += re.findall(r"ERROR.* workflow (\S+) of type checkout is past its deadline", line)
    assert told == ["o-1", "o-2"]
    assert await rings(shop, "DurableDeadlinePassed")
    await until(shop.count("history", ("o-1", "o-2")))
    listed, described, shown = (await shop.follow(look)).values()
    assert [line[1] for line in listed.lines] == ["o-2", "o-1"]
    assert (described.code, shown.code) == (0, 0)
    assert [one.code for one in (await shop.follow(end)).values()] == [0, 0]
    assert await shop.client.get_workflow_handle("o-1").result() == "receipt for o-1"

    async def over() -> bool:
        return not await rings(shop, "DurableDeadlinePassed")

    await until(over)


async def test_a_worker_has_died(shop: Shop) -> None:
    look, held, free = consoles("A worker has died")
    # A lease that others wait for; nothing here depends on whether a worker that lives keeps its own.
    shop.deploy(GOOD, lease=1)
    first = await shop.start()
    await shop.waits("o-1", "o-2")
    first.send_signal(signal.SIGKILL)
    await first.wait()
    await shop.client.start_workflow("checkout", "o-9", id="o-9")
    await until(lambda: rings(shop, "DurableQueueUnserved"))
    workers, _ = (await shop.follow(look)).values()
    assert workers.code == 0
    await shop.start()
    await shop.pack("o-2")
    assert await shop.client.get_workflow_handle("o-2").result() == "receipt for o-2"

    async def buried() -> bool:
        return len((await shop.do(look[0])).lines) == 1

    await until(buried)
    await shop.stop()
    # One that kills its worker each time it is at work.
    shop.deploy("import os; os._exit(9)", lease=1)
    await shop.pack("o-1")
    for _ in range(3):
        dies = await shop.start()
        await dies.communicate()
    shop.deploy(GOOD, lease=1)
    await shop.start()
    await until(shop.count("quarantined", ("o-1",)))
    assert await rings(shop, "DurableWorkflowsHeld")
    listed, shown = (await shop.follow(held)).values()
    assert [line[1] for line in listed.lines] == ["o-1"]
    assert "quarantined" in shown.out
    unblocked, result = (await shop.follow(free)).values()
    assert unblocked.code == 0
    assert result.out == "receipt for o-1\n", result.err


async def test_a_deploy_was_bad(shop: Shop) -> None:
    look, unblock, back = consoles("A deploy was bad")
    await shop.start()
    await shop.waits("o-1", "o-2", "o-3", "o-4")
    await shop.stop()
    shop.deploy(FAILING)
    await shop.start()
    await shop.pack("o-3", "o-4")

    async def failed() -> bool:
        return (await shop.client.count_workflows("ExecutionStatus = 'Failed'")).count == 2

    await until(failed)
    await shop.stop()
    shop.deploy(BROKEN)
    await shop.start()
    await shop.pack("o-1", "o-2")
    await until(shop.count("blocked", ("o-1", "o-2")))
    assert await rings(shop, "DurableWorkflowsHeld")
    await shop.stop()
    doctor, _, listed = (await shop.follow(look)).values()
    assert doctor.code == 1
    assert {"o-3", "o-4"} == {line[1] for line in listed.lines}
    shop.deploy(GOOD)
    await shop.start()
    for line in [*unblock, *back]:
        done = await shop.do(line)
        assert done.code == 0, done.err
    for id in ("o-1", "o-2", "o-3", "o-4"):
        assert await shop.client.get_workflow_handle(id).result() == f"receipt for {id}"
    charged = [run async for run in shop.client.list_workflows("ExecutionStatus = 'Completed'")]
    assert len(charged) == 4


async def test_the_database_has_failed_over(
    shop: Shop, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    away, back = consoles("The database has failed over")
    if shop.url.startswith("postgresql"):
        with PostgresServer.open(durable_settings=True) as server:
            url = server.create_database()
            monkeypatch.setenv("DURABLE_URL", url)
            shop.url = url

            async def stop() -> None:
                await asyncio.to_thread(server.stop, "immediate")

            await _failed_over(shop, away, back, stop, lambda: asyncio.to_thread(server.start))
            await shop.stop()
    else:
        holder: Any = sqlite3.connect(shop.url.removeprefix("sqlite:///"), check_same_thread=False)

        async def lock() -> None:
            await asyncio.to_thread(holder.execute, "BEGIN EXCLUSIVE")

        async def unlock() -> None:
            await asyncio.to_thread(holder.rollback)

        await _failed_over(shop, away, back, lock, unlock)
        holder.close()


async def _failed_over(
    shop: Shop,
    away: list[str],
    back: list[str],
    stop: Callable[[], Awaitable[None]],
    start: Callable[[], Awaitable[None]],
) -> None:
    await shop.start()
    async with Client.connect(shop.url) as client:
        shop.client = client
        await shop.waits("o-1", "o-2")
        await stop()
        (told,) = (await shop.follow(away)).values()
        if shop.url.startswith("postgresql"):  # readers of a file are not kept out by a writer
            assert told.code == 6, told.out + told.err
            assert len(told.err.splitlines()) == 1
            assert await rings(shop, "DurableNothingCounted")
        await start()

        async def served() -> bool:
            return (await shop.do("doctor")).code == 0

        await until(served)
        doctor, workers, verified, counted = [await shop.do(line) for line in back]
        assert (doctor.code, workers.code, verified.code) == (0, 0, 0), verified.out + verified.err
        assert any(line[0] == "alive" for line in workers.lines)
        assert counted.out == "0\n"
        await shop.pack("o-1", "o-2")
        for id in ("o-1", "o-2"):
            assert await client.get_workflow_handle(id).result() == f"receipt for {id}"


def test_each_alert_leads_to_a_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)", (PAGE.parent / "alerts.yaml").read_text("utf-8"))
    text = PAGE.read_text("utf-8")
    table = text.partition("| Alert | Runbook |")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(alerts)
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert set(re.findall(r"\(#([\w-]+)\)", table)) == {one.lower().replace(" ", "-") for one in titles}
