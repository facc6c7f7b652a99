"""Dependent steps on Restate: a server of its own with a log of its own; the database that is asked for is not used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import hypercorn
import hypercorn.asyncio
import restate

from benchmarks.peers._program import Load, main
from benchmarks.peers.install import RESTATE_SERVER

SETTINGS = (
    "one server from the npm package on the same machine with its defaults (its log is synced), the handlers on Hypercorn in one process, "
    "called by HTTP from that process over kept connections"
)
PATIENCE = 60

counting = restate.Service("Counting")


async def increment(value: int) -> int:
    return value + 1


@counting.handler("countUp")
async def count_up(context: restate.Context, steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await context.run_typed("increment", increment, value=value)
    return value


async def measure(load: Load) -> float:
    async with _served() as ingress, httpx.AsyncClient(timeout=PATIENCE, limits=_unlimited()) as http:
        gate = asyncio.Semaphore(load.concurrency)

        async def one() -> None:
            async with gate:
                answer = await http.post(f"{ingress}/Counting/countUp", json=load.steps)
                assert answer.json() == load.steps

        await one()
        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(load.runs)))
        return time.perf_counter() - started


def _unlimited() -> httpx.Limits:
    return httpx.Limits(max_connections=None, max_keepalive_connections=None)


@contextlib.asynccontextmanager
async def _served() -> AsyncIterator[str]:
    """Serve the handlers and a server that knows them; yield the URL where workflows are started."""
    ingress, admin, node, handlers = (_free_port() for _ in range(4))
    leaving = asyncio.Event()
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{handlers}"]
    config.h2_max_concurrent_streams = (
        2**31 - 1
    )  # this and the next two as the documentation says for production
    config.keep_alive_max_requests = 2**31 - 1
    config.keep_alive_timeout = 2**31 - 1
    serving = asyncio.create_task(
        hypercorn.asyncio.serve(restate.app([counting]), config, shutdown_trigger=leaving.wait)
    )
    with tempfile.TemporaryDirectory(prefix="bench-restate-") as directory:
        server = subprocess.Popen(  # noqa: ASYNC220 (it returns at once)
            [
                RESTATE_SERVER,
                "--no-logo",
                "--base-dir",
                directory,
                "--bind-port",
                str(node),
                "--listen-mode",
                "tcp",
            ],
            cwd=directory,
            env=os.environ
            | {
                "RESTATE_INGRESS__BIND_PORT": str(ingress),
                "RESTATE_ADMIN__BIND_PORT": str(admin),
                "RESTATE_LOG_FILTER": "error",
                "DO_NOT_TRACK": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await _register(f"http://127.0.0.1:{admin}/deployments", f"http://127.0.0.1:{handlers}")
            yield f"http://127.0.0.1:{ingress}"
        finally:
            server.terminate()
            server.wait()
    leaving.set()
    await serving


async def _register(deployments: str, handlers: str) -> None:
    """Tell the server where the handlers are, once it listens."""
    until = time.monotonic() + PATIENCE
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await http.post(deployments, json={"uri": handlers})
                if answer.is_success:
                    return
            if time.monotonic() > until:
                raise TimeoutError("restate-server does not take the handlers")
            await asyncio.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    assert Path(RESTATE_SERVER).exists()
    main("restate-sdk", SETTINGS, measure)
