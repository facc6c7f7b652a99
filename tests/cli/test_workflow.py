"""`durable workflow`: start, look, tell, put right."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from durable import Client, Worker
from durable.cli import ExitCode
from tests.cli.conftest import Done
from tests.cli.schemas import check
from tests.cli.shop import Order, Waits, charge, checkout, for_ever, stuck
from tests.scenarios.rig import reached

Run = Callable[..., Any]


@pytest.fixture
def run(cli: Callable[..., Done], store_url: str) -> Run:
    """Call a command of `workflow` beside the event loop, which may have a worker on it."""

    async def called(*arguments: str, **options: Any) -> Done:
        return await asyncio.to_thread(cli, "workflow", *arguments, "--db", store_url, **options)

    return called


def worker(client: Client) -> Worker:
    return Worker(client, workflows=[checkout, Waits, stuck], activities=[charge, for_ever])


async def test_start_execute_and_result(client: Client, run: Run) -> None:
    order = '{"id": "1"}'
    done = await run("start", "cli.checkout", "-i", order, "--id", "c-1", "--memo", 'who="ada"', "--json")
    assert done.json["workflow_id"] == "c-1"
    assert (await run("start", "cli.checkout", order, "--id", "c-1")).code == ExitCode.CONFLICT
    again = await run("start", "cli.checkout", "-i", order, "--id", "c-1", "--id-conflict", "use-existing")
    assert again.out == f"c-1\t{done.json['run_id']}\n"
    assert (await run("result", "c-1", "--timeout", "50ms")).code == ExitCode.TIMEOUT
    async with worker(client):
        assert (await run("result", "c-1")).out == "receipt-1\n"
        done = await run("execute", "cli.checkout", "-i", '{"id": "2", "cents": 7}', "--id", "c-2", "--json")
        assert done.json == {"result": "receipt-2"}
        done = await run("execute", "cli.checkout", "-i", '{"id": "3", "cents": -1}', "--id", "c-3")
        assert (done.code, done.out) == (ExitCode.FAILED, "")
        assert "no money" in done.err
    assert (await run("result", "nobody")).code == ExitCode.NOT_FOUND


async def test_every_option_of_a_start_arrives(client: Client, run: Run) -> None:
    given = (
        "--task-queue",
        "q",
        "--execution-timeout",
        "3h",
        "--run-timeout",
        "2h",
        "--summary",
        "a summary",
    )
    given += ("--memo", "a=1", "--cron", "0 9 * * *", "--id-reuse", "reject-duplicate", "--identity", "me")
    assert (await run("start", "cli.checkout", "[1, null]", "-i", '"x"', "--id", "s", *given)).code == 0
    (started,) = (await client.get_workflow_handle("s").fetch_history()).events
    facts = started.data
    assert [one.data for one in facts.input] == [b"[1,null]", b'"x"']
    assert (facts.task_queue, facts.cron_schedule, facts.static_summary) == ("q", "0 9 * * *", "a summary")
    assert (facts.execution_timeout, facts.run_timeout, facts.identity) == (
        10_800_000_000,
        7_200_000_000,
        "me",
    )
    assert list(facts.memo) == ["a"]
    await client.get_workflow_handle("s").terminate()
    done = await run("start", "cli.checkout", "--id", "s", "--id-reuse", "reject-duplicate")
    assert done.code == ExitCode.CONFLICT
    await run("start", "cli.checkout", "--id", "later", "--start-delay", "1h")
    found = await client.get_workflow_handle("later").describe()
    assert (found.execution_time - found.start_time).total_seconds() == 3600


async def test_with_the_code_arguments_are_checked(run: Run, client: Client) -> None:
    app = ("-A", "tests.cli.shop")
    done = await run("start", "cli.checkout", "-i", '{"idd": 1}', *app)
    assert done.code == ExitCode.USAGE
    assert "workflow cli.checkout" in done.err
    assert (await run("start", "cli.checkout", *app)).code == ExitCode.USAGE, "it takes one"
    assert "has no workflow 'cli.nothing'" in (await run("start", "cli.nothing", *app)).err
    assert (await run("start", "cli.checkout", "-i", '{"id": "1"}', "--id", "c", *app)).code == 0
    await client.start_workflow(Waits.run(), id="w")
    assert (await run("signal", "w", "note", "3", *app)).code == ExitCode.USAGE
    assert (await run("signal", "w", "note", "-i", '"x"', *app)).code == 0


async def test_messages(client: Client, run: Run) -> None:
    async with worker(client):
        await client.start_workflow(Waits.run(), id="w")
        assert (await run("signal", "w", "note", '"a"')).code == 0
        assert (await run("query", "w", "noted")).out == '["a"]\n'
        assert (await run("update", "w", "rename", '"b"', "--update-id", "u", "--json")).json == {
            "result": "B"
        }
        assert (await run("update", "w", "rename", '"c"', "--update-id", "u")).out == "B\n"
        failed = await run("update", "w", "rename", '"bad"')
        assert (failed.code, "bad name" in failed.err) == (ExitCode.FAILED, True)
        assert "in run" in (await run("stack", "w")).out
        assert (await run("query", "w", "nothing")).code == ExitCode.FAILED
        await run("signal", "w", "note", '"end"')
        assert (await run("result", "w")).out == "a,b,end\n"
    assert (await run("signal", "w", "note", '"late"')).code == ExitCode.NOT_FOUND
    assert (await run("signal", "w")).code == ExitCode.USAGE


async def test_list_and_count(client: Client, run: Run) -> None:
    async with worker(client):
        await client.execute_workflow(checkout(Order("1")), id="c-1")
        await client.start_workflow(Waits.run(), id="it's w\\")
    for number in range(3):
        await client.start_workflow(checkout(Order("x")), id=f"other-{number}", task_queue="nobody")
    listed = (await run("list", "--json")).json
    check(listed, "workflow list")
    everything = listed["workflows"]
    assert [one["workflow_id"] for one in everything][-1] == "c-1"
    assert len(everything) == 5
    (one,) = (
        await run("list", "--status", "Completed", "--type", "cli.checkout", "--since", "1h", "--json")
    ).json["workflows"]
    assert (one["workflow_id"], one["status"], one["hold"], one["history_length"]) == (
        "c-1",
        "Completed",
        "",
        4,
    )
    assert (await run("list", "--since", "0s", "--jsonl")).out == ""
    limited = await run("list", "--limit", "2", "--jsonl")
    assert [json.loads(line)["workflow_id"] for line in limited.out.splitlines()] == ["other-2", "other-1"]
    assert "only the first 2" in limited.err
    assert len((await run("list", "--limit", "0")).lines) == 5
    table = await run("list", "-q", "WorkflowId = 'c-1' ORDER BY StartTime", terminal=True)
    assert table.out.splitlines()[0].split() == ["STATUS", "ID", "TYPE", "STARTED", "TOOK", "NOTE"]
    assert " ago" in table.out
    assert "1 workflow in namespace default" in table.err
    assert (await run("count")).out == "5\n"
    assert (await run("count", "--type", "cli.checkout", "--by", "queue")).lines == [
        ["3", "nobody"],
        ["1", "default"],
    ]
    counted = (await run("count", "--by", "status", "--json")).json
    check(counted, "workflow count")
    assert counted == {
        "count": 5,
        "groups": [{"value": "Running", "count": 4}, {"value": "Completed", "count": 1}],
    }
    wrong = await run("list", "-q", "Nothing = 3", "--json")
    assert (wrong.code, wrong.out, "there is no attribute" in wrong.err) == (ExitCode.USAGE, "", True)
    assert (await run("list", "--type", "none", "--json")).json == {"workflows": []}


async def test_describe_tells_what_it_waits_for(client: Client, run: Run) -> None:
    async with worker(client):
        handle = await client.start_workflow(stuck(), id="s", memo={"who": "ada"})
        await reached(handle, "Started", "ActivityScheduled")
        described = (await run("describe", "s", "--json")).json
        check(described, "workflow describe")
        assert described["pending_activities"][0]["activity_type"] == "cli.for_ever"
        assert described["memo"] == {"who": "ada"}
        text = (await run("describe", "s")).out
        assert "cli.for_ever" in text
        assert "memo who" in text
    assert (await run("describe", "nobody")).code == ExitCode.NOT_FOUND


async def test_what_is_held_is_seen_in_lists(client: Client, run: Run) -> None:
    await client.start_workflow(Waits.run(), id="w")
    assert (await run("pause", "w", "--reason", "the bank is closed")).code == 0
    (line,) = (await run("list", "--status", "paused")).lines
    assert (line[0], line[1], line[-1]) == ("Paused", "w", "the bank is closed")
    (one,) = (await run("list", "--status", "running", "--json")).json["workflows"]
    assert (one["status"], one["hold"], one["reason"]) == ("Running", "paused", "the bank is closed")
    assert (await run("unpause", "w")).code == 0
    assert (await run("list", "--status", "paused")).out == ""
    log = [entry async for entry in client.operator_log("w")]
    assert [entry.operation for entry in log] == ["unpause", "pause"]


async def test_cancel_terminate_delete_and_reset(client: Client, run: Run) -> None:
    async with worker(client):
        for name in ("a", "b"):
            await client.start_workflow(Waits.run(), id=name)
        assert (await run("cancel", "a", "--reason", "enough")).code == 0
        assert (await run("result", "a")).code == ExitCode.FAILED
        refused = await run("terminate", "b")
        assert (refused.code, "say --yes" in refused.err) == (ExitCode.USAGE, True)
        assert (await run("delete", "b", "--yes")).code == ExitCode.CONFLICT
        assert (await run("terminate", "b", "--yes", "--reason", "gone")).code == 0
        reset = await run("reset", "b", "--to", "first_task", "--json")
        assert reset.json["workflow_id"] == "b"
        assert (await run("terminate", "b", "--yes")).code == 0
        assert (await run("terminate", "b", "--yes")).code == ExitCode.NOT_FOUND
        assert (await run("delete", "b", "--yes", "--run-id", reset.json["run_id"])).code == 0
        left = [one async for one in client.list_workflows("WorkflowId = 'b'")]
        assert [one.run_id for one in left] != [reset.json["run_id"]]
    assert (await run("reset", "a", "--event", "99")).code == ExitCode.USAGE


async def test_many(client: Client, run: Run) -> None:
    for number in range(5):
        await client.start_workflow(Waits.run(), id=f"w-{number}")
    query = ("--query", "WorkflowId STARTS_WITH 'w-'")
    assert (await run("signal", *query, "note", '"x"', "--dry-run")).out == "5\n"
    refused = await run("signal", *query, "note", '"x"')
    assert (refused.code, "note" not in refused.out) == (ExitCode.USAGE, True)
    done = await run("signal", *query, "note", '"x"', "--yes", "--json", "--batch-id", "b-1")
    assert (done.json["done"], done.json["batch_id"]) == (5, "b-1")
    assert (await run("signal", *query, "note", '"x"', "--yes", "--json", "--batch-id", "b-1")).json[
        "done"
    ] == 5
    async with worker(client):
        assert (await run("query", "w-1", "noted")).out == '["x"]\n'
    assert (await run("pause", "--type", "cli.waits", "--yes", "--per-second", "100")).out.startswith(
        "5 done"
    )
    assert (await run("unpause", "--status", "paused", "--yes")).out.startswith("5 done")
    assert (await run("reset", *query, "--to", "first_task", "--yes")).out.startswith("5 done")
    assert (await run("cancel", *query, "--yes")).out.startswith("5 done")
    assert (await run("terminate", *query, "--yes", "--reason", "r")).out.startswith("5 done")
    assert (await run("delete", *query, "--yes")).out.startswith("10 done")
    assert (await run("count")).out == "0\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cancel"], "say which"),
        (["cancel", "w", "--query", "x"], "say which"),
        (["cancel", "w", "--batch-id", "b"], "--batch-id goes with --query"),
        (["cancel", "--type", "x", "--run-id", "r"], "--run-id goes with an ID"),
        (["reset", "--type", "x", "--event", "3", "--yes"], "--event is for one workflow"),
        (["signal", "--type", "x", "note", "-A", "tests.cli.shop"], "-A goes with an ID"),
        (["list", "--since", "yesterday"], "is no duration"),
        (["list", "--status", "busy"], "invalid choice"),
        (["start", "x", "-i", "no json"], "a text is written with quotes: '\"no json\"'"),
        (["start", "x", "-i", "@no-such-file"], "No such file"),
        (["start", "x", "--memo", "a"], "is no KEY=JSON"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    run: Run, client: Client, arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    done = await run(*arguments)
    assert done.code == ExitCode.USAGE
    assert told in done.err + capfd.readouterr().err
