"""S10: what each role of `durable migrate roles` may do, and what the server refuses it with 42501."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from durable import Client, Worker, activity, store, workflow
from durable.exceptions import SchemaError, StoreConfigurationError
from durable.worker import _housekeeping, _retention
from tests._postgres import PostgresServer
from tests._roles import LOGINS, database_for
from tests.cli.conftest import call
from tests.scenarios.rig import until
from tests.store.postgres_rig import connected

RUN = "'00000000-0000-7000-8000-000000000000'::uuid"

FOR_NOBODY = {
    "update events": "update durable.events set data = ''",
    "move a time": "update durable.events set time = 0",
    "truncate events": "truncate durable.events",
    "make a table": "create table durable.mine ()",
    "change a table": "alter table durable.runs add column mine integer",
    "drop a function": "drop function durable.now_us()",
    "exchange a function": "create or replace function durable.now_us() returns bigint language sql as 'select 0::bigint'",
    "claim another version": "insert into durable.schema_version values ('9999_mine', 0)",
    "forget a migration": "delete from durable.schema_version",
    "rewrite the log": "update durable.operator_log set reason = ''",
    "stop a trigger": "alter table durable.transactions disable trigger all",
    "become the owner": "set role durable_owner",
}
REMOVES = {
    "delete events": "delete from durable.events",
    "purge": f"select durable.purge_2({RUN})",
    "delete from the log": "delete from durable.operator_log",
    "delete what runs are": "delete from durable.run_data",
}
BE_A_WORKER = {
    "be a worker": "insert into durable.workers select * from durable.workers",
    "live longer": "update durable.workers set expires_at = 0",
    "be dead": "delete from durable.workers",
}
WRITE = {
    "start": "insert into durable.runs select * from durable.runs",
    "add events": "insert into durable.events select * from durable.events",
    "send": "insert into durable.inbox (run_id) select run_id from durable.runs where false",
    "own a run": "update durable.runs set owner = 'me'",
    "answer": "update durable.queries set answer = ''",
    "send by a function": f"select durable.send_2(array[{RUN}], '{{a}}', '{{1}}', '{{f}}', '{{}}')",
}
FORBIDDEN = {
    "runtime": FOR_NOBODY | REMOVES,
    "ui_rw": FOR_NOBODY | REMOVES | BE_A_WORKER,
    "ui_ro": FOR_NOBODY | REMOVES | BE_A_WORKER | WRITE,
    "janitor": FOR_NOBODY | BE_A_WORKER | {"start": WRITE["start"], "add events": WRITE["add events"]},
}
ROLES = [*FORBIDDEN]


@asynccontextmanager
async def database(postgres: PostgresServer, *logins: str) -> AsyncIterator[list[str]]:
    opened = database_for(postgres, *logins)
    urls = await asyncio.to_thread(opened.__enter__)
    try:
        yield urls
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


@workflow.defn(name="roles.adds")
class Adds:
    def __init__(self) -> None:
        self.sum = 0

    @workflow.run
    async def run(self, start: int) -> int:
        self.sum += await doubles(start)
        await workflow.wait_condition(lambda: self.sum >= 10)
        return self.sum

    @workflow.signal
    def add(self, value: int) -> None:
        self.sum += value

    @workflow.query
    def total(self) -> int:
        return self.sum


@activity.defn(name="roles.doubles")
async def doubles(value: int) -> int:
    return 2 * value


async def test_s10_the_server_refuses_each_role_what_is_not_its_to_do(postgres: PostgresServer) -> None:
    async with database(postgres, *ROLES) as (_, *urls):
        for role, url in zip(ROLES, urls, strict=True):
            async with connected(url) as connection:
                assert await connection.fetchval("select count(*) from durable.events") == 0
                allowed: list[str] = []
                for what, statement in FORBIDDEN[role].items():
                    try:
                        await connection.execute(statement)
                    except asyncpg.InsufficientPrivilegeError as error:
                        assert error.sqlstate == "42501"  # noqa: PT017
                    else:
                        allowed.append(what)
                assert not allowed, f"{role} may {allowed}"


async def test_s10_a_stranger_may_not_even_look(postgres: PostgresServer) -> None:
    postgres.execute("drop role if exists test_stranger") if postgres.execute(
        "select 1 from pg_roles where rolname = 'test_stranger'"
    ) else None
    postgres.execute("create role test_stranger login password 'x'")
    async with database(postgres) as (owner,):
        url = owner.replace(owner.split("//")[1].split("@")[0], "test_stranger:x")
        async with connected(url) as connection:
            for statement in ("select * from durable.runs", "select durable.now_us()"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


async def test_s10_workers_run_with_few_rights_and_leave_removing_to_the_janitor(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_housekeeping, "SWEEP_CHANCE", 1.0)
    monkeypatch.setattr(_retention, "LOOK", 0.05)
    caplog.set_level(logging.INFO, "durable.worker")
    async with (
        database(postgres, "runtime", "ui_rw", "janitor") as (_, runtime, people, janitor),
        Client.connect(runtime, migrate=False) as client,
        Client.connect(people, migrate=False) as operator,
        Worker(client, workflows=[Adds], activities=[doubles], lease_duration=0.5),
    ):
        handle = await client.start_workflow(Adds.run(1), id="it")
        theirs: Any = operator.get_workflow_handle_for(Adds, "it")
        await theirs.signal(Adds.add(3))
        await until("told", lambda: _total(handle, 5))
        await theirs.pause("to look at it")
        await theirs.unpause()
        await theirs.signal(Adds.add(5))
        assert await handle.result(timeout=60) == 10
        with pytest.raises(StoreConfigurationError, match="permission denied"):
            await handle.delete()
        with pytest.raises(StoreConfigurationError, match="permission denied"):
            await theirs.delete()
        other = await operator.start_workflow("roles.adds", 1, id="other")
        await other.terminate(reason="enough")
        assert [one.operation async for one in operator.operator_log("other")] == ["terminate"]
        await until("the log is left alone", lambda: "log are left to a worker" in caplog.text)
        await until("and so is what is closed", lambda: "workflows are left to a worker" in caplog.text)
        async with Client.connect(janitor, migrate=False) as cleaner:
            await cleaner.get_workflow_handle("it").delete("old")
            assert (await cleaner.count_workflows("WorkflowId = 'it'")).count == 0
            assert (await anext(aiter(cleaner.operator_log("it")))).operation == "delete"
    assert "housekeeping failed" not in caplog.text
    assert caplog.text.count("workflows are left to a worker") == 1
    assert "Traceback" not in caplog.text


async def _total(handle: Any, wanted: int) -> bool:
    return bool(await handle.query(Adds.total) == wanted)


async def test_s10_who_only_looks_sees_lists_histories_and_descriptions(postgres: PostgresServer) -> None:
    async with (
        database(postgres, "runtime", "ui_ro") as (_, runtime, looks),
        Client.connect(runtime, migrate=False) as client,
        Client.connect(looks, migrate=False) as eyes,
    ):
        handle = await client.start_workflow(Adds.run(1), id="it")
        assert [one.id async for one in eyes.list_workflows("WorkflowType = 'roles.adds'")] == ["it"]
        seen = eyes.get_workflow_handle("it")
        assert (await seen.describe()).run_id == handle.result_run_id
        assert len((await seen.fetch_history()).events) == 1
        calls: tuple[Callable[[], Any], ...] = (
            lambda: eyes.start_workflow(Adds.run(1), id="mine"),
            lambda: seen.signal("add", 1),
            lambda: seen.terminate(),
            lambda: seen.pause(),
        )
        assert (await eyes.describe_concurrency("key")).running == 0
        for forbidden in calls:
            with pytest.raises(StoreConfigurationError, match="permission denied"):
                await forbidden()
        assert (await client.count_workflows()).count == (await eyes.count_workflows()).count == 1


async def test_s10_functions_run_as_their_caller_and_find_names_in_one_place(
    postgres: PostgresServer,
) -> None:
    """Somebody who may make objects where a worker looks for names must not have them taken for the server's."""
    async with database(postgres, "runtime") as (owner, runtime):
        async with connected(owner) as connection:
            rows = await connection.fetch(
                "select p.proname as name, p.prosecdef as definer, p.proconfig as set, l.lanname as language "
                "from pg_proc p join pg_language l on l.oid = p.prolang where p.pronamespace = 'durable'::regnamespace"
            )
            assert len(rows) > 50
            assert [row["name"] for row in rows if row["definer"]] == ["begin_2"]
            assert not [
                row["name"]
                for row in rows
                if row["language"] == "plpgsql"
                and "search_path=pg_catalog, pg_temp" not in (row["set"] or ())
            ]
            await connection.execute("create schema trap")
            for shadowed in ("coalesce_", "greatest_"):
                await connection.execute(
                    f"create function trap.{shadowed}() returns integer language sql as 'select 1'"
                )
            await connection.execute(
                "create function trap.array_agg(uuid) returns uuid[] language sql as $$select array[$1]$$;"
                "create function trap.cardinality(anyarray) returns integer language plpgsql as "
                "$$begin raise 'trapped'; end$$;"
                "create function trap.unnest(anyarray) returns setof anyelement language plpgsql as "
                "$$begin raise 'trapped'; end$$;"
                "grant usage on schema trap to public; alter role test_runtime set search_path = trap, pg_catalog"
            )
        try:
            async with (
                Client.connect(runtime, migrate=False) as client,
                Worker(client, workflows=[Adds], activities=[doubles]),
            ):
                handle = await client.start_workflow(Adds.run(5), id="it")
                assert await handle.result(timeout=60) == 10
        finally:
            postgres.execute("alter role test_runtime reset search_path")


async def test_s10_the_command_prints_and_makes_the_roles_again_and_again(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    try:
        with pytest.raises(SchemaError):
            await store.make_roles(url, namespace="shop")
        assert call("migrate", "up", "-n", "shop", "--db", url).code == 0
        script = call("migrate", "roles", "-n", "shop", "--db", url).out
        assert "shop_runtime" in script
        assert "durable_" not in script
        assert call("migrate", "roles", "-n", "shop", "--apply", "--db", url).code == 0
        assert call("migrate", "roles", "-n", "shop", "--apply", "--db", url).code == 0
        async with connected(url) as connection:
            await connection.execute(script)
            roles = {
                row[0]
                for row in await connection.fetch("select rolname from pg_roles where rolname like 'shop%'")
            }
            assert roles == {f"shop_{one}" for one in ("owner", "runtime", "ui_ro", "ui_rw", "janitor")}
            await connection.execute("drop schema shop cascade; drop owned by shop_owner")
            await connection.execute("".join(f"drop role {role};" for role in sorted(roles)))
    finally:
        postgres.drop_database(url)


def test_s10_sqlite_has_no_roles_and_says_so(sqlite_url: str) -> None:
    for more in ((), ("--apply",)):
        done = call("migrate", "roles", *more, "--db", sqlite_url)
        assert done.code != 0
        assert "SQLite has no roles" in done.err


def test_the_logins_of_these_tests_are_of_roles_there_are() -> None:
    assert {group for groups in LOGINS.values() for group in groups} == {
        f"durable_{one}" for one in FORBIDDEN
    }
