"""`docs/operations`: the examples of deployment are what they say, each command of them is one, and the pages' snippets run."""

from __future__ import annotations

import ast
import configparser
import inspect
import json
import re
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker
from durable.cli._program import parser_for
from durable.client import HistoryFiles, Retention

PAGES = Path(__file__).parents[2] / "docs" / "operations"
FILES = PAGES / "deploy"


def service() -> dict[str, Any]:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string((FILES / "shop-worker.service").read_text())
    assert unit.sections() == ["Unit", "Service", "Install"]
    return dict(unit["Service"])


def commands() -> list[list[str]]:
    """Return the arguments of each command of `durable` in the files."""
    found = [
        shlex.split(line.partition("/bin/durable ")[2])
        for name, line in service().items()
        if name.startswith("ExecStart")
    ]
    for name, key in (("compose.yaml", "command"), ("kubernetes.yaml", "args"), ("Dockerfile", "CMD")):
        lists = re.findall(rf"^\s*{key}:? (\[.*\])$", (FILES / name).read_text(), re.MULTILINE)
        assert lists, name
        found += [json.loads(one) for one in lists]
    return found


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_each_command_of_the_examples_is_one(arguments: list[str]) -> None:
    options = parser_for(arguments).parse_args(arguments)
    assert "run" in options, arguments


def test_whoever_kills_waits_for_the_end() -> None:
    """Each leaves the activities their time, and twenty seconds to hand back."""
    kubernetes = (FILES / "kubernetes.yaml").read_text()
    (grace,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", kubernetes)
    (stop,) = re.findall(r"stop_grace_period: (\d+)s", (FILES / "compose.yaml").read_text())
    drains = [words[words.index("--drain-timeout") + 1] for words in commands() if words[0] == "worker"]
    assert len(drains) == 4
    for seconds in (grace, stop, service()["TimeoutStopSec"]):
        assert all(int(seconds) >= int(drain.removesuffix("s")) + 20 for drain in drains)
    (port,) = set(re.findall(r"containerPort: (\d+)", kubernetes))
    assert f"0.0.0.0:{port}" in kubernetes
    assert "/livez" in kubernetes
    assert "/readyz" in kubernetes


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_yaml_is_indented_by_twos_and_its_brackets_close(name: str) -> None:
    for line in (FILES / name).read_text().splitlines():
        assert "\t" not in line
        assert (len(line) - len(line.lstrip())) % 2 == 0, line
        plain = re.sub(r'"[^"]*"', '""', line.partition(" #")[0])
        assert plain.count("{") == plain.count("}"), line
        assert plain.count("[") == plain.count("]"), line
        assert re.fullmatch(r"\s*(#.*|---|(- )*([\w./\"-]+:( .*)?|[\[{\"].*|[\w.-]+))?", plain), line


def test_the_image_has_only_what_docker_knows() -> None:
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD", "STOPSIGNAL", "HEALTHCHECK"}
    lines = [one for one in (FILES / "Dockerfile").read_text().splitlines() if one and one[0] != "#"]
    assert {line.split()[0] for line in lines} == known
    assert '["durable"]' in "".join(lines), "without a shell around it"


async def test_how_long_workflows_are_kept(sqlite_url: str, tmp_path: Path) -> None:
    kept, exported = re.findall(
        r"^```python\n(.*?)^```$", (PAGES / "retention.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    async with Client.connect(sqlite_url) as client:
        names: dict[str, Any] = {
            "client": client,
            "timedelta": timedelta,
            "HistoryFiles": lambda _: HistoryFiles(tmp_path),
            "Worker": lambda client, **more: Worker(client, workflows=[], activities=[], **more),
        }
        for text in (kept, exported):
            made = eval(compile(text, "retention.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            assert inspect.isawaitable(made)
            await made
        assert await client.retention() == [
            Retention(None, timedelta(days=30), True),
            Retention("audit", None, False),
            Retention("heartbeat", timedelta(days=7), False),
        ]


def test_links_lead_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
