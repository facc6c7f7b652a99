"""`durable worker --processes N`: one process watches over several, each with workers of its own.

Python runs code on one processor at a time, so a machine with several wants several processes. Each is the same command without
`--processes`. One that dies is begun anew, after a pause that grows while it keeps dying; one that ends because it was called
wrongly, or because the database's tables do not fit, ends all, since the others would as well.

The way to the end is the same for all: each reads from a pipe that nobody writes to, and takes its closing for a SIGTERM. So none
outlives the process that watches over it, however that dies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from durable.cli._exits import ExitCode

logger = logging.getLogger("durable.cli")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a process that died is begun anew; doubled each time, until one has lived for a minute."""

LIVED = 60.0
"""Seconds after which a process that dies is taken for one that had worked."""

USELESS = (ExitCode.USAGE, ExitCode.MIGRATION_NEEDED)
"""Exit codes of processes that would end in the same way again."""

PIPE = "DURABLE_SUPERVISED"
"""Tells a process the number of the pipe whose closing ends it."""


async def supervise(
    arguments: Sequence[str], number: int, stop: asyncio.Event, running: set[int]
) -> ExitCode:
    """Run so many processes until `stop` is set or one of them makes clear that none can run; return how it ended.

    `running` has the ids of those that run.
    """
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    ended: asyncio.Future[ExitCode] = asyncio.get_running_loop().create_future()
    try:
        async with asyncio.TaskGroup() as group:
            watching = [
                group.create_task(_keep(arguments, index, reading, stop, ended, running))
                for index in range(1, number + 1)
            ]
            stopping = group.create_task(stop.wait())
            either: list[asyncio.Future[Any]] = [stopping, ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            os.close(writing)
            writing = -1
            await asyncio.wait(watching)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    return ended.result() if ended.done() else ExitCode.OK


async def _keep(
    arguments: Sequence[str],
    index: int,
    pipe: int,
    stop: asyncio.Event,
    ended: asyncio.Future[ExitCode],
    running: set[int],
) -> None:
    """Keep one process alive."""
    loop = asyncio.get_running_loop()
    pause = FIRST_PAUSE
    while not stop.is_set():
        begun = loop.time()
        # In a group of its own: Ctrl-C is for the process that watches, which tells the others.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "durable",
            *arguments,
            env=os.environ | {PIPE: str(pipe)},
            pass_fds=(pipe,),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        logger.info("process %d of the workers is %d", index, process.pid)
        running.add(process.pid)
        code = await process.wait()
        running.discard(process.pid)
        if stop.is_set():
            return
        if code in USELESS:
            if not ended.done():
                ended.set_result(USELESS[USELESS.index(code)])
            return
        pause = FIRST_PAUSE if loop.time() - begun > LIVED else pause
        logger.error(
            "process %d (%d) has ended with %d, and is begun anew in %g s", index, process.pid, code, pause
        )
        try:
            async with asyncio.timeout(pause):
                await stop.wait()
        except TimeoutError:
            pause = min(2 * pause, LONGEST_PAUSE)


def end_with_supervisor() -> None:
    """In a process that is watched over: take the end of the one that watches for a SIGTERM. Elsewhere this does nothing."""
    pipe = os.environ.pop(PIPE, None)
    if pipe is None:
        return

    def wait() -> None:
        os.read(int(pipe), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="durable supervisor", daemon=True).start()
