"""How a PostgreSQL server, a role, a pooler and a namespace may be, and how much a full table costs."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from durable._internal.ids import uuid7
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy
from durable.exceptions import SchemaError, StoreConfigurationError, StoreUnavailableError
from durable.store import (
    RECENT,
    ChildStart,
    Close,
    ExternalSend,
    Message,
    NewActivity,
    NewRun,
    Reply,
    RunStatus,
    Transition,
    Unread,
    UpdateOutcome,
    UpdateStage,
    Verdict,
    WorkerRecord,
    _migrate,
    postgres,
)
from durable.store import postgres as adapter
from durable.store.postgres import PostgresStore
from durable.store.postgres import _session as session
from durable.store.postgres._runs import pack_starts
from tests._postgres import PostgresServer
from tests.store.postgres_rig import (
    LEASE,
    Proxy,
    closing,
    commit_by,
    opened,
    register,
    start,
    step,
)


async def test_a_role_that_defaults_to_another_isolation_is_set_right(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    database = await stranger.fetchval("select current_database()")
    await stranger.execute(
        f'alter database "{database}" set default_transaction_isolation to "repeatable read"'
    )
    async with opened(store._pool.settings.dsn) as other:
        (run,) = await start(other)
        assert (await other.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
    async with opened(store._pool.settings.dsn + "?pooler=transaction") as pooled:
        (run,) = await start(pooled)
        assert (await pooled.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
    async with stranger.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.PostgresError, match="READ COMMITTED"):
            await commit_by(stranger, store, [step(run, 3)])


async def test_a_read_only_role_is_refused(postgres_url: str, stranger: asyncpg.Connection) -> None:
    database = await stranger.fetchval("select current_database()")
    await stranger.execute(f'alter database "{database}" set default_transaction_read_only to on')
    with pytest.raises(StoreConfigurationError, match="read-only"):
        await postgres.open(postgres_url)


async def test_risky_settings_are_said_once(
    postgres_url: str, stranger: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    database = await stranger.fetchval("select current_database()")
    await stranger.execute(f'alter database "{database}" set synchronous_commit to off')
    with caplog.at_level(logging.WARNING, "durable.store"):
        for _ in range(2):
            async with opened(postgres_url) as store:
                await asyncio.gather(*[store.now() for _ in range(10)])
    assert [record.message.count("synchronous_commit = off") for record in caplog.records].count(1) == 1


async def test_what_a_server_risks_is_said_once_for_all_its_databases(
    postgres: PostgresServer,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(adapter, "_warned", set[tuple[str, str]]())
    another = postgres.create_database()
    with caplog.at_level(logging.WARNING, "durable.store"):
        for url in (postgres_url, another, postgres_url):
            async with opened(url) as store:
                risky = await store._pool.fetch("select current_setting('fsync') = 'off' as risky")
    postgres.drop_database(another)
    said = [record.message for record in caplog.records if "fsync = off" in record.message]
    assert len(said) == int(risky[0]["risky"])


async def test_s18_plain_text_to_another_machine_is_said_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> int:
        return len([one for one in caplog.records if "in plain text: add sslmode=verify-full" in one.message])

    monkeypatch.setattr(adapter, "_warned", set[tuple[str, str]]())
    with caplog.at_level(logging.WARNING, "durable.store"):
        async with opened(postgres_url):
            assert said() == 0
        monkeypatch.setattr(session, "is_local", lambda address: False)
        async with opened(f"{postgres_url}?sslmode=disable"):
            assert said() == 0
        for _ in range(2):
            async with opened(postgres_url):
                assert said() == 1


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("::1", True), ("127.5.5.5", True), ("10.0.0.5", False), ("fe80::1%eth0", False)],
)
def test_s18_which_addresses_are_this_machine(address: str, local: bool) -> None:
    assert session.is_local(address) is local


async def test_a_pooler_is_noticed_by_its_effects(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    (run,) = await start(store)
    await store.commit([step(run)])
    async with store._pool.session() as session:
        await session.connection.execute("deallocate all")
    committer = store._sessions["commit"]
    await committer.connection.execute("deallocate all")
    assert (await store.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
    assert len(await store.read_events(run)) == 3
    assert store._pool.settings.pooler
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


async def test_an_ambiguous_commit_behind_a_pooler(postgres_url: str) -> None:
    async with Proxy(postgres_url) as proxy, opened(f"{proxy.url}?pooler=transaction") as store:
        await register(store, "me")
        (run,) = await start(store)
        for seq, cut in enumerate(("before the request", "before the reply"), 2):
            proxy.cut = cut
            with pytest.raises(StoreUnavailableError):
                await store.commit([step(run, seq)])
            # The reply that was cut off is that to the call; its COMMIT never reached the server.
            assert len(await store.read_events(run)) == seq - 1
            assert (await store.commit([step(run, seq)])).verdicts == (Verdict.WRITTEN,)


@pytest.mark.parametrize("namespace", ["", "Upper", "1st", "a-b", 'a"b', "pg_mine", "x" * 49, "a.b", "ä"])
async def test_a_namespace_that_cannot_be_a_schema_is_refused(namespace: str) -> None:
    with pytest.raises(StoreConfigurationError, match="namespace"):
        await postgres.open("postgresql://nobody@127.0.0.1:1/x", namespace=namespace)


async def test_namespaces_keep_apart_even_when_they_are_words_of_sql(postgres_url: str) -> None:
    async with opened(postgres_url, namespace="select") as one, opened(postgres_url, namespace="user") as two:
        await register(one, "me")
        (run,) = await start(one)
        assert (await one.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
        assert await two.read_events(run) == []


async def test_tables_are_made_once_by_many(postgres_url: str) -> None:
    done = await asyncio.gather(*[postgres.migrate(postgres_url) for _ in range(8)])
    assert sorted(map(bool, done)) == [False] * 7 + [True]


async def test_tables_that_do_not_fit_are_refused(postgres_url: str, stranger: asyncpg.Connection) -> None:
    with pytest.raises(SchemaError, match="migrate"):
        await postgres.open(postgres_url, migrate=False)
    async with opened(postgres_url):
        pass
    async with opened(postgres_url, migrate=False):
        pass
    newest = _migrate.newest(_migrate.load("durable.store.postgres"))
    await stranger.execute(f"insert into durable.schema_version values ('{newest + 1:04}_next', 0)")
    async with opened(postgres_url):  # yesterday's worker on tomorrow's tables
        pass
    await stranger.execute(f"insert into durable.schema_version values ('{newest + 2:04}_later', 0)")
    with pytest.raises(SchemaError, match="newer"):
        await postgres.open(postgres_url)
    await stranger.execute("drop schema durable cascade; create schema durable")
    await stranger.execute("create table durable.schema_version (name text, applied_at bigint)")
    await stranger.execute("insert into durable.schema_version values ('0000_ancient', 0)")
    with pytest.raises(SchemaError, match="migrate"):
        await postgres.open(postgres_url)


async def test_no_password_is_ever_shown(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    assert parts.password is not None
    async with opened(postgres_url) as store:
        assert parts.password not in store.url
    wrong = urlunsplit(parts._replace(netloc=parts.netloc.replace(parts.password, "s3cret%2Fpass")))
    for url in (wrong, f"{wrong}?sslmode=nonsense", f"{wrong}?password=0ther", wrong.replace("@", ":x@@")):
        with pytest.raises((StoreConfigurationError, StoreUnavailableError)) as caught:
            await postgres.open(url, acquire=0.2)
        assert not any(word in f"{caught.value!r}" for word in ("s3cret", "0ther"))


async def test_parked_runs_cost_new_work_nothing(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    """The tables are read by index only, a few rows at a time, whatever the planner knew about them."""
    runs = await start(store, 10)
    await store.commit([step(run) for run in runs])
    due = await start(store, 10, owner=None)
    called = await start(store, 10, owner=None, delay=10**15)
    await store.send([Message(run, "m", 2, b"") for run in called])
    sender, parent, heir = await start(store, 3)
    content = WorkflowIDConflictPolicy.USE_EXISTING

    def others() -> list[Transition]:
        """What runs do to other runs."""
        reply = Reply("reply", 1, b"", 2, b"")
        new = NewRun(
            uuid7(),
            uuid7(),
            "t",
            "elsewhere",
            b"",
            parent_run_id=parent,
            parent_close_policy=ParentClosePolicy.TERMINATE,
        )
        following = NewRun(uuid7(), f"workflow-{heir}", "t", "elsewhere", b"")
        close = Close(RunStatus.CONTINUED_AS_NEW, Unread.MOVE, following, b"lost")
        return [
            step(
                sender,
                sends=(ExternalSend(f"workflow-{runs[0]}", "sent", 2, b"", reply),),
                outcomes=(UpdateOutcome("u", UpdateStage.ACCEPTED),),
                hold_back=1,
            ),
            closing(parent, starts=(ChildStart(new, reply),)),
            Transition(heir, 1, step(heir).events, close=close),
        ]

    async def work(*, functions_only: bool = False) -> int:
        """How many rows of a table are read, at most."""
        transaction = stranger.transaction()
        await transaction.start()
        more: dict[str, Any] = {
            "activities": (NewActivity(1, "a", "q", b"", 0),),
            "messages": (Message(called[0], "from a step", 2, b""),),
            "consumed": (2**40,),
        }
        batch = [step(run, 3, **more) for run in runs[:5]]
        batch += [closing(run, 3) for run in runs[5:]]
        await commit_by(stranger, store, batch)
        await commit_by(stranger, store, others())
        starts = [
            NewRun(
                uuid7(),
                f"workflow-{run}",
                "t",
                "q",
                b"",
                conflict=content,
                messages=(Message("", "news", 2, b""),),
            )
            for run in runs[:2]
        ]
        await stranger.fetch(store._sql["create_runs"], *pack_starts(starts, store._types))
        claimed = await stranger.fetch(store._sql["claim_runs"], "me", ["q"], ["t"], 20, 1, 0, 1, "")
        assert {str(row["run_id"]) for row in claimed} == {*due, *called}
        assert not await stranger.fetch(store._sql["claim_runs"], "me", ["q"], None, 20, 1, 0, 1, "")
        assert len(await stranger.fetch(store._sql["claim_activities"], "me", ["q"], ["a"], 20, 1, "")) == 5
        # What is kept for a version of which nobody lives costs the others nothing, and its own only what they take.
        await stranger.fetch(store._sql["claim_runs"], "me", ["q"], ["t"], 20, 2, 0, 1, "shop:2")
        assert (
            len(await stranger.fetch(store._sql["claim_runs"], "me", ["q"], ["t"], 3, 2, 0, 1, "shop:1")) == 3
        )
        await stranger.fetch(store._sql["claim_activities"], "me", ["q"], ["a"], 20, 2, "shop:1")
        await stranger.fetch(store._sql["take_over"], 10, "")
        for query, *args in (
            ()
            if functions_only
            else (
                ("send", [runs[0]], ["m"], [2], [False], [b""]),
                ("find_latest_run", f"workflow-{runs[0]}", False),
                ("next_wake", ["q"], RECENT),
                ("glance", ["q"], RECENT, ["q"]),
                ("timed_out_runs", 10),
                ("read_owned_messages", "me", 10),
                ("owned_runs", "me"),
                ("paused_runs", "me"),
                ("find_update", sender, "u"),
                ("condemned_runs", 10),
                ("find_versions", "shop"),
                ("stranded_versions",),
                ("queue_routes", ["q"]),
            )
        ):
            await stranger.fetch(store._sql[query], *args)
        rows = await most_rows_read()
        await transaction.rollback()
        return rows

    async def most_rows_read() -> int:
        return await stranger.fetchval(
            "select max(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables "
            "where relname in ('runs', 'run_data', 'events', 'inbox', 'activity_tasks', 'update_outcomes')"
        )

    await stranger.execute("""
        insert into durable.runs (run_id, started_at, closed_at, status, workflow_id, workflow_type, task_queue)
            select gen_random_uuid(), 0, 1, 2, 'closed ' || n, 't', 'q' from generate_series(1, 20000) n""")
    await stranger.execute("""
        insert into durable.runs (run_id, started_at, workflow_id, workflow_type, task_queue, wake_at, format, pinned_to)
            select gen_random_uuid(), 0, 'pinned first ' || n, 't', 'q' || chr(31) || 'shop:1', n, 2, 'shop:1'
            from generate_series(1, 3) n;
        insert into durable.run_data (run_id, info)
            select run_id, '' from durable.runs where pinned_to is not null;
        insert into durable.deployments (name, created_at) values ('shop', 0);
        insert into durable.deployment_versions (version, task_queue, deployment, created_at) values ('shop:1', 'q', 'shop', 0)
        """)
    await stranger.execute("vacuum analyze")
    for _ in range(7):  # until the plans for next to nothing are the ones that are kept
        await work()
    await stranger.execute("""
        alter table durable.runs set (autovacuum_enabled = off);
        insert into durable.runs (run_id, started_at, workflow_id, workflow_type, task_queue, wake_at, priority)
            select gen_random_uuid(), 0, 'parked ' || n, 't', 'q', 9000000000000000 + n, 1 + n % 5
            from generate_series(1, 100000) n;
        insert into durable.runs (run_id, started_at, workflow_id, workflow_type, task_queue, wake_at, format, pinned_to)
            select gen_random_uuid(), 0, 'pinned ' || n, 't', 'q' || chr(31) || 'shop:1', n, 2, 'shop:1'
            from generate_series(1, 20000) n;
        insert into durable.events (run_id, seq, task, type, time, data)
            select run_id, 1, 1, 1, 0, '' from durable.runs where workflow_id like 'parked %';
        insert into durable.run_data (run_id, info) select run_id, '' from durable.runs on conflict do nothing;
        insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
            select run_id, 2, false, 'elsewhere', 'm', '' from durable.runs where workflow_id like 'parked %';
        insert into durable.update_outcomes (run_id, stage, message_id, data)
            select run_id, 2, 'u', '' from durable.runs where workflow_id like 'parked %'""")
    assert await work(functions_only=True) < 1000
    await stranger.execute("analyze")  # which statements that are not in functions may need
    assert await work() < 1000


async def test_a_lease_is_kept_up_from_a_thread_of_its_own(store: PostgresStore) -> None:
    lease = await store.register_worker(WorkerRecord("threaded", "x", (), LEASE, 0, False, False))
    answers: list[bool] = []

    async def live() -> None:
        answers.extend([await lease.renew(), await lease.renew()])
        await lease.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert answers == [True, True]
    (worker,) = [worker for worker in await store.list_workers() if worker.worker_id == "threaded"]
    assert worker.renewals == 2
