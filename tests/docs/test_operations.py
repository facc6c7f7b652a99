"""`docs/operations/workflows.md`: what it shows runs."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Signal, Worker, WorkflowFailureError, workflow
from durable.client import BatchProgress
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "workflows.md"

paid = Signal("paid", str)


@workflow.defn(name="docs.ops.order")
async def order() -> str:
    return await paid.receive() + await paid.receive()


async def test_what_it_shows_runs(store_url: str) -> None:
    batch, correlated = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    key = SearchAttributeKey.for_keyword("OrderId")
    async with Client.connect(store_url) as client, Worker(client, workflows=[order], activities=[]):
        handle = await client.start_workflow(
            order(), id="o", search_attributes=TypedSearchAttributes([SearchAttributePair(key, "o-42")])
        )
        names: dict[str, Any] = {"client": client, "paid": paid, "receipt": "r-1"}
        names["SearchAttributeKey"] = SearchAttributeKey
        for text in (batch, correlated):
            made = eval(compile(text, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            assert inspect.isawaitable(made)
            await made
        with pytest.raises(WorkflowFailureError, match="cancel"):
            await handle.result()
        told = [type(event.data).__name__ for event in (await handle.fetch_history()).events]
        assert "WorkflowExecutionSignaled" in told
        assert names["done"] == BatchProgress("close-2024", 0)
