"""`docs/determinism.md`: what it shows runs."""

from __future__ import annotations

import importlib
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from durable.exceptions import NondeterminismError
from durable.testing import WorkflowEnvironment, replay_in_second_process

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


async def test_the_order_of_a_set_shows_in_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "determinism_page.py").write_text("\n".join(text))
    monkeypatch.syspath_prepend(tmp_path)
    page = importlib.import_module("determinism_page")
    async with WorkflowEnvironment() as env:
        replay = partial(replay_in_second_process, processes=3)
        with pytest.raises(
            NondeterminismError, match=r"PYTHONHASHSEED=\d: .*\n.*'notify' is called with other"
        ):
            await page.test_it_replays_elsewhere(env, replay)
    del sys.modules["determinism_page"]


async def test_what_may_pass_passes() -> None:
    async with WorkflowEnvironment() as env:
        assert await env.run(shown()["measured"]()) == "499500"
