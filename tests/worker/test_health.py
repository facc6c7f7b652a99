"""What probes are told: of workers that start, work, stand still, lose their lease, drain and end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import Client, Worker, activity
from durable._internal.http import AT_ONCE, HEAD_LIMIT, get
from durable.telemetry import Metrics
from durable.worker import HealthServer, WorkerLifeEvent, WorkerLifeEventKind


@activity.defn(name="health.touch")
async def touch() -> None: ...


async def asked(server: HealthServer, path: str) -> tuple[int, str]:
    return await get(server.port, path, patience=60)


async def raw(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(-1), 60)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_life_as_probes_see_it(store_url: str) -> None:
    told: dict[str, Any] = {}

    async def on_life_event(event: WorkerLifeEvent) -> None:
        if event.kind is WorkerLifeEventKind.STOPPING:
            told["stopping"] = await asked(server, "/livez"), await asked(server, "/readyz")

    async with Client.connect(store_url) as client:
        worker = Worker(client, workflows=[], activities=[touch], on_life_event=on_life_event)
        server = HealthServer([worker], port=0)
        async with server:
            assert await asked(server, "/livez") == (200, "ok\n")
            assert await asked(server, "/readyz") == (
                503,
                "worker of 'default': it has not been started yet\n",
            )
            async with worker:
                assert await asked(server, "/livez") == (200, "ok\n")
                assert await asked(server, "/readyz") == (200, "ok\n")
                status, text = await asked(server, "/metrics?all")
                assert status == 200
                assert "durable_worker_heartbeat_age" in text
            live, ready = told["stopping"]
            assert live == (200, "ok\n")
            assert ready[0] == 503
            assert "takes no more work" in ready[1]
            assert await asked(server, "/livez") == (503, "worker of 'default': it has ended\n")


async def test_one_bad_worker_of_several_is_named(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client:
        one, other = (
            Worker(client, task_queue=name, workflows=[], activities=[touch]) for name in ("a", "b")
        )
        async with one, HealthServer([one, other], port=0, metrics=False) as server:
            assert await asked(server, "/readyz") == (503, "worker of 'b': it has not been started yet\n")
            assert (await asked(server, "/metrics"))[0] == 404


async def test_a_database_that_is_away_makes_it_unready_and_not_dead(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Client.connect(sqlite_url) as client,
        Worker(client, workflows=[], activities=[touch], lease_duration=1) as worker,
    ):
        lease = worker._incarnation.lease  # pyright: ignore[reportOptionalMemberAccess]
        away = asyncio.Event()

        async def renew() -> bool:
            await asyncio.get_running_loop().create_future()
            return True

        monkeypatch.setattr(lease._lease, "renew", renew)
        while worker.health().ready:
            await asyncio.sleep(0.02)
        for _ in range(10):
            assert worker.health().live, "it tries, and a restart would not bring the database back"
            await asyncio.sleep(0.1)
        assert "the database does not answer" in worker.health().reason
        monkeypatch.undo()
        while not worker.health().ready:
            await asyncio.sleep(0.02)
        away.set()


async def test_a_loop_that_stands_still_and_a_lease_that_nobody_renews_are_dead(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        Client.connect(sqlite_url) as client,
        Worker(client, workflows=[], activities=[touch], lease_duration=1) as worker,
    ):
        incarnation = worker._incarnation
        assert incarnation is not None
        monkeypatch.setattr(type(incarnation.watchdog), "alive", property(lambda _: False))
        assert worker.health() == (False, False, "its event loop stands still")
        monkeypatch.undo()
        # The thread asks whether the loop is alive before each renewal: told no, it sends none.
        monkeypatch.setattr(incarnation.lease, "_alive", lambda: False)
        while worker.health().live:
            await asyncio.sleep(0.02)
        assert "nothing renews its lease" in worker.health().reason


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"HEAD /livez HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"405 Method Not Allowed"),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /boom HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET  /livez HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400 Bad Request"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 2 * HEAD_LIMIT + b"\r\n\r\n", b"400 Bad Request"),
    ],
)
async def test_requests_that_are_none_of_its_own(sqlite_url: str, request_: bytes, status: bytes) -> None:
    async with (
        Client.connect(sqlite_url) as client,
        HealthServer([Worker(client, workflows=[], activities=[touch])], port=0) as server,
    ):
        answer = await raw(server.port, request_)
        assert answer.startswith(b"HTTP/1.1 " + status)
        if request_.startswith(b"HEAD"):
            assert answer.endswith(b"\r\n\r\n")
        assert (await asked(server, "/livez"))[0] == 200, "and it goes on"


async def test_it_bears_many_connections_and_a_page_that_fails(
    sqlite_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> object:
        raise RuntimeError("no numbers")

    async with Client.connect(sqlite_url) as client:
        worker = Worker(client, workflows=[], activities=[touch])
        async with HealthServer([worker], port=0) as server:
            monkeypatch.setattr(client.metrics, "snapshot", fails)
            assert (await asked(server, "/metrics"))[0] == 500
            assert "no numbers" in caplog.text
            idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(AT_ONCE)]
            assert await raw(server.port, b"GET /livez HTTP/1.1\r\n\r\n") == b"", "one too many is closed"
            for _, writer in idle:
                writer.close()
            while (await raw(server.port, b"GET /livez HTTP/1.1\r\n\r\n")) == b"":
                await asyncio.sleep(0.01)


async def test_what_cannot_be_served_is_refused(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client, Client.connect(sqlite_url, metrics=Metrics()) as other:
        workers = [Worker(one, workflows=[], activities=[touch]) for one in (client, other)]
        with pytest.raises(ValueError, match="different Metrics: serve them apart"):
            HealthServer(workers)
        assert not other.metrics.on, "nothing records for a server that was refused"
    with pytest.raises(ValueError, match="needs the workers"):
        HealthServer([])
    with pytest.raises(ValueError, match="between 0 and 65535"):
        HealthServer([object()], port=65536)  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
