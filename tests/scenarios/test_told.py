"""What a run waits for, and what to do: told by its description, and to whoever has waited for it in vain."""

from __future__ import annotations

from typing import Any

import pytest

from durable import RetryPolicy, workflow
from durable.client import WorkflowUpdateStage
from durable.common import Concurrency, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.exceptions import (
    FilterError,
    WorkflowNotFoundError,
    WorkflowQueryTimeoutError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from durable.exceptions import (
    TimeoutError as WorkflowTimeoutError,
)
from durable.worker import _held_runs
from tests.scenarios.rig import PATIENCE, Env, held, until


@workflow.defn(name="told.faulty")
class Faulty:
    @workflow.run
    async def run(self) -> None:
        raise KeyError("a bug")

    @workflow.update
    async def change(self) -> None: ...

    @workflow.query
    def state(self) -> str:
        return "on"


@workflow.defn(name="told.waits")
async def waits() -> None:
    await workflow.wait_condition(lambda: False)


BLOCKED = r"it is blocked: KeyError: 'a bug' .*; it is tried again at .*, or at once with handle\.unblock\(\)"


async def test_whoever_waits_in_vain_is_told_that_the_run_is_blocked(
    plain: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody asks in the middle of a second try.
    monkeypatch.setattr(_held_runs, "BLOCKED_FIRST", _held_runs.BLOCKED_LONGEST)
    async with plain.worker(Faulty):
        handle = await plain.start(Faulty.run())
        await held(handle)
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError, match=BLOCKED):
            await handle.execute_update(Faulty.change(), rpc_timeout=0.1)
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError, match=BLOCKED):
            await handle.start_update(
                Faulty.change(), wait_for_stage=WorkflowUpdateStage.ACCEPTED, rpc_timeout=0.1
            )
        with pytest.raises(WorkflowQueryTimeoutError, match=f"it has not read 2 messages .*; {BLOCKED}"):
            await handle.query(Faulty.state(), rpc_timeout=0.1)
        with pytest.raises(TimeoutError, match=f"was still open after 0.1 s; {BLOCKED}"):
            await handle.result(timeout=0.1)
        await handle.terminate()


async def test_each_state_says_on_what_it_waits_and_what_to_do(plain: Env) -> None:
    async def reason(handle: Any) -> str:
        found: str = (await handle.describe()).reason
        return found

    one = Concurrency("told", 1)
    async with plain.worker(waits):
        handle = await plain.start(waits(), concurrency=one)

        async def runs() -> bool:
            return (await handle.describe()).owner is not None

        await until("it runs", runs)
        await handle.pause()
        assert await reason(handle) == "an operator has paused it, until handle.unpause()"
        late = await plain.start(waits(), start_delay=3600)
        assert (await reason(late)).startswith("it begins at 2")
        waiting = await plain.start(waits(), concurrency=one)
        assert "1 of 1 run; client.set_concurrency_limit('told', ..., kind='workflow')" in await reason(
            waiting
        )
        for run in (handle, late, waiting):
            await run.terminate()
            assert not await reason(run)


async def test_a_run_that_is_not_there_is_told_from_a_workflow_that_is_not(plain: Env) -> None:
    handle = await plain.start(waits())
    other = plain.client.get_workflow_handle(handle.id, run_id="00000000-0000-7000-8000-000000000000")
    for ask in (
        other.describe,
        other.cancel,
        other.terminate,
        other.result,
        other.fetch_history,
        other.pause,
    ):
        with pytest.raises(WorkflowNotFoundError, match=r"it has no run '00000000-.*; check the run id"):
            await ask()
    with pytest.raises(WorkflowNotFoundError, match="there is no such workflow"):
        await plain.client.get_workflow_handle("nobody", run_id=handle.result_run_id).describe()
    await handle.terminate()


async def test_there_is_no_order_by_words(plain: Env) -> None:
    words = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_text("ToldText"), "two words")])
    handle = await plain.start(waits(), search_attributes=words)
    with pytest.raises(
        FilterError, match=r"no order by ToldText \(Text\): .* sort by an attribute of type Keyword"
    ):
        _ = [one async for one in plain.client.list_workflows("ORDER BY ToldText")]
    await handle.terminate()


@workflow.defn(name="told.last_failure")
async def last_failure() -> str:
    failure = workflow.get_last_failure()
    if failure is None:
        await workflow.wait_condition(lambda: False)
    assert isinstance(failure, WorkflowTimeoutError)
    return failure.message


async def test_a_timeout_says_which_to_the_run_behind_it(plain: Env) -> None:
    async with plain.worker(last_failure):
        # The run behind it has the same limit; if the machine lets that pass too, there is another one behind it.
        again = RetryPolicy(initial_interval=0.01, maximum_attempts=100)
        handle = await plain.start(last_failure(), run_timeout=0.3, retry_policy=again)
        assert await handle.result(timeout=PATIENCE) == "workflow timed out: its run_timeout of 0.3 s is over"
