"""Temporal's spelling of activity calls, and what a run knows about itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from durable import RetryPolicy, activity, workflow
from durable._internal.instants import to_datetime
from durable.activity._options import ActivityOptions
from durable.exceptions import NotInWorkflowError, RegistrationError
from tests.workflow.fakes import START, FakeRuntime, Run


@activity.defn(name="ops.charge", heartbeat_timeout=3, retry_policy=RetryPolicy(maximum_attempts=2))
async def charge(order: str, cents: int = 0) -> int:
    return cents


class Inventory:
    @activity.defn(name="ops.reserve")
    def reserve(self, sku: str, n: int) -> str:
        return sku


def test_every_way_to_write_an_activity(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        await workflow.execute_activity(charge, "a", 5, start_to_close_timeout=timedelta(minutes=1))
        await workflow.execute_activity(charge, "a")
        await workflow.execute_activity(charge, args=["b", 6])
        await workflow.execute_activity(charge("c"), task_queue="q")
        await workflow.execute_activity("ops.charge", "d", 7, result_type=int, summary="by name")
        await workflow.execute_activity("ops.charge", args=["e"])
        await workflow.execute_activity_method(Inventory.reserve, "sku", 3)
        handle = workflow.start_activity(charge, "f", activity_id="x")
        assert isinstance(handle, asyncio.Future)
        await handle
        await workflow.start_activity_method(Inventory.reserve, args=["g", 1])
        await workflow.start_activity(charge("h"))
        await workflow.start_activity("ops.charge", "i", result_type=int)

    run(code())
    assert host.called == [
        "ops.charge('a', 5)",
        "ops.charge('a')",
        "ops.charge('b', 6)",
        "ops.charge('c')",
        "ops.charge('d', 7)",
        "ops.charge('e')",
        "ops.reserve('sku', 3)",
        "ops.charge('f')",
        "ops.reserve('g', 1)",
        "ops.charge('h')",
        "ops.charge('i')",
    ]
    base = ActivityOptions(heartbeat_timeout=3_000_000, retry_policy=RetryPolicy(maximum_attempts=2))
    options = [call.options for call in host.calls]
    assert options[0].start_to_close_timeout == 60_000_000
    assert options[0].heartbeat_timeout == 3_000_000
    assert options[1] == base
    assert options[3].task_queue == "q"
    assert options[4] == ActivityOptions(summary="by name")
    assert options[7].activity_id == "x"
    types = [call.result_type for call in host.calls]
    assert types[:6] == [int, int, int, int, int, Any]
    assert types[6] is str


@pytest.mark.parametrize(
    ("write", "error", "text"),
    [
        (
            lambda: workflow.start_activity(charge),
            TypeError,
            "activity 'ops.charge': missing a required argument",
        ),  # type: ignore[call-overload]
        (
            lambda: workflow.start_activity(charge, "a", args=["b"]),
            TypeError,
            "one by one or as args=[...], not both",
        ),  # type: ignore[call-overload]
        (lambda: workflow.start_activity(charge, args="abc"), TypeError, "args must be a list or a tuple"),
        (
            lambda: workflow.start_activity(charge, "a", order=3),
            TypeError,
            "start_activity() has no option 'order'",
        ),  # type: ignore[call-overload]
        (
            lambda: workflow.start_activity(charge, "a", start_to_close_timeout=-1),
            ValueError,
            "longer than zero",
        ),
        (
            lambda: workflow.start_activity(print, "a"),
            RegistrationError,
            "print is a plain function; put @activity",
        ),  # type: ignore[call-overload]
        (lambda: workflow.start_activity(3), RegistrationError, "3 is not an activity"),  # type: ignore[call-overload]
        (lambda: workflow.start_activity("a\n"), ValueError, "activity must not contain control characters"),
    ],
)
def test_a_wrong_call_is_refused(
    run: Run, write: Callable[[], object], error: type[Exception], text: str
) -> None:
    async def code() -> None:
        with pytest.raises(error) as caught:
            write()
        assert text in str(caught.value)

    run(code())


def test_a_call_with_its_arguments_takes_no_more_and_is_used_up(run: Run) -> None:
    async def code() -> None:
        call = charge("a")
        with pytest.raises(TypeError, match="has its arguments already"):
            workflow.start_activity(call, "b")  # type: ignore[call-overload]
        await workflow.execute_activity(call)
        with pytest.raises(RuntimeError, match="already awaited"):
            await call

    run(code())


def test_what_a_run_knows(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        assert workflow.in_workflow()
        assert workflow.info().workflow_id == "o-42"
        assert workflow.memo() == {"tier": "gold"}
        assert workflow.now() == to_datetime(START)
        assert workflow.time() == START / 1_000_000
        assert workflow.time_ns() == START * 1000
        assert isinstance(workflow.uuid4(), UUID)
        assert 0 <= workflow.random().random() < 1
        assert workflow.get_current_details() == ""
        workflow.set_current_details("waiting for ada")
        assert workflow.get_current_details() == "waiting for ada"
        with pytest.raises(TypeError, match="description must be a string, not int: 3"):
            workflow.set_current_details(3)  # type: ignore[arg-type]
        assert not workflow.unsafe.is_replaying()
        host.replaying = True
        assert workflow.unsafe.is_replaying()

    run(code())


@pytest.mark.parametrize(
    "call",
    [
        workflow.info,
        workflow.memo,
        workflow.now,
        workflow.time,
        workflow.time_ns,
        workflow.random,
        workflow.uuid4,
        workflow.get_current_details,
    ],
)
def test_elsewhere_there_is_no_run(call: Callable[[], object]) -> None:
    assert not workflow.in_workflow()
    with pytest.raises(
        NotInWorkflowError, match=rf"^workflow.{call.__name__}\(\) belongs into workflow code: call it"
    ):
        call()


async def test_elsewhere_activities_are_called_as_functions() -> None:
    with pytest.raises(NotInWorkflowError, match=r"workflow.execute_activity\(\) belongs into workflow code"):
        await workflow.execute_activity(charge, "a")


def test_the_logger_says_everything_once(
    run: Run, host: FakeRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def code() -> None:
        workflow.logger.info("sold %d for %s", 1, "5%")
        workflow.logger.info("100%")
        host.replaying = True
        workflow.logger.error("again")
        assert not workflow.logger.isEnabledFor(logging.ERROR)

    run(code())
    assert caplog.messages == ["sold 1 for 5% (checkout o-42)", "100% (checkout o-42)"]
    record = caplog.records[0]
    assert record.__dict__["durable_workflow"]["workflow_id"] == "o-42"
    assert record.__dict__["durable"]["worker_id"] == "w-1"
    assert (record.name, record.funcName) == ("durable.workflow", "code")
    workflow.logger.error("outside")
    assert caplog.messages[-1] == "outside"
