"""A small HTTP server for probes and scrapers: GET only, no bodies, one answer per connection.

It reads a request line and headers within limits of size and time and answers from a table of pages, so there is nothing to
configure and little to attack. Whoever needs more (TLS, names and passwords) puts a proxy before it, as for any such endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

logger = logging.getLogger("durable.http")

HEAD_LIMIT = 8192
"""Bytes of a request at most."""

PATIENCE = 5.0
"""Seconds for a request to arrive, and for its answer to leave."""

AT_ONCE = 32
"""Connections at once: a few probes and scrapers. Others are closed."""

TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What a page says."""

    status: HTTPStatus
    text: str
    kind: str = TEXT


Pages = Mapping[str, Callable[[], Awaitable[Answer]]]


class HttpServer:
    """Answers from `pages`, by path, between `start` and `stop`."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int, *, sock: socket.socket | None = None) -> None:
        """Begin to answer, at an address or a socket that listens.

        Raises:
            OSError: The address is taken, or is none of this machine's.
        """
        if sock is not None:
            self._server = await asyncio.start_server(self._accept, sock=sock, limit=HEAD_LIMIT)
        else:
            self._server = await asyncio.start_server(self._accept, host, port, limit=HEAD_LIMIT)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Stop answering; again does nothing."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= AT_ONCE:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            try:
                async with asyncio.timeout(PATIENCE):
                    try:
                        head = await reader.readuntil(b"\r\n\r\n")
                    except asyncio.LimitOverrunError:
                        head = b""
                    method, answer = await self._answer(head)
                    body = answer.text.encode()
                    allow = "Allow: GET, HEAD\r\n" if answer.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
                    writer.write(
                        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.kind}\r\n"
                        f"Content-Length: {len(body)}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
                    )
                    if method != "HEAD":
                        writer.write(body)
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
            finally:
                writer.transport.abort()  # does nothing to one that was closed well

    async def _answer(self, head: bytes) -> tuple[str, Answer]:
        """Return the method of a request, and the answer to it."""
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "", Answer(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1 request\n")
        method, target, _ = words
        page = self._pages.get(target.partition("?")[0])
        if page is None:
            return method, Answer(HTTPStatus.NOT_FOUND, f"there are {', '.join(sorted(self._pages))}\n")
        if method not in ("GET", "HEAD"):
            return method, Answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET\n")
        try:
            return method, await page()
        except Exception:
            logger.exception("a page could not be made: %s", target)
            return method, Answer(
                HTTPStatus.INTERNAL_SERVER_ERROR, "the page could not be made; see the log\n"
            )


async def get(port: int, path: str, *, patience: float) -> tuple[int, str]:
    """Ask a server of this machine for a page; return its status and its text.

    Raises:
        OSError: Nothing answers there.
        TimeoutError: It did not answer in time.
        ValueError: What it answered is no HTTP.
    """
    async with asyncio.timeout(patience):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            return int(head.split(b" ", 2)[1]), body.decode()
        except IndexError:
            raise ValueError("no HTTP") from None
        finally:
            writer.transport.abort()
