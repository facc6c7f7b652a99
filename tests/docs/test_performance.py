"""What `docs/performance.md` says of several databases, done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from durable import Client, Signal, Worker, activity, workflow

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "performance.md"

told = Signal("docs.shards.told", str)


@activity.defn(name="docs.shards.tell")
async def tell(workflow_id: str) -> None:
    await shards.of(workflow_id).get_workflow_handle(workflow_id).signal(told("hello"))


@workflow.defn(name="docs.shards.hears")
async def hears() -> str:
    return await told.receive()


@workflow.defn(name="docs.shards.tells")
async def tells(workflow_id: str) -> None:
    await tell(workflow_id)


shards: Any = None


async def test_workflows_of_several_databases(tmp_path: Path) -> None:
    global shards
    (text,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(text, names)
    async with (
        Client.connect(f"sqlite:///{tmp_path}/0.db") as one,
        Client.connect(f"sqlite:///{tmp_path}/1.db") as other,
        Worker(one, workflows=[hears, tells], activities=[tell]),
        Worker(other, workflows=[hears, tells], activities=[tell]),
    ):
        shards = names["Shards"]([one, other])
        ids = [f"customer-{number}" for number in range(6)]
        assert {shards.of(workflow_id) for workflow_id in ids} == {one, other}
        assert shards.of("customer-1") is shards.of("customer-1")
        hearing = [await shards.of(one_id).start_workflow(hears(), id=one_id) for one_id in ids]
        for number, one_id in enumerate(ids):
            await shards.of(one_id).execute_workflow(tells(ids[number - 1]), id=f"{one_id}/tells")
        assert [await handle.result(timeout=60) for handle in hearing] == ["hello"] * 6
