"""`durable schedule`, `activity`, `queue`, `worker list`, `doctor`, `gc`, `init`, `completion`."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, activity, workflow
from durable.cli import ExitCode
from durable.cli._program import parser_for
from tests.cli.conftest import Done
from tests.cli.shop import Order, Waits, charge, checkout
from tests.scenarios.rig import reached
from tests.testing.test_invariants import execute

Run = Callable[..., Any]


@pytest.fixture
def run(cli: Callable[..., Done], store_url: str) -> Run:
    async def called(*arguments: str, **options: Any) -> Done:
        return await asyncio.to_thread(cli, *arguments, "--db", store_url, **options)

    return called


async def test_schedules(client: Client, run: Run) -> None:
    made = ("schedule", "create", "s", "--type", "cli.checkout", "-i", '{"id": "1"}', "--cron", "30 1 * * *")
    made += (
        "--time-zone",
        "Europe/Berlin",
        "--overlap",
        "buffer-one",
        "--note",
        "n",
        "--remaining",
        "3",
        "-q",
        "q",
    )
    made += (
        "--workflow-id",
        "nightly",
        "--catchup-window",
        "1h",
        "--pause-on-failure",
        "--paused",
        "--jitter",
        "1s",
    )
    assert (await run(*made)).out == "s\n"
    assert (await run(*made)).code == ExitCode.CONFLICT
    schedule = (await client.get_schedule_handle("s").describe()).schedule
    assert (schedule.action.id, schedule.action.task_queue) == ("nightly", "q")
    assert schedule.policy.catchup_window == timedelta(hours=1)
    assert schedule.policy.pause_on_failure
    assert schedule.spec.jitter == timedelta(seconds=1)
    found = (await run("schedule", "describe", "s", "--json")).json
    assert (found["cron_expressions"], found["overlap"], found["paused"]) == (
        ["30 1 * * *"],
        "buffer_one",
        True,
    )
    assert (found["remaining_actions"], len(found["next_action_times"])) == (3, 3)
    assert "Europe/Berlin" in (await run("schedule", "describe", "s")).out
    assert (await run("schedule", "list")).lines == [["Paused", "s", "cli.checkout", "", "n"]]
    assert (await run("schedule", "unpause", "s", "--note", "on")).code == 0
    (one,) = (await run("schedule", "list", "--json")).json["schedules"]
    assert (one["paused"], one["note"], len(one["next_action_times"])) == (False, "on", 3)
    assert (await run("schedule", "pause", "s")).code == 0
    assert (await run("schedule", "trigger", "s", "--overlap", "allow-all")).code == 0
    day = ("--start", "2026-01-01", "--end", "2026-01-02T12:00:00Z")
    assert (await run("schedule", "backfill", "s", *day, "--overlap", "allow-all")).code == 0
    async with Worker(client, task_queue="q", workflows=[checkout], activities=[charge]):
        while await client.count_workflows("WorkflowId STARTS_WITH 'nightly'") != await _closed(client, 3):
            await asyncio.sleep(0.02)
    assert (await run("schedule", "delete", "s")).code == ExitCode.USAGE
    assert (await run("schedule", "delete", "s", "--yes")).code == 0
    assert (await run("schedule", "delete", "s", "--yes")).code == ExitCode.NOT_FOUND


async def _closed(client: Client, number: int) -> Any:
    found = await client.count_workflows("WorkflowId STARTS_WITH 'nightly' AND ExecutionStatus = 'Completed'")
    return found if found.count == number else None


async def test_preview_tells_when_the_clocks_change(cli: Callable[..., Done]) -> None:
    done = await asyncio.to_thread(
        cli,
        "schedule",
        "preview",
        "--cron",
        "0 12 1 * *",
        "--time-zone",
        "Europe/Berlin",
        "--next",
        "12",
        "--json",
    )
    instants = done.json["instants"]
    assert len(instants) == 12
    assert len([one for one in instants if one["note"]]) == 2, "of twelve months two begin behind a change"
    assert all(datetime.fromisoformat(one["local_time"]).hour == 12 for one in instants)
    every = await asyncio.to_thread(
        cli, "schedule", "preview", "--every", "1h", "--offset", "5m", "--next", "2"
    )
    first, second = (datetime.fromisoformat(line[0]) for line in every.lines)
    assert (second - first, first.minute) == (timedelta(hours=1), 5)
    for arguments, told in (
        ([], "say which"),
        (["s", "--every", "1h"], "say which"),
        (["--cron", "x y"], "cron"),
    ):
        done = await asyncio.to_thread(cli, "schedule", "preview", *arguments)
        assert (done.code, told in done.err) == (ExitCode.USAGE, True)


@activity.defn(name="cli.asks")
async def asks() -> str:
    activity.raise_complete_async()


@workflow.defn(name="cli.asking")
async def asking() -> str:
    return await asks.options(start_to_close_timeout=3600)()


async def test_activities(client: Client, run: Run) -> None:
    async with Worker(client, workflows=[asking], activities=[asks]):
        for name in ("a", "b"):
            handle = await client.start_workflow(asking(), id=name)
            while not [one for one in (await handle.describe()).pending_activities if one.state == "outside"]:
                await asyncio.sleep(0.02)
        assert (await run("activity", "pause", "a", "--type", "cli.asks", "--reason", "r")).code == 0
        (pending,) = (await client.get_workflow_handle("a").describe()).pending_activities
        assert (pending.paused, pending.pause_reason) == (True, "r")
        assert (await run("activity", "reset", "a", "--id", "1", "--keep-paused")).code == 0
        assert (await client.get_workflow_handle("a").describe()).pending_activities[0].paused
        assert (await run("activity", "unpause", "a", "--id", "1", "--reset-attempts")).code == 0
        assert (
            await run("activity", "fail", "b", "1", "--message", "no", "--type", "No", "--non-retryable")
        ).code == 0
        failed = await run("workflow", "show", "b")
        assert "No: no" in failed.out
        assert (await run("activity", "complete", "b", "1")).code == ExitCode.NOT_FOUND
        done = await run("activity", "complete", "a", "1", "--result", '"yes"')
        assert done.code == 0, done.err
        assert (await run("workflow", "result", "a", "--timeout", "60s")).out == "yes\n"


async def test_queues_workers_and_the_doctor(client: Client, run: Run) -> None:
    await client.start_workflow(checkout(Order("1")), id="c", task_queue="nobody")
    sick = await run("doctor", "--json")
    assert sick.code == ExitCode.FAILED
    assert "no worker serves task queue 'nobody', where 1 workflows are open" in sick.out
    async with Worker(client, task_queue="q", workflows=[Waits], activities=[], identity="ada"):
        handle = await client.start_workflow(Waits.run(), id="w", task_queue="q")
        await reached(handle, "Started")
        await handle.pause("r")
        assert (queues := (await run("queue", "list")).lines) == [
            ["nobody", "open", "0", "1", oldest := queues[0][4], "1", "0", "0", "0"],
            ["q", "open", "1", "0", "", "1", "0", "0", "1"],
        ]
        assert float(oldest) > 0
        described = (await run("queue", "describe", "q", "--json")).json
        assert (described["open"], described["served_by"][0]["identity"]) == (1, "ada")
        assert (await run("queue", "describe", "none")).code == ExitCode.NOT_FOUND
        (line,) = (await run("worker", "list")).lines
        assert line[:3] == ["alive", "ada", "q"]
        await client.get_workflow_handle("c").terminate()
        well = await run("doctor")
        assert well.code == 0
        assert "1 paused, an operator has paused them: w" in well.out
        assert {line[1] for line in well.lines} == {
            "tables",
            "database",
            "clock",
            "workers",
            "workflows",
            "settings",
        }


async def test_a_queue_is_paused_drained_and_goes_on(client: Client, run: Run) -> None:
    async with Worker(client, task_queue="q", workflows=[Waits], activities=[], poll_interval=0.1):
        for verb, state in (("pause", "paused"), ("drain", "draining")):
            done = await run("queue", verb, "q", "--reason", "ticket 7")
            assert (done.code, done.out, done.err) == (0, "", "")
            assert (await run("queue", "describe", "q", "--json")).json["state"] == state
            assert f"queue q is {state}".replace("q is", "'q' is") in (await run("doctor")).out
            assert f"is {state} already" in (await run("queue", verb, "q")).err
        await client.start_workflow(Waits.run(), id="w", task_queue="q")
        assert (await run("queue", "list")).lines[0][:4] == ["q", "draining", "1", "1"]
        assert (await run("queue", "unpause", "q")).code == 0
        await reached(client.get_workflow_handle("w"), "Started")
        assert "is not held" in (await run("queue", "unpause", "q")).err
    log = [(one.operation, one.detail, one.reason) async for one in client.operator_log()]
    assert log == [
        ("unpause_task_queue", "q", ""),
        ("drain_task_queue", "q", "ticket 7"),
        ("pause_task_queue", "q", "ticket 7"),
    ]


async def test_the_doctor_holds_histories_against_the_invariants(client: Client, run: Run) -> None:
    async with Worker(client, workflows=[Waits], activities=[]):
        handle = await client.start_workflow(Waits.run(), id="w")
        await reached(handle, "Started")
    well = await run("doctor", "--verify")
    assert "hold for the histories of 1 runs" in well.out
    await execute(client.store, "UPDATE durable.runs SET deaths = 4")
    sick = await run("doctor", "--verify")
    assert "invariant I30" in sick.out
    assert "4 workers died of it. It should be so: A run costs three workers at most" in sick.out
    assert "invariant" not in (await run("doctor")).out


async def test_the_doctor_of_an_empty_database(run: Run) -> None:
    done = await run("doctor")
    assert (done.code, "run: durable migrate up" in done.out) == (ExitCode.FAILED, True)


async def test_gc(client: Client, run: Run) -> None:
    for name in ("a", "b"):
        await client.start_workflow(checkout(Order("1")), id=name)
        await client.get_workflow_handle(name).terminate()
    await client.start_workflow(checkout(Order("1")), id="open")
    assert (await run("gc", "--older-than", "1d", "--dry-run")).out == "0\n"
    assert (await run("gc", "--older-than", "0s")).code == ExitCode.USAGE, "nobody can be asked"
    assert (await run("gc", "--older-than", "0s", "-q", "WorkflowId = 'a'", "--yes", "--json")).json[
        "done"
    ] == 1
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    assert (await run("gc", "--before", before, "--yes")).out.startswith("1 done")
    assert [run.id async for run in client.list_workflows()] == ["open"]
    assert (await run("gc")).code == ExitCode.USAGE


def test_init_writes_a_program_that_runs(tmp_path: Path, cli: Callable[..., Done]) -> None:
    assert cli("init", str(tmp_path)).code == 0
    assert cli("init", str(tmp_path)).code == ExitCode.CONFLICT

    def durable(*arguments: str, **options: Any) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "durable", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            **options,
        )

    worker = subprocess.Popen(
        [sys.executable, "-m", "durable", "worker"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        assert worker.stderr is not None
        while "serving" not in worker.stderr.readline():
            assert worker.poll() is None
        done = durable("workflow", "execute", "greet", "--input", '"Ada"', "--timeout", "60s", check=False)
        assert done.stdout == "Hello, Ada!\n", done.stderr
    finally:
        worker.terminate()
        worker.communicate()
    assert worker.returncode == 0


def test_init_leaves_a_project_alone(tmp_path: Path, cli: Callable[..., Done]) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    done = cli("init", str(tmp_path))
    assert "is there already; put this into it" in done.err
    assert (tmp_path / "pyproject.toml").read_text() == "[project]\n"


def test_completion(cli: Callable[..., Done], tmp_path: Path) -> None:
    script = tmp_path / "durable.bash"
    script.write_text(cli("completion", "bash").out)
    asked = f'. {script}; COMP_WORDS=(durable workflow l); COMP_CWORD=2; _durable; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "list\n"
    asked = asked.replace("workflow l", "workflow list --sta").replace("CWORD=2", "CWORD=3")
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "--status\n"
    assert "bashcompinit" in cli("completion", "zsh").out
    fish = cli("completion", "fish").out
    assert "-a workflow" in fish
    assert "seen_subcommand_from list' -l status" in fish


def test_all_parsers_can_be_made() -> None:
    parser_for(None)


async def test_how_long_workflows_are_kept(run: Run) -> None:
    assert (await run("migrate", "up")).code == 0
    assert "nothing is set" in (await run("gc")).err
    assert (await run("retention", "set", "30d")).code == 0
    assert (await run("retention", "set", "12h", "--type", "checkout", "--export")).code == 0
    assert (await run("retention", "set", "forever", "--type", "audit")).code == 0
    assert (await run("retention", "list")).lines == [
        ["(all others)", "30d", ""],
        ["audit", "forever", ""],
        ["checkout", "12h", "exported before"],
    ]
    assert (await run("retention", "list", "--json")).json["retention"][1] == {
        "workflow_type": "audit",
        "keep_seconds": None,
        "export": False,
    }
    assert (await run("retention", "clear", "--type", "audit")).code == 0
    assert len((await run("retention", "list")).lines) == 2
    wrong = await run("retention", "set", "soon")
    assert wrong.code == ExitCode.USAGE
    assert "no duration; write for example 500ms, 30s, 1h30m or 7d; or forever" in wrong.err
    for option in (["--query", "x"], ["--dry-run"], ["--per-second", "1"], ["--batch-id", "b"]):
        assert f"{option[0]} goes with --older-than or --before" in (await run("gc", *option)).err
    assert "--plain goes with --export" in (await run("gc", "--plain")).err


async def test_old_workflows_are_exported_and_removed(run: Run, client: Client, tmp_path: Path) -> None:
    async with Worker(client, workflows=[checkout], activities=[charge]):
        for number in range(5):
            await client.execute_workflow(checkout(Order(str(number))), id=f"c-{number}")
    aged = ["gc", "--older-than", "0s", "--export", str(tmp_path / "old"), "--yes"]
    assert "--batch-id does not go with --export" in (await run(*aged, "--batch-id", "b")).err
    assert (await run(*aged, "--dry-run")).out == "5\n"
    assert (await run(*aged, "--query", "WorkflowId = 'c-0'", "--plain")).out == "1\n"
    (plain,) = (tmp_path / "old").iterdir()
    assert json.loads(plain.read_text())["workflow_id"] == "c-0"
    assert (await run("retention", "set", "0s", "--export")).code == 0
    assert (await run("gc")).out == "0\n", "they are to be exported"
    assert (await run("gc", "--export", str(tmp_path / "set"))).out == "4\n"
    assert (await run("workflow", "count")).out == "0\n"
    (packed,) = (tmp_path / "set").glob("*.jsonl.gz")
    assert len(gzip.decompress(packed.read_bytes()).splitlines()) == 4
    replayed = await run("replay", "-A", "tests.cli.shop", str(packed), str(plain))
    assert replayed.out.startswith("5 histories"), replayed.err


async def test_a_list_that_is_watched(client: Client, run: Run, store_url: str) -> None:
    assert "it goes with --jsonl" in (await run("workflow", "list", "--watch", "--json")).err
    assert "needs some time" in (await run("workflow", "list", "--watch", "0s")).err
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "durable", "workflow", "list", "--watch", "50ms", "--db", store_url),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    for id in ("one", "two"):  # the second one comes while it is watched
        await client.start_workflow("cli.checkout", id=id)
        while id not in (await asyncio.wait_for(process.stdout.readline(), 60)).decode().split("\t"):
            pass
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED
