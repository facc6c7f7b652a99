"""Workflows that are found by a key of the application's, and told something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from durable import Client, Signal, workflow
from durable.client import Interceptor, OutboundInterceptor, SignalCorrelatedInput, WorkflowHandle
from durable.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowExecutionStatus,
)
from durable.exceptions import AmbiguousWorkflowError, StoreUnavailableError, WorkflowNotFoundError
from durable.store import Hint, HintKind
from tests.scenarios.rig import PATIENCE, Env, events, reached, until

order = SearchAttributeKey.for_keyword("CorOrder")
due = SearchAttributeKey.for_datetime("CorDue")
number = SearchAttributeKey.for_int("CorNumber")
words = SearchAttributeKey.for_text("CorWords")
tags = SearchAttributeKey.for_keyword_list("CorTags")

say: Signal[str] = Signal("cor.say", str)


@workflow.defn(name="cor.waits")
async def waits() -> str:
    return await say.receive()


@workflow.defn(name="cor.moves")
async def moves() -> str:
    first = await say.receive()
    workflow.upsert_search_attributes([order.value_set("second")])
    return first + await say.receive()


@workflow.defn(name="cor.chained")
async def chained(left: int) -> str:
    said = await say.receive()
    if not left:
        return said
    workflow.continue_as_new(left - 1)


def having(*pairs: tuple[Any, Any]) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])


async def test_the_one_that_has_the_attribute_is_signalled(env: Env) -> None:
    async with env.worker(waits):
        when = datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
        first = await env.start(waits(), id="1", search_attributes=having((order, "o'1\\"), (due, when)))
        second = await env.start(waits(), id="2", search_attributes=having((order, "o-2"), (number, 7)))
        third = await env.start(waits(), id="3", search_attributes=having((order, "o-2")))
        (told,) = await env.client.correlated(order, "o'1\\").signal(say("a"))
        assert (told.id, told.run_id) == ("1", first.first_execution_run_id)
        assert await first.result(timeout=PATIENCE) == "a"
        with pytest.raises(WorkflowNotFoundError, match="no open workflow has CorDue = "):
            await env.client.correlated(due, when).signal(say("late"))
        with pytest.raises(AmbiguousWorkflowError, match="2 open workflows have CorOrder = 'o-2'") as several:
            await env.client.correlated(order, "o-2").signal(say("who?"))
        assert sorted(several.value.workflow_ids) == ["2", "3"]
        (told,) = await env.client.correlated(number, 7).signal("cor.say", "b")
        assert await told.result(timeout=PATIENCE) == "b"
        assert await second.result(timeout=PATIENCE) == "b"
        assert await events(third) == ["Started"]
        fourth = await env.start(waits(), id="4", search_attributes=having((order, "o-2")))
        got = await env.client.correlated(order, "o-2").signal(say, "c", many=True)
        assert {handle.id for handle in got} == {"3", "4"}
        assert [await handle.result(timeout=PATIENCE) for handle in (third, fourth)] == ["c", "c"]


async def test_what_it_has_now_counts(env: Env) -> None:
    async with env.worker(moves):
        handle = await env.start(moves(), id="m", search_attributes=having((order, "first")))
        await env.client.correlated(order, "first").signal(say("a"))
        await reached(handle, "Started", "Signaled", "UpsertWorkflowSearchAttributes")
        with pytest.raises(WorkflowNotFoundError):
            await env.client.correlated(order, "first").signal(say("b"))
        await env.client.correlated(order, "second").signal(say("c"))
        assert await handle.result(timeout=PATIENCE) == "ac"


async def test_cancel(env: Env) -> None:
    async with env.worker(waits):
        handle = await env.start(waits(), id="c", search_attributes=having((order, "o")))
        await env.client.correlated(order, "o").cancel("recall", request_id="r")
        await until("it has ended", lambda: _closed(handle))
        assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
        with pytest.raises(WorkflowNotFoundError):
            await env.client.correlated(order, "o").cancel("recall", request_id="r")


async def _closed(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).close_time is not None


async def test_one_that_goes_on_meanwhile_is_found_again(plain: Env) -> None:
    async with plain.worker(chained):
        handle = await plain.start(chained(1), id="x", search_attributes=having((order, "o")))
        moved = False

        async def goes_on(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            """Between the look and the send."""
            nonlocal moved
            if not moved:
                moved = True
                await handle.signal(say("go on"))
                await until("it went on", _went_on)
            return await call(*args, **kwargs)

        async def _went_on() -> bool:
            newest = await plain.client.get_workflow_handle("x").describe()
            return newest.run_id != handle.first_execution_run_id

        plain.store.hooks["send_to_found"] = goes_on
        await plain.client.correlated(order, "o").signal(say("end"))
        assert await handle.result(timeout=PATIENCE) == "end"


async def test_a_second_one_that_comes_meanwhile_is_seen(plain: Env) -> None:
    async with plain.worker(waits):
        first = await plain.start(waits(), id="1", search_attributes=having((order, "o")))

        async def one_more(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            plain.store.hooks.clear()
            await plain.start(waits(), id="2", search_attributes=having((order, "o")))
            return await call(*args, **kwargs)

        plain.store.hooks["send_to_found"] = one_more
        with pytest.raises(AmbiguousWorkflowError):
            await plain.client.correlated(order, "o").signal(say("a"))
        assert await events(first) == ["Started"]
        await plain.client.correlated(order, "o").signal(say("a"), many=True)
        assert await first.result(timeout=PATIENCE) == "a"


async def test_an_answer_that_was_lost_is_no_second_signal(plain: Env) -> None:
    """It closes over the signal before the client asks again, and another one comes to have the attribute."""
    async with plain.worker(waits):
        first = await plain.start(waits(), id="1", search_attributes=having((order, "o")))

        async def lost(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
            sent = await call(*args, **kwargs)
            if others:
                return sent
            plain.store.hint([Hint(HintKind.MESSAGE, first.first_execution_run_id or "")])
            assert await first.result(timeout=PATIENCE) == "a"
            others.append(await plain.start(waits(), id="2", search_attributes=having((order, "o"))))
            raise StoreUnavailableError("the answer was lost")

        others: list[Any] = []
        plain.store.hooks["send_to_found"] = lost
        (told,) = await plain.client.correlated(order, "o").signal(say("a"))
        assert told.id == "1"
        assert await events(others[0]) == ["Started"]
        await others[0].terminate()


async def test_no_transaction_of_a_callers(plain: Env) -> None:
    """Which workflow is meant is looked up where it is told, and that is a transaction of its own."""
    told: Any = plain.client.correlated(order, "o")
    for call in (told.signal(say("a"), connection=None), told.cancel(connection=None)):
        with pytest.raises(TypeError, match=r"has no option 'connection': .* named by its id"):
            await call
    one: Any = plain.client.get_workflow_handle("w")
    with pytest.raises(TypeError, match="has no option 'connection': this cannot be part of a transaction"):
        await one.terminate(connection=None)


async def test_a_request_is_taken_once(plain: Env) -> None:
    async with plain.worker(moves):
        handle = await plain.start(moves(), id="1", search_attributes=having((number, 3)))
        for _ in range(2):
            await plain.client.correlated(number, 3).signal(say("a"), request_id="hook-1")
            await until("it was read", lambda: _seen(handle, 3))
        await plain.client.correlated(number, 3).signal(say("b"), request_id="hook-2")
        assert await handle.result(timeout=PATIENCE) == "ab"


async def _seen(handle: WorkflowHandle[Any, Any], least: int) -> bool:
    return len(await events(handle)) >= least


class Marks(Interceptor):
    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return Marking(next)


class Marking(OutboundInterceptor):
    async def signal_correlated(self, input: SignalCorrelatedInput) -> Any:
        input.args = [f"<{input.args[0]}>"]
        return await super().signal_correlated(input)


async def test_interceptors_see_it(plain: Env, store_url: str) -> None:
    async with plain.worker(waits), Client.connect(store_url, interceptors=[Marks()]) as client:
        handle = await plain.start(waits(), id="1", search_attributes=having((order, "o")))
        await client.correlated(order, "o").signal(say("a"))
        assert await handle.result(timeout=PATIENCE) == "<a>"


async def test_what_is_no_key_is_refused(plain: Env) -> None:
    correlated: Any = plain.client.correlated
    for key, value in ((words, "a b"), (tags, ["a"])):
        with pytest.raises(ValueError, match="has many values, and is no key"):
            correlated(key, value)
    with pytest.raises(TypeError, match="CorNumber"):
        correlated(number, "7")
    with pytest.raises(TypeError, match="SearchAttributeKey"):
        correlated("CorOrder", "o")
    with pytest.raises(WorkflowNotFoundError):
        await correlated(order, "nobody").signal(say("a"))
    with pytest.raises(ValueError, match="of type Keyword in this database, not Int"):
        await correlated(SearchAttributeKey.for_int("CorOrder"), 1).signal(say("a"))
    with pytest.raises(TypeError, match="expected a SignalCall"):
        await correlated(order, "o").signal(7)
