"""The check before a deploy, of many open runs: those that would not go on are listed by cause, and nothing changes.

`DURABLE_SHOWS=full` has it look at 10,000 of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from durable import Client, Signal, Worker, workflow
from durable.exceptions import NondeterminismError, UnknownEventError
from durable.testing.replay import replay_open_runs
from durable.worker import Replayer
from tests._postgres import PostgresServer
from tests.testing.programs import charge, plain

RUNS = 10_000 if os.environ.get("DURABLE_SHOWS") == "full" else 200
AT_ONCE = 200
WORDS = ("ada", "bob", "cleo")
EVENTS = {"many.swapped": 5, "many.removed": 5, "many.kept": 3}

go = Signal("many.go", str)


@workflow.defn(name="many.swapped")
async def swapped(name: str) -> str:
    return await charge(name) + str(await plain(1)) + await go.receive()


@workflow.defn(name="many.removed")
async def removed(name: str) -> str:
    return await charge(name) + str(await plain(2)) + await go.receive()


@workflow.defn(name="many.kept")
async def kept(name: str) -> str:
    return await charge(name) + await go.receive()


NOW = """
from durable import Signal, activity, workflow

go = Signal("many.go", str)


@activity.defn(name="testing.charge")
async def charge(customer: str, cents: int = 900) -> str: ...


@activity.defn(name="testing.plain")
def plain(number: int) -> int: ...


@workflow.defn(name="many.swapped")
async def swapped(name: str) -> str:
    return str(await plain(1)) + await charge(name) + await go.receive()


@workflow.defn(name="many.removed")
async def removed(name: str) -> str:
    return await charge(name) + await go.receive()


@workflow.defn(name="many.kept")
async def kept(name: str) -> str:
    charged = await charge(name)
    return charged + await go.receive()
"""


async def under_way(client: Client, db: sqlite3.Connection) -> None:
    """Runs of all three, with ids that have nothing in common."""
    types = [swapped, removed, kept]
    expected = sum(EVENTS[types[number % 3].name] for number in range(RUNS))
    async with Worker(client, workflows=types, activities=[charge, plain]):
        for start in range(0, RUNS, AT_ONCE):
            await asyncio.gather(
                *[
                    client.start_workflow(
                        types[number % 3](WORDS[number % 2]), id=f"{WORDS[number % 3]}-{number}"
                    )
                    for number in range(start, min(start + AT_ONCE, RUNS))
                ]
            )
        async with asyncio.timeout(600):
            while db.execute("SELECT count(*) FROM events").fetchone() != (expected,):
                await asyncio.sleep(0.01)


def dump(db: sqlite3.Connection) -> list[str]:
    return list(db.iterdump())


async def test_what_would_not_go_on_is_listed_by_cause_and_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    async with Client.connect(f"sqlite:///{file}") as client:
        db = sqlite3.connect(file)
        await under_way(client, db)
        assert (await replay_open_runs(client, replayer=Replayer(workflows=[swapped, removed, kept]))).ok
    before = dump(db)
    (tmp_path / "now.py").write_text(NOW, "utf-8")
    command = [sys.executable, "-m", "durable", "replay", "--db", f"sqlite:///{file}", "-A", "now"]

    async def replayed(*options: str) -> tuple[int, str]:
        done = await asyncio.to_thread(
            subprocess.run, [*command, *options], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        return done.returncode, done.stdout

    code, said = await replayed("--json")
    assert code == 7
    report = json.loads(said)
    assert report["replayed"] == RUNS
    by_type = {one["workflow_type"]: one for one in report["mismatches"]}
    assert len(report["mismatches"]) == len(by_type) == 2
    for number, name in enumerate(("many.swapped", "many.removed")):
        assert by_type[name]["error"] == "NondeterminismError"
        assert {id.partition("-")[0] for id in by_type[name]["workflow_ids"]} == {WORDS[number]}
        assert len(by_type[name]["workflow_ids"]) == len(range(number, RUNS, 3))
    assert "testing.charge" in by_type["many.swapped"]["message"]
    assert "now.py:17" in by_type["many.swapped"]["message"]
    sample = await replayed("--sample", "50", "--seed", "4")
    assert sample == await replayed("--sample", "50", "--seed", "4")
    assert sample[1].startswith("50 histories")
    assert dump(db) == before
    db.close()


async def test_one_that_cannot_be_read_is_no_reason_to_stop_and_is_told(tmp_path: Path) -> None:
    file = tmp_path / "app.db"
    async with Client.connect(f"sqlite:///{file}") as client:
        for number in range(3):
            await client.start_workflow(kept("ada"), id=f"k-{number}")
        with sqlite3.connect(file) as db:
            db.execute(
                "UPDATE events SET type = 999 WHERE run_id = (SELECT run_id FROM runs WHERE workflow_id = 'k-1')"
            )
        db.close()
        report = await replay_open_runs(client, replayer=Replayer(workflows=[kept]))
        assert report.replayed == 3
        (cause,) = report.mismatches
        assert (cause.workflow_type, cause.workflow_ids) == ("many.kept", ["k-1"])
        assert isinstance(cause.error, UnknownEventError)


@pytest.mark.postgres
async def test_on_postgresql(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    async with Client.connect(url) as client, Worker(client, workflows=[swapped], activities=[charge, plain]):
        handle = await client.start_workflow(swapped("ada"), id="s-1")
        async with asyncio.timeout(60):
            while len((await handle.fetch_history()).events) < EVENTS["many.swapped"]:
                await asyncio.sleep(0.01)

        @workflow.defn(name="many.swapped")
        async def now(name: str) -> str:
            return str(await plain(1)) + await charge(name)

        report = await replay_open_runs(client, replayer=Replayer(workflows=[now]))
        assert [type(one.error) for one in report.mismatches] == [NondeterminismError]
    postgres.drop_database(url)
