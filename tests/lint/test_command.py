"""The command, its configuration, and the comments that suppress findings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from durable.lint import RULES, Config, ConfigError, find_config
from tests.cli.conftest import call
from tests.cli.schemas import check
from tests.lint.rig import codes, flow, lint, write

PROGRAM = """\
import time
from durable import workflow

@workflow.defn
async def flow() -> float:
    return time.time()
"""


def run(*arguments: str) -> tuple[int, str, str]:
    done = call("lint", *arguments)
    return done.code, done.out, done.err


# --- the command ---


def test_findings_are_shown_as_ruff_shows_them(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": PROGRAM})
    code, out, err = run(str(tmp_path))
    assert code == 7
    assert err == "1 found in 1 file.\n"
    assert out.startswith("program.py:6:12 DUR101 time.time() reads the machine's clock")
    assert out.count("\n") == 1


def test_nothing_found(tmp_path: Path) -> None:
    assert run(str(tmp_path)) == (0, "", "Nothing found.\n")


def test_what_is_no_danger_to_a_replay_exits_with_1(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "from durable import activity\n\n@activity.defn\ndef act(a):\n    return a\n"})
    assert run(str(tmp_path))[0] == 1


def test_json(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": PROGRAM})
    code, out, err = run("--json", str(tmp_path))
    assert code == 7
    assert err == ""
    document = json.loads(out)
    check(document, "lint")
    (found,) = document["findings"]
    assert {name: found[name] for name in ("path", "line", "column", "code", "end_line")} == {
        "path": "program.py",
        "line": 6,
        "column": 12,
        "code": "DUR101",
        "end_line": 6,
    }


def test_json_lines(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": PROGRAM})
    code, out, _ = run("--jsonl", str(tmp_path))
    assert code == 7
    assert [json.loads(line)["code"] for line in out.splitlines()] == ["DUR101"]


def test_the_module_of_an_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"src/shop/flows.py": PROGRAM, "other.py": PROGRAM})
    monkeypatch.chdir(tmp_path)
    for app in ("shop", "shop.flows", "shop.flows:app"):
        code, out, _ = run("-A", app)
        assert (code, out.count("\n")) == (7, 1)
        assert out.startswith("src/shop/flows.py:6:12")
    assert "there is no shop/nowhere.py here" in run("-A", "shop.nowhere")[2]
    assert run()[1].count("\n") == 2


def test_some_rules_only(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": PROGRAM})
    assert run("--select", "DUR2,DUR102", str(tmp_path))[0] == 0
    assert run("--select", "DUR1", str(tmp_path))[0] == 7
    assert run("--ignore", "DUR101", str(tmp_path))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--select", "E501"], "--select: no rule has a code that begins with 'E501'"),
        (["--ignore", ""], "no rule has a code that begins with ''"),
        (["nowhere.py"], "there is no file or folder 'nowhere.py'"),
    ],
)
def test_wrong_usage(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert text in err


def test_the_rules_are_listed() -> None:
    code, out, _ = run("--rules")
    assert code == 0
    assert len(out.splitlines()) == len(RULES)


@pytest.mark.parametrize("rule", ["DUR101", "wall-clock"])
def test_a_rule_is_explained(rule: str) -> None:
    code, out, _ = run("--explain", rule)
    assert code == 0
    assert out.startswith("DUR101 wall-clock: ")
    assert "datetime.now" in out
    assert "workflow.now" in out
    assert run("--explain", "DUR999") == (2, "", "durable: there is no rule 'DUR999'; --rules lists them\n")


def test_it_is_a_module_and_imports_nothing_of_the_program(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": PROGRAM + "\nraise SystemExit('imported')\n"})
    done = subprocess.run(
        [sys.executable, "-m", "durable", "lint"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "program.py:6:12 DUR101" in done.stdout


# --- configuration ---


def configured(folder: Path, text: str) -> Config:
    (folder / "pyproject.toml").write_text(text)
    return find_config(folder)


def test_configuration(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        """
        [tool.durable.lint]
        select = ["DUR1", "DUR2"]
        ignore = ["DUR102"]
        exclude = ["old", "*_gen.py"]
        allow = ["time.monotonic"]

        [tool.durable.lint.per-file-ignores]
        "flows/legacy_*.py" = ["DUR101"]
        """,
    )
    assert config.root == tmp_path
    assert config.wants("DUR101", "flows/new.py")
    assert not config.wants("DUR101", "flows/legacy_1.py")
    assert not config.wants("DUR102", "a.py")
    assert not config.wants("DUR501", "a.py")
    assert config.skips("old/a.py")
    assert config.skips("b_gen.py")
    assert not config.skips("a.py")
    files = {"old/a.py": PROGRAM, "b_gen.py": PROGRAM, "flows/legacy_1.py": PROGRAM, "flows/new.py": PROGRAM}
    write(tmp_path, {**files, "monotonic.py": PROGRAM.replace("time.time", "time.monotonic")})
    code, out, _ = run(str(tmp_path))
    assert code == 7
    assert [line.partition(":")[0] for line in out.splitlines()] == ["flows/new.py"]


def test_the_nearest_file_counts_and_none_is_needed(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    configured(tmp_path, '[tool.durable.lint]\nignore = ["DUR101"]\n')
    assert find_config(inner) == Config(tmp_path, ignore=("DUR101",))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "[tool.durable.lint]\nignored = []",
            "has no 'ignored'; there are allow, exclude, ignore, per-file-ignores, select",
        ),
        ("[tool.durable.lint]\nignore = 'DUR101'", "ignore is a list of strings, not 'DUR101'"),
        ("[tool.durable.lint]\nignore = ['E1']", "no rule has a code that begins with 'E1'"),
        ("[tool.durable]\nlint = 1", "lint is a table, not 1"),
        ("[tool.durable.lint]\nper-file-ignores = []", "per-file-ignores is a table"),
        ("nonsense", "pyproject.toml: "),
    ],
)
def test_wrong_configuration(text: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=error):
        configured(tmp_path, text)
    code, _, err = run(str(tmp_path))
    assert code == 2
    assert error in err


# --- suppressions ---


def test_a_comment_suppresses_what_it_names(tmp_path: Path) -> None:
    assert not lint(tmp_path, flow("return time.time()  # durable: ignore[DUR101]"))
    assert not lint(
        tmp_path, flow("return time.time(), uuid.uuid4()  # noqa # durable: ignore[DUR101, DUR103] why")
    )


def test_a_comment_anywhere_in_an_expression_counts(tmp_path: Path) -> None:
    body = "return [\n    one\n    for one in names  # durable: ignore[DUR201]\n]"
    assert not lint(tmp_path, flow(body))


def test_a_comment_on_a_handler_counts_on_its_own_line_only(tmp_path: Path) -> None:
    body = "try:\n    await act()\nexcept BaseException:  # durable: ignore[DUR401]\n    return 1"
    assert not lint(tmp_path, flow(body))
    body = "try:\n    await act()\nexcept BaseException:\n    return 1  # durable: ignore[DUR401]"
    assert codes(lint(tmp_path, flow(body))) == ["DUR401", "DUR901"]


def test_a_suppression_of_no_use_is_a_finding(tmp_path: Path) -> None:
    found = lint(tmp_path, flow("return time.time()  # durable: ignore[DUR101, DUR102]"))
    assert [(one.code, one.message) for one in found] == [
        ("DUR901", "nothing is found here by DUR102; remove the suppression")
    ]


def test_a_suppression_names_codes(tmp_path: Path) -> None:
    found = lint(tmp_path, flow("return time.time()  # durable: ignore"))
    assert sorted(codes(found)) == ["DUR101", "DUR901"]


def test_a_suppression_in_a_string_is_none(tmp_path: Path) -> None:
    found = lint(tmp_path, flow("return time.time(), '# durable: ignore[DUR101]'"))
    assert codes(found) == ["DUR101"]
