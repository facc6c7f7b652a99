"""S5 to S7 and S8 on whole workflows: what a reader of the database finds, what a writer can do, and keys that change."""

from __future__ import annotations

import asyncio
import base64
import re
import sqlite3
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from durable import (
    ApplicationError,
    Client,
    RetryPolicy,
    Signal,
    WorkflowFailureError,
    activity,
    workflow,
)
from durable.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleSpec,
)
from durable.contrib.encryption import ENCODING, EncryptionCodec, encrypting
from durable.converter import DataConverter
from durable.history import WorkflowExecutionStarted, decode_data, encode_data
from durable.store import beneath
from tests._pooler import direct
from tests.scenarios.rig import PATIENCE, Env, held, until

CANARY = "canary-51d7e2"
ONE, TWO, THREE = (bytes([n]) * 32 for n in (1, 2, 3))
go = Signal("scn.enc.go", str)


@activity.defn(name="scn.enc.echo", heartbeat_timeout=10, retry_policy=RetryPolicy(initial_interval=0.05))
async def echo(text: str) -> str:
    activity.heartbeat(text)
    if activity.info().attempt == 1:
        raise ApplicationError(f"first {text}", text)
    return text


@workflow.defn(name="scn.enc.kid")
async def kid(text: str) -> str:
    await workflow.sleep(0.01)
    return f"{text} of kid"


@workflow.defn(name="scn.enc.all")
class All:
    @workflow.run
    async def run(self, text: str, last: bool = False) -> str:
        if last:
            said = await go.receive()
            if said.endswith("fail"):
                raise ApplicationError(said, text, type="Asked")
            return text + said
        workflow.upsert_memo({"more": text})
        await echo.options(eager=False)(text)
        await workflow.execute_child_workflow(kid(text))
        return workflow.continue_as_new(text, True)

    @workflow.query
    def ask(self, text: str) -> str:
        return text

    @workflow.update
    async def change(self, text: str) -> str:
        if text.endswith("no"):
            raise ApplicationError(text)
        return text


async def dump(url: str) -> bytes:
    """All that a reader of the database sees, payloads unpacked from the text they stand in."""
    rows: list[Any] = []
    if url.startswith("sqlite"):
        db = sqlite3.connect(url.removeprefix("sqlite:///"))
        for (name,) in db.execute("select name from sqlite_master where type = 'table'").fetchall():
            rows += db.execute(f'select * from "{name}"').fetchall()
        db.close()
    else:
        connection = await asyncpg.connect(direct(url))
        for (name,) in await connection.fetch("select tablename from pg_tables where schemaname = 'durable'"):
            rows += [tuple(row) for row in await connection.fetch(f"select * from durable.{name}")]
        await connection.close()
    found = b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
    )
    decoded = [
        base64.b64decode(text)
        for text in re.findall(rb'"((?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/=]{4}))"', found)
    ]
    return b"\n".join([found, *decoded])


async def all_of_it(env: Env, converter: DataConverter, url: str) -> bytes:
    """Say the canary in every way there is, and return what the database has of it."""
    async with Client.connect(url, data_converter=converter) as client:
        action = ScheduleActionStartWorkflow(
            All.run, args=[CANARY, True], id="scheduled", memo={"note": CANARY}
        )
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=300))])
        schedule = await client.create_schedule("s", Schedule(action, spec))
        async with env.worker(All, kid, echo, client=client):
            handle = await client.start_workflow(All.run(CANARY), id="all", memo={"note": CANARY})
            await until("it has gone on", lambda: went_on(client))
            assert await handle.execute_update(All.change, CANARY) == CANARY
            with pytest.raises(Exception, match="update"):
                await handle.execute_update(All.change, f"{CANARY} no")
            assert await handle.query(All.ask, CANARY) == CANARY
            await handle.signal(go(f"{CANARY} fail"))
            with pytest.raises(WorkflowFailureError):
                await handle.result(timeout=PATIENCE)
            await schedule.trigger()
            await until("the schedule has acted", lambda: acted(schedule))
            return await dump(url)


async def acted(schedule: ScheduleHandle) -> bool:
    return bool((await schedule.describe()).info.recent_actions)


async def went_on(client: Client) -> bool:
    record = await client.store.find_run("all")
    return record is not None and record.first_run_id not in (None, record.run_id)


async def test_s5_a_reader_of_the_database_finds_nothing_readable(plain: Env, store_url: str) -> None:
    found = await all_of_it(plain, encrypting(EncryptionCodec({"k": ONE}, reads_plaintext=False)), store_url)
    assert CANARY.encode() not in found
    assert ENCODING.encode() in found


async def test_s5_without_a_codec_the_same_look_finds_it(plain: Env, store_url: str) -> None:
    assert CANARY.encode() in await all_of_it(plain, DataConverter(), store_url)


async def test_s6_two_ciphertexts_that_change_places_block_their_runs(plain: Env, store_url: str) -> None:
    """Of two workflows, and of two fields of one; when they are back where they belong the runs go on."""
    converter = encrypting(EncryptionCodec({"k": ONE}))
    async with Client.connect(store_url, data_converter=converter) as client:
        waits = [await client.start_workflow(All.run(name, True), id=name) for name in "ab"]
        runs = [handle.result_run_id or "" for handle in waits]
        before = [(await beneath(client.store).read_events(run))[0] for run in runs]
        # Only the payload moves: the rest of the event is what it was.
        swapped = [
            replace(own, data=encode_data(moved_input(own.data, other.data)))
            for own, other in zip(before, reversed(before), strict=True)
        ]
        await overwrite(store_url, [(run, row.seq, row.data) for run, row in zip(runs, swapped, strict=True)])
        async with plain.worker(All, client=client):
            for handle in waits:
                assert "PayloadIntegrityError: the payload was changed, or moved" in await held(handle)
                assert (await handle.describe()).status.name == "RUNNING"
            await overwrite(
                store_url, [(run, row.seq, row.data) for run, row in zip(runs, before, strict=True)]
            )
            for handle in waits:
                await handle.signal(go("!"))
            assert [await handle.result(timeout=PATIENCE) for handle in waits] == ["a!", "b!"]


def moved_input(own: bytes, other: bytes) -> WorkflowExecutionStarted:
    """One's first event with the other's input."""
    mine, others = (decode_data(1, data) for data in (own, other))
    assert isinstance(mine, WorkflowExecutionStarted)
    assert isinstance(others, WorkflowExecutionStarted)
    return replace(mine, input=others.input)


async def overwrite(url: str, rows: list[tuple[str, int, bytes]]) -> None:
    """Change events, as somebody may who can write the database."""
    if url.startswith("sqlite"):
        db = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)
        with db:
            db.executemany(
                "update events set data = ? where run_id = ? and seq = ?",
                [(data, run, seq) for run, seq, data in rows],
            )
        db.close()
    else:
        connection = await asyncpg.connect(direct(url))
        await connection.executemany(
            "update durable.events set data = $3 where run_id = $1 and seq = $2", rows
        )
        await connection.close()


@workflow.defn(name="scn.enc.steps")
async def steps(text: str) -> str:
    for _ in range(6):
        text = await echo_once(text)
    return text


@activity.defn(name="scn.enc.once")
async def echo_once(text: str) -> str:
    return text


async def test_s7_keys_rotate_three_times_under_load(plain: Env, store_url: str) -> None:
    """A key is first given to all, then it encrypts; no workflow notices, and an old key still reads."""
    keys = {"k1": ONE}
    codec = EncryptionCodec(keys)
    ends: list[str] = []
    for key_id, key in (("k2", TWO), ("k3", THREE), ("k4", bytes(range(32)))):
        async with Client.connect(store_url, data_converter=encrypting(codec)) as old:
            keys[key_id] = key
            reads = EncryptionCodec(keys, newest=codec._newest)
            writes = EncryptionCodec(keys, newest=key_id)
            async with (
                Client.connect(store_url, data_converter=encrypting(reads)) as first,
                Client.connect(store_url, data_converter=encrypting(writes)) as second,
                plain.worker(steps, echo_once, client=first),
                plain.worker(steps, echo_once, client=second),
            ):
                handles = await asyncio.gather(
                    *(
                        client.start_workflow(steps(f"{key_id}-{n}"), id=f"{key_id}-{n}", start_delay=0.001)
                        for n, client in enumerate([old, first, second] * 4)
                    )
                )
                # The one that has not the key yet may start, and not read what others answer.
                readers = [second.get_workflow_handle_for(steps, handle.id) for handle in handles]
                ends += await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in readers))
        codec = writes
    assert sorted(ends) == sorted(f"k{k}-{n}" for k in (2, 3, 4) for n in range(12))


async def test_s7_a_run_whose_key_is_gone_waits_and_goes_on_when_it_is_back(
    plain: Env, store_url: str
) -> None:
    old = encrypting(EncryptionCodec({"k1": ONE}))
    async with Client.connect(store_url, data_converter=old) as client:
        handle = await client.start_workflow(All.run("x", True), id="old")
        await handle.signal(go("!"))
    without = encrypting(EncryptionCodec({"k2": TWO}))
    async with Client.connect(store_url, data_converter=without) as client, plain.worker(All, client=client):
        waiting = client.get_workflow_handle_for(All, "old")
        assert "UnknownKeyError: there is no key 'k1'; workflows that need it wait" in await held(waiting)
    both = encrypting(EncryptionCodec({"k2": TWO, "k1": ONE}, newest="k2"))
    async with Client.connect(store_url, data_converter=both) as client, plain.worker(All, client=client):
        same = client.get_workflow_handle_for(All, "old")
        assert await same.result(timeout=PATIENCE) == "x!"
