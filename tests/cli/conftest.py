"""Commands are called in this process, as a shell would: with arguments, two streams and an exit code."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from durable import Client
from durable.cli import main
from durable.cli._settings import OF_WORKER, SETTINGS
from tests.cli.schemas import check_output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def lines(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


def call(*arguments: str, terminal: bool = False) -> Done:
    """Call a command; whatever it writes as JSON is as the schema in the docs has it."""
    out, err = (Terminal() if terminal else io.StringIO()), io.StringIO()
    found: list[int] = []

    def run() -> None:
        try:
            found.append(main(arguments, out=out, err=err))
        except SystemExit as end:
            found.append(int(end.code or 0))

    # In a thread: the test has an event loop of its own, and so has the command.
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    check_output(arguments, out.getvalue())
    return Done(found[0], out.getvalue(), err.getvalue())


@pytest.fixture
async def client(store_url: str) -> AsyncIterator[Client]:
    async with Client.connect(store_url) as client:
        yield client


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Call a command, without the settings of whoever runs the tests."""
    for name in (*SETTINGS, *OF_WORKER):
        monkeypatch.delenv(f"DURABLE_{name.upper()}", raising=False)
    for name in ("PGHOST", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    return call
