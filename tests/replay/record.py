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

from durable.client import Client, WorkflowUpdateStage
from durable.exceptions import WorkflowFailureError, WorkflowUpdateFailedError
from durable.history import encode_event
from durable.worker import Worker
from tests.replay.programs import PROGRAMS, Program

HISTORIES = Path(__file__).parent / "histories"


async def record(client: Client, program: Program) -> dict[str, Any]:
    """Run a program and return its history as plain data."""
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
    # The run that was started, whatever it went on as.
    first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
    history = await first.fetch_history()
    rows = [encode_event(event) for event in history.events]
    return {
        "run_id": history.run_id,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "events": [[row.seq, row.task, row.type, row.time, row.data.decode()] for row in rows],
    }


async def main() -> None:
    """Record what is named, else every program that has no history yet."""
    HISTORIES.mkdir(exist_ok=True)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with tempfile.TemporaryDirectory() as folder:
        async with Client.connect(f"sqlite:///{folder}/app.db") as client, Worker(client):
            for program in PROGRAMS:
                path = HISTORIES / f"{program.name}-{version}.json"
                if program.name not in sys.argv[1:] and (sys.argv[1:] or path.exists()):
                    continue
                found = await record(client, program)
                path.write_text(json.dumps(found, indent=1) + "\n")
                print(path.name, len(found["events"]), "events")


if __name__ == "__main__":
    asyncio.run(main())
