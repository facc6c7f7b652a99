"""The pytest plugin, in projects of its own: under anyio's plugin, and under pytest-asyncio in both modes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests._postgres import PostgresServer

PROGRAM = """
import random
from datetime import UTC, datetime, timedelta

import pytest

from durable import Signal, activity, workflow
from durable.testing import ActivityEnvironment, MockActivity, WorkflowEnvironment

stop = Signal("stop", str)


@activity.defn
async def charge(customer: str) -> str:
    activity.heartbeat("began")
    return f"{customer} paid"


@workflow.defn
async def subscription(customer: str, months: int) -> str:
    for _ in range(months):
        await charge(customer)
        try:
            return await stop.receive(timeout=timedelta(days=30))
        except TimeoutError:
            pass
    return f"ended {workflow.random().random()}"


@workflow.defn
async def broken() -> str:
    await charge("ada")
    return {}["nothing"]
"""

TESTS = """
MARK
async def test_months_pass(durable_env: WorkflowEnvironment, mock_activity: MockActivity) -> None:
    mock = mock_activity(charge).raises(ConnectionError, times=2).returns("paid")
    assert (await durable_env.run(subscription("ada", 12), id="s-1")).startswith("ended")
    assert len(mock.calls) == 14
    durable_env.assert_started(subscription("ada", 12), id="s-1")
    durable_env.refute_started(broken)
    assert len(durable_env.history("s-1").events_of("TimerFired")) == 12


MARK
async def test_a_signal(durable_env: WorkflowEnvironment) -> None:
    handle = await durable_env.client.start_workflow(subscription("ada", 12), id="s-1")
    await durable_env.advance(timedelta(days=45))
    await handle.signal(stop("enough"))
    assert await handle.result() == "enough"
    durable_env.assert_signaled("s-1", stop("enough"))


MARK
@pytest.mark.durable(start=datetime(2020, 2, 29, tzinfo=UTC), evict=True)
async def test_a_date(durable_env: WorkflowEnvironment) -> None:
    assert durable_env.now().date().isoformat() == "2020-02-29"
    assert (await durable_env.run(subscription("ada", 1))).startswith("ended")


MARK
@pytest.mark.durable(clock="real")
async def test_the_machine(durable_env: WorkflowEnvironment) -> None:
    assert not durable_env.supports_time_skipping


MARK
async def test_an_activity(activity_env: ActivityEnvironment) -> None:
    beats = []
    activity_env.on_heartbeat = beats.append
    assert await activity_env.run(charge, "ada") == "ada paid"
    assert beats == ["began"]
"""

EVICTED = """
lines = []


@workflow.defn
async def remembers() -> str:
    lines.append("begins")
    await charge("ada")
    await workflow.sleep(3600)
    lines.append("ends")
    return "done"


@workflow.defn
async def depends_on_the_process() -> str:
    lines.append("again")
    if len(lines) > 1:
        await workflow.sleep(60)
    await charge("ada")
    return "done"


async def test_it_replays(durable_env: WorkflowEnvironment) -> None:
    lines.clear()
    assert await durable_env.run(remembers()) == "done"
    assert lines.count("begins") == BEGINS and lines.count("ends") == 1


async def test_it_does_not(durable_env: WorkflowEnvironment) -> None:
    lines.clear()
    assert await durable_env.run(depends_on_the_process()) == "done"
"""

SIDE_BY_SIDE = """
@pytest.mark.parametrize("number", range(COUNT))
async def test_ten_years(durable_env: WorkflowEnvironment, mock_activity: MockActivity, number: int) -> None:
    mock = mock_activity(charge).returns(f"paid {number}")
    start = durable_env.now()
    assert (await durable_env.run(subscription(f"c-{number}", MONTHS), id="s-1")).startswith("ended")
    assert mock.calls == [(f"c-{number}",)] * MONTHS
    # Seconds of the machine pass too while it starts, or while an activity runs; another test's months do not.
    assert timedelta(days=30 * MONTHS) <= durable_env.now() - start < timedelta(days=30 * MONTHS + 1)
    durable_env.assert_started(subscription(f"c-{number}", MONTHS), id="s-1")
    assert [run.id async for run in durable_env.client.list_workflows()] == ["s-1"]
"""

HISTORIES = """
from durable.testing import History, replay_histories


async def test_recorded(durable_env: WorkflowEnvironment) -> None:
    await durable_env.run(subscription("ada", 1), id="s-1")
    durable_env.record_history("s-1", "histories/one.json")


@replay_histories("histories/*.json")
def test_replayed(history: History) -> None:
    assert history.strict
    history.replay(subscription)


async def test_crashed(crash_at_every_event, mock_activity: MockActivity) -> None:
    mock_activity(charge).returns("paid")
    assert len((await crash_at_every_event(subscription("ada", 1))).crashes) >= 2
"""

FAILING = """
async def test_fails_unseen(durable_env: WorkflowEnvironment) -> None:
    await durable_env.client.start_workflow(broken(), id="b-1")
    try:
        await durable_env.advance(0)
    except KeyError:
        pass
    await durable_env.client.start_workflow(broken(), id="b-2")
    async with durable_env.worker(workflows=[broken], activities=[charge]):
        while not (await durable_env.client.get_workflow_handle("b-2").describe()).reason:
            pass


async def test_fails_in_result(durable_env: WorkflowEnvironment) -> None:
    await durable_env.run(broken())


async def test_started(durable_env: WorkflowEnvironment) -> None:
    await durable_env.client.start_workflow(subscription("bob", 2), id="s-1")
    durable_env.assert_started(subscription("ada", 2))


async def test_chance(durable_env: WorkflowEnvironment) -> None:
    raise AssertionError(await durable_env.run(subscription("ada", 1)))


async def test_nowhere(durable_postgres: WorkflowEnvironment) -> None: ...
"""

POSTGRES = """
@pytest.mark.durable_crash(backend="both")
async def test_crashed_anywhere(crash_at_every_event, mock_activity: MockActivity) -> None:
    mock_activity(charge).returns("paid")
    report = await crash_at_every_event(subscription("ada", 1))
    assert len(report.crashes) >= 4 and report.duplicate_completions == 0


@pytest.mark.durable(start=datetime(2020, 2, 29, tzinfo=UTC))
async def test_my_own_tables(durable_postgres: WorkflowEnvironment) -> None:
    import asyncpg

    mine = await asyncpg.connect(durable_postgres.url)
    async with mine.transaction():
        await durable_postgres.client.start_workflow(subscription("ada", 1), id="s-1", connection=mine)
    durable_postgres.assert_started(subscription("ada", 1), id="s-1")
    assert (await durable_postgres.client.get_workflow_handle("s-1").result()).startswith("ended")
    assert durable_postgres.now().date().isoformat() == "2020-03-30"
    await mine.close()


@pytest.mark.durable(backend="sqlite")
async def test_here(durable_env: WorkflowEnvironment) -> None:
    assert durable_env.url.startswith("sqlite")


@pytest.mark.durable(clock="real", backend="both")
async def test_everywhere(durable_env: WorkflowEnvironment) -> None:
    handle = await durable_env.client.start_workflow(subscription("ada", 1), id="s-1")
    await durable_env.advance(0)
    await handle.signal(stop("enough"))
    assert await durable_env.client.get_workflow_handle("s-1").describe()
    assert not durable_env.supports_time_skipping
"""

ASYNC_FIXTURE = """
import pytest_asyncio


@pytest_asyncio.fixture
async def worker(durable_env):
    async with durable_env.worker(workflows=[subscription], activities=[charge]) as made:
        yield made


MARK
async def test_a_worker_of_a_fixture(durable_env: WorkflowEnvironment, worker) -> None:
    assert worker.is_running
    handle = await durable_env.client.start_workflow(subscription("ada", 2), id="s-1")
    assert (await handle.result()).startswith("ended")
"""


def run(folder: Path, text: str, *options: str, mark: str = "") -> str:
    """Run a project's tests in a process of their own, with warnings as errors, and return what it said."""
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", "utf-8")
    (folder / "test_project.py").write_text((PROGRAM + text).replace("MARK", mark), "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "durable.pytest_plugin", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    return done.stdout + done.stderr


def test_it_is_found_by_itself() -> None:
    (found,) = [one for one in metadata.entry_points(group="pytest11") if one.name == "durable"]
    assert found.value == "durable.pytest_plugin"


def test_under_anyio(tmp_path: Path) -> None:
    said = run(tmp_path, TESTS, "-p", "anyio", "-o", "anyio_mode=auto")
    assert "5 passed" in said, said


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_under_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    pytest.importorskip("pytest_asyncio")
    said = run(
        tmp_path,
        TESTS + ASYNC_FIXTURE,
        *("-p", "pytest_asyncio.plugin", "-o", f"asyncio_mode={mode}"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        *(("--durable-evict=always",) if mode == "auto" else ()),
        mark="@pytest.mark.asyncio" if mode == "strict" else "",
    )
    assert "6 passed" in said, said


def test_on_postgresql(tmp_path: Path, postgres: PostgresServer) -> None:
    """On a server that is given, and on one that the session finds and starts."""
    options = ("-p", "anyio", "-o", "anyio_mode=auto")
    there = f"--durable-postgres={postgres.url}"
    databases = "SELECT count(*) FROM pg_database"
    before = postgres.execute(databases)
    said = run(tmp_path, TESTS + POSTGRES, *options, there, "--durable-backend=both")
    assert "15 passed" in said, said
    assert postgres.execute(databases) == before
    said = run(tmp_path, POSTGRES, *options, "-k", "tables")
    assert "1 passed" in said, said


def test_what_only_memory_holds_together_is_found(tmp_path: Path) -> None:
    options = ("-p", "anyio", "-o", "anyio_mode=auto")
    said = run(tmp_path, EVICTED.replace("BEGINS", "1"), *options)
    assert "2 passed" in said, said
    said = run(tmp_path, EVICTED.replace("BEGINS", "3"), *options, "--durable-evict=always")
    assert "1 failed, 1 passed" in said, said
    assert "NondeterminismError" in said
    assert "TimerStarted" in said


def test_side_by_side(tmp_path: Path) -> None:
    """Processes of pytest-xdist: tests with the same ids know nothing of each other."""
    pytest.importorskip("xdist")
    count, months = (200, 120) if os.environ.get("DURABLE_SHOWS") == "full" else (20, 12)
    text = SIDE_BY_SIDE.replace("COUNT", str(count)).replace("MONTHS", str(months))
    said = run(tmp_path, text, "-p", "anyio", "-o", "anyio_mode=auto", "-p", "xdist", "-n", "2")
    assert f"{count} passed" in said, said


def test_histories_in_files(tmp_path: Path) -> None:
    options = ("-p", "anyio", "-o", "anyio_mode=auto", "--durable-replay-strict")
    assert "no file is like 'histories/*.json'" in run(tmp_path, HISTORIES, *options)
    said = run(tmp_path, HISTORIES, *options, "--durable-record", "-k", "recorded or replayed")
    assert "1 passed, 1 skipped" in said, said
    said = run(tmp_path, HISTORIES, *options)
    assert "3 passed" in said, said


def test_what_failures_look_like(tmp_path: Path) -> None:
    nowhere = "--durable-postgres=postgresql://127.0.0.1:1/none"
    said = run(tmp_path, FAILING, "-p", "anyio", "-o", "anyio_mode=auto", "--durable-seed=7", nowhere)
    assert "4 failed, 1 error" in said, said
    assert "the URL that was given names 127.0.0.1:1, which does not answer" in said
    assert "KeyError: 'nothing'" in said
    assert "in workflow 'b-2': its task failed" in said
    assert 'return {}["nothing"]' in said
    assert "no workflow subscription('ada', 2) was started; started were:" in said
    assert "subscription('bob', 2)  id 's-1'" in said
    assert "--durable-seed=7" in said
    chance = re.findall(r"AssertionError: (ended 0\.\d+)", said)
    again = run(tmp_path, FAILING, "-p", "anyio", "-o", "anyio_mode=auto", "--durable-seed=7", "-k", "chance")
    assert chance[0] in again


def test_it_costs_nothing_that_is_not_used(tmp_path: Path) -> None:
    said = run(tmp_path, "", "--co")
    assert "no tests collected" in said
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, durable.pytest_plugin; print('durable.client' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout == "False\n"
