"""S3: one verdict on a piece of JSON, whoever reads it: a stored value, a history from a file, an argument of a command."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from durable.cli._options import value
from durable.client import WorkflowHistory
from durable.converter import DataConverter
from durable.exceptions import ConversionError, HistoryError
from durable.history import Event, Payload, WorkflowExecutionStarted

GOOD: dict[str, Any] = {
    "null": None,
    " \n[1, -0.5e3]\t": [1, -500.0],
    '{"a": {"b": []}, "": "\\u00e9\\n"}': {"a": {"b": []}, "": "é\n"},
    '"\\ud83d\\ude00"': "\U0001f600",
    "9" * 4000: int("9" * 4000),
    "[" * 128 + "]" * 128: json.loads("[" * 128 + "]" * 128),
}
BAD = {
    "NaN": "NaN",
    "Infinity": "[Infinity]",
    "minus Infinity": "-Infinity",
    "nothing": "",
    "two": "1 2",
    "comma": '{"a": 1,}',
    "single quotes": "{'a': 1}",
    "leading zero": "01",
    "half a number": "1.",
    "control character": '"a\nb"',
    "NUL": "\0",
    "byte order mark": "\ufeff1",
    "comment": "1 // one",
    "unfinished": '["a',
    "too deep": "[" * 129 + "]" * 129,
    "far too deep": "[" * 100_000,
    "too long a number": "9" * 5000,
    "not finite": "1e999",
    "lone surrogate": '"\\ud800"',
}


def stored(text: str) -> Any:
    converter = DataConverter()
    return converter.from_payload(Payload(text.encode()), Any)


def exported(text: str) -> Any:
    """As a value in a history that comes from a file."""
    started = WorkflowExecutionStarted(
        workflow_type="W", workflow_id="w", task_queue="q", input=(Payload(b'"HERE"'),)
    )
    history = WorkflowHistory("w", "r", [Event(1, 1, 0, started)], "default").to_json()
    (read,) = WorkflowHistory.from_json("w", history.replace('"HERE"', text)).events
    assert isinstance(read.data, WorkflowExecutionStarted)
    return stored(read.data.input[0].data.decode())


def typed(text: str) -> Any:
    """As somebody types it, and as the command then stores it."""
    converter = DataConverter()
    return converter.from_payload(converter.to_payload(value(text)), Any)


READERS = {"stored": stored, "exported": exported, "typed": typed}
REFUSED = (ConversionError, HistoryError, argparse.ArgumentTypeError)


@pytest.mark.parametrize("reader", READERS)
def test_s3_good_json_is_read_alike(reader: str) -> None:
    for text, means in GOOD.items():
        found = READERS[reader](text)
        assert (found, type(found)) == (means, type(means))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", BAD)
def test_s3_what_is_no_json_is_refused_alike(reader: str, what: str) -> None:
    with pytest.raises(REFUSED):
        READERS[reader](BAD[what])


def test_s3_a_key_that_is_typed_twice_is_refused() -> None:
    """Of what is stored, no writer of this library's writes two; should there be two, the last one counts in every process."""
    with pytest.raises(argparse.ArgumentTypeError, match="an object has a key twice"):
        value('{"a": 1, "b": {"c": 1, "c": 2}}')
    assert stored('{"a": 1, "a": 2}') == {"a": 2}
