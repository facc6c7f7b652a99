"""The second process of a benchmark that needs two: a worker that says when it begins, and works until its input closes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import _workflows
from benchmarks._databases import connect
from benchmarks._environment import ROOT
from durable import Client, Worker

WORKFLOWS = (_workflows.noop, _workflows.wait_for_signal, _workflows.count_up, _workflows.spread_out)
ACTIVITIES = (_workflows.identity, _workflows.clock, _workflows.increment, _workflows.whose)


@contextlib.contextmanager
def working(url: str, *, hints: bool = True) -> Iterator[float]:
    """Have a worker in another process; yield the Unix time at which it began to look for work."""
    command = [sys.executable, "-m", "benchmarks._work", url, *([] if hints else ["--deaf"])]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        began = process.stdout.readline()
        assert began, "the worker did not start"
        yield float(began)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def deafen(client: Client) -> None:
    """Lose every hint: whoever listens is told nothing, as behind a pooler or a lost connection."""

    def listen(callback: Callable[..., None], *kinds: Any) -> Callable[[], None]:
        return lambda: None

    client.store.listen = listen  # type: ignore[method-assign]


async def _work(url: str, *, deaf: bool) -> None:
    async with connect(url) as client:
        if deaf:
            deafen(client)
        began = time.time()
        async with Worker(client, workflows=WORKFLOWS, activities=ACTIVITIES):
            print(began, flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--deaf", action="store_true", help="hear no hints")
    options = parser.parse_args()
    asyncio.run(_work(options.url, deaf=options.deaf))
