"""The subscription of the documentation: who has cancelled is never billed again, whatever comes at the same moment."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker
from durable.history import (
    ActivityTaskScheduled,
    TimerFired,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionSignaled,
)
from tests.replay.test_instance import Rig, done, signal
from tests.scenarios.rig import StoreProxy, chain

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CUSTOMERS = 1000


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import subscription

    monkeypatch.setattr(subscription, "MONTHS", 1)
    monkeypatch.setattr(subscription, "MONTH", 0.02)
    yield subscription
    del sys.modules["subscription"]


@pytest.mark.parametrize("signal_first", [True, False])
def test_a_cancel_that_comes_in_the_task_of_the_last_timeout_wins(example: Any, signal_first: bool) -> None:
    made = Rig(example.subscription, "ada")
    made.start()
    made.tell(done(1, None))
    together = [signal("cancel", "moved"), TimerFired(id=2)]
    (command,) = made.tell(*(together if signal_first else together[::-1]), after=0.02)
    assert isinstance(command, WorkflowExecutionCompleted)


def test_without_one_the_next_year_begins(example: Any) -> None:
    made = Rig(example.subscription, "ada")
    made.start()
    made.tell(done(1, None))
    (command,) = made.tell(TimerFired(id=2), after=0.02)
    assert isinstance(command, WorkflowExecutionContinuedAsNew)


async def test_a_cancel_that_comes_over_the_end_of_the_year_wins_a_thousand_times(
    example: Any, store_url: str
) -> None:
    """Each customer cancels between the task of the last timeout and its commit."""
    async with Client.connect(store_url) as client:
        proxy: Any = StoreProxy(client.store)

        async def commit(real: Any, transitions: Any) -> Any:
            leaving = [one.run_id for one in transitions if one.close and one.close.successor]
            if leaving:
                await known.wait()  # of whom the first may be here before the last has begun
            await asyncio.gather(*(leave(run_id) for run_id in leaving if run_id in ids))
            return await real(transitions)

        async def leave(run_id: str) -> None:
            await client.get_workflow_handle(ids.pop(run_id), run_id=run_id).signal(example.cancel("moved"))

        known = asyncio.Event()
        ids: dict[str, str] = {}
        proxy.hooks["commit"] = commit
        worker = Worker(client, workflows=[example.subscription], activities=[example.charge])
        client.store = proxy
        async with worker:
            handles = await asyncio.gather(
                *(
                    client.start_workflow(example.subscription(f"c-{n}"), id=f"c-{n}")
                    for n in range(CUSTOMERS)
                )
            )
            ids.update((str(handle.first_execution_run_id), handle.id) for handle in handles)
            known.set()
            results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
        assert results == ["moved"] * CUSTOMERS
        late = 0
        for handle in handles:
            runs = await chain(handle)
            events = [e.data for run in runs for e in (await run.fetch_history()).events]
            told = next(i for i, data in enumerate(events) if isinstance(data, WorkflowExecutionSignaled))
            behind = itertools.islice(events, told, None)
            assert not any(isinstance(data, ActivityTaskScheduled) for data in behind), handle.id
            late += len(runs) == 1
        assert late > CUSTOMERS * 0.9, "most of them met the close of the first year"
