"""`docs/simulation.md`: what it shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"


def test_the_script_runs_under_every_seed() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "shown"}
    exec(compile(program, "order.py", "exec"), names)
    names["test_orders_are_charged_once"]()


def test_the_commands_are_there() -> None:
    text = PAGE.read_text("utf-8")
    assert "make sim SEEDS=20000" in text
    assert re.search(r"^sim: .*SEEDS", (PAGE.parents[1] / "Makefile").read_text("utf-8"), re.MULTILINE)
