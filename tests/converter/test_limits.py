"""How large values may be."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest

from durable.converter import DataConverter, PayloadLimits, default
from durable.exceptions import ConversionError, PayloadTooLargeError

MIB = 1024 * 1024


def test_two_mebibytes_fit_and_one_byte_more_does_not() -> None:
    assert len(default().to_payload("x" * (2 * MIB - 2)).data) == 2 * MIB
    with pytest.raises(PayloadTooLargeError) as caught:
        default().to_payload("x" * (2 * MIB - 1), path="result")
    error = caught.value
    assert (error.size, error.limit, error.path) == (2 * MIB + 1, 2 * MIB, "result")
    assert isinstance(error, ConversionError)


def test_the_value_that_is_too_large_alone_is_named() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        default().to_payloads(["a", b"x" * (2 * MIB + 1)])
    assert caught.value.path == "input[1]"


def test_values_stored_together_count_together() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        default().to_payloads([b"x" * (MIB + 1), b"x" * MIB])
    assert (caught.value.path, caught.value.size) == ("input", 2 * MIB + 1)


def test_the_warning_comes_once_for_each_place(caplog: pytest.LogCaptureFixture) -> None:
    one, two = (f"activity {uuid.uuid4()}" for _ in range(2))
    with caplog.at_level(logging.WARNING, "durable"):
        for _ in range(3):
            default().to_payloads([b"x" * (256 * 1024 + 1)], path=one)
        default().to_payload(b"x" * (256 * 1024 + 1), path=two)
        default().to_payload(b"x" * (256 * 1024), path="small")
    assert [record.getMessage().split(" takes ")[0] for record in caplog.records] == [one, two]


def test_limits_are_the_callers_choice() -> None:
    converter = DataConverter(limits=PayloadLimits(error=10, warn=5))
    converter.to_payload(b"x" * 10)
    with pytest.raises(PayloadTooLargeError):
        converter.to_payload(b"x" * 11)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"error": 0}, ValueError),
        ({"warn": -1}, ValueError),
        ({"error": True}, TypeError),
        ({"warn": 1.5}, TypeError),
    ],
)
def test_limits_are_validated(limits: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(limits))):
        PayloadLimits(**limits)
