"""Histories as JSON: every kind of event comes back as it was, values are readable, what is not understood is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from msgspec.structs import replace

from durable.client import WorkflowHistory
from durable.exceptions import HistoryCorruptError, HistoryError, UnknownEventError
from durable.history import (
    Event,
    EventData,
    Input,
    Payload,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    encode_data,
    export_history,
    import_history,
)
from tests.history.samples import FULL, SECOND

STARTED = WorkflowExecutionStarted(
    workflow_id="w", workflow_type="t", task_queue="q", memo={"encoding": Payload(b"1")}
)


def exported(*data: EventData) -> dict[str, Any]:
    events = [
        Event(seq, 1 if isinstance(one, Input) else 2, 1_700_000_000_000_000 + seq, one)
        for seq, one in enumerate((STARTED, *data), 1)
    ]
    return export_history("w", "r", "ns", events)


def back(found: dict[str, Any]) -> list[EventData]:
    """Through a text, as a file would be."""
    workflow_id, run_id, namespace, events = import_history(json.loads(json.dumps(found)))
    assert (workflow_id, run_id, namespace) == ("w", "r", "ns")
    return [event.data for event in events[1:]]


@pytest.mark.parametrize("data", [*FULL, *SECOND], ids=lambda data: type(data).__name__)
def test_every_kind_of_event_comes_back_byte_for_byte(data: EventData) -> None:
    if isinstance(data, WorkflowExecutionStarted):
        data = replace(data, flags=data.flags & 1)  # those of a newer release are refused, see below
        found = export_history("w", "r", "ns", [Event(1, 1, 5, data)])
        event = import_history(json.loads(json.dumps(found)))[3][0]
        assert (event.seq, event.task, event.time) == (1, 1, 5)
        assert encode_data(event.data) == encode_data(data)
    else:
        assert [encode_data(one) for one in back(exported(data))] == [encode_data(data)]


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (Payload(b'{"id":7,"name":"\xc3\xa9"}'), {"encoding": "json/plain", "json": {"id": 7, "name": "é"}}),
        (Payload(b"123456789012345678901234567890"), {"encoding": "json/plain", "json": 123456789012345678901234567890}),
        (Payload(b"0.1"), {"encoding": "json/plain", "json": 0.1}),
        (Payload(b"null"), {"encoding": "json/plain", "json": None}),
        (Payload(b'{"a": 1}'), {"encoding": "json/plain", "text": '{"a": 1}'}),
        (Payload(b'{"a":1,"a":2}'), {"encoding": "json/plain", "text": '{"a":1,"a":2}'}),
        (Payload(b"1e16"), {"encoding": "json/plain", "text": "1e16"}),
        (Payload(b"NaN"), {"encoding": "json/plain", "text": "NaN"}),
        (Payload(b'"\\ud800"'), {"encoding": "json/plain", "text": '"\\ud800"'}),
        (Payload(b"[" * 60 + b"]" * 60), {"encoding": "json/plain", "text": "[" * 60 + "]" * 60}),
        (Payload(b"[" * 5000 + b"]" * 5000), {"encoding": "json/plain", "text": "[" * 5000 + "]" * 5000}),
        (Payload(b"", "binary/null"), {"encoding": "binary/null", "text": ""}),
        (
            Payload(b"\x00\xff", "binary/plain", {"kind": b"odd", "raw": b"\x80"}),
            {
                "encoding": "binary/plain",
                "base64": "AP8=",
                "metadata": {"kind": "odd", "raw": {"base64": "gA=="}},
            },
        ),
        (Payload(b'{"encoding":"json/plain","json":1}'), {"encoding": "json/plain", "json": {"encoding": "json/plain", "json": 1}}),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_readably_as_its_bytes_allow(payload: Payload, shown: dict[str, Any]) -> None:
    found = exported(WorkflowExecutionSignaled(name="s", input=(payload,)))
    assert found["events"][1]["data"]["input"] == [shown]
    (data,) = back(found)
    assert isinstance(data, WorkflowExecutionSignaled)
    assert data.input == (payload,)


def test_the_format_is_what_the_documentation_says() -> None:
    found = exported(WorkflowExecutionSignaled(message="m", name="s", flags=1))
    assert found == {
        "durable_history": 1,
        "workflow_id": "w",
        "run_id": "r",
        "namespace": "ns",
        "events": [
            {
                "seq": 1,
                "task": 1,
                "time": "2023-11-14T22:13:20.000001Z",
                "type": "WorkflowExecutionStarted",
                "data": {
                    "workflow_id": "w",
                    "workflow_type": "t",
                    "task_queue": "q",
                    "memo": {"encoding": {"encoding": "json/plain", "json": 1}},
                },
            },
            {
                "seq": 2,
                "task": 1,
                "time": "2023-11-14T22:13:20.000002Z",
                "type": "WorkflowExecutionSignaled",
                "data": {"message": "m", "flags": 1, "name": "s"},
            },
        ],
    }
    text = WorkflowHistory("w", "r", import_history(found)[3], "ns").to_json()
    assert text == json.dumps(found, indent=1)
    assert WorkflowHistory.from_json("other", text) == WorkflowHistory(
        "other", "r", import_history(found)[3], "ns"
    )
    assert WorkflowHistory.from_json("w", text).to_json() == text


def test_names_of_users_are_never_taken_for_a_payload() -> None:
    memo = {
        "encoding": Payload(b"1"),
        "json": Payload(b"2"),
        "base64": Payload(b"3"),
        "metadata": Payload(b"4"),
    }
    started = WorkflowExecutionStarted(workflow_type="t", memo=memo, headers=memo)
    found = import_history(export_history("w", "r", "ns", [Event(1, 1, 5, started)]))[3][0].data
    assert found == started


def change(**changes: Any) -> dict[str, Any]:
    """A history with something else in it, by a path."""
    found = copy.deepcopy(exported(WorkflowExecutionSignaled(name="s", input=(Payload(b"1"),))))
    for path, value in changes.items():
        *way, last = [int(step) if step.isdigit() else step for step in path.split("__")]
        place: Any = found
        for step in way:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return found


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        (change(durable_history=2), UnknownEventError, "format 2, this release reads 1"),
        (change(durable_history=None), HistoryCorruptError, "no field durable_history"),
        (change(extra=1), UnknownEventError, "fields this release does not know: extra"),
        (change(events=[]), HistoryCorruptError, "list of events"),
        (change(run_id=5), HistoryCorruptError, "run_id must be a text"),
        (change(events__1__type="WorkflowExecutionSung"), UnknownEventError, "event 2: type 'WorkflowExecutionSung'"),
        (change(events__1__extra=1), UnknownEventError, "event 2 has fields this release does not know: extra"),
        (change(events__1__data__extra=1), UnknownEventError, r"event 2 \(.*Signaled\): .* has no extra"),
        (change(events__0__data__parent={"workflow_id": "p", "age": 1}), UnknownEventError, "ParentLink has no age"),
        (change(events__1__data__v=9), UnknownEventError, "format version 9"),
        (change(events__1__data__flags=1 << 20), UnknownEventError, "behaviour flags"),
        (change(events__1__seq=3), HistoryCorruptError, "event 3 stands where event 2 should be"),
        (change(events__1__seq="2"), HistoryCorruptError, "seq must be a whole number"),
        (change(events__1__time="yesterday"), HistoryCorruptError, "yesterday"),
        (change(events__1__time="2023-11-14T22:13:21"), HistoryCorruptError, "time zone"),
        (change(events__1__data=[]), HistoryCorruptError, "no JSON object"),
        (change(events__1__data__name=5), HistoryCorruptError, "name"),
        (change(events__1__data__input__0={"encoding": "json/plain"}), HistoryCorruptError, "one of json, text and base64"),
        (change(events__1__data__input__0={"encoding": "a", "text": "", "json": 1}), HistoryCorruptError, "one of json"),
        (change(events__1__data__input__0={"encoding": "a", "base64": "?"}), HistoryCorruptError, "neither text nor base64"),
        ({"events": [{"eventId": "1", "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"}]}, HistoryCorruptError, "Temporal's"),
        ([], HistoryCorruptError, "the history is no JSON object"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(given: Any, kind: type[HistoryError], text: str) -> None:
    with pytest.raises(kind, match=text):
        WorkflowHistory.from_json("w", json.dumps(given))


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(HistoryCorruptError, match="is no JSON"):
        WorkflowHistory.from_json("w", "{")
