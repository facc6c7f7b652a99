"""Commits that take long, answers that get lost, hints that never come: the races behind the ordinary path."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import pytest

from durable import Client, RetryPolicy, Signal, activity, workflow
from durable.client import ActivityFailureError
from durable.exceptions import (
    ActivityNotFoundError,
    StoreError,
    StoreUnavailableError,
    WorkflowFailureError,
    WorkflowNotFoundError,
)
from durable.history import EventType, decode_history
from durable.store import Hint, HintKind
from tests._pooler import direct
from tests.scenarios.rig import PATIENCE, Env, StoreProxy, event, events, held, kind, reached, until

say: Signal[str] = Signal("scn.held.say", str)
SOON = RetryPolicy(initial_interval=0.05)
ONCE = RetryPolicy(maximum_attempts=1)


class Held:
    """Holds the answer (or the question) of the first commit that a test is interested in."""

    def __init__(self, env: Env, interesting: Any, *, before: bool = False) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()
        self.interesting = interesting
        self.before = before
        env.store.hooks["commit"] = self.commit

    async def commit(self, commit: Any, transitions: Any) -> Any:
        mine = not self.reached.is_set() and any(self.interesting(one) for one in transitions)
        if mine and self.before:
            self.reached.set()
            await self.go.wait()
        answer = await commit(transitions)
        if mine and not self.before:
            self.reached.set()
            await self.go.wait()
        return answer


def has(kind: EventType) -> Any:
    return lambda transition: any(event.type == kind for event in transition.events)


async def test_an_activity_that_ends_while_its_own_schedule_is_being_written(env: Env) -> None:
    ended = asyncio.Event()

    @activity.defn(name="scn.held.brief")
    async def brief() -> str:
        asyncio.get_running_loop().call_soon(ended.set)
        return "brief"

    @activity.defn(name="scn.held.waits")
    async def waits() -> str:
        await gate.wait()
        asyncio.get_running_loop().call_later(0.02, ended.set)
        return "waited"

    @workflow.defn(name="scn.held.schedules")
    async def schedules() -> str:
        return await waits()

    gate = asyncio.Event()
    hold = Held(env, has(EventType.ACTIVITY_TASK_SCHEDULED))
    async with env.worker(schedules, brief, waits):
        handle = await env.start(schedules())
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        gate.set()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        hold.go.set()
        assert await handle.result(timeout=PATIENCE) == "waited"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_an_outcome_from_elsewhere_that_overtakes_the_answer_to_its_schedule(env: Env) -> None:
    """Another worker has run it, and told so, before this one knows that it is scheduled."""

    @activity.defn(name="scn.held.far")
    async def far() -> str:
        return "far"

    @workflow.defn(name="scn.held.asks_far")
    async def asks_far() -> str:
        return await workflow.execute_activity(far, task_queue="side")

    overtaken = asyncio.Event()

    async def reading(read: Any, *args: Any) -> Any:
        found = await read(*args)
        if any(message.type == EventType.ACTIVITY_TASK_COMPLETED for message in found):
            asyncio.get_running_loop().call_soon(overtaken.set)  # when whoever reads has taken them
        return found

    env.store.hooks["read_messages"] = env.store.hooks["read_owned_messages"] = reading
    hold = Held(env, has(EventType.ACTIVITY_TASK_SCHEDULED))
    async with env.worker(asks_far), env.worker(far, task_queue="side"):
        handle = await env.start(asks_far())
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        await asyncio.wait_for(overtaken.wait(), PATIENCE)
        hold.go.set()
        assert await handle.result(timeout=PATIENCE) == "far"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_a_first_heartbeat_while_a_commit_is_under_way(env: Env) -> None:
    gate, beaten = asyncio.Event(), asyncio.Event()
    executions = []

    @activity.defn(name="scn.held.beats", heartbeat_timeout=60, retry_policy=SOON)
    async def beats() -> str:
        executions.append(activity.info().attempt)
        await gate.wait()
        activity.heartbeat(1)
        await asyncio.sleep(0.02)
        beaten.set()
        return "beaten"

    @activity.defn(name="scn.held.quick")
    async def quick() -> str:
        return "quick"

    @workflow.defn(name="scn.held.two")
    async def two() -> str:
        beating = beats.start()
        return await quick() + await beating

    hold = Held(env, has(EventType.ACTIVITY_TASK_COMPLETED))

    async def slow_rows(commit: Any, transitions: Any) -> Any:
        if any(one.activities for one in transitions):
            await asyncio.sleep(0.1)
        return await hold.commit(commit, transitions)

    env.store.hooks["commit"] = slow_rows
    async with env.worker(two, beats, quick):
        handle = await env.start(two())
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        gate.set()
        await asyncio.wait_for(beaten.wait(), PATIENCE)
        hold.go.set()
        assert await handle.result(timeout=PATIENCE) == "quickbeaten"
    assert executions == [1]


async def test_a_refused_close_keeps_the_retries_of_what_goes_on(env: Env) -> None:
    """A close with a retry's row in its transition is refused over a signal; the code then waits for that activity."""
    gate, failed = asyncio.Event(), asyncio.Event()

    @activity.defn(name="scn.held.flaky", retry_policy=SOON)
    async def flaky() -> str:
        if activity.info().attempt == 1:
            await gate.wait()
            asyncio.get_running_loop().call_later(0.02, failed.set)
            raise ValueError("first")
        return f"attempt {activity.info().attempt}"

    @workflow.defn(name="scn.held.refused")
    async def refused() -> str:
        running, got = flaky.start(), []

        async def take() -> None:
            async for word in say:
                got.append(word)

        taking = asyncio.create_task(take())
        await workflow.wait_condition(lambda: bool(got))
        if len(got) == 1:
            return "closed"
        result = await running
        taking.cancel()
        return result

    hold = Held(env, has(EventType.WORKFLOW_EXECUTION_SIGNALED))
    sent = []

    async def commit(real: Any, transitions: Any) -> Any:
        if any(one.close for one in transitions) and not sent:
            sent.append([len(one.activities) for one in transitions])
            await handle.signal(say("two"))
        return await hold.commit(real, transitions)

    env.store.hooks["commit"] = commit
    async with env.worker(refused, flaky):
        handle = await env.start(refused())
        await reached(handle, "Started", "ActivityScheduled")
        await handle.signal(say("one"))
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        gate.set()
        await asyncio.wait_for(failed.wait(), PATIENCE)
        hold.go.set()
        assert await handle.result(timeout=PATIENCE) == "attempt 2"
    assert sent == [[1]], "the scenario is what it means to be"


async def test_a_result_of_a_blocked_run_is_no_lost_attempt(env: Env) -> None:
    gate, ended = asyncio.Event(), asyncio.Event()
    ran = []

    @activity.defn(name="scn.held.once", retry_policy=ONCE)
    async def once() -> str:
        ran.append(1)
        await gate.wait()
        asyncio.get_running_loop().call_later(0.02, ended.set)
        return "paid"

    @activity.defn(name="scn.held.quick")
    async def quick() -> str:
        return "quick"

    @workflow.defn(name="scn.held.blocks")
    async def broken() -> str:
        running = once.start()
        await quick()
        raise KeyError("bug")
        return await running

    @workflow.defn(name="scn.held.blocks")
    async def fixed() -> str:
        running = once.start()
        await quick()
        return await running

    hold = Held(env, lambda one: False)

    async def commit(real: Any, transitions: Any) -> Any:
        answer = await real(transitions)
        if (
            any(has(EventType.ACTIVITY_TASK_COMPLETED)(one) for one in transitions)
            and not hold.reached.is_set()
        ):
            hold.reached.set()
            await hold.go.wait()
        return answer

    env.store.hooks["commit"] = commit
    async with env.worker(broken, once, quick):
        handle = await env.start(broken())
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        gate.set()
        if ran:
            await asyncio.wait_for(ended.wait(), PATIENCE)
        hold.go.set()
        await held(handle)
    env.handles[-1] = (handle, fixed.definition)
    async with env.worker(fixed, once, quick):
        assert await handle.result(timeout=PATIENCE) == "paid"
    assert ran == [1]


async def test_a_lost_hint_is_repaired_although_others_keep_coming(env: Env, store_url: str) -> None:
    @workflow.defn(name="scn.held.listens")
    async def listens() -> str:
        while (word := await say.receive()) != "end":
            pass
        return word

    async with Client.connect(store_url) as deaf, env.worker(listens, poll_interval=0.3):
        one, other = await env.start(listens()), await env.start(listens())
        found: Any = deaf.store
        assert isinstance(found, StoreProxy)
        found.hooks["hint"] = lambda hint, hints: None
        await deaf.get_workflow_handle(one.id).signal(say("end"))

        async def chatter() -> None:
            while True:
                await other.signal(say("more"))
                await asyncio.sleep(0.05)

        talking = asyncio.ensure_future(chatter())
        try:
            assert await one.result(timeout=PATIENCE) == "end"
        finally:
            talking.cancel()
        await other.signal(say("end"))
        assert await other.result(timeout=PATIENCE) == "end"


async def test_all_works_without_any_hint(env: Env) -> None:
    env.store.hooks["hint"] = lambda hint, hints: None
    env.store.hooks["listen"] = lambda listen, callback, *kinds: lambda: None

    @activity.defn(name="scn.held.far")
    async def far() -> str:
        return "far"

    @workflow.defn(name="scn.held.unhinted")
    async def unhinted() -> list[str]:
        return [await workflow.execute_activity(far, task_queue="side"), await say.receive()]

    async with env.worker(unhinted), env.worker(far, task_queue="side"):
        handle = await env.start(unhinted())
        await handle.signal(say("heard"))
        assert await handle.result(timeout=PATIENCE) == ["far", "heard"]


async def test_every_third_write_loses_its_answer(env: Env) -> None:
    """Ambiguity everywhere: half of the failures happened, half did not; nothing is lost and nothing is doubled."""
    calls = 0
    ran: list[int] = []

    def unlucky(name: str) -> Any:
        async def hook(method: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls % 3 == 0:
                if calls % 2 == 0:
                    await method(*args, **kwargs)
                raise StoreUnavailableError(f"{name} {calls}: nobody knows")
            return await method(*args, **kwargs)

        return hook

    @activity.defn(name="scn.held.counts", retry_policy=SOON)
    async def counts(i: int) -> int:
        ran.append(i)
        return i

    @activity.defn(name="scn.held.flaky_counts", retry_policy=SOON)
    async def flaky_counts(i: int) -> int:
        if activity.info().attempt < 3:
            raise ValueError("again")
        return i

    @workflow.defn(name="scn.held.unlucky")
    async def through() -> list[Any]:
        found: list[Any] = [await counts(i) for i in range(4)]
        found.append(await flaky_counts(4))
        await asyncio.sleep(0.01)
        found.append(await say.receive())
        found.extend(await asyncio.gather(*[counts(i) for i in range(5, 8)]))
        return found

    for name in (
        "create_runs", "commit", "send", "claim_runs", "claim_activities", "finish_attempts", "claim_probationer"
    ):  # fmt: skip
        env.store.hooks[name] = unlucky(name)
    async with env.worker(through, counts, flaky_counts):
        handles = [await env.start(through(), id=f"unlucky-{i}") for i in range(4)]
        await asyncio.gather(*[handle.signal(say("word")) for handle in handles])
        results = await asyncio.gather(*[handle.result(timeout=2 * PATIENCE) for handle in handles])
        env.store.hooks.clear()
    assert results == [[0, 1, 2, 3, 4, "word", 5, 6, 7]] * 4
    assert sorted(ran) == sorted([0, 1, 2, 3, 5, 6, 7] * 4), "no worker was lost, so nothing ran twice"


async def test_a_worker_whose_lease_thread_meets_the_unexpected(plain: Env) -> None:
    """Whatever a renewal raises, the worker goes on or starts over; it does not stand there and do nothing."""
    raised = []

    class Lease:
        def __init__(self, lease: Any) -> None:
            self.lease = lease

        async def renew(self) -> bool:
            if not raised:
                raised.append(1)
                raise StoreError("unexpected")
            return bool(await self.lease.renew())

        async def aclose(self) -> None:
            await self.lease.aclose()

    async def register(method: Any, worker: Any) -> Any:
        return Lease(await method(worker))

    @workflow.defn(name="scn.held.after")
    async def after() -> str:
        await asyncio.sleep(0.01)
        return "alive"

    plain.store.hooks["register_worker"] = register
    async with plain.worker(after, lease_duration=0.5):
        await until("a renewal failed", lambda: raised)
        began = asyncio.get_running_loop().time()
        await until("two leases went by", lambda: asyncio.get_running_loop().time() - began > 1.0)
        handle = await plain.start(after())
        assert await handle.result(timeout=PATIENCE) == "alive"


async def test_a_message_that_repeats_itself_does_not_keep_a_run_open(env: Env) -> None:
    """A repeated message and a new one both unread at the close: the close is refused once, not for ever."""

    @workflow.defn(name="scn.held.repeats")
    async def repeats() -> list[str]:
        return [await say.receive()]

    first: list[Any] = []

    async def remember(send: Any, messages: Any) -> Any:
        first[:] = first or messages
        return await send(messages)

    again = []

    async def commit(real: Any, transitions: Any) -> Any:
        if any(one.close for one in transitions) and not again:
            again.append(1)
            await env.client.store.send(first)
            await handle.signal(say("another"))
        return await real(transitions)

    env.store.hooks["send"] = remember
    env.store.hooks["commit"] = commit
    async with env.worker(repeats):
        handle = await env.start(repeats())
        await handle.signal(say("word"))
        assert await handle.result(timeout=PATIENCE) == ["word"]
    assert (await events(handle)).count("Signaled") == 2


async def test_a_stale_look_does_not_execute_again(env: Env) -> None:
    """What a worker reads about its own activities may be older than what it has done since."""
    ran = []

    @activity.defn(name="scn.held.queued_once", retry_policy=ONCE)
    async def queued_once() -> str:
        ran.append(activity.info().attempt)
        return "once"

    @workflow.defn(name="scn.held.calls_queued")
    async def calls_queued() -> list[str]:
        first = await workflow.execute_activity(queued_once, task_queue="side")
        return [first, await say.receive()]

    seen: list[Any] = []
    looks = 0

    async def claim(real: Any, *args: Any, **kwargs: Any) -> Any:
        claimed = await real(*args, **kwargs)
        if claimed:
            # The answer is on its way while somebody looks, twice if the worker looks that often.
            before = looks
            await until("a look at the rows", lambda: looks > before)
        return claimed

    async def look(real: Any, worker_id: str) -> Any:
        nonlocal looks
        rows = await real(worker_id)
        looks += 1
        seen.extend(rows)
        return rows or [row for row in seen if row.worker == worker_id]  # as old as can be

    env.store.hooks["claim_activities"] = claim
    env.store.hooks["owned_activities"] = look
    async with env.worker(calls_queued), env.worker(queued_once, task_queue="side", lease_duration=1.0):
        handle = await env.start(calls_queued())
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
        before = looks
        await until("some more looks", lambda: looks > before + 3)
        env.store.hooks.clear()
        await handle.signal(say("done"))
        assert await handle.result(timeout=PATIENCE) == ["once", "done"]
    assert ran == [1]


async def test_a_repeated_signal_while_its_commit_is_answered(env: Env) -> None:
    """The first send was read and committed; its repeat arrives before the worker knows of that commit."""

    @workflow.defn(name="scn.held.hears_once")
    async def hears_once() -> list[str]:
        found = []
        while (word := await say.receive()) != "end":
            found.append(word)
        return found

    hold = Held(env, has(EventType.WORKFLOW_EXECUTION_SIGNALED))
    lost = []

    async def send(real: Any, messages: Any) -> Any:
        answer = await real(messages)
        if not lost:
            lost.append(1)
            await asyncio.wait_for(hold.reached.wait(), PATIENCE)
            raise StoreUnavailableError("the answer was lost")
        return answer

    read = []

    async def read_messages(real: Any, *args: Any) -> Any:
        messages = await real(*args)
        read.extend(messages)
        return messages

    async with env.worker(hears_once):
        handle = await env.start(hears_once())
        await until("it is there", handle.describe)
        env.store.hooks["send"] = send
        await handle.signal(say("once"))
        for name in ("read_messages", "read_owned_messages"):
            env.store.hooks[name] = read_messages
        env.store.hint([Hint(HintKind.MESSAGE, handle.result_run_id)])
        await until("the worker has read the repeat", lambda: read)
        await asyncio.sleep(0)
        hold.go.set()
        await handle.signal(say("end"))
        assert await handle.result(timeout=PATIENCE) == ["once"]
    assert (await events(handle)).count("Signaled") == 2


async def test_a_start_that_is_repeated_while_its_run_is_at_work(env: Env) -> None:
    """Created as the worker's own, the answer lost, found by the worker's own look; then the client asks again: SAME."""
    ran = []
    gate = asyncio.Event()

    @activity.defn(name="scn.held.first")
    async def first() -> str:
        ran.append(activity.info().attempt)
        return "first"

    @workflow.defn(name="scn.held.started_twice")
    async def started_twice() -> list[str]:
        return [await first(), await say.receive()]

    lost = []

    async def create(real: Any, runs: Any) -> Any:
        made = await real(runs)
        if not lost:
            lost.append(1)
            client = env.client.get_workflow_handle("twice")
            await reached(client, "Started", "ActivityScheduled", "ActivityCompleted")
            raise StoreUnavailableError("the answer was lost")
        gate.set()
        return made

    env.store.hooks["create_runs"] = create
    async with env.worker(started_twice, first, lease_duration=0.6):
        handle = await env.start(started_twice(), id="twice")
        assert gate.is_set()
        await handle.signal(say("on"))
        assert await handle.result(timeout=PATIENCE) == ["first", "on"]
    assert ran == [1]


async def test_who_holds_up_a_close_is_told(
    plain: Env, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not store_url.startswith("postgresql"):
        return  # on SQLite nobody locks a run

    monkeypatch.setattr("durable.store.postgres._runs.LOCKED_LONG", 0)
    handle = await plain.start(quick_end())
    async with contextlib.AsyncExitStack() as stack:
        stranger = await asyncpg.connect(direct(store_url))
        try:
            async with stranger.transaction():
                found = await stranger.fetchval(
                    "select table_schema from information_schema.tables where table_name = 'runs'"
                )
                await stranger.execute(
                    f"select from {found}.runs where run_id = $1 for key share", handle.first_execution_run_id
                )
                await stack.enter_async_context(plain.worker(quick_end))

                async def told() -> bool:
                    return "waiting for a lock that is held by session" in (await handle.describe()).reason

                await until("the reason names the session", told)
        finally:
            await stranger.close()
        assert await handle.result(timeout=PATIENCE) == "ended"
    assert (await handle.describe()).reason == ""


@workflow.defn(name="held.quick_end")
async def quick_end() -> str:
    return "ended"


class Lost:
    """Loses the answer to the first call of a method of the store, which has done its work."""

    def __init__(self, env: Env, method: str) -> None:
        self.calls = 0
        env.store.hooks[method] = self.call

    async def call(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await call(*args, **kwargs)
        self.calls += 1
        if self.calls == 1:
            raise StoreUnavailableError("the answer was lost")
        return answer


@workflow.defn(name="scn.held.ends_when_told")
async def ends_when_told() -> str:
    return await say.receive()


async def test_a_termination_whose_answer_is_lost_is_one(plain: Env) -> None:
    handle = await plain.start(ends_when_told())
    lost = Lost(plain, "terminate")
    await handle.terminate(reason="enough")
    assert lost.calls == 2
    with pytest.raises(WorkflowNotFoundError, match="closed"):
        await handle.terminate(reason="once more")
    assert await events(handle) == ["Started", "Terminated"]
    assert (await event(handle, "Terminated")).reason == "enough"
    assert [(one.operation, one.reason) async for one in plain.client.operator_log()] == [
        ("terminate", "enough")
    ]


async def test_a_termination_that_meets_another_ones_is_none(plain: Env) -> None:
    handle = await plain.start(ends_when_told())

    async def others_first(call: Any, *args: Any, **kwargs: Any) -> Any:
        del plain.store.hooks["terminate"]
        await handle.terminate(reason="theirs")
        return await call(*args, **kwargs)

    plain.store.hooks["terminate"] = others_first
    with pytest.raises(WorkflowNotFoundError, match="closed"):
        await handle.terminate(reason="ours")
    assert (await event(handle, "Terminated")).reason == "theirs"


@pytest.mark.parametrize("how", ["terminate", "cancel"])
async def test_an_activity_that_waits_is_ended_though_the_answer_is_lost(plain: Env, how: str) -> None:
    @activity.defn(name="scn.held.nobody_serves")
    async def nobody_serves() -> None: ...

    handle = await plain.client.start_activity(nobody_serves, id="a", start_to_close_timeout=5)
    lost = Lost(plain, "terminate" if how == "terminate" else "finish_attempts")
    await getattr(handle, how)("enough")
    assert lost.calls == 2 if how == "terminate" else lost.calls >= 1
    with pytest.raises(ActivityNotFoundError):
        await getattr(handle, how)("once more")
    with pytest.raises(ActivityFailureError):
        await handle.result()
    log = decode_history(await plain.store.read_events(handle.run_id))
    assert kind(log[-1]) == ("Terminated" if how == "terminate" else "Canceled")


@pytest.mark.parametrize("how", ["signal", "cancel"])
async def test_a_message_whose_answer_is_lost_is_sent_once(plain: Env, how: str) -> None:
    """Whether the workflow has closed over it before it is sent again, or not."""
    async with plain.worker(ends_when_told):
        handle = await plain.start(ends_when_told())
        await reached(handle, "Started")

        async def lost(call: Any, *args: Any, **kwargs: Any) -> Any:
            answer = await call(*args, **kwargs)
            if plain.store.hooks.pop("send", None) is None:
                return answer
            plain.store.hint([Hint(HintKind.MESSAGE, handle.first_execution_run_id or "")])
            await until("it has closed", lambda: _is_closed(handle))
            raise StoreUnavailableError("the answer was lost")

        plain.store.hooks["send"] = lost
        await (handle.signal(say("x")) if how == "signal" else handle.cancel("x"))
    asked = "Signaled" if how == "signal" else "CancelRequested"
    assert await events(handle) == ["Started", asked, "Completed" if how == "signal" else "Canceled"]


async def _is_closed(handle: Any) -> bool:
    return (await handle.describe()).close_time is not None


async def test_a_cancel_asks_for_the_run_once(plain: Env) -> None:
    handle = await plain.start(ends_when_told())
    asked: list[Any] = []

    async def find_run(find: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        return await find(*args, **kwargs)

    plain.store.hooks["find_run"] = find_run
    await handle.cancel()
    assert len(asked) == 1
    del plain.store.hooks["find_run"]
    async with plain.worker(ends_when_told):
        with pytest.raises(WorkflowFailureError):
            await handle.result(timeout=PATIENCE)
    assert await events(handle) == ["Started", "CancelRequested", "Canceled"]
