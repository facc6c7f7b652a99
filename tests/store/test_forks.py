"""F8 of the faults: a process is forked while it has a client, as a server that forks for each request does."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Awaitable, Callable

from durable import Client, Worker, workflow


@workflow.defn(name="forks.one")
async def one() -> int:
    return 1


def in_fork(use: Callable[[], Awaitable[str]]) -> str:
    """What `use` tells in a child that this process is forked into; how it raises is told as well."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # that it has threads, which is what this is about
        pid = os.fork()
    if pid == 0:
        try:
            asyncio._set_running_loop(None)
            try:
                told = asyncio.run(asyncio.wait_for(use(), 60))
            except BaseException as error:
                told = f"{type(error).__name__}: {error}"
            os.write(writing, told.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return told


async def test_f8_a_forked_child_is_told_to_connect_again_and_its_parent_goes_on(store_url: str) -> None:
    async def its_parents() -> str:
        return str(await client.start_workflow(one(), id="child"))

    async def its_own() -> str:
        async with Client.connect(store_url) as mine:
            return (await mine.start_workflow(one(), id="own")).id

    async with Client.connect(store_url) as client, Worker(client, workflows=[one], activities=[]):
        assert await client.execute_workflow(one(), id="before") == 1
        for _ in range(3):
            told = in_fork(its_parents)
            assert told.startswith("StoreError: this was connected before the process was forked"), told
        assert in_fork(its_own) == "own"
        assert await client.get_workflow_handle("own").result(timeout=60) == 1
        assert await client.execute_workflow(one(), id="behind") == 1
