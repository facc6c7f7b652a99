"""The HTTP endpoint that probes and scrapers ask; what it tells is `_health`'s."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Self

from durable._internal.http import Answer, HttpServer
from durable.telemetry import CONTENT_TYPE, prometheus_text
from durable.worker._health import WorkerHealth
from durable.worker._worker import Worker


class HealthServer:
    """Answers `/livez`, `/readyz` and `/metrics` over HTTP, for all workers of a process together.

    A page says 200 when all is well with every worker, else 503 with a sentence for each that it is not well with. Only GET (and
    HEAD) is answered, without TLS and for anybody who can reach the address.

        async with Worker(client) as worker, HealthServer([worker], port=8080):
            ...

    It answers from the event loop of the workers, so that a loop that stands still does not answer either. Enter it before the
    workers, or keep it around their `run`, so that it answers while they drain.

    Args:
        workers: Whose health it tells.
        host: Where it listens: this machine only, unless told otherwise. Probes of Kubernetes come from outside: "0.0.0.0".
        port: The port; 0 takes any that is free, see `port`.
        metrics: Whether there is a page `/metrics`, in Prometheus' text format: what the client of the workers has for
            `metrics`, recorded for workers that start from now on.

    Raises:
        ValueError: There is no worker, the port is none, or the workers' clients record into different `Metrics`.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        metrics: bool = True,
    ) -> None:
        if not workers:
            raise ValueError("HealthServer needs the workers whose health it tells")
        if not 0 <= port < 65536:
            raise ValueError(f"port must be between 0 and 65535, not {port!r}")
        self._workers = tuple(workers)
        self._host, self._port = host, port
        pages = {"/livez": self._live, "/readyz": self._ready}
        if metrics:
            found = {id(one.client.metrics): one.client.metrics for one in workers}
            if len(found) > 1:
                raise ValueError(
                    "the clients of these workers record into different Metrics: serve them apart"
                )
            (self._metrics,) = found.values()
            self._metrics.collect()
            pages["/metrics"] = self._measured
        self._server = HttpServer(pages)

    @property
    def port(self) -> int:
        """The port that it listens on, while it does."""
        return self._server.port

    async def start(self, sock: socket.socket | None = None) -> None:
        """Begin to answer, at its address or at a socket that listens already.

        Raises:
            OSError: The address is taken, or is none of this machine's.
        """
        await self._server.start(self._host, self._port, sock=sock)

    async def stop(self) -> None:
        """Stop answering; again does nothing."""
        await self._server.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _live(self) -> Answer:
        return _told([(one, found, found.live) for one in self._workers for found in [one.health()]])

    async def _ready(self) -> Answer:
        return _told([(one, found, found.ready) for one in self._workers for found in [one.health()]])

    async def _measured(self) -> Answer:
        return Answer(HTTPStatus.OK, prometheus_text(self._metrics), CONTENT_TYPE)


def _told(found: Sequence[tuple[Worker, WorkerHealth, bool]]) -> Answer:
    bad = [f"worker of {one.task_queue!r}: {health.reason}\n" for one, health, well in found if not well]
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(bad)) if bad else Answer(HTTPStatus.OK, "ok\n")
