"""What all commands have: settings, forms, exit codes, and an answer when the database is away."""

from __future__ import annotations

import io
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import durable
from durable.cli import ExitCode, _context, _output
from durable.cli._output import lasted
from durable.cli._program import COMMANDS, parser_for
from durable.cli._settings import Settings
from durable.client import BatchProgress
from tests.cli.conftest import Done, Terminal

Cli = Callable[..., Done]


def test_help_names_all_commands_and_the_exit_codes(capsys: pytest.CaptureFixture[str], cli: Cli) -> None:
    for arguments in ([], ["--help"]):
        done = cli(*arguments)
        text = done.err + capsys.readouterr().out
        assert done.code == (0 if arguments else ExitCode.USAGE)
        assert all(name in text for name in COMMANDS)
        assert all(code.meaning in text for code in ExitCode)


def test_a_noun_alone_shows_its_verbs(cli: Cli) -> None:
    done = cli("migrate")
    assert done.code == ExitCode.USAGE
    assert "check" in done.err


def test_every_command_has_a_handler_and_the_common_options() -> None:
    parser_for(None)  # loads all of them


def test_only_the_command_that_is_called_is_loaded() -> None:
    program = "import sys; from durable.cli import main; main(['version']); print('durable.cli._migrate' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_importing_durable_does_not_load_the_command_line() -> None:
    program = "import sys, durable; print([m for m in sys.modules if m.startswith('durable.cli') or m == 'argparse'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_uvloop_is_used_where_it_is_installed(tmp_path: Path) -> None:
    stand_in = (
        "import asyncio\ndef new_event_loop():\n    print('made')\n    return asyncio.new_event_loop()\n"
    )
    (tmp_path / "uvloop.py").write_text(stand_in)
    done = subprocess.run(
        [sys.executable, "-m", "durable", "version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.startswith("made\n")


def test_it_is_a_module_as_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "durable", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{durable.__version__}\n"


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.durable]\nurl = "sqlite:///file.db"\nnamespace = "file"\n\n[tool.durable.lint]\nselect = ["all"]\n'
    )
    inner = tmp_path / "src"
    inner.mkdir()
    environment = {"DURABLE_URL": "sqlite:///environment.db"}
    assert Settings({"url": "sqlite:///flag.db"}, environment, inner).url == "sqlite:///flag.db"
    assert Settings({"url": None}, environment, inner).url == "sqlite:///environment.db"
    assert Settings({}, {}, inner).url == "sqlite:///file.db"
    assert Settings({}, {}, inner).get("namespace") == "file"
    assert Settings({}, {"PGHOST": "db"}, tmp_path.parent).url == "postgresql://"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("databse = 'x'", "has no 'databse'; there are url"),
        ("url = 3", "must be a text"),
        ("url", "pyproject.toml"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, text: str, told: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.durable]\n{text}\n")
    monkeypatch.chdir(tmp_path)
    done = cli("migrate", "check")
    assert done.code == ExitCode.USAGE
    assert told in done.err


def test_without_a_database_it_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("migrate", "check")
    assert (done.code, done.err.count("\n")) == (ExitCode.USAGE, 1)
    assert "pass --db" in done.err


COMMANDS_OF_A_DATABASE = [
    ["workflow", "list"],
    ["worker", "-A", "tests.cli.shop"],
    ["doctor"],
    ["migrate", "up"],
    ["replay", "-A", "tests.cli.shop"],
]


def within(seconds: float, call: Callable[[], Done]) -> Done:
    """Return how a command ended that took no longer, and call it again if it did.

    What the machine had to do just then it does not do each time; a command that waits for too long always does.
    """
    took: list[float] = []
    while not took or took[-1] >= seconds:
        assert len(took) < 10, f"it always takes too long: {took}"
        begun = time.monotonic()
        done = call()
        took.append(time.monotonic() - begun)
    return done


@pytest.mark.parametrize("command", COMMANDS_OF_A_DATABASE, ids=" ".join)
def test_a_database_that_is_away_is_told_within_five_seconds(
    cli: Cli, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if command != COMMANDS_OF_A_DATABASE[0]:
        monkeypatch.setattr(_context, "PATIENCE", 0.2)  # one waits for all; the others have the same patience
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x"
        done = within(4.5, lambda: cli(*command, "--db", url))  # Python takes a while to start, too
        assert (done.code, done.out) == (ExitCode.UNREACHABLE, "")
        assert done.err.startswith("durable: ")
        assert done.err.count("\n") == 1


def test_an_address_where_nobody_listens_is_told_sooner(cli: Cli) -> None:
    done = within(4, lambda: cli("workflow", "list", "--db", "postgresql://u@127.0.0.1:1/x"))
    assert done.code == ExitCode.UNREACHABLE


def test_a_file_that_somebody_holds_is_told_within_five_seconds(cli: Cli, sqlite_url: str) -> None:
    assert cli("migrate", "up", "--db", sqlite_url).code == 0
    db = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    done = within(4.5, lambda: cli("workflow", "list", "--db", sqlite_url))
    db.close()
    assert done.code == ExitCode.UNREACHABLE


def test_code_that_is_not_needed_is_not_imported(
    cli: Cli, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that cannot be imported is the very moment when people look."""
    monkeypatch.setenv("DURABLE_APP", "no_such_module")
    cli("migrate", "up", "--db", sqlite_url)
    assert cli("workflow", "list", "--db", sqlite_url).code == 0
    assert "no module 'no_such_module'" in cli("workflow", "start", "x", "--db", sqlite_url).err


def test_whoever_stops_reading_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "durable", "version"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_unforeseen_shows_where_it_comes_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("durable.store.migrations", broken)
    done = cli("migrate", "check", "--db", "sqlite:///none.db")
    assert done.code == ExitCode.FAILED
    assert "Traceback" in done.err
    assert "Traceback" in cli("worker", "--traceback", "--db", "sqlite:///none.db").err


@pytest.mark.parametrize("rich", [True, False])
def test_progress_is_a_bar_or_lines(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if rich:
        pytest.importorskip("rich")
    monkeypatch.setattr(_output, "find_spec", lambda name: rich)
    monkeypatch.setattr(_output, "EVERY", 0.0)
    err = Terminal() if rich else io.StringIO()
    with _output.Output(_output.Form.TEXT, io.StringIO(), err).progress("cancel") as progress:
        progress.batch(BatchProgress("b", 10, done=4, skipped=1))
    if rich:
        assert "cancel" in err.getvalue()
        assert "50%" in err.getvalue()
    else:
        assert err.getvalue().startswith("cancel: 5 of 10, ")
        assert err.getvalue().endswith(" left\n")


def test_durations_are_two_units() -> None:
    shown = [lasted(seconds) for seconds in (0, 0.02, 1.25, 59.6, 61, 3600, 3661, 90000, 864000)]
    assert shown == ["0s", "20ms", "1.2s", "1m", "1m 1s", "1h", "1h 1m", "1d 1h", "10d"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_is_written_to_by_nobody(tmp_path: Path, closed: str) -> None:
    path = tmp_path / "app.db"
    program = f"{sys.executable} -m durable migrate up --db sqlite:///{path} && "
    program += f"{sys.executable} -m durable workflow list --db sqlite:///{path} {closed}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    with sqlite3.connect(path) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
