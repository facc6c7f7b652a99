"""Record the programs' histories under this interpreter: `python -m tests.replay.record [program ...]`.

Once per Python version; those that are there already stay as they are, unless they are named.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from durable.client import Client, WorkflowHandle, WorkflowUpdateStage
from durable.exceptions import WorkflowFailureError, WorkflowUpdateFailedError
from durable.history import encode_event
from durable.worker import Worker
from tests.replay.programs import PROGRAMS, Program
from tests.replay.programs_of_runs import RUNS, Lived

PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
ROOT = Path(__file__).parents[2]
HISTORIES = Path(__file__).parent / "histories"


async def live(client: Client, program: Program) -> WorkflowHandle[Any, Any]:
    """Run a program, and return the run that was started, whatever it went on as."""
    handle = await client.start_workflow(program.start())
    for name, value in program.signals:
        await handle.signal(name, value)
    updates = [
        await handle.start_update(name, value, wait_for_stage=WorkflowUpdateStage.ADMITTED)
        for name, value in program.updates
    ]
    for update in updates:
        with contextlib.suppress(WorkflowUpdateFailedError):
            await update.result()
    if program.cancel:
        while not any(e.pending_activities for e in [await handle.describe()]):
            await asyncio.sleep(0.01)
        await handle.cancel()
    try:
        await handle.result(timeout=30)
    except WorkflowFailureError as error:
        if not program.cancel:
            raise error
    return client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)


async def history_of(handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
    """Return a run's history as plain data."""
    history = await handle.fetch_history()
    rows = [encode_event(event) for event in history.events]
    return {
        "run_id": history.run_id,
        "python": PYTHON,
        "events": [[row.seq, row.task, row.type, row.time, _anywhere(row.data.decode())] for row in rows],
    }


def _anywhere(data: str) -> str:
    """Stack traces name no folder of this machine."""
    return data.replace(f"{ROOT}/", "")


async def record(one: Program | Lived) -> dict[str, Any]:
    """Live one in a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/app.db"
        if isinstance(one, Lived):
            async with Client.connect(url, identity="golden", interceptors=one.interceptors) as client:
                return await history_of(await one.live(client))
        async with Client.connect(url, identity="golden") as client, Worker(client):
            return await history_of(await live(client, one))


async def main() -> None:
    """Record what is named, else everything that has no history yet."""
    HISTORIES.mkdir(exist_ok=True)
    for one in (*PROGRAMS, *RUNS):
        path = HISTORIES / f"{one.name}-{PYTHON}.json"
        if one.name not in sys.argv[1:] and (sys.argv[1:] or path.exists()):
            continue
        found = await record(one)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(path.name, len(found["events"]), "events")


if __name__ == "__main__":
    asyncio.run(main())
