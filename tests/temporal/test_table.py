"""The page about Temporal's entries says what the tests say."""

from __future__ import annotations

import subprocess
import sys

from tests.temporal.entries import REASONS, entries
from tests.temporal.table import PAGE, collect, page

KNOWN = {entry for _, entry in entries()}


def test_every_mark_names_an_entry_and_the_page_is_up_to_date() -> None:
    """In a process of its own: this run may be of a selection, and pytest is not made to run inside itself."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.temporal.test_table"],
        capture_output=True,
        text=True,
        check=False,
        cwd=PAGE.parents[1],
    )
    assert (done.returncode, done.stdout) == (0, ""), f"{done.stdout}{done.stderr}"


def test_reasons_are_for_entries() -> None:
    assert set(REASONS) <= KNOWN


def faults() -> list[str]:
    """What is wrong with the marks, or with the page."""
    shown = collect()
    return [
        *(f"a test is marked with {entry!r}, which is no entry" for entry in sorted(set(shown) - KNOWN)),
        *(f"{entry!r} is shown, and has a reason not to be" for entry in sorted(set(shown) & set(REASONS))),
        *(
            []
            if PAGE.read_text(encoding="utf-8") == page(shown)
            else ["docs/temporal.md is stale; run: python -m tests.temporal.table"]
        ),
    ]


if __name__ == "__main__":
    sys.stdout.writelines(f"{fault}\n" for fault in faults())
