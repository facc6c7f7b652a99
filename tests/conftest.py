"""Fixtures every test may use: databases of its own, and last lines that say what was tested on what."""

from __future__ import annotations

import platform
import signal
import sqlite3
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests._postgres import NoPostgresError, PostgresServer

POSTGRES = pytest.StashKey[str]()
SLICE_END = pytest.StashKey[float]()
SLICE_LEFT = pytest.StashKey[int]()


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a database by fixture is marked with it; `store_url` marks its own parameters."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"postgres", "postgres_url"}:
            item.add_marker("postgres")
        if "sqlite_url" in fixtures:
            item.add_marker("sqlite")


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
    """A database of the test's own, once on each kind."""
    return request.getfixturevalue(f"{request.param}_url")


# --- a slice of the suite ---


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
    if skipped := terminalreporter.stats.get("skipped"):
        # "Skipped: reason"; most likely a library or checker of a larger environment is not here.
        reasons = sorted({str(report.longrepr[-1]).removeprefix("Skipped: ") for report in skipped})
        terminalreporter.line(f"skipped tests: {len(skipped)} ({'; '.join(reasons)})")
    if left := config.stash.get(SLICE_LEFT, 0):
        terminalreporter.line(
            f"a slice of {config.getoption('slice'):g} s: {left} tests were left for the full run"
        )
