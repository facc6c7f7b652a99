"""`docs/cli.md`: what is made from the parsers is as it was made, and the blocked workflow is found and put right as written."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable import Client
from tests.cli.conftest import Done, call
from tests.cli.reference import PAGE, made
from tests.scenarios.rig import reached

CHANGING = {
    r"\x1b\[\d+m": "",
    r"[0-9a-f]{8}-[0-9a-f-]{27}": "RUN",
    r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)": "INSTANT",
    r"\+?\b\d+(\.\d+)?(ms|s|m|h)\b( \d+[smh]\b)?": "TIME",
    r"\d+@\S+": "WHO",
    r"/\S*/shop\.py": "shop.py",
    r"\s+": " ",
}
"""What differs from run to run."""


def test_what_is_made_from_the_parsers() -> None:
    text = PAGE.read_text("utf-8")
    assert made(text) == text, "run: python -m tests.cli.reference"


def normal(line: str) -> str:
    for pattern, name in CHANGING.items():
        line = re.sub(pattern, name, line)
    return line.strip()


def blocks() -> list[tuple[str, str]]:
    part = PAGE.read_text("utf-8").partition("## A workflow that is blocked")[2].partition("\n## ")[0]
    found: list[tuple[str, str]] = re.findall(
        r"^```(python|console)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL
    )
    return found


async def worker(folder: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "durable", "worker", "-A", "shop", "--drain-timeout", "0s"),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while b"serving" not in (line := await asyncio.wait_for(process.stderr.readline(), 60)):
        assert line, "the worker has ended"
    return process


async def stopped(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    await process.communicate()


async def command(line: str, folder: Path) -> Done:
    """Run a command as a person does who looks at a terminal; one that loads code in a process of its own."""
    words = shlex.split(line.removeprefix("$ durable "))
    if "-A" not in words:
        return await asyncio.to_thread(call, *words, terminal=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "durable", *words),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode(), err.decode())


async def test_a_workflow_that_is_blocked(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Done]
) -> None:
    monkeypatch.setenv("DURABLE_URL", store_url)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(filter(None, [str(PAGE.parents[1]), os.environ.get("PYTHONPATH")]))
    )
    texts = [text for kind, text in blocks() if kind == "python"]
    program, broken, mended = texts[0], *(program_with(texts[0], one) for one in texts[1:])
    consoles = [text for kind, text in blocks() if kind == "console"]
    shop = tmp_path / "shop.py"
    async with Client.connect(store_url) as client:
        shop.write_text(program)
        first = await worker(tmp_path)
        handle = await client.start_workflow("checkout", "o-1", id="o-1")
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
        await stopped(first)
        shop.write_text(broken)
        second = await worker(tmp_path)
        await handle.signal("packed", "ada")
        while not (await handle.describe()).hold:
            await asyncio.sleep(0.05)
        for text in consoles[:2]:
            await follow(text, tmp_path)
        await stopped(second)
        shop.write_text(mended)
        await follow(consoles[2], tmp_path)
        lines = consoles[3].splitlines()
        await follow(lines[0], tmp_path)
        third = await worker(tmp_path)
        await follow("\n".join(lines[1:]), tmp_path)
        await stopped(third)
    assert len(re.findall(r"^\$ ", "".join(consoles), re.MULTILINE)) == 5


def program_with(program: str, workflow: str) -> str:
    """Return the program with its workflow changed."""
    return program.partition("@workflow.defn")[0] + workflow


async def follow(text: str, folder: Path) -> None:
    """Run a command, and hold what it says against what the page says; warnings are about the machine."""
    for shown in re.split(r"^(?=\$ )", text, flags=re.MULTILINE):
        if not shown:
            continue
        line, *expected = shown.splitlines()
        done = await command(line, folder)
        assert done.err == "" or done.code != 2, done.err
        said = [
            normal(one) for one in done.out.splitlines() if not re.match(r"(warning|ok +settings)\b", one)
        ]
        assert said == [normal(one) for one in expected], done.err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Without the settings of whoever runs the tests."""
    for name in ("NAMESPACE", "APP", "TASK_QUEUE", "CONVERTER", "IDENTITY"):
        monkeypatch.delenv(f"DURABLE_{name}", raising=False)
    return call
