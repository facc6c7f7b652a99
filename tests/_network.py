"""A network that can be told to fail: a proxy between workers and their server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

TRANSACTIONS = (b"COMMIT;",)
"""What says that an activity's transaction commits."""

COMMITS = (*TRANSACTIONS, b"activity_type", b"workflow_type")
"""And what says that steps do: their events are in the call."""


class Network:
    """Passes on what workers and server say to each other, but for what it is told to do to it.

    Attributes:
        steal: The share of commits that are lost with their connection, half of them before, half behind the server.
        swallow: Whether nothing comes through, in either direction, while connections stay open.
        deaf: Whether what the server says is swallowed, and what workers say is not.
        delay: Seconds by which everything is late.
        stolen: How many commits were lost before and behind the server.
    """

    def __init__(self, url: str, commits: Sequence[bytes] = COMMITS) -> None:
        """Stand before the server of `url`; what holds one of `commits` is a commit."""
        self._target = urlsplit(url)
        self._commits = commits
        self._chance = random.Random(3)
        self._writers: set[asyncio.StreamWriter] = set()
        self.steal = self.delay = 0.0
        self.swallow = self.deaf = False
        self.stolen = {"before": 0, "behind": 0}

    @asynccontextmanager
    async def between(self) -> AsyncGenerator[str]:
        """Serve; yields the URL for workers."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        user = self._target.netloc.rpartition("@")[0]
        port = server.sockets[0].getsockname()[1]
        try:
            yield urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}"))
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        """End every connection without a word."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        lost = asyncio.Event()

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, asks: bool) -> None:
            try:
                while data := await source.read(65536):
                    if self.delay:
                        await asyncio.sleep(self.delay)
                    if self.swallow or (self.deaf and not asks):
                        continue
                    if (
                        asks
                        and any(one in data for one in self._commits)
                        and self._chance.random() < self.steal
                    ):
                        if self._chance.random() < 0.5:
                            self.stolen["before"] += 1
                            return
                        self.stolen["behind"] += 1
                        lost.set()
                    elif not asks and lost.is_set():
                        return
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            finally:
                writer.transport.abort()
                back.transport.abort()
                self._writers -= {writer, back}

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, back, asks=True))
            group.create_task(pump(there, writer, asks=False))
