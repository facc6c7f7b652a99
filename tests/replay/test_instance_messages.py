"""Signals and their handlers, as one run's code sees them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest

from durable import Signal, workflow
from durable.exceptions import ApplicationError
from durable.history import (
    IN_FORCE,
    MESSAGES_FIRST,
    CanceledFailure,
    TimerFired,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
)
from tests.replay.test_instance import (
    CANCEL,
    CONVERTER,
    Rig,
    _put_away,
    act,
    done,
    names,
    payloads,
    result,
    signal,
)

__all__ = ["_put_away"]  # a fixture for every test here

go = Signal("go", str)
other = Signal("other", str)
number = Signal("number", int)


@workflow.defn(name="instance_handled")
class Handled:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        self.seen.append("first line")
        await go.receive()
        return self.seen

    @workflow.signal
    def note(self, text: str) -> None:
        self.seen.append(text)

    @workflow.signal
    async def slow(self, text: str) -> None:
        await act(1)
        self.seen.append(text)

    @workflow.signal
    def fails(self, how: str) -> None:
        raise ApplicationError("on purpose") if how == "failure" else ValueError("bug")


@workflow.defn(name="instance_swallows")
class Swallows:
    @workflow.run
    async def run(self) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await go.receive()

    @workflow.signal
    async def cancelled(self) -> None:
        raise asyncio.CancelledError


def test_handlers_of_early_signals_run_before_the_first_line() -> None:
    rig = Rig(Handled)
    rig.start(signal("note", "a"), signal("note", "b"))
    assert result(rig.tell(signal("go", "x"))) == ["a", "b", "first line"]
    rig.replay()


def test_signals_are_handled_in_their_order_and_async_handlers_go_on_beside() -> None:
    rig = Rig(Handled)
    rig.start()
    assert names(rig.tell(signal("slow", "s"), signal("note", "a"))) == ["Scheduled"]
    rig.tell(signal("note", "b"))
    rig.tell(done(1))
    assert result(rig.tell(signal("go", "x"))) == ["first line", "a", "b", "s"]
    rig.replay()


def test_a_failure_in_a_handler_fails_the_workflow() -> None:
    rig = Rig(Handled)
    rig.start()
    (closing,) = rig.tell(signal("fails", "failure"))
    assert isinstance(closing, WorkflowExecutionFailed)
    assert closing.failure.message == "on purpose"
    rig.replay()


def test_a_bug_in_a_handler_blocks_the_task() -> None:
    rig = Rig(Handled)
    rig.start()
    with pytest.raises(ValueError, match="bug"):
        rig.tell(signal("fails", "bug"))


def test_a_bug_in_a_handler_goes_before_a_close_of_the_same_task() -> None:
    """Nothing of a task at fault is kept, its close neither."""
    rig = Rig(Handled)
    rig.start()
    with pytest.raises(ValueError, match="bug"):
        rig.tell(signal("go", "x"), signal("fails", "bug"))


@workflow.defn(name="instance_cancelled_handler")
class CancelledHandler:
    def __init__(self) -> None:
        self.goes = asyncio.Event()

    @workflow.run
    async def run(self) -> str:
        await self.goes.wait()
        return "returned"

    @workflow.signal
    async def cancelled(self) -> None:
        task = asyncio.ensure_future(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await task

    @workflow.signal
    async def fail(self, later: bool) -> None:
        self.goes.set()
        for _ in range(5 if later else 0):
            await asyncio.sleep(0)
        raise ApplicationError("on purpose")


def test_a_cancellation_that_leaves_a_handler_ends_the_run_as_one_that_leaves_the_function() -> None:
    rig = Rig(CancelledHandler)
    rig.start()
    (closing,) = rig.tell(signal("cancelled"))
    assert isinstance(closing, WorkflowExecutionFailed)
    assert isinstance(closing.failure.info, CanceledFailure)
    rig.replay()


def test_it_makes_the_run_cancelled_once_that_was_asked_for() -> None:
    rig = Rig(Swallows)
    rig.start()
    assert not rig.tell(CANCEL)
    (closing,) = rig.tell(signal("cancelled"))
    assert isinstance(closing, WorkflowExecutionCanceled)
    rig.replay()


def test_a_run_of_an_older_release_goes_on_without_its_handler() -> None:
    rig = Rig(CancelledHandler, flags=0)
    rig.start()
    assert not rig.tell(signal("cancelled"))
    (closing,) = rig.tell(signal("fail", False))
    assert isinstance(closing, WorkflowExecutionFailed)
    assert closing.failure.message == "on purpose"
    rig.replay()


@pytest.mark.parametrize(
    ("later", "flags", "ending"),
    [
        (False, IN_FORCE, WorkflowExecutionFailed),
        (True, IN_FORCE, WorkflowExecutionCompleted),
        (True, 0, WorkflowExecutionFailed),
    ],
)
def test_of_two_ends_in_one_task_the_first_counts(later: bool, flags: int, ending: type[Any]) -> None:
    rig = Rig(CancelledHandler, flags=flags)
    rig.start()
    (closing,) = rig.tell(signal("fail", later))
    assert isinstance(closing, ending)
    rig.replay()


@pytest.mark.parametrize(
    "bad",
    [
        WorkflowExecutionSignaled(name="note"),
        signal("note", "a", "b"),
        signal("note", 5),
        WorkflowExecutionSignaled(
            name="note", input=(*payloads("a")[:0], type(payloads("a")[0])(b"{broken"))
        ),
    ],
    ids=["too few", "too many", "wrong type", "damaged"],
)
def test_a_signal_that_does_not_fit_its_handler_is_dropped_with_a_note(
    bad: WorkflowExecutionSignaled,
) -> None:
    rig = Rig(Handled)
    rig.start()
    assert rig.tell(bad) == []
    assert any("note" in text and "dropped" in text for text in rig.notes), rig.notes
    assert result(rig.tell(signal("note", "good"), signal("go", "x"))) == ["first line", "good"]


# ---------------------------------------------------------------- receivers and the buffer


@workflow.defn(name="instance_receives")
async def receives(n: int) -> list[Any]:
    return [await number.receive() for _ in range(n)]


def test_signals_nobody_waits_for_are_kept_in_order() -> None:
    rig = Rig(receives, 3)
    rig.start(signal("number", 1), signal("unheard of", 9), signal("number", 2))
    assert [one.name for one in rig.code.untaken] == ["unheard of"]
    assert result(rig.tell(signal("number", 3))) == [1, 2, 3]
    rig.replay()


@pytest.mark.parametrize("early", [True, False], ids=["kept", "received"])
def test_a_signal_that_cannot_be_read_is_dropped_with_a_note(early: bool) -> None:
    rig = Rig(receives, 2)
    bad, good = signal("number", "not a number"), signal("number", 1)
    if early:
        rig.start(bad, good)
    else:
        rig.start()
        rig.tell(bad, good)
    assert any("'number'" in text and "dropped" in text for text in rig.notes), rig.notes
    assert result(rig.tell(signal("number", 2))) == [1, 2]
    rig.replay()


@workflow.defn(name="instance_timed")
async def timed() -> str:
    try:
        return await go.receive(timeout=5)
    except TimeoutError:
        return "late"


def test_a_signal_that_comes_with_its_timeout_wins() -> None:
    rig = Rig(timed)
    rig.start()
    assert result(rig.tell(signal("go", "x"), TimerFired(id=1), after=5)) == "x"


def test_a_timeout_alone() -> None:
    rig = Rig(timed)
    rig.start()
    assert result(rig.tell(TimerFired(id=1), after=5)) == "late"


@workflow.defn(name="instance_gives_back")
async def gives_back(then: str) -> list[str]:
    """Its receiver is cancelled in the very turn that brings the signal."""
    got: list[str] = []
    task = asyncio.create_task(go.receive())
    await other.receive()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    if then == "receive":
        got.append(await go.receive())
        got.append(await go.receive())
    elif then == "waiting":
        waiting = asyncio.create_task(go.receive())
        await asyncio.sleep(0)
        got.append(await waiting)
        got.append(await go.receive())
    else:
        workflow.set_signal_handler("go", _appends(got))
        await workflow.wait_condition(lambda: len(got) == 2)
    return got


def _appends(got: list[str]) -> Any:
    def handler(text: str) -> None:
        got.append(text)

    return handler


@pytest.mark.parametrize("then", ["receive", "waiting", "handler"])
def test_a_signal_that_is_given_back_is_the_next_one(then: str) -> None:
    rig = Rig(gives_back, then)
    rig.start()
    commands = rig.tell(signal("other", "now"), signal("go", "first"), signal("go", "second"))
    assert commands, "a signal was lost"
    assert result(commands) == ["first", "second"]
    rig.replay()


@workflow.defn(name="instance_late_handler")
async def late_handler(dynamic: bool) -> list[str]:
    got: list[str] = []
    await workflow.sleep(5)
    if dynamic:
        workflow.set_dynamic_signal_handler(lambda name, args: got.append(f"{name}:{len(args)}"))
    else:
        workflow.set_signal_handler("go", _appends(got))
    await workflow.wait_condition(lambda: len(got) >= 3)
    return got


@pytest.mark.parametrize(("dynamic", "found"), [(False, ["a", "b", "c"]), (True, ["go:1", "go:1", "go:1"])])
def test_a_handler_that_is_set_late_is_given_what_came_before(dynamic: bool, found: list[str]) -> None:
    rig = Rig(late_handler, dynamic)
    rig.start(signal("go", "a"))
    rig.tell(signal("go", "b"))
    rig.tell(TimerFired(id=1), after=5)
    assert result(rig.tell(signal("go", "c"))) == found
    rig.replay()


def test_signals_behind_a_cancel_of_the_same_task_are_kept() -> None:
    rig = Rig(receives, 1)
    rig.start()
    commands = rig.tell(signal("unheard of", "x"), CANCEL)
    assert names(commands) == ["Canceled"]
    assert not isinstance(commands[-1], WorkflowExecutionCompleted)
    assert [one.name for one in rig.code.untaken] == ["unheard of"]


# ---------------------------------------------------------------- beside other inputs


@workflow.defn
class Hears:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.sleep(1)
        return list(self.heard)

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard.append(word)


def heard(*inputs: Any) -> list[str]:
    made = Rig(Hears)
    made.start()
    (command,) = made.tell(*inputs, after=1)
    found: list[str] = CONVERTER.from_payload(command.result, list[str], path="")  # type: ignore[attr-defined]
    made.replay()
    return found


def test_a_task_runs_in_the_order_of_the_log_unless_its_last_input_says_otherwise() -> None:
    """Old logs have signals behind answers; a signal that joined a task which was in the log goes before them."""
    fired = TimerFired(id=1)
    assert heard(signal("hear", "a"), fired) == ["a"]
    assert heard(fired, signal("hear", "a")) == []
    joined = msgspec.structs.replace(signal("hear", "b"), flags=MESSAGES_FIRST)
    assert heard(signal("hear", "a"), fired, joined) == ["a", "b"]
