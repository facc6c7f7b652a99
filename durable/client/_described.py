"""Descriptions of runs: what has to be asked for them, and on what a run waits, for whoever waited for it in vain."""

from __future__ import annotations

import asyncio

from durable.client._connection import Connection
from durable.client._describe import WorkflowExecutionDescription, describe, limits_waited_for
from durable.client._limits import waits_for, workflow_waits_for
from durable.exceptions import DurableError, PayloadCodecError
from durable.history import EventRow, decode_history
from durable.store import ActivityRecord, RunRecord, beneath

WHY_TIMEOUT = 1.0
"""Seconds that an error which is due anyway waits to hear why it had to come."""


async def described(connection: Connection, record: RunRecord) -> WorkflowExecutionDescription:
    """Return what the database knows about a run now."""
    store, run_id, patiently = connection.store, record.run_id, connection.patiently

    async def read() -> tuple[list[EventRow], list[ActivityRecord]]:
        try:
            return await store.read_events(run_id), await store.read_activities(run_id)
        except PayloadCodecError:
            bare = beneath(store)
            return await bare.read_events(run_id), await bare.read_activities(run_id)

    rows, activities = await patiently(read)
    workers = await patiently(store.list_workers)
    now = await patiently(store.now)
    lock = await patiently(lambda: store.locked_by(run_id))
    history = decode_history(rows)
    waiting = limits_waited_for(history, activities)
    return describe(
        record,
        history,
        activities,
        workers,
        now,
        lock,
        connection.converter_for(record.workflow_id),
        connection.namespace,
        await patiently(lambda: waits_for(connection, waiting)) if waiting else {},
        await patiently(lambda: workflow_waits_for(connection, record, history)),
    )


async def why_waiting(connection: Connection, workflow_id: str, run_id: str | None) -> str:
    """Return why a run does not go on, behind a semicolon; "" if it is open for no reason that can be told."""
    try:
        async with asyncio.timeout(WHY_TIMEOUT):
            record = await connection.store.find_run(workflow_id, run_id, measured=True)
            told = None if record is None else await described(connection, record)
    except (DurableError, TimeoutError):
        return ""
    if told is None or not told.reason:
        return ""
    return f"; it is {told.hold}: {told.reason}" if told.hold else f"; {told.reason}"
