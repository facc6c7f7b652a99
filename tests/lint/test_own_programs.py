"""The lint on what this repository shows and runs: nothing is found in what is meant to be sound."""

from __future__ import annotations

import re
from pathlib import Path

from durable.lint import Config, check
from durable.lint._project import Project
from durable.lint._reach import workflow_code

ROOT = Path(__file__).parents[2]

PROGRAMS = [
    *sorted((ROOT / "docs" / "examples").rglob("*.py")),
    ROOT / "tests" / "crash" / "bank.py",
    ROOT / "tests" / "replay" / "programs_of_runs.py",
    ROOT / "tests" / "scenarios" / "test_cancel_scopes.py",
    ROOT / "tests" / "scenarios" / "test_child_starts.py",
    ROOT / "tests" / "scenarios" / "test_children.py",
    ROOT / "tests" / "scenarios" / "test_continue.py",
    ROOT / "tests" / "scenarios" / "test_timers.py",
    ROOT / "tests" / "scenarios" / "test_updates.py",
]
"""Workflows that are meant to be sound; those of other tests do on purpose what must not be done."""


def test_the_examples_and_workflows_of_tests_are_sound() -> None:
    found = check(PROGRAMS, Config(ROOT))
    assert not found, "\n".join(map(str, found))
    project = Project(ROOT)
    modules = [one for path in PROGRAMS if (one := project.read(path)) is not None]
    assert len(set(workflow_code(modules, project).values())) >= 100  # something was looked at


def test_what_the_pages_show_is_sound(tmp_path: Path) -> None:
    count = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text("utf-8")
        for program in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            count += 1
            (tmp_path / f"{page.stem}_{count}.py").write_text(program)
    found = check([tmp_path], Config(tmp_path, ignore=("DUR504",)))  # some snippets begin in the middle
    wrong = [one for one in found if not one.path.startswith("determinism_")]
    assert not wrong, "\n".join(map(str, wrong))
    # What that page has the guard find, the lint finds too.
    assert [(one.code, one.line) for one in found] == [("DUR101", 9), ("DUR101", 14)]
    assert count > 30
