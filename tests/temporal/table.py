"""Write `docs/temporal.md`: `python -m tests.temporal.table`. It says what the tests say, and nothing else."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from tests.temporal.entries import DIFFERENCES, REASONS, entries

PAGE = Path(__file__).parents[2] / "docs" / "temporal.md"

HEAD = """\
# What a Temporal user finds here

Temporal's samples, its feature suite and the tests of its Python SDK, entry by entry, by the names they have there. An entry
is *there* when tests named below show it, on SQLite and on PostgreSQL where a database is involved. This page is made from
the tests: `python -m tests.temporal.table`.
"""


class Collector:
    """A pytest plugin that notes which tests are marked with which entry."""

    def __init__(self) -> None:
        self.shown: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Look at every test once."""
        for item in items:
            for mark in item.iter_markers("temporal"):
                for entry in mark.args:
                    self.shown.setdefault(entry, set()).add(item.nodeid.split("[")[0])


def collect() -> dict[str, set[str]]:
    """Return the tests that show each entry. What pytest prints meanwhile is dropped."""
    collector = Collector()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = pytest.main(["--collect-only", "-q", str(PAGE.parents[1] / "tests")], plugins=[collector])
    if status != 0:
        raise RuntimeError(said.getvalue())
    return collector.shown


def page(shown: dict[str, set[str]]) -> str:
    """Return the page for these tests."""
    lines = [HEAD]
    suite = None
    for name_of_suite, entry in entries():
        if name_of_suite != suite:
            suite = name_of_suite
            lines += [f"\n## {suite}\n", "| Entry | Status | Where, or why not |", "|---|---|---|"]
        if tests := shown.get(entry):
            where = ", ".join(f"`{test}`" for test in sorted(tests)[:3])
            more = len(tests) - 3
            lines.append(f"| {entry} | there | {where}{f' and {more} more' if more > 0 else ''} |")
        else:
            status, why = REASONS.get(entry, ("open", ""))
            lines.append(f"| {entry} | {status} | {why} |")
    lines += [
        "\n## Where it differs on purpose\n",
        "| What | In Temporal | Here |",
        "|---|---|---|",
        *(f"| {what} | {there} | {here} |" for what, there, here in DIFFERENCES),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(collect()), encoding="utf-8")
