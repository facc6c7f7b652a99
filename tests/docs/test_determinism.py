"""`docs/determinism.md`: what it shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from durable.testing import WorkflowEnvironment

PAGE = Path(__file__).parents[2] / "docs" / "determinism.md"


def shown() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "shown"}
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(text, "shop/waits.py", "exec"), names)
    return names


async def test_the_error_is_the_one_that_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async with WorkflowEnvironment() as env:
        await shown()["test_it_reads_the_clock"](env)
    text = " ".join(
        re.findall(r"^```text\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0].split()
    )
    assert capsys.readouterr().out.strip() == text


async def test_what_may_pass_passes() -> None:
    async with WorkflowEnvironment() as env:
        assert await env.run(shown()["measured"]()) == "499500"
