"""Histories told task by task, and run again under a debugger."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from durable import workflow
from durable.exceptions import NondeterminismError, RegistrationError
from durable.testing import History, WorkflowEnvironment, debug, replay_steps
from tests.testing.booking import Broken, Trip, book, book_otherwise, charge, decide, reserve


@pytest.fixture
async def history() -> History:
    async with WorkflowEnvironment() as env, env.worker(workflows=[book], activities=[reserve, charge]):
        handle = await env.client.start_workflow(book(Trip("Rome")), id="b-1")
        await env.advance(timedelta(hours=2))
        await handle.signal(decide("yes"))
        assert await handle.result() == "yes, receipt for seat 7, 200"
        return env.history("b-1")


TYPES = [
    "WorkflowExecutionStarted",
    "ActivityTaskScheduled",
    "TimerStarted",
    "ActivityTaskCompleted",
    "TimerFired",
    "TimerStarted",
    "WorkflowExecutionSignaled",
    "TimerCanceled",
    "ActivityTaskScheduled",
    "ActivityTaskCompleted",
    "WorkflowExecutionCompleted",
]


# --- told ---


async def test_each_step_tells_what_came_in_what_was_asked_for_and_where_the_code_stands(
    history: History,
) -> None:
    assert history.types == TYPES
    steps = replay_steps(history, book)
    assert [(one.task, one.last) for one in steps] == [(1, 3), (2, 4), (3, 6), (4, 9), (5, 11)]
    first, second, third, fourth, last = steps
    assert first.inputs == [(1, 'WorkflowExecutionStarted booking.book({"to":"Rome","cents":100})')]
    assert [(one.event, one.text) for one in first.commands] == [
        (2, "ActivityTaskScheduled booking.reserve"),
        (3, "TimerStarted 3600 s"),
    ]
    assert first.pending == first.commands
    main, reminder = first.waiting
    assert (main.name, reminder.name) == ("workflow", "reminder")
    (place,) = main.places
    assert place.source == "seat = await reserve(trip)"
    assert place.file == "tests/testing/booking.py"
    assert first.commands[0].source == f"{place.file}:{place.line}"
    assert place.variables["trip"] == "Trip(to='Rome', cents=100)"
    assert second.inputs == [(4, "ActivityTaskCompleted for booking.reserve (2)")]
    assert second.waiting[0].places[0].source == "answer = await decide.receive()"
    assert second.waiting[0].places[0].variables["seat"] == "'seat 7'"
    assert third.inputs == [(5, "TimerFired for 3600 s (3)")]
    assert [(one.event, one.text) for one in third.pending] == [(6, "TimerStarted 7200 s")]
    assert third.waiting[1].places[0].variables == {"hours": "2"}
    assert fourth.inputs == [(7, 'WorkflowExecutionSignaled booking.decide("yes")')]
    assert [one.name for one in fourth.waiting] == ["workflow"]
    assert [one.text for one in last.commands] == ["WorkflowExecutionCompleted"]
    assert last.waiting == last.pending == []
    assert all(one.failure is None for one in steps)


async def test_a_step_is_readable(history: History) -> None:
    text = str(replay_steps(history, book)[3])
    assert text.splitlines()[1:4] == [
        '  in      7 WorkflowExecutionSignaled booking.decide("yes")',
        "  out     8 TimerCanceled   tests/testing/booking.py:32",
        "  out     9 ActivityTaskScheduled booking.charge   tests/testing/booking.py:43",
    ]
    assert "    tests/testing/booking.py:43 in book: receipt = await charge(trip, seat)\n" in text
    assert "      total = 200" in text


async def test_the_last_step_says_why_a_history_does_not_replay(history: History) -> None:
    steps = replay_steps(history, book_otherwise)
    assert [one.failure is None for one in steps] == [True, True, True, False]
    assert isinstance(steps[-1].failure, NondeterminismError)
    assert steps[-1].commands[-1].text == "ActivityTaskScheduled booking.reserve"
    assert "> 9: ActivityTaskScheduled booking.charge | ActivityTaskScheduled booking.reserve" in str(
        steps[-1]
    )


async def test_what_the_code_raises_is_told_in_its_step(history: History) -> None:
    steps = replay_steps(history, Broken)
    assert len(steps) == 2
    assert isinstance(steps[0].waiting[0].places[0].variables["self.seat"], str)
    assert isinstance(steps[-1].failure, KeyError)
    assert "KeyError:\n    'seat 7'" in str(steps[-1])


async def test_a_task_that_nobody_has_run_yet_is_told_too(history: History) -> None:
    open = History(replace(history.recorded, events=history.recorded.events[:4]))
    last = replay_steps(open, book)[-1]
    assert [one.text for one in last.pending] == ["TimerStarted 3600 s"]
    unrun = History(replace(history.recorded, events=history.recorded.events[:1]))
    (only,) = replay_steps(unrun, book)
    assert [one.event for one in only.commands] == [None, None]
    assert "  out   new ActivityTaskScheduled booking.reserve" in str(only)


async def test_what_is_no_workflow_here_is_an_error(history: History) -> None:
    @workflow.defn(name="booking.other")
    async def other() -> None: ...

    with pytest.raises(RegistrationError, match=r"no workflow 'booking\.book'"):
        replay_steps(history, other)


# --- under pdb ---


def session(history: History, *commands: str, code: Any = book, event: int = 1) -> str:
    out = io.StringIO()
    debug(history, code, event=event, stdin=io.StringIO("\n".join([*commands, ""])), stdout=out)
    return out.getvalue()


async def test_it_stops_in_each_task_where_the_code_goes_on(history: History) -> None:
    told = session(history, *["c"] * 5)
    stops = [line for line in told.splitlines() if line.startswith("-> ")]
    assert stops == [
        '-> @workflow.defn(name="booking.book")',
        "-> seat = await reserve(trip)",
        "-> await workflow.sleep(hours * 3600)",
        "-> answer = await decide.receive()",
        "-> receipt = await charge(trip, seat)",
    ]
    assert told.count("--- task") == 5
    assert told.rstrip().endswith("WorkflowExecutionCompleted")


async def test_it_begins_with_the_task_of_an_event(history: History) -> None:
    told = session(history, "p seat", "n", "p answer", "c", "q", event=8)
    assert "--- task 4: events 7 to 9" in told
    assert "'seat 7'" in told
    assert "'yes'" in told
    assert "task 3" not in told


async def test_it_travels_forwards_and_back(history: History) -> None:
    told = session(history, "event 10", "back", "back", "event 2", "back", "q")
    assert re.findall(r"--- task .*", told) == [
        "--- task 1: events 1 to 3",
        "--- task 5: events 10 to 11",
        "--- task 4: events 7 to 9",
        "--- task 3: events 5 to 6",
        "--- task 1: events 1 to 3",
        "--- task 1: events 1 to 3",
    ]


async def test_it_shows_where_all_tasks_stand_in_the_middle_of_one(history: History) -> None:
    told = session(history, "awaits", "q", event=7)
    assert "task 'reminder' waits\n    tests/testing/booking.py:32 in remind" in told
    assert "      hours = 2" in told


async def test_breakpoints_and_steps_are_those_of_pdb(history: History) -> None:
    told = session(history, "tbreak tests/testing/booking.py:42", "c", "q", event=7)
    assert "-> total = trip.cents * 2" in told
    told = session(history, "s", "s", "w", "q", event=7)
    assert "_replay/_loop" not in told.partition("(durable)")[0]


async def test_wrong_events_are_told(history: History) -> None:
    told = session(history, "event", "event 99", "q")
    assert "*** say which event: event 5" in told
    assert "*** there is no event 99: the history has events 1 to 11" in told
    with pytest.raises(ValueError, match="there is no event 0: the history has events 1 to 11"):
        session(history, event=0)


async def test_the_end_of_the_input_leaves_it_and_tracing_ends(history: History) -> None:
    before = sys.gettrace()
    assert session(history).count("--- task") == 1
    assert sys.gettrace() is before


async def test_code_that_catches_everything_does_not_keep_one_from_leaving(history: History) -> None:
    assert session(history, "q", code=Broken, event=4).count("--- task") == 1


async def test_a_history_that_does_not_replay_is_told_where(history: History) -> None:
    told = session(history, "c", code=book_otherwise, event=9)
    assert "the code now wants" in told


async def test_another_debugger_is_called_in_front_of_each_task(
    history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[int] = []
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    monkeypatch.setattr(sys, "breakpointhook", lambda: called.append(1))
    debug(history, book, event=5)
    assert len(called) == 3
    assert "task 2" not in (told := capsys.readouterr().out)
    assert told.count("task ") > 3
