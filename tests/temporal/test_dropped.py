"""Nothing that is accepted is silently ignored: an option that is dropped on its way in makes a test fail."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.temporal.dropped import ROOT, WAYS, options
from tests.temporal.drops import DROPS

EVERY = 30
"""Of so many options one is dropped in an ordinary run; `DURABLE_DROPS=all` drops each."""


def test_every_option_has_a_way_in_and_a_test_that_is_there() -> None:
    for name, test in DROPS.items():
        assert name.partition(": ")[0] in WAYS, name
        path, _, function = test.partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / path).read_text("utf-8"), f"{name}: {test}"


def test_every_option_is_dropped() -> None:
    accepted = {f"{way}: {option}" for way in WAYS for option in options(way)}
    assert accepted - {*DROPS} == set()


def test_an_option_that_is_dropped_makes_its_test_fail() -> None:
    """In a process of its own: pytest is not made to run inside itself."""
    names = list(DROPS)
    chosen = names if os.environ.get("DURABLE_DROPS") == "all" else names[::EVERY]
    done = subprocess.run(
        [sys.executable, "-m", "tests.temporal.dropped", *chosen],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, ""), f"{done.stdout}{done.stderr}"
