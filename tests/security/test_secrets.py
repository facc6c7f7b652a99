"""S8 and S9: where a payload or a password must not be found, and what a log line must not contain."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from durable import ApplicationError, Client, RetryPolicy, Worker, WorkflowFailureError, activity, workflow
from durable.exceptions import DurableError
from tests._postgres import PostgresServer
from tests.scenarios.rig import until

CANARY = "canary-3f9c1"
ESCAPES = "\x1b[31m\r\nWARNING forged \x00 \ud800"


@activity.defn(name="security.uses")
async def uses(secret: str) -> str:
    activity.heartbeat(secret)
    return secret


@workflow.defn(name="security.keeps")
class Keeps:
    def __init__(self) -> None:
        self.told = ""

    @workflow.run
    async def run(self, secret: str) -> str:
        await uses.options(start_to_close_timeout=10)(secret)
        await workflow.wait_condition(lambda: bool(self.told))
        return secret

    @workflow.signal
    def tell(self, secret: str) -> None:
        self.told = secret


async def test_s8_payloads_and_passwords_are_in_no_log_statistic_or_hint(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.INFO)
    url = postgres.create_database()
    heard: list[str] = []
    watcher = await asyncpg.connect(url)
    try:
        async with Client.connect(url) as client, Worker(client, workflows=[Keeps], activities=[uses]):
            await watcher.add_listener("durable durable", lambda *said: heard.append(str(said)))
            async with Client.connect(url) as elsewhere:  # whose hints go through the server
                there = await elsewhere.start_workflow(Keeps.run(CANARY), id="it", memo={"m": CANARY})
                await there.signal(Keeps.tell(CANARY))
                await until("a hint was heard", lambda: heard)
            handle = client.get_workflow_handle_for(Keeps, "it")
            assert await handle.result(timeout=60) == CANARY
            for wrong in (
                lambda: handle.signal("tell", CANARY),
                lambda: client.start_workflow("no such", CANARY, id=""),
            ):
                with pytest.raises((DurableError, ValueError)) as caught:
                    await wrong()
                assert CANARY not in str(caught.value)
            statistics = [str(tuple(row)) for row in await watcher.fetch("select * from pg_stat_activity")]
        assert statistics
        assert not [line for line in [*statistics, *heard, caplog.text] if CANARY in line]
    finally:
        await watcher.close()
        postgres.drop_database(url)


async def test_s8_a_password_is_in_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (
        f"postgresql://someone:{CANARY}@127.0.0.1:1/db",
        f"postgresql://someone@127.0.0.1:1/db?password={CANARY}",
        f"postgresql://someone:{CANARY}@[broken/db",
        f"postgresql://someone:{CANARY}@127.0.0.1:notaport/db",
        f"nosuch://someone:{CANARY}@host/db",
    ):
        with pytest.raises(DurableError) as caught:
            await Client.connect(url)
        error: BaseException | None = caught.value
        while error is not None:
            assert CANARY not in f"{error} {error!r}"
            error = error.__cause__
    assert CANARY not in caplog.text


@activity.defn(name="security.fails")
async def fails() -> None:
    raise ValueError(f"no {ESCAPES}")


@workflow.defn(name="security.forges")
class Forges:
    @workflow.run
    async def run(self) -> None:
        await fails.options(start_to_close_timeout=10, retry_policy=RetryPolicy(maximum_attempts=1))()

    @workflow.signal
    def tell(self, number: int) -> None: ...


@workflow.defn(name="security.blocks")
async def blocks() -> None:
    raise RuntimeError(f"a fault {ESCAPES}")


async def test_s9_what_others_say_is_escaped_in_logs_and_errors(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        Client.connect(store_url) as client,
        Worker(client, workflows=[Forges, blocks], activities=[fails]),
    ):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Forges.run(), id="it")
        cause = caught.value.cause
        assert cause is not None
        assert "\x1b" not in str(cause.__cause__)
        assert isinstance(cause.__cause__, ApplicationError)
        handle: Any = await client.start_workflow(blocks(), id="other")

        async def held() -> str:
            return (await handle.describe()).reason

        reason = await until("it is blocked", held)
        assert not set("\x1b\x00\r\n") & set(reason)
        await handle.terminate()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("durable")]
    assert lines
    assert not [line for line in lines if "\x1b" in line or "\r" in line]
