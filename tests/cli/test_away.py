"""With the database away every command says so within five seconds: one sentence, exit code 6, nothing on standard output."""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import pytest

from durable.cli import ExitCode
from durable.cli._completion import walk
from durable.cli._program import parser_for
from tests.cli.conftest import Done

Cli = Callable[..., Done]

WITHOUT = {
    *(" init", " lint", " completion", " version", " debug"),
    *(
        " migrate sql",
        " migrate roles",
        " migrate down",
    ),  # the first two print, the third one says why it does nothing
}
"""Commands that need no database."""

MORE = {
    " replay": ["-A", "tests.cli.shop", "--query", "ExecutionStatus = 'Running'"],
    **{
        f" workflow {verb}": ["x"]
        for verb in ("cancel", "terminate", "reset", "pause", "unpause", "unblock", "delete")
    },
    " workflow signal": ["y"],
    " schedule create": ["--every", "1h"],
    " schedule preview": ["x"],
    " schedule backfill": ["--start", "2026-01-01", "--end", "2026-01-02"],
    " worker": ["-A", "tests.cli.shop"],
    " gc": ["--older-than", "30d"],
}
"""What a command needs, beyond what its parser says, to have a reason to ask the database."""

VALUES = {"JSON": "1", "TIME": "1h", "N": "1", "SHELL": "bash", "EVENT": "3"}


def arguments(path: str, parser: argparse.ArgumentParser) -> list[str]:
    """Return what calls a command rightly."""
    found = [*path.split(), *MORE.get(path, [])]
    for action in parser._actions:
        wanted = action.required if action.option_strings else action.nargs not in ("*", "?", 0)
        if wanted and not set(action.option_strings) & set(found):
            value = next(iter(action.choices)) if action.choices else VALUES.get(str(action.metavar), "x")
            found += [*action.option_strings[:1], value]
    for group in parser._mutually_exclusive_groups:
        if group.required:
            one: Any = group._group_actions[0]
            found += [one.option_strings[0], *([] if one.nargs == 0 else [VALUES.get(str(one.metavar), "x")])]
    return found + (["--yes"] if any("--yes" in one.option_strings for one in parser._actions) else [])


def asking() -> Iterator[list[str]]:
    """Yield a call of each command that asks the database."""
    for path, parser, _ in walk(parser_for(None)):
        if "run" in parser._defaults and path not in WITHOUT:
            yield arguments(path, parser)


def told(cli: Cli, port: int, calls: list[list[str]]) -> dict[str, tuple[Done, float]]:
    """Return how each command ended at this port, and after how many seconds; all are called at the same time."""

    def one(call: list[str]) -> tuple[Done, float]:
        begun = time.monotonic()
        return cli(*call, "--db", f"postgresql://u@127.0.0.1:{port}/x"), time.monotonic() - begun

    with ThreadPoolExecutor(len(calls)) as pool:
        return {" ".join(call): done for call, done in zip(calls, pool.map(one, calls), strict=True)}


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "refused"])
def test_every_command_tells_that_the_database_is_away(cli: Cli, silent: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        port = server.getsockname()[1]
        if not silent:
            server.close()
        calls = [*asking()]
        found = told(cli, port, calls)
        # One that waits twice is told by the others, whatever the machine has to do; `test_program` holds one to the five
        # seconds. Whoever was late is asked again: what the machine had to do just then it does not do each time.
        limit = 1.7 * median(took for _, took in found.values()) + 0.5
        for call in calls:
            for _ in range(10):
                if found[" ".join(call)][1] > limit:
                    found |= told(cli, port, [call])
    assert len(found) > 40
    wrong = {
        name: (done.code, done.out, done.err, took)
        for name, (done, took) in found.items()
        if done.code != ExitCode.UNREACHABLE
        or done.out
        or not done.err.startswith("durable: ")
        or done.err.count("\n") != 1
    }
    assert not wrong, "\n".join(map(str, wrong.items()))
    assert not {name: took for name, (_, took) in found.items() if took > limit}
