"""`durable migrate`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from durable.cli import ExitCode
from durable.store import _migrate
from tests.cli.conftest import Done

Cli = Callable[..., Done]


def test_up_list_and_check(cli: Cli, store_url: str) -> None:
    assert cli("migrate", "check", "--db", store_url).code == ExitCode.MIGRATION_NEEDED
    before = cli("migrate", "list", "--json", "--db", store_url).json["migrations"]
    assert not any(one["made"] for one in before)
    dry = cli("migrate", "up", "--dry-run", "--db", store_url)
    assert dry.out.startswith("would make 0001_")
    assert cli("migrate", "up", "--db", store_url).out.startswith("made 0001_")
    assert cli("migrate", "up", store_url, "--after").out == "nothing to do\n"
    assert cli("migrate", "check", "--db", store_url).code == ExitCode.OK
    after = cli("migrate", "list", "--jsonl", "--db", store_url)
    assert after.out.count('"made": true') == len(before)
    text = cli("migrate", "list", "--db", store_url, terminal=True).out.splitlines()
    assert text[0].split() == ["NAME", "MADE", "NOTE"]


def test_looking_makes_no_file(cli: Cli, sqlite_url: str) -> None:
    for verb in ("check", "list", "sql"):
        cli("migrate", verb, "--db", sqlite_url)
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


def test_the_way_of_release_0_1_0(cli: Cli, sqlite_url: str) -> None:
    assert cli("migrate", sqlite_url).out.startswith("made 0001_initial")
    assert cli("migrate", sqlite_url, "--after").out == "nothing to do\n"
    assert cli("migrate", sqlite_url, "--namespace", "other").code == ExitCode.USAGE


def test_the_script_makes_what_up_makes(cli: Cli, sqlite_url: str) -> None:
    script = cli("migrate", "sql", "--all", "--db", sqlite_url).out
    db = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    db.executescript(script)
    db.close()
    assert cli("migrate", "check", "--db", sqlite_url).code == ExitCode.OK
    assert cli("migrate", "up", "--db", sqlite_url).out == "nothing to do\n"


async def test_the_script_for_psql(cli: Cli, postgres_url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(postgres_url)
    await connection.execute(cli("migrate", "sql", "-n", "shop", "--db", postgres_url).out)
    await connection.close()
    assert cli("migrate", "check", "-n", "shop", "--db", postgres_url).code == ExitCode.OK
    assert cli("migrate", "check", "--db", postgres_url).code == ExitCode.MIGRATION_NEEDED
    left = cli("migrate", "sql", "-n", "shop", "--db", postgres_url).out
    assert "create table durable.runs" not in left


def test_what_only_the_database_knows_is_listed() -> None:
    known = _migrate.Migration(1, False, "0001_a", "")
    assert [one[:2] for one in _migrate.statuses([known], ["0001_a", "0002_b"])] == [
        ("0001_a", True),
        ("0002_b", True),
    ]


def test_there_is_no_way_back(cli: Cli, sqlite_url: str) -> None:
    done = cli("migrate", "down", "--db", sqlite_url)
    assert done.code == ExitCode.USAGE
    assert "migrations only add" in done.err
