"""`durable keys`: what is encrypted with which key, told by who has none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from durable import Client, Worker, workflow
from durable.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec
from durable.contrib.encryption import EncryptionCodec, encrypting
from tests.cli import schemas
from tests.cli.conftest import Done

Run = Callable[..., Any]
OLD, NEW = bytes(32), bytes(range(32))


@pytest.fixture
def run(cli: Callable[..., Done], store_url: str) -> Run:
    async def called(*arguments: str) -> Done:
        return await asyncio.to_thread(cli, *arguments, "--db", store_url)

    return called


@workflow.defn(name="keys.waits")
class Waits:
    told = ""

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.wait_condition(lambda: bool(self.told))
        return text

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told = text


async def test_each_key_and_what_needs_it(client: Client, run: Run, store_url: str) -> None:
    before = encrypting(EncryptionCodec({"2026-01": OLD}))
    after = encrypting(EncryptionCodec({"2026-01": OLD, "2026-06": NEW}, newest="2026-06"))
    schedule = Schedule(ScheduleActionStartWorkflow(Waits.run, "x", id="later"), ScheduleSpec())
    async with (
        Client.connect(store_url, data_converter=before) as old,
        Client.connect(store_url, data_converter=after) as new,
    ):
        await client.start_workflow(Waits.run("plain"), id="plain")
        await old.start_workflow(Waits.run("both"), id="both")
        await old.create_schedule("nightly", schedule)
        handle = await new.start_workflow(Waits.run("new"), id="new")
        await new.get_workflow_handle_for(Waits, "both").signal(Waits.tell("unread"))
        async with Worker(new, workflows=[Waits], activities=[]):
            await handle.signal(Waits.tell("go"))
            await handle.result(timeout=60)
            await new.get_workflow_handle_for(Waits, "both").result(timeout=60)
    listed = (await run("keys", "list")).lines
    assert [line[:4] for line in listed] == [
        ["(not encrypted)", "1", "1", "0"],
        ["2026-01", "1", "0", "1"],
        ["2026-06", "2", "0", "0"],
    ]
    told = (await run("keys", "list", "--json")).json
    schemas.check(told, "keys list")
    assert [one["key"] for one in told["keys"]] == [None, "2026-01", "2026-06"]
    affected = (await run("keys", "affected", "2026-01", "--json")).json
    schemas.check(affected, "keys affected")
    assert [(one["kind"], one["id"], one["keys"]) for one in affected["affected"]] == [
        ("workflow", "both", ["2026-01", "2026-06"]),
        ("schedule", "nightly", ["2026-01"]),
    ]
    assert (await run("keys", "affected", "2026-01", "-q", "WorkflowId = 'new'")).lines == []
    assert (await run("keys", "list", "-q", "WorkflowId = 'plain'")).lines[0][:2] == ["(not encrypted)", "1"]


async def test_an_unread_message_needs_its_key(client: Client, run: Run, store_url: str) -> None:
    await client.start_workflow(Waits.run("plain"), id="plain")
    converter = encrypting(EncryptionCodec({"k": OLD}))
    async with Client.connect(store_url, data_converter=converter) as other:
        await other.get_workflow_handle_for(Waits, "plain").signal(Waits.tell("unread"))
    assert [line[1] for line in (await run("keys", "affected", "k")).lines] == ["plain"]
