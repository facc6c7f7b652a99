"""Which tests of Temporal's entries look at no recorded history: found by reading them, and each with a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]

LOOKS = {"event", "events", "fetch_history", "fetch_history_events", "kinds", "reached", "read_events"}
"""What a test has a history from: functions of scenarios, methods of handles, and of the store."""

WITHOUT: dict[str, str] = {
    "converter/": "values and their bytes alone; scenarios show how they are recorded",
    "crash/test_lives.py::test_a_worker_that_leaves_hands_everything_back_at_once": "`judge` holds its histories to all laws",
    "docs/test_encryption.py": "the codec alone",
    "replay/": "made of histories: code is run over a log in memory, and replayed over what it recorded",
    "scenarios/test_schedules.py::test_a_second_one_of_an_id_is_refused": "a schedule has no history, and nothing is started",
    "scenarios/test_update_with_start.py::test_with_start_workflow_operation_requires_conflict_policy": "refused before "
    "anything is started",
    "worker/test_watchdog.py": "a thread that watches the event loop; `scenarios/test_faults.py` shows what a run records of it",
}
"""Tests, or folders of tests, that assert no recorded history, and why."""


def looking_at_none() -> list[str]:
    """Return the tests that are marked with an entry and name none of `LOOKS`, in themselves or in what they call beside."""
    return [
        f"{path.relative_to(TESTS)}::{test.name}"
        for path in sorted(TESTS.rglob("test_*.py"))
        for test, beside in _marked(ast.parse(path.read_text("utf-8")))
        if not LOOKS & _names(test, beside)
    ]


def reason_for(test: str) -> str | None:
    """Return what says why a test asserts no history."""
    return next((known for known in WITHOUT if test.startswith(known)), None)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def _marked(module: ast.Module) -> Iterator[tuple[Function, dict[str, Function]]]:
    functions = {one.name: one for one in module.body if isinstance(one, Function)}
    for one in functions.values():
        if any(ast.unparse(mark).startswith("pytest.mark.temporal(") for mark in one.decorator_list):
            yield one, functions


def _names(function: Function, beside: dict[str, Function], seen: frozenset[str] = frozenset()) -> set[str]:
    """Return the names in a function, and in the functions of its module that it uses."""
    found = {
        one.id if isinstance(one, ast.Name) else one.attr
        for one in ast.walk(function)
        if isinstance(one, ast.Name | ast.Attribute)
    }
    seen |= {function.name}
    return found.union(*(_names(beside[name], beside, seen) for name in found & (beside.keys() - seen)))
