"""The log of what operators did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from durable._engine._sole import own_name
from durable._internal.ids import check_optional_name
from durable._internal.instants import to_datetime
from durable.client._connection import Connection
from durable.client._listing import check_number

PAGE = 1000
"""Entries that are read at once."""


@dataclass(frozen=True)
class OperatorLogEntry:
    """What an operator did.

    Attributes:
        time: When, by the database's clock.
        operation: What: "terminate", "reset", "pause", "delete", ..., or the method of the client for a whole batch.
        workflow_id: To which workflow, or activity that a client had started; "" for a whole batch.
        run_id: To which run of it; of a reset, the run that was gone back in.
        identity: Who: the client's identity.
        reason: Why, as they said.
        detail: Where a reset went, which activity was meant, what a batch was looking for.
        batch_id: The batch that it was part of; "" for none.
    """

    time: datetime
    operation: str
    workflow_id: str
    run_id: str
    identity: str
    reason: str
    detail: str
    batch_id: str


def read_log(
    connection: Connection, workflow_id: str | None, batch_id: str | None, limit: int | None
) -> AsyncIterator[OperatorLogEntry]:
    """See `Client.operator_log`."""
    check_optional_name(workflow_id, "workflow_id")
    check_optional_name(batch_id, "batch_id")
    if limit is not None:
        check_number(limit, "limit", least=0)
    return _entries(connection, workflow_id, batch_id, limit)


async def _entries(
    connection: Connection, workflow_id: str | None, batch_id: str | None, limit: int | None
) -> AsyncIterator[OperatorLogEntry]:
    before: int | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        read = partial(
            connection.store.read_log, workflow_id=workflow_id, batch_id=batch_id, before=before, limit=size
        )
        rows = await connection.patiently(read)
        for row in rows:
            deed = row.deed
            yield OperatorLogEntry(
                time=to_datetime(row.at),
                operation=deed.operation,
                workflow_id=own_name(deed.workflow_id),
                run_id=row.run_id,
                identity=deed.identity,
                reason=deed.reason,
                detail=deed.detail,
                batch_id=deed.batch_id,
            )
            before = row.number
        if len(rows) < size:
            return
        left = None if left is None else left - size
