"""Starting processes, waiting for named conditions, and judging what the processes left behind."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from durable import Client
from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.client import WorkflowHandle
from durable.converter import default
from durable.history import (
    CLOSING,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Event,
    Input,
    TimerCanceled,
    TimerFired,
    TimerStarted,
)
from tests.crash import child
from tests.crash.child import Job, Point
from tests.crash.programs import DEFINITIONS

PATIENCE = 30.0
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


# --- the judge ---


async def judge(
    client: Client, handle: WorkflowHandle[Any, Any], ledger: list[dict[str, Any]], killed: set[int]
) -> None:
    """Hold a closed run to what is promised: its log, its replay, its leftovers, and what its activities did."""
    history = await handle.fetch_history()
    judge_history(history.events)
    judge_effects(history.events, [line for line in ledger if line.get("run") == history.run_id], killed)
    definition = DEFINITIONS[(await handle.describe()).workflow_type]
    judge_replay(definition, history.run_id, history.events)
    store = client.store
    record = await store.find_run(handle.id, history.run_id)
    assert record is not None
    assert record.owner is None, "a closed run has an owner"
    assert record.history_length == len(history.events)
    assert not await store.read_messages([history.run_id]), "a closed run has unread messages"
    assert not await store.read_activities(history.run_id), "a closed run has rows of activities"


def judge_history(events: Any, *, closed: bool = True) -> None:
    """I1, I3, and that nothing happens twice or out of order."""
    shown = "\n".join(
        f"{e.seq:4} {e.task:3} {type(e.data).__name__} {getattr(e.data, 'id', '')}" for e in events
    )
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), shown
    assert [e.time for e in events] == sorted(e.time for e in events), shown
    assert [e.task for e in events] == sorted(e.task for e in events), shown
    ends = [event.seq for event in events if isinstance(event.data, CLOSING)]
    assert ends == ([len(events)] if closed else []), f"terminal events at {ends}\n{shown}"
    asked: dict[int, str] = {}
    answered: dict[int, str] = {}
    commands_of = 0
    for event in events:
        data = event.data
        if isinstance(data, Input):
            assert event.task != commands_of, (
                f"event {event.seq}: an input behind its task's commands\n{shown}"
            )
        else:
            commands_of = event.task
        if isinstance(data, ActivityTaskScheduled | TimerStarted):
            assert data.id not in asked, f"command {data.id} twice\n{shown}"
            asked[data.id] = type(data).__name__
        elif isinstance(
            data,
            ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled | TimerFired
            | TimerCanceled,
        ):  # fmt: skip
            assert data.id in asked, f"command {data.id} is answered and was never asked\n{shown}"
            assert data.id not in answered, f"command {data.id} is answered twice\n{shown}"
            answered[data.id] = type(data).__name__
    messages = [e.data.message for e in events if isinstance(e.data, Input) and e.data.message]
    assert len(messages) == len(set(messages)), f"a message twice\n{shown}"


def judge_replay(definition: Any, run_id: str, events: list[Event] | Any) -> None:
    """I7: the code asks again for exactly what is recorded, arguments included."""
    made: list[Instance] = []

    def instance(*, trace: bool = False) -> Instance:
        one = Instance(
            definition, run_id, default(), namespace="default", note=lambda text, error: None, trace=trace
        )
        made.append(one)
        return one

    try:
        with Turns() as turns:
            live = replay(instance(), turns, list(events), rebuild=lambda: instance(trace=True), strict=True)
        assert not live, f"a closed run's replay asks for more: {live}"
    finally:
        for one in made:
            one.evict()


def judge_effects(events: Any, ledger: list[dict[str, Any]], killed: set[int]) -> None:
    """I14: every execution beyond the first has a failure or a kill to explain it; at most once is at most once."""
    scheduled = {e.data.activity_id: e.data for e in events if isinstance(e.data, ActivityTaskScheduled)}
    by_activity: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in ledger:
        if "id" in line:
            by_activity[line["id"]].append(line)
    for activity_id, lines in by_activity.items():
        shown = "\n".join(map(str, lines))
        assert activity_id in scheduled, f"an activity ran that the log does not know\n{shown}"
        assert len({line["key"] for line in lines}) == 1, f"its key changed\n{shown}"
        begins = [line for line in lines if line["phase"] == "begin"]
        if scheduled[activity_id].retry_policy.maximum_attempts == 1:
            assert len(begins) == 1, f"at most once ran {len(begins)} times\n{shown}"
        attempts = [line["attempt"] for line in begins]
        assert attempts == sorted(attempts), shown
        assert len(set(attempts)) == len(attempts), f"one attempt was executed twice\n{shown}"
        for begin in begins[:-1]:
            failed = any(
                line["phase"] == "fail" and (line["pid"], line["attempt"]) == (begin["pid"], begin["attempt"])
                for line in lines
            )
            assert failed or begin["pid"] in killed, f"executed again without a failure or a kill\n{shown}"
    done = {
        scheduled_id_of(events, e.data.id): e.data
        for e in events
        if isinstance(e.data, ActivityTaskCompleted)
    }
    for activity_id, completed in done.items():
        ends = [line["attempt"] for line in by_activity[activity_id] if line["phase"] == "end"]
        assert completed.attempt in ends, f"{activity_id} completed by an attempt that never ended: {ends}"


def scheduled_id_of(events: Any, number: int) -> str:
    return next(
        e.data.activity_id
        for e in events
        if isinstance(e.data, ActivityTaskScheduled) and e.data.id == number
    )


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
