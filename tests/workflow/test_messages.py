"""Signals and queries of no class, and handlers that are set while the workflow runs."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_type_hints

import pytest

from durable import Query, Signal, workflow
from durable.exceptions import NotInWorkflowError, RegistrationError
from tests.workflow.fakes import FakeRuntime, Run


@dataclass
class Decision:
    ok: bool


decide = Signal("decide", Decision)
maybe = Signal[int | None]("maybe")
go = Signal[None]("go")


@Query
def status(short: bool = False) -> str:
    """How it stands."""


def test_a_signal_makes_calls() -> None:
    call = decide(Decision(True))
    assert (call.name, call.args) == ("decide", (Decision(True),))
    assert call.definition.arg_types == (Decision,)
    assert maybe(None).args == (None,)
    assert maybe.definition.arg_types == (int | None,)
    assert go().args == ()
    assert go.definition.arg_types == ()
    assert decide.definition.where.startswith(f"{__name__}:")
    assert Signal("x", type=int).type is int


def test_a_signal_needs_a_name_and_one_type() -> None:
    with pytest.raises(
        TypeError, match=r"Signal\('x', ...\) needs the type of its value, once: Signal\('x', Order\)"
    ):
        Signal("x")
    with pytest.raises(TypeError, match="says its type twice"):
        Signal[int]("x", int)
    with pytest.raises(ValueError, match="name must not be empty"):
        Signal("", int)
    with pytest.raises(TypeError, match="signal 'decide': missing a required argument: 'value'"):
        decide()  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="signal 'decide': too many positional arguments"):
        decide(Decision(True), 2)  # type: ignore[call-overload]


def test_receive_waits_and_loses_nothing(run: Run, host: FakeRuntime) -> None:
    async def code() -> list[bool]:
        host.signal("decide", Decision(False))
        asyncio.get_running_loop().call_later(60, host.signal, "decide", Decision(True))
        return [(await decide.receive()).ok, (await decide.receive()).ok]

    assert run(code()) == [False, True]


def test_receive_times_out_with_the_builtin_error(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        with pytest.raises(TimeoutError, match="no signal 'decide' came within 259200 seconds"):
            await decide.receive(timeout=timedelta(days=3))
        assert host.loop.clock == 259200
        with pytest.raises(TimeoutError, match="within 0 seconds"):
            await decide.receive(timeout=0)
        host.signal("decide", Decision(True))
        assert (await decide.receive(timeout=0)).ok

    run(code())


def test_a_signal_that_comes_with_the_timeout_wins(run: Run, host: FakeRuntime) -> None:
    async def code() -> bool:
        asyncio.get_running_loop().call_later(10, host.signal, "decide", Decision(True))
        return (await decide.receive(timeout=10)).ok

    assert run(code())
    assert host.loop.clock == 10


def test_a_signal_that_comes_with_a_cancel_stays_for_the_next(run: Run, host: FakeRuntime) -> None:
    async def code() -> bool:
        for timeout in (None, 60):
            task = asyncio.create_task(decide.receive(timeout=timeout))
            await asyncio.sleep(0)
            host.signal("decide", Decision(True))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert list(host.kept["decide"]) == [Decision(True)]
            host.kept["decide"].clear()
        host.signal("decide", Decision(True))
        return (await decide.receive()).ok

    assert run(code())


def test_a_timeout_around_it_gives_the_value_back_too(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        asyncio.get_running_loop().call_later(10, host.signal, "decide", Decision(True))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await decide.receive()
        assert list(host.kept["decide"]) == [Decision(True)]

    run(code())


def test_a_signal_is_an_endless_iteration(run: Run, host: FakeRuntime) -> None:
    async def code() -> list[int | None]:
        for value in (1, None, 3):
            host.signal("maybe", value)
        seen: list[int | None] = []
        async for value in maybe:
            seen.append(value)
            if value == 3:
                break
        return seen

    assert run(code()) == [1, None, 3]


def test_a_query_is_a_function_without_a_body() -> None:
    call = status(short=True)
    assert (call.name, call.args, call.result_type) == ("status", (True,), str)
    assert (status.name, status.__doc__, repr(status)) == ("status", "How it stands.", "Query('status')")
    with pytest.raises(TypeError, match="query 'status': too many positional arguments"):
        status(True, 1)  # type: ignore[call-arg]

    async def late() -> str:
        return ""

    with pytest.raises(RegistrationError, match=r"query 'late' .* is `async def`"):
        Query(late)
    assert Query(lambda: 1, name="one").name == "one"


def test_a_handler_gets_the_types_of_its_message(run: Run, host: FakeRuntime) -> None:
    state = "open"

    async def code() -> None:
        workflow.set_handler(status, lambda short=False: state)
        workflow.set_handler(decide, lambda decision: None)
        workflow.set_handler(go, lambda: None)
        handler = host.set["query"]["status"]
        assert handler(True) == "open"
        assert list(inspect.signature(handler).parameters) == ["short"]
        assert get_type_hints(handler) == {"short": bool}
        assert get_type_hints(host.set["signal"]["decide"]) == {"value": Decision}
        assert not inspect.signature(host.set["signal"]["go"]).parameters
        workflow.set_handler(status, None)
        assert workflow.get_query_handler("status") is None

    run(code())


def test_a_handler_must_fit_its_message(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        with pytest.raises(
            TypeError, match=r"the handler of signal 'decide' must take .*: too many positional arguments"
        ):
            workflow.set_handler(decide, lambda: None)  # type: ignore[misc, arg-type]
        with pytest.raises(
            TypeError, match="set_handler takes a Query, a Signal or an Update first, not str: 'status'"
        ):
            workflow.set_handler("status", lambda: None)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="a handler of a query must be callable, not int: 3"):
            workflow.set_query_handler("status", 3)  # type: ignore[arg-type]

        async def late() -> str:
            return ""

        with pytest.raises(RegistrationError, match="a query must answer from what is there"):
            workflow.set_query_handler("status", late)

    run(code())


def test_temporals_functions(run: Run, host: FakeRuntime) -> None:
    def on_signal(value: int) -> None: ...

    def on_any(name: str, args: Any) -> str:
        return name

    async def code() -> None:
        workflow.set_signal_handler("s", on_signal)
        workflow.set_dynamic_signal_handler(on_any)
        workflow.set_query_handler("q", on_signal)
        workflow.set_dynamic_query_handler(on_any)
        assert workflow.get_signal_handler("s") is on_signal
        assert workflow.get_dynamic_signal_handler() is on_any
        assert workflow.get_query_handler("q") is on_signal
        assert workflow.get_dynamic_query_handler() is on_any
        workflow.set_dynamic_query_handler(None)
        assert workflow.get_dynamic_query_handler() is None
        assert workflow.get_signal_handler("other") is None
        shown = lambda: "x"  # noqa: E731
        workflow.set_handler(status, shown)  # type: ignore[arg-type]
        assert workflow.get_query_handler("status") is shown

    with pytest.raises(TypeError, match="the handler of query 'status' must take"):
        run(code())
    with pytest.raises(ValueError, match="name must not be empty"):
        run(_set_nameless())


async def _set_nameless() -> None:
    workflow.set_signal_handler("", None)


async def test_elsewhere_nothing_can_be_received_or_set() -> None:
    with pytest.raises(
        NotInWorkflowError, match=r"Signal\('decide'\).receive\(\) belongs into workflow code: call it from"
    ):
        await decide.receive()
    with pytest.raises(NotInWorkflowError, match=r"workflow.set_handler\(\) belongs into workflow code"):
        workflow.set_handler(status, None)
