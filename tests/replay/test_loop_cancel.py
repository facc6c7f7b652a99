"""Races of a cancel, a result and a timer in one turn, in both orders, and operations that wait through a cancel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from tests.replay.loop_rig import Rig


@pytest.fixture(autouse=True)
def _put_away() -> Iterator[None]:
    yield
    Rig.put_away()


async def bare(op: Any) -> Any:
    return await op


async def in_task(op: Any) -> Any:
    return await asyncio.create_task(bare(op))


async def in_timeout(op: Any) -> Any:
    async with asyncio.timeout(50):
        return await op


async def wait_for_future(op: Any) -> Any:
    return await asyncio.wait_for(op, 50)


async def wait_for_coroutine(op: Any) -> Any:
    return await asyncio.wait_for(bare(op), 50)


async def gathered(op: Any) -> Any:
    return (await asyncio.gather(op))[0]


async def shielded(op: Any) -> Any:
    return await asyncio.shield(op)


async def waited(op: Any) -> Any:
    done, _ = await asyncio.wait([op])
    return done.pop().result()


async def group_body(op: Any) -> Any:
    async with asyncio.TaskGroup():
        return await op


async def group_child(op: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bare(op))
    return task.result()


async def through_event(op: Any) -> Any:
    event = asyncio.Event()
    op.add_done_callback(lambda _: event.set())
    await event.wait()
    return op.result()


async def through_queue(op: Any) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    op.add_done_callback(lambda op: op.cancelled() or queue.put_nowait(op.result()))
    return await queue.get()


async def anyio_scope(op: Any) -> Any:
    with anyio.CancelScope():
        return await op


async def anyio_fail_after(op: Any) -> Any:
    with anyio.fail_after(50):
        return await op


async def anyio_group_child(op: Any) -> Any:
    results: list[Any] = []

    async def child() -> None:
        results.append(await op)

    async with anyio.create_task_group() as group:
        group.start_soon(child)
    return results[0]


FORMS = [
    bare,
    in_task,
    in_timeout,
    wait_for_future,
    wait_for_coroutine,
    gathered,
    shielded,
    waited,
    group_body,
    group_child,
    through_event,
    through_queue,
    anyio_scope,
    anyio_fail_after,
    anyio_group_child,
]
DIRECT = {bare, in_timeout, wait_for_future, wait_for_coroutine, group_body, anyio_scope, anyio_fail_after}


def race(form: Any, *inputs: str) -> tuple[str, Rig]:
    rig, parts = Rig(), {}

    async def main() -> Any:
        parts["op"] = rig.loop.create_future()
        return await form(parts["op"])

    task = rig.start(main)
    actions: dict[str, Callable[[], Any]] = {
        "result": lambda: parts["op"].done() or parts["op"].set_result("R"),
        "cancel": task.cancel,
    }

    def apply() -> None:
        for name in inputs:
            if name == "timer":
                for handle in list(rig.timers):
                    rig.loop.now_ms = rig.timers.pop(handle)
                    rig.loop.fire(handle)
            elif name == "resumed":
                # As when a message handler that runs behind the first step cancels the run.
                rig.loop.call_soon(task.cancel)
            else:
                actions[name]()

    rig.turn(apply)
    assert task.done()
    if task.cancelled():
        return "C", rig
    return ("T" if isinstance(task.exception(), TimeoutError) else task.result()), rig


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", [("result", "cancel"), ("cancel", "result")])
def test_a_cancel_beats_the_result_of_its_turn_in_either_order(form: Any, order: tuple[str, str]) -> None:
    assert race(form, *order)[0] == "C"


@pytest.mark.parametrize("form", FORMS)
def test_a_result_that_reached_the_code_stays(form: Any) -> None:
    outcome, _ = race(form, "result", "resumed")
    assert outcome == ("R" if form in DIRECT else "C")


@pytest.mark.parametrize("form", [in_timeout, wait_for_future, wait_for_coroutine])
def test_timer_and_result_in_one_turn_come_out_as_they_went_in(form: Any) -> None:
    assert race(form, "result", "timer")[0] == "R"
    assert race(form, "timer", "result")[0] == "T"


@pytest.mark.parametrize("form", [in_timeout, wait_for_future, wait_for_coroutine])
@pytest.mark.parametrize("order", [("timer", "cancel"), ("cancel", "timer")])
def test_timer_and_cancel_in_one_turn_are_a_cancel(form: Any, order: tuple[str, str]) -> None:
    assert race(form, *order)[0] == "C"


def test_anyio_deadlines_give_the_result_whichever_came_first() -> None:
    assert race(anyio_fail_after, "result", "timer")[0] == "R"
    assert race(anyio_fail_after, "timer", "result")[0] == "R"


def test_an_unarmed_timer_is_never_cancelled_at_the_host() -> None:
    for form in (in_timeout, wait_for_future, anyio_fail_after):
        _, rig = race(form, "timer", "cancel")
        assert [what for what, _ in rig.seen] == ["start"]
        _, rig = race(form, "result")
        assert rig.seen == [("start", "50000"), ("cancel", "50000")]


def test_a_cancel_before_the_first_step_runs_no_line() -> None:
    rig, lines = Rig(), []

    async def main() -> None:
        lines.append(1)

    rig.turn(lambda: rig.loop.create_task(main()).cancel())
    assert lines == []


def operation_under_cancel(form: Any, end: str) -> Any:
    rig, asked, parts = Rig(), [], {}

    def on_cancel() -> bool:
        asked.append(1)
        return True

    async def main() -> Any:
        parts["op"] = rig.loop.operation(1, on_cancel)
        return await form(parts["op"])

    task = rig.start(main)
    rig.pending = 1
    rig.turn(task.cancel)
    assert not task.done()
    assert asked
    rig.turn(lambda: parts["op"].set_result("R") if end == "result" else parts["op"].complete_cancelled())
    assert task.done()
    return "C" if task.cancelled() else task.result()


@pytest.mark.parametrize(
    "form", [bare, in_task, in_timeout, wait_for_future, gathered, group_body, anyio_scope]
)
def test_an_operation_waits_through_a_cancel_for_how_it_ended(form: Any) -> None:
    assert operation_under_cancel(form, "cancelled") == "C"
    # gather() remembers that it was asked to cancel, and raises even over a result.
    assert operation_under_cancel(form, "result") == ("C" if form is gathered else "R")


def test_an_operation_that_does_not_handle_a_cancel_is_a_future() -> None:
    rig = Rig()
    for answer in (None, lambda: False):
        operation = rig.loop.operation(7, answer)
        assert hash(operation) == (0xC0FFEE << 20) + 7
        assert operation.cancel()
        assert operation.cancelled()
        assert not operation.cancel()


def test_a_timeout_around_a_stubborn_operation_is_a_timeout_when_that_was_cancelled() -> None:
    rig, parts = Rig(), {}

    async def main() -> Any:
        parts["op"] = rig.loop.operation(1, lambda: True)
        try:
            async with asyncio.timeout(50):
                return await parts["op"]
        except TimeoutError:
            return "T"

    task = rig.start(main)
    rig.fire_next()
    assert not task.done()
    rig.turn(lambda: parts["op"].complete_cancelled())
    assert task.result() == "T"


@pytest.mark.parametrize("deadline", ["anyio", "asyncio"])
def test_a_deadline_that_rounds_up_has_passed_when_its_timer_fires(deadline: str) -> None:
    """0.133 + 0.01 is 0.14300000000000002, and anyio looks again at the clock when its timer fires."""
    rig = Rig()
    rig.loop.now_ms = 133
    assert 0.133 + 0.01 > 0.143

    async def main() -> Any:
        if deadline == "anyio":
            with anyio.move_on_after(0.01):
                await anyio.sleep(50)
        else:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(50)
            except TimeoutError:
                pass
        return asyncio.get_running_loop().time()

    task = rig.start(main)
    rig.fire_next()
    assert 0.143 <= task.result() < 0.143001
    assert rig.loop.now_ms == 143
