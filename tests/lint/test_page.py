"""`docs/lint.md`: its table is that of the rules, and what it shows runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from durable.cli import main
from durable.lint._config import read_config
from tests.lint.page import PAGE, page

TEXT = PAGE.read_text("utf-8")


def shown(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return found


def test_the_table_is_that_of_the_rules() -> None:
    assert page(TEXT) == TEXT, "run: python -m tests.lint.page"


def test_the_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flows = tmp_path / "flows"
    flows.mkdir()
    program, test = shown("python")
    (flows / "greet.py").write_text(program)
    names: dict[str, Any] = {"__name__": "shown"}
    exec(compile(test, str(PAGE), "exec"), names)
    names["test_workflow_code_is_deterministic"]()
    (flows / "greet.py").write_text(program.replace("# durable", "#"))
    with pytest.raises(AssertionError, match=r"flows/greet\.py:6:5 DUR109 print"):
        names["test_workflow_code_is_deterministic"]()


def test_the_configuration_is_one(tmp_path: Path) -> None:
    (text,) = shown("toml")
    (tmp_path / "pyproject.toml").write_text(text)
    assert read_config(tmp_path / "pyproject.toml").exclude == ("attic", "*_pb2.py")
    assert tomllib.loads(text)


def test_the_session_is_what_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "pricing.py").write_text(
        "import time\n\n\n\n\n\n\n\n\n\ndef price() -> float:\n    return time.time()\n"
    )
    (tmp_path / "flows" / "checkout.py").write_text(
        "from durable import workflow\nfrom flows.pricing import price\n\n"
        "@workflow.defn\nasync def checkout() -> float:\n    return price()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["lint", "flows"]) == 7
    printed = capsys.readouterr()
    (session,) = shown("console")
    assert session == f"$ durable lint flows\n{printed.out}{printed.err}"
