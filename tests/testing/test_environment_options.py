"""What an environment is made with, and what its own workers serve: each option does what it says, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from durable import activity, workflow
from durable.common import QueryRejectCondition, RawValue
from durable.converter import PayloadCodec, default
from durable.exceptions import WorkflowQueryRejectedError
from durable.history import Payload
from durable.interceptor.client import Interceptor, OutboundInterceptor, StartWorkflowInput
from durable.interceptor.worker import ActivityInboundInterceptor, ExecuteActivityInput
from durable.interceptor.worker import Interceptor as WorkerInterceptor
from durable.testing import PostgresServer, WorkflowEnvironment
from tests.testing.programs import charge, plain, subscription

Make = Callable[..., WorkflowEnvironment]


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=pytest.mark.sqlite),
        pytest.param("postgres", marks=pytest.mark.postgres),
    ]
)
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    made: list[WorkflowEnvironment] = []

    def make(**options: Any) -> WorkflowEnvironment:
        made.append(WorkflowEnvironment(postgres=server, **options))
        return made[-1]

    yield make
    for env in made:
        await env.shutdown()


class Reversed(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(one.data[::-1], "reversed", {"was": one.encoding.encode()}) for one in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(one.data[::-1], one.metadata["was"].decode()) for one in payloads]


class Seen(Interceptor, WorkerInterceptor):
    def __init__(self) -> None:
        self.starts: list[str] = []
        self.activities: list[str] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        seen = self

        class Client(OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> Any:
                seen.starts.append(input.workflow)
                return await super().start_workflow(input)

        return Client(next)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        seen = self

        class Activity(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                seen.activities.append(activity.info().activity_type)
                return await super().execute_activity(input)

        return Activity(next)


async def test_the_identity(make: Make) -> None:
    env = make(identity="the test of ada")
    await env.run(subscription("ada", 1), id="s-1")
    history = env.history("s-1")
    assert history.events_of("WorkflowExecutionStarted")[0].identity == "the test of ada"
    assert [worker.identity for worker in await env.client.store.list_workers()] == ["the test of ada"]


async def test_the_data_converter(make: Make) -> None:
    """With a codec, which is asked before the database is there."""
    env = make(data_converter=replace(default(), payload_codec=Reversed()))
    assert await env.run(subscription("ada", 1), id="s-1") == "ended"
    run = await env.client.get_workflow_handle("s-1").describe()
    assert env.history("s-1").types[0] == "WorkflowExecutionStarted"
    env.assert_started(subscription("ada", 1))
    (row,) = await env.client.store.stored.read_events(run.run_id, 0, 1)  # type: ignore[attr-defined]
    assert b"ada"[::-1] in row.data
    assert b'"ada"' not in row.data


async def test_interceptors(make: Make) -> None:
    seen = Seen()
    await make(interceptors=[seen]).run(subscription("ada", 1))
    assert seen.starts == ["testing.subscription"]
    assert seen.activities == ["testing.charge"]


@workflow.defn(name="testing.asked")
class Asked:
    @workflow.run
    async def run(self) -> str:
        return "done"

    @workflow.query
    def state(self) -> str:
        return "asked"


async def test_the_condition_to_reject_queries(make: Make) -> None:
    for condition in (None, QueryRejectCondition.NOT_OPEN):
        env = make(default_workflow_query_reject_condition=condition)
        await env.run(Asked.run(), id="a-1")
        handle = env.client.get_workflow_handle("a-1")
        if condition is None:
            assert await handle.query("state") == "asked"
        else:
            with pytest.raises(WorkflowQueryRejectedError):
                await handle.query("state")


@pytest.mark.parametrize("start", ["start_time_skipping", "start_local"])
async def test_both_ways_to_start_one_take_them(start: str, postgres: PostgresServer) -> None:
    seen = Seen()
    async with await getattr(WorkflowEnvironment, start)(
        identity="me",
        interceptors=[seen],
        data_converter=replace(default(), payload_codec=Reversed()),
        default_workflow_query_reject_condition=QueryRejectCondition.NOT_OPEN,
        postgres=postgres,
    ) as env:
        await env.run(Asked.run(), id="a-1")
        assert seen.starts == ["testing.asked"]
        assert env.client.identity == "me"
        assert env.client.data_converter.payload_codec is not None
        assert env.url.startswith("postgresql://")
        with pytest.raises(WorkflowQueryRejectedError):
            await env.client.get_workflow_handle("a-1").query("state")


# --- what is served ---


@activity.defn(name="testing.debit_sqlite", transactional=True)
def debit_sqlite(tx: sqlite3.Connection, cents: int) -> int:
    tx.execute("UPDATE account SET cents = cents - ?", (cents,))
    return cents


@activity.defn(name="testing.debit_postgres", transactional=True)
async def debit_postgres(tx: asyncpg.Connection, cents: int) -> int:
    await tx.execute("UPDATE account SET cents = cents - $1", cents)
    return cents


@activity.defn(name="testing.apart", executor="process")
def apart(number: int) -> tuple[int, bool, int]:
    return os.getpid(), threading.current_thread() is threading.main_thread(), number


@workflow.defn(name="testing.debits")
async def debits(sqlite: bool) -> int:
    return await (debit_sqlite(30) if sqlite else debit_postgres(30))


@workflow.defn(name="testing.goes_apart")
async def goes_apart() -> tuple[int, bool, int]:
    return await apart(7)


async def test_transactional_activities(make: Make) -> None:
    env = make()
    if env.url.startswith("sqlite"):
        with sqlite3.connect(env.url.removeprefix("sqlite:///")) as mine:
            mine.execute("CREATE TABLE account AS SELECT 100 AS cents")
        mine.close()
        assert await env.run(debits(True)) == 30
        with contextlib.closing(sqlite3.connect(env.url.removeprefix("sqlite:///"))) as mine:
            assert mine.execute("SELECT cents FROM account").fetchone() == (70,)
    else:
        theirs = await asyncpg.connect(env.url)
        await theirs.execute("CREATE TABLE account AS SELECT 100 AS cents")
        assert await env.run(debits(False)) == 30
        assert await theirs.fetchval("SELECT cents FROM account") == 70
        await theirs.close()


async def test_transactional_activities_that_are_mocked(make: Make) -> None:
    """They need no tables, and not even the database they are for."""
    env = make()
    here, there = env.mock_activity(debit_sqlite).returns(1), env.mock_activity(debit_postgres).returns(2)
    assert await env.run(debits(True)) == 1
    assert await env.run(debits(False)) == 2
    assert here.calls == there.calls == [(30,)]


async def test_activities_for_processes_run_in_threads_here(make: Make) -> None:
    assert list(await make().run(goes_apart())) == [os.getpid(), False, 7]


async def test_dynamic_activities_and_workflows(make: Make) -> None:
    @activity.defn(dynamic=True)
    async def whatever(args: Sequence[RawValue]) -> str:
        return f"{activity.info().activity_type} with {len(args)}"

    @workflow.defn(dynamic=True)
    class Anything:
        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> str:
            return await workflow.execute_activity(
                "unknown", args=[1, 2], start_to_close_timeout=5, result_type=str
            )

    env = make()
    handle: Any = await env.client.start_workflow("strange", 1, id="d-1")
    assert await handle.result() == "unknown with 2"
    assert await env.run(subscription("ada", 1)) == "ended"
    assert charge.name == "testing.charge"
    assert plain.name == "testing.plain"


async def test_a_database_in_memory_has_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable.testing._databases.any_transactional", lambda: False)
    async with await WorkflowEnvironment.start_time_skipping() as env:
        with pytest.raises(RuntimeError, match="in memory, where no other connection reaches it"):
            _ = env.url
    env = WorkflowEnvironment()
    where = Path(env.url.removeprefix("sqlite:///"))
    await env.run(subscription("ada", 1))
    assert await asyncio.to_thread(where.exists)
    await env.shutdown()
    assert not await asyncio.to_thread(where.parent.exists)
