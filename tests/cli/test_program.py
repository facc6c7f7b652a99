"""What all commands have: settings, forms, exit codes, and an answer when the database is away."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from durable.cli import ExitCode
from durable.cli._output import lasted
from durable.cli._program import COMMANDS, parser_for
from durable.cli._settings import Settings
from tests.cli.conftest import Done

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


def test_it_is_a_module_as_well() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "durable", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0.1.0\n"


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


def test_a_database_that_is_away_is_told_within_five_seconds(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], 1):
            begun = time.monotonic()
            done = cli("migrate", "check", "--db", f"postgresql://u@127.0.0.1:{port}/x")
            assert time.monotonic() - begun < 4.5, "Python takes a while to start, too"
            assert (done.code, done.out) == (ExitCode.UNREACHABLE, "")
            assert done.err.startswith("durable: ")
            assert done.err.count("\n") == 1


def test_durations_are_two_units() -> None:
    shown = [lasted(seconds) for seconds in (0, 0.02, 1.25, 59.6, 61, 3600, 3661, 90000, 864000)]
    assert shown == ["0s", "20ms", "1.2s", "1m", "1m 1s", "1h", "1h 1m", "1d 1h", "10d"]
