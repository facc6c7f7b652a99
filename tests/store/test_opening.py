"""URLs, migrations, and what happens at open."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from durable._internal.ids import uuid7
from durable.exceptions import SchemaError, StoreConfigurationError, StoreUnavailableError
from durable.store import NewRun, StartOutcome, _migrate, _url, migrate, open_store
from durable.store._migrate import Migration

# --- URLs ---


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///app.db", "app.db"),
        ("sqlite:///some/where/app.db", "some/where/app.db"),
        ("sqlite:////var/app.db", "/var/app.db"),
        ("sqlite:///a%20b%3F.db", "a b?.db"),
        ("sqlite://:memory:", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
        ("SQLite:///app.db", "app.db"),
    ],
)
def test_sqlite_urls(url: str, path: str) -> None:
    assert _url.parse(url).scheme == "sqlite"
    assert _url.sqlite_path(url) == path


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("app.db", "did you mean sqlite:///app.db"),
        ("", "accepted are sqlite:///"),
        ("mysql://root:secret@host/db", "no adapter for mysql://"),
        ("sqlite://host/app.db", "SQLite has none"),
        ("sqlite:///", "names no file"),
        ("sqlite:///dir/", "names no file"),
        ("sqlite:///app.db?mode=ro", "takes no options"),
        (None, "not NoneType"),
    ],
)
async def test_bad_urls_name_what_is_accepted(url: str, text: str) -> None:
    with pytest.raises(StoreConfigurationError) as caught:
        await open_store(url)
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://host/db?password=secret&user=me", "postgresql://host/db?password=%2A%2A%2A&user=me"),
        ("postgresql://me:p@secret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:secret@[broken/db", "postgresql://***@[broken/db"),
        ("sqlite:////var/app.db", "sqlite:////var/app.db"),
        ("sqlite:///app.db", "sqlite:///app.db"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert _url.redact(url) == shown


async def test_a_namespace_is_a_file_on_sqlite() -> None:
    with pytest.raises(StoreConfigurationError, match="a file of its own"):
        await open_store("sqlite://:memory:", namespace="other")


def test_a_program_on_sqlite_never_imports_asyncpg() -> None:
    code = (
        "import asyncio, sys; from durable.store import open_store\n"
        "async def main():\n"
        "    store = await open_store('sqlite://:memory:'); await store.aclose()\n"
        "asyncio.run(main()); assert 'asyncpg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# --- migrations, without a database ---

A = Migration(1, False, "0001_initial", "")
B = Migration(2, False, "0002_more.before", "")
C = Migration(2, True, "0002_more.after", "")


@pytest.mark.parametrize(
    ("applied", "after", "expected"),
    [
        ([], True, [A, B, C]),
        ([], False, [A, B]),
        (["0001_initial"], False, [B]),
        (["0001_initial", "0002_more.before"], False, []),
        (["0001_initial", "0002_more.before"], True, [C]),
        (["0001_initial", "0002_more.before", "0002_more.after", "0003_of_the_future"], True, []),
    ],
)
def test_what_is_pending(applied: list[str], after: bool, expected: list[Migration]) -> None:
    assert _migrate.pending([A, B, C], applied, after=after) == expected


def test_the_version_is_the_highest_number_that_is_not_after() -> None:
    assert _migrate.newest([A, B, C]) == 2
    assert _migrate.version([]) == 0
    assert _migrate.version(["0001_initial"]) == 1
    assert _migrate.version(["0001_initial", "0002_more.before"]) == 2
    assert _migrate.version(["0001_initial", "0002_more.after"]) == 1


def test_what_is_done_with_a_version() -> None:
    assert _migrate.judge(None, 3, migrate=True, url="U")
    for same_or_next in (3, 4):
        for may in (True, False):
            assert not _migrate.judge(same_or_next, 3, migrate=may, url="U")
    with pytest.raises(SchemaError, match="durable migrate up --db U"):
        _migrate.judge(None, 3, migrate=False, url="U")
    with pytest.raises(SchemaError, match=r"version 2, .* version 3; run: durable migrate up --db U"):
        _migrate.judge(2, 3, migrate=True, url="U")
    with pytest.raises(SchemaError, match=r"version 5, .* version 3"):
        _migrate.judge(5, 3, migrate=True, url="U")


@pytest.mark.parametrize("adapter", ["durable.store.sqlite", "durable.store.postgres"])
def test_the_shipped_migrations_are_in_order(adapter: str) -> None:
    shipped = _migrate.load(adapter)
    assert shipped == sorted(shipped)
    assert shipped[0].number == 1


# --- at open, on SQLite ---


def _execute(url: str, *statements: str) -> None:
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


async def test_missing_tables_are_made_only_when_they_may_be(sqlite_url: str) -> None:
    with pytest.raises(SchemaError, match="has no tables of durable"):
        await open_store(sqlite_url, migrate=False)
    with pytest.raises(SchemaError, match="has no tables of durable"):
        await open_store(sqlite_url, migrate=False)
    await (await open_store(sqlite_url)).aclose()
    await (await open_store(sqlite_url, migrate=False)).aclose()


async def test_older_and_newer_tables(sqlite_url: str) -> None:
    await (await open_store(sqlite_url)).aclose()
    newest = _migrate.newest(_migrate.load("durable.store.sqlite"))
    _execute(sqlite_url, f"INSERT INTO schema_version VALUES ('{newest + 1:04}_next', 1)")
    await (await open_store(sqlite_url)).aclose()
    _execute(sqlite_url, f"INSERT INTO schema_version VALUES ('{newest + 2:04}_next', 1)")
    with pytest.raises(SchemaError, match=f"version {newest + 2}"):
        await open_store(sqlite_url)
    _execute(sqlite_url, "DELETE FROM schema_version")
    with pytest.raises(SchemaError, match=f"version 0, this release needs version {newest}"):
        await open_store(sqlite_url)


async def test_migrating_makes_tables_once(sqlite_url: str) -> None:
    done = await asyncio.gather(*(migrate(sqlite_url) for _ in range(8)))
    shipped = [migration.name for migration in _migrate.load("durable.store.sqlite")]
    assert sorted(done) == [[]] * 7 + [shipped]
    await (await open_store(sqlite_url, migrate=False)).aclose()
    assert await migrate("sqlite://:memory:") == []


async def test_tables_of_the_release_before_are_brought_up_to_date(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = "durable.store.sqlite" if store_url.startswith("sqlite") else "durable.store.postgres"
    shipped = _migrate.load(adapter)

    def first(_: str) -> list[Migration]:
        return [migration for migration in shipped if migration.number == 1]

    monkeypatch.setattr(_migrate, "load", first)
    await (await open_store(store_url)).aclose()
    monkeypatch.undo()
    with pytest.raises(
        SchemaError, match=r"version 1, this release needs version \d+; run: durable migrate up"
    ):
        await open_store(store_url)
    assert await migrate(store_url) == [migration.name for migration in shipped if migration.number > 1]
    store = await open_store(store_url, migrate=False)
    try:
        (verdict,) = await store.create_runs([NewRun(uuid7(), "w", "t", "q", b"{}")])
        assert verdict.outcome is StartOutcome.STARTED
    finally:
        await store.aclose()


async def test_a_failed_migration_leaves_nothing(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = _migrate.load("durable.store.sqlite")
    broken = Migration(2, False, "0002_broken", "CREATE TABLE half (a);\nCREATE TABLE half (a);\n")

    def load(_: str) -> list[Migration]:
        return [*shipped, broken]

    monkeypatch.setattr(_migrate, "load", load)
    with pytest.raises(StoreUnavailableError, match="half"):
        await open_store(sqlite_url)
    monkeypatch.undo()
    with pytest.raises(SchemaError, match="has no tables"):
        await open_store(sqlite_url, migrate=False)
