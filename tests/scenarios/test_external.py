"""Messages from one workflow to another that is not its child."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import ApplicationError, Signal, workflow
from durable.exceptions import CancelledError, ConversionError
from tests.scenarios.rig import PATIENCE, Env, event, events, fails

go: Signal[str] = Signal("ext.go", str)


@workflow.defn(name="ext.receives")
async def receives(n: int) -> list[str]:
    return [await go.receive() for _ in range(n)]


@workflow.defn(name="ext.class")
class Receiver:
    def __init__(self) -> None:
        self.seen: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: len(self.seen) == 3)
        return self.seen

    @workflow.signal
    def add(self, n: int) -> None:
        self.seen.append(n)


@workflow.defn(name="ext.sends")
async def sends(to: str, texts: list[str]) -> None:
    other = workflow.get_external_workflow_handle_for(receives, to)
    for text in texts:
        await other.signal(go(text))


@workflow.defn(name="ext.errs")
async def errs(to: str, run_id: str | None, what: str) -> list[str]:
    other = workflow.get_external_workflow_handle(to, run_id=run_id)
    try:
        await (other.signal(go("x")) if what == "signal" else other.cancel("enough"))
    except ApplicationError as error:
        return [str(error.type), error.message]
    return []


@pytest.mark.temporal("signal/external", "signal/workflow_to_workflow")
async def test_signals_arrive_in_order(env: Env) -> None:
    async with env.worker(receives, sends):
        other = await env.start(receives(3))
        handle = await env.start(sends(other.id, ["a", "b", "c"]))
        await handle.result(timeout=PATIENCE)
        assert await other.result(timeout=PATIENCE) == ["a", "b", "c"]
    assert await events(handle) == [
        "Started",
        *["SignalExternalInitiated", "ExternalSignaled"] * 3,
        "Completed",
    ]
    assert (await event(other, "Signaled")).identity == f"workflow {handle.id}"


async def test_in_class_style_and_by_name(env: Env) -> None:
    @workflow.defn(name="ext.all_ways")
    async def all_ways(to: str) -> None:
        typed = workflow.get_external_workflow_handle_for(Receiver.run, to)
        await typed.signal(Receiver.add(1))
        await typed.signal(Receiver.add, 2)
        await workflow.get_external_workflow_handle(to).signal("add", args=[3])

    async with env.worker(Receiver, all_ways):
        other = await env.start(Receiver.run())
        handle = await env.start(all_ways(other.id))
        await handle.result(timeout=PATIENCE)
        assert await other.result(timeout=PATIENCE) == [1, 2, 3]


@pytest.mark.temporal("workflow/cancel_external")
async def test_a_workflow_cancels_another(env: Env) -> None:
    async with env.worker(receives, errs):
        other = await env.start(receives(1))
        handle = await env.start(errs(other.id, None, "cancel"))
        assert await handle.result(timeout=PATIENCE) == []
        assert isinstance(await fails(other), CancelledError)
    assert await events(handle) == [
        "Started", "RequestCancelExternalInitiated", "ExternalCancelRequested", "Completed"
    ]  # fmt: skip
    assert (await event(other, "CancelRequested")).reason == "enough"


@pytest.mark.parametrize("what", ["signal", "cancel"])
async def test_nobody_is_there(env: Env, what: str) -> None:
    async with env.worker(receives, errs):
        closed = await env.start(receives(0))
        await closed.result(timeout=PATIENCE)
        other = await env.start(receives(1))
        told: list[Any] = []
        for to, run_id in (("nobody", None), (closed.id, None), (other.id, closed.result_run_id)):
            handle = await env.start(errs(to, run_id, what))
            told.append(await handle.result(timeout=PATIENCE))
        await other.signal(go("end"))
        assert await other.result(timeout=PATIENCE) == ["end"]
    for (kind, message), to in zip(told, ("nobody", closed.id, other.id), strict=True):
        assert kind == "ExternalWorkflowExecutionNotFound"
        assert message == f"unable to {what} external workflow {to!r}: it was not found, or is closed"


async def test_what_cannot_be_sent_is_refused_where_it_is_asked_for(env: Env) -> None:
    @workflow.defn(name="ext.wrong")
    async def wrong() -> list[str]:
        other = workflow.get_external_workflow_handle_for(Receiver.run, "x")
        out: list[str] = []
        for attempt in (
            lambda: other.signal(Receiver.add("three")),  # type: ignore[arg-type]
            lambda: other.signal(Receiver.add(1), 2),  # type: ignore[call-overload]
            lambda: other.signal(3),  # type: ignore[call-overload]
            lambda: other.cancel(3),  # type: ignore[arg-type]
        ):
            try:
                await attempt()
            except (TypeError, ConversionError) as error:
                out.append(f"{type(error).__name__}: {error}")
        return out

    told = await env.run(wrong(), wrong)
    assert [line.split(":")[0] for line in told] == ["ConversionError", "TypeError", "TypeError", "TypeError"]


async def test_an_await_that_is_cancelled_leaves_the_message_on_its_way(env: Env) -> None:
    @workflow.defn(name="ext.hasty")
    async def hasty(to: str) -> str:
        other = workflow.get_external_workflow_handle_for(receives, to)
        unsent = asyncio.ensure_future(other.signal(go("never")))
        await asyncio.sleep(0)
        unsent.cancel()
        sending = asyncio.ensure_future(other.signal(go("sent")))
        await asyncio.sleep(0.001)
        sending.cancel()
        return "left"

    async with env.worker(receives, hasty):
        other = await env.start(receives(1))
        handle = await env.start(hasty(other.id))
        assert await handle.result(timeout=PATIENCE) == "left"
        assert await other.result(timeout=PATIENCE) == ["sent"]
    assert (await events(handle)).count("SignalExternalInitiated") == 1


async def test_a_signal_with_the_last_task_is_sent(env: Env) -> None:
    @workflow.defn(name="ext.parting")
    async def parting(to: str) -> None:
        other = workflow.get_external_workflow_handle_for(receives, to)
        task = asyncio.ensure_future(other.signal(go("goodbye")))
        await asyncio.sleep(0)
        assert not task.done()

    async with env.worker(receives, parting):
        other = await env.start(receives(1))
        handle = await env.start(parting(other.id))
        await handle.result(timeout=PATIENCE)
        assert await other.result(timeout=PATIENCE) == ["goodbye"]
    assert await events(handle) == ["Started", "SignalExternalInitiated", "Completed"]


async def test_two_workflows_that_signal_each_other(env: Env) -> None:
    @workflow.defn(name="ext.ping")
    async def ping(other: str, n: int, first: bool) -> int:
        handle = workflow.get_external_workflow_handle_for(ping, other)
        if first:
            await handle.signal(go("0"))
        for _ in range(n):
            await handle.signal(go(str(int(await go.receive()) + 1)))
        return int(await go.receive()) if first else 0

    async with env.worker(ping):
        other = await env.start(ping("ping", 5, False), id="pong")
        handle = await env.start(ping("pong", 4, True), id="ping")
        assert await handle.result(timeout=PATIENCE) == 9
        await other.result(timeout=PATIENCE)
