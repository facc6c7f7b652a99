"""What users write checks, in both checkers and at their strictest, and what they get wrong does not."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = "tests/typing/programs.py"
MISTAKES = "tests/typing/mistakes.py"

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("mypy", "pyright")),
    reason="what users write was not type-checked, mypy and pyright come with `make venv`",
)


@cache
def mypy() -> tuple[tuple[str, int, str], ...]:
    """Return file, line and text of everything mypy has against the two files."""
    # Bodies are left out where they do not matter.
    options = ["--config-file", "pyproject.toml", "--disable-error-code", "empty-body", "--no-error-summary"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, PROGRAMS, MISTAKES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^(tests/typing/\w+\.py):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return tuple((file, int(line), text) for file, line, text in found)


@cache
def pyright() -> tuple[tuple[str, int, str], ...]:
    """Return file, line and text of everything pyright has against the two files."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", PROGRAMS, MISTAKES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    return tuple(
        (str(Path(entry["file"]).relative_to(ROOT)), entry["range"]["start"]["line"] + 1, entry["message"])
        for entry in report["generalDiagnostics"]
        if entry["severity"] == "error"
    )


def _marked(letters: str) -> dict[int, str]:
    lines = (ROOT / MISTAKES).read_text().splitlines()
    return {
        number: line.strip() for number, line in enumerate(lines, 1) if re.search(f"# [{letters}] ", line)
    }


CHECKERS = pytest.mark.parametrize("checker", [pyright, mypy], ids=["pyright", "mypy"])


@CHECKERS
def test_good_programs_check(checker: object) -> None:
    assert callable(checker)
    assert [entry for entry in checker() if entry[0] == PROGRAMS] == []


@CHECKERS
def test_every_mistake_is_found_and_nothing_else(checker: object) -> None:
    assert callable(checker)
    found = {line for file, line, _ in checker() if file == MISTAKES}
    missed = [text for number, text in _marked("E").items() if number not in found]
    assert missed == []
    assert found <= _marked("EW").keys()
    assert len(_marked("EW")) >= 18


@CHECKERS
def test_a_message_of_another_workflow_is_found(checker: object) -> None:
    assert callable(checker)
    found = {line for file, line, _ in checker() if file == MISTAKES}
    assert [text for number, text in _marked("W").items() if number not in found] == []
