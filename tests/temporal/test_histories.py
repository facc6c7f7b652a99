"""Tests of Temporal's entries assert the recorded history as well as the result, or there is a reason why not."""

from __future__ import annotations

from tests.temporal.histories import WITHOUT, looking_at_none, reason_for


def test_tests_of_entries_look_at_the_recorded_history() -> None:
    assert [test for test in looking_at_none() if reason_for(test) is None] == []


def test_a_reason_is_for_a_test_that_looks_at_none() -> None:
    assert set(WITHOUT) - {reason_for(test) for test in looking_at_none()} == set()
