"""Replays of what is recorded: by hand, from files, and of all that a list finds; and the events one after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from durable import Signal, activity, workflow
from durable.client import (
    FetchWorkflowHistoryEventsInput,
    Interceptor,
    OutboundInterceptor,
    WorkflowHistory,
    WorkflowHistoryEventFilterType,
)
from durable.exceptions import (
    ApplicationError,
    DeadlockError,
    HistoryCorruptError,
    NondeterminismError,
    RegistrationError,
    WorkflowNotFoundError,
    WorkflowTaskError,
)
from durable.worker import Interceptor as WorkerInterceptor
from durable.worker import Replayer, WorkflowInboundInterceptor
from tests.scenarios.rig import PATIENCE, Env, events, fails, kind, reached, until

go: Signal[str] = Signal[str]("scn.replayer.go")

BEHAVIOUR: dict[str, Any] = {}
"""How the code of this deploy differs from the one that ran."""


@pytest.fixture(autouse=True)
def deploy() -> Any:
    BEHAVIOUR.clear()
    yield BEHAVIOUR
    BEHAVIOUR.clear()


@activity.defn(name="scn.replayer.greet")
async def greet(name: str) -> str:
    BEHAVIOUR["ran"] = BEHAVIOUR.get("ran", 0) + 1
    return f"Hello, {name}!"


@workflow.defn(name="scn.replayer.hello")
class Hello:
    """Temporal's replayer workflow: an activity, a wait, a failure, and what a deploy changes."""

    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self, name: str, how: str = "") -> str:
        workflow.logger.warning("hello from %s", name)
        if BEHAVIOUR.get("earlier timer"):
            await workflow.sleep(0.001)
        found = await greet(BEHAVIOUR.get("name", name))
        if how == "waits":
            await workflow.wait_condition(lambda: self.done)
        if how == "fails":
            raise ApplicationError("meant to")
        if bug := BEHAVIOUR.get("bug"):
            bug()
        if BEHAVIOUR.get("greets twice"):
            await greet(name)
        return found

    @workflow.signal
    def finish(self) -> None:
        self.done = True


async def histories(*found: WorkflowHistory) -> AsyncIterator[WorkflowHistory]:
    for one in found:
        yield one


@pytest.mark.temporal("replayer/complete", "patterns/replay")
async def test_a_complete_history_replays(env: Env, caplog: pytest.LogCaptureFixture) -> None:
    async with env.worker(Hello, greet):
        handle = await env.start(Hello.run("Ada"))
        assert await handle.result(timeout=PATIENCE) == "Hello, Ada!"
    history = await handle.fetch_history()
    assert [kind(event) for event in history.events] == [
        "Started",
        "ActivityScheduled",
        "ActivityCompleted",
        "Completed",
    ]
    caplog.clear()
    result = await Replayer(workflows=[Hello]).replay_workflow(history)
    assert result.history is history
    assert result.replay_failure is None
    assert BEHAVIOUR["ran"] == 1, "no activity runs"
    assert caplog.records == [], "and nothing is logged"
    # From a file, too.
    again = WorkflowHistory.from_json(handle.id, history.to_json())
    assert again == history
    await Replayer(workflows=[Hello], strict=True).replay_workflow(again)


@pytest.mark.temporal("replayer/incomplete")
async def test_an_incomplete_history_replays(env: Env) -> None:
    async with env.worker(Hello, greet):
        handle = await env.start(Hello.run("Ada", "waits"))
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
        history = await handle.fetch_history()
        await Replayer(workflows=[Hello]).replay_workflow(history)
        BEHAVIOUR["greets twice"] = True
        # What the code does behind the end of what is recorded is no matter.
        await Replayer(workflows=[Hello]).replay_workflow(history)
        BEHAVIOUR.clear()
        await handle.signal(Hello.finish())
        await handle.result(timeout=PATIENCE)
    whole = await handle.fetch_history()
    assert list(whole.events)[: len(history.events)] == list(history.events)
    await Replayer(workflows=[Hello]).replay_workflow(whole)


async def test_every_end_of_a_run_replays(env: Env) -> None:
    async with env.worker(Hello, greet):
        ended = await env.start(Hello.run("Ada", "waits"))
        await reached(ended, "Started", "ActivityScheduled", "ActivityCompleted")
        await ended.terminate(reason="enough")
        asked = await env.start(Hello.run("Bob", "waits"))
        await reached(asked, "Started", "ActivityScheduled", "ActivityCompleted")
        await asked.cancel()
        await fails(asked)
    for handle in (ended, asked):
        await Replayer(workflows=[Hello]).replay_workflow(await handle.fetch_history())


@pytest.mark.temporal("replayer/failed")
async def test_a_failed_workflow_replays(env: Env) -> None:
    async with env.worker(Hello, greet):
        handle = await env.start(Hello.run("Ada", "fails"))
        assert isinstance(await fails(handle), ApplicationError)
    await Replayer(workflows=[Hello]).replay_workflow(await handle.fetch_history())


@pytest.mark.temporal("replayer/nondeterministic")
async def test_other_code_does_not_replay_and_both_are_shown(env: Env) -> None:
    async with env.worker(Hello, greet):
        handle = await env.start(Hello.run("Ada"))
        await handle.result(timeout=PATIENCE)
    history, replayer = await handle.fetch_history(), Replayer(workflows=[Hello])
    BEHAVIOUR["earlier timer"] = True
    with pytest.raises(NondeterminismError) as told:
        await replayer.replay_workflow(history)
    assert "scn.replayer.greet" in str(told.value)
    assert "TimerStarted" in str(told.value)
    assert "test_replayer.py:" in str(told.value)
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    assert isinstance(result.replay_failure, NondeterminismError)
    BEHAVIOUR.clear()
    BEHAVIOUR["greets twice"] = True
    with pytest.raises(NondeterminismError):
        await replayer.replay_workflow(history)
    BEHAVIOUR.clear()


@pytest.mark.temporal("replayer/many_fail_fast", "replayer/many_fail_slow", "client_api/list_count")
async def test_many_histories_until_the_first_that_fails_or_all_of_them(plain: Env) -> None:
    env = plain
    async with env.worker(Hello, greet):
        handles = [await env.start(Hello.run(name)) for name in ("a", "b", "c", "d")]
        for handle in handles:
            await handle.result(timeout=PATIENCE)
    found = [await handle.fetch_history() for handle in handles]
    replayer, asked = Replayer(workflows=[Hello]), 0

    async def counted() -> AsyncIterator[WorkflowHistory]:
        nonlocal asked
        for number, history in enumerate(found):
            asked += 1
            BEHAVIOUR["earlier timer"] = number in (1, 3)
            yield history

    with pytest.raises(NondeterminismError):
        await replayer.replay_workflows(counted())
    assert asked == 2
    results = await replayer.replay_workflows(counted(), raise_on_replay_failure=False)
    assert list(results.replay_failures) == [found[1].run_id, found[3].run_id]
    assert all(isinstance(one, NondeterminismError) for one in results.replay_failures.values())
    async with replayer.workflow_replay_iterator(counted()) as iterator:
        told = [(one.history.run_id, one.replay_failure is None) async for one in iterator]
    assert told == [(one.run_id, number in (0, 2)) for number, one in enumerate(found)]
    BEHAVIOUR.clear()
    # All that a list finds; a plain list of histories will do as well.
    where = "WorkflowType = 'scn.replayer.hello'"
    assert (await env.client.count_workflows(where)).count == 4
    counted_by = await env.client.count_workflows(f"{where} GROUP BY ExecutionStatus")
    assert [(group.count, list(group.group_values)) for group in counted_by.groups] == [(4, ["Completed"])]
    assert {run.id async for run in env.client.list_workflows(where)} == {handle.id for handle in handles}
    listed = env.client.list_workflows(where).map_histories()
    seen = 0
    async with replayer.workflow_replay_iterator(listed) as iterator:
        async for one in iterator:
            assert one.replay_failure is None
            seen += 1
    assert seen == 4
    assert (await replayer.replay_workflows(found)).replay_failures == {}


@workflow.defn(name="scn.replayer.ordering")
class Ordering:
    """Timers, activities, signals and an update that all come at once: the order is in the history alone."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        async def one(number: int) -> None:
            await (workflow.sleep(0.001) if number % 2 else greet(str(number)))
            self.seen.append(f"task {number}")
            await greet(f"then {number}")

        await asyncio.gather(*[one(number) for number in range(6)])
        await workflow.wait_condition(lambda: len(self.seen) >= 9)
        await greet(",".join(self.seen))
        return self.seen

    @workflow.signal
    async def told(self, text: str) -> None:
        self.seen.append(text)
        await greet(text)

    @workflow.update
    async def asked(self, text: str) -> str:
        self.seen.append(text)
        return await greet(text)


@pytest.mark.temporal("replayer/ordering")
async def test_the_order_of_what_comes_at_once_replays(env: Env) -> None:
    handle = await env.start(Ordering.run())
    await handle.signal(Ordering.told("one"))
    async with env.worker(Ordering, greet):
        await asyncio.gather(
            handle.signal(Ordering.told("two")), handle.execute_update(Ordering.asked("three"))
        )
        seen = await handle.result(timeout=PATIENCE)
    assert sorted(seen) == sorted([*(f"task {number}" for number in range(6)), "one", "two", "three"])
    # Strictly: the activities' arguments say in which order the code went on.
    await Replayer(workflows=[Ordering], strict=True).replay_workflow(await handle.fetch_history())


@workflow.defn(name="scn.replayer.swallows")
async def swallows() -> str:
    """It catches what cancels it, more than once, and goes on."""
    for number in range(3):
        try:
            await go.receive()
        except asyncio.CancelledError:
            await greet(f"swallowed at {number}")
    return "went on"


@pytest.mark.temporal("replayer/swallowed_cancel")
async def test_a_swallowed_cancel_replays(env: Env) -> None:
    async with env.worker(swallows, greet):
        handle = await env.start(swallows())
        await reached(handle, "Started")
        await handle.cancel()
        await reached(handle, "Started", "CancelRequested", "ActivityScheduled", "ActivityCompleted")
        await handle.signal(go("one"))
        await handle.signal(go("two"))
        assert await handle.result(timeout=PATIENCE) == "went on"
    await Replayer(workflows=[swallows], strict=True).replay_workflow(await handle.fetch_history())


# ---------------------------------------------------------------------- what else does not replay


@pytest.fixture
async def history(plain: Env) -> WorkflowHistory:
    plain.replays = False  # under what a test has changed
    async with plain.worker(Hello, greet):
        handle = await plain.start(Hello.run("Ada"))
        await handle.result(timeout=PATIENCE)
    found: WorkflowHistory = await handle.fetch_history()
    return found


async def test_a_defect_of_the_code_does_not_replay(history: WorkflowHistory) -> None:
    def defect() -> None:
        raise KeyError("no such thing")

    BEHAVIOUR["bug"] = defect
    with pytest.raises(KeyError, match="no such thing"):
        await Replayer(workflows=[Hello]).replay_workflow(history)
    # Unless it is one that fails the workflow, and then it is no longer what is recorded.
    with pytest.raises(NondeterminismError, match="WorkflowExecutionFailed"):
        await Replayer(workflows=[Hello], workflow_failure_exception_types=[KeyError]).replay_workflow(
            history
        )

    def leave() -> None:
        raise SystemExit(3)

    BEHAVIOUR["bug"] = leave
    with pytest.raises(WorkflowTaskError, match="SystemExit left workflow code: 3"):
        await Replayer(workflows=[Hello]).replay_workflow(history)


async def test_code_that_holds_the_thread_is_ended(
    history: WorkflowHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.worker._replayer.BREAK_AFTER", 0.6)

    def stuck() -> None:
        while not BEHAVIOUR.get("never"):
            time.monotonic()

    BEHAVIOUR["bug"] = stuck
    result = await Replayer(workflows=[Hello]).replay_workflow(history, raise_on_replay_failure=False)
    assert isinstance(result.replay_failure, DeadlockError)
    assert "in stuck" in str(result.replay_failure)


async def test_changed_arguments_are_told_and_fail_a_strict_replay(
    history: WorkflowHistory, caplog: pytest.LogCaptureFixture
) -> None:
    BEHAVIOUR["name"] = "Bob"
    with caplog.at_level(logging.WARNING, "durable.worker"):
        await Replayer(workflows=[Hello]).replay_workflow(history)
    assert "scn.replayer.greet" in caplog.text
    with pytest.raises(NondeterminismError, match=r"scn\.replayer\.greet"):
        await Replayer(workflows=[Hello], strict=True).replay_workflow(history)


async def test_a_workflow_that_is_not_there_and_a_history_that_is_not_whole(history: WorkflowHistory) -> None:
    with pytest.raises(
        RegistrationError, match=r"no workflow 'scn\.replayer\.hello': it has scn\.replayer\.ordering"
    ):
        await Replayer(workflows=[Ordering]).replay_workflow(history)
    # All that is defined in this process, when none are listed.
    await Replayer().replay_workflow(history)
    for broken in ([], history.events[1:], [history.events[0], history.events[2]]):
        with pytest.raises(HistoryCorruptError):
            await Replayer().replay_workflow(WorkflowHistory("w", "r", broken))
    with pytest.raises(TypeError, match="a history is a WorkflowHistory"):
        await Replayer().replay_workflow(history.to_json())  # type: ignore[arg-type]


def test_options_that_a_replayer_has_not_are_refused() -> None:
    with pytest.raises(TypeError, match="no option 'plugins': pass their interceptors"):
        Replayer(workflows=[], plugins=[])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"no option 'wrong'$"):
        Replayer(workflows=[], wrong=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="exception classes"):
        Replayer(workflows=[], workflow_failure_exception_types=[1])  # type: ignore[list-item]
    config = Replayer(workflows=[Hello], namespace="n").config()
    assert (config["workflows"], config["namespace"], config["strict"]) == ([Hello], "n", False)
    Replayer(**config)


@workflow.defn(name="scn.replayer.where")
async def where() -> str:
    return await greet(f"{workflow.info().namespace} {workflow.uuid4()}")


class _Loud(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: Any) -> Any:
        await workflow.sleep(0.001)
        return await super().execute_workflow(input)


class Loud(WorkerInterceptor):
    def workflow_interceptor_class(self, input: Any) -> Any:
        return _Loud


async def test_the_namespace_and_interceptors_are_those_of_the_run(plain: Env) -> None:
    plain.replays = False  # the judge has no interceptors
    async with plain.worker(where, greet, interceptors=[Loud()]):
        handle = await plain.start(where())
        await handle.result(timeout=PATIENCE)
    history = await handle.fetch_history()
    assert history.namespace == plain.client.namespace
    with_it: Any = {"workflows": [where], "interceptors": [Loud()], "strict": True}
    await Replayer(**with_it).replay_workflow(history)
    with pytest.raises(NondeterminismError):
        await Replayer(workflows=[where]).replay_workflow(history)
    with pytest.raises(NondeterminismError, match="argument"):
        await Replayer(**with_it, namespace="elsewhere").replay_workflow(history)


@workflow.defn(name="scn.replayer.parent")
async def parent() -> str:
    handle = await workflow.start_child_workflow(where(), cron_schedule="0 0 1 1 *")
    handle.cancel()
    try:
        await workflow.start_child_workflow(where(), cron_schedule="never")
    except ValueError as error:
        return str(error)
    raise AssertionError("it is refused")


async def test_children_with_cron_schedules_replay_as_they_ran(plain: Env) -> None:
    async with plain.worker(parent, where, greet):
        handle = await plain.start(parent())
        assert "cron_schedule" in await handle.result(timeout=PATIENCE)
    await Replayer(workflows=[parent], strict=True).replay_workflow(await handle.fetch_history())


# ---------------------------------------------------------------------- events, one after the other


async def test_events_come_page_by_page(plain: Env) -> None:
    async with plain.worker(Hello, greet):
        handle = await plain.start(Hello.run("Ada"))
        await handle.result(timeout=PATIENCE)
    whole = list((await handle.fetch_history()).events)
    found = handle.fetch_history_events(page_size=3)
    assert [await anext(found) for _ in range(3)] == whole[:3]
    assert found.current_page == whole[:3]
    assert found.current_page_index == 3
    token = found.next_page_token
    assert [event async for event in found] == whole[3:]
    assert found.next_page_token is None
    assert [event async for event in handle.fetch_history_events(next_page_token=token)] == whole[3:]
    await (page := handle.fetch_history_events()).fetch_next_page(page_size=2)
    assert page.current_page == whole[:2]
    closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
    assert [
        one async for one in handle.fetch_history_events(page_size=2, event_filter_type=closing)
    ] == whole[-1:]
    assert list((await handle.fetch_history(event_filter_type=closing)).events) == whole[-1:]
    listed = plain.client.list_workflows(f"WorkflowId = '{handle.id}'").map_histories(
        event_filter_type=closing
    )
    assert [list(one.events) async for one in listed] == [whole[-1:]]
    for wrong in (0, 10_001):
        with pytest.raises(ValueError, match="page_size"):
            handle.fetch_history_events(page_size=wrong)
    with pytest.raises(ValueError, match="next_page_token"):
        handle.fetch_history_events(next_page_token=b"?")


async def test_events_can_be_waited_for(plain: Env) -> None:
    handle = await plain.start(Hello.run("Ada", "waits"))
    closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
    assert [one async for one in handle.fetch_history_events(event_filter_type=closing)] == []
    seen: list[str] = []

    async def follow() -> None:
        async for one in handle.fetch_history_events(page_size=1, wait_new_event=True):
            seen.append(kind(one))

    async def last() -> list[str]:
        waits = handle.fetch_history_events(wait_new_event=True, event_filter_type=closing)
        return [kind(one) async for one in waits]

    follower, waiter = asyncio.create_task(follow()), asyncio.create_task(last())
    await until("the first event is seen", lambda: seen == ["Started"])
    async with plain.worker(Hello, greet):
        await until("more is seen", lambda: len(seen) >= 3)
        assert not waiter.done()
        await handle.signal(Hello.finish())
        await asyncio.wait_for(follower, PATIENCE)
        assert await asyncio.wait_for(waiter, PATIENCE) == ["Completed"]
    assert seen == await events(handle)


@pytest.mark.owner
async def test_events_of_what_is_not_there(plain: Env) -> None:
    nobody = plain.client.get_workflow_handle("nobody")
    with pytest.raises(WorkflowNotFoundError):
        await anext(nobody.fetch_history_events())
    with pytest.raises(WorkflowNotFoundError):
        await nobody.fetch_history()
    async with plain.worker(Hello, greet):
        handle = await plain.client.start_workflow(Hello.run("Ada", "waits"))
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
    follower = handle.fetch_history_events(wait_new_event=True)
    for _ in range(3):
        await anext(follower)
    await handle.terminate()
    await handle.delete()
    with pytest.raises(WorkflowNotFoundError):
        await anext(follower)


async def test_interceptors_see_how_events_are_asked_for(store_url: str) -> None:
    from durable import Client

    seen: list[Any] = []

    class _Out(OutboundInterceptor):
        def fetch_workflow_history_events(self, input: FetchWorkflowHistoryEventsInput) -> Any:
            seen.append(
                (input.page_size, input.next_page_token, input.wait_new_event, input.event_filter_type)
            )
            input.page_size = 1
            return super().fetch_workflow_history_events(input)

    class In(Interceptor):
        def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
            return _Out(next)

    async with Client.connect(store_url, interceptors=[In()]) as client:
        handle = await client.start_workflow(Hello.run("Ada"))
        found = handle.fetch_history_events(page_size=7, next_page_token=b"0")
        await anext(found)
        assert found.next_page_token == b"1"
        await handle.terminate()
    assert seen == [(7, b"0", False, WorkflowHistoryEventFilterType.ALL_EVENT)]
