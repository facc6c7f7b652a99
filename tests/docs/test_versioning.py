"""`docs/versioning.md`: what it shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from durable import Client, Worker

PAGE = Path(__file__).parents[2] / "docs" / "versioning.md"


def programs() -> list[dict[str, Any]]:
    found = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    made: list[dict[str, Any]] = []
    for text in found:
        names: dict[str, Any] = {"__name__": "shown"}
        exec(compile(text, str(PAGE), "exec"), names)
        made.append(names)
    return made


async def test_what_it_shows_runs(store_url: str) -> None:
    patched, versioned, moved = programs()
    async with Client.connect(store_url) as client:
        async with Worker(
            client, workflows=[patched["settle"]], activities=[patched["charge"], patched["ask_the_bank"]]
        ):
            assert await client.execute_workflow(patched["settle"]("o-1"), id="settle") == "asked for o-1"
        async with versioned["worker"](client, "1"), versioned["worker"](client, "2"):
            await versioned["roll_out"](client, "1")
            said = await client.execute_workflow(versioned["greet"]("Ada"), id="greet")
            assert said == "Hello, Ada, from build 1"
            handle = await client.start_workflow(versioned["greet"]("Bob"), id="later", start_delay=0.5)
            await moved["move"](handle, "2")
            assert await handle.result(timeout=60) == "Hello, Bob, from build 2"
