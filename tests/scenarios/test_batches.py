"""What a client does to all workflows that a filter finds, and what stays known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, Signal, workflow
from durable.client import BatchProgress, OperatorLogEntry, WorkflowHandle
from durable.common import WorkflowExecutionStatus
from durable.exceptions import (
    FilterError,
    StoreUnavailableError,
    WorkflowFailureError,
    WorkflowNotFoundError,
)
from tests.scenarios.rig import PATIENCE, Env, events, until

poke: Signal[int] = Signal("bat.poke", int)
end: Signal[str] = Signal("bat.end", str)


@workflow.defn(name="bat.counts")
async def counts(name: str) -> list[int]:
    """Counts what it is poked with, until it is ended."""
    got: list[int] = []

    async def note(n: int) -> None:
        got.append(n)

    workflow.set_signal_handler("bat.poke", note)
    await end.receive()
    return got


@workflow.defn(name="bat.other")
async def other() -> str:
    return await end.receive()


@workflow.defn(name="bat.chained")
async def chained(round: int) -> int:
    """Continues as new with every poke."""
    if round == 2:
        await end.receive()
        return round
    await poke.receive()
    workflow.continue_as_new(round + 1)


RUNNING = "WorkflowType = 'bat.counts'"


async def log(client: Client, **which: Any) -> list[OperatorLogEntry]:
    return [entry async for entry in client.operator_log(**which)]


async def started(env: Env, number: int) -> list[WorkflowHandle[Any, Any]]:
    return [await env.start(counts(str(n)), id=f"b-{n}") for n in range(number)]


async def test_a_signal_reaches_each_once_however_often_the_batch_is_asked_for(env: Env) -> None:
    async with env.worker(counts, other):
        handles = await started(env, 25)
        spared = await env.start(other(), id="other")
        dry = await env.client.signal_workflows(RUNNING, poke(7), dry_run=True)
        assert (dry.total, dry.done, dry.finished) == (25, 0, False)
        seen: list[BatchProgress] = []
        for _ in range(2):
            got = await env.client.signal_workflows(
                RUNNING, poke(7), batch_id="once", on_progress=seen.append
            )
            assert (got.batch_id, got.total, got.done, got.skipped, got.failed) == ("once", 25, 25, 0, 0)
            assert got.finished
        assert [one.done for one in seen] == [0, 20, 25]
        assert (await env.client.signal_workflows(RUNNING, "bat.poke", 8)).done == 25
        assert (await env.client.signal_workflows(RUNNING, end, "x", per_second=1000)).done == 25
        assert [await handle.result(timeout=PATIENCE) for handle in handles] == [[7, 8]] * 25
        assert (await env.client.signal_workflows(RUNNING, poke(9))).total == 0, "all are closed"
        await spared.signal(end(""))
        await spared.result(timeout=PATIENCE)


async def test_a_batch_that_was_interrupted_goes_on(env: Env) -> None:
    """Cut off behind each of the calls that it makes to the database, and asked for again."""
    async with env.worker(counts):
        handles = await started(env, 3)
        for cut_at, method in enumerate(("begin_batch", "gather_batch", "send", "settle_batch"), 1):

            async def cut_off(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
                await call(*args, **kwargs)
                raise asyncio.CancelledError

            env.store.hooks[method] = cut_off
            with pytest.raises(asyncio.CancelledError):
                await env.client.signal_workflows(RUNNING, poke(cut_at), batch_id=method)
            del env.store.hooks[method]
            got = await env.client.signal_workflows(RUNNING, poke(cut_at), batch_id=method)
            assert (got.total, got.done, got.skipped) == (3, 3, 0)
        await env.client.signal_workflows(RUNNING, end(""))
        assert [await handle.result(timeout=PATIENCE) for handle in handles] == [[1, 2, 3, 4]] * 3


async def test_a_chain_is_followed_and_signalled_once(env: Env) -> None:
    async with env.worker(chained):
        handle = await env.start(chained(0), id="c")
        await until("it waits", lambda: _length(handle, 1))

        async def go_on(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            """It goes on as another run between the list and its turn."""
            answer = await call(*args, **kwargs)
            if answer and not moved:
                moved.append(True)
                await handle.signal(poke(1))
                await until("it went on", lambda: _differs(env, handle))
            return answer

        moved: list[bool] = []
        env.store.hooks["pending_batch_runs"] = go_on
        got = await env.client.signal_workflows("WorkflowType = 'bat.chained'", poke(2), batch_id="x")
        assert (got.total, got.done) == (1, 1)
        env.store.hooks.clear()
        await env.client.signal_workflows("WorkflowType = 'bat.chained'", end(""))
        assert await handle.result(timeout=PATIENCE) == 2


async def _length(handle: WorkflowHandle[Any, Any], least: int) -> bool:
    return len(await events(handle)) >= least


async def _differs(env: Env, handle: WorkflowHandle[Any, Any]) -> bool:
    return (
        await env.client.get_workflow_handle(handle.id).describe()
    ).run_id != handle.first_execution_run_id


async def test_a_chain_that_took_the_signal_before_the_crash_takes_no_other(env: Env) -> None:
    async with env.worker(chained):
        handle = await env.start(chained(0), id="c")

        async def cut_off(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            raise asyncio.CancelledError

        env.store.hooks["settle_batch"] = cut_off
        with pytest.raises(asyncio.CancelledError):
            await env.client.signal_workflows("WorkflowType = 'bat.chained'", poke(2), batch_id="x")
        env.store.hooks.clear()
        await until("it went on", lambda: _differs(env, handle))
        got = await env.client.signal_workflows("WorkflowType = 'bat.chained'", poke(2), batch_id="x")
        assert (got.total, got.done, got.skipped) == (1, 1, 0)
        newest = env.client.get_workflow_handle("c")
        assert await events(newest) == ["Started"]
        assert await env.store.read_messages([(await newest.describe()).run_id]) == []
        await newest.signal(poke(3))
        await newest.signal(end(""))
        assert await handle.result(timeout=PATIENCE) == 2


async def test_cancel_and_terminate(plain: Env) -> None:
    async with plain.worker(counts):
        handles = await started(plain, 4)
        got = await plain.client.cancel_workflows(
            "WorkflowId IN ('b-0', 'b-1')", reason="recall", batch_id="c"
        )
        again = await plain.client.cancel_workflows(
            "WorkflowId IN ('b-0', 'b-1')", reason="recall", batch_id="c"
        )
        assert got == again
        assert (got.total, got.done) == (2, 2)
        got = await plain.client.terminate_workflows(
            "WorkflowType = 'bat.counts' AND WorkflowId NOT IN ('b-0', 'b-1')", "detail", reason="enough"
        )
        assert (got.total, got.done) == (2, 2)
        for handle in handles:
            with pytest.raises(WorkflowFailureError):
                await handle.result(timeout=PATIENCE)
        statuses = [(await handle.describe()).status for handle in handles]
        assert statuses == [WorkflowExecutionStatus.CANCELED] * 2 + [WorkflowExecutionStatus.TERMINATED] * 2
        assert (await events(handles[0])).count("CancelRequested") == 1
        last = (await handles[3].fetch_history()).events[-1].data
        assert (last.reason, last.identity) == ("enough", plain.client.identity)  # type: ignore[attr-defined]
        *deeds, whole = await log(plain.client, batch_id=got.batch_id)
        assert {(one.operation, one.workflow_id, one.reason) for one in deeds} == {
            ("terminate", "b-2", "enough"),
            ("terminate", "b-3", "enough"),
        }
        assert (whole.operation, whole.workflow_id, whole.run_id) == ("terminate_workflows", "", "")
        assert whole.detail.startswith("WorkflowType = ")


async def test_pause_unpause_and_what_there_was_nothing_to_do_with(plain: Env) -> None:
    async with plain.worker(counts):
        handles = await started(plain, 3)
        await handles[0].pause("before")
        got = await plain.client.pause_workflows(RUNNING, reason="a look")
        assert (got.total, got.done, got.skipped) == (3, 2, 1)
        assert (await plain.client.count_workflows("Hold = 'paused'")).count == 3
        got = await plain.client.unpause_workflows(RUNNING, reason="seen")
        assert (got.total, got.done) == (3, 3)
        assert (await plain.client.unpause_workflows(RUNNING)).skipped == 3
        assert (await plain.client.unblock_workflows(RUNNING)).skipped == 3
        assert [(one.operation, one.reason) for one in await log(plain.client, workflow_id="b-1")] == [
            ("unpause", "seen"),
            ("pause", "a look"),
        ]
        assert [one.reason for one in await log(plain.client, workflow_id="b-0")] == ["seen", "before"]
        await plain.client.signal_workflows(RUNNING, end(""))
        for handle in handles:
            assert await handle.result(timeout=PATIENCE) == []


@pytest.mark.owner
async def test_reset_and_delete(plain: Env) -> None:
    async with plain.worker(counts):
        handles = await started(plain, 3)
        await plain.client.signal_workflows(RUNNING, poke(1))
        await handles[0].signal(end(""))
        assert await handles[0].result(timeout=PATIENCE) == [1]
        for _ in range(2):
            got = await plain.client.reset_workflows(RUNNING, to="first_task", reason="again", batch_id="r")
            assert (got.total, got.done, got.failed) == (3, 3, 0)
        assert (await plain.client.count_workflows(RUNNING)).count == 6
        assert [
            (one.operation, one.detail, one.batch_id) for one in await log(plain.client, workflow_id="b-1")
        ] == [("reset", "first_task", "r")]
        await plain.client.signal_workflows(RUNNING, end(""))
        newest = [plain.client.get_workflow_handle(f"b-{n}") for n in range(3)]
        assert [await handle.result(timeout=PATIENCE) for handle in newest] == [[1]] * 3
        plain.handles.clear()
        got = await plain.client.delete_workflows(RUNNING, reason="old")
        assert (got.total, got.done) == (6, 6)
        assert (await plain.client.count_workflows(RUNNING)).count == 0
        assert len(await log(plain.client, batch_id=got.batch_id)) == 7
        with pytest.raises(WorkflowNotFoundError):
            await newest[0].describe()


async def test_one_that_closes_before_its_turn_is_skipped(plain: Env) -> None:
    async with plain.worker(counts):
        handles = await started(plain, 3)

        async def close_one(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            answer = await call(*args, **kwargs)
            if answer:
                await handles[1].terminate(reason="by somebody else")
            return answer

        plain.store.hooks["pending_batch_runs"] = close_one
        got = await plain.client.terminate_workflows(RUNNING)
        assert (got.total, got.done, got.skipped, got.failed) == (3, 2, 1, 0)
        assert [one.reason for one in await log(plain.client, workflow_id="b-1")] == ["by somebody else"]


async def test_what_cannot_be_done_is_told_and_does_not_stop_the_rest(plain: Env) -> None:
    async with plain.worker(counts):
        await started(plain, 12)

        async def fail(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            if args[0] != first:
                raise ValueError(f"no reset of {args[0]}")
            return await call(*args, **kwargs)

        first = (await plain.client.get_workflow_handle("b-0").describe()).run_id
        plain.store.hooks["reset"] = fail
        got = await plain.client.reset_workflows(RUNNING, to="first_task", batch_id="f")
        assert (got.total, got.done, got.failed, len(got.errors)) == (12, 1, 11, 10)
        assert got.errors[0].id.startswith("b-")
        assert got.errors[0].message == f"no reset of {got.errors[0].run_id}"
        plain.store.hooks.clear()
        assert await plain.client.reset_workflows(RUNNING, to="first_task", batch_id="f") == got
        await plain.client.terminate_workflows(RUNNING)


async def test_a_database_that_is_away_ends_it_and_it_goes_on(
    plain: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plain.worker(counts):
        await started(plain, 3)

        async def away(call: Callable[..., Awaitable[Any]], run_id: str, *args: Any, **kwargs: Any) -> Any:
            if run_id == missing:
                raise StoreUnavailableError("away")
            return await call(run_id, *args, **kwargs)

        monkeypatch.setattr("durable.client._patience.PATIENCE", 0.05)
        missing = (await plain.client.get_workflow_handle("b-1").describe()).run_id
        plain.store.hooks["terminate"] = away
        with pytest.raises(StoreUnavailableError):
            await plain.client.terminate_workflows(RUNNING, batch_id="t")
        row = await plain.store.read_batch("t")
        assert (row.done, row.pending) == (2, 1)
        plain.store.hooks.clear()
        got = await plain.client.terminate_workflows(RUNNING, batch_id="t")
        assert (got.total, got.done, got.skipped) == (3, 3, 0)


@pytest.mark.owner
async def test_what_was_done_before_the_crash_counts_as_done(plain: Env) -> None:
    async with plain.worker(counts):
        await started(plain, 3)

        async def cut_off(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            raise asyncio.CancelledError

        for name, ask in (
            ("p", plain.client.pause_workflows),
            ("u", plain.client.unpause_workflows),
            ("t", plain.client.terminate_workflows),
            ("d", plain.client.delete_workflows),
        ):
            plain.store.hooks["settle_batch"] = cut_off
            with pytest.raises(asyncio.CancelledError):
                await ask(RUNNING, batch_id=name)
            plain.store.hooks.clear()
            got = await ask(RUNNING, batch_id=name)
            assert (got.total, got.done, got.skipped) == (3, 3, 0), name
        plain.handles.clear()


async def test_two_at_once_do_it_once(plain: Env, store_url: str) -> None:
    async with plain.worker(counts):
        handles = await started(plain, 30)
        async with Client.connect(store_url) as second:
            got = await asyncio.gather(
                plain.client.signal_workflows(RUNNING, poke(1), batch_id="both"),
                second.signal_workflows(RUNNING, poke(1), batch_id="both"),
            )
        assert [(one.total, one.done) for one in got] == [(30, 30)] * 2
        await plain.client.signal_workflows(RUNNING, end(""))
        assert [await handle.result(timeout=PATIENCE) for handle in handles] == [[1]] * 30


async def test_no_more_in_a_second_than_was_said(plain: Env) -> None:
    async with plain.worker(counts):
        await started(plain, 6)
        began = asyncio.get_running_loop().time()
        assert (await plain.client.terminate_workflows(RUNNING, per_second=20)).done == 6
        assert asyncio.get_running_loop().time() - began >= 5 / 20


async def test_wrong_batches_are_refused(plain: Env) -> None:
    ask: Any = plain.client.cancel_workflows
    for query in ("", "  "):
        with pytest.raises(ValueError, match="say which workflows"):
            await ask(query)
    with pytest.raises(FilterError, match="Wrong"):
        await ask("Wrong = 1")
    with pytest.raises(FilterError, match="leave ORDER BY out"):
        await ask("WorkflowId = 'a' ORDER BY StartTime")
    with pytest.raises(FilterError, match="GROUP BY"):
        await ask("WorkflowId = 'a' GROUP BY ExecutionStatus")
    for rate in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="per_second must be at least 0"):
            await ask("WorkflowId = 'a'", per_second=rate)
    with pytest.raises(TypeError, match="there are batch_id, dry_run"):
        await ask("WorkflowId = 'a'", rps=5)
    assert await log(plain.client) == []
    await ask("WorkflowId = 'a'", batch_id="one")
    with pytest.raises(ValueError, match="another batch's"):
        await ask("WorkflowId = 'b'", batch_id="one")
    with pytest.raises(ValueError, match="another batch's"):
        await plain.client.terminate_workflows("WorkflowId = 'a'", batch_id="one")
    reset: Any = plain.client.reset_workflows
    with pytest.raises(ValueError, match="to must be one of"):
        await reset("WorkflowId = 'a'", to="event")
    with pytest.raises(TypeError, match="expected a SignalCall"):
        await plain.client.signal_workflows("WorkflowId = 'a'", timedelta(1))  # type: ignore[call-overload]


@pytest.mark.owner
async def test_what_is_old_is_forgotten(plain: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """By any worker, now and then; the runs themselves are untouched."""
    handle = await plain.start(counts("old"), id="old")
    done = await plain.client.terminate_workflows("WorkflowId = 'old'", batch_id="b", reason="over")
    assert (done.done, len(await log(plain.client, batch_id="b"))) == (1, 2)
    monkeypatch.setattr("durable.worker._housekeeping.SWEEP_CHANCE", 1.0)
    async with plain.worker(counts, lease_duration=0.5) as worker:
        assert worker.is_running
        monkeypatch.setattr("durable.worker._housekeeping.LOG_KEPT", 0)
        await until("the log is empty", lambda: _is_empty(plain))
        await until("so are the batches", lambda: _is_forgotten(plain))
    assert await events(handle) == ["Started", "Terminated"]


async def _is_empty(env: Env) -> bool:
    return await log(env.client) == []


async def _is_forgotten(env: Env) -> bool:
    return await env.store.read_batch("b") is None
