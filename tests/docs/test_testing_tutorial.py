"""`docs/testing-tutorial.md`, done step by step as a reader does it: files are written, commands are run, and say what is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.(?:py|ini))(, .*)?\n")


def follow(page: str, folder: Path) -> int:
    """Do what a page says in a folder, and return how many commands it had."""
    commands = 0
    for language, text in BLOCK.findall((PAGES / page).read_text("utf-8")):
        if language == "console":
            commands += sum(1 for _ in _sessions(text, folder))
        elif (named := FILE.match(text)) is not None:
            mode = "a" if named[2] else "w"  # "at its end", or a definition in the place of the one before
            with (folder / named[1]).open(mode, encoding="utf-8") as file:
                file.write(text[named.end() :] + "\n\n")
    return commands


def _sessions(text: str, folder: Path):  # type: ignore[no-untyped-def]
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        if not command.startswith("pytest"):
            continue
        # Of pytest's plugins the environment of this test has more than a reader's.
        plugins = ["-p", "anyio", "-p", "durable.pytest_plugin"]
        arguments = [sys.executable, "-m", "pytest", *plugins, *command.split()[1:]]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            arguments, cwd=folder, capture_output=True, text=True, check=False, env=environment
        )
        for line in shown.splitlines():
            assert re.search(rf"(^|\W){re.escape(line)}", done.stdout), f"{command}\n{line}\n{done.stdout}"
        yield command


@pytest.mark.parametrize(("page", "commands"), [("testing-tutorial.md", 5), ("testing-recipes.md", 2)])
def test_a_reader_gets_what_is_shown(page: str, commands: int, tmp_path: Path) -> None:
    assert follow(page, tmp_path) == commands
