"""`crash_at_every_event`: a kill at every point, and nothing of the dead worker runs on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sqlite3
import threading
from datetime import timedelta

import asyncpg
import pytest

from durable import ApplicationError, Signal, activity, workflow
from durable.testing import CrashReport, PostgresServer, WorkflowEnvironment, crash_at_every_event
from durable.testing._mocks import Mocks
from tests.testing.programs import charge, retried, stop, subscription

go = Signal("testing.go", str)
ledger: list[str] = []


@activity.defn(name="testing.step")
async def step(name: str) -> str:
    try:
        ledger.append(f"{name} begins")
        await asyncio.sleep(0)
        return name.upper()
    finally:
        ledger.append(f"{name} ends")


@workflow.defn(name="testing.trip")
async def trip(who: str) -> str:
    try:
        flight = await step("flight")
        await workflow.sleep(timedelta(hours=1))
        hotel, car = await asyncio.gather(step("hotel"), step("car"))
        return f"{who} {flight} {hotel} {car} {await go.receive()}"
    finally:
        ledger.append("trip ends")


async def drive(handle: object, env: WorkflowEnvironment) -> None:
    await handle.signal(go("now"))  # type: ignore[attr-defined]


async def crashed(**options: object) -> CrashReport:
    return await crash_at_every_event(trip("ada"), drive=drive, before_each=ledger.clear, **options)  # type: ignore[arg-type]


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
def server(request: pytest.FixtureRequest) -> PostgresServer | None:
    return request.getfixturevalue("postgres") if request.param == "postgres" else None


async def test_it_survives_any_crash(server: PostgresServer | None) -> None:
    check(await crashed(postgres=server))


async def test_it_survives_any_crash_with_nothing_in_memory() -> None:
    check(await crashed(evict=True))


def check(report: CrashReport) -> None:
    assert {result[:23] for result in report.results} == {"ada FLIGHT HOTEL CAR no"}
    assert report.duplicate_completions == 0
    assert len(report.crashes) == 2 * len({one.commit for one in report.crashes}) >= 8
    assert len(report.histories) == len(report.crashes) + 1
    assert str(report.crashes[0]).startswith("right before commit 1 (")


once = 0


@activity.defn(name="testing.counts")
async def counts() -> int:
    global once
    once += 1
    return once


@workflow.defn(name="testing.counting")
async def counting() -> int:
    return await counts()


async def test_what_is_not_the_same_after_a_kill_is_found() -> None:
    """An activity that must not run twice: the kill between its end and the commit makes it."""
    global once

    def reset() -> None:
        global once
        once = 0

    with pytest.raises(
        AssertionError, match=r"killed right before commit 1 .*the result 2, and else the result 1"
    ):
        await crash_at_every_event(counting(), before_each=reset)
    once = 0


left: list[tuple[threading.Thread, str]] = []
"""Which life ran which line."""


def ran(line: str) -> None:
    left.append((threading.current_thread(), line))


@activity.defn(name="testing.leaves")
async def leaves() -> str:
    try:
        ran("activity begins")
        await asyncio.sleep(0.05)
        return "done"
    finally:
        ran("activity ends")


@workflow.defn(name="testing.leaving")
async def leaving() -> str:
    async def beside() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ran("task ends")

    task = asyncio.create_task(beside())
    try:
        return await leaves()
    finally:
        task.cancel()


async def test_no_line_of_the_dead_runs(server: PostgresServer | None) -> None:
    """A dead life's lines stand before all of the next one's; and nothing runs when what is left of it is collected."""
    lives: list[int] = []

    def judge() -> None:
        threads = [
            thread for thread, _ in left if thread.name == "durable-life"
        ]  # others replay what was recorded
        assert threads == sorted(threads, key=threads.index)
        lives.append(len(set(threads)))
        left.clear()

    report = await crash_at_every_event(leaving(), before_each=judge, postgres=server)
    judge()
    # Each experiment is judged by the next one; what falls into one commit in one may fall into two in another.
    assert len(lives) == len(report.histories) + 1
    assert max(lives) == 2, "some were killed in the middle"
    gc.collect()
    await asyncio.sleep(0.1)
    assert left == []


async def test_mocks_begin_again() -> None:
    mocks = Mocks()
    mock = mocks.mock(charge).returns("paid")
    report = await crash_at_every_event(subscription("ada", 2), mocks=mocks)
    assert report.results == {"ended"}
    assert len(mock.calls) > 2 * len(report.crashes)


async def test_a_failure_is_an_outcome_too() -> None:
    mocks = Mocks()
    from tests.testing.programs import flaky

    mocks.mock(flaky).raises(ApplicationError("no", non_retryable=True))
    report = await crash_at_every_event(retried("ada"), mocks=mocks)
    assert len(report.results) == 1
    assert stop.name == "testing.stop"


@activity.defn(name="testing.crash_debit_sqlite", transactional=True)
def debit_sqlite(tx: sqlite3.Connection) -> int:
    tx.execute("UPDATE account SET cents = cents - 30")
    return 30


@activity.defn(name="testing.crash_debit_postgres", transactional=True)
async def debit_postgres(tx: asyncpg.Connection) -> int:
    await tx.execute("UPDATE account SET cents = cents - 30")
    return 30


@workflow.defn(name="testing.crash_debits")
async def debits(sqlite: bool) -> str:
    taken = await (debit_sqlite() if sqlite else debit_postgres())
    return f"{taken} {await step('told')}"


async def statement(url: str, text: str) -> int:
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db, db:
            found = db.execute(text).fetchone()
        return 0 if found is None else int(found[0])
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(text) or 0)
    finally:
        await connection.close()


async def test_a_transactional_activity_happens_once(server: PostgresServer | None) -> None:
    async def prepare(url: str) -> None:
        await statement(url, "CREATE TABLE account AS SELECT 100 AS cents")

    async def verify(url: str) -> None:
        assert await statement(url, "SELECT cents FROM account") == 70

    report = await crash_at_every_event(
        debits(server is None), prepare=prepare, verify=verify, postgres=server
    )
    assert report.results == {"30 TOLD"}
    here = [one.before for one in report.crashes if one.events == ("the transaction of an activity",)]
    assert here == [True, False]

    async def wrong(url: str) -> None:
        raise AssertionError("wrong")

    with pytest.raises(AssertionError, match="wrong") as failed:
        await crash_at_every_event(debits(server is None), prepare=prepare, verify=wrong, postgres=server)
    assert "killed nowhere" in failed.value.__notes__[0]
