"""`ActivityEnvironment`: one activity by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from durable import activity
from durable.activity import ActivityCancellationDetails
from durable.exceptions import CancelledError, NotInActivityError
from durable.testing import ActivityEnvironment


@activity.defn(name="testing.beats")
async def beats(count: int) -> str:
    about = activity.info()
    for number in range(count):
        activity.heartbeat(number, about.attempt)
    return f"{about.activity_type} {about.attempt} {list(about.heartbeat_details)}"


@activity.defn(name="testing.waits_for_cancel")
async def waits_for_cancel() -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        assert details is not None
        assert activity.is_cancelled()
        return f"cancelled {details.cancel_requested} {details.paused}"
    return "never"


@activity.defn(name="testing.spins")
def spins(started: threading.Event) -> str:
    started.set()
    while True:
        pass


@activity.defn(name="testing.looks", no_thread_cancel_exception=True)
def looks(started: threading.Event) -> str:
    started.set()
    activity.wait_for_cancelled_sync(60)
    return f"looked {activity.is_cancelled()} {activity.is_worker_shutdown()}"


class Shop:
    @activity.method(name="testing.sell")
    async def sell(self, what: str) -> str:
        return f"sold {what}"


async def test_facts_and_heartbeats() -> None:
    env = ActivityEnvironment()
    told: list[Sequence[Any]] = []
    env.on_heartbeat = lambda *details: told.append(details)
    assert await env.run(beats, 2) == "testing.beats 1 []"
    assert told == [(0, 1), (1, 1)]
    env.info = replace(env.info, attempt=3, heartbeat_details=["page 7"], activity_type="mine")
    assert await env.run(beats, count=0) == "mine 3 ['page 7']"


async def test_cancelling() -> None:
    env = ActivityEnvironment()
    running = asyncio.ensure_future(env.run(waits_for_cancel))
    for _ in range(3):
        await asyncio.sleep(0)
    await asyncio.to_thread(env.cancel)
    assert await running == "cancelled True False"
    later = ActivityEnvironment()
    later.cancel(ActivityCancellationDetails(paused=True))
    with pytest.raises(asyncio.CancelledError):  # before its first line, as in a worker
        await later.run(waits_for_cancel)


async def test_threads() -> None:
    env, started = ActivityEnvironment(), threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(env.run, spins, started))
    await asyncio.to_thread(started.wait)
    env.cancel()
    with pytest.raises(CancelledError):
        await running
    env, started = ActivityEnvironment(), threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(env.run, looks, started))
    await asyncio.to_thread(started.wait)
    env.worker_shutdown()
    env.cancel()
    assert await running == "looked True True"


async def test_the_end_of_a_worker() -> None:
    env = ActivityEnvironment()

    async def works() -> bool:
        await activity.wait_for_worker_shutdown()
        return activity.is_worker_shutdown()

    running = asyncio.ensure_future(env.run(works))
    await asyncio.sleep(0)
    env.worker_shutdown()
    assert await running


async def test_whatever_can_be_called() -> None:
    env = ActivityEnvironment()
    assert await env.run(Shop().sell, "a book") == "sold a book"
    assert env.run(lambda number: (number, activity.info().activity_id), 1) == (1, "test")
    with pytest.raises(TypeError, match="count"):
        await env.run(beats)  # type: ignore[call-arg]
    with pytest.raises(NotInActivityError):
        activity.info()


async def test_the_client() -> None:
    marker: Any = object()

    async def asks() -> object:
        return activity.client()

    assert await ActivityEnvironment(client=marker).run(asks) is marker
    with pytest.raises(RuntimeError, match=r"ActivityEnvironment\(client=...\)"):
        await ActivityEnvironment().run(asks)
