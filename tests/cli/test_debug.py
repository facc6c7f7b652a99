"""`durable debug`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from durable import Client
from durable.cli import ExitCode
from durable.testing import WorkflowEnvironment
from tests.cli.conftest import Done
from tests.cli.schemas import check
from tests.cli.shop import Order, charge, checkout

Cli = Callable[..., Done]

APP = ("-A", "tests.cli.shop")


def with_other_activity(file: Path) -> None:
    file.write_text(file.read_text().replace("cli.charge", "cli.other"))


@pytest.fixture
async def file(sqlite_url: str, tmp_path: Path) -> Path:
    async with Client.connect(sqlite_url) as client:
        env = WorkflowEnvironment.from_client(client)
        async with env.worker(workflows=[checkout], activities=[charge]):
            await client.execute_workflow(checkout(Order("1")), id="c-1")
        history = await client.get_workflow_handle("c-1").fetch_history()
    path = tmp_path / "c-1.json"
    path.write_text(history.to_json())
    return path


async def test_a_file_and_a_run_of_a_database_are_told(cli: Cli, file: Path, sqlite_url: str) -> None:
    of_file = cli("debug", *APP, "--print", str(file))
    assert of_file.code == 0
    assert "  in      3 ActivityTaskCompleted for cli.charge (2)\n" in of_file.out
    assert "in checkout: return await charge(order)\n      order = Order(id='1', cents=100)" in of_file.out
    assert cli("debug", *APP, "--db", sqlite_url, "--print", "c-1").out == of_file.out
    assert "task 1," not in cli("debug", *APP, "--print", "--event", "3", str(file)).out


async def test_as_documents(cli: Cli, file: Path) -> None:
    document = cli("debug", *APP, "--print", "--json", str(file)).json
    check(document, "debug")
    first, second = document["steps"]
    assert first["waiting"][0]["places"][0]["function"] == "checkout"
    assert first["commands"][0]["event"] == 2
    assert second["inputs"] == [{"event": 3, "text": "ActivityTaskCompleted for cli.charge (2)"}]
    assert cli("debug", *APP, "--print", "--jsonl", str(file)).out.count("\n") == 2


async def test_under_pdb(cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    monkeypatch.setattr(sys, "breakpointhook", sys.__breakpointhook__)
    monkeypatch.setattr(sys, "stdin", io.StringIO("p order.id\nq\n"))
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    assert cli("debug", *APP, "--event", "3", str(file)).code == 0
    assert "--- task 2: events 3 to 4" in out.getvalue()
    assert "'1'" in out.getvalue()


async def test_what_does_not_replay(cli: Cli, file: Path) -> None:
    with_other_activity(file)
    done = cli("debug", *APP, "--print", str(file))
    assert done.code == ExitCode.NONDETERMINISM
    assert "the code now wants" in done.out
    (step,) = cli("debug", *APP, "--print", "--jsonl", str(file)).out.splitlines()
    assert "NondeterminismError: workflow 'cli.checkout'" in step


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["c-1"], ExitCode.USAGE, "say which code to replay"),
        (["-A", "nowhere", "c-1"], ExitCode.USAGE, "there is no module 'nowhere'"),
        ([*APP, "no-such.json"], ExitCode.USAGE, "no-such.json"),
        ([*APP, "--json", "c-1"], ExitCode.USAGE, "--json and --jsonl go with --print"),
        (
            [*APP, "--print", "--event", "9", "c-1"],
            ExitCode.USAGE,
            "there is no event 9: the history has events 1 to 4",
        ),
        ([*APP, "c-2"], ExitCode.NOT_FOUND, "c-2"),
    ],
)
async def test_what_is_wrong_is_told(
    cli: Cli, file: Path, sqlite_url: str, arguments: list[str], code: ExitCode, told: str
) -> None:
    done = cli("debug", "--db", sqlite_url, *arguments)
    assert done.code == code
    assert told in done.err
