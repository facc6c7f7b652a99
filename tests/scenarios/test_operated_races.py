"""Operators, attempts, cancels and worker restarts at the same time: one legal end, and nothing left behind."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from durable import ApplicationError, RetryPolicy, activity, workflow
from durable.client import ActivityFailureError, ActivityHandle, WorkflowHandle
from durable.exceptions import ActivityNotFoundError, WorkflowFailureError, WorkflowNotFoundError
from tests.scenarios.rig import PATIENCE, Env, events

ROUNDS = 12
"""Runs of each kind, each under a plan of its own."""


@activity.defn(
    name="scn.shaky",
    heartbeat_timeout=0.05,
    retry_policy=RetryPolicy(initial_interval=0.005, backoff_coefficient=1.0),
)
async def shaky(seed: int) -> int:
    """Heartbeats, and fails now and then; each attempt differs, and what is told to stop stops."""
    chance = random.Random(f"{seed} {activity.info().attempt} {activity.info().started_time}")
    for _ in range(chance.randrange(6)):
        activity.heartbeat(seed)
        await asyncio.sleep(0.002)
    if chance.random() < 0.6:
        raise ApplicationError("shaky")
    return seed


@workflow.defn(name="scn.shaky_workflow")
async def shaky_workflow(seed: int, eager: bool) -> int:
    return await workflow.execute_activity(shaky, seed, activity_id="a", eager=eager)


async def disturb(handle: Any, chance: random.Random) -> None:
    """Do a few things that operators do, in an order of this plan's own."""
    alone = isinstance(handle, ActivityHandle)
    name = {"id": "a"} if not alone else {}
    for _ in range(chance.randrange(2, 7)):
        await asyncio.sleep(chance.random() * 0.01)
        what = chance.choice(("pause", "unpause", "reset", "update"))
        options: dict[str, Any] = {}
        if what == "unpause":
            options = {"reset_attempts": chance.random() < 0.5, "reset_heartbeats": chance.random() < 0.5}
        elif what == "reset":
            options = {"keep_paused": chance.random() < 0.5, "reset_heartbeats": chance.random() < 0.5}
        elif what == "update":
            options = {
                "retry_policy": RetryPolicy(
                    initial_interval=0.003 + chance.random() / 500, backoff_coefficient=1.0
                )
            }
        verb = f"{what}_options" if what == "update" and alone else what
        if not alone:
            verb = "update_activity_options" if what == "update" else f"{what}_activity"
        try:
            await getattr(handle, verb)(**name, **options)
        except (ActivityNotFoundError, WorkflowNotFoundError):
            return
    try:
        await (handle.unpause() if alone else handle.unpause_activity(id="a"))
    except (ActivityNotFoundError, WorkflowNotFoundError):
        pass


async def ended(handle: Any, seed: int) -> str:
    try:
        assert await handle.result(timeout=PATIENCE) == seed
    except (WorkflowFailureError, ActivityFailureError):
        return "Canceled"
    return "Completed"


@pytest.mark.parametrize("kind", ["eager", "queued", "alone"])
async def test_any_order_of_operations_has_one_legal_end(plain: Env, kind: str) -> None:
    handles: list[tuple[Any, int]] = []
    for seed in range(ROUNDS):
        if kind == "alone":
            handles.append((await plain.client.start_activity(shaky, seed, id=f"a{seed}"), seed))
        else:
            handles.append((await plain.start(shaky_workflow(seed, kind == "eager"), id=f"w{seed}"), seed))
    disturbing = [
        asyncio.create_task(disturb(handle, random.Random(f"{kind} {seed}"))) for handle, seed in handles
    ]
    canceled = [handle for handle, seed in handles if seed % 4 == 0]
    # Two workers, one of which leaves and is replaced while all of that goes on.
    async with plain.worker(shaky_workflow, shaky):
        async with plain.worker(shaky_workflow, shaky, identity="leaves"):
            await asyncio.sleep(0.02)
            for handle in canceled:
                try:
                    await handle.cancel()
                except (ActivityNotFoundError, WorkflowNotFoundError):
                    pass
        async with plain.worker(shaky_workflow, shaky, identity="comes"):
            await asyncio.gather(*disturbing)
            for handle, seed in handles:
                end = await ended(handle, seed)
                assert end == "Completed" or handle in canceled
                if isinstance(handle, WorkflowHandle):
                    assert (await events(handle))[-1] == end
                rows = await plain.client.store.read_activities(handle.run_id or handle.result_run_id)
                assert rows == []
