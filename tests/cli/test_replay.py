"""`durable replay`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from durable import Client
from durable.cli import ExitCode
from durable.testing import WorkflowEnvironment
from tests.cli.conftest import Done
from tests.cli.shop import Order, charge, checkout

Cli = Callable[..., Done]


async def test_files_and_a_database(cli: Cli, sqlite_url: str, tmp_path: Path) -> None:
    async with Client.connect(sqlite_url) as client:
        env = WorkflowEnvironment.from_client(client)
        async with env.worker(workflows=[checkout], activities=[charge]):
            await client.execute_workflow(checkout(Order("1")), id="c-1")
        history = await client.get_workflow_handle("c-1").fetch_history()
    file = tmp_path / "c-1.json"
    file.write_text(history.to_json())
    app = ("-A", "tests.cli.shop")
    done = cli("replay", *app, str(file))
    assert (done.code, done.out) == (0, "1 history with 4 events: all replay\n")
    done = cli("replay", *app, "--db", sqlite_url, "--query", "WorkflowId = 'c-1'", "--json")
    assert done.json == {"replayed": 1, "events": 4, "mismatches": []}
    assert cli("replay", *app, "--db", sqlite_url).out.startswith("0 histories")
    file.write_text(history.to_json().replace("cli.charge", "cli.other"))
    done = cli("replay", *app, str(file))
    assert done.code == ExitCode.NONDETERMINISM
    assert "1 of cli.checkout: c-1\n    NondeterminismError: " in done.out
    assert "the code now wants" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say which code to replay"),
        (["-A", "nowhere"], "there is no module 'nowhere'"),
        (["-A", "tests.cli.shop", "--query", "x", "one.json"], "choose from a database"),
        (["-A", "tests.cli.shop", "no-such.json"], "no-such.json"),
    ],
)
def test_what_is_wrong_is_told(cli: Cli, sqlite_url: str, arguments: list[str], told: str) -> None:
    done = cli("replay", "--db", sqlite_url, *arguments)
    assert done.code == ExitCode.USAGE
    assert told in done.err
