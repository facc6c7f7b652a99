"""Names and parameters of Temporal's Python SDK: each is here, or there is a reason why not."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase

from tests.temporal.gaps import GAPS, LATER, OUT, PROGRESS
from tests.temporal.parity import missing, names_of_temporal


def reason_for(name: str) -> str | None:
    """The pattern that says why a name is missing."""
    return next((pattern for pattern in GAPS if fnmatchcase(name, pattern)), None)


def test_whatever_is_missing_has_a_reason() -> None:
    unexplained = [name for name in missing() if reason_for(name) is None]
    assert unexplained == []


def test_a_reason_is_for_something_that_is_missing() -> None:
    """But for what is being built: it goes when all of it is there, and not with its first part."""
    used = {reason_for(name) for name in missing()}
    stale = [pattern for pattern, (status, _) in GAPS.items() if pattern not in used and status != PROGRESS]
    assert stale == []


def test_the_table_is_whole() -> None:
    names = names_of_temporal()
    assert {status for status, _ in GAPS.values()} == {PROGRESS, LATER, OUT}
    assert len(names["workflow"]) > 90
    assert names["workflow"]["sleep"] == ["duration", "summary"]
    assert "run_id" in names["client"]["WorkflowHandle"]["fields"]


if __name__ == "__main__":
    # What is missing, by status: `python -m tests.temporal.test_api "in progress"`.
    for name in missing():
        pattern = reason_for(name)
        status, why = ("?", "?") if pattern is None else GAPS[pattern]
        if sys.argv[1:] in ([], [status]):
            sys.stdout.write(f"{status:12} {name:60} {why}\n")
