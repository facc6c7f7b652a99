"""Code that is at fault: blocked visibly, with a reason that helps, and resumed by the next deploy."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from durable import ActivityError, ApplicationError, RetryPolicy, Signal, activity, workflow
from durable.exceptions import (
    CancelledError,
    TerminatedError,
)
from tests.scenarios.rig import PATIENCE, Env, events, fails, held, reached, until

go: Signal[Any] = Signal[Any]("scn.faults.go")
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn(name="scn.faults.one")
async def one() -> int:
    return 1


@activity.defn(name="scn.faults.two")
async def two() -> int:
    return 2


# --- workflow failures and workflow task failures ---


@pytest.mark.temporal("workflow/timeout_error")
async def test_an_application_error_closes_and_a_bug_blocks(
    env: Env, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow.defn(name="scn.faults.raises")
    async def raises(what: str) -> None:
        await one()
        if what == "application":
            raise ApplicationError("on purpose", 7, type="Mine", non_retryable=True)
        if what == "timeout":
            raise TimeoutError("the builtin one")
        if what == "cancelled":
            raise asyncio.CancelledError
        raise KeyError(what)

    async with env.worker(raises, one):
        handle = await env.start(raises("application"))
        cause = await fails(handle)
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.message, list(cause.details)) == ("Mine", "on purpose", [7])
        assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Failed"]
        handle = await env.start(raises("timeout"))
        assert "the builtin one" in str(await fails(handle))
        handle = await env.start(raises("cancelled"))
        assert await fails(handle) is not None
        assert (await handle.describe()).status.name == "FAILED", "nobody asked for it"
        blocked = await env.start(raises("a bug"))
        reason = await held(blocked)
    assert "KeyError" in reason
    assert "a bug" in reason
    told = await blocked.describe()
    assert (told.status.name, told.hold, told.owner) == ("RUNNING", "blocked", None)
    assert await events(blocked) == ["Started", "ActivityScheduled", "ActivityCompleted"]
    shown = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert any("KeyError" in record.getMessage() and "raises" in record.getMessage() for record in shown)
    await blocked.terminate()


async def test_types_that_fail_a_workflow_by_choice(env: Env) -> None:
    @workflow.defn(name="scn.faults.by_choice", failure_exception_types=[KeyError])
    async def by_choice() -> None:
        raise KeyError("chosen")

    async with env.worker(by_choice):
        handle = await env.start(by_choice())
        cause = await fails(handle)
    assert isinstance(cause, ApplicationError)
    assert cause.type == "KeyError"


async def test_a_blocked_run_does_not_grow_and_resumes_with_fixed_code(env: Env) -> None:
    @workflow.defn(name="scn.faults.fixed")
    async def broken() -> int:
        got = await one()
        raise KeyError("bug")
        return got

    async with env.worker(broken, one):
        handle = await env.start(broken())
        await held(handle)
        size = len(await events(handle))
    assert size == 3

    @workflow.defn(name="scn.faults.fixed")
    async def fixed() -> int:
        return await one() + await two()

    env.handles[-1] = (handle, fixed.definition)
    async with env.worker(fixed, one, two):
        assert await handle.result(timeout=PATIENCE) == 3
    assert await events(handle) == [
        "Started", "ActivityScheduled", "ActivityCompleted", "ActivityScheduled", "ActivityCompleted", "Completed"
    ]  # fmt: skip
    told = await handle.describe()
    assert (told.hold, told.reason) == ("", ""), "a run that went on is not held any more"


async def test_a_blocked_run_keeps_what_its_activities_and_senders_bring(env: Env) -> None:
    gate = asyncio.Event()
    ran = []

    @activity.defn(name="scn.faults.gated", retry_policy=ONCE)
    async def gated() -> str:
        ran.append(1)
        await gate.wait()
        return "paid"

    @workflow.defn(name="scn.faults.keeps")
    async def broken() -> Any:
        running = gated.start()
        await one()
        raise KeyError("bug")
        return running

    async with env.worker(broken, one, gated):
        handle = await env.start(broken())
        await held(handle)
        await handle.signal(go("kept"))
        gate.set()

        async def posted() -> bool:
            return len(await env.client.store.read_messages([handle.result_run_id])) == 2

        await until("result and signal are in the inbox", posted)

    @workflow.defn(name="scn.faults.keeps")
    async def fixed() -> Any:
        running = gated.start()
        await one()
        return [await running, await go.receive()]

    env.handles[-1] = (handle, fixed.definition)
    async with env.worker(fixed, one, gated):
        assert await handle.result(timeout=PATIENCE) == ["paid", "kept"]
    assert ran == [1]


# --- nondeterminism ---


async def test_changed_code_is_told_in_two_columns_and_the_old_code_resumes(env: Env) -> None:
    @workflow.defn(name="scn.faults.changed")
    async def first() -> Any:
        got = await one()
        return [got, await go.receive()]

    @workflow.defn(name="scn.faults.changed")
    async def second() -> Any:
        got = await two()
        return [got, await go.receive()]

    async with env.worker(first, one, two):
        handle = await env.start(first())
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
    env.handles[-1] = (handle, first.definition)
    await handle.signal(go("signal"))
    async with env.worker(second, one, two):
        reason = await held(handle)
    for part in ("scn.faults.one", "scn.faults.two", "test_faults.py", "scn.faults.changed"):
        assert part in reason, reason
    line = second.fn.__code__.co_firstlineno + 2
    assert f"test_faults.py:{line}" in reason, reason
    size = len(await events(handle))
    async with env.worker(first, one, two):
        assert await handle.result(timeout=PATIENCE) == [1, "signal"]
    assert size == 3


@pytest.mark.parametrize("change", ["timer for activity", "one more", "one less", "other order"])
async def test_every_kind_of_change_is_noticed(env: Env, change: str) -> None:
    @workflow.defn(name="scn.faults.kinds")
    async def first() -> Any:
        await one()
        await asyncio.gather(one(), two())
        return await go.receive()

    @workflow.defn(name="scn.faults.kinds")
    async def second() -> Any:
        if change == "timer for activity":
            await asyncio.sleep(0.001)
        else:
            await one()
        if change == "one more":
            await asyncio.gather(one(), two(), two())
        elif change == "one less":
            await asyncio.gather(one())
        else:
            await asyncio.gather(two(), one())
        return await go.receive()

    async with env.worker(first, one, two):
        handle = await env.start(first())

        async def done() -> bool:
            return (await events(handle)).count("ActivityCompleted") == 3

        await until("all activities are done", done)
    env.handles[-1] = (handle, first.definition)
    await handle.signal(go("x"))
    async with env.worker(second, one, two):
        assert "does not replay" in await held(handle)
    await handle.terminate()


async def test_changed_options_and_arguments_are_no_change(
    env: Env, caplog: pytest.LogCaptureFixture
) -> None:
    @activity.defn(name="scn.faults.takes")
    async def takes(x: int) -> int:
        return x

    @workflow.defn(name="scn.faults.options")
    async def first() -> Any:
        return [await takes(1), await go.receive()]

    @workflow.defn(name="scn.faults.options")
    async def second() -> Any:
        got = await workflow.execute_activity(
            takes, 2, start_to_close_timeout=9, retry_policy=ONCE, summary="new"
        )
        return [got, await go.receive()]

    async with env.worker(first, takes):
        handle = await env.start(first())
        await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted")
    env.handles[-1] = (handle, first.definition)
    await handle.signal(go("x"))
    async with env.worker(second, takes):
        assert await handle.result(timeout=PATIENCE) == [1, "x"]
    assert any("argument" in record.getMessage() for record in caplog.records), "changed arguments are told"


# --- what is not there ---


async def test_an_unregistered_workflow_stays_pending_with_a_reason(env: Env) -> None:
    handle = await env.start("scn.faults.unknown", 1)
    async with env.worker(two):

        async def told() -> str:
            return (await handle.describe()).reason

        reason = await until("describe says why", told)
        assert (await handle.describe()).status.name == "RUNNING"
    assert "scn.faults.unknown" in reason or "worker" in reason

    @workflow.defn(name="scn.faults.unknown")
    async def known(x: int) -> int:
        return x

    async with env.worker(known):
        assert await handle.result(timeout=PATIENCE) == 1
    assert await events(handle) == ["Started", "Completed"]
    assert (await handle.describe()).reason == ""


async def test_an_unregistered_activity_stays_pending_with_a_reason(env: Env) -> None:
    @workflow.defn(name="scn.faults.calls_unknown")
    async def calls_unknown() -> Any:
        return await workflow.execute_activity("scn.faults.unknown_activity", 5)

    @activity.defn(name="scn.faults.unknown_activity")
    async def unknown_activity(x: int) -> int:
        return x * 2

    async with env.worker(calls_unknown, two):  # the process knows it, this worker does not
        handle = await env.start(calls_unknown())
        await reached(handle, "Started", "ActivityScheduled")

        async def told() -> str:
            pending = (await handle.describe()).pending_activities
            return getattr(pending[0], "reason", "") if pending else ""

        await until("describe says why", told)

    async with env.worker(calls_unknown, unknown_activity):
        assert await handle.result(timeout=PATIENCE) == 10
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_work_that_nobody_can_serve_costs_next_to_nothing(plain: Env) -> None:
    asked = 0

    async def counted(claim: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        return await claim(*args, **kwargs)

    handle = await plain.start("scn.faults.nobody_knows")
    for name in ("claim_runs", "claim_probationer", "claim_activities", "next_wake"):
        plain.store.hooks[name] = counted
    async with plain.worker(two, poll_interval=0.5) as worker:
        await until("it has looked once", lambda: asked)
        asked = 0
        began = asyncio.get_running_loop().time()
        await until("two seconds", lambda: asyncio.get_running_loop().time() - began > 2)
        took = asyncio.get_running_loop().time() - began
        assert worker.is_running
    assert asked < 30 * took, f"{asked} questions in {took} s with a poll interval of half a second"
    await handle.terminate()


async def test_arguments_that_do_not_fit_the_workflow(env: Env) -> None:
    @workflow.defn(name="scn.faults.typed")
    async def typed(x: int, y: str = "y") -> str:
        return f"{x} {y}"

    async with env.worker(typed):
        for wrong in (lambda: typed(), lambda: typed(1, "2", 3), lambda: typed(z=1)):
            with pytest.raises(TypeError):
                await env.start(wrong())
        for values in ((), (1, "2", 3), ("not a number",)):
            handle = await env.start("scn.faults.typed", *values)
            reason = await held(handle)
            assert "scn.faults.typed" in reason or "argument" in reason, reason
            await handle.terminate()
        handle = await env.start(typed(1))
        assert await handle.result(timeout=PATIENCE) == "1 y"


async def test_arguments_that_do_not_fit_the_activity(env: Env) -> None:
    @activity.defn(name="scn.faults.typed_activity")
    async def typed_activity(x: int) -> int:
        return x

    @workflow.defn(name="scn.faults.calls_typed")
    async def calls_typed() -> list[str]:
        found = []
        for values in ((), ("x",), (1, 2)):
            try:
                await workflow.execute_activity(
                    "scn.faults.typed_activity",
                    args=list(values),
                    retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=0.01),
                )
            except ActivityError as error:
                found.append(type(error.cause).__name__)
        return found

    assert await env.run(calls_typed(), calls_typed, typed_activity) == ["ApplicationError"] * 3


# --- results that cannot be kept ---


async def test_what_cannot_be_stored_as_a_result(env: Env) -> None:
    @activity.defn(name="scn.faults.returns")
    async def returns(what: str) -> Any:
        return object() if what == "object" else "x" * (2 * 1024 * 1024 + 1)

    @workflow.defn(name="scn.faults.keeps_results")
    async def keeps_results(what: str) -> str:
        try:
            return await returns(what)
        except ActivityError as error:
            assert error.retry_state is not None  # noqa: PT017 - workflow code
            return f"{error.retry_state.name} {getattr(error.cause, 'type', None)}"

    @workflow.defn(name="scn.faults.bad_result")
    async def bad_result() -> Any:
        return object()

    async with env.worker(keeps_results, returns, bad_result):
        for what, name in (("object", "ConversionError"), ("large", "PayloadTooLargeError")):
            handle = await env.start(keeps_results(what))
            assert await handle.result(timeout=PATIENCE) == f"NON_RETRYABLE_FAILURE {name}"
        blocked = await env.start(bad_result())
        assert "result of workflow" in await held(blocked)
        await blocked.terminate()


async def test_large_values_pass_unchanged(env: Env) -> None:
    @activity.defn(name="scn.faults.echo_large")
    async def echo_large(value: Any) -> Any:
        return value

    @workflow.defn(name="scn.faults.large")
    async def large(value: Any) -> Any:
        return await echo_large(value)

    value = {
        "text": "é" * 300_000,
        "list": list(range(1000)),
        "nested": [[["deep"]]],
        "float": [1e16, -0.0, 0.1],
    }
    async with env.worker(large, echo_large):
        handle = await env.start(large(value))
        got = await handle.result(timeout=PATIENCE)
    assert got == value
    assert [str(one) for one in got["float"]] == ["1e+16", "-0.0", "0.1"]


# --- nasty errors ---

NASTY = {
    "nul": "a\x00b",
    "surrogate": "lone \ud800 surrogate",
    "megabytes": "x" * 3_000_000,
    "wide megabytes": "é" * 2_000_000,
    "control": "\x1b[31mred\r\n\u2028",
    "empty": "",
}


@pytest.mark.parametrize("queue", ["default", "side"])
@pytest.mark.parametrize("name", NASTY)
async def test_an_activity_whose_error_message_is_nasty(env: Env, name: str, queue: str) -> None:
    @activity.defn(
        name="scn.faults.nasty", retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=0.01)
    )
    async def nasty() -> None:
        raise ValueError(NASTY[name])

    @workflow.defn(name="scn.faults.calls_nasty")
    async def calls_nasty() -> str:
        await workflow.execute_activity(nasty, task_queue=queue)
        return "?"

    async with env.worker(calls_nasty, nasty), env.worker(nasty, task_queue="side"):
        handle = await env.start(calls_nasty())
        cause = await fails(handle)
        assert isinstance(cause, ActivityError)
        assert isinstance(cause.cause, ApplicationError)
        assert cause.cause.type == "ValueError"
        assert len(cause.cause.message) < 1_000_000
        other = await env.start(calls_nasty())
        assert isinstance(await fails(other), ActivityError), "the worker goes on"
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Failed"]


@pytest.mark.parametrize("name", NASTY)
async def test_a_workflow_whose_error_is_nasty(env: Env, name: str) -> None:
    @workflow.defn(name="scn.faults.nasty_workflow")
    async def nasty_workflow(bug: bool) -> None:
        if bug:
            raise KeyError(NASTY[name])
        raise ApplicationError(NASTY[name], type="T")

    async with env.worker(nasty_workflow):
        handle = await env.start(nasty_workflow(False))
        assert isinstance(await fails(handle), ApplicationError)
        blocked = await env.start(nasty_workflow(True))
        assert "KeyError" in await held(blocked)
        await blocked.terminate(reason="x")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class TakesTwo(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__()
        self.args = (one, two)


@pytest.mark.parametrize("kind", ["unprintable", "group", "takes_two", "cycle", "deep", "stop", "generator"])
async def test_an_activity_whose_exception_is_strange(env: Env, kind: str) -> None:
    @activity.defn(name="scn.faults.strange", retry_policy=ONCE)
    async def strange() -> None:
        match kind:
            case "unprintable":
                raise Unprintable
            case "group":
                raise BaseExceptionGroup("several", [ValueError("a"), SystemExit(2)])
            case "takes_two":
                raise TakesTwo("a", "b")
            case "cycle":
                first, second = ValueError("first"), ValueError("second")
                first.__cause__, second.__cause__ = second, first
                raise first
            case "deep":
                error: Exception | None = None
                for i in range(3000):
                    following = ValueError(str(i))
                    following.__cause__ = error
                    error = following
                assert error is not None
                raise error
            case "stop":
                raise StopAsyncIteration
            case _:
                raise GeneratorExit

    @workflow.defn(name="scn.faults.calls_strange")
    async def calls_strange() -> str:
        try:
            await strange()
        except ActivityError as error:
            return type(error.cause).__name__
        return "?"

    async with env.worker(calls_strange, strange):
        handle = await env.start(calls_strange())
        assert await handle.result(timeout=PATIENCE) == "ApplicationError"


async def test_errors_of_the_library_may_be_raised_by_users(env: Env) -> None:
    @activity.defn(name="scn.faults.raises_ours", retry_policy=ONCE)
    async def raises_ours(kind: str) -> None:
        raise {"cancelled": CancelledError("mine"), "terminated": TerminatedError("mine")}[kind]

    @workflow.defn(name="scn.faults.calls_ours")
    async def calls_ours(kind: str) -> str:
        try:
            await raises_ours(kind)
        except ActivityError as error:
            return type(error.cause).__name__
        return "?"

    async with env.worker(calls_ours, raises_ours):
        for kind, expected in (("cancelled", "CancelledError"), ("terminated", "TerminatedError")):
            handle = await env.start(calls_ours(kind))
            assert await handle.result(timeout=PATIENCE) == expected


stuck: list[bool] = []


@workflow.defn(name="scn.faults.holds")
async def holds() -> str:
    while stuck:
        pass
    return "free"


async def test_a_task_timeout_ends_a_turn_that_holds_the_thread(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.worker._watchdog._debugged", lambda thread_id: False)  # coverage traces
    stuck.append(True)
    async with env.worker(holds):
        handle = await env.start(holds(), id="h", task_timeout=0.3)
        reason = await held(handle)
        assert "held the event loop for more than 0.3 s" in reason
        assert "in holds" in reason
        stuck.clear()
        await handle.unblock()
        assert await handle.result(timeout=PATIENCE) == "free"
