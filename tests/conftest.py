"""Fixtures every test may use: databases of its own, and last lines that say what was tested on what."""

from __future__ import annotations

import datetime as dt
import gc
import os
import platform
import signal
import sqlite3
import sys
import sysconfig
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests._pooler import Pooler
from tests._postgres import NoPostgresError, PostgresServer

POSTGRES = pytest.StashKey[str]()
SLICE_END = pytest.StashKey[float]()
SLICE_LEFT = pytest.StashKey[int]()
SLICE_SEED = "DURABLE_TEST_SLICE_SEED"


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts the tests in the background takes Ctrl-C from them and from all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slice",
        type=float,
        metavar="SECONDS",
        help="start no test after this long, and say how many were left: for a second leg that must not take long",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever asks for a database by fixture is marked with it; `store_url` marks its own parameters."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"postgres", "postgres_url"}:
            item.add_marker("postgres")
        if "sqlite_url" in fixtures:
            item.add_marker("sqlite")
    if os.environ.get("DURABLE_TEST_POOLER"):
        left = [item for item in items if item.get_closest_marker("session")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    if config.getoption("slice"):  # from all files, and not those of the first ones for ever
        seed = os.environ[SLICE_SEED]
        items.sort(key=lambda item: zlib.crc32(f"{seed} {item.nodeid}".encode()))


# --- databases ---


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The library runs on asyncio: its deterministic loop is an asyncio loop, and asyncpg knows no other."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The run's PostgreSQL server, found or brought. Without one this is a failure, never a skip."""
    problem = ""
    try:
        server = PostgresServer.open()
    except NoPostgresError as error:
        problem = str(error)
    if problem:  # outside the `except`, so that the sentence is told once
        pytest.fail(problem, pytrace=False)
    request.config.stash[POSTGRES] = server.description
    with server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database of the test's own, gone afterwards with whoever is still connected to it."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database of the test's own, not yet made."""
    return f"sqlite:///{tmp_path / 'app.db'}"


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
def store_url(request: pytest.FixtureRequest) -> str:
    """A database of the test's own, once on each kind; behind a pooler if `DURABLE_TEST_POOLER` says so."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "postgres" and os.environ.get("DURABLE_TEST_POOLER"):
        pooler: Pooler = request.getfixturevalue("pooler")
        return pooler.url(url)
    return url


@pytest.fixture(scope="session")
def pooler(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Pooler]:
    """PgBouncer before the run's server, in transaction mode with two server connections for each database."""
    made = Pooler(postgres.url)
    request.config.stash[POSTGRES] = f"{postgres.description}, behind PgBouncer in transaction mode"
    yield made
    made.close()


# --- a collector that runs all the time ---


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """With DURABLE_TEST_GC=1: whatever the collector closes, it closes in the middle of something."""
    threshold = os.environ.get("DURABLE_TEST_GC")
    if threshold is None:
        return (yield)
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what was imported is not looked at again and again
    gc.set_threshold(int(threshold))
    try:
        return (yield)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


# --- a slice of the suite ---


def pytest_configure(config: pytest.Config) -> None:
    """A slice is another one every day; processes of pytest-xdist's inherit what the first has settled."""
    if config.getoption("slice"):
        os.environ.setdefault(SLICE_SEED, str(dt.datetime.now(dt.UTC).toordinal()))


def pytest_sessionstart(session: pytest.Session) -> None:
    if seconds := session.config.getoption("slice"):
        session.config.stash[SLICE_END] = time.monotonic() + seconds


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """What begins too late is left, here and in each process of pytest-xdist's: none of it is stopped."""
    stash = item.config.stash
    end = stash.get(SLICE_END, None)
    if end is None or time.monotonic() < end:
        return None
    stash[SLICE_LEFT] = stash.get(SLICE_LEFT, 0) + 1
    return True


# --- several processes: each has a server of its own, and the first writes the last lines ---


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        stash = session.config.stash
        told = {"postgres": stash.get(POSTGRES, None), "slice_left": stash.get(SLICE_LEFT, 0)}
        session.config.workeroutput.update(told)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    told = getattr(node, "workeroutput", {})  # a process that died has told nothing
    stash = node.config.stash
    if server := told.get("postgres"):
        stash[POSTGRES] = server
    stash[SLICE_LEFT] = stash.get(SLICE_LEFT, 0) + told.get("slice_left", 0)


# --- the last lines ---


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    threads = ", free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    python = f"{platform.python_implementation()} {platform.python_version()}{threads} on {sys.platform}"
    terminalreporter.section("tested with")
    terminalreporter.line(python)
    terminalreporter.line(f"SQLite {sqlite3.sqlite_version}")
    terminalreporter.line(config.stash.get(POSTGRES, "no PostgreSQL: no test that ran asked for one"))
    if config.getoption("lf", default=False):
        terminalreporter.line("only what had failed in the run before, shown above, and by itself")
    if skipped := terminalreporter.stats.get("skipped"):
        # "Skipped: reason"; most likely a library or checker of a larger environment is not here.
        reasons = sorted({str(report.longrepr[-1]).removeprefix("Skipped: ") for report in skipped})
        terminalreporter.line(f"skipped tests: {len(skipped)} ({'; '.join(reasons)})")
    if left := config.stash.get(SLICE_LEFT, 0):
        terminalreporter.line(
            f"a slice of {config.getoption('slice'):g} s ({SLICE_SEED}={os.environ[SLICE_SEED]}): {left} tests were left for the full run"
        )
