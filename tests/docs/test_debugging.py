"""`docs/debugging.md`: what it shows is what happens."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from durable.testing import History, WorkflowEnvironment, debug
from tests.cli.conftest import call

TEXT = (Path(__file__).parents[2] / "docs" / "debugging.md").read_text("utf-8")


def shown(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return found


def files(folder: Path, program: str) -> None:
    (folder / "trips.py").write_text(program)


@pytest.fixture
async def trips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program of the page, and the history of a run of it, in an empty folder."""
    files(tmp_path, shown("python")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = import_module("trips")
    async with (
        WorkflowEnvironment(start=datetime(2026, 3, 1, 9, tzinfo=UTC)) as env,
        env.worker(workflows=[module.book], activities=[module.reserve]),
    ):
        handle = await env.client.start_workflow(module.book("Rome"), id="b-1")
        await env.advance(timedelta(minutes=30))
        await handle.signal(module.decide("yes"))
        await handle.result()
        env.history("b-1").save("b-1.json")
    yield module
    del sys.modules["trips"]


def like(text: str) -> str:
    """A session without what differs from run to run: microseconds, where the folder is, and who cuts a long text where."""
    text = re.sub(r"(:\d\d)\.\d{6}\+", r"\1+", text)
    text = re.sub(r"reminder = .*", "reminder = ...", text)
    return re.sub(r"> \S*/(trips\.py)", r"> \1", text)


async def test_what_happened(trips: Any) -> None:
    session = shown("console")[0]
    command, _, told = session.partition("\n")
    done = call(*command.removeprefix("$ durable ").split())
    assert like(done.out) == like(told), done.err


async def test_step_by_step(trips: Any) -> None:
    told = shown("console")[1].partition("\n")[2]
    commands = re.findall(r"^\(durable\) (.*)", told, re.MULTILINE)
    out = io.StringIO()
    debug(
        History.load("b-1.json"),
        trips.book,
        event=5,
        stdin=io.StringIO("\n".join([*commands, "q", ""])),
        stdout=out,
    )
    happened = out.getvalue().partition("\n")[2]
    assert (
        like(happened)
        == like(re.sub(r"^(\(durable\)) .*\n", r"\1 ", told, flags=re.MULTILINE)) + "(durable) "
    )


async def test_in_a_test(trips: Any) -> None:
    names: dict[str, Any] = {"__name__": "shown"}
    exec(shown("python")[1], names)
    test: Callable[[], None] = names["test_where_it_waits"]
    test()
