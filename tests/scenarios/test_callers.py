"""Starts and messages in transactions of callers: all of it or nothing, and nothing half done."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import durable.client._client as client_module
from durable import Client, Signal, Update, activity, workflow
from durable.client import (
    ActivityStart,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateStage,
)
from durable.common import (
    ActivityIDConflictPolicy,
    Concurrency,
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.exceptions import (
    ActivityAlreadyStartedError,
    ActivityNotFoundError,
    CancelledError,
    UnfitConnectionError,
    WorkflowAlreadyStartedError,
    WorkflowNotFoundError,
)
from durable.history import (
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
)
from durable.store import open_store
from tests.scenarios import callers
from tests.scenarios.bank import opened, trouble
from tests.scenarios.rig import PATIENCE, Env, fails, until
from tests.scenarios.test_transactions import move

said = Signal[str]("said")

RED = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword("color"), "red")])
FIRST = Priority(1)


@Update
def added(number: int) -> int: ...


@workflow.defn
async def doubled(number: int) -> int:
    return 2 * number


@workflow.defn
async def patient(order: str) -> list[str]:
    heard = [order]
    while heard[-1] != "done":
        heard.append(await said.receive())
    return heard


@workflow.defn
async def adding() -> int:
    total = 0

    def add(number: int) -> int:
        nonlocal total
        total += number
        return total

    workflow.set_handler(added, add)
    try:
        await workflow.wait_condition(lambda: False)
    except asyncio.CancelledError:
        pass
    return total


@pytest.fixture
async def caller(store_url: str, env: Env) -> AsyncIterator[callers.Caller]:
    async with callers.of_database(store_url) as made:
        yield made


@pytest.fixture
async def mine(store_url: str, plain: Env) -> AsyncIterator[callers.Caller]:
    async with callers.of_database(store_url) as made:
        await made.begin()
        await made.execute("create table orders (id text)")
        await made.commit()
        yield made


async def test_a_start_and_messages_commit_with_the_rows_of_the_caller(env: Env, caller: Any) -> None:
    async with env.worker(patient, adding):
        await caller.begin()
        await caller.execute("create table orders (id text)")
        await caller.execute("insert into orders values ('o-1')")
        handle = await env.start(patient("o-1"), id="o-1", connection=caller.connection)
        await handle.signal(said("early"), connection=caller.connection)
        await caller.commit()
        await until("the signal was read", lambda: _signals(handle, 1))
        await caller.begin()
        await handle.signal(said("more"), connection=caller.connection)
        await handle.signal("said", "done", connection=caller.connection)
        await caller.commit()
        assert await handle.result(timeout=PATIENCE) == ["o-1", "early", "more", "done"]

        summing = await env.start(adding(), id="sum")
        await caller.begin()
        for number in (1, 2):
            await summing.start_update(
                added(number),
                id=f"update {number}",
                wait_for_stage=WorkflowUpdateStage.ADMITTED,
                connection=caller.connection,
            )
        await summing.cancel("enough", connection=caller.connection)
        await caller.commit()
        assert await summing.get_update_handle("update 2").result() == 3
        assert await summing.result(timeout=PATIENCE) == 3
    kinds = [type(event.data) for event in (await summing.fetch_history()).events]
    assert kinds.count(WorkflowExecutionUpdateAccepted) == 2
    assert kinds.count(WorkflowExecutionCancelRequested) == 1
    events = (await handle.fetch_history()).events
    assert isinstance(events[0].data, WorkflowExecutionStarted)
    assert isinstance(events[1].data, WorkflowExecutionSignaled)
    assert events[0].time <= events[1].time


async def _signals(handle: Any, count: int) -> bool:
    events = (await handle.fetch_history()).events
    return sum(isinstance(event.data, WorkflowExecutionSignaled) for event in events) >= count


async def test_a_workflow_that_waits_for_its_key_is_cancelled_with_the_transaction_or_not_at_all(
    plain: Env, mine: Any
) -> None:
    one = Concurrency("callers", 1)
    async with plain.worker(patient):
        first = await plain.start(patient("first"), concurrency=one)

        async def runs() -> bool:
            return (await first.describe()).owner is not None

        await until("the first runs", runs)
        waiting = await plain.start(patient("waiting"), concurrency=one)
        await mine.begin()
        await waiting.cancel(connection=mine.connection)
        await mine.rollback()
        assert "it waits for its turn" in (await waiting.describe()).reason
        await mine.begin()
        await waiting.cancel(connection=mine.connection)
        await mine.commit()
        assert isinstance(await fails(waiting), CancelledError)
        await first.terminate()


async def test_after_a_rollback_nothing_has_happened(plain: Env, mine: Any) -> None:
    async with plain.worker(patient):
        handle = await plain.start(patient("o-1"), id="o-1")
        await mine.begin()
        await mine.execute("insert into orders values ('o-2')")
        other = await plain.client.start_workflow(
            patient("o-2"), id="o-2", start_signal=said("lost"), connection=mine.connection
        )
        await handle.signal(said("lost"), connection=mine.connection)
        await handle.cancel(connection=mine.connection)
        await mine.rollback()
        with pytest.raises(WorkflowNotFoundError):
            await other.describe()
        with pytest.raises(WorkflowNotFoundError, match="still open, or has been rolled back"):
            await other.result(timeout=PATIENCE)
        again = await plain.start(patient("o-2"), id="o-2")
        for one in (handle, again):
            await one.signal(said("done"))
        assert await handle.result(timeout=PATIENCE) == ["o-1", "done"]
        assert await again.result(timeout=PATIENCE) == ["o-2", "done"]


@pytest.mark.session
async def test_it_runs_soon_after_the_commit(plain: Env, mine: Any) -> None:
    """Well before the poll would find it."""
    async with plain.worker(doubled, poll_interval=60.0):
        assert await (await plain.start(doubled(0))).result(timeout=PATIENCE) == 0
        for number in range(3):
            await mine.begin()
            await mine.execute("insert into orders values ('o')")
            handle = await plain.start(doubled(number), connection=mine.connection)
            await mine.commit()
            assert await handle.result(timeout=PATIENCE) == 2 * number


async def test_the_result_is_not_waited_for_inside_the_transaction(plain: Env, mine: Any) -> None:
    async with plain.worker(doubled):
        await mine.begin()
        with pytest.raises(TypeError, match="execute_workflow waits for a result"):
            await plain.client.execute_workflow(doubled(1), id="d", connection=mine.connection)
        handle = await plain.start(doubled(1), id="d", connection=mine.connection)
        with pytest.raises(WorkflowNotFoundError, match="commit it before"):
            await handle.result()
        await mine.commit()
        assert await handle.result(timeout=PATIENCE) == 2


async def test_what_is_in_use_is_judged_as_ever(plain: Env, mine: Any) -> None:
    async with plain.worker(patient):
        first = await plain.start(patient("a"), id="a")
        await mine.begin()
        await mine.execute("insert into orders values ('kept')")
        with pytest.raises(WorkflowAlreadyStartedError):
            await plain.client.start_workflow(patient("b"), id="a", connection=mine.connection)
        content = await plain.client.start_workflow(
            patient("c"), id="a", start_signal=said("seen"), connection=mine.connection
        )
        assert content.result_run_id == first.result_run_id
        await first.signal(said("done"), connection=mine.connection)
        await mine.commit()
        assert await first.result(timeout=PATIENCE) == ["a", "seen", "done"]
        for policy in (
            WorkflowIDReusePolicy.REJECT_DUPLICATE,
            WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        ):
            await mine.begin()
            with pytest.raises(WorkflowAlreadyStartedError):
                await plain.client.start_workflow(
                    patient("b"), id="a", id_reuse_policy=policy, connection=mine.connection
                )
            await mine.commit()
        await mine.begin()
        with pytest.raises(WorkflowNotFoundError, match="closed"):
            await first.signal(said("late"), connection=mine.connection)
        with pytest.raises(WorkflowNotFoundError, match="no such workflow"):
            await plain.client.get_workflow_handle("nobody").cancel(connection=mine.connection)
        again = await plain.start(patient("d"), id="a", connection=mine.connection)
        with pytest.raises(WorkflowNotFoundError, match="its id has been used again"):
            await first.cancel(connection=mine.connection)
        await again.signal(said("done"), connection=mine.connection)
        await mine.commit()
        assert await again.result(timeout=PATIENCE) == ["d", "done"]


async def test_what_cannot_be_part_of_a_transaction_is_refused(plain: Env, mine: Any) -> None:
    client, connection = plain.client, mine.connection
    await mine.begin()
    for options in (
        {"id_conflict_policy": WorkflowIDConflictPolicy.TERMINATE_EXISTING},
        {"id_reuse_policy": WorkflowIDReusePolicy.TERMINATE_IF_RUNNING},
    ):
        with pytest.raises(ValueError, match="terminates nothing"):
            await client.start_workflow(patient("x"), id="x", connection=connection, **options)
    handle = await client.start_workflow(adding(), id="sum", connection=connection)
    for stage in (WorkflowUpdateStage.ACCEPTED, WorkflowUpdateStage.COMPLETED):
        with pytest.raises(ValueError, match="no further than ADMITTED"):
            await handle.start_update(added(1), wait_for_stage=stage, connection=connection)
    for stage in (WorkflowUpdateStage.ACCEPTED, WorkflowUpdateStage.COMPLETED):
        with pytest.raises(ValueError, match="no further than ADMITTED"):
            await client.start_update_with_start_workflow(
                added(1), start_workflow_operation=_with_start(connection), wait_for_stage=stage
            )
    with pytest.raises(ValueError, match="no further than ADMITTED"):
        await client.execute_update_with_start_workflow(
            added(1), start_workflow_operation=_with_start(connection)
        )
    with pytest.raises(TypeError, match="execute_activity waits for a result"):
        await client.execute_activity(halved, 4, id="h", connection=connection)
    with pytest.raises(ValueError, match="transactions of its own"):
        await client.start_activities([ActivityStart(halved, 4, id="h", connection=connection)])
    await mine.rollback()


def _with_start(connection: Any) -> WithStartWorkflowOperation[Any, Any]:
    use_existing = WorkflowIDConflictPolicy.USE_EXISTING
    return WithStartWorkflowOperation(
        adding(), id="s", id_conflict_policy=use_existing, connection=connection
    )


async def test_an_update_with_its_start_is_there_with_the_commit_or_not_at_all(plain: Env, mine: Any) -> None:
    async def asked(number: int, **options: Any) -> Any:
        return await plain.client.start_update_with_start_workflow(
            added(number),
            start_workflow_operation=_with_start(mine.connection),
            wait_for_stage=WorkflowUpdateStage.ADMITTED,
            **options,
        )

    async with plain.worker(adding):
        await mine.begin()
        lost = await asked(100, id="lost")
        await mine.rollback()
        with pytest.raises(WorkflowNotFoundError):
            await lost.result()
        await mine.begin()
        first = await asked(1, id="first")
        same = await asked(1, id="first")
        await mine.commit()
        assert await first.result() == await same.result() == 1
        await mine.begin()
        again = await asked(1, id="first")
        second = await asked(2)
        await mine.commit()
        assert await again.result() == 1
        assert await second.result() == 3
        handle = plain.client.get_workflow_handle_for(adding, "s")
        await handle.cancel()
        assert await handle.result(timeout=PATIENCE) == 3
    kinds = [type(event.data) for event in (await handle.fetch_history()).events]
    assert kinds.count(WorkflowExecutionUpdateAccepted) == 2


@activity.defn
async def halved(number: int) -> int:
    return number // 2


@pytest.mark.session
async def test_an_activity_is_started_with_the_commit_or_not_at_all(plain: Env, mine: Any) -> None:
    """Well before the poll would find it."""
    start, connection = plain.client.start_activity, mine.connection
    async with plain.worker(halved, poll_interval=60.0):
        assert await plain.client.execute_activity(halved, 2, id="before") == 1
        await mine.begin()
        await mine.execute("insert into orders values ('o')")
        undone = await start(halved, 4, id="h", connection=connection)
        with pytest.raises(ActivityNotFoundError, match="still open, or has been rolled back"):
            await undone.result(timeout=PATIENCE)
        await mine.rollback()
        with pytest.raises(ActivityNotFoundError, match="still open, or has been rolled back"):
            await undone.result(timeout=PATIENCE)
        await mine.begin()
        made = await start(
            halved, 8, id="h", connection=connection, search_attributes=RED, summary="for ada", priority=FIRST
        )
        later = await start(halved, 6, id="later", connection=connection, start_delay=0.2)
        with pytest.raises(ActivityAlreadyStartedError):
            await start(halved, 8, id="h", connection=connection)
        same = await start(
            halved,
            8,
            id="h",
            connection=connection,
            id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING,
        )
        assert same.run_id == made.run_id
        await mine.commit()
        assert await made.result(timeout=PATIENCE) == 4
        assert await later.result(timeout=PATIENCE) == 3
        (found,) = [one async for one in plain.client.list_activities("color = 'red'")]
        assert found.activity_id == "h"
        assert (await made.describe()).summary == "for ada"


async def test_an_activity_of_a_caller_waits_for_its_key(plain: Env, mine: Any) -> None:
    one = Concurrency("callers", 1)
    async with plain.worker(halved):
        await mine.begin()
        handles = [
            await plain.client.start_activity(
                halved, number, id=f"h{number}", connection=mine.connection, concurrency=one
            )
            for number in (2, 4)
        ]
        await mine.commit()
        assert [await handle.result(timeout=PATIENCE) for handle in handles] == [1, 2]


async def test_a_delay_and_attributes_are_kept(plain: Env, mine: Any) -> None:
    async with plain.worker(doubled):
        await mine.begin()
        handle = await plain.start(
            doubled(4),
            id="d",
            connection=mine.connection,
            start_delay=0.2,
            memo={"for": "ada"},
            search_attributes=RED,
        )
        await mine.commit()
        assert await handle.result(timeout=PATIENCE) == 8
        (found,) = [run async for run in plain.client.list_workflows("color = 'red'")]
        assert found.id == "d"
        assert await (await handle.describe()).memo() == {"for": "ada"}
    events = (await handle.fetch_history()).events
    assert events[-1].time - events[0].time >= 200_000
    assert not [event for event in events if isinstance(event.data, UpsertWorkflowSearchAttributes)]


current: list[Client] = []


@activity.defn(transactional=True)
async def ordered(tx: asyncpg.Connection, number: int) -> str:
    handle = await current[-1].start_workflow(doubled(number), id="from an activity", connection=tx)
    return handle.id


@activity.defn(transactional=True)
async def ordered_here(tx: sqlite3.Connection, number: int) -> str:
    handle = await current[-1].start_workflow(doubled(number), id="from an activity", connection=tx)
    return handle.id


@workflow.defn
async def ordering(here: bool) -> str:
    return await (ordered_here(4) if here else ordered(4))


async def test_a_start_in_the_transaction_of_an_activity(plain: Env, store_url: str) -> None:
    here = store_url.startswith("sqlite")
    current.append(plain.client)
    async with plain.worker(ordering, doubled, ordered_here if here else ordered):
        handle = await plain.start(ordering(here))
        started = plain.client.get_workflow_handle(await handle.result(timeout=PATIENCE))
        assert await started.result(timeout=PATIENCE) == 8


async def test_a_connection_that_is_none(plain: Env) -> None:
    handle = plain.client.get_workflow_handle("x")
    for wrong in ("postgresql://", object(), 1, asyncpg, plain.client):
        with pytest.raises(TypeError, match="connection must be a connection of asyncpg"):
            await plain.client.start_workflow(doubled(1), id="x", connection=wrong)
        with pytest.raises(TypeError, match="connection must be"):
            await handle.signal(said("x"), connection=wrong)
        with pytest.raises(TypeError, match="connection must be"):
            await handle.cancel(connection=wrong)


@pytest.mark.sqlite
async def test_unfit_connections_of_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    async with Client.connect(sqlite_url) as client:

        async def refused(connection: Any, why: str) -> None:
            with pytest.raises(UnfitConnectionError, match=why):
                await client.start_workflow(doubled(1), id="x", connection=connection)
            with pytest.raises(UnfitConnectionError, match=why):
                await client.get_workflow_handle("x").signal(said("x"), connection=connection)

        path = callers.path_of(sqlite_url)
        other = sqlite3.connect(tmp_path / "other.db")
        await refused(other, "another database")
        await refused(sqlite3.connect(":memory:"), "another database .*in memory")
        other.close()
        await refused(other, "closed database")
        auto = sqlite3.connect(path, isolation_level=None)
        await refused(auto, "no transaction is open")
        auto.execute("begin")
        auto.execute("pragma query_only = 1")
        await refused(auto, "read-only")
        auto.close()
        read_only = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        await refused(read_only, "read-only")
        read_only.execute("begin")
        await refused(read_only, "read-only")
        read_only.close()
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1)
        elsewhere = await loop.run_in_executor(thread, sqlite3.connect, path)
        await refused(elsewhere, "thread")
        await loop.run_in_executor(thread, elsewhere.close)
        thread.shutdown()
        with pytest.raises(WorkflowNotFoundError):
            await client.get_workflow_handle("x").describe()


@pytest.mark.sqlite
async def test_an_error_inside_leaves_the_rest_of_a_transaction_of_sqlite(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client:
        mine = sqlite3.connect(callers.path_of(sqlite_url))
        mine.row_factory = lambda cursor, row: {"row": row}
        mine.text_factory = bytes
        mine.execute("create table orders (id text)")
        mine.execute("insert into orders values ('kept')")
        mine.commit()
        mine.execute("insert into orders values ('kept too')")
        mine.execute("create trigger no_events before insert on events begin select raise(abort, 'no'); end")
        with pytest.raises(sqlite3.IntegrityError, match="no"):
            await client.start_workflow(doubled(1), id="x", connection=mine)
        assert mine.in_transaction
        assert mine.execute("select count(*) from runs").fetchone() == {"row": (0,)}
        assert mine.execute("select id from orders").fetchone() == {"row": (b"kept",)}
        mine.commit()
        mine.close()
    assert await callers.orders(sqlite_url) == ["kept", "kept too"]


@pytest.fixture
async def hasty(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Env]:
    """An SQLite database whose writers wait 0.1 s for their turn, and then ask again."""
    monkeypatch.setattr(client_module, "open_store", partial(open_store, busy=0.1))
    async with Client.connect(sqlite_url) as client:
        yield Env(client, 1000)


@pytest.mark.sqlite
async def test_all_writers_of_sqlite_wait_for_a_caller_and_lose_nothing(hasty: Env, sqlite_url: str) -> None:
    """There is no limit for him; whoever has waited for long enough asks again, for as long as calls are patient."""
    mine = sqlite3.connect(callers.path_of(sqlite_url))
    mine.execute("create table orders (id text)")
    async with hasty.worker(patient, doubled):
        handle = await hasty.start(patient("o-1"))
        with mine:
            mine.execute("insert into orders values ('o-1')")
            await handle.signal(said("early"), connection=mine)
            started = asyncio.create_task(hasty.client.start_workflow(doubled(2), id="meanwhile"))
            told = asyncio.create_task(handle.signal(said("done")))
            await asyncio.wait([started, told], timeout=0.5)
            assert not started.done()
            assert not told.done()
            assert (
                await handle.describe()
            ).status is WorkflowExecutionStatus.RUNNING  # reads wait for nobody
        assert await (await started).result(timeout=PATIENCE) == 4
        await told
        assert await handle.result(timeout=PATIENCE) == ["o-1", "early", "done"]
    mine.close()


@pytest.mark.sqlite
async def test_a_caller_waits_for_a_transactional_activity_beside_the_event_loop(
    hasty: Env, sqlite_url: str
) -> None:
    """With a driver that is asynchronous: one that blocks the event loop would keep the activity from its commit."""
    bank = await opened(sqlite_url)
    trouble.hold = True
    async with hasty.worker(move, doubled, bank.transfer), callers.aiosqlite_connection(sqlite_url) as mine:
        moving = await hasty.start(move(1, 300))
        await until("the activity has its transaction", lambda: trouble.running)
        waiting = asyncio.create_task(hasty.start(doubled(2), id="d", connection=mine.connection))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        trouble.release()
        handle = await waiting
        await mine.commit()
        assert await handle.result(timeout=PATIENCE) == 4
        assert await moving.result(timeout=PATIENCE) == 700
