"""One of several worker processes on one database: it runs its share of the workflows when it is told to, and says how long that took."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks._databases import check_histories, connect
from benchmarks._environment import ROOT
from benchmarks._workflows import count_up, increment, step_latencies
from benchmarks.steps import run_all
from durable import Worker


def together(url: str, processes: int, runs: int, steps: int, at_once: int) -> float:
    """Have so many processes run so many workflows each, and return the seconds that all of them took."""
    arguments = [str(one) for one in (runs, steps, at_once)]
    with contextlib.ExitStack() as stack:
        fleet = [stack.enter_context(_process([url, *arguments])) for _ in range(processes)]
        for one in fleet:
            assert _line(one) == "ready", "a worker did not start"
        for one in fleet:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        told = [json.loads(_line(one)) for one in fleet]
    return max(one["ended"] for one in told) - min(one["began"] for one in told)


@contextlib.contextmanager
def _process(arguments: Sequence[str]) -> Any:
    command = [sys.executable, "-m", "benchmarks._fleet", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def _work(url: str, runs: int, steps: int, at_once: int) -> None:
    async with connect(url) as client:
        async with Worker(
            client, workflows=[count_up], activities=[increment], max_concurrent_activities=max(100, at_once)
        ):
            for _ in range(2):
                await client.execute_workflow(count_up(0, steps))
            step_latencies()
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            began = time.time()
            run_ids = await run_all(client, count_up, runs, steps, at_once)
            ended = time.time()
        await check_histories(client, url, run_ids, 2 * steps + 2)
    print(json.dumps({"began": began, "ended": ended}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    for name in ("runs", "steps", "at_once"):
        parser.add_argument(name, type=int)
    options = parser.parse_args()
    asyncio.run(_work(options.url, options.runs, options.steps, options.at_once))
