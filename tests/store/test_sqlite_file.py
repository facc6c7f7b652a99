"""The SQLite store's file, and what may not be one."""

# ruff: noqa: ASYNC240 - these files are small and near

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from durable._internal.ids import uuid7
from durable.exceptions import StoreConfigurationError, StoreUnavailableError
from durable.store import (
    NewRun,
    WorkerRecord,
)
from durable.store import sqlite as adapter
from durable.store.sqlite import SQLiteStore, _schema
from durable.store.sqlite._connection import Transaction

pytestmark = pytest.mark.sqlite


@pytest.fixture
def path(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[SQLiteStore]:
    opened = await adapter.open(sqlite_url)
    yield opened
    await opened.aclose()


def new_run(owner: str | None = None) -> NewRun:
    run_id = uuid7()
    return NewRun(run_id, f"workflow-{run_id}", "T", "q", b"{}", owner=owner)


def worker(worker_id: str) -> WorkerRecord:
    return WorkerRecord(worker_id, "me", ("q",), 15_000_000, 0, expired=False, dead=False)


async def test_files_are_for_their_owner_only(store: SQLiteStore, path: Path) -> None:
    lease = await store.register_worker(worker("mine"))
    files = [*path.parent.glob("app.db*")]
    assert {file.name for file in files} == {
        "app.db", "app.db-wal", "app.db-shm", "app.db-lock", "app.db-worker-mine",
    }  # fmt: skip
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    await lease.aclose()


async def test_a_symbolic_link_is_refused(path: Path, sqlite_url: str) -> None:
    (path.parent / "real.db").touch()
    path.symlink_to(path.parent / "real.db")
    with pytest.raises(StoreConfigurationError, match="symbolic link"):
        await adapter.open(sqlite_url)


async def test_what_is_no_database_is_refused(path: Path, sqlite_url: str) -> None:
    path.write_bytes(b"this is a letter, not a database " * 100)
    with pytest.raises(StoreConfigurationError, match="not an SQLite database"):
        await adapter.open(sqlite_url)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreConfigurationError, match="not a file"):
        await adapter.open(sqlite_url)
    with pytest.raises(StoreConfigurationError, match="No such file or directory"):
        await adapter.open(f"sqlite:///{path.parent}/missing/app.db")


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
        "90 22 0:50 / /srv/far\\040away rw shared:1 - nfs4 host:/x rw\n"
        "91 90 0:51 / /srv/far\\040away/near rw - tmpfs tmpfs rw\n"
    )
    for fine in ("/home/app.db", "/srv/app.db", "/srv/far", "/srv/far away/near/app.db"):
        _schema.check_file_system(fine, str(mounts))
    with pytest.raises(StoreConfigurationError, match="nfs4"):
        _schema.check_file_system("/srv/far away/app.db", str(mounts))
    _schema.check_file_system("/srv/far away/app.db", str(tmp_path / "missing"))


def test_an_old_sqlite_is_refused() -> None:
    with pytest.raises(StoreConfigurationError, match=r"SQLite 3\.35\.0 or newer is needed, .* 3\.34\.1"):
        _schema.check_library((3, 34, 1))
    _schema.check_library()


async def test_the_pragmas_that_promises_rest_on(store: SQLiteStore) -> None:
    def pragmas(transaction: Transaction) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "wal_autocheckpoint")
        return {name: transaction.db.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    assert await store.writer.run(pragmas) == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": 0,
    }  # fmt: skip


async def test_the_reader_cannot_write(store: SQLiteStore) -> None:
    assert store.reader is not None
    with pytest.raises(StoreUnavailableError, match="READONLY"):
        await store.reader.run(lambda db: db.execute("DELETE FROM runs"))


@pytest.mark.parametrize(
    "table", ["events (id integer primary key, title text)", "SCHEDULES (id)", "schema_version (version)"]
)
async def test_a_table_of_another_program_is_told_of_and_left_alone(
    path: Path, sqlite_url: str, table: str
) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"create table {table}")
        before = db.execute("select sql from sqlite_schema").fetchall()
        name = table.split(" ", maxsplit=1)[0]
        for make in (adapter.open, adapter.migrate):
            with pytest.raises(
                StoreConfigurationError, match=rf"named as those of durable: {name}; give durable"
            ):
                await make(sqlite_url)
        assert db.execute("select sql from sqlite_schema").fetchall() == before


async def test_tables_of_another_program_beside_ours(path: Path, sqlite_url: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute("create table orders (id)")
    async with contextlib.aclosing(await adapter.open(sqlite_url)) as store:
        assert await store.now() > 0
