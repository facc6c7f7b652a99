"""`docs/testing.md`: what it shows runs, and the file it shows is one."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker
from durable.client import WorkflowHistory
from durable.testing import (
    ActivityEnvironment,
    History,
    PostgresServer,
    WorkflowEnvironment,
    crash_at_every_event,
)
from durable.testing._mocks import Mocks
from durable.testing.invariants import EffectLedger, OperationLog
from durable.worker import Replayer

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def shown(language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return found


async def test_the_programs_run(
    store_url: str, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "shown"}
    for text in shown("python"):
        exec(compile(text, str(PAGE), "exec"), names)
    mocks = Mocks()
    for test in ("test_ten_years", "test_a_cancel_in_the_second_month"):
        async with WorkflowEnvironment(mocks=mocks) as env:
            await names[test](env, mocks.mock)
    async with WorkflowEnvironment(mocks=mocks, postgres=postgres) as env:
        await names["test_my_rows_and_the_workflow"](env, mocks.mock)
    await names["test_any_crash"](partial(crash_at_every_event, mocks=mocks), mocks.mock)
    await names["test_it_goes_on_where_it_was"](ActivityEnvironment())
    async with Client.connect(store_url) as client:
        await client.start_workflow(names["checkout"]("waits"), id="o-1")
        await names["check_what_is_under_way"](client)
        async with Worker(client, workflows=[names["checkout"]], activities=[names["charge"]]):
            await client.execute_workflow(names["checkout"]("book"), id="o-42")
        await names["keep"](client, "o-42")
        await names["judged"](client, OperationLog("ada"), EffectLedger())
    await names["test_old_runs_still_replay"]()
    names["test_old_checkouts_still_replay"](History.load("checkout-1.json"))


async def test_the_file_is_a_history_and_as_it_would_be_written() -> None:
    (text,) = shown("json")
    history = WorkflowHistory.from_json("o-42", text)
    assert history.to_json_dict() == json.loads(text)
    with pytest.raises(Exception, match="no workflow 'checkout': it has none"):
        await Replayer(workflows=[]).replay_workflow(history)
