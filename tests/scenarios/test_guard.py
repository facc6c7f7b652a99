"""What a worker does about workflow code that calls what no replay sees again."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time

import pytest

from durable import Worker, activity, workflow
from durable.testing import WorkflowEnvironment
from tests.scenarios.rig import PATIENCE, Env, events, held


@activity.defn(name="guard_reads")
async def reads(name: str) -> str:
    return f"{name} {time.time() > 0} {random.random() < 1}"


@activity.defn(name="guard_reads_in_a_thread")
def reads_in_a_thread(name: str) -> str:
    thread = threading.Thread(target=time.time)
    thread.start()
    thread.join()
    return f"{name} {time.time() > 0} {random.random() < 1}"


def helper() -> float:
    return time.time()


@workflow.defn(name="guard_looks")
async def looks() -> str:
    one = await reads("a")
    if helper() > 0:
        one += await reads_in_a_thread(" and b")
    return one


async def test_an_error_blocks_the_run_until_its_code_is_mended(env: Env) -> None:
    async with env.worker(looks, reads, reads_in_a_thread, guard="error"):
        handle = await env.start(looks())
        assert "time.time() in workflow code" in await held(handle)
    async with env.worker(looks, reads, reads_in_a_thread, guard="off"):
        assert await handle.result(timeout=PATIENCE) == "a True True and b True True"


async def test_by_default_it_is_told_and_nothing_changes(env: Env, caplog: pytest.LogCaptureFixture) -> None:
    async with env.worker(looks, reads, reads_in_a_thread):
        handles = [await env.start(looks()) for _ in range(3)]
        for handle in handles:
            assert await handle.result(timeout=PATIENCE) == "a True True and b True True"
    told = [one for one in caplog.records if "time.time() in workflow code" in one.getMessage()]
    assert len(told) == 1, "once for each line"
    assert f"{__file__}:" in told[0].getMessage()
    assert "in helper" in told[0].getMessage()
    assert told[0].levelno == logging.WARNING
    assert (await events(handles[0]))[-1] == "Completed"


async def test_other_code_of_the_process_goes_on_as_ever(env: Env) -> None:
    """A client, tasks of the loop and activities beside a worker that raises."""

    @workflow.defn(name="guard_calm")
    async def calm() -> str:
        return await reads("a") + await reads_in_a_thread(" and b")

    stamps: list[float] = []

    async def beside() -> None:
        while True:
            stamps.append(time.time() + random.random())
            await asyncio.sleep(0)

    task = asyncio.create_task(beside())
    async with env.worker(calm, reads, reads_in_a_thread, guard="error"):
        assert await env.run(calm()) == "a True True and b True True"
    task.cancel()
    assert stamps


async def test_workers_of_a_test_environment_raise() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, workflows=[looks], activities=[reads, reads_in_a_thread]),
    ):
        with pytest.raises(Exception, match=r"time.time\(\) in workflow code"):
            await env.client.execute_workflow(looks(), id="w")
    async with (
        await WorkflowEnvironment.start_time_skipping(guard="off") as env,
        Worker(env.client, workflows=[looks], activities=[reads, reads_in_a_thread]),
    ):
        assert await env.client.execute_workflow(looks(), id="w")


async def test_a_mode_that_is_none(plain: Env) -> None:
    with pytest.raises(ValueError, match="guard is 'off', 'warn' or 'error', not True"):
        Worker(plain.client, workflows=[looks], activities=[], guard=True)  # type: ignore[arg-type]
