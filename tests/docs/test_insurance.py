"""The demo of `make demo`, in small: its sums hold on both databases, and it sees when one does not."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

INSURANCE = Path(__file__).parents[2] / "docs" / "examples" / "insurance"
SMALL = ["--policies", "12", "--month", "0.1", "--deadline", "10", "--limit", "150"]
"""Customers who answer have time enough also on a busy machine."""

pytestmark = pytest.mark.crash


def start(script: str, *arguments: str | Path, url: str | None = None) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DURABLE_URL"}
    if url is not None:
        environment["DURABLE_URL"] = url
    return subprocess.Popen(
        [sys.executable, str(INSURANCE / script), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, *arguments: str | Path, url: str | None = None) -> tuple[int, str, str]:
    with start(script, *arguments, url=url) as process:
        try:
            printed, complained = process.communicate(timeout=180)
        finally:
            process.kill()
    return process.returncode, printed, complained


def table(printed: str) -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^ *(\S.*?)  +(?:([\d.,]+) +)?([\d.,]+)$", printed, re.MULTILINE)
    return {what: (expected, found) for what, expected, found in rows}


def check(code: int, printed: str, complained: str) -> None:
    assert (code, complained) == (0, ""), printed
    sums = table(printed)
    assert sums["policies"] == ("12", "12")
    assert sums["invoices"] == ("91", "91")
    assert sums["payments"] == sums["charges in the gateway's ledger"] == ("90", "90")
    assert sums["workers killed"] == ("2", "2")
    assert sums["doubles"] == sums["lost"] == ("0", "0")
    assert int(sums["retries of activities"][1]) > 0
    assert int(sums["repeated, absorbed by the key"][1]) > 0
    assert printed.count("killed with SIGKILL") == 2
    story = printed.partition("as a story")[2]
    for part in (
        "begins: ",
        "a survey is requested, by office",
        "was declined",
        "signal card_updated",
        "ends: ",
    ):
        assert part in story
    for word in ("Traceback", "WARNING", "ERROR"):
        assert word not in printed


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on SQLite, whose files were kept."""
    directory = tmp_path_factory.mktemp("insurance") / "run"
    check(*run("demo.py", *SMALL, "--keep", directory))
    return directory


@pytest.mark.sqlite
def test_the_demo_adds_up_on_sqlite(kept: Path) -> None:
    code, printed, complained = run("report.py", kept)
    assert (code, complained) == (0, "")
    assert table(printed)["lost"] == ("0", "0")


@pytest.mark.sqlite
def test_a_directory_that_is_in_use_is_refused(kept: Path) -> None:
    code, _, complained = run("demo.py", *SMALL, "--keep", kept)
    assert code == 1
    assert "holds an earlier run" in complained


async def test_the_demo_adds_up_on_postgres_and_leaves_nothing(postgres_url: str) -> None:
    check(*run("demo.py", *SMALL, url=postgres_url))
    connection = await asyncpg.connect(postgres_url)
    try:
        left = await connection.fetch("select nspname from pg_namespace where nspname like 'insurance%'")
    finally:
        await connection.close()
    assert left == []


# --- tampering: whatever is taken away or added afterwards, the report says so ---

Tamper = Callable[[sqlite3.Connection, list[str]], object]

TAKE_AWAY: dict[str, Tamper] = {
    "an invoice": lambda db, _: db.execute(
        "delete from invoices where rowid = (select min(rowid) from invoices)"
    ),
    "a payment": lambda db, _: db.execute(
        "delete from payments where rowid = (select max(rowid) from payments)"
    ),
    "an event in the middle": lambda db, _: db.execute(
        "delete from events where seq = 7 and run_id = (select min(run_id) from runs)"
    ),
    "the last event": lambda db, _: db.execute(
        "delete from events where (run_id, seq) = (select run_id, max(seq) from events group by run_id limit 1)"
    ),
    "a run": lambda db, _: db.execute("delete from runs where workflow_id = 'P-0003'"),
    "a kill": lambda db, _: db.execute("delete from kills where rowid = 1"),
    "a charge in the ledger": lambda _, lines: lines.remove(
        next(line for line in lines if '"charged"' in line)
    ),
}

DOUBLE: dict[str, Tamper] = {
    "an invoice": lambda db, _: db.execute(
        "insert into invoices select 'another key', number, policy, month, cents from invoices limit 1"
    ),
    "a payment": lambda db, _: db.execute(
        "insert into payments select 'another key', invoice, cents from payments limit 1"
    ),
    "an event": lambda db, _: db.execute(
        "insert into events select run_id, seq + 1000, task, type, time, data from events where type = 22 limit 1"
    ),
    "a charge in the ledger": lambda _, lines: lines.append(
        json.dumps(json.loads(next(line for line in lines if '"charged"' in line)) | {"key": "another key"})
        + "\n"
    ),
}


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("tamper", "sum"),
    [
        *(pytest.param(tamper, "lost", id=f"take {what} away") for what, tamper in TAKE_AWAY.items()),
        *(pytest.param(tamper, "doubles", id=f"double {what}") for what, tamper in DOUBLE.items()),
    ],
)
def test_the_report_sees_what_was_tampered_with(kept: Path, tmp_path: Path, tamper: Tamper, sum: str) -> None:
    copy = shutil.copytree(kept, tmp_path / "copy")
    ledger = copy / "gateway.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    db = sqlite3.connect(copy / "insurance.db")
    tamper(db, lines)
    db.commit()
    db.close()
    ledger.write_text("".join(lines))

    code, printed, complained = run("report.py", copy)

    assert (code, complained) == (1, "")
    assert "This does not add up" in printed
    if tamper is not TAKE_AWAY["a kill"]:
        assert table(printed)[sum] != ("0", "0")


@pytest.mark.sqlite
def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with start("demo.py", *SMALL, "--month", "5", "--keep", directory) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()
        demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        printed, complained = demo.communicate(timeout=60)
    assert (demo.returncode, complained) == (130, "")
    assert printed.endswith("stopped\n")
    with sqlite3.connect(directory / "insurance.db") as db:
        assert db.execute("select count(*) from workers where dead = 0").fetchone() == (
            0,
        )  # all said goodbye
    db.close()
