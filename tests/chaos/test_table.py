"""Every fault of the list is shown by something that is there, and the page says by what."""

from __future__ import annotations

import re

from tests.chaos.faults import FAULTS
from tests.chaos.table import PAGE, ROOT, TABLE, page


def test_every_fault_is_shown_by_something_that_is_there() -> None:
    assert list(TABLE) == [f"F{number}" for number in range(1, 41)]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for number, shown in TABLE.items():
        assert shown.by, number
        for one in shown.by:
            path, _, test = one.partition("::")
            if test:
                assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), one
            elif one.startswith("make "):
                assert one.removeprefix("make ") in targets, one
            elif one.startswith("python -m benchmarks "):
                assert (ROOT / "benchmarks" / f"{one.split()[-1]}.py").exists(), one
            else:
                assert one in FAULTS, one


def test_every_fault_of_the_lane_is_in_the_table() -> None:
    assert set(FAULTS) <= {one for shown in TABLE.values() for one in shown.by}


def test_the_page_is_that_of_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.chaos.table"
