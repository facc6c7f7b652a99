"""The wire format: what is stored today is read for ever, and what is not ours is refused by its right name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from durable.exceptions import HistoryCorruptError, UnknownEventError
from durable.history import (
    COMMANDS,
    INPUTS,
    UPCASTERS,
    ActivityTaskScheduled,
    Event,
    EventData,
    EventRow,
    EventType,
    ParentLink,
    Payload,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    decode_data,
    decode_event,
    decode_history,
    encode_data,
    encode_event,
)
from durable.history import _wire as wire
from durable.history._facts import KNOWN_FLAGS
from tests.history.samples import FULL, SECOND

GOLDEN = [
    line.split(" ", 2)
    for line in (Path(__file__).parent / "golden.txt").read_text(encoding="utf-8").split("\n")
    if line
]
"""Number, name and bytes of each kind of event, as the release that brought it wrote them. Lines are added, never changed."""


@pytest.mark.parametrize(
    ("number", "name", "line", "facts"),
    [(*golden, facts) for golden, facts in zip(GOLDEN, (*FULL, *SECOND), strict=True)],
    ids=[f"{n}-{name}" for n, (_, name, _) in enumerate(GOLDEN)],
)
def test_what_a_release_wrote_is_read_and_written_again(
    number: str, name: str, line: str, facts: EventData
) -> None:
    stored = line.encode()
    assert type(facts).__name__ == name
    assert int(facts.type) == int(number)
    assert decode_data(int(number), stored) == facts
    assert encode_data(facts) == stored


def test_there_is_a_golden_line_for_every_kind() -> None:
    kinds = {int(kind.type): kind.__name__ for kind in (*INPUTS, *COMMANDS)}
    assert kinds == {int(number): name for number, name, _ in GOLDEN}
    assert sorted(kinds) == sorted(map(int, EventType))


def test_numbers_never_change() -> None:
    assert {kind.name: int(kind) for kind in EventType} == {
        "WORKFLOW_EXECUTION_STARTED": 1,
        "WORKFLOW_EXECUTION_SIGNALED": 2,
        "WORKFLOW_EXECUTION_CANCEL_REQUESTED": 3,
        "WORKFLOW_EXECUTION_RESET": 4,
        "WORKFLOW_EXECUTION_OPTIONS_UPDATED": 5,
        "WORKFLOW_EXECUTION_COMPLETED": 10,
        "WORKFLOW_EXECUTION_FAILED": 11,
        "WORKFLOW_EXECUTION_CANCELED": 12,
        "WORKFLOW_EXECUTION_TERMINATED": 13,
        "WORKFLOW_EXECUTION_TIMED_OUT": 14,
        "WORKFLOW_EXECUTION_CONTINUED_AS_NEW": 15,
        "ACTIVITY_TASK_SCHEDULED": 20,
        "ACTIVITY_TASK_CANCEL_REQUESTED": 21,
        "ACTIVITY_TASK_COMPLETED": 22,
        "ACTIVITY_TASK_FAILED": 23,
        "ACTIVITY_TASK_TIMED_OUT": 24,
        "ACTIVITY_TASK_CANCELED": 25,
        "TIMER_STARTED": 30,
        "TIMER_CANCELED": 31,
        "TIMER_FIRED": 32,
        "START_CHILD_WORKFLOW_EXECUTION_INITIATED": 40,
        "CHILD_WORKFLOW_EXECUTION_STARTED": 41,
        "START_CHILD_WORKFLOW_EXECUTION_FAILED": 42,
        "CHILD_WORKFLOW_EXECUTION_COMPLETED": 43,
        "CHILD_WORKFLOW_EXECUTION_FAILED": 44,
        "CHILD_WORKFLOW_EXECUTION_CANCELED": 45,
        "CHILD_WORKFLOW_EXECUTION_TERMINATED": 46,
        "CHILD_WORKFLOW_EXECUTION_TIMED_OUT": 47,
        "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED": 50,
        "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED": 51,
        "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED": 52,
        "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED": 53,
        "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED": 54,
        "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED": 55,
        "WORKFLOW_EXECUTION_UPDATE_ACCEPTED": 60,
        "WORKFLOW_EXECUTION_UPDATE_COMPLETED": 61,
        "MARKER_RECORDED": 70,
        "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES": 80,
        "WORKFLOW_PROPERTIES_MODIFIED": 81,
        "WORKFLOW_TASK_COMPLETED": 90,
    }


@pytest.mark.parametrize("kind", [*INPUTS, *COMMANDS], ids=lambda kind: kind.__name__)
def test_defaults_are_not_stored_and_come_back(kind: type[EventData]) -> None:
    assert encode_data(kind()) == b"{}"
    assert decode_data(int(kind.type), b"{}") == kind()


def test_every_field_of_a_sample_differs_from_its_default() -> None:
    """Else its golden line would not show the name it is stored under."""
    seen: dict[str, set[str]] = {}
    for facts in (*FULL, *SECOND):
        default = type(facts)()
        names = seen.setdefault(type(facts).__name__, set())
        names |= {name for name in facts.__struct_fields__ if getattr(facts, name) != getattr(default, name)}
    missing = {
        kind.__name__: left
        for kind in (*INPUTS, *COMMANDS)
        if (left := set(kind.__struct_fields__) - seen[kind.__name__] - {"v"})
    }
    # These are on every input by inheritance; the kinds below leave some of them to their siblings.
    assert {field for fields in missing.values() for field in fields} <= {"message", "flags"}


def test_values_are_kept_byte_for_byte() -> None:
    """Whatever JSON parsers do to numbers and keys, a payload's bytes are not JSON to us."""
    data = b'{"b": 1e16, "a": -0.0, "c": 1e400, "d": "\\ud800"}'
    facts = WorkflowExecutionCompleted(result=Payload(data))
    row = encode_event(Event(2, 1, 5, facts))
    assert (row.seq, row.task, row.type, row.time) == (2, 1, 10, 5)
    again = decode_event(row)
    assert again == Event(2, 1, 5, facts)
    assert again.data.result.data == data  # type: ignore[attr-defined]


# ---------------------------------------------------------------- what is not ours


def test_an_unknown_type_is_a_newer_releases() -> None:
    with pytest.raises(UnknownEventError, match="99"):
        decode_data(99, b"{}")


def test_facts_are_written_under_the_lowest_version_that_knows_their_fields() -> None:
    """So workers of the release before go on with what they can read, and refuse what they would misread."""
    plain = WorkflowExecutionStarted(workflow_id="w")
    child = WorkflowExecutionStarted(workflow_id="w", parent=ParentLink("p", "r", 1))
    assert b'"v"' not in encode_data(plain)
    assert encode_data(child).startswith(b'{"v":2')
    assert encode_data(decode_data(1, encode_data(child))) == encode_data(child)
    assert encode_data(msgspec.structs.replace(child, v=2, parent=None)) == encode_data(plain)


@pytest.mark.parametrize(
    "data",
    [b'{"v":2,"id":1}', b'{"v":2,"id":"a string now"}', b'{"v":2}', b'{"v":99,"new":[1]}', b'{"v":"2"}'],
)
def test_a_newer_version_is_refused_whatever_its_fields_are(data: bytes) -> None:
    with pytest.raises(UnknownEventError, match="TIMER_FIRED"):
        decode_data(EventType.TIMER_FIRED, data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"id":"one"}',
        b'{"id":1.5}',
        b"\xff\xfe",
        b'{"message":"\xff"}',
        b'{"id":1}{"id":2}',
        b'{"id":1',
    ],
)
def test_damage_is_called_damage(data: bytes) -> None:
    with pytest.raises(HistoryCorruptError, match="TIMER_FIRED"):
        decode_data(EventType.TIMER_FIRED, data)


def test_a_version_that_is_no_version_is_damage_or_unknown_and_nothing_else() -> None:
    for version in (b"[]", b"{}", b"null", b"true", b"1.5"):
        with pytest.raises((HistoryCorruptError, UnknownEventError)):
            decode_data(EventType.TIMER_FIRED, b'{"v":' + version + b',"id":"x"}')


# ---------------------------------------------------------------- upcasters


def _rename(fields: dict[str, Any]) -> dict[str, Any]:
    """As an upcaster of a release that called it `seconds`: from version 0 to 1."""
    return {"id": fields["id"], "duration": fields["seconds"] * 1_000_000, "v": 1}


def test_an_old_version_goes_through_its_upcaster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTERS, (EventType.TIMER_STARTED, 0), _rename)
    facts = decode_data(EventType.TIMER_STARTED, b'{"v":0,"id":4,"seconds":2}')
    assert facts == TimerStarted(id=4, duration=2_000_000)
    # Only this kind: the same version of another is what it says.
    assert decode_data(EventType.TIMER_FIRED, b'{"v":1,"id":4}') == TimerFired(id=4)


def test_upcasters_follow_each_other_and_end_at_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        UPCASTERS, (EventType.TIMER_STARTED, -1), lambda old: {"id": old["n"], "seconds": old["s"], "v": 0}
    )
    monkeypatch.setitem(UPCASTERS, (EventType.TIMER_STARTED, 0), _rename)
    assert decode_data(EventType.TIMER_STARTED, b'{"v":-1,"n":4,"s":2}') == TimerStarted(
        id=4, duration=2_000_000
    )


def test_an_upcaster_that_makes_nonsense_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTERS, (EventType.TIMER_STARTED, 0), lambda old: {"id": "four", "v": 1})
    with pytest.raises(HistoryCorruptError, match="TIMER_STARTED"):
        decode_data(EventType.TIMER_STARTED, b'{"v":0,"id":4}')


def test_the_next_format_upcasts_what_this_one_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day a kind has a second version, an event without one is an old one, though it still decodes."""
    monkeypatch.setitem(wire._NEWEST, EventType.TIMER_STARTED, 2)
    monkeypatch.setitem(
        UPCASTERS,
        (EventType.TIMER_STARTED, 1),
        lambda old: {**old, "duration": old["duration"] * 1000, "v": 2},
    )
    stored = encode_data(TimerStarted(id=4, duration=7))
    assert decode_data(EventType.TIMER_STARTED, stored) == TimerStarted(v=2, id=4, duration=7000)


def test_what_was_upcast_is_written_in_the_present_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPCASTERS, (EventType.TIMER_STARTED, 0), _rename)
    facts = decode_data(EventType.TIMER_STARTED, b'{"v":0,"id":4,"seconds":2}')
    assert encode_data(facts) == b'{"id":4,"duration":2000000}'


# ---------------------------------------------------------------- whole histories


def rows(*said: tuple[int, int, EventData, int]) -> list[EventRow]:
    return [encode_event(Event(seq, task, time, data)) for seq, task, data, time in said]


START = (1, 1, WorkflowExecutionStarted(), 10)
ASKED = (2, 1, ActivityTaskScheduled(id=1), 10)
POKED = (3, 2, WorkflowExecutionSignaled(name="x"), 20)
DONE = (4, 2, WorkflowExecutionCompleted(), 20)


def test_a_history_is_read_as_it_is() -> None:
    found = decode_history(rows(START, ASKED, POKED, DONE))
    assert [(event.seq, event.task, event.time) for event in found] == [
        (1, 1, 10),
        (2, 1, 10),
        (3, 2, 20),
        (4, 2, 20),
    ]
    assert [event.data for event in found] == [START[2], ASKED[2], POKED[2], DONE[2]]
    assert decode_history([]) == []


BROKEN: dict[str, list[EventRow]] = {
    "a gap": rows(START, ASKED, DONE),
    "a gap at the front": rows(ASKED, POKED),
    "a duplicate": rows(START, ASKED, ASKED, POKED),
    "a wrong order": rows(START, POKED, ASKED),
    "a task that jumps": rows(START, ASKED, (3, 4, POKED[2], 20)),
    "a first task that is not the first": rows((1, 2, START[2], 10)),
    "a task that goes back": rows(START, ASKED, POKED, (4, 1, TimerStarted(id=2), 20)),
    "time that goes back": rows(START, ASKED, (3, 2, POKED[2], 9)),
    "a first event that is no start": rows((1, 1, POKED[2], 10)),
    "a second start": rows(START, (2, 2, START[2], 10)),
    "something behind the close": rows(START, ASKED, POKED, DONE, (5, 3, POKED[2], 30)),
    "something of its own task behind the close": rows(
        START, (2, 1, DONE[2], 10), (3, 1, TimerStarted(id=1), 10)
    ),
    "something behind an end from outside": rows(
        START, (2, 2, WorkflowExecutionTerminated(), 11), (3, 3, POKED[2], 12)
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_history_is_refused(broken: list[EventRow]) -> None:
    with pytest.raises(HistoryCorruptError):
        decode_history(broken)


def test_an_end_from_outside_may_be_far_ahead_in_tasks() -> None:
    """Whoever terminates knows the position and not the task: its task is its position."""
    found = decode_history(rows(START, ASKED, POKED, (4, 4, WorkflowExecutionTerminated(), 20)))
    assert found[-1].task == 4


def test_one_newer_event_is_told_as_newer() -> None:
    with pytest.raises(UnknownEventError):
        decode_history([*rows(START), EventRow(2, 1, 250, b"{}", 10)])


def test_equal_facts_give_equal_bytes_in_any_order_of_making() -> None:
    one = WorkflowExecutionSignaled(name="n", headers={"a": Payload(b"1"), "b": Payload(b"2")})
    two = msgspec.structs.replace(WorkflowExecutionSignaled(headers=one.headers), name="n")
    assert encode_data(one) == encode_data(two)


def test_a_history_under_behaviour_flags_of_a_newer_release_is_refused() -> None:
    started = Event(1, 1, 5, WorkflowExecutionStarted(workflow_id="w"))
    for flags, known in ((0, True), (KNOWN_FLAGS, True), (KNOWN_FLAGS + 1, False)):
        rows = [
            encode_event(event)
            for event in (started, Event(2, 1, 5, WorkflowExecutionSignaled(name="go", flags=flags)))
        ]
        if known:
            assert len(decode_history(rows)) == 2
        else:
            with pytest.raises(UnknownEventError, match="event 2 has behaviour flags"):
                decode_history(rows)
