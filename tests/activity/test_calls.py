"""An activity call is a coroutine in every respect, and runs the function outside of workflows."""

from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from durable import activity
from durable.activity._call import ActivityCall
from durable.activity._options import ActivityOptions
from durable.exceptions import NotInWorkflowError
from tests.workflow.fakes import FakeRuntime, Run


@activity.defn
async def charge(order: str, cents: int = 0, note: str = "") -> str:
    return f"{order} {cents} {note}".strip()


@activity.defn
def send_mail(to: str) -> str:
    return f"sent to {to}"


class Inventory:
    @activity.defn
    async def reserve(self, sku: str) -> str:
        return f"reserved {sku}"


@pytest.fixture
def run() -> Iterator[Run]:
    run = Run()
    yield run
    run.close()


@pytest.fixture
def host(run: Run) -> FakeRuntime:
    return run.host


# ---- arguments


def test_arguments_are_bound_by_position_and_defaults_behind_the_last_one_stay_with_the_function() -> None:
    def args(call: ActivityCall[str]) -> tuple[Any, ...]:
        call.close()
        return call.args

    assert args(charge("a")) == ("a",)
    assert args(charge("a", cents=5)) == ("a", 5)
    assert args(charge("a", note="n")) == ("a", 0, "n")
    assert args(charge(order="a")) == ("a",)


def test_a_wrong_call_is_a_type_error_where_it_is_written_and_names_the_activity() -> None:
    with pytest.raises(
        TypeError, match=r"activity 'charge': missing a required argument: 'order'. It is defined as "
    ):
        charge()  # type: ignore[call-arg]
    with pytest.raises(
        TypeError, match=r"activity 'charge': too many positional arguments. .*tests/activity/"
    ):
        charge("a", 1, "n", 4)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"activity 'charge': got an unexpected keyword argument 'cent'"):
        charge("a", cent=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="activity 'send_mail': missing a required argument"):
        send_mail()  # type: ignore[call-arg]


# ---- outside of workflows


async def test_outside_of_a_workflow_the_function_runs() -> None:
    assert await charge("a", 5) == "a 5"
    assert send_mail("ada") == "sent to ada"  # type: ignore[comparison-overlap]
    assert await Inventory().reserve("x") == "reserved x"
    assert await asyncio.gather(charge("a"), charge("b")) == ["a 0", "b 0"]


async def test_outside_of_a_workflow_a_method_needs_its_instance() -> None:
    with pytest.raises(
        TypeError, match=r"is a method of Inventory, so .* needs an instance: Inventory\(...\).reserve"
    ):
        await Inventory.reserve("x")


async def test_outside_of_a_workflow_nothing_is_started() -> None:
    with pytest.raises(
        NotInWorkflowError, match=r"'charge' can be started in workflow code only; .*charge.fn\("
    ):
        charge.start("a")


async def test_by_name_there_is_nothing_to_run() -> None:
    with pytest.raises(NotInWorkflowError, match="called by name, which works in workflow code only"):
        await ActivityCall[Any]("elsewhere", (), ActivityOptions())


# ---- in workflows


def test_awaiting_schedules(run: Run, host: FakeRuntime) -> None:
    host.answers["charge"] = lambda order, *_: f"receipt {order}"

    async def workflow() -> str:
        call = charge("a", 5)
        assert host.called == [], "making a call schedules nothing"
        return await call

    assert run(workflow()) == "receipt a"
    assert host.called == ["charge('a', 5)"]
    call = host.calls[0]
    assert (call.result_type, call.definition) == (str, charge.definition)
    assert call.where.startswith("tests/activity/test_calls.py:")


def test_plain_functions_are_scheduled_in_workflows_and_nowhere_called(run: Run, host: FakeRuntime) -> None:
    async def workflow() -> str:
        return await send_mail("x")

    assert run(workflow()) == "done"


def test_it_goes_wherever_a_coroutine_goes(run: Run, host: FakeRuntime) -> None:
    host.answers["charge"] = lambda order, *_: order

    async def workflow() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(charge("task"))
        async with asyncio.timeout(5):
            timed = await charge("timed")
        done = [await result for result in asyncio.as_completed([charge("completed")])]
        return [
            task.result(),
            timed,
            *done,
            await asyncio.wait_for(charge("wait_for"), 5),
            await asyncio.shield(charge("shield")),
            *await asyncio.gather(charge("g1"), charge("g2"), charge("g1")),
        ]

    assert run(workflow()) == ["task", "timed", "completed", "wait_for", "shield", "g1", "g2", "g1"]
    assert len(host.called) == 8, "equal calls are calls of their own"


def test_anyio_takes_it_too(run: Run, host: FakeRuntime) -> None:
    anyio = pytest.importorskip("anyio")

    async def workflow() -> bool:
        host.answers["charge"] = None
        with anyio.move_on_after(5) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(charge, "a")
        return bool(scope.cancelled_caught)

    assert run(workflow())
    assert host.open[0].cancelled()


def test_what_it_is_to_asyncio_and_inspect() -> None:
    call = charge("a")
    assert asyncio.iscoroutine(call)
    assert isinstance(call, Coroutine)
    assert inspect.isawaitable(call)
    assert call.__name__ == "charge"
    assert repr(call) == "<activity call charge('a')>"
    call.close()


def test_start_schedules_at_once(run: Run, host: FakeRuntime) -> None:
    async def workflow() -> str:
        handle = charge.start("a")
        assert host.called == ["charge('a')"]
        return await handle

    assert run(workflow()) == "done"


def test_cancelling_a_task_cancels_what_it_waits_for(run: Run, host: FakeRuntime) -> None:
    host.answers["charge"] = None

    async def workflow() -> None:
        task = asyncio.create_task(charge("a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(workflow())
    assert host.open[0].cancelled()


def test_a_task_cancelled_before_its_first_step_schedules_nothing(run: Run, host: FakeRuntime) -> None:
    async def workflow() -> None:
        task = asyncio.create_task(charge("a"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(workflow())
    assert host.called == []


def test_a_failure_is_raised_where_it_is_awaited(run: Run, host: FakeRuntime) -> None:
    host.answers["charge"] = ValueError("no")

    async def workflow() -> None:
        with pytest.raises(ValueError, match="no"):
            await charge("a")
        with pytest.raises(ValueError, match="no"):
            await asyncio.create_task(charge("a"))

    run(workflow())


# ---- once, and not never


def test_awaited_twice(run: Run, host: FakeRuntime) -> None:
    async def workflow() -> None:
        call = charge("a")
        await call
        with pytest.raises(
            RuntimeError, match=r"this activity call of 'charge' was already awaited: .*call the definition"
        ):
            await call
        with pytest.raises(RuntimeError, match="already awaited"):
            call.start()
        with pytest.raises(RuntimeError, match="already awaited"):
            call.send(None)
        with pytest.raises(RuntimeError, match="already awaited"):
            call.throw(ValueError())

    run(workflow())
    assert len(host.called) == 1


@pytest.fixture
def nothing_of_others() -> None:
    """What other tests have left is collected before, and not heard of in this one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.usefixtures("nothing_of_others")
def test_never_awaited_warns_at_the_line_that_made_it() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        charge("a")
        gc.collect()
    (warning,) = caught
    assert warning.category is RuntimeWarning
    assert str(warning.message).startswith(
        "activity call 'charge' was never awaited, so it never happened: write "
    )
    assert warning.filename == __file__
    with open(__file__) as source:
        assert source.readlines()[warning.lineno - 1].strip() == 'charge("a")'


@pytest.mark.usefixtures("nothing_of_others")
def test_closed_or_thrown_into_it_never_happens_and_nobody_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        charge("a").close()
        with pytest.raises(KeyError):
            charge("a").throw(KeyError("k"))
        with pytest.raises(KeyError):
            charge("a").throw(KeyError, "k")
        gc.collect()
