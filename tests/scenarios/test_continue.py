"""Continuing as new: what goes on, who follows, and that no message is lost between two runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from durable import Signal, activity, workflow
from durable.client import WorkflowHandle
from durable.exceptions import (
    ApplicationError,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowNotFoundError,
)
from tests.scenarios.rig import PATIENCE, Env, chain, event, events, reached, until

word = Signal("cont.word", str)
other = Signal("cont.else", str)
leave: Signal[None] = Signal[None]("cont.leave")


@activity.defn(name="cont.note")
async def note(text: str) -> str:
    return text


@workflow.defn(name="cont.same")
async def same(left: int, ids: list[str]) -> list[str]:
    info = workflow.info()
    assert info.continued_run_id == (ids[-1] if ids else None)
    ids = [*ids, info.run_id]
    await note(str(left))
    if left:
        workflow.continue_as_new(left - 1, ids)
    assert info.first_execution_run_id == ids[0]
    return ids


@pytest.mark.temporal("continue_as_new/continue_as_same")
@pytest.mark.temporal("workflow/continue_as_new")
async def test_a_workflow_goes_on_as_another_run_of_itself(env: Env) -> None:
    async with env.worker(same, note):
        handle = await env.start(same(3, []), memo={"for": "all"}, static_summary="short")
        ids = await handle.result(timeout=PATIENCE)
    runs = await chain(handle)
    assert ids == [run.run_id for run in runs]
    assert len(set(ids)) == 4
    for run in runs[:-1]:
        assert await events(run) == ["Started", "ActivityScheduled", "ActivityCompleted", "ContinuedAsNew"]
        told = await run.describe()
        assert (told.status.name, await told.memo(), await told.static_summary()) == (
            "CONTINUED_AS_NEW",
            {"for": "all"},
            "short",
        )
    assert await events(runs[-1]) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    seeds = [(await event(run, "Started")).seed for run in runs]
    assert len(set(seeds)) == 4
    # The handle of the start is about the chain.
    assert (await handle.describe()).run_id == ids[-1]


@workflow.defn(name="cont.turns")
async def turns(how: str) -> str:
    if how == "other":
        workflow.continue_as_new(same(0, [workflow.info().run_id]))
    if how == "named":
        workflow.continue_as_new(args=[0, [workflow.info().run_id]], workflow="cont.same")
    if how == "late":
        workflow.continue_as_new("done", backoff_start_interval=0.3, run_timeout=60, memo={"new": 1})
    if how == "fails":
        workflow.continue_as_new("boom")
    if how == "boom":
        raise ApplicationError("boom")
    return how


async def test_it_may_go_on_as_another_workflow_and_fail_there(env: Env) -> None:
    async with env.worker(turns, same, note):
        handle = await env.start(turns("other"))
        assert len(await env.client.get_workflow_handle(handle.id).result(timeout=PATIENCE)) == 2
        named = await env.start(turns("named"))
        assert len(await env.client.get_workflow_handle(named.id).result(timeout=PATIENCE)) == 2
        with pytest.raises(WorkflowFailureError) as failed:
            await (await env.start(turns("fails"))).result(timeout=PATIENCE)
    assert str(failed.value.cause) == "boom"


async def test_the_next_run_may_wait(env: Env) -> None:
    async with env.worker(turns):
        handle = await env.start(turns("late"))
        assert await handle.result(timeout=PATIENCE) == "done"
    first, last = [(await run.fetch_history()).events for run in await chain(handle)]
    assert last[0].data.delay == 300_000  # type: ignore[attr-defined]
    assert last[-1].time >= first[-1].time + 300_000
    told = await handle.describe()
    assert await told.memo() == {"new": 1}


@pytest.mark.temporal("client_api/result_follow")
async def test_who_does_not_follow_is_told_where_it_goes_on(env: Env) -> None:
    async with env.worker(same, note):
        handle = await env.start(same(1, []))
        ids = await handle.result(timeout=PATIENCE)
        with pytest.raises(WorkflowContinuedAsNewError) as told:
            await handle.result(follow_runs=False)
        assert told.value.new_execution_run_id == ids[1]
        last = env.client.get_workflow_handle(handle.id, run_id=ids[1])
        assert await last.result(follow_runs=False) == ids
        assert await env.client.get_workflow_handle(handle.id, run_id=ids[0]).result() == ids
    assert (await events(last))[-1] == "Completed"
    first = env.client.get_workflow_handle(handle.id, run_id=ids[0])
    assert (await event(first, "ContinuedAsNew")).new_run_id == ids[1]


async def test_a_client_elsewhere_follows_too(plain: Env, store_url: str) -> None:
    from durable import Client

    async with plain.worker(same, note), Client.connect(store_url) as elsewhere:
        handle = await plain.start(same(5, []))
        again = elsewhere.get_workflow_handle(handle.id)
        assert await again.result(timeout=PATIENCE) == await handle.result(timeout=PATIENCE)


# ---------------------------------------------------------------- signals


@workflow.defn(name="cont.collects")
async def collects(seen: list[str], runs: int) -> list[str]:
    async with asyncio.timeout(60):
        while len(seen) < 6:
            seen.append(await word.receive())
            if len(seen) % 2 == 0:
                workflow.continue_as_new(seen, runs + 1)
    return [*seen, str(runs)]


async def test_signals_reach_whichever_run_is_open_in_order(env: Env) -> None:
    async with env.worker(collects):
        handle = await env.start(collects([], 0))
        for text in "abcdef":
            await handle.signal(word(text))
        assert await handle.result(timeout=PATIENCE) == [*"abcdef", "3"]


async def test_signals_that_were_delivered_and_not_taken_go_on(env: Env) -> None:
    """All six are in the history of the first run, which takes two."""
    handle = await env.start(collects([], 0))
    for text in "abcdef":
        await handle.signal(word(text))
    async with env.worker(collects):
        assert await handle.result(timeout=PATIENCE) == [*"abcdef", "3"]
    signals = [(await events(run)).count("Signaled") for run in await chain(handle)]
    assert signals == [6, 4, 2, 0]


@workflow.defn(name="cont.loses")
async def loses() -> str:
    await leave.receive()
    return "gone"


async def test_completing_over_signals_that_nobody_took_is_told(
    env: Env, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "durable"):
        handle = await env.start(loses())
        await handle.signal(word("a"))
        await handle.signal(word("b"))
        await handle.signal(other("c"))
        await handle.signal(leave())
        async with env.worker(loses):
            assert await handle.result(timeout=PATIENCE) == "gone"
    told = [one.getMessage() for one in caplog.records if "nobody had received" in one.getMessage()]
    assert len(told) == 1
    assert handle.id in told[0]
    assert "cont.word (2)" in told[0]
    assert "cont.else (1)" in told[0]


@workflow.defn(name="cont.once")
async def once(n: int) -> str:
    if n:
        return await word.receive()
    await leave.receive()
    workflow.continue_as_new(n + 1)


@pytest.mark.temporal("continue_as_new/signals_block_continue_as_new")
async def test_a_signal_that_comes_over_the_close_makes_the_task_run_again(env: Env) -> None:
    """The first close is refused; the signal is in the first run's history and, since nobody takes it, moves on."""
    store = env.store
    refused = 0

    async def commit(real: Any, transitions: Any) -> Any:
        nonlocal refused
        if not refused and any(one.close is not None for one in transitions):
            refused += 1
            await handle.signal(word("just in time"))
        return await real(transitions)

    async with env.worker(once):
        handle = await env.start(once(0))
        store.hooks["commit"] = commit
        await handle.signal(leave())
        assert await handle.result(timeout=PATIENCE) == "just in time"
    first, second = await chain(handle)
    assert await events(first) == ["Started", "Signaled", "Signaled", "ContinuedAsNew"]
    assert await events(second) == ["Started", "Signaled", "Completed"]
    sent = [one.data.message for one in (await first.fetch_history()).events if one.type == 2]  # type: ignore[attr-defined]
    moved = (await event(second, "Signaled")).message
    assert moved == sent[1], "it is the same message"


async def test_a_signal_that_comes_over_the_second_close_moves_unread(env: Env) -> None:
    store = env.store
    sent = 0

    async def commit(real: Any, transitions: Any) -> Any:
        nonlocal sent
        if sent < 2 and any(one.close is not None for one in transitions):
            sent += 1
            await handle.signal(word(f"number {sent}"))
        return await real(transitions)

    async with env.worker(once):
        handle = await env.start(once(0))
        store.hooks["commit"] = commit
        await handle.signal(leave())
        assert await handle.result(timeout=PATIENCE) == "number 1"
    first, second = await chain(handle)
    assert await events(first) == ["Started", "Signaled", "Signaled", "ContinuedAsNew"]
    assert (await events(second)).count("Signaled") == 2
    assert sent == 2


async def test_a_cancel_request_over_the_close_reaches_the_next_run(env: Env) -> None:
    store = env.store
    sent = False

    async def commit(real: Any, transitions: Any) -> Any:
        nonlocal sent
        if not sent and any(one.close is not None for one in transitions):
            sent = True
            await handle.cancel("enough")
        return await real(transitions)

    async with env.worker(once):
        handle = await env.start(once(0))
        store.hooks["commit"] = commit
        await handle.signal(leave())
        with pytest.raises(WorkflowFailureError, match="cancelled"):
            await handle.result(timeout=PATIENCE)
    first, second = await chain(handle)
    assert await events(first) == ["Started", "Signaled", "ContinuedAsNew"]
    assert (await events(second))[-2:] == ["CancelRequested", "Canceled"]


@workflow.defn(name="cont.churns")
async def churns(seen: list[int], runs: int) -> list[int]:
    """Continues as new as often as it can, and forgets nothing."""
    while True:
        got = await number.receive()
        if got < 0:
            return [*seen, runs]
        seen.append(got)
        if len(seen) % 5 == 0:
            workflow.continue_as_new(seen, runs + 1)


number: Signal[int] = Signal("cont.number", int)


async def test_no_signal_is_lost_or_doubled_however_often_it_continues(env: Env) -> None:
    async with env.worker(churns):
        handle = await env.start(churns([], 0))

        async def send(first: int) -> None:
            for n in range(first, 100, 2):
                await env.client.get_workflow_handle(handle.id).signal(number(n))

        await asyncio.gather(send(0), send(1))
        await handle.signal(number(-1))
        *seen, runs = await handle.result(timeout=2 * PATIENCE)
    assert sorted(seen) == list(range(100))
    assert [n for n in seen if n % 2] == sorted(n for n in seen if n % 2), "those of one sender stay in order"
    assert runs == 20


# ---------------------------------------------------------------- a close that cannot starve


@workflow.defn(name="cont.counts")
class Counts:
    """Ends as soon as it may; counts what came until then."""

    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.count > 0)
        return self.count

    @workflow.signal
    def add(self) -> None:
        self.count += 1


async def test_two_busy_senders_do_not_keep_a_run_from_closing(env: Env) -> None:
    accepted = 0

    async def send(handle: WorkflowHandle[Any, Any]) -> None:
        nonlocal accepted
        while True:
            try:
                await handle.signal(Counts.add())
            except WorkflowNotFoundError:
                return
            accepted += 1

    async with env.worker(Counts):
        handle = await env.start(Counts.run())
        async with asyncio.timeout(2 * PATIENCE), asyncio.TaskGroup() as senders:
            senders.create_task(send(handle))
            senders.create_task(send(handle))
        counted = await handle.result(timeout=PATIENCE)
    assert counted == accepted == (await events(handle)).count("Signaled")


async def test_a_sender_waits_while_its_message_is_held_back(env: Env) -> None:
    """Every close but the last is met by a message; the third is not, because the run takes none for a moment."""
    store = env.store
    sent = 0

    async def commit(real: Any, transitions: Any) -> Any:
        nonlocal sent
        if sent < 2 and any(one.close is not None for one in transitions):
            sent += 1
            await handle.signal(Counts.add())
        return await real(transitions)

    async with env.worker(Counts):
        handle = await env.start(Counts.run())
        store.hooks["commit"] = commit
        await handle.signal(Counts.add())
        assert await handle.result(timeout=PATIENCE) == 3
    assert sent == 2


# ---------------------------------------------------------------- the chain from outside


@workflow.defn(name="cont.forever")
async def forever(n: int) -> None:
    await workflow.sleep(0.02)
    workflow.continue_as_new(n + 1)


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_chain_can_be_ended_from_outside(env: Env, how: str) -> None:
    async with env.worker(forever):
        handle = await env.start(forever(0))

        async def third() -> bool:
            return len(await chain(handle)) > 2

        await until("it has continued twice", third)
        await (handle.cancel() if how == "cancel" else handle.terminate(reason="enough"))
        with pytest.raises(WorkflowFailureError, match=r"cancelled|enough"):
            await handle.result(timeout=PATIENCE)
    last = (await chain(handle))[-1]
    assert (await events(last))[-1] == ("Canceled" if how == "cancel" else "Terminated")


async def test_a_handle_does_not_end_another_chain_of_the_same_id(env: Env) -> None:
    async with env.worker(same, forever, note):
        first = await env.start(same(1, []), id="cont-again")
        await first.result(timeout=PATIENCE)
        second = await env.start(forever(0), id="cont-again")
        for ask in (first.cancel, first.terminate):
            with pytest.raises(WorkflowNotFoundError, match="used again"):
                await ask()
        assert (await first.describe()).workflow_type == "cont.same"
        await second.terminate()


async def test_the_next_run_is_taken_up_by_another_worker_if_this_one_does_not_serve_it(plain: Env) -> None:
    @workflow.defn(name="cont.moves")
    async def moves(n: int) -> int:
        if n == 0:
            workflow.continue_as_new(n + 1, task_queue="elsewhere")
        return n

    async with plain.worker(moves), plain.worker(moves, task_queue="elsewhere"):
        handle = await plain.start(moves(0))
        assert await handle.result(timeout=PATIENCE) == 1
    assert (await handle.describe()).task_queue == "elsewhere"


async def test_a_history_that_has_become_long_is_told_of_once(
    plain: Env, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable._engine._state.LARGE_EVENTS", 10)

    @workflow.defn(name="cont.long")
    async def long() -> bool:
        for n in range(8):
            await note(str(n))
        return workflow.info().is_continue_as_new_suggested()

    with caplog.at_level(logging.WARNING, "durable"):
        assert await plain.run(long(), long, note) is False
    told = [one.getMessage() for one in caplog.records if "every replay reads them all" in one.getMessage()]
    assert len(told) == 1
    assert "is_continue_as_new_suggested" in told[0]


async def test_a_lost_answer_to_a_continue_as_new_makes_one_run(env: Env) -> None:
    from durable.exceptions import StoreUnavailableError

    lost = 0

    async def commit(real: Any, transitions: Any) -> Any:
        nonlocal lost
        answer = await real(transitions)
        if lost < 1 and any(one.close is not None for one in transitions):
            lost += 1
            raise StoreUnavailableError("the answer was lost")
        return answer

    env.store.hooks["commit"] = commit
    async with env.worker(same, note):
        handle = await env.start(same(2, []))
        assert len(await handle.result(timeout=PATIENCE)) == 3
    assert len(await chain(handle)) == 3
    started = [one for run in await chain(handle) for one in await events(run) if one == "Started"]
    assert len(started) == 3


async def test_a_query_is_answered_by_the_newest_run(env: Env) -> None:
    @workflow.defn(name="cont.asked")
    class Asked:
        def __init__(self) -> None:
            self.n = -1

        @workflow.run
        async def run(self, n: int) -> int:
            self.n = n
            if n < 2:
                workflow.continue_as_new(n + 1)
            await leave.receive()
            return n

        @workflow.query
        def which(self) -> int:
            return self.n

    async with env.worker(Asked):
        handle = await env.start(Asked.run(0))

        async def third() -> bool:
            return len(await chain(handle)) == 3

        await until("it has continued twice", third)
        await reached(env.client.get_workflow_handle(handle.id), "Started")
        assert await handle.query(Asked.which()) == 2
        await handle.signal(leave())
        assert await handle.result(timeout=PATIENCE) == 2


@workflow.defn(name="cont.renews")
class Renews:
    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self, runs: int) -> list[int]:
        if runs == 0:
            await leave.receive()
            workflow.continue_as_new(runs + 1)
        await workflow.wait_condition(lambda: self.total > 0)
        return [runs, self.total]

    @workflow.update
    def add(self, x: int) -> int:
        self.total += x
        return self.total


@pytest.mark.temporal("continue_as_new/updates_do_not_block_continue_as_new")
async def test_an_update_that_comes_over_the_close_moves_and_does_not_hold_it_up(env: Env) -> None:
    store = env.store
    asked: list[asyncio.Task[int]] = []
    closes = 0

    async def commit(real: Any, transitions: Any) -> Any:
        nonlocal closes
        for one in transitions:
            if one.close is not None and one.close.successor is not None:
                closes += 1
                update = handle.execute_update(Renews.add(5))
                asked.append(asyncio.create_task(update))

                async def admitted(run_id: str = one.run_id) -> bool:
                    return bool(await env.client.store.read_messages([run_id]))

                await until("the update is in the inbox", admitted)
        return await real(transitions)

    async with env.worker(Renews):
        handle = await env.start(Renews.run(0))
        store.hooks["commit"] = commit
        await handle.signal(leave())
        assert await handle.result(timeout=PATIENCE) == [1, 5]
        assert [await one for one in asked] == [5]
    assert closes == 1
    first, second = await chain(handle)
    assert await events(first) == ["Started", "Signaled", "ContinuedAsNew"]
    assert await events(second) == ["Started", "UpdateAccepted", "UpdateCompleted", "Completed"]


@workflow.defn(name="cont.numbers")
async def numbers(n: int) -> list[int]:
    """Each run numbers its commands from one, and hears of them by messages of the same ids."""
    child = await workflow.execute_child_workflow(same(0, []))
    if n == 0:
        await word.receive()
        workflow.continue_as_new(1)
    return [n, len(child)]


async def test_replies_to_the_next_runs_commands_are_its_own(env: Env) -> None:
    """Also behind a close that let messages move, and told the next run which ones have been read."""
    store = env.store
    sent = 0

    async def commit(real: Any, transitions: Any) -> Any:
        nonlocal sent
        if sent < 2 and any(one.close is not None and one.run_id == run for one in transitions):
            sent += 1
            await handle.signal(other(f"number {sent}"))
        return await real(transitions)

    async with env.worker(numbers, same, note):
        handle = await env.start(numbers(0))
        run = handle.first_execution_run_id
        store.hooks["commit"] = commit
        await handle.signal(word("go"))
        assert await handle.result(timeout=PATIENCE) == [1, 1]
    assert sent == 2
