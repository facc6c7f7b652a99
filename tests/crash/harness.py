"""Starting processes, waiting for named conditions, and judging what the processes left behind."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Awaitable, Callable
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from durable import Client
from tests.crash import child
from tests.crash import judge as court
from tests.crash.child import Job, Point
from tests.crash.judge import judge_effects, judge_history, judge_replay
from tests.crash.programs import DEFINITIONS

PATIENCE = 90.0
"""Seconds after which a condition that did not come true is a failure: far beyond any lease here."""

# Children are forked from a process that has imported everything and done nothing: 20 ms instead of half a second.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.crash.child"])


async def until(what: str, look: Callable[[], Any], *, patience: float = PATIENCE) -> Any:
    """Wait until `look` (plain or async) answers something true, and return that; fail with `what` after a while."""
    end = time.monotonic() + patience
    pause = 0.005
    while True:
        answer = look()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience:g} s: {what}")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.05)


class Process:
    """A child; its log and its ledger are in files."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._process: BaseProcess = _context.Process(target=child.main, args=(job,), daemon=True)

    async def start(self) -> Process:
        self._process.start()
        return self

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, patience: float = PATIENCE) -> int:
        """Wait for its end; negative for the signal that killed it."""
        # In this thread only: two that ask for one exit code at once both read from its pipe.
        try:
            await until("it ended", lambda: self._process.exitcode is not None, patience=patience)
        except AssertionError:
            self.signal(signal.SIGUSR1)
            await asyncio.sleep(0.2)
            self.kill()
            raise AssertionError(
                f"process {self.pid} ({self.job.crash_at}) did not end within {patience:g} s; its log:\n{self.tail()}"
                f"\nits ledger:\n{self.ledger()}"
            ) from None
        code = self._process.exitcode
        assert code is not None
        return code

    def ledger(self) -> str:
        return Path(self.job.ledger).read_text()

    def kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()
            self._process.join(10)

    def tail(self, lines: int = 150) -> str:
        path = Path(self.job.log)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


class World:
    """A database, a ledger, and the processes of one test."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self.processes: list[Process] = []
        self._count = count(1)

    def job(self, name: str = "run", **more: Any) -> Job:
        more = {"queue": name, "url": self.url} | more
        return Job(
            ledger=str(self.directory / f"{name}.ledger"), log=str(self.directory / f"{name}.log"), **more
        )

    async def start(self, job: Job) -> Process:
        process = await Process(job).start()
        self.processes.append(process)
        return process

    async def ready(self, job: Job) -> Process:
        """Start a process and wait until its workers work."""
        process = await self.start(job)

        def look() -> bool:
            assert process.alive, process.tail()
            return any(line["phase"] == "ready" for line in self.ledger(job, pid=process.pid))

        await until("the process is ready", look)
        return process

    def ledger(self, job: Job, **where: Any) -> list[dict[str, Any]]:
        path = Path(job.ledger)
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [line for line in found if all(line.get(key) == value for key, value in where.items())]

    def close(self) -> None:
        for process in self.processes:
            if process.alive:
                process.signal(signal.SIGCONT)
            process.kill()


async def judge(client: Client, handle: Any, ledger: list[dict[str, Any]], killed: set[int]) -> None:
    """See `judge.judge`, with the definitions of these processes.

    A worker that was too slow to keep its lease is as good as killed, and has said so in the ledger.
    """
    definition = DEFINITIONS[(await handle.describe()).workflow_type]
    lost = {line["pid"] for line in ledger if line["phase"] == "lost"}
    await court.judge(client, handle, ledger, killed | lost, definition)


__all__ = [
    "Job",
    "Point",
    "Process",
    "World",
    "judge",
    "judge_effects",
    "judge_history",
    "judge_replay",
    "until",
]
