"""`make soak MINUTES=30`: half load, three workers, two of them killed every ten seconds; the third one must not change.

Of the one that is never killed are told, for each third of the time: memory, threads, descriptors, connections and tasks. Of the
orders: how long one waited until a worker had written its first step (p99), and how long it took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal as signals
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import asyncpg
from msgspec import Struct, to_builtins

from durable import Client
from durable.testing._servers._server import PostgresServer
from tests._network import Network
from tests.chaos.faults import FAULTS, kill_worker
from tests.chaos.lane import ACCOUNTS, CENTS, Size, Stage
from tests.chaos.places import Ground
from tests.chaos.work import Job, order, paid, tasks_file
from tests.scenarios.bank import opened

PER_SECOND = 20.0
KILL_EVERY = 10.0
SAMPLE_EVERY = 1.0
REPORT = Path("build/soak.json")


class Sample(Struct, frozen=True):
    """One look at the worker that lives."""

    at: float
    rss_kb: int
    threads: int
    descriptors: int
    connections: int
    tasks: int


def look(job: Job, pid: int, at: float) -> Sample:
    """Read what the system knows of a process, and how many tasks it had when it was asked the last time."""
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    open_files: list[str] = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            open_files.append(os.readlink(one))
    tasks = tasks_file(job, pid)
    found = tasks.read_text() if tasks.exists() else ""
    if int(status["SigCgt"], 16) >> (signals.SIGUSR2 - 1) & 1:
        os.kill(pid, signals.SIGUSR2)  # a process that does not handle it yet would be ended by it
    return Sample(
        round(at, 1),
        int(status["VmRSS"].split()[0]),
        int(status["Threads"]),
        len(open_files),
        sum(name.startswith("socket:") for name in open_files),
        int(found or 0),
    )


FIRST_STEPS = """
select f.time - s.time as waited, s.time as started from durable.events s
join durable.events f on f.run_id = s.run_id and f.seq = 2
where s.seq = 1 and s.type = 1 order by s.time
"""


async def first_steps(url: str) -> list[tuple[float, float]]:
    """Of each run, how many seconds after its start its first step was written, and when it was started."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(FIRST_STEPS)
    finally:
        await connection.close()
    return [(row["started"] / 1e6, row["waited"] / 1e6) for row in rows]


def p99(values: Sequence[float]) -> float:
    """The value that one of a hundred exceeds."""
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0


async def soak(
    server: PostgresServer, directory: Path, minutes: float, per_second: float
) -> dict[str, object]:
    """Run, and return what was seen."""
    url = server.create_database()
    await opened(url, ACCOUNTS, CENTS)
    seconds = minutes * 60
    samples: list[Sample] = []
    waits_at: list[tuple[float, float]] = []
    network = Network(url)
    stage = Stage(FAULTS["F3"], Ground(server), url, network, Size(), Job(url, str(directory / "ledger")))
    async with Client.connect(url) as client:
        survivor = stage.start()
        stage.workers = [stage.start() for _ in range(2)]
        try:
            began, killed, number, failed = time.monotonic(), 0.0, 0, 0
            begun_at = time.time()
            async with asyncio.TaskGroup() as group:

                async def one(number: int) -> None:
                    nonlocal failed
                    at = time.monotonic()
                    handle = await client.start_workflow(
                        order(number, f"a{number % ACCOUNTS}", f"a{(number + 1) % ACCOUNTS}", 1),
                        id=f"order-{number}",
                    )
                    await handle.signal(paid(number))
                    if await handle.result(timeout=120) != [number, number]:
                        failed += 1
                    waits_at.append((at - began, time.monotonic() - at))

                while (now := time.monotonic() - began) < seconds:
                    if now - killed > KILL_EVERY:
                        killed = now
                        for _ in range(2):
                            await kill_worker(stage)
                    if not samples or now - samples[-1].at >= SAMPLE_EVERY:
                        samples.append(look(stage.job, survivor.pid or 0, now))
                    group.create_task(one(number))
                    number += 1
                    await asyncio.sleep(1 / per_second)
        finally:
            stage.close()
    first = [(at - begun_at, waited) for at, waited in await first_steps(url)]

    def third(n: int) -> list[Sample]:
        return [one for one in samples if seconds * n / 3 <= one.at < seconds * (n + 1) / 3]

    def told(name: str, n: int) -> float:
        return median(getattr(one, name) for one in third(n))

    def slowest(took: Sequence[tuple[float, float]]) -> list[float]:
        return [
            round(p99([one for at, one in took if seconds * n / 3 <= at < seconds * (n + 1) / 3]), 3)
            for n in range(3)
        ]

    fields = ("rss_kb", "threads", "descriptors", "connections", "tasks")
    return {
        "minutes": minutes,
        "orders": number,
        "failed": failed,
        "kills": len(stage.disturbed),
        "thirds": [{name: told(name, n) for name in fields} for n in range(3)],
        "rss_last_to_second": round(told("rss_kb", 2) / told("rss_kb", 1), 4),
        "seconds_to_first_step_p99": slowest(first),
        "seconds_to_end_p99": slowest(waits_at),
        "samples": [to_builtins(one) for one in samples],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--per-second", type=float, default=PER_SECOND, help="orders a second")
    options = parser.parse_args()
    with PostgresServer.open() as server, tempfile.TemporaryDirectory(prefix="durable-soak-") as directory:
        found = asyncio.run(soak(server, Path(directory), options.minutes, options.per_second))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=1))
    return bool(found["failed"])


if __name__ == "__main__":
    sys.exit(main())
