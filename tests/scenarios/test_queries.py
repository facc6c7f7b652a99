"""Queries from outside: what they see, what they are refused, and callers that do not have the workflow's code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import durable.client._query as query_module
from durable import Client, RetryPolicy, activity, workflow
from durable.common import QueryRejectCondition
from durable.converter import DataConverter
from durable.exceptions import (
    ApplicationError,
    ConversionError,
    WorkflowNotFoundError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowQueryTimeoutError,
)
from durable.store import beneath
from tests.scenarios.rig import PATIENCE, Env, events, fails, reached, until
from tests.scenarios.test_codec import SECRET, Toy


@workflow.defn(name="scn.q.counts")
class Counts:
    def __init__(self) -> None:
        self.seen: list[int] = []
        self.event = asyncio.Event()

    @workflow.run
    async def run(self, until: int) -> int:
        workflow.logger.warning("begins")
        waiting = asyncio.ensure_future(self.event.wait())
        await workflow.wait_condition(lambda: len(self.seen) >= until)
        workflow.logger.warning("ends")
        self.event.set()
        await waiting
        return len(self.seen)

    @workflow.signal
    def add(self, number: int) -> None:
        self.seen.append(number)

    @workflow.query(description="How many there were")
    def count(self) -> int:
        return len(self.seen)

    @workflow.query
    def item(self, index: int, default: str = "none") -> str:
        return str(self.seen[index]) if index < len(self.seen) else default

    @workflow.query
    def fails(self) -> None:
        raise ApplicationError("not today")

    @workflow.query
    def text(self) -> str:
        return "no number"

    @workflow.query
    def spoils(self) -> str:
        self.event.set()
        return "done"


class Stranger:
    """A client of another process, without a worker and, as far as queries know, without any code."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def handle(self, of: Any) -> Any:
        return self.client.get_workflow_handle(of.id)


@pytest.fixture
async def stranger(store_url: str, proxied: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stranger]:
    monkeypatch.setattr(query_module, "definition_for", lambda *about: None)
    async with Client.connect(store_url) as client:
        yield Stranger(client)


@pytest.mark.temporal("query/successful_query")
async def test_whoever_does_not_have_the_code_asks_the_workers(env: Env, stranger: Stranger) -> None:
    async with env.worker(Counts):
        handle = await env.start(Counts.run(5))
        away = stranger.handle(handle)
        assert await away.query("count") == 0
        for number in range(4):
            await handle.signal(Counts.add(number))
            assert await away.query("count") == number + 1, "it sees what was acknowledged before"
        assert await away.query("item", 2) == "2"
        assert await away.query("item", args=[9, "nothing"]) == "nothing"
        told = await away.query("__temporal_workflow_metadata")
        assert told["definition"]["type"] == "scn.q.counts"
        assert "wait_condition" in await away.query("__stack_trace")
        before = await events(handle)
        assert await away.query("count") == 4
        assert await events(handle) == before, "a query leaves no trace"
        await handle.signal(Counts.add(9))
        assert await handle.result(timeout=PATIENCE) == 5
        assert await away.query("count") == 5, "and closed runs answer"


async def test_a_run_that_nobody_owns_is_answered_for_by_replay(env: Env, stranger: Stranger) -> None:
    async with env.worker(Counts):
        handle = await env.start(Counts.run(2))
        await handle.signal(Counts.add(1))
        await reached(handle, "Started", "Signaled")
    asked = asyncio.ensure_future(stranger.handle(handle).query("count"))
    await asyncio.sleep(0.05)
    assert not asked.done(), "nobody is there to answer"
    async with env.worker(Counts):
        assert await asyncio.wait_for(asked, PATIENCE) == 1


@pytest.mark.temporal("query/unexpected_query_type_name", "query/unexpected_arguments")
async def test_failures_come_back_as_they_are(env: Env, stranger: Stranger) -> None:
    async with env.worker(Counts):
        handle = await env.start(Counts.run(1))
        for asker in (handle, stranger.handle(handle)):
            with pytest.raises(
                WorkflowQueryFailedError, match=r"no query 'nosuch' \(it has: .*count, fails, item"
            ):
                await asker.query("nosuch")
            with pytest.raises(
                WorkflowQueryFailedError, match="query 'fails' failed: ApplicationError: not today"
            ):
                await asker.query("fails")
            for wrong in ([], ["a", "b"], [1, "b", 3]):
                with pytest.raises(WorkflowQueryFailedError, match="query 'item' failed"):
                    await asker.query("item", args=wrong)
        with pytest.raises(TypeError):
            await handle.query(Counts.item("a", "b", "c"))  # type: ignore[call-arg]
    assert await events(handle) == ["Started"], "a query leaves no event"


@pytest.mark.temporal("query/unexpected_return_type")
async def test_an_answer_of_another_type_than_was_asked_for(env: Env, stranger: Stranger) -> None:
    async with env.worker(Counts):
        handle = await env.start(Counts.run(1))
        for asker in (handle, stranger.handle(handle)):
            with pytest.raises(ConversionError, match="result of query text"):
                await asker.query("text", result_type=int)
            assert await asker.query("text", result_type=str) == "no number"
        assert await events(handle) == ["Started"], "a question leaves nothing"


@pytest.mark.temporal("query/timeout_due_to_no_active_workers")
async def test_timeout_due_to_no_active_workers(env: Env, stranger: Stranger) -> None:
    handle = await env.start(Counts.run(1))
    away = stranger.handle(handle)
    with pytest.raises(
        WorkflowQueryTimeoutError, match=r"within 0.2 s: .* does not know workflow 'scn.q.counts'"
    ):
        await away.query("count", rpc_timeout=0.2)
    await handle.signal(Counts.add(1))
    for asker in (handle, away):
        with pytest.raises(WorkflowQueryTimeoutError, match="has not read 1 messages"):
            await asker.query("count", rpc_timeout=0.2)
    async with env.worker(Counts):
        assert await away.query("count") == 1
        assert await handle.result(timeout=PATIENCE) == 1
    assert await events(handle) == ["Started", "Signaled", "Completed"]


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "soon"])
async def test_a_timeout_that_is_none_is_refused(plain: Env, wrong: Any) -> None:
    handle = await plain.start(Counts.run(1))
    with pytest.raises((ValueError, TypeError), match="rpc_timeout"):
        await handle.query(Counts.count(), rpc_timeout=wrong)


async def test_of_an_unknown_workflow(env: Env, stranger: Stranger) -> None:
    for client in (env.client, stranger.client):
        with pytest.raises(WorkflowNotFoundError):
            await client.get_workflow_handle("nobody").query("count")


async def test_others_answer_when_the_owner_does_not(plain: Env, stranger: Stranger) -> None:
    """The owner is asked first; if it is silent for a second, whoever serves the queue answers from the log."""
    hung: list[Any] = []

    async def hangs(take: Callable[..., Any], worker_id: str, *args: Any, **more: Any) -> Any:
        hung.append(worker_id)
        return []

    async with plain.worker(Counts):
        handle = await plain.start(Counts.run(1))
        plain.store.hooks["take_questions"] = hangs
        await until("the owner has run it", lambda: reached_first(handle))
        async with stranger_worker(plain, stranger):
            assert await stranger.handle(handle).query("count") == 0
            assert hung
        plain.store.hooks.clear()


async def reached_first(handle: Any) -> bool:
    return (await handle.describe()).owner is not None


def stranger_worker(env: Env, stranger: Stranger) -> Any:
    return env.worker(Counts, client=stranger.client)


async def test_many_at_once(env: Env, stranger: Stranger) -> None:
    async with env.worker(Counts):
        handles = [await env.start(Counts.run(1)) for _ in range(5)]
        asked = [stranger.handle(handle).query("count") for handle in handles for _ in range(8)]
        assert await asyncio.gather(*asked) == [0] * 40


async def test_what_a_query_has_spoiled_is_made_anew(env: Env, stranger: Stranger) -> None:
    """A handler that wakes the workflow has half changed it; the run goes on as its log says, as if not asked."""
    async with env.worker(Counts):
        handle = await env.start(Counts.run(1))
        for asker in (handle, stranger.handle(handle)):
            with pytest.raises(WorkflowQueryFailedError, match="RuntimeError"):
                await asker.query("spoils")
            assert await asker.query("count") == 0
        await handle.signal(Counts.add(1))
        assert await handle.result(timeout=PATIENCE) == 1
    assert await events(handle) == ["Started", "Signaled", "Completed"]


async def test_who_only_looks_logs_nothing(plain: Env, caplog: pytest.LogCaptureFixture) -> None:
    """A query that runs the code up to the present is no worker: what the code says on its way is said by its owner."""

    def said() -> list[str]:
        own = [record.getMessage() for record in caplog.records if "scn.q.counts" in record.getMessage()]
        return [text.split(" (")[0] for text in own]

    with caplog.at_level(logging.WARNING, "durable.workflow"):
        handle = await plain.start(Counts.run(1))
        assert await handle.query(Counts.count()) == 0, "by replay, of a task that nobody has run yet"
        assert said() == []
        async with plain.worker(Counts):
            await until("its owner has run it", lambda: said() == ["begins"])
            await handle.signal(Counts.add(1))
            await handle.result(timeout=PATIENCE)
        assert await handle.query(Counts.count()) == 1
    assert said() == ["begins", "ends"]


@activity.defn(name="scn.q.raises", retry_policy=RetryPolicy(maximum_attempts=1))
async def raises() -> None:
    raise ApplicationError("no")


@workflow.defn(name="scn.q.ends")
class Ends:
    @workflow.run
    async def run(self, how: str) -> None:
        if how == "fails":
            await raises()
        elif how != "completes":
            await workflow.sleep(3600)

    @workflow.query
    def how(self) -> str:
        return "asked"


@pytest.mark.parametrize("how", ["runs", "completes", "fails", "is cancelled", "is terminated"])
async def test_reject_conditions(plain: Env, how: str) -> None:
    async with plain.worker(Ends, raises):
        handle = await plain.start(Ends.run(how))
        if how == "is cancelled":
            await handle.cancel()
        elif how == "is terminated":
            await handle.terminate()
        if how == "completes":
            await handle.result(timeout=PATIENCE)
        elif how != "runs":
            await fails(handle)
        assert await handle.query(Ends.how()) == "asked"
        assert await handle.query(Ends.how(), reject_condition=QueryRejectCondition.NONE) == "asked"
        for condition, refused in (
            (QueryRejectCondition.NOT_OPEN, how != "runs"),
            (QueryRejectCondition.NOT_COMPLETED_CLEANLY, how not in ("runs", "completes")),
        ):
            if refused:
                with pytest.raises(WorkflowQueryRejectedError, match=condition.name) as caught:
                    await handle.query(Ends.how(), reject_condition=condition)
                assert caught.value.status is (await handle.describe()).status
            else:
                assert await handle.query(Ends.how(), reject_condition=condition) == "asked"


async def test_a_client_may_reject_by_default(store_url: str) -> None:
    condition = QueryRejectCondition.NOT_OPEN
    async with Client.connect(store_url, default_workflow_query_reject_condition=condition) as client:
        env = Env(client, 1000)
        async with env.worker(Ends, raises):
            handle = await env.start(Ends.run("completes"))
            await handle.result(timeout=PATIENCE)
            with pytest.raises(WorkflowQueryRejectedError):
                await handle.query(Ends.how())
            none = QueryRejectCondition.NONE
            assert await handle.query(Ends.how(), reject_condition=none) == "asked"


async def test_questions_and_answers_pass_the_codec(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked, answered and complained about is stored as the codec makes it."""
    monkeypatch.setattr(query_module, "definition_for", lambda *about: None)
    converter = DataConverter(payload_codec=Toy())
    stored: list[bytes] = []
    async with (
        Client.connect(store_url, data_converter=converter) as client,
        Client.connect(store_url, data_converter=converter) as away,
    ):
        for store in (beneath(client.store), beneath(away.store)):
            keep(store, "ask", lambda question: [question.input], stored, monkeypatch)
            keep(
                store, "answer_questions", lambda answers: [one.data for one in answers], stored, monkeypatch
            )
        env = Env(client, 1000)
        async with env.worker(Counts):
            handle = await client.start_workflow(Counts.run(1))
            asker = away.get_workflow_handle(handle.id)
            assert await asker.query("item", args=[5, SECRET]) == SECRET
            with pytest.raises(WorkflowQueryFailedError, match="not today"):
                await asker.query("fails")
    assert len(stored) == 4
    assert not any(SECRET.encode() in data or b"not today" in data for data in stored)


def keep(
    store: Any,
    name: str,
    bytes_of: Callable[[Any], list[bytes]],
    stored: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Note what a method of a store is given."""
    real = getattr(store, name)

    async def noted(given: Any) -> Any:
        stored.extend(bytes_of(given))
        return await real(given)

    monkeypatch.setattr(store, name, noted)
