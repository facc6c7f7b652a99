"""`durable worker`: a process that serves until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from durable._internal.http import get
from durable.cli import ExitCode
from durable.cli._context import Context
from durable.cli._output import Form, Output
from durable.cli._program import parser_for
from durable.cli._settings import OF_WORKER, SETTINGS
from durable.cli._supervisor import FROM_ABOVE, merged
from durable.cli._worker import READERS, address, take_settings
from tests.cli.conftest import Done
from tests.cli.shop import Order, Waits, checkout, stuck
from tests.scenarios.rig import reached

ROOT = Path(__file__).parents[2]
Cli = Callable[..., Done]


async def started(
    url: str, *more: str, says: bytes = b"serving", cwd: Path = ROOT
) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "durable", "worker", "--db", url, *more),
        cwd=cwd,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    while says not in (line := await asyncio.wait_for(process.stderr.readline(), 60)):
        assert line, f"the worker ended with {await process.wait()}"
    return process


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, told.decode()


async def test_it_serves_what_a_module_defines_and_ends_well(store_url: str) -> None:
    worker = await started(store_url, "-A", "tests.cli.shop")
    async with Client.connect(store_url) as client:
        assert await client.execute_workflow(checkout(Order("1")), id="c-1") == "receipt-1"
    worker.terminate()
    assert (await ended(worker))[0] == ExitCode.OK


async def test_what_is_unfinished_is_handed_back(sqlite_url: str) -> None:
    worker = await started(sqlite_url, "-A", "tests.cli.shop", "--drain-timeout", "0s")
    async with Client.connect(sqlite_url) as client:
        handle = await client.start_workflow(stuck(), id="s-1")
        await reached(handle, "Started", "ActivityScheduled")
        assert (await handle.describe()).owner is not None
        worker.terminate()
        assert (await ended(worker))[0] == ExitCode.OK
        found = await handle.describe()
        assert found.owner is None, "at once, not when a lease has run out"
        assert found.pending_activities[0].state == "queued"


async def test_the_second_signal_ends_it_at_once(sqlite_url: str) -> None:
    worker = await started(sqlite_url, "-A", "tests.cli.shop", "--drain-timeout", "1h")
    async with Client.connect(sqlite_url) as client:
        await reached(await client.start_workflow(stuck(), id="s-1"), "Started", "ActivityScheduled")
    worker.terminate()
    assert worker.stderr is not None
    while b"SIGTERM" not in await asyncio.wait_for(worker.stderr.readline(), 60):
        pass
    worker.terminate()
    assert (await ended(worker))[0] == -signal.SIGTERM


async def test_several_processes(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "2")
    async with Client.connect(sqlite_url) as client:
        while len(pids := [one.identity.partition("@")[0] for one in await client.store.list_workers()]) < 2:
            await asyncio.sleep(0.05)
        os.kill(int(pids[0]), signal.SIGKILL)
        while len({one.identity for one in await client.store.list_workers()}) < 3:
            await asyncio.sleep(
                0.05
            )  # the one that died is begun anew; it is listed until others have buried it
        assert await client.execute_workflow(checkout(Order("1")), id="c-1") == "receipt-1"
        watching.terminate()
        assert (await ended(watching))[0] == ExitCode.OK
        left = [
            one for one in await client.store.list_workers() if not one.identity.startswith(f"{pids[0]}@")
        ]
        assert left == [], "the others have ended well"


async def test_processes_that_cannot_run_end_the_one_that_watches(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.nowhere", "--processes", "2", says=b"process 1")
    code, told = await ended(watching)
    assert code == ExitCode.USAGE
    assert "there is no module 'tests.cli.nowhere'" in told


async def test_the_second_signal_ends_all_processes_at_once(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "1", "--drain-timeout", "1h")
    async with Client.connect(sqlite_url) as client:
        await reached(await client.start_workflow(stuck(), id="s-1"), "Started", "ActivityScheduled")
        watching.terminate()
        assert watching.stderr is not None
        while b"SIGTERM" not in await asyncio.wait_for(watching.stderr.readline(), 60):
            pass
        watching.terminate()
        assert (await ended(watching))[0] == -signal.SIGTERM
        while not all(one.dead_for_sure for one in await client.store.list_workers()):
            await asyncio.sleep(0.02)


async def test_processes_do_not_outlive_the_one_that_watches(sqlite_url: str) -> None:
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "1")
    async with Client.connect(sqlite_url) as client:
        while not await client.store.list_workers():
            await asyncio.sleep(0.05)
        watching.kill()
        while await client.store.list_workers():
            await asyncio.sleep(0.05)
    await ended(watching)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def asked(port: int, path: str) -> tuple[int, str]:
    try:
        return await get(port, path, patience=60)
    except OSError:
        return 0, "nobody answers"


async def until(port: int, path: str, status: int, text: str = "") -> str:
    """Ask until it is answered so, and return the answer."""
    async with asyncio.timeout(120):
        while (found := await asked(port, path))[0] != status or text not in found[1]:
            await asyncio.sleep(0.05)
    return found[1]


async def lives(port: int) -> None:
    """Hold the answer to whether all live against what it is to be, but for processes that the machine lets wait."""
    async with asyncio.timeout(120):
        while "does not answer" in (found := await asked(port, "/livez"))[1]:
            await asyncio.sleep(0.05)
    assert found == (200, "ok\n")


async def while_it_is_away(port: int) -> str:
    """Return what is told of a process that has ended, or nothing if it has been begun anew by now."""
    async with asyncio.timeout(120):
        while (found := await asked(port, "/readyz"))[0] != 200:
            if "ended" in found[1]:
                return found[1]
            await asyncio.sleep(0.05)
    return ""


async def restarts(port: int) -> list[int]:
    """How often each of the processes was begun anew, fewest first."""
    lines = (await until(port, "/metrics", 200)).splitlines()
    found = [line for line in lines if line.startswith("durable_supervisor_restarts_total{")]
    return sorted(int(line.rpartition(" ")[2]) for line in found)


async def pids(client: Client) -> list[int]:
    """Return the processes of the workers that the database takes for alive."""
    found = [one for one in await client.store.list_workers() if not one.dead_for_sure]
    return [int(one.identity.partition("@")[0]) for one in found]


async def test_probes_of_one_process(sqlite_url: str) -> None:
    port = free_port()
    worker = await started(sqlite_url, "-A", "tests.cli.shop", "--http", f"{port}", "--drain-timeout", "1h")
    await until(port, "/readyz", 200)
    assert await asked(port, "/livez") == (200, "ok\n")
    async with Client.connect(sqlite_url) as client:
        handle = await client.start_workflow(stuck(), id="s-1")
        await reached(handle, "Started", "ActivityScheduled")
        worker.terminate()
        assert "takes no more work" in await until(port, "/readyz", 503)
        assert await asked(port, "/livez") == (200, "ok\n"), "it drains"
        await handle.terminate()
        assert (await ended(worker))[0] == ExitCode.OK


async def test_probes_of_several_processes(sqlite_url: str) -> None:
    port = free_port()
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "2", "--http", f"{port}")
    await until(port, "/readyz", 200)
    await lives(port)
    async with Client.connect(sqlite_url) as client:
        seen, deaths = "", 0
        while not seen and deaths < 5:
            # Each pause before one is begun anew is twice the last one: in one of them it is seen, however late we look.
            while len(alive := await pids(client)) != 2:
                await asyncio.sleep(0.05)
            os.kill(max(alive) if deaths else alive[0], signal.SIGKILL)  # the newest has died before
            deaths += 1
            while (await restarts(port))[-1] < deaths:
                await asyncio.sleep(0.01)
            seen = await while_it_is_away(port)
        assert f"it ended with -9; deaths in a row: {deaths}" in seen
        await lives(port)  # the one that watches begins it anew by itself
        assert await restarts(port) == [0, deaths]
        await until(port, "/readyz", 200)
        stopped = (await pids(client))[0]
        os.kill(stopped, signal.SIGSTOP)
        assert "does not answer" in await until(port, "/livez", 503)
        os.kill(stopped, signal.SIGCONT)
        await until(port, "/livez", 200)
    watching.terminate()
    assert (await ended(watching))[0] == ExitCode.OK


async def test_processes_that_keep_dying_are_told_of(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "dying.py").write_text("import os\nos._exit(9)\n")
    port = free_port()
    watching = await started(
        sqlite_url,
        "-A",
        "dying",
        "--processes",
        "1",
        "--http",
        f"{port}",
        says=b"deaths in a row: 2",
        cwd=tmp_path,
    )
    assert "it ended with 9; deaths in a row: 2" in await until(port, "/readyz", 503)
    watching.terminate()
    assert (await ended(watching))[0] == ExitCode.OK


async def test_a_signal_for_all_processes_at_once_ends_them_well(sqlite_url: str) -> None:
    """As systemd sends it: to the one that watches, and to those it watches over."""
    watching = await started(sqlite_url, "-A", "tests.cli.shop", "--processes", "1", "--drain-timeout", "1h")
    async with Client.connect(sqlite_url) as client:
        handle = await client.start_workflow(stuck(), id="s-1")
        await reached(handle, "Started", "ActivityScheduled")
        os.kill((await pids(client))[0], signal.SIGTERM)
        watching.terminate()
        assert watching.stderr is not None
        for _ in range(2):  # both say so
            while b"SIGTERM" not in await asyncio.wait_for(watching.stderr.readline(), 60):
                pass
        await handle.terminate()
        code, told = await ended(watching)
        assert code == ExitCode.OK
        assert "begun anew" not in told
        assert await client.store.list_workers() == [], "it drained, although it was told twice"


def test_samples_of_several_processes_are_told_apart() -> None:
    text = '# HELP a What.\n# TYPE a counter\na{x="1"} 2\na 3\n# TYPE b gauge\nb 1\n'
    assert merged({"1": text, "2": text}).splitlines() == [
        "# HELP a What.",
        "# TYPE a counter",
        'a{process="1",x="1"} 2',
        'a{process="1"} 3',
        'a{process="2",x="1"} 2',
        'a{process="2"} 3',
        "# TYPE b gauge",
        'b{process="1"} 1',
        'b{process="2"} 1',
    ]


async def test_a_function_of_the_application_makes_the_workers(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client:
        handle = await client.start_workflow(Waits.run(), id="w-1", task_queue="b")
        worker = await started(sqlite_url, "-A", "tests.cli.shop:two_workers")
        await handle.signal(Waits.note("end"))
        assert await handle.result() == "end"
        worker.send_signal(signal.SIGINT)
        assert (await ended(worker))[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "say what to serve: -A MODULE"),
        (["-A", "tests.cli.nowhere"], "there is no module 'tests.cli.nowhere'"),
        (["-A", "tests.cli.shop:nothing"], "tests.cli.shop has no 'nothing'"),
        (["-A", "tests.cli.shop:no_worker"], "returned 'nothing', which is no Worker"),
        (["-A", "tests.cli.shop:Order.id"], "has no 'Order.id'"),
        (["-A", "tests.cli.shop:two_workers", "-c", "3"], "-c is for -A MODULE"),
        (
            ["-A", "tests.cli.shop", "--converter", "tests.cli.shop:Order"],
            "--converter tests.cli.shop:Order: it is no DataConverter",
        ),
    ],
)
def test_what_cannot_be_served_is_told(cli: Cli, sqlite_url: str, arguments: list[str], told: str) -> None:
    done = cli("worker", "--db", sqlite_url, *arguments)
    assert done.code == ExitCode.USAGE
    assert told in done.err


@pytest.mark.parametrize(
    ("option", "given", "told"),
    [("--processes", "0", "there must be at least 1"), ("-c", "-1", "'-1' is no whole number from 0 on")],
)
def test_numbers_that_cannot_be(
    cli: Cli, option: str, given: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli("worker", "-A", "tests.cli.shop", f"{option}={given}").code == ExitCode.USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("text", ["localhost", ":8080", "0.0.0.0:", "0", "70000", "8080:x"])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no address; write for example 8080"):
        address(text)


def test_addresses() -> None:
    assert address("8080") == ("127.0.0.1", 8080)
    assert address("0.0.0.0:8080") == ("0.0.0.0", 8080)
    assert address("[::1]:8080") == ("::1", 8080)


def options_of_worker() -> set[str]:
    """What the parser of `durable worker` has, by name."""
    commands: Any = parser_for(["worker"])._subparsers
    return {action.dest for action in commands._group_actions[0].choices["worker"]._actions}


def test_every_option_of_a_worker_is_a_setting() -> None:
    of_a_call = {"help", "traceback", argparse.SUPPRESS}  # the last one is `durable worker list`
    settings = {"task_queues" if name == "task_queue" else name for name in SETTINGS}
    assert options_of_worker() - of_a_call == settings | set(OF_WORKER)
    assert set(READERS) == set(OF_WORKER)
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    for name in (*SETTINGS, *OF_WORKER):
        assert f"| `DURABLE_{name.upper()}` | `{name}` |" in page


@pytest.mark.parametrize("by", ["environment", "file"])
def test_settings_of_a_worker(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, int | str] = {
        "concurrency": 3,
        "cache": 4,
        "drain_timeout": "1m",
        "processes": 2,
        "http": 8080,
        "log_level": "error",
    }
    lines = [f"{name} = {value!r}\n" for name, value in given.items() if by == "file"]
    (tmp_path / "pyproject.toml").write_text("[tool.durable]\n" + "".join(lines))
    monkeypatch.chdir(tmp_path)
    for name, value in given.items():
        if by == "environment":
            monkeypatch.setenv(f"DURABLE_{name.upper()}", str(value))
    context = context_of("worker", "-c", "9")
    take_settings(context)
    options = context.options
    found = (options.concurrency, options.cache, options.drain_timeout, options.processes, options.http)
    assert found == (9, 4, timedelta(minutes=1), 2, ("127.0.0.1", 8080))
    assert options.log_level == "error"
    monkeypatch.setenv(FROM_ABOVE, "0")
    inner = context_of("worker")
    take_settings(inner)
    assert (inner.options.processes, inner.options.http, inner.options.concurrency) == (None, None, 3)


def test_settings_of_a_worker_that_cannot_be(
    cli: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DURABLE_HTTP", "nowhere")
    done = cli("worker", "-A", "tests.cli.shop")
    assert (done.code, done.err) == (
        2,
        "durable: DURABLE_HTTP: 'nowhere' is no address; write for example 8080 or 0.0.0.0:8080\n",
    )
    monkeypatch.delenv("DURABLE_HTTP")
    (tmp_path / "pyproject.toml").write_text("[tool.durable]\nlog_level = 'loud'\n")
    done = cli("worker", "-A", "tests.cli.shop")
    assert done.code == 2
    assert "log_level in [tool.durable] of" in done.err
    assert "'loud' is no level; there are debug, info, warning, error" in done.err
    (tmp_path / "pyproject.toml").write_text("[tool.durable]\ncache = true\n")
    assert "cache in [tool.durable] must be a text" in cli("worker").err


def test_a_setting_of_workers_that_the_application_makes(
    cli: Callable[..., Done], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DURABLE_CACHE", "7")
    done = cli("worker", "-A", "tests.cli.shop:two_workers", "--db", sqlite_url)
    assert done.code == 2
    assert "DURABLE_CACHE is for -A MODULE" in done.err


def context_of(*arguments: str) -> Context:
    options = parser_for(arguments).parse_args(arguments)
    return Context(options, Output(Form.TEXT, io.StringIO(), io.StringIO()), arguments)
