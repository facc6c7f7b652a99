"""`durable worker --processes N`: one process watches over several, each with workers of its own.

Python runs code on one processor at a time, so a machine with several wants several processes. Each is the same command without
`--processes`. One that dies is begun anew, after a pause that grows while it keeps dying; one that ends because it was called
wrongly, or because the database's tables do not fit, ends all, since the others would as well.

The way to the end is the same for all: each reads from a pipe that nobody writes to, and takes its closing for a SIGTERM. So none
outlives the process that watches over it, however that dies. A SIGTERM that a process gets beside that, as from systemd, which
tells all of a service, changes nothing.

With `--http` each process answers at a socket of its own, which is open here, so that it stays the same when the process is begun
anew; this one asks them all and answers for them together.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from durable._internal.http import Answer, HttpServer, get
from durable.cli._exits import ExitCode
from durable.telemetry import CONTENT_TYPE

logger = logging.getLogger("durable.cli")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a process that died is begun anew; doubled each time, until one has lived for a minute."""

LIVED = 60.0
"""Seconds after which a process that dies is taken for one that had worked."""

ASKED = 0.8
"""Seconds that a process has to answer a probe that was sent on to it: less than the second that Kubernetes gives all."""

USELESS = (ExitCode.USAGE, ExitCode.MIGRATION_NEEDED)
"""Exit codes of processes that would end in the same way again."""

FROM_ABOVE = "DURABLE_SUPERVISED"
"""Tells a process the number of the pipe whose closing ends it, and that of the socket at which it answers."""

_NAME = re.compile(r"[A-Za-z_:][\w:]*")


@dataclass
class Member:
    """One of the processes.

    Attributes:
        index: Which one; the first is 1.
        door: Where it answers probes, None when nobody asks.
        pid: The process that runs now, None in a pause.
        deaths: How often it died in a row.
        begun_anew: How often it was begun anew.
        said: How it ended last.
        begun: When it was begun last, on the event loop's clock.
        answered: Whether it has answered a probe since.
    """

    index: int
    door: socket.socket | None
    pid: int | None = None
    deaths: int = 0
    begun_anew: int = 0
    said: str = ""
    begun: float = 0.0
    answered: bool = False


class Supervisor:
    """Keeps so many processes running, until told to stop."""

    def __init__(self, arguments: Sequence[str], number: int, *, asked: bool) -> None:
        """Prepare to run `durable` with these arguments.

        Args:
            arguments: Of each process.
            number: How many there are.
            asked: Whether they answer probes.
        """
        self._arguments = arguments
        self._members = [Member(index, _door() if asked else None) for index in range(1, number + 1)]
        self._stopping = False

    @property
    def running(self) -> list[int]:
        """The processes that run."""
        return [one.pid for one in self._members if one.pid is not None]

    async def run(self, stop: asyncio.Event, address: tuple[str, int] | None) -> ExitCode:
        """Run until `stop` is set or one of them makes clear that none can run; return how it ended."""
        reading, writing = os.pipe()
        ended: asyncio.Future[ExitCode] = asyncio.get_running_loop().create_future()
        server = HttpServer({"/livez": self._live, "/readyz": self._ready, "/metrics": self._metrics})
        if address is not None:
            await server.start(*address)
        try:
            async with asyncio.TaskGroup() as group:
                watching = [group.create_task(self._keep(one, reading, stop, ended)) for one in self._members]
                stopping = group.create_task(stop.wait())
                either: list[asyncio.Future[Any]] = [stopping, ended]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                self._stopping = True
                stop.set()
                os.close(writing)
                writing = -1
                await asyncio.wait(watching)
        finally:
            await server.stop()
            os.close(reading)
            if writing >= 0:
                os.close(writing)
            for one in self._members:
                if one.door is not None:
                    one.door.close()
        return ended.result() if ended.done() else ExitCode.OK

    async def _keep(
        self, member: Member, pipe: int, stop: asyncio.Event, ended: asyncio.Future[ExitCode]
    ) -> None:
        """Keep one process alive."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        handed = [pipe] if member.door is None else [pipe, member.door.fileno()]
        while not stop.is_set():
            member.begun, member.answered = loop.time(), False
            # In a group of its own: Ctrl-C is for the process that watches, which tells the others.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "durable",
                *self._arguments,
                env=os.environ | {FROM_ABOVE: json.dumps(handed)},
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            logger.info("process %d of the workers is %d", member.index, process.pid)
            member.pid = process.pid
            code = await process.wait()
            member.pid = None
            if stop.is_set():
                return
            if code in USELESS:
                if not ended.done():
                    ended.set_result(USELESS[USELESS.index(code)])
                return
            if loop.time() - member.begun > LIVED:
                pause, member.deaths = FIRST_PAUSE, 0
            member.deaths += 1
            member.begun_anew += 1
            member.said = f"it ended with {code}; deaths in a row: {member.deaths}"
            logger.error(
                "process %d (%d) has ended with %d and is begun anew in %g s; deaths in a row: %d",
                member.index,
                process.pid,
                code,
                pause,
                member.deaths,
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()
            pause = min(2 * pause, LONGEST_PAUSE)

    # ------------------------------------------------------------------ probes

    async def _live(self) -> Answer:
        """A process that has died is begun anew by this one; only one that runs and does no good needs somebody else."""
        return await self._together("/livez", lambda one: one.pid is None)

    async def _ready(self) -> Answer:
        return await self._together("/readyz", lambda one: False)

    async def _together(self, path: str, excused: Callable[[Member], bool]) -> Answer:
        if path == "/readyz" and self._stopping:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "it is stopping\n")
        asked = [one for one in self._members if not excused(one)]
        bad = [
            f"process {one.index}: {line}\n"
            for one, (status, text) in zip(
                asked, await asyncio.gather(*(self._ask(one, path) for one in asked)), strict=True
            )
            if status != HTTPStatus.OK
            for line in text.splitlines()
        ]
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(bad)) if bad else Answer(HTTPStatus.OK, "ok\n")

    async def _ask(self, member: Member, path: str) -> tuple[int, str]:
        if member.pid is None:
            return 0, member.said or "it has not begun"
        assert member.door is not None
        try:
            answer = await get(member.door.getsockname()[1], path, patience=ASKED)
        except (OSError, TimeoutError, ValueError):
            # While it starts nobody accepts at its socket, and nothing is wrong with it.
            starting = not member.answered and asyncio.get_running_loop().time() - member.begun < LIVED
            return (HTTPStatus.OK, "") if starting and path == "/livez" else (0, "it does not answer")
        member.answered = True
        return answer

    async def _metrics(self) -> Answer:
        told = await asyncio.gather(*(self._ask(one, "/metrics") for one in self._members))
        texts = {
            str(one.index): text
            for one, (status, text) in zip(self._members, told, strict=True)
            if status == HTTPStatus.OK
        }
        name = "durable_supervisor_restarts_total"
        own = f"# HELP {name} Processes of workers that died and were begun anew.\n# TYPE {name} counter\n"
        own += "".join(f'{name}{{process="{one.index}"}} {one.begun_anew}\n' for one in self._members)
        return Answer(HTTPStatus.OK, own + merged(texts), CONTENT_TYPE)


def merged(texts: dict[str, str]) -> str:
    """Return what several processes measure as one text in Prometheus' format, each sample with its `process`."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for process, text in texts.items():
        family = ""
        for line in text.splitlines():
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                if line not in heads.setdefault(family, []):
                    heads[family].append(line)
            elif (match := _NAME.match(line)) is not None:
                rest = line[match.end() :]
                labels = f'process="{process}"' + (f",{rest[1:]}" if rest.startswith("{") else f"}}{rest}")
                samples.setdefault(family, []).append(f"{match[0]}{{{labels}")
    lines = [line for family in heads for line in heads[family] + samples.get(family, [])]
    return "".join(f"{line}\n" for line in lines + samples.get("", []))


def _door() -> socket.socket:
    """Return a socket of this machine's that listens, for a process to answer at."""
    door = socket.create_server(("127.0.0.1", 0))
    door.setblocking(False)
    return door


def end_with_supervisor(stop: asyncio.Event) -> socket.socket | None:
    """In a process that is watched over: set `stop` when the one that watches ends, and return where to answer probes."""
    handed = os.environ.pop(FROM_ABOVE, None)
    if handed is None:
        return None
    pipe, *doors = json.loads(handed)
    loop = asyncio.get_running_loop()

    def wait() -> None:
        os.read(pipe, 1)
        with suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="durable supervisor", daemon=True).start()
    return socket.socket(fileno=doors[0]) if doors else None


def is_supervised() -> bool:
    """Whether another process watches over this one."""
    return FROM_ABOVE in os.environ
