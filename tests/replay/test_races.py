"""Two things at the same moment, in each order and with a worker that may lose its memory between any two steps."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import ActivityError, Signal, activity, workflow
from durable._engine._updates import decode_result
from durable._engine.records import UpdateStage
from durable.history import (
    CLOSING,
    ActivityTaskCompleted,
    Event,
    TimerCanceled,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionSignaled,
    WorkflowExecutionUpdateAccepted,
)
from tests.replay.race_rig import (
    CONVERTER,
    RaceLife,
    Races,
    at,
    cancel,
    live,
    result,
    says,
    time_passes,
    updates,
)

RACES = Races()

word: Signal[str] = Signal("word", str)


@activity.defn(name="races.work")
async def work() -> int: ...


# ---------------------------------------------------------------- results and cancels


@workflow.defn(name="races.result_or_cancel")
async def result_or_cancel() -> list[Any]:
    said: list[Any] = []
    try:
        said.append(await workflow.execute_activity(work))
    except (asyncio.CancelledError, ActivityError):
        said.append("cancelled")
    try:
        await asyncio.sleep(3)
    except asyncio.CancelledError:
        said.append("cancelled")
    return said


@RACES.race(result_or_cancel, happens=[result, cancel, time_passes], ways={"result", "cancel", "neither"})
def a_result_that_is_there_reaches_the_code_and_the_cancel_its_next_await(
    events: list[Event], got: Any, life: RaceLife
) -> str:
    done, cancelled, fired = (
        at(events, kind) for kind in (ActivityTaskCompleted, WorkflowExecutionCancelRequested, TimerFired)
    )
    if done < cancelled:
        assert got == ([0, "cancelled"] if cancelled < fired else [0])
        return "result" if cancelled < fired else "neither"
    assert got == ["cancelled"]
    return "cancel"


@workflow.defn(name="races.before_the_first_line")
async def before_the_first_line() -> str:
    try:
        heard = await word.receive()
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return "cancelled"
    return heard


@RACES.race(before_the_first_line, happens=[cancel], ways={"before", "later"})
def a_cancel_is_caught_however_early(events: list[Event], got: Any, life: RaceLife) -> str:
    assert got == "cancelled"
    assert sum(isinstance(event.data, CLOSING) for event in events) == 1
    return "before" if events[at(events, WorkflowExecutionCancelRequested)].task == 1 else "later"


# ---------------------------------------------------------------- messages and timers


@workflow.defn(name="races.signal_or_timeout")
async def signal_or_timeout() -> str:
    try:
        return await word.receive(timeout=5)
    except TimeoutError:
        return "timeout"


def _signal_or_timer(events: list[Event], got: Any) -> str:
    said, fired = at(events, WorkflowExecutionSignaled), at(events, TimerFired)
    together = said < len(events) > fired and events[said].task == events[fired].task
    assert got == ("hello" if said < fired or together else "timeout")
    return "signal" if said < fired else "together" if together else "timeout"


@RACES.race(signal_or_timeout, happens=[*says("hello"), time_passes], ways={"signal", "together", "timeout"})
def a_signal_beside_the_timeout_of_its_receive(events: list[Event], got: Any, life: RaceLife) -> str:
    """In one task too, when it comes over the close that the timeout brought about."""
    return _signal_or_timer(events, got)


@workflow.defn(name="races.condition_or_timeout")
class ConditionOrTimeout:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: bool(self.heard), timeout=timedelta(seconds=5))
        except TimeoutError:
            return "timeout"
        return self.heard[0]

    @workflow.signal(name="word")
    def word(self, text: str) -> None:
        self.heard.append(text)


@RACES.race(ConditionOrTimeout, happens=[*says("hello"), time_passes], ways={"signal", "together", "timeout"})
def a_signal_beside_the_timeout_of_a_condition(events: list[Event], got: Any, life: RaceLife) -> str:
    return _signal_or_timer(events, got)


@workflow.defn(name="races.cancels_a_timer")
async def cancels_a_timer() -> str:
    timer = asyncio.create_task(asyncio.sleep(5))
    heard = asyncio.create_task(word.receive())
    await asyncio.wait([timer, heard], return_when=asyncio.FIRST_COMPLETED)
    fired = timer.done()
    timer.cancel()
    if not heard.done():
        heard.cancel()
    return "fired" if fired else heard.result()


@RACES.race(cancels_a_timer, happens=[*says("hello"), time_passes], ways={"signal", "together", "timeout"})
def a_signal_that_cancels_a_timer_which_fires(events: list[Event], got: Any, life: RaceLife) -> str:
    said, fired = at(events, WorkflowExecutionSignaled), at(events, TimerFired)
    cancelled = at(events, TimerCanceled)
    assert cancelled == len(events) or fired == len(events), "it fires, or it is cancelled"
    together = said < len(events) > fired and events[said].task == events[fired].task
    assert got == ("hello" if said < fired and not together else "fired")
    return "together" if together else "signal" if said < fired else "timeout"


@workflow.defn(name="races.two_waiters")
class TwoWaiters:
    """Both wake for one flag, and the second one finds what the first one left."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.took: list[str] = []

    async def wait(self) -> None:
        while len(self.took) < 2:
            await workflow.wait_condition(lambda: bool(self.words) or len(self.took) == 2)
            if self.words and len(self.took) < 2:
                self.took.append(self.words.pop(0))

    @workflow.run
    async def run(self) -> list[str]:
        await asyncio.gather(self.wait(), self.wait())
        return self.took

    @workflow.signal(name="word")
    def word(self, text: str) -> None:
        self.words.append(text)


@RACES.race(TwoWaiters, happens=says("a", "b", "c"), ways={"in one task", "apart"})
def two_who_wait_for_one_condition(events: list[Event], got: Any, life: RaceLife) -> str:
    said = [event for event in events if isinstance(event.data, WorkflowExecutionSignaled)]
    assert got == [_text(event) for event in said[:2]]
    return "in one task" if said[0].task == said[1].task else "apart"


def _text(event: Event) -> str:
    (found,) = CONVERTER.from_payloads(event.data.input, [str])  # type: ignore[attr-defined]
    return str(found)


# ---------------------------------------------------------------- messages and the end


@workflow.defn(name="races.collects")
class Collects:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ended = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.execute_activity(work)
        return list(self.heard)

    @workflow.signal(name="word")
    def word(self, text: str) -> None:
        self.heard.append(text)

    @workflow.update
    def update(self) -> str:
        self.heard.append("updated")
        return "answer"


@RACES.race(Collects, happens=[result, *says("a", "b", "c")], ways={"before", "beside", "refused"})
def no_signal_is_lost_at_the_close(events: list[Event], got: Any, life: RaceLife) -> str:
    """What was acknowledged has been handled when the code returns, and is in its result."""
    said = [event for event in events if isinstance(event.data, WorkflowExecutionSignaled)]
    assert got == [_text(event) for event in said] == life.acknowledged
    done = events[at(events, ActivityTaskCompleted)].task
    if len(said) < 3:
        return "refused"
    return "beside" if any(event.task == done for event in said) else "before"


@RACES.race(Collects, happens=[result, *updates("update", "u1", "u2")], ways={"before", "beside", "refused"})
def an_update_beside_the_end_has_its_answer(events: list[Event], got: Any, life: RaceLife) -> str:
    accepted = [event for event in events if isinstance(event.data, WorkflowExecutionUpdateAccepted)]
    assert len(accepted) == len(life.acknowledged)
    for outcome in life.outcomes.values():
        assert outcome.stage is UpdateStage.COMPLETED
        told = decode_result(outcome.data)
        assert told.result is not None
        assert CONVERTER.from_payload(told.result, str, path="answer") == "answer"
    # One that came behind the end of the code is handled all the same, and changes the result no more.
    done = events[at(events, ActivityTaskCompleted)].task
    assert got == ["updated"] * sum(event.task <= done for event in accepted)
    if len(accepted) < 2:
        return "refused"
    return "beside" if any(event.task >= done for event in accepted) else "before"


@workflow.defn(name="races.continues")
class Continues:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(work)
        workflow.continue_as_new(list(self.heard), workflow="races.next")

    @workflow.signal(name="word")
    def word(self, text: str) -> None:
        self.heard.append(text)


@RACES.race(Continues, happens=[result, *says("a", "b", "c", "d")], ways={"all here", "some move", "refused"})
def no_signal_is_lost_when_a_run_continues_as_new(events: list[Event], got: Any, life: RaceLife) -> str:
    """Each is in what the next run begins with, or in its inbox, in the order in which they were acknowledged."""
    assert isinstance(events[-1].data, WorkflowExecutionContinuedAsNew)
    (handed,) = CONVERTER.from_payloads(events[-1].data.input, [list[str]])
    moved = [one.message_id.removeprefix("signal ") for one in life.moved]
    assert [*handed, *moved] == life.acknowledged
    assert handed == [_text(one) for one in events if isinstance(one.data, WorkflowExecutionSignaled)]
    if len(life.acknowledged) < 4:
        return "refused"
    return "some move" if moved else "all here"


@workflow.defn(name="races.billed")
class Billed:
    """A subscription's year: charged by the month, until it is told to stop; its last timeout begins the next year."""

    def __init__(self) -> None:
        self.stopped = False

    @workflow.run
    async def run(self) -> str:
        for _ in range(2):
            await workflow.execute_activity(work)
            try:
                await workflow.wait_condition(lambda: self.stopped, timeout=2)
            except TimeoutError:
                continue
            return "stopped"
        workflow.continue_as_new()

    @workflow.signal(name="word")
    def word(self, text: str) -> None:
        self.stopped = True


@RACES.race(
    Billed,
    happens=[*[result] * 3, *[time_passes] * 3, *says("stop")],
    ways={"stopped", "stopped at the last timeout", "the next year stops"},
)
def who_has_cancelled_is_never_billed_again(events: list[Event], got: Any, life: RaceLife) -> str:
    said = at(events, WorkflowExecutionSignaled)
    kinds = [type(event.data).__name__ for event in events]
    if said == len(events):
        assert isinstance(events[-1].data, WorkflowExecutionContinuedAsNew)
        return "the next year stops"
    assert got == "stopped"
    behind = [event for event in events[said:] if event.task > events[said].task]
    assert not any(type(event.data).__name__ == "ActivityTaskScheduled" for event in behind)
    joined = kinds.count("TimerFired") == 2
    return "stopped at the last timeout" if joined else "stopped"


# ---------------------------------------------------------------- withdrawals


@workflow.defn(name="races.account")
class Account:
    def __init__(self) -> None:
        self.balance = 100

    @workflow.run
    async def run(self) -> int:
        await word.receive()
        return self.balance

    @workflow.update
    def withdraw(self, amount: int) -> int:
        self.balance -= amount
        return self.balance

    @withdraw.validator
    def _enough(self, amount: int) -> None:
        if amount > self.balance:
            raise ValueError("not enough")


@RACES.race(
    Account,
    happens=[*updates("withdraw", *[f"u{n}" for n in range(20)], args=[60]), *says("close")],
    ways={"first", "behind others", "behind the end"},
)
def of_twenty_withdrawals_one_is_accepted(events: list[Event], got: Any, life: RaceLife) -> str:
    accepted = [
        n for n, event in enumerate(events) if isinstance(event.data, WorkflowExecutionUpdateAccepted)
    ]
    told = [decode_result(one.data) for one in life.outcomes.values()]
    sent = [one for one in life.acknowledged if one != "close"]
    assert len(told) == len(sent)
    assert len(accepted) == min(1, len(sent))
    assert sum(one.rejected for one in told) == max(0, len(sent) - 1)
    if not accepted:
        assert got == 100
        return "closed before"
    late = accepted[0] > at(events, WorkflowExecutionSignaled) and got == 100
    assert got == (100 if late else 40)
    if late:
        return "behind the end"
    return "first" if accepted[0] == 1 else "behind others"


# ---------------------------------------------------------------- all of them


@pytest.mark.temporal("workflow/completion_order", "workflow/cancel_signal_and_timer_fired_in_same_task")
@pytest.mark.parametrize("name", RACES)
def test_any_interleaving_has_one_legal_outcome_and_replays(name: str) -> None:
    live(RACES[name])
