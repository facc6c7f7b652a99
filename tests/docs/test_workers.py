"""`docs/workers.md`: what it shows runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from durable import Client

PAGE = Path(__file__).parents[2] / "docs" / "workers.md"


async def test_what_it_shows_runs(store_url: str) -> None:
    names: dict[str, Any] = {"__name__": "shown"}
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(text, str(PAGE), "exec"), names)
    async with Client.connect(store_url) as client:
        assert await names["start"](client) == "contract-rent of Ada"
        health, shared = names["Health"](), names["Shared"](3)
        for number, worker in enumerate(
            (
                names["by_resources"](client),
                names["by_pool"](client, shared),
                names["watched"](client, health),
            )
        ):
            async with worker:
                assert await client.execute_workflow("loan", "Bob", id=f"loan-{number}") == "loan of Bob"
                assert health.ready == (number == 2)
        assert not health.ready
        assert shared.free == 3
