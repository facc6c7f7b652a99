"""`docs/explore.md`: what it shows runs, and the report is the one that is shown."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from durable.testing import explore
from durable.testing._mocks import Mocks

PAGE = Path(__file__).parents[2] / "docs" / "explore.md"


def shown(language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return found


async def test_the_programs_run_and_the_report_is_as_shown() -> None:
    names: dict[str, Any] = {"__name__": "shown"}
    for text in shown("python"):
        exec(compile(text, "basket.py", "exec"), names)
    with pytest.raises(AssertionError) as found:
        await names["test_a_basket_loses_nothing"]()
    assert shown("text") == [f"AssertionError: {found.value}\n"]
    assert (await names["how_may_it_end"]()).exhaustive
    mocks = Mocks()
    await names["test_with_the_fixture"](partial(explore, mocks=mocks), mocks.mock)
