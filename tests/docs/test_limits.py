"""`docs/limits.md`: what it shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from durable import Client, Worker

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"


async def test_the_programs_run(store_url: str) -> None:
    names: dict[str, Any] = {"__name__": "shown"}
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(text, str(PAGE), "exec"), names)
    async with Client.connect(store_url) as client:
        await names["quiet_hours"](client)
        await names["maintenance"](client)
        async with Worker(client, workflows=[names["bill"]], activities=[names["charge"], names["refund"]]):
            assert await names["start"](client, "ada") == "ada paid 100"
            assert await names["urgent"](client) == "acme paid 100"
